"""Slices of a visit's volumes for the review page's canvas: voxels as they are, outlines, and where they lie.

The browser gets 16-bit values and windows them itself: a new window costs no request, and to cut a slice
costs the server less than to compress a picture of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from workflow.domain.drawing import Mark, MarkKind
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume
from workflow.domain.lesion import Axis, LesionMeasurement
from workflow.domain.palette import colour_of, css
from workflow.domain.record import Observation, PatientRecord, Visit, digest
from workflow.domain.series import SeriesDescription, StackKey
from workflow.domain.series_choice import measurable_stacks
from workflow.domain.users import UserRole
from workflow.domain.visit import stack_with_study
from workflow.engine.context import Context
from workflow.inference import stack_paths
from workflow.ports import ImageStack
from workflow.web.site import Key, Site

# Of the share of the values that a window without a convention of its own leaves black and white.
_DARKEST, _BRIGHTEST = 1.0, 99.5
# A sample of the voxels says as much of the window as all of them.
_SAMPLE = 4


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is shown black to white: centre and width in the values' unit."""

    name: str
    centre: float
    width: float
    is_inverted: bool = False


_CT_WINDOWS = (
    Window(name="soft tissue", centre=50, width=400),
    Window(name="lung", centre=-600, width=1500),
    Window(name="bone", centre=400, width=1800),
    Window(name="liver", centre=90, width=150),
    Window(name="brain", centre=40, width=80),
)
# SUV by body weight; hot is black, as PET is read.
_PET_WINDOWS = (
    Window(name="SUV 0-5", centre=2.5, width=5, is_inverted=True),
    Window(name="SUV 0-10", centre=5, width=10, is_inverted=True),
)


