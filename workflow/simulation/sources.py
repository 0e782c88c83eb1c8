"""The real images that simulations start from: read from `examples/data`, which carries their licences."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, FloatArray, Volume, affine_from_axes

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "data"

_TYPES = {"MET_SHORT": "i2", "MET_USHORT": "u2", "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_FLOAT": "f4"}


@dataclass(frozen=True, kw_only=True, eq=False)
class LungPair:
    """The right lung of one person at two dates, with points that lie on the same anatomy.

    Attributes
    ----------
    baseline, follow_up
        CT in HU, int16, 1.37 x 1.37 x 2.5 mm.
    baseline_lung, follow_up_lung
        Bool, on the grid of the CT.
    baseline_points_lps, follow_up_points_lps
        Corresponding landmarks set by hand, LPS mm, shape (n, 3) each; those outside the images are left out.
    """

    baseline: Volume
    follow_up: Volume
    baseline_lung: BoolArray
    follow_up_lung: BoolArray
    baseline_points_lps: FloatArray
    follow_up_points_lps: FloatArray


@lru_cache(maxsize=2)
def load_lung_pair(folder: Path | None = None) -> LungPair:
    """Read the pair that comes with elastix (Apache-2.0), by default from `examples/data/lung_pair`.

    Raises
    ------
    UnsuitableInputError
        If a file is missing or is no MetaImage that this reads.
    """
    root = folder or EXAMPLES / "lung_pair"
    baseline, follow_up = read_mha(root / "3DCT_lung_baseline.mha"), read_mha(root / "3DCT_lung_followup.mha")
    one = _read_points(root / "3DCT_lung_baseline_landmarks.txt")
    other = _read_points(root / "3DCT_lung_groundtruth_point.txt")
    # The points were set on both lungs; the published images hold the right one.
    kept = [
        baseline.contains((a[0], a[1], a[2])) and follow_up.contains((b[0], b[1], b[2]))
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
    ]
    return LungPair(
        baseline=baseline,
        follow_up=follow_up,
        baseline_lung=read_mha(root / "3DCT_lung_baseline_mask.mha").array > 0,
        follow_up_lung=read_mha(root / "3DCT_lung_followup_mask.mha").array > 0,
        baseline_points_lps=one[kept],
        follow_up_points_lps=other[kept],
    )


def read_mha(path: Path) -> Volume:
    """Read a three-dimensional MetaImage file with its voxels inside (`.mha`), compressed or not.

    ITK's physical space is DICOM's patient space (LPS, mm): origin and matrix are taken as they are.

    Raises
    ------
    UnsuitableInputError
        If the file is missing, or is not such an image.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnsuitableInputError(
            f"{path} can't be read ({error.strerror}): the simulations need the repository's examples/data"
        ) from error
    header: dict[str, str] = {}
    start = 0
    while "ElementDataFile" not in header:
        end = content.find(b"\n", start)
        if end < 0 or b"=" not in content[start:end]:
            raise UnsuitableInputError(f"{path} is no MetaImage: its header does not end in ElementDataFile")
        key, _, value = content[start:end].decode("latin-1").partition("=")
        header[key.strip()] = value.strip()
        start = end + 1
    kind = _TYPES.get(header.get("ElementType", ""))
    if kind is None or header.get("NDims") != "3" or header["ElementDataFile"] != "LOCAL":
        raise UnsuitableInputError(f"{path} is no three-dimensional scalar MetaImage with its voxels inside")
    order = ">" if header.get("BinaryDataByteOrderMSB", "False") == "True" else "<"
    voxels = content[start:]
    if header.get("CompressedData") == "True":
        voxels = zlib.decompress(voxels)
    columns, rows, slices = (int(n) for n in header["DimSize"].split())
    array = np.frombuffer(voxels, dtype=order + kind).astype(kind).reshape(slices, rows, columns)
    step = np.array(header["ElementSpacing"].split(), dtype=float)
    # MetaImage lists the direction of x first, ITK's matrix has it as a column.
    direction = np.array(header.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split(), dtype=float).reshape(
        3, 3
    )
    column, row, through = (direction[i] * step[i] for i in range(3))
    origin = np.array(header.get("Offset", header.get("Position", "0 0 0")).split(), dtype=float)
    return Volume(
        array=array,
        affine=affine_from_axes(
            origin_lps=tuple(origin.tolist()),
            slice_step=tuple(through.tolist()),
            row_step=tuple(row.tolist()),
            column_step=tuple(column.tolist()),
        ),
    )


def _read_points(path: Path) -> FloatArray:
    """Read elastix's point file: a line `point`, the count, then x y z in mm; shape (n, 3)."""
    try:
        lines = path.read_text().split("\n")
    except OSError as error:
        raise UnsuitableInputError(f"{path} can't be read ({error.strerror})") from error
    if lines[0].strip() != "point":
        raise UnsuitableInputError(f"{path} holds {lines[0].strip()!r}, not points in mm")
    points = np.array([line.split() for line in lines[2:] if line.strip()], dtype=np.float64)
    if points.shape != (int(lines[1]), 3):
        raise UnsuitableInputError(f"{path} says {lines[1].strip()} points and holds {len(points)}")
    return points
