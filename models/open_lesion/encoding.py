"""What the network sees: a patch around the prompt, intensities on its own scales, the prompt drawn dense.

Everything here is in a *frame*: millimetres along three perpendicular image axes (slice, row, column), so
that training on synthetic scenes and segmenting a patient's volume share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workflow.domain.geometry import FloatArray

SIDE = 32  # voxels of a patch along each axis
FILL = 0.6  # of the patch's side that the prompt fills
_LEAST_SHARE = 0.5  # of the longest side that any side has: a flat lesion keeps some surroundings

CHANNELS = (
    "intensity against the prompt's core",
    "intensity against the patch",
    "intensity between the patch's percentiles",
    "log odds of the intensity: core against surroundings",
    "prior",
    "drawn shape",
    "clicks in the lesion",
    "clicks beside it",
)
PRIOR_CHANNEL = CHANNELS.index("prior")

Floats = NDArray[np.float32]


class PromptCode(IntEnum):
    """What the prompt knows; the network is told."""

    CLICK = 0
    LINE = 1
    BOTH_AXES = 2
    BOX = 3
    OUTLINE = 4
    MASK = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A patch in the frame: its middle and its sides, mm, shape (3,) each."""

    centre_mm: FloatArray
    sides_mm: FloatArray

    @property
    def spacing_mm(self) -> FloatArray:
        """Distance of neighbouring patch voxels, mm, shape (3,)."""
        return self.sides_mm / SIDE

    def axes_mm(self) -> list[FloatArray]:
        """Positions of the patch's voxel centres along each axis, mm, shape (SIDE,) each."""
        steps = np.arange(SIDE) - (SIDE - 1) / 2
        return [
            centre + steps * spacing for centre, spacing in zip(self.centre_mm, self.spacing_mm, strict=True)
        ]

    def positions_mm(self) -> Floats:
        """Positions of all voxel centres, mm, float32, shape (SIDE, SIDE, SIDE, 3)."""
        grid = np.meshgrid(*self.axes_mm(), indexing="ij")
        return np.stack(grid, axis=-1).astype(np.float32)


def cube(centre_mm: FloatArray, side_mm: float) -> Window:
    """A cube of that side."""
    return Window(centre_mm=np.asarray(centre_mm, dtype=np.float64), sides_mm=np.full(3, float(side_mm)))


def window_of_box(low_mm: FloatArray, high_mm: FloatArray) -> Window:
    """The patch in which a box fills `FILL` of each side, none shorter than half of the longest."""
    sides = np.maximum(high_mm - low_mm, _LEAST_SHARE * float((high_mm - low_mm).max()))
    return Window(centre_mm=(low_mm + high_mm) / 2, sides_mm=sides / FILL)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """A prompt on a patch.

    Attributes
    ----------
    code
        What was drawn.
    prior
        float32, patch shape: 1 in the middle of the expected lesion, 0 on its surface, -1 far away.
    shape
        float32, patch shape: 1 in what was drawn (the line's own voxels, the box, the outline's inside on its
        slice, the mask), else 0. For a click, 0 everywhere.
    inside, beside
        Clicks in the lesion and beside it, mm in the frame, shape (n, 3).
    """

    code: PromptCode
    prior: Floats
    shape: Floats
    inside: FloatArray
    beside: FloatArray


_NO_CLICKS = np.zeros((0, 3))


def draw_click(window: Window, inside: FloatArray, beside: FloatArray = _NO_CLICKS) -> Drawing:
    """Clicks alone: the prior is a ball that fills `FILL` of the patch, whatever the lesion's size."""
    radius = FILL / 2 * window.sides_mm
    prior = _ellipsoid(window, inside.mean(axis=0), np.eye(3), radius)
    return Drawing(
        code=PromptCode.CLICK, prior=prior, shape=np.zeros_like(prior), inside=inside, beside=beside
    )


