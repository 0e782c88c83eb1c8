"""Series of test images as the prompt reader asks for them, loaded in the plainest way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from workflow.domain.geometry import Volume, affine_from_axes
from workflow.domain.series import SeriesDescription


@dataclass(frozen=True)
class Slice:
    sop_instance_uid: str
    frame_number: int | None = None
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class Images:
    volume: Volume
    slices: tuple[Slice, ...]
    series: SeriesDescription


@lru_cache(maxsize=32)
def load_series(folder: Path, pattern: str = "*") -> Images:
    """A folder of single-frame images as one volume, in the order of their positions."""
    headers = []
    for path in sorted(folder.glob(pattern)):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if "ImagePositionPatient" in header:
            headers.append((path, header))
    first = headers[0][1]
    along_row, along_column = (
        np.array(first.ImageOrientationPatient[:3]),
        np.array(first.ImageOrientationPatient[3:]),
    )
    normal = np.cross(along_row, along_column).astype(float)
    headers.sort(key=lambda entry: np.array(entry[1].ImagePositionPatient, dtype=float) @ normal)
    origin = np.array(headers[0][1].ImagePositionPatient, dtype=float)
    last = np.array(headers[-1][1].ImagePositionPatient, dtype=float)
    step = (last - origin) / (len(headers) - 1) if len(headers) > 1 else normal * float(first.SliceThickness)
    row_mm, column_mm = (float(value) for value in first.PixelSpacing)
    affine = affine_from_axes(
        origin_lps=tuple(origin), slice_step=tuple(step),
        row_step=tuple(along_column * row_mm), column_step=tuple(along_row * column_mm),
    )  # fmt: skip
    return Images(
        volume=Volume(array=np.zeros((len(headers), first.Rows, first.Columns), dtype=bool), affine=affine),
        slices=tuple(Slice(h.SOPInstanceUID, None, path) for path, h in headers),
        series=SeriesDescription(
            study_instance_uid=first.StudyInstanceUID,
            series_instance_uid=first.SeriesInstanceUID,
            sop_instance_uids=tuple(h.SOPInstanceUID for _, h in headers),
            modality=first.Modality,
            frame_of_reference_uid=first.get("FrameOfReferenceUID"),
        ),
    )


def phantom_images(
    *,
    shape: tuple[int, int, int] = (10, 64, 64),
    spacing: tuple[float, float, float] = (3.0, 0.8, 0.5),
    origin: tuple[float, float, float] = (-100.0, 40.0, -300.0),
    frame_of_reference_uid: str = "1.2.3.4",
    series_instance_uid: str = "1.2.3.5",
    modality: str = "CT",
    axes: tuple[int, int, int] = (2, 1, 0),
    **said: Any,
) -> Images:
    """A series without files; spacing is (slice, row, column), different on every axis.

    Axial, unless `axes` says which of x, y, z (0, 1, 2) slices, rows and columns run along.
    """
    slice_step, row_step, column_step = (
        tuple(mm if axis == one else 0.0 for one in range(3)) for mm, axis in zip(spacing, axes, strict=True)
    )
    affine = affine_from_axes(
        origin_lps=origin, slice_step=slice_step, row_step=row_step, column_step=column_step
    )
    uids = tuple(f"{series_instance_uid}.{k + 1}" for k in range(shape[0]))
    return Images(
        volume=Volume(array=np.zeros(shape, dtype=bool), affine=affine),
        slices=tuple(Slice(uid) for uid in uids),
        series=SeriesDescription(
            study_instance_uid="1.2.3", series_instance_uid=series_instance_uid, sop_instance_uids=uids,
            modality=modality, frame_of_reference_uid=frame_of_reference_uid, **said,
        ),
    )  # fmt: skip


def on_grid(mask: Volume, grid: Volume) -> np.ndarray:
    """A mask prompt's voxels on a series' grid, bool, of the grid's shape; voxel centres must coincide."""
    whole = np.zeros(grid.shape, dtype=bool)
    index = grid.ijk(mask.lps(np.argwhere(mask.array)))
    rounded = np.round(index).astype(int)
    assert np.abs(index - rounded).max() < 0.05
    whole[tuple(rounded.T)] = True
    return whole
