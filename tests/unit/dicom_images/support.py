"""Series that the tests write slice by slice, attribute by attribute, each wrong in one way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from workflow.domain.geometry import FloatArray, affine_from_axes

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "128"))
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"
CLASSES = {"CT": CT, "MR": MR, "PT": PET}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def uid(*parts: object) -> str:
    """The same UID for the same parts."""
    return str(generate_uid(entropy_srcs=[repr(part) for part in parts]))


def image(**attributes: Any) -> Dataset:
    """A valid one-slice CT of 4 x 5 pixels; each attribute may be replaced, or removed with None."""
    values: dict[str, Any] = {
        "SOPClassUID": CLASSES.get(attributes.get("Modality", "CT"), CT),
        "SOPInstanceUID": uid("instance", *sorted(map(repr, attributes.items()))),
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid("series"),
        "FrameOfReferenceUID": uid("frame of reference"),
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientID": "P1",
        "PatientName": "Phantom^One",
        "StudyDate": "20240102",
        "StudyTime": "101112",
        "SeriesDescription": "Thorax",
        "SeriesNumber": 3,
        "InstanceNumber": 1,
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.75, 0.5],
        "SliceThickness": 2.0,
        "Rows": 4,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "PixelData": np.arange(20, dtype="<i2").tobytes(),
    }
    values.update(attributes)
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    return dataset


def save(
    dataset: Dataset,
    path: Path,
    transfer_syntax: str = ExplicitVRLittleEndian,
    media_class: str | None = None,
) -> Path:
    """Write a dataset as a Part 10 file; pixel data must already suit the transfer syntax."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", uid("nameless"))
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_slices(
    folder: Path,
    stored: NDArray[Any],
    positions: Sequence[Sequence[float]] | None = None,
    *,
    step_mm: float = 2.0,
    per_slice: Sequence[dict[str, Any]] | None = None,
    **attributes: Any,
) -> list[Path]:
    """One file per slice of `stored` (slices, rows, columns), at `positions` or every `step_mm` along z."""
    paths = []
    for k, plane in enumerate(stored):
        position = positions[k] if positions is not None else (0.0, 0.0, step_mm * k)
        own = {
            "ImagePositionPatient": [round(float(x), 9) for x in position],
            "InstanceNumber": k + 1,
            "SOPInstanceUID": uid(folder.name, k),
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            "PixelData": np.ascontiguousarray(plane).tobytes(),
            "PixelRepresentation": int(plane.dtype.kind == "i"),
            **attributes,
            **(per_slice[k] if per_slice else {}),
        }
        paths.append(save(image(**own), folder / f"{k:03d}.dcm"))
    return paths


def grid_affine(
    spacing: Sequence[float], rotation: FloatArray | None = None, origin: Sequence[float] = (0, 0, 0)
) -> FloatArray:
    """Affine with (slice, row, column) spacing; columns along x, rows along y, slices along z, rotated."""
    turn = np.eye(3) if rotation is None else rotation
    x, y, z = (turn[:, axis] for axis in range(3))
    return affine_from_axes(
        origin_lps=tuple(origin),
        slice_step=tuple(spacing[0] * z),
        row_step=tuple(spacing[1] * y),
        column_step=tuple(spacing[2] * x),
    )


def random_array(shape: tuple[int, int, int], seed: int = 0, dtype: Any = np.int16) -> NDArray[Any]:
    """Voxels that differ everywhere, so that a swap of any two is seen."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(dtype)
