"""Splitting a series into stacks of parallel planes, one plane per place, each of which can be a volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dicom_io.frames import Frame
from dicom_io.grid import SAME_PLACE_MM, Grid, fit_grid, is_even, plane_axes, tolerance_mm
from workflow.domain.errors import UnsuitableInputError

# Components of two directions that differ by less are one orientation (0.06°).
_SAME_DIRECTION = 1e-3
_SAME_SPACING_MM = 1e-3
# A change of slice spacing splits a stack only into parts of at least so many slices.
_SHORTEST_ZONE = 3
_MOST_ORIENTATIONS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Parallel planes in ascending order along their normal, one per place.

    Attributes
    ----------
    frames
        One per place.
    duplicates
        Further planes at a place of `frames`: (number in `frames`, plane). Dropped if their pixels are
        equal, else the stack is refused; only reading the pixels can tell.
    label
        What tells this stack from the others of its series; "" if it is alone.
    grid, refusal
        Where the planes go in a volume, or why there can't be one.
    doubts
        What was guessed in telling this stack from the others.
    """

    frames: tuple[Frame, ...]
    duplicates: tuple[tuple[int, Frame], ...] = ()
    label: str = ""
    grid: Grid | None = None
    refusal: str | None = None
    doubts: tuple[str, ...] = ()

    @property
    def all_frames(self) -> tuple[Frame, ...]:
        """The planes with the duplicates."""
        return self.frames + tuple(frame for _, frame in self.duplicates)


@dataclass(frozen=True)
class _Part:
    """Planes that belong together so far, and the words for what they have in common."""

    frames: tuple[Frame, ...]
    words: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def named(self, frames: Iterable[Frame], word: str, doubt: str | None = None) -> _Part:
        doubts = self.doubts if doubt is None else (*self.doubts, doubt)
        return _Part(tuple(frames), (*self.words, word), doubts)


def split_into_stacks(frames: Sequence[Frame]) -> list[Stack]:
    """Split the planes of one series into stacks, in a reproducible order.

    Planes are split by frame of reference, by matrix, pixel spacing and orientation, then, where several
    lie at one place, by what the headers say tells them apart (temporal position, acquisition, b-value ...),
    and last where the slice spacing changes.
    """
    framed = _by_frame_of_reference(frames)
    parts = [
        replace(part, words=(*of_frame.words, *part.words))
        for of_frame in framed
        for alike in _by_orientation(of_frame.frames)
        for part in _by_marks(alike)
    ]
    parts = [zone for part in parts for zone in _by_spacing(part)]
    return [_stack(part) for part in parts]


# ---------------------------------------------------------------- frame of reference


def _by_frame_of_reference(frames: Sequence[Frame]) -> list[_Part]:
    """Positions in two frames of reference have nothing to do with each other (PS3.3 C.7.4.1.1.1).

    Planes that name none belong to the only frame that the others name, if it is the only one.
    """
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.header.frame_of_reference_uid or ""].append(frame)
    if len([uid for uid in groups if uid]) <= 1:
        return [_Part(tuple(frames))]
    return [
        _Part(
            tuple(group),
            (f"frame of reference {number} of {len(groups)}" if uid else "no frame of reference",),
        )
        for number, (uid, group) in enumerate(groups.items(), start=1)
    ]


# ---------------------------------------------------------------- orientation and matrix


