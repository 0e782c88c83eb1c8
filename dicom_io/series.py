"""What the series of a study are, described from their headers, with the reason for a refusal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from dicom_io.frames import MEASURED_MODALITIES, Frame, read_frames
from dicom_io.grid import SAME_PLACE_MM, Grid
from dicom_io.headers import InstanceHeader
from dicom_io.kinds import Geometry, kind_of
from dicom_io.parsing import quiet
from dicom_io.pixels import equal_duplicates, why_truncated
from dicom_io.stacks import Stack, orientation_name, split_into_stacks
from dicom_io.suv import SuvScale, suv_scale
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Point, lps_from_ijk
from workflow.domain.series import SeriesDescription


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A file that holds nothing readable, and why; `is_dicom` is False if it never claimed to."""

    path: Path
    reason: str
    is_dicom: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class ScannedSeries:
    """One stack with its description; what `dicom_io.volumes` reads pixels by."""

    description: SeriesDescription
    stack: Stack


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """All that some files hold: their stacks, described, and the files that were skipped."""

    series: tuple[ScannedSeries, ...]
    skipped: tuple[SkippedFile, ...]


def describe_study(paths: Iterable[Path]) -> list[SeriesDescription]:
    """Describe the series in some files, stack by stack, from their headers alone.

    Files that are damaged or no DICOM are left out (see `scan_files` for the reasons); series that can't
    be measured on (reports, localizers, gaps ...) are there with their refusal. Sorted by study, series
    number, series UID and stack, whatever the order of the paths.
    """
    return [one.description for one in scan_files(paths).series]


def scan_files(paths: Iterable[Path]) -> Scan:
    """Read the headers of some files and split their images into stacks.

    Pixels are only looked at where several images share a place: equal ones are copies, others a conflict.

    Raises
    ------
    TransientError
        If the storage fails. A file that can't be used is reported in `skipped`, not raised.
    """
    others: dict[tuple[str, str], list[InstanceHeader]] = defaultdict(list)
    planes: dict[tuple[str, str], list[Frame]] = defaultdict(list)
    skipped: list[SkippedFile] = []
    for path in sorted(paths):
        try:
            header, frames = read_frames(path)
        except UnsuitableInputError as error:
            is_dicom = "not a DICOM file" not in str(error)
            skipped.append(SkippedFile(path=path, reason=str(error), is_dicom=is_dicom))
            continue
        key = header.study_instance_uid, header.series_instance_uid
        planes[key].extend(frames)
        if not frames:
            others[key].append(header)
    scanned = [_describe_other(headers) for headers in others.values()]
    scanned += [one for frames in planes.values() if frames for one in _describe_sound(frames)]
    scanned.sort(key=lambda one: _order(one.description))
    return Scan(series=tuple(scanned), skipped=tuple(skipped))


def _order(one: SeriesDescription) -> tuple[str, int, str, int]:
    number = one.series_number if one.series_number is not None else 1 << 31
    return one.study_instance_uid, number, one.series_instance_uid, one.stack


# ---------------------------------------------------------------- objects that are no planes


def _describe_other(headers: Sequence[InstanceHeader]) -> ScannedSeries:
    first = headers[0]
    kind = first.modality or "(no modality)"
    if first.has_pixels and first.modality not in MEASURED_MODALITIES:
        refusal = f"{kind} images are not measured on, only {', '.join(MEASURED_MODALITIES)}"
    elif first.modality in MEASURED_MODALITIES:
        refusal = "without Rows and Columns: no image, or cut off before it"
    else:
        refusal = f"{kind} objects hold no images to measure on"
    description = replace(_identity(first), refusal=refusal, sop_instance_uids=_uids(headers))
    return ScannedSeries(description=description, stack=Stack(frames=(), refusal=refusal))


def _identity(header: InstanceHeader) -> SeriesDescription:
    return SeriesDescription(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        sop_instance_uids=(header.sop_instance_uid,),
        modality=header.modality,
        frame_of_reference_uid=header.frame_of_reference_uid,
        series_number=header.series_number,
        description=header.series_description,
        body_part=header.body_part_examined,
        protocol=header.protocol_name,
        study_description=header.study_description,
    )


def _uids(headers: Iterable[InstanceHeader]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(header.sop_instance_uid for header in headers))


# ---------------------------------------------------------------- stacks of planes


def _describe_sound(frames: Sequence[Frame]) -> list[ScannedSeries]:
    """The stacks of a series without the images that are cut off, if any are whole; these cost themselves."""
    damaged = {frame.header.path: reason for frame in frames if (reason := why_truncated(frame)) is not None}
    sound = [frame for frame in frames if frame.header.path not in damaged]
    if not damaged or not sound:
        return _describe_images(frames)
    which = "1 image is" if len(damaged) == 1 else f"{len(damaged)} images are"
    doubt = f"{which} damaged and left out: {next(iter(damaged.values()))}"
    return [
        replace(one, description=replace(one.description, doubts=(*one.description.doubts, doubt)))
        for one in _describe_images(sound)
    ]


