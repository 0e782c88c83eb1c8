"""DICOM objects as nobody should send them: whole ones changed by chance, and bombs made on purpose.

Object number n of a seed is always the same one.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_io.parsing import quiet
from tests.hospital import LEFT, Sphere, Study
from tests.unit.prompts.test_gsps import graphic, presentation_state
from tests.unit.prompts.test_rtstruct import square, structure_set
from tests.unit.prompts.test_seg import block, segmentation

_VRS = b"AE AS AT CS DA DS DT FL FD IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT XX".split()
_NUMBERS = ("nan", "inf", "-inf", "1e30", "-1e30", "0", "-1", "1e-300", "", "9" * 16)
_COUNTS = (0, 1, 2, 65535, 255)
_UIDS = ("", "../../../../etc/passwd", "1." * 40, "1.2.3", "/tmp/x", "1.2.840.10008.1.1", "\0")
_DEEPEST = 150


def seed_objects(folder: Path, more: Iterable[Path] = ()) -> list[bytes]:
    """Whole objects of every kind that is read: CT in six encodings, SR, RTSTRUCT, SEG, GSPS, and `more`."""
    from datetime import date

    study = Study(
        day=date(2024, 3, 4),
        spheres=(Sphere(centre_lps=LEFT, diameter_mm=16, is_prompted=True, label="left lung"),),
    )
    written = study.write(folder / "seeds")
    first = pydicom.dcmread(written.paths[3])
    objects = [first, pydicom.dcmread(folder / "seeds" / "sr.dcm")]
    for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
        packed = deepcopy(first)
        packed.compress(syntax, generate_instance_uid=False)
        objects.append(packed)
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        other = deepcopy(first)
        other.file_meta.TransferSyntaxUID = syntax
        objects.append(other)
    at = (-100.0, 40.0, -294.0)
    drawn = [
        segmentation([(1, at, block(slice(5, 15), slice(5, 15)))]),
        structure_set(square(-294.0, 10.0), square(-291.0, 10.0)),
        presentation_state(graphic("POLYLINE", [10.0, 10.0, 20.0, 20.0])),
    ]
    for number, made in enumerate(drawn):
        made.file_meta = getattr(made, "file_meta", pydicom.dataset.FileMetaDataset())
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
            setattr(made, keyword, first[keyword].value)
        made.SeriesInstanceUID = f"1.2.3.7.{number}"
        made.SOPClassUID = made.get("SOPClassUID") or (
            "1.2.840.10008.5.1.4.1.1.481.3" if made.Modality == "RTSTRUCT" else "1.2.840.10008.5.1.4.1.1.11.1"
        )
        made.SOPInstanceUID = made.get("SOPInstanceUID") or f"1.2.3.8.{number}"
        objects.append(made)
    return [_bytes(one) for one in objects] + [path.read_bytes() for path in more]


def mutated(objects: Sequence[bytes], seed: int, number: int) -> bytes:
    """Object `number` of a seed: a whole one, changed a few times, or now and then a bomb."""
    chance = random.Random(f"{seed}/{number}")
    if number % 50 == 49:
        return chance.choice(_BOMBS)(objects[0], chance)
    content = chance.choice(objects)
    if chance.random() < 0.5:
        content = _with_other_values(content, chance)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        content = chance.choice(_BYTE_CHANGES)(bytearray(content), chance)
    return content


# ---------------------------------------------------------------- bytes


def _place(content: bytearray, chance: random.Random) -> int:
    # Half of the changes in the head, where the structure is.
    end = min(len(content), 4096) if chance.random() < 0.5 else len(content)
    return chance.randrange(132, end) if end > 133 else 0


def _flip(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 4, 64))):
        if content:
            content[_place(content, chance) % len(content)] = chance.randrange(256)
    return bytes(content)


def _cut(content: bytearray, chance: random.Random) -> bytes:
    at = _place(content, chance)
    del content[at : at + chance.choice((1, 7, 256, 1 << 20))]
    return bytes(content)


def _insert(content: bytearray, chance: random.Random) -> bytes:
    at = _place(content, chance)
    content[at:at] = chance.randbytes(chance.choice((1, 8, 300)))
    return bytes(content)


def _repeat(content: bytearray, chance: random.Random) -> bytes:
    at = _place(content, chance)
    content[at:at] = content[at : at + chance.choice((8, 64, 1024))] * chance.choice((1, 20))
    return bytes(content)


def _length(content: bytearray, chance: random.Random) -> bytes:
    at = _place(content, chance)
    size = chance.choice((2, 4))
    content[at : at + size] = chance.choice(
        (b"\xff" * size, bytes(size), (b"\xfe" + b"\xff" * 3)[:size], chance.randbytes(size))
    )
    return bytes(content)


def _vr(content: bytearray, chance: random.Random) -> bytes:
    old, new = chance.choice(_VRS), chance.choice(_VRS)
    at = content.find(old, _place(content, chance))
    if at > 0:
        content[at : at + 2] = new
    return bytes(content)


_BYTE_CHANGES: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    _flip, _cut, _insert, _repeat, _length, _vr,
)  # fmt: skip


# ---------------------------------------------------------------- values


def _with_other_values(content: bytes, chance: random.Random) -> bytes:
    with quiet():
        dataset = pydicom.dcmread(BytesIO(content))
        for _ in range(chance.choice((1, 2, 6))):
            holder, element = chance.choice(list(_elements(dataset)))
            try:
                _change(dataset, holder, element, chance)
            except (ValueError, TypeError, AttributeError, OverflowError):  # pydicom takes not everything
                continue
        try:
            return _bytes(dataset)
        except Exception:  # nor does it write everything
            return content


def _elements(dataset: Dataset, depth: int = 0) -> Iterable[tuple[Dataset, pydicom.DataElement]]:
    for element in dataset:
        yield dataset, element
        if element.VR == "SQ" and depth < 8:
            for item in element.value:
                yield from _elements(item, depth + 1)


def _change(whole: Dataset, holder: Dataset, element: pydicom.DataElement, chance: random.Random) -> None:
    vr = element.VR
    if chance.random() < 0.1:
        del holder[element.tag]
    elif vr in ("DS", "IS"):
        count = chance.choice((1, 1, 3, 7, 20_000))
        holder[element.tag] = pydicom.DataElement(
            element.tag, "LO", [chance.choice(_NUMBERS) for _ in range(count)]
        )
        holder[element.tag].VR = vr
    elif vr in ("FD", "FL"):
        element.value = [float(chance.choice(_NUMBERS[:8])) for _ in range(chance.choice((1, 3, 1000)))]
    elif vr in ("US", "SS", "UL", "SL"):
        element.value = chance.choice(_COUNTS)
    elif vr == "UI":
        element.value = chance.choice((*_UIDS, str(whole.get("SOPInstanceUID", ""))))  # itself: a cycle
    elif vr == "SQ":
        items = list(element.value)
        if not items or chance.random() < 0.3:
            element.value = Items()
        elif chance.random() < 0.5:
            element.value = Items(items * chance.choice((2, 500)))
        else:
            for _ in range(chance.choice((3, _DEEPEST))):
                item = Dataset()
                item.add_new(element.tag, "SQ", Items(items))
                items = [item]
            element.value = Items(items)
    elif vr not in ("OB", "OW", "UN"):
        element.value = chance.choice(("x" * 3000, "\\" * 50, "\x1b$B", "é" * 99, "\0", "99999999", "-1"))


def _bytes(dataset: Dataset) -> bytes:
    stream = BytesIO()
    with quiet():
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


# ---------------------------------------------------------------- bombs


def _headed(content: bytes, syntax: str, data_set: bytes) -> bytes:
    dataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = _bytes(dataset)
    start = 144 + struct.unpack("<I", whole[140:144])[0]
    if syntax == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
        head = _bytes(dataset)
        head = head[: 144 + struct.unpack("<I", head[140:144])[0]]
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return head + packer.compress(whole[start:] + data_set) + packer.flush()
    return whole + data_set


def _inflating(content: bytes, chance: random.Random) -> bytes:
    zeros = struct.pack("<HH2sHI", 0x0099, 0x1010, b"OB", 0, 300 << 20) + bytes(300 << 20)
    tiny = struct.pack("<HH2sH", 0x0099, 0x1010, b"CS", 0) * (24 << 17)
    return _headed(content, DeflatedExplicitVRLittleEndian, chance.choice((zeros, tiny)))


def _bottomless(content: bytes, chance: random.Random) -> bytes:
    opened = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return _headed(content, ExplicitVRLittleEndian, opened * chance.choice((100, 1000, 100_000)))


def _countless(content: bytes, chance: random.Random) -> bytes:
    tiny = struct.pack("<HH2sH", 0x0099, 0x1010, b"CS", 0)
    return _headed(content, ExplicitVRLittleEndian, tiny * chance.choice((10_000, 2_000_000)))


def _vast(content: bytes, chance: random.Random) -> bytes:
    with quiet():
        dataset = pydicom.dcmread(BytesIO(content))
        dataset.Rows = dataset.Columns = 65535
        dataset.NumberOfFrames = chance.choice((1, 2**31 - 1))
        dataset.PixelSpacing = ["nan", "1e300"]
    return _bytes(dataset)


def _long_contour(content: bytes, chance: random.Random) -> bytes:
    made = structure_set(("CLOSED_PLANAR", [(0.0, 0.0, 0.0)]))
    first = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
    made.file_meta = deepcopy(first.file_meta)
    made.StudyInstanceUID, made.SeriesInstanceUID = first.StudyInstanceUID, "1.2.3.7.9"
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.8.9"
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # longer values than 64 kB
    whole = _bytes(made)
    points = (b"-85.5\\60.25\\-294\\" * chance.choice((50_000, 1_000_000)))[:-1]
    points += b" " * (len(points) % 2)
    at = whole.index(struct.pack("<HH", 0x3006, 0x0050))
    return whole[:at] + struct.pack("<HHI", 0x3006, 0x0050, len(points)) + points


_BOMBS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _inflating, _bottomless, _countless, _vast, _long_contour,
)  # fmt: skip