def _by_orientation(frames: Sequence[Frame]) -> list[_Part]:
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _is_alike(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
            if len(groups) > _MOST_ORIENTATIONS:
                # A rotating acquisition: no two planes are parallel.
                return [_Part(tuple(frames))]
    if len(groups) == 1:
        return [_Part(tuple(groups[0]))]
    return [_Part(tuple(group), (_difference(group[0], groups),)) for group in groups]


def _is_alike(one: Frame, other: Frame) -> bool:
    kinds = [
        (frame.pixels.rows, frame.pixels.columns, frame.unusable, frame.is_localizer)
        for frame in (one, other)
    ]
    if kinds[0] != kinds[1]:
        return False
    return _close(one.pixel_spacing_mm, other.pixel_spacing_mm, _SAME_SPACING_MM) and _close(
        one.orientation, other.orientation, _SAME_DIRECTION
    )


def _close(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= tolerance


def _difference(frame: Frame, groups: Sequence[Sequence[Frame]]) -> str:
    if len({orientation_name(group[0].orientation) for group in groups}) == len(groups):
        return orientation_name(frame.orientation)
    if len({(group[0].pixels.rows, group[0].pixels.columns) for group in groups}) == len(groups):
        return f"{frame.pixels.rows} x {frame.pixels.columns} pixels"
    number = next(i for i, group in enumerate(groups, start=1) if group[0] is frame)
    return f"orientation {number} of {len(groups)} ({orientation_name(frame.orientation)})"


def orientation_name(orientation: Sequence[float] | None) -> str:
    """Name the patient's plane within 30°: axial, coronal or sagittal; else oblique, "" if unknown."""
    if orientation is None:
        return ""
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    length = float(np.linalg.norm(normal))
    axis = int(np.argmax(normal))
    if length == 0 or normal[axis] / length < np.cos(np.radians(30.0)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[axis]


# ---------------------------------------------------------------- several planes at one place


def _by_marks(part: _Part) -> list[_Part]:
    """Split while several planes lie at one place and a mark tells them apart."""
    places = _places(part.frames)
    if places is None or len(set(places)) == len(places):
        return [part]
    most = max(places.count(place) for place in set(places))
    if len(set(places)) == 1:
        return [part]
    duplicates = len(places) - len(set(places))
    for name in dict.fromkeys(name for frame in part.frames for name, _ in frame.marks):
        groups = _grouped(part.frames, name)
        if 1 < len(groups) <= 2 * most and _duplicates(groups.values()) < duplicates:
            return [
                split
                for value, frames in groups.items()
                for split in _by_marks(part.named(frames, f"{name} {value}" if value else f"no {name}"))
            ]
    for name in ("acquisition time", "content time"):
        if (passes := _passes_in_time(part.frames, places, name)) is not None:
            return [part.named(one, f"{name} from {_first_time(one, name)}") for one in passes]
    blocks, doubt = _blocks(part.frames, places), None
    if blocks is None:
        blocks = _interleaved(part.frames, places)
        doubt = "only the order of instance numbers tells apart the images at one place"
    if blocks is not None:
        return [
            part.named(block, f"pass {i} by instance number", doubt)
            for i, block in enumerate(blocks, start=1)
        ]
    return [part]


def _places(frames: Sequence[Frame]) -> list[int] | None:
    """A number per plane, equal for planes at one place along the normal; None without positions."""
    heights = _heights(frames)
    if heights is None:
        return None
    order = np.argsort(heights, kind="stable")
    rises = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > SAME_PLACE_MM)])
    places = np.empty(len(frames), dtype=int)
    places[order] = rises
    return [int(place) for place in places]


def _heights(frames: Sequence[Frame]) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    orientation = frames[0].orientation
    positions = [frame.position_lps for frame in frames if frame.position_lps is not None]
    if orientation is None or len(positions) < len(frames):
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    heights: np.ndarray[tuple[int], np.dtype[np.float64]] = np.asarray(positions, dtype=float) @ normal
    return heights


def _grouped(frames: Sequence[Frame], name: str) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[dict(frame.marks).get(name, "")].append(frame)
    return dict(sorted(groups.items(), key=lambda group: _natural(group[0])))


