"""A series' images as one `Volume`: HU for CT, SUV for PET, on a regular grid in the patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.frames import Frame
from dicom_io.grid import Grid
from dicom_io.parsing import quiet
from dicom_io.pixels import PlaneArray, equal_duplicates, read_planes
from dicom_io.plausibility import why_not_hounsfield, why_not_suv
from dicom_io.series import Scan, ScannedSeries, scan_files
from dicom_io.stacks import Stack
from dicom_io.suv import SUV_UNIT, suv_scale
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Volume
from workflow.domain.series import SeriesDescription
from workflow.domain.series_choice import SeriesRules, choose_series

# What lies outside the scanned circle: makers pad with anything below air; models expect air.
_OUTSIDE_HU = -1024.0
# A padding value above this is a measured value in most of the image (0 HU is water): not padding.
_HIGHEST_PADDING_HU = -900.0


@dataclass(frozen=True, kw_only=True)
class SliceSource:
    """The instance, and the frame in it, that one slice of a volume came from.

    `frame_number` counts from 1 in a multi-frame instance and is None in a classic one, as DICOM references
    have it. Where `is_interpolated`, the slice itself is missing and this is its lower neighbour.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None
    path: Path
    is_interpolated: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesVolume:
    """A volume and where it came from.

    Attributes
    ----------
    volume
        Array (slice, row, column), slices in ascending order along the normal (row direction x column
        direction). HU for CT (int16, float32 if the rescaling has fractions), SUV by body weight in g/ml
        for PET (float32), the maker's units after rescaling for MR. `series.value_unit` says which; it is
        "" where the pixels contradict what the header promised, and PET values are then as stored.
    slices
        One source per slice of the array, in its order.
    series
        The description, with what the pixels say of its unit and doubts.
    notes
        What was found and handled, for the worksheet; includes the series' own notes.
    """

    volume: Volume
    slices: tuple[SliceSource, ...]
    series: SeriesDescription
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- entry points


def read_volume(paths: Iterable[Path], series: SeriesDescription | None = None) -> SeriesVolume:
    """Read one stack's pixels.

    Parameters
    ----------
    paths
        The files, in any order; files of other series among them are ignored.
    series
        Which stack, as `describe_study` described it from the same files. None: the best one by the
        default `SeriesRules`.

    Raises
    ------
    UnsuitableInputError
        If it can't be read or refuses to be a volume; the message says which series or file, and why.
    TransientError
        If the storage fails.
    """
    files = sorted(paths)
    scan = scan_files(files)
    if series is not None:
        read = _read(_find(scan, series))
        # From the files of one stack alone it would be called the only one of its series.
        named = replace(read.series, stack=series.stack, stack_label=series.stack_label)
        return replace(read, series=named)
    return _read(_best(scan, None, where=str(files[0]) if len(files) == 1 else f"{len(files)} files"))


def read_folder(folder: Path, *, rules: SeriesRules | None = None) -> SeriesVolume:
    """Read the best series in a folder and its subfolders (hidden files left out); see `read_volume`."""
    if not folder.is_dir():
        raise UnsuitableInputError(f"{folder}: no folder; give a folder with DICOM files")
    return _read(_best(scan_files(files_in(folder)), rules, where=str(folder)))