def draw_line(
    window: Window,
    start_mm: FloatArray,
    end_mm: FloatArray,
    short_mm: tuple[FloatArray, FloatArray] | None = None,
    inside: FloatArray = _NO_CLICKS,
    beside: FloatArray = _NO_CLICKS,
) -> Drawing:
    """A long axis, with the short one if that is drawn: the prior is their ball or ellipsoid."""
    length = max(float(np.linalg.norm(end_mm - start_mm)), 1e-3)
    along = (end_mm - start_mm) / length
    shape = _tube(window, start_mm, end_mm)
    middle, across = (start_mm + end_mm) / 2, length
    if short_mm is not None:
        across = max(float(np.linalg.norm(short_mm[1] - short_mm[0])), 0.1 * length)
        shape = np.maximum(shape, _tube(window, *short_mm))
        middle = (middle + (short_mm[0] + short_mm[1]) / 2) / 2
    turn = _frame_of(along)
    prior = _ellipsoid(window, middle, turn, np.array([length, across, across]) / 2)
    code = PromptCode.LINE if short_mm is None else PromptCode.BOTH_AXES
    return Drawing(code=code, prior=prior, shape=shape, inside=inside, beside=beside)


def draw_box(
    window: Window,
    low_mm: FloatArray,
    high_mm: FloatArray,
    inside: FloatArray = _NO_CLICKS,
    beside: FloatArray = _NO_CLICKS,
) -> Drawing:
    """A box: the prior is the ellipsoid inscribed in it."""
    half = np.maximum((high_mm - low_mm) / 2, window.spacing_mm / 4)
    middle = (low_mm + high_mm) / 2
    edges = [
        np.clip(0.5 + (half[axis] - np.abs(at - middle[axis])) / window.spacing_mm[axis], 0, 1)
        for axis, at in enumerate(window.axes_mm())
    ]
    shape = (edges[0][:, None, None] * edges[1][:, None] * edges[2]).astype(np.float32)
    return Drawing(
        code=PromptCode.BOX,
        prior=_ellipsoid(window, middle, np.eye(3), half),
        shape=shape,
        inside=inside,
        beside=beside,
    )


def draw_filled(
    window: Window,
    filled: NDArray[np.bool_],
    *,
    plane_mm: float | None = None,
    inside: FloatArray = _NO_CLICKS,
    beside: FloatArray = _NO_CLICKS,
) -> Drawing:
    """A region given by its voxels.

    Parameters
    ----------
    filled
        Patch shape, or, for an outline, (SIDE, SIDE): its inside in the plane at `plane_mm` along the slices.
    """
    if plane_mm is None:
        deep = _signed_distance(filled, window.spacing_mm)
        radius = _radius(filled.sum() * np.prod(window.spacing_mm), 3)
        prior = np.clip(deep / radius, -1, 1).astype(np.float32)
        return Drawing(
            code=PromptCode.MASK, prior=prior, shape=filled.astype(np.float32), inside=inside, beside=beside
        )
    deep = _signed_distance(filled, window.spacing_mm[1:])
    radius = _radius(filled.sum() * np.prod(window.spacing_mm[1:]), 2)
    away = (window.axes_mm()[0] - plane_mm) / radius
    reach = np.sqrt(np.maximum(1 - deep / radius, 0)[None] ** 2 + away[:, None, None] ** 2)
    on_slice = np.clip(1 - np.abs(window.axes_mm()[0] - plane_mm) / window.spacing_mm[0], 0, 1)
    return Drawing(
        code=PromptCode.OUTLINE,
        prior=np.clip(1 - reach, -1, 1).astype(np.float32),
        shape=(on_slice[:, None, None] * filled).astype(np.float32),
        inside=inside,
        beside=beside,
    )