def _natural(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _duplicates(groups: Iterable[Sequence[Frame]]) -> int:
    return sum(len(group) - len(set(_places(group) or ())) for group in groups)


def _passes_in_time(frames: Sequence[Frame], places: Sequence[int], name: str) -> list[list[Frame]] | None:
    """Passes over the same places, one after the other by a time; None unless that works out."""
    if not all(_time(frame, name) for frame in frames):
        return None
    passes = _nth_of_each_place(frames, places, lambda frame: _time(frame, name))
    if passes is None:
        return None
    times = [sorted(_time(frame, name) for frame in one) for one in passes]
    return passes if all(before[-1] < after[0] for before, after in pairwise(times)) else None


def _time(frame: Frame, name: str) -> str:
    return dict(frame.marks).get(name, "")  # both kinds of text sort as the times do


def _first_time(frames: Sequence[Frame], name: str) -> str:
    return min(_time(frame, name) for frame in frames).split("T")[-1].split(".")[0]


def _interleaved(frames: Sequence[Frame], places: Sequence[int]) -> list[list[Frame]] | None:
    """Passes that take turns at each place by instance number (1, 2 at the first place, 3, 4 at the next)."""
    numbers = [frame.header.instance_number for frame in frames]
    if len(set(numbers)) < len(numbers) or None in numbers:
        return None
    passes = _nth_of_each_place(frames, places, lambda frame: frame.header.instance_number or 0)
    if passes is None:
        return None
    strides = {
        (b.header.instance_number or 0) - (a.header.instance_number or 0)
        for one, other in pairwise(passes)
        for a, b in zip(one, other, strict=True)
    }
    return passes if len(strides) == 1 else None


def _nth_of_each_place(
    frames: Sequence[Frame], places: Sequence[int], key: Callable[[Frame], Any]
) -> list[list[Frame]] | None:
    """The first image of each place by a key, the second of each, and so on; None if their number differs."""
    by_place: dict[int, list[Frame]] = defaultdict(list)
    for place, frame in sorted(zip(places, frames, strict=True), key=lambda one: (one[0], key(one[1]))):
        by_place[place].append(frame)
    if len({len(group) for group in by_place.values()}) != 1 or len(by_place) < 2:
        return None
    return [list(one) for one in zip(*by_place.values(), strict=True)]


def _blocks(frames: Sequence[Frame], places: Sequence[int]) -> list[list[Frame]] | None:
    """Cut the planes, in instance order, into passes over the same places; None unless that works out."""
    numbers = [(frame.header.instance_number, frame.index) for frame in frames]
    if len(set(numbers)) < len(numbers) or any(number is None for number, _ in numbers):
        return None
    length = len(set(places))
    if len(frames) % length or length < 2:
        return None
    ranked = sorted(range(len(frames)), key=lambda i: (numbers[i][0] or 0, numbers[i][1]))
    blocks = [ranked[i : i + length] for i in range(0, len(ranked), length)]
    if any({places[i] for i in block} != set(places) for block in blocks):
        return None
    return [[frames[i] for i in block] for block in blocks]


# ---------------------------------------------------------------- zones of slice spacing


def _by_spacing(part: _Part) -> list[_Part]:
    """Split where the slice spacing changes for good (head CT: thin at the base, thick above)."""
    heights = _heights(part.frames)
    if heights is None or len(heights) < 2 * _SHORTEST_ZONE:
        return [part]
    order = np.argsort(heights, kind="stable")
    heights = heights[order]
    if is_even(heights):
        return [part]
    zones = _zones(heights)
    spacings = [float(heights[b - 1] - heights[a]) / max(b - a - 1, 1) for a, b in zones]
    if len(zones) == 1 or min(b - a for a, b in zones) < _SHORTEST_ZONE:
        return [part]
    if all(abs(spacing - spacings[0]) <= tolerance_mm(spacings[0]) for spacing in spacings):
        # One spacing throughout and a jump: slices are missing, unless two acquisitions meet there.
        groups = [{dict(part.frames[i].marks).get("acquisition") for i in order[a:b]} for a, b in zones]
        if any(len(group) != 1 or None in group for group in groups) or len(set.union(*groups)) < len(zones):
            return [part]
    return [
        part.named((part.frames[i] for i in order[a:b]), f"slices every {spacing:.2f} mm, part {number}")
        for number, ((a, b), spacing) in enumerate(zip(zones, spacings, strict=True), start=1)
    ]


def _zones(heights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[tuple[int, int]]:
    """Maximal runs of one spacing: (first, behind the last) index of each."""
    zones, first = [], 0
    while first < len(heights):
        last = first + 1
        if last < len(heights):
            spacing = heights[last] - heights[first]
            while last < len(heights) and abs(heights[last] - heights[last - 1] - spacing) <= tolerance_mm(
                spacing
            ):
                last += 1
        zones.append((first, last))
        first = last
    return zones


# ---------------------------------------------------------------- one stack


def _stack(part: _Part) -> Stack:
    label = ", ".join(part.words)
    try:
        ordered, duplicates = _one_per_place(part.frames)
    except UnsuitableInputError as error:
        return Stack(frames=part.frames, label=label, refusal=str(error))
    found = Stack(frames=ordered, duplicates=duplicates, label=label, doubts=part.doubts)
    try:
        return replace(found, grid=_grid(ordered))
    except UnsuitableInputError as error:
        return replace(found, refusal=str(error))


def _one_per_place(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], tuple[tuple[int, Frame], ...]]:
    if len(frames) > 1 and any(not _is_alike(frames[0], frame) for frame in frames):
        raise UnsuitableInputError(
            "the planes are not parallel (rotating acquisition); use a parallel series"
        )
    if any(frame.pixel_spacing_mm is None for frame in frames):
        raise UnsuitableInputError(f"{_first_without(frames, 'pixel_spacing_mm')} has no PixelSpacing")
    for name, keyword in (
        ("orientation", "ImageOrientationPatient"),
        ("position_lps", "ImagePositionPatient"),
    ):
        if any(getattr(frame, name) is None for frame in frames):
            raise UnsuitableInputError(
                f"{_first_without(frames, name)} has no {keyword}; without it nothing can be placed in "
                "the patient"
            )
    plane_axes(frames[0].orientation or ())
    places, heights = _places(frames), _heights(frames)
    if places is None or heights is None:
        raise UnsuitableInputError("the planes have no positions")
    if len(set(places)) == 1 and len({(f.header.sop_instance_uid, f.index) for f in frames}) > 1:
        raise UnsuitableInputError(
            f"all {len(frames)} images lie at one place: a time series, not a volume; use another series"
        )
    by_place: dict[int, list[Frame]] = defaultdict(list)
    for i in sorted(range(len(frames)), key=lambda i: (places[i], _instance_order(frames[i]))):
        by_place[places[i]].append(frames[i])
    ordered = tuple(by_place[place][0] for place in sorted(by_place))
    duplicates = tuple((place, frame) for place in sorted(by_place) for frame in by_place[place][1:])
    return ordered, duplicates


def _instance_order(frame: Frame) -> tuple[int, int, str, str]:
    header = frame.header
    return header.instance_number or 0, frame.index, header.sop_instance_uid, str(header.path)


def _first_without(frames: Sequence[Frame], name: str) -> str:
    return next(frame.label for frame in frames if getattr(frame, name) is None)


def _grid(ordered: tuple[Frame, ...]) -> Grid:
    first = ordered[0]
    return fit_grid(
        positions_lps=[frame.position_lps for frame in ordered if frame.position_lps is not None],
        orientation=first.orientation or (),
        pixel_spacing_mm=first.pixel_spacing_mm or (0.0, 0.0),
        rows=first.pixels.rows,
        columns=first.pixels.columns,
        slice_thickness_mm=first.slice_thickness_mm,
    )
