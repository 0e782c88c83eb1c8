"""The images of a visit from their headers alone: the geometry of every stack, any frame of reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_io.grid import Grid
from dicom_io.parsing import quiet
from dicom_io.prompts.image_planes import LooseImage, plane_affine
from dicom_io.prompts.placement import ImageIndex
from dicom_io.series import ScannedSeries, scan_files
from dicom_io.stacks import Stack
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Volume
from workflow.domain.series import SeriesDescription


@dataclass(frozen=True, kw_only=True)
class HeaderSlice:
    """The image behind one slice; `is_interpolated` where the slice is missing and this is its neighbour."""

    sop_instance_uid: str
    frame_number: int | None
    path: Path
    is_interpolated: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class HeaderImages:
    """A stack's geometry without its pixels: the volume's array is one False, repeated."""

    volume: Volume
    slices: tuple[HeaderSlice, ...]
    series: SeriesDescription


def images_at_hand(paths: Iterable[Path]) -> ImageIndex:
    """Index what some image files hold; only headers are read.

    A stack that makes a volume keeps its grid, also where it must not be measured on (`refusal`): what was
    drawn on it has a place in the patient. Of images that make no volume (gaps, localizers, secondary
    captures) the index knows where each lies, if it says so, and why it can't be measured on.

    Parameters
    ----------
    paths
        The image files of a visit, in any order.
    """
    with quiet():
        scan = scan_files(paths)
    stacks = [
        _header_images(one.description, one.stack, one.stack.grid)
        for one in scan.series
        if one.stack.grid is not None
    ]
    loose = [image for one in scan.series if one.stack.grid is None for image in _loose_images(one)]
    return ImageIndex(images=tuple(stacks), loose=tuple(loose))


def _header_images(series: SeriesDescription, stack: Stack, grid: Grid) -> HeaderImages:
    slices: list[HeaderSlice] = []
    for plane in grid.planes:
        frame = stack.frames[plane] if plane is not None else None
        slices.append(
            HeaderSlice(
                sop_instance_uid=frame.header.sop_instance_uid if frame else slices[-1].sop_instance_uid,
                frame_number=frame.number if frame else slices[-1].frame_number,
                path=frame.header.path if frame else slices[-1].path,
                is_interpolated=frame is None,
            )
        )
    return HeaderImages(
        volume=Volume(array=np.broadcast_to(np.False_, grid.shape), affine=grid.affine),
        slices=tuple(slices),
        series=series,
    )


def _loose_images(scanned: ScannedSeries) -> list[LooseImage]:
    """The images of a stack without a grid; those that are no planes only by their UID."""
    series, frames = scanned.description, scanned.stack.all_frames
    if not frames:
        return [LooseImage(sop_instance_uid=uid, series=series) for uid in series.sop_instance_uids]
    found = []
    for frame in frames:
        affine = None
        if frame.position_lps and frame.orientation and frame.pixel_spacing_mm:
            try:
                affine = plane_affine(frame.position_lps, frame.orientation, frame.pixel_spacing_mm)
            except UnsuitableInputError:
                affine = None
        found.append(
            LooseImage(
                sop_instance_uid=frame.header.sop_instance_uid,
                frame_number=frame.number,
                series=series,
                affine=affine,
                size=(frame.pixels.rows, frame.pixels.columns),
            )
        )
    return found