def _describe_images(frames: Sequence[Frame]) -> list[ScannedSeries]:
    ordered = sorted(frames, key=lambda frame: (str(frame.header.path), frame.index))
    stacks = split_into_stacks(ordered)
    stacks.sort(key=_stack_order)
    directions = len({orientation_name(stack.frames[0].orientation) for stack in stacks})
    return [
        ScannedSeries(description=_describe(stack, number, len(stacks), directions), stack=stack)
        for number, stack in enumerate(stacks)
    ]


def _stack_order(stack: Stack) -> tuple[int, int]:
    numbers = [frame.header.instance_number or 0 for frame in stack.all_frames]
    return min(numbers), min(frame.index for frame in stack.all_frames)


def _describe(stack: Stack, number: int, count: int, directions: int) -> SeriesDescription:
    frames, first = stack.all_frames, stack.frames[0]
    thicknesses = Counter(frame.slice_thickness_mm for frame in frames if frame.slice_thickness_mm)
    thickness_mm = thicknesses.most_common(1)[0][0] if thicknesses else None
    times = [frame.acquired_at for frame in frames if frame.acquired_at is not None]
    spacing_mm = None if stack.grid is None else float(np.linalg.norm(stack.grid.affine[:3, 0]))
    kind = kind_of(
        first,
        Geometry(
            planes=len(stack.frames),
            plane=orientation_name(first.orientation),
            directions=directions,
            spacing_mm=spacing_mm if len(stack.frames) > 1 else None,
            thickness_mm=thickness_mm,
        ),
    )
    scale = suv_scale([frame.pet for frame in frames if frame.pet is not None])
    unusable = next((frame.unusable for frame in stack.frames if frame.unusable), None)
    frames_of_reference = [frame.header.frame_of_reference_uid for frame in frames]
    refusal = kind.refusal or unusable or stack.refusal or scale.refusal or _conflict(stack)
    described = replace(
        _identity(first.header),
        sop_instance_uids=_uids(frame.header for frame in frames),
        frame_of_reference_uid=next((uid for uid in frames_of_reference if uid), None),
        stack=number,
        stack_label=stack.label,
        orientation=orientation_name(first.orientation),
        slice_thickness_mm=thickness_mm,
        contrast_phase=first.phase,
        kernel=first.kernel,
        acquired_at=min(times) if times else None,
        is_original=not first.is_derived,
        refusal=refusal,
        left_out=kind.left_out,
        value_unit="" if refusal else _value_unit(stack, scale),
        notes=_notes(stack, thickness_mm, count),
        doubts=_doubts(stack, scale),
    )
    return described if stack.grid is None else _with_grid(described, stack.grid)


def _conflict(stack: Stack) -> str | None:
    """Why planes that share a place can't be told apart: the only question that headers don't answer."""
    try:
        with quiet():
            equal_duplicates(stack.frames, stack.duplicates)
    except UnsuitableInputError as error:
        return str(error)
    return None


def _value_unit(stack: Stack, scale: SuvScale) -> str:
    modality = stack.frames[0].header.modality
    if modality == "PT":
        return scale.unit
    is_hu = all(frame.value_doubt is None or not frame.has_rescale for frame in stack.frames)
    return "HU" if modality == "CT" and is_hu else ""


def _doubts(stack: Stack, scale: SuvScale) -> tuple[str, ...]:
    doubts = [frame.value_doubt for frame in stack.frames if frame.value_doubt]
    return tuple(dict.fromkeys([*stack.doubts, *doubts, *scale.doubts]))


def _with_grid(described: SeriesDescription, grid: Grid) -> SeriesDescription:
    slice_mm, row_mm, column_mm = (float(mm) for mm in np.linalg.norm(grid.affine[:3, :3], axis=0))
    corners = lps_from_ijk(
        np.array(list(product(*[(-0.5, count - 0.5) for count in grid.shape]))), grid.affine
    )
    return replace(
        described,
        spacing_mm=(slice_mm, row_mm, column_mm),
        shape=grid.shape,
        extent_lps=(_point(corners.min(axis=0)), _point(corners.max(axis=0))),
    )


def _point(vector: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Point:
    return float(vector[0]), float(vector[1]), float(vector[2])


def _notes(stack: Stack, thickness_mm: float | None, count: int) -> tuple[str, ...]:
    notes = list(stack.grid.notes) if stack.grid is not None else []
    if count > 1:
        notes.append(f"one of {count} stacks in this series: {stack.label}")
    if stack.duplicates:
        notes.append(f"{len(stack.duplicates)} further images lie at places that are taken")
    if stack.grid is not None and thickness_mm and len(stack.frames) > 1:
        spacing_mm = float(np.linalg.norm(stack.grid.affine[:3, 0]))
        if spacing_mm < thickness_mm - 10 * SAME_PLACE_MM:
            notes.append(f"slices overlap: {thickness_mm:g} mm thick every {spacing_mm:.2f} mm")
        elif spacing_mm > thickness_mm + 10 * SAME_PLACE_MM:
            notes.append(f"gaps between slices: {thickness_mm:g} mm thick every {spacing_mm:.2f} mm")
    if stack.frames[0].pixels.photometric_interpretation == "MONOCHROME1":
        notes.append("MONOCHROME1: meant to be shown inverted; the values are as stored")
    if any(frame.pixels.is_lossy for frame in stack.frames):
        notes.append("compressed with loss: small lesions may have changed")
    return tuple(notes)
