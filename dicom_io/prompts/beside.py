"""The other series of a study, from headers alone: readers measure on whichever shows a lesion best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_io.grid import Grid
from dicom_io.parsing import quiet
from dicom_io.prompts.placement import ReferencedImages
from dicom_io.series import scan_files
from dicom_io.stacks import Stack
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
    """A series' geometry without its pixels: the volume's array is one False, repeated."""

    volume: Volume
    slices: tuple[HeaderSlice, ...]
    series: SeriesDescription


def images_beside(paths: Iterable[Path], measured: ReferencedImages) -> list[HeaderImages]:
    """The study's other series in the frame of reference of the measured one.

    What was drawn on them holds, in LPS mm, on the measured series too. Give them to `read_study_prompts`
    after the measured series. A series in another frame of reference is left out, because nothing drawn on
    it can be carried over; so is what makes no volume (localizers, single images without a position).

    Parameters
    ----------
    paths
        The study's files, in any order; only headers are read.
    """
    frame = measured.series.frame_of_reference_uid
    with quiet():
        scan = scan_files(paths)
    return [
        _header_images(scanned.description, scanned.stack, scanned.stack.grid)
        for scanned in scan.series
        if frame
        and scanned.description.frame_of_reference_uid == frame
        and not _is_same(scanned.description, measured.series)
        and scanned.stack.grid is not None
    ]


def _is_same(one: SeriesDescription, other: SeriesDescription) -> bool:
    return (one.series_instance_uid, one.stack) == (other.series_instance_uid, other.stack)


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