def encode(image: Floats, window: Window, drawing: Drawing) -> Floats:
    """The network's input.

    Parameters
    ----------
    image
        The volume's values on the patch, shape (SIDE, SIDE, SIDE), any unit.

    Returns
    -------
    numpy.ndarray
        float32, shape (channels, SIDE, SIDE, SIDE), in the order of `CHANNELS`, about -1 to 1.
    """
    prior = drawing.prior
    core = prior > 0.5
    if drawing.code == PromptCode.CLICK:
        core = prior > 0.75
    if not core.any():
        core = prior >= prior.max()
    around = prior < -0.15
    values = image[core]
    middle = float(np.median(values))
    fine = _spread(values)
    low, high = np.percentile(image, (0.5, 99.5))
    wide = max((float(high) - float(low)) / 4, 1e-6)
    fine = max(fine, 0.1 * wide, 1e-6)
    shifted = image - np.float32(middle)
    return np.stack(
        [
            np.tanh(shifted / np.float32(3 * fine)),
            np.tanh(shifted / np.float32(1.5 * wide)),
            np.clip((image - np.float32(low)) / np.float32(2 * wide) - 1, -1.5, 1.5),
            _log_odds(image, float(low), float(high), core, around),
            prior,
            drawing.shape,
            _heat(window, drawing.inside),
            _heat(window, drawing.beside),
        ]
    ).astype(np.float32)


def _spread(values: Floats) -> float:
    low, high = np.percentile(values, (16, 84))
    return float(high - low) / 2


def _log_odds(
    image: Floats, low: float, high: float, core: NDArray[np.bool_], around: NDArray[np.bool_]
) -> Floats:
    bins = 48
    place = np.clip((image - low) * (bins / max(high - low, 1e-6)), 0, bins - 1).astype(np.intp)
    odds = []
    for region in (core, around):
        counts = np.bincount(place[region], minlength=bins).astype(np.float64)
        smooth = ndimage.gaussian_filter1d(counts, 1.5, mode="nearest")
        odds.append(np.log((smooth + 1e-9) / (smooth.sum() + 1e-9) + 0.003))
    table: Floats = np.clip((odds[0] - odds[1]) / 4, -1, 1).astype(np.float32)
    found: Floats = table[place]
    return found


def _ellipsoid(window: Window, middle: FloatArray, turn: FloatArray, radii: FloatArray) -> Floats:
    """1 - distance in radii, not below -1; the columns of `turn` are the ellipsoid's axes."""
    offsets = window.positions_mm() - middle.astype(np.float32)
    scaled = offsets @ (turn / radii).astype(np.float32)
    prior: Floats = np.maximum(1 - np.sqrt((scaled**2).sum(axis=-1)), -1).astype(np.float32)
    return prior


def _tube(window: Window, start: FloatArray, end: FloatArray) -> Floats:
    positions = window.positions_mm() - start.astype(np.float32)
    way = (end - start).astype(np.float32)
    share = np.clip(positions @ way / max(float(way @ way), 1e-9), 0, 1)
    distance = np.sqrt(
        (((positions - share[..., None] * way) / window.spacing_mm.astype(np.float32)) ** 2).sum(-1)
    )
    tube: Floats = np.clip(1.5 - distance, 0, 1).astype(np.float32)
    return tube


def _heat(window: Window, points: FloatArray) -> Floats:
    heat = np.zeros((SIDE,) * 3, dtype=np.float32)
    for point in points:
        parts = [
            np.exp(-0.5 * ((at - where) / (1.5 * spacing)) ** 2)
            for at, where, spacing in zip(window.axes_mm(), point, window.spacing_mm, strict=True)
        ]
        heat = np.maximum(heat, (parts[0][:, None, None] * parts[1][:, None] * parts[2]).astype(np.float32))
    return heat


def _frame_of(along: FloatArray) -> FloatArray:
    """Three perpendicular unit columns, the first one given."""
    other = np.eye(3)[int(np.abs(along).argmin())]
    second = np.cross(along, other)
    second /= np.linalg.norm(second)
    return np.column_stack([along, second, np.cross(along, second)])


def _signed_distance(filled: NDArray[np.bool_], spacing: FloatArray) -> FloatArray:
    if not filled.any():
        return np.full(filled.shape, -float(np.sum(spacing) * SIDE))
    inner = ndimage.distance_transform_edt(filled, sampling=spacing)
    outer = ndimage.distance_transform_edt(~filled, sampling=spacing)
    signed: FloatArray = inner - outer
    return signed


def _radius(size: float, dimensions: int) -> float:
    radius = (size * 3 / (4 * np.pi)) ** (1 / 3) if dimensions == 3 else (size / np.pi) ** 0.5
    return max(float(radius), 1e-3)