def files_in(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders except hidden ones, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _best(scan: Scan, rules: SeriesRules | None, where: str) -> ScannedSeries:
    if not scan.series:
        if len(scan.skipped) == 1:
            raise UnsuitableInputError(scan.skipped[0].reason)
        damaged = [skipped.reason for skipped in scan.skipped if skipped.is_dicom]
        reason = "; ".join(damaged[:3]) or "none of them is a DICOM file"
        raise UnsuitableInputError(f"{where}: nothing to read: {reason}")
    choice = choose_series([one.description for one in scan.series], rules)
    if choice.chosen is None:
        raise UnsuitableInputError(f"{where}: {choice.reason}")
    return _find(scan, choice.chosen)


def _find(scan: Scan, series: SeriesDescription) -> ScannedSeries:
    same = [one for one in scan.series if one.description.series_instance_uid == series.series_instance_uid]
    wanted = set(series.sop_instance_uids)
    fits = [one for one in same if set(one.description.sop_instance_uids) == wanted]
    for one in fits:
        if one.description.stack == series.stack or len(fits) == 1:
            return one
    damaged = [skipped.reason for skipped in scan.skipped if skipped.is_dicom]
    raise UnsuitableInputError(
        f"{series.name}: the files don't hold the {len(wanted)} instances of series "
        f"{series.series_instance_uid} as described; have it sent again"
        + "".join(f"; {one}" for one in damaged[:3])
    )


# ---------------------------------------------------------------- reading


def _read(scanned: ScannedSeries) -> SeriesVolume:
    described, stack = scanned.description, scanned.stack
    if described.refusal or stack.grid is None:
        raise UnsuitableInputError(f"{described.name}: {described.refusal}")
    filling = _filled(described, stack, stack.grid, is_suv=described.value_unit == SUV_UNIT)
    doubts, unit = described.doubts, described.value_unit
    if unit == SUV_UNIT and (reason := why_not_suv(filling.array)):
        filling = _filled(described, stack, stack.grid, is_suv=False)
        doubts, unit = (*doubts, f"PET: measured without SUV, values as stored: {reason}"), ""
    elif unit == "HU" and (reason := why_not_hounsfield(filling.array)):
        doubts, unit = (*doubts, f"CT: measured without HU: {reason}"), ""
    notes = (*(note for note in described.notes if "places that are taken" not in note), *filling.notes)
    return SeriesVolume(
        volume=Volume(array=filling.array, affine=stack.grid.affine),
        slices=_sources(stack, stack.grid),
        series=replace(described, notes=notes, doubts=doubts, value_unit=unit),
        notes=notes,
    )


def _filled(described: SeriesDescription, stack: Stack, grid: Grid, *, is_suv: bool) -> _Filling:
    filling = _Filling(stack, grid, is_suv=is_suv)
    with quiet():
        try:
            filling.read()
        except UnsuitableInputError as error:
            raise UnsuitableInputError(f"{described.name}: {error}") from error
        except MemoryError as error:
            raise UnsuitableInputError(
                f"{described.name}: {grid.shape} voxels don't fit into memory; use a smaller series"
            ) from error
    return filling


def _sources(stack: Stack, grid: Grid) -> tuple[SliceSource, ...]:
    sources: list[SliceSource] = []
    for plane in grid.planes:
        if plane is None:
            sources.append(replace(sources[-1], is_interpolated=True))
            continue
        frame = stack.frames[plane]
        sources.append(
            SliceSource(
                sop_instance_uid=frame.header.sop_instance_uid,
                sop_class_uid=frame.header.sop_class_uid,
                frame_number=frame.number,
                path=frame.header.path,
            )
        )
    return tuple(sources)


class _Filling:
    """The array while planes come in, one at a time and in any order."""

    def __init__(self, stack: Stack, grid: Grid, *, is_suv: bool) -> None:
        self.stack, self.grid = stack, grid
        self.modality = stack.frames[0].header.modality
        images = [frame.pet for frame in stack.all_frames if frame.pet is not None]
        suv = suv_scale(images)
        factors = suv.factors if images and is_suv else (1.0,) * len(stack.all_frames)
        self._suv_notes = suv.notes if is_suv else ()
        self.scales = [
            (frame.slope * factor, frame.intercept * factor)
            for frame, factor in zip(stack.all_frames, factors, strict=True)
        ]
        is_whole = not images and all(scale == int(scale) for pair in self.scales for scale in pair)
        self.outside = _OUTSIDE_HU if self.modality == "CT" else 0.0
        self.array: NDArray[Any] = np.empty(grid.shape, dtype=np.int16 if is_whole else np.float32)
        if grid.is_tilted:
            self.array.fill(self.outside)
        self._padded = self._ignored_padding = 0
        self.duplicates: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found in the pixels."""
        notes = list(self._suv_notes)
        if self.duplicates:
            names = ", ".join(self.duplicates[:5]) + (", ..." if len(self.duplicates) > 5 else "")
            notes.append(f"{len(self.duplicates)} identical duplicate images dropped ({names})")
        if self._padded:
            notes.append(f"{self._padded} padded pixels (PixelPaddingValue) set to {self.outside:g}")
        if self._ignored_padding:
            notes.append("PixelPaddingValue is a measurable value here and was not taken as padding")
        return tuple(notes)

    def read(self) -> None:
        """Fill the array.

        Raises
        ------
        UnsuitableInputError
            If two images at one place differ, or a file can't be decoded.
        """
        slice_of = {plane: k for k, plane in enumerate(self.grid.planes) if plane is not None}
        for place, stored in read_planes(self.stack.frames):
            self._place(slice_of[place], place, stored)
        self.duplicates = equal_duplicates(self.stack.frames, self.stack.duplicates)
        for k, plane in enumerate(self.grid.planes):
            if plane is None:
                self._between(k)

    def _place(self, k: int, place: int, stored: PlaneArray) -> None:
        """Rescale a plane into slice k; the array grows from int16 to float32 if the values must."""
        frame, (slope, intercept) = self.stack.frames[place], self.scales[place]
        padding = self._padding_mask(frame, stored, slope, intercept)
        if padding is not None:
            # Not to widen the whole array for numbers that are replaced below.
            stored[padding] = 0 if padding.all() else stored[~padding].min()
        ends = [float(end) * slope + intercept for end in (stored.min(), stored.max())]
        if self.array.dtype == np.int16 and not -32768 <= min(ends) <= max(ends) <= 32767:
            self.array = self.array.astype(np.float32)
        values = self.array[k] if not self.grid.is_tilted else np.empty(stored.shape, dtype=self.array.dtype)
        _rescale(stored, slope, intercept, values)
        if padding is not None:
            values[padding] = self.outside
        if self.grid.is_tilted:
            self._shift_into(k, values)

    def _padding_mask(
        self, frame: Frame, stored: PlaneArray, slope: float, intercept: float
    ) -> NDArray[np.bool_] | None:
        if frame.pixels.padding is None:
            return None
        low, high = frame.pixels.padding
        if self.modality == "CT" and high * slope + intercept > _HIGHEST_PADDING_HU:
            self._ignored_padding += 1
            return None
        if stored.min() > high or stored.max() < low:
            return None
        mask: NDArray[np.bool_] = (stored >= low) & (stored <= high)
        self._padded += int(np.count_nonzero(mask))
        return mask

    def _shift_into(self, k: int, values: NDArray[Any]) -> None:
        shift_rows, shift_columns = (float(offset) for offset in self.grid.offset_px[k])
        moved = _moved(values.astype(np.float32), shift_rows, self.grid.shape[1], 0, self.outside)
        moved = _moved(moved, shift_columns, self.grid.shape[2], 1, self.outside)
        self.array[k] = np.rint(moved) if self.array.dtype == np.int16 else moved

    def _between(self, k: int) -> None:
        mean = (self.array[k - 1].astype(np.float32) + self.array[k + 1]) / 2
        self.array[k] = np.rint(mean) if self.array.dtype == np.int16 else mean


def _rescale(stored: PlaneArray, slope: float, intercept: float, values: NDArray[Any]) -> None:
    """Write slope x stored + intercept into `values`: int16, where the result is known to fit, or float32."""
    if values.dtype != np.int16:
        np.multiply(stored, np.float32(slope), out=values, casting="unsafe")
        values += np.float32(intercept)
        return
    if slope != 1:
        stored = stored.astype(np.int64) * int(slope)
    # The sum fits, so arithmetic modulo 2^16 gives it; it saves a wider copy of every slice.
    wrapped = np.array(int(intercept) & 0xFFFF, dtype=np.uint16).view(np.int16)
    np.add(stored.astype(np.int16, copy=False), wrapped, out=values)


def _moved(
    values: NDArray[np.float32], shift: float, length: int, axis: int, outside: float
) -> NDArray[np.float32]:
    """Move an image by fractions of pixels along an axis into one of another length, interpolating."""
    values = np.moveaxis(values, axis, 0)
    moved = np.full((length, values.shape[1]), outside, dtype=np.float32)
    whole, part = floor(shift), shift - floor(shift)
    if part < 1e-6:
        moved[whole : whole + len(values)] = values
    else:
        # Output i lies at whole + part behind input i: between the inputs i - whole - 1 and i - whole.
        inner = slice(whole + 1, whole + len(values))
        moved[inner] = part * values[:-1] + (1 - part) * values[1:]
        moved[whole] = part * outside + (1 - part) * values[0]
        if whole + len(values) < length:
            moved[whole + len(values)] = part * values[-1] + (1 - part) * outside
    return np.moveaxis(moved, 0, axis)


def read_series(paths: Iterable[Path], all_of: Sequence[SeriesDescription]) -> list[SeriesVolume]:
    """Read several stacks with one pass over the headers, in the order given; see `read_volume`."""
    scan = scan_files(paths)
    return [_read(_find(scan, one)) for one in all_of]