def windows_for(series: SeriesDescription, volume: Volume) -> tuple[Window, ...]:
    """The windows that a modality is read in, and one that fits this volume's own values."""
    sample = volume.array[::_SAMPLE, ::_SAMPLE, ::_SAMPLE]
    low, high = (float(value) for value in np.percentile(sample, (_DARKEST, _BRIGHTEST)))
    own = Window(name="whole range", centre=(low + high) / 2, width=max(high - low, 1e-3))
    if series.modality == "CT" and series.value_unit == "HU":
        return (*_CT_WINDOWS, own)
    if series.modality == "PT" and series.value_unit:
        return (*_PET_WINDOWS, own)
    return (own,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A decoded volume with what the canvas has to know of it.

    `slope` and `intercept` take the 16-bit values that are sent to the volume's own.
    """

    stack: ImageStack
    windows: tuple[Window, ...]
    slope: float
    intercept: float

    @classmethod
    def of(cls, stack: ImageStack) -> Shown:
        """Look at a volume's values once."""
        array = stack.volume.array
        slope, intercept = 1.0, 0.0
        if array.dtype != np.int16:
            low, high = float(array.min()), float(array.max())
            slope = max(high - low, 1e-6) / 65535
            intercept = low + 32768 * slope
        return cls(
            stack=stack,
            windows=windows_for(stack.series, stack.volume),
            slope=slope,
            intercept=intercept,
        )

    @property
    def byte_count(self) -> int:
        """What it takes in memory."""
        return int(self.stack.volume.array.nbytes)

    def slice_bytes(self, index: int) -> bytes:
        """A slice as int16, little-endian, row by row."""
        plane: NDArray[Any] = self.stack.volume.array[index]
        if plane.dtype != np.int16:
            plane = np.rint((plane.astype(np.float64) - self.intercept) / self.slope)
        return plane.astype("<i2").tobytes()


class VolumeCache:
    """Decoded volumes, at most so many bytes of them; the one that was not used for longest goes first.

    One volume always stays, however large it is. Requests for a volume that is being decoded wait for it,
    and for no other.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, Shown] = OrderedDict()
        self._reading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def byte_count(self) -> int:
        """What the kept volumes take."""
        with self._lock:
            return sum(shown.byte_count for shown in self._kept.values())

    def kept(self, key: str) -> Shown | None:
        """A volume, if it is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def get(self, key: str, read: Callable[[], Shown]) -> Shown:
        """A volume, read if it is not kept."""
        with self._lock:
            own = self._reading.setdefault(key, threading.Lock())
        with own:
            shown = self.kept(key)
            if shown is None:
                shown = read()
                self._keep(key, shown)
        with self._lock:
            self._reading.pop(key, None)
        return shown

    def _keep(self, key: str, shown: Shown) -> None:
        with self._lock:
            self._kept[key] = shown
            total = sum(kept.byte_count for kept in self._kept.values())
            while total > self._limit_bytes and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                total -= dropped.byte_count


def volume_id(record: PatientRecord, visit: Visit, key: StackKey) -> str:
    """Names a stack by what it holds: the same name is always the same voxels. "" if the visit lacks it."""
    found = stack_with_study(record, visit, key)
    if found is None or found[1].revision is None:
        return ""
    content = found[1].revision.digests.get(key, "")
    return digest([key.series_instance_uid, key.stack, content])[:16]


def shown_stacks(record: PatientRecord, visit: Visit) -> list[SeriesDescription]:
    """The stacks that a reader may look at: those that were measured on, then those that can be."""
    stacks = record.stacks_of(visit)
    used = dict.fromkeys(o.measured_on for o in visit.observations if o.measured_on in stacks)
    keys = [key for key in used if key is not None]
    keys += [s.key for s in measurable_stacks(list(stacks.values())) if s.key not in used]
    return [stacks[key] for key in keys]


def slices_routes(site: Site, volumes: VolumeCache) -> APIRouter:
    """Volumes of a visit, and their slices."""
    reader = site.access.needs(UserRole.READER, UserRole.ADJUDICATOR)
    routes = APIRouter(dependencies=[Depends(reader)])
    # Named by its content, so it may be kept; but by nobody on the way.
    headers = {"Cache-Control": "private, max-age=600"}

    @routes.get("/slices/{visit_key}/{volume}")
    def about(visit_key: Key, volume: str) -> JSONResponse:
        record, visit = record_of(site.context, visit_key)
        series, shown = open_volume(record, visit, volume, volumes, site.context)
        view = volume_view(record, visit, series, shown, volume)
        return JSONResponse(view, headers={"Cache-Control": "private, no-cache"})

    @routes.get("/slices/{visit_key}/{volume}/{index}.bin")
    def cut(visit_key: Key, volume: str, index: int) -> Response:
        shown = volumes.kept(volume)
        if shown is None:
            record, visit = record_of(site.context, visit_key)
            _, shown = open_volume(record, visit, volume, volumes, site.context)
        if not 0 <= index < shown.stack.volume.shape[0]:
            raise HTTPException(404, f"there is no slice {index}; there are {shown.stack.volume.shape[0]}")
        return Response(shown.slice_bytes(index), media_type="application/octet-stream", headers=headers)

    return routes


def record_of(context: Context, visit_key: Key) -> tuple[PatientRecord, Visit]:
    """A patient's record and one of its visits, or 404."""
    found = context.records.patient_of_visit(visit_key)
    if found is None:
        raise HTTPException(404, "there is no such visit")
    record = context.records.load(found[0])
    visit = next((v for v in record.standing if v.anchor == found[1]), None)
    if visit is None:
        raise HTTPException(404, "the visit's studies are part of another visit by now, or are kept back")
    return record, visit


def open_volume(
    record: PatientRecord, visit: Visit, volume: str, volumes: VolumeCache, context: Context
) -> tuple[SeriesDescription, Shown]:
    """A volume of a visit, decoded if it is not kept; 404 if the visit has none of this name."""
    series = _series(record, visit, volume)
    return series, volumes.get(volume, lambda: _read(series, context))


def _series(record: PatientRecord, visit: Visit, volume: str) -> SeriesDescription:
    for key, series in record.stacks_of(visit).items():
        if volume_id(record, visit, key) == volume:
            return series
    raise HTTPException(
        404, "the visit has no such volume, or other images have come for it; reload the page"
    )


def _read(series: SeriesDescription, context: Context) -> Shown:
    files = context.records.files([series.study_instance_uid])
    try:
        return Shown.of(context.images.read_volume(stack_paths(files, series), series))
    except UnsuitableInputError as error:
        raise HTTPException(422, f"this series can't be shown: {error}") from error


def volume_view(
    record: PatientRecord, visit: Visit, series: SeriesDescription, shown: Shown, volume: str
) -> dict[str, Any]:
    """A volume as the canvas needs it; indices are (slice, row, column), with whole numbers at voxel centres.

    `steps_lps` are the steps, LPS mm, from one voxel to the next along (slice, row, column).
    """
    grid = shown.stack.volume
    return {
        "id": volume,
        "name": series.name,
        "modality": series.modality,
        "unit": shown.stack.series.value_unit,
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing_mm),
        "origin_lps": grid.affine[:3, 3].tolist(),
        "steps_lps": grid.affine[:3, :3].T.tolist(),
        "slope": shown.slope,
        "intercept": shown.intercept,
        "windows": [vars(window) for window in shown.windows],
        "lesions": [
            _lesion_view(record, seen, grid) for seen in visit.observations if seen.measured_on == series.key
        ],
    }


