"""Masks as bytes in the database: workers on other machines need no shared folder for them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from workflow.domain.geometry import Mask

# Start, box shape and grid shape, each (slice, row, column), little endian; then the box's packed bits, zlib.
_HEADER = struct.Struct("<9i")


def pack_mask(mask: Mask) -> bytes:
    """Write a mask; `unpack_mask` is the inverse."""
    header = _HEADER.pack(*mask.start_ijk, *mask.voxels.shape, *mask.shape)
    return header + zlib.compress(np.packbits(mask.voxels).tobytes(), 6)


def unpack_mask(packed: bytes) -> Mask:
    """Read what `pack_mask` wrote.

    Raises
    ------
    ValueError
        If the bytes are not such a mask.
    """
    numbers = _HEADER.unpack_from(packed)
    box = numbers[3:6]
    count = int(np.prod(box))
    bits = np.frombuffer(zlib.decompress(packed[_HEADER.size :]), dtype=np.uint8)
    if bits.size != (count + 7) // 8:
        raise ValueError(f"a mask of {count} voxels has {bits.size} bytes")
    voxels = np.unpackbits(bits, count=count).astype(bool).reshape(box)
    return Mask(
        voxels=voxels,
        start_ijk=(numbers[0], numbers[1], numbers[2]),
        shape=(numbers[6], numbers[7], numbers[8]),
    )
