"""What people draw on images: points, lines, ellipses, circles and polylines, as shapes in the patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import UnsupportedItemError
from dicom_io.prompts.image_planes import as_point
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray
from workflow.domain.lesion import BoxPrompt, LinePrompt, OutlinePrompt, PointPrompt, PromptShape

# More points than this are no drawing.
MAX_POINTS = 100_000
OUTLINE_POINTS = 72
# A caliper in one stroke: bar, line, bar, with the way back along each bar; its bars stand across the line.
MAX_CALIPER_POINTS = 8
CALIPER_SLACK = 0.05
MAX_COORDINATE = 1e6
# Points closer than this, in pixels or mm, are one.
SAME_POINT = 1e-3
# A circle's radius may leave the plane of the images by this share of its length.
MAX_TILT = 0.05
# Two axes of a lesion cross at about a right angle, as people draw them.
MIN_CROSSING_DEGREES = 60.0
# A short axis may miss the long one by this share of its length: it is drawn by hand.
CROSSING_SLACK = 0.15
# A tick or an arrow's barb is at most this share of its line, and lies this near to the line's end.
MARK_SHARE = 0.35
MARK_OFF_SHARE = 0.2
MARK_OFF_MM = 0.75
FEWEST_DIVISIONS = 3
# Nobody draws more lines by hand on one study; beyond it they stand alone, because pairing takes n² steps.
MAX_PAIRED_LINES = 300


class Role(Enum):
    """What a line or outline measures, as far as the object says."""

    UNKNOWN = "unknown"
    LONG_AXIS = "long axis"
    SHORT_AXIS = "short axis"
    REGION = "region"


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """One drawn thing in the patient.

    Attributes
    ----------
    points_lps
        Shape (n, 3), mm: one for a point, two for a line, more for an outline (first not repeated),
        six for an ellipsoid (the ends of its three axes).
    surface
        Names the image (or frame of reference) it was drawn on: only what shares it can be one measurement.
    is_positive
        False for a point that was set beside the lesion.
    """

    kind: str  # "point", "line", "outline", "ellipsoid"
    points_lps: FloatArray
    surface: str
    role: Role = Role.UNKNOWN
    is_positive: bool = True

    @property
    def length_mm(self) -> float:
        """Distance of the first point from the second, mm."""
        return float(np.linalg.norm(self.points_lps[1] - self.points_lps[0]))


def read_points(attributes: Attributes, dimensions: int) -> FloatArray:
    """GraphicData as points, shape (n, dimensions).

    Raises
    ------
    UnsuitableInputError
        If a value is no finite number, the count doesn't fit, or there are too many.
    """
    values = attributes.raw("GraphicData")
    if values is not None and hasattr(values, "__len__") and len(values) > dimensions * MAX_POINTS:
        raise UnsuitableInputError(f"its GraphicData has more than {MAX_POINTS} points")
    numbers = attributes.numbers("GraphicData") or ()
    if not numbers or len(numbers) % dimensions:
        raise UnsuitableInputError(
            f"its GraphicData has {len(numbers)} numbers, not {dimensions} for each point"
        )
    points = np.asarray(numbers, dtype=np.float64).reshape(-1, dimensions)
    require_sane(points)
    return points


def require_sane(points: FloatArray) -> None:
    """Refuse coordinates that no image or patient has; further arithmetic on them would overflow.

    Raises
    ------
    UnsuitableInputError
        If one is beyond `MAX_COORDINATE`.
    """
    if points.size and np.abs(points).max() > MAX_COORDINATE:
        raise UnsuitableInputError(f"its coordinates go beyond {MAX_COORDINATE:g} pixels or mm")


def drawings_of(
    graphic_type: str,
    points: FloatArray,
    to_lps: Callable[[NDArray[Any]], FloatArray],
    *,
    surface: str,
    role: Role = Role.UNKNOWN,
    is_region: bool = False,
    is_arrow: bool = False,
    normal_lps: FloatArray | None = None,
) -> list[Drawing]:
    """A graphic of SR or GSPS as drawings in the patient.

    Parameters
    ----------
    graphic_type
        POINT, MULTIPOINT, POLYLINE, INTERPOLATED, POLYGON, CIRCLE, ELLIPSE, ELLIPSOID
        (PS3.3 C.18.6.1.2, C.18.9.1.2, C.10.5.1.2).
    points
        Shape (n, 2) or (n, 3), in the graphic's own coordinates, which `to_lps` maps linearly.
    is_region
        An open polyline is to be closed, because what refers to it speaks of a region.
    is_arrow
        Two points are an arrow whose first point is its tip.
    normal_lps
        For points in space, the normal of the images they were drawn on: a circle lies in their plane.

    Raises
    ------
    UnsuitableInputError
        If the number of points doesn't fit the type.
    UnsupportedItemError
        If the graphic encloses, measures and marks nothing (an open path).
    """

    def drawing(kind: str, of: NDArray[Any]) -> Drawing:
        return Drawing(kind=kind, points_lps=to_lps(of), surface=surface, role=role)

    kind = graphic_type.strip().upper()
    if kind == "POINT":
        _require(kind, len(points) >= 1, points)
        return [drawing("point", points[:1])]
    if kind == "MULTIPOINT":
        return [drawing("point", point[None]) for point in points]
    if kind == "CIRCLE":
        _require(kind, len(points) == 2, points)
        return [drawing("outline", circle_outline(points, normal_lps))]
    if kind == "ELLIPSE":
        _require(kind, len(points) == 4, points)
        return [drawing("outline", ellipse_outline(points))]
    if kind == "ELLIPSOID":
        _require(kind, len(points) == 6 and points.shape[1] == 3, points)
        return [drawing("ellipsoid", points)]
    if kind not in ("POLYLINE", "INTERPOLATED", "POLYGON"):
        raise UnsupportedItemError(f"graphics of type {kind or '(none)'} are not read")
    return [_drawing_of_path(kind, points, drawing, is_region=is_region, is_arrow=is_arrow)]


def _drawing_of_path(
    kind: str,
    points: FloatArray,
    drawing: Callable[[str, NDArray[Any]], Drawing],
    *,
    is_region: bool,
    is_arrow: bool,
) -> Drawing:
    is_closed = kind == "POLYGON" or bool(
        len(points) > 3 and np.linalg.norm(points[0] - points[-1]) <= SAME_POINT
    )
    path = _without_repeats(points)
    _require(kind, len(path) >= 2, points)
    if len(path) == 2:
        return drawing("point", path[:1]) if is_arrow else drawing("line", path)
    # Three open points are an angle, whatever refers to them.
    if is_closed or (is_region and len(path) > 3):
        return drawing("outline", path)
    caliper = _caliper(path)
    if caliper is not None:
        return drawing("line", caliper)
    raise UnsupportedItemError(
        f"an open path of {len(path)} points encloses nothing (an angle, a curve, a freehand line)"
    )


def _caliper(path: FloatArray) -> FloatArray | None:
    """The measured line of a caliper drawn in one stroke with its end bars; None if the path is none."""
    if not 4 <= len(path) <= MAX_CALIPER_POINTS:
        return None
    steps = np.diff(path, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    main = int(np.argmax(lengths))
    along = steps[main] / lengths[main]
    off = (path - path[main]) @ along
    at_ends = np.minimum(np.abs(off), np.abs(off - lengths[main])) <= CALIPER_SLACK * lengths[main]
    is_short = np.delete(lengths, main) <= MARK_SHARE * lengths[main]
    return path[main : main + 2] if at_ends.all() and is_short.all() else None


def _without_repeats(points: FloatArray) -> FloatArray:
    """The points without ones that repeat the one before, and without a last one that repeats the first."""
    moves = np.linalg.norm(np.diff(points, axis=0), axis=1) > SAME_POINT
    path = points[np.concatenate([[True], moves])]
    closes = len(path) > 1 and np.linalg.norm(path[-1] - path[0]) <= SAME_POINT
    open_path: FloatArray = path[:-1] if closes else path
    return open_path


def _require(kind: str, fits: bool, points: FloatArray) -> None:
    if not fits:
        raise UnsuitableInputError(f"a {kind} doesn't have {len(points)} different points")


def circle_outline(points: FloatArray, normal: FloatArray | None = None) -> FloatArray:
    """Points on a circle given by its centre and a point on it, shape (n, 2), or (n, 3) across a normal.

    Raises
    ------
    UnsupportedItemError
        If a circle in space doesn't lie across the normal.
    """
    centre, radius = points[0], points[1] - points[0]
    if len(radius) == 2:
        return _around(centre, radius, np.array([-radius[1], radius[0]]))
    if normal is None or abs(radius @ normal) > MAX_TILT * np.linalg.norm(radius):
        raise UnsupportedItemError("a circle in space that is not in the plane of the images has no plane")
    return _around(centre, radius, np.cross(normal, radius))


def ellipse_outline(points: FloatArray) -> FloatArray:
    """Points on an ellipse given by the ends of its major, then of its minor axis; any dimension."""
    centre = points.mean(axis=0)
    return _around(centre, (points[1] - points[0]) / 2, (points[3] - points[2]) / 2)


def _around(centre: FloatArray, one: FloatArray, other: FloatArray) -> FloatArray:
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)[:, None]
    outline: FloatArray = centre + np.cos(angle) * one + np.sin(angle) * other
    return outline


def shapes_of(drawings: Sequence[Drawing]) -> tuple[PromptShape, ...]:
    """The drawings of one lesion as prompt shapes; a long and a short axis become one line prompt."""
    shapes: list[PromptShape] = []
    lines = [drawing for drawing in drawings if drawing.kind == "line"]
    for long, short in pair_axes(without_end_marks(lines)):
        start, end = map(as_point, long.points_lps)
        across = None if short is None else (as_point(short.points_lps[0]), as_point(short.points_lps[1]))
        shapes.append(LinePrompt(start_lps=start, end_lps=end, short_axis_lps=across))
    for drawing in drawings:
        if drawing.kind == "point":
            position = as_point(drawing.points_lps[0])
            shapes.append(PointPrompt(position_lps=position, is_positive=drawing.is_positive))
        elif drawing.kind == "outline":
            shapes.append(OutlinePrompt(points_lps=tuple(map(as_point, drawing.points_lps))))
        elif drawing.kind == "ellipsoid":
            shapes.append(_ellipsoid_box(drawing.points_lps))
    return tuple(shapes)


def _ellipsoid_box(ends: FloatArray) -> BoxPrompt:
    """The box around an ellipsoid: each axis of the patient sees sqrt of the sum of squared half axes."""
    half_axes = (ends[1::2] - ends[0::2]) / 2
    centre, reach = ends.mean(axis=0), np.sqrt((half_axes**2).sum(axis=0))
    return BoxPrompt(minimum_lps=as_point(centre - reach), maximum_lps=as_point(centre + reach))


def without_end_marks(lines: Sequence[Drawing]) -> list[Drawing]:
    """The lines without the ticks, bars and arrow heads that viewers draw on a measured line.

    A mark is a short line at an end of a longer one on the same image; of two equal ones, one at each end,
    it may be as long as people like, as long as it is shorter than the line. Three or more short ones along
    the line are the divisions of a ruler: a lesion has one short axis.
    """
    if len(lines) > MAX_PAIRED_LINES:
        return list(lines)
    marks: set[int] = set()
    for line in sorted(lines, key=lambda one: -one.length_mm):
        if id(line) in marks:
            continue
        divisions = [other for other in lines if _divides(line, other)]
        marks |= {id(one) for one in divisions if len(divisions) >= FEWEST_DIVISIONS}
        ends: tuple[list[Drawing], list[Drawing]] = ([], [])
        for other in lines:
            end = _end_marked(line, other)
            if end is not None and id(other) not in marks:
                ends[end].append(other)
        for one in (*ends[0], *ends[1]):
            twins = ends[1] if one in ends[0] else ends[0]
            is_short = one.length_mm <= MARK_SHARE * line.length_mm
            if is_short or any(abs(twin.length_mm - one.length_mm) <= 0.1 * one.length_mm for twin in twins):
                marks.add(id(one))
    return [line for line in lines if id(line) not in marks]


def _divides(line: Drawing, other: Drawing) -> bool:
    """Whether another line is short and touches or crosses this one."""
    if other is line or other.surface != line.surface or other.length_mm > MARK_SHARE * line.length_mm:
        return False
    along = (line.points_lps[1] - line.points_lps[0]) / line.length_mm
    points = np.vstack([other.points_lps, other.points_lps.mean(axis=0)]) - line.points_lps[0]
    reach = np.clip(points @ along, 0.0, line.length_mm)
    off_mm = np.linalg.norm(points - reach[:, None] * along, axis=1)
    return bool(off_mm.min() <= max(MARK_OFF_SHARE * other.length_mm, MARK_OFF_MM))


def _end_marked(line: Drawing, other: Drawing) -> int | None:
    """Which end of a line (0, 1) another one marks: it is centred on the end, or starts there."""
    if other is line or other.surface != line.surface or other.length_mm >= line.length_mm:
        return None
    centre = other.points_lps.mean(axis=0)
    for number, end in enumerate(line.points_lps):
        near_mm = [float(np.linalg.norm(point - end)) for point in (centre, *other.points_lps)]
        if min(near_mm) <= max(MARK_OFF_SHARE * other.length_mm, MARK_OFF_MM):
            return number
    return None


def pair_axes(lines: Sequence[Drawing]) -> list[tuple[Drawing, Drawing | None]]:
    """Lines as (long axis, short axis): by their roles, else where two cross at about a right angle.

    A line that belongs to no other stands alone. The order is that of the long axes.
    """
    longs = [line for line in lines if line.role is Role.LONG_AXIS]
    shorts = [line for line in lines if line.role is Role.SHORT_AXIS]
    if len(longs) == len(shorts) == 1 and longs[0].surface == shorts[0].surface:
        rest = [line for line in lines if line not in (longs[0], shorts[0])]
        # The long axis is the longer one, whatever an object calls it.
        short, long = sorted((shorts[0], longs[0]), key=lambda line: line.length_mm)
        return [(long, short), *pair_axes(rest)]
    if len(lines) > MAX_PAIRED_LINES:
        return [(line, None) for line in lines]
    partner: dict[int, Drawing] = {}
    crossings = [
        (crossing, i, j)
        for i in range(len(lines)) for j in range(i + 1, len(lines))
        if (crossing := _crossing_degrees(lines[i], lines[j])) >= MIN_CROSSING_DEGREES
    ]  # fmt: skip
    for _, i, j in sorted(crossings, key=lambda entry: -entry[0]):
        if i not in partner and j not in partner:
            partner[i], partner[j] = lines[j], lines[i]
    pairs: list[tuple[Drawing, Drawing | None]] = []
    for i, line in enumerate(lines):
        other = partner.get(i)
        if other is None:
            pairs.append((line, None))
        elif line.length_mm > other.length_mm or (
            line.length_mm == other.length_mm and _before(line, other, lines)
        ):
            pairs.append((line, other))
    return pairs


def _before(one: Drawing, other: Drawing, lines: Sequence[Drawing]) -> bool:
    order = [id(line) for line in lines]
    return order.index(id(one)) < order.index(id(other))


def _crossing_degrees(one: Drawing, other: Drawing) -> float:
    """The angle (0 to 90) at which two lines on one image cross, 0 if they don't."""
    if one.surface != other.surface or not one.length_mm or not other.length_mm:
        return 0.0
    a, b = one.points_lps[1] - one.points_lps[0], other.points_lps[1] - other.points_lps[0]
    offset = other.points_lps[0] - one.points_lps[0]
    (along, across), *_ = np.linalg.lstsq(np.column_stack([a, -b]), offset, rcond=None)
    if not all(-CROSSING_SLACK <= share <= 1 + CROSSING_SLACK for share in (along, across)):
        return 0.0
    cosine = abs(a @ b) / (one.length_mm * other.length_mm)
    return float(np.degrees(np.arccos(min(1.0, cosine))))