def _lesion_view(record: PatientRecord, seen: Observation, grid: Volume) -> dict[str, Any]:
    lesion, size = record.lesions[seen.tracking_uid], seen.measurement
    has_mask = seen.mask is not None and not seen.mask.is_empty and seen.mask.shape == grid.shape
    expected = None if seen.expected_lps is None else grid.ijk(np.asarray(seen.expected_lps))
    centre = seen.mask.centroid_ijk() if seen.mask is not None and has_mask else None
    return {
        "tracking_uid": seen.tracking_uid,
        "label": lesion.label,
        "colour": css(colour_of(lesion.role, lesion.label)),
        "slice": size.slice_index if size else None,
        "centre_ijk": _rounded(centre),
        "expected_ijk": _rounded(expected),
        "long_axis": _axis(size.long_axis, grid) if size else None,
        "short_axis": _axis(size.short_axis, grid) if size else None,
        "contours": contours(seen.mask) if seen.mask is not None and has_mask else {},
    }


def _axis(axis: Axis, grid: Volume) -> list[list[float]]:
    ends = grid.ijk(np.array([axis.start_lps, axis.end_lps]))
    return [[round(float(value), 2) for value in end] for end in ends]


def axes_as_mark(size: LesionMeasurement, grid: Volume) -> Mark:
    """A measurement's axes as if they were drawn on its slice."""
    axes = (size.long_axis,) if size.short_axis.length_mm == 0 else (size.long_axis, size.short_axis)
    ends = grid.ijk(np.array([end for axis in axes for end in (axis.start_lps, axis.end_lps)]))
    return Mark(
        kind=MarkKind.AXES if len(axes) == 2 else MarkKind.LINE,
        slice_index=size.slice_index,
        points=tuple((float(row), float(column)) for _, row, column in ends),
    )


def _rounded(index_ijk: FloatArray | None) -> list[float] | None:
    return None if index_ijk is None else [round(float(value), 2) for value in index_ijk]


def contours(mask: Mask) -> dict[int, list[list[list[float]]]]:
    """The outlines of a mask, by slice: closed polylines of (row, column), half-way between in and out."""
    from skimage.measure import find_contours

    found: dict[int, list[list[list[float]]]] = {}
    for offset, pixels in enumerate(mask.voxels):
        if not pixels.any():
            continue
        padded = np.pad(pixels, 1).astype(np.float32)
        start: Sequence[int] = mask.start_ijk
        found[start[0] + offset] = [
            [
                [round(float(row) + start[1] - 1, 1), round(float(column) + start[2] - 1, 1)]
                for row, column in line
            ]
            for line in find_contours(padded, 0.5)
        ]
    return found
