"""One synthetic lesion in its surroundings, with a prompt, as the network sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.open_lesion.encoding import (
    FILL,
    SIDE,
    Drawing,
    Floats,
    PromptCode,
    Window,
    cube,
    draw_box,
    draw_click,
    draw_filled,
    draw_line,
    encode,
    window_of_box,
)
from models.open_lesion.sampling import apply, overlap_weights
from models.training import shapes
from models.training.backgrounds import LEAST_NATIVE, Background, Look, RealBackground, Scan, drawn
from models.training.config import SynthesisConfig
from models.training.shapes import Level
from workflow.domain.geometry import FloatArray, Mask, Volume
from workflow.domain.lesion import LesionMeasurement
from workflow.domain.measurement import measure

_REACH = 1.9  # half of the overview's side, in lesion radii
_OVERVIEW = 30  # voxels of its side


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What the network is trained with.

    Attributes
    ----------
    patch
        float32, shape (channels, SIDE, SIDE, SIDE), see `encoding.encode`.
    code
        Which prompt.
    image, label
        float32, shape (SIDE, SIDE, SIDE): the intensities, and the share of lesion in each voxel.
    whole_voxels
        Size of the whole lesion in patch voxels; more than the label's sum where the lesion leaves the patch.
    log_sizes
        Natural logarithms of the `network.SIZES` in the patch's longest sides, float32, shape (3,).
    spacing_mm
        Of the patch, shape (3,).
    look, family
        For tables.
    diameter_mm
        Of the ball with the lesion's volume.
    """

    patch: Floats
    code: PromptCode
    image: Floats
    label: Floats
    whole_voxels: float
    log_sizes: Floats
    spacing_mm: FloatArray
    look: Look
    family: shapes.Family
    diameter_mm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lesion:
    """A shape that was tried on an overview: its tissue, what is drawn of it and what a reader measures."""

    tissue: Level
    level: Level
    background: Background
    mask: NDArray[np.bool_]  # of the overview
    overview: Window
    size: LesionMeasurement
    family: shapes.Family
    radius_mm: float

    @property
    def box_mm(self) -> tuple[FloatArray, FloatArray]:
        return _box(self.mask, self.overview)

    @property
    def volume_mm3(self) -> float:
        return self.size.volume_mm3


def make_sample(
    config: SynthesisConfig, scans: Sequence[Scan], seed: int, number: int, hardness: float = 1.0
) -> Sample:
    """The sample of that number; the same for the same configuration, scans, seed, number and hardness."""
    rng = np.random.default_rng([seed, number])
    code = PromptCode(rng.choice(len(PromptCode), p=config.prompt_shares))
    while True:
        lesion = _lesion(rng, config, scans, hardness)
        if lesion is None:
            continue
        window = _window(rng, lesion, code)
        seen = _seen(rng, lesion, window, hardness)
        if seen is not None:
            break
    whole = lesion.volume_mm3 / float(np.prod(window.spacing_mm))
    image, label, lost = _ended(rng, *seen)
    drawing = _draw(rng, lesion, code, window, image, label > 0.5, hardness)
    side = float(window.sides_mm.max())
    diameter = (lesion.volume_mm3 * 6 / np.pi) ** (1 / 3)
    sizes = np.array([lesion.size.long_axis.length_mm, lesion.size.short_axis.length_mm, diameter])
    return Sample(
        patch=encode(image, window, drawing),
        code=code,
        image=image,
        label=label,
        whole_voxels=max(whole - lost, float(label.sum())),
        log_sizes=np.log(np.maximum(sizes, 1e-2 * side) / side).astype(np.float32),
        spacing_mm=window.spacing_mm,
        look=lesion.background.look,
        family=lesion.family,
        diameter_mm=diameter,
    )


# ---------------------------------------------------------------- the lesion


def _lesion(
    rng: np.random.Generator, config: SynthesisConfig, scans: Sequence[Scan], hardness: float
) -> _Lesion | None:
    low, high = config.diameters_mm
    radius = float(np.exp(rng.uniform(np.log(low), np.log(high)))) / 2
    family = shapes.family(rng, hardness)
    background = drawn(rng, scans, config.share_real, radius, hardness)
    # A scan's voxels are what they are: a lesion that they can show has to be larger than them.
    radius = max(radius, float((background.native_mm / LEAST_NATIVE).max()))
    level = shapes.draw(rng, family, radius)
    border = background.boundary()
    if border is not None:
        level = _both(level, border)
    elif isinstance(background, RealBackground) and rng.random() < 0.25 * hardness:
        level = _confined(rng, level, background, radius)
    # Readers draw around what they see, radiotherapists generously: the truth is what is drawn.
    drawn_level = _generous(level, rng.uniform(-0.03, 0.18)) if rng.random() < 0.45 else level
    if border is not None:
        drawn_level = _both(drawn_level, border)
    overview = cube(np.zeros(3), 2 * _REACH * radius)
    spacing = 2 * _REACH * radius / _OVERVIEW
    at = (np.arange(_OVERVIEW) - (_OVERVIEW - 1) / 2) * spacing
    positions = np.stack(np.meshgrid(at, at, at, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    mask = _largest_part((drawn_level(positions) > 0).reshape((_OVERVIEW,) * 3))
    if mask is None or mask.sum() < 60:
        return None
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = at[0]
    size = measure(Volume(array=mask, affine=affine), Mask.from_array(mask))
    return _Lesion(
        tissue=level,
        level=drawn_level,
        background=background,
        mask=mask,
        overview=overview,
        size=size,
        family=family,
        radius_mm=radius,
    )


def _both(one: Level, other: Level) -> Level:
    return lambda at: np.minimum(one(at), other(at))


def _generous(level: Level, by: float) -> Level:
    return lambda at: level(at) + np.float32(by)


def _confined(rng: np.random.Generator, level: Level, background: RealBackground, radius: float) -> Level:
    """The part of a shape in the tissue of its middle: a lesion ends at bone, air, fat or fascia."""
    window = cube(np.zeros(3), 2 * _REACH * radius)
    values = ndimage.gaussian_filter(background.values(window), 1.0)
    middle = SIDE // 2
    own = float(np.median(values[middle - 1 : middle + 1, middle - 1 : middle + 1, middle - 1 : middle + 1]))
    spread = float(values.std())
    band = max(3 * background.noise, spread * rng.uniform(0.5, 1.2))
    start, step = window.axes_mm()[0][0], window.spacing_mm[0]

    def confined(at: Floats) -> Floats:
        place = ((at - np.float32(start)) / np.float32(step)).T
        nearby = ndimage.map_coordinates(values, place, order=1, mode="nearest")
        alike = (np.float32(band) - np.abs(nearby - np.float32(own))) / np.float32(band)
        inside: Floats = np.minimum(level(at), alike)
        return inside

    return confined


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    parts, count = ndimage.label(mask)
    if count == 0:
        return None
    if count == 1:
        return mask
    largest: NDArray[np.bool_] = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    return largest


def _box(mask: NDArray[np.bool_], window: Window) -> tuple[FloatArray, FloatArray]:
    """Corners of a mask's tight box (voxel faces), mm, where the mask's grid fills the window."""
    spacing = window.sides_mm / np.asarray(mask.shape)
    start = window.centre_mm - window.sides_mm / 2
    found = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    low = np.array([part[0] for part in found]) * spacing + start
    high = np.array([part[-1] + 1 for part in found]) * spacing + start
    return low, high


# ---------------------------------------------------------------- where the network looks


def _window(rng: np.random.Generator, lesion: _Lesion, code: PromptCode) -> Window:
    low, high = lesion.box_mm
    middle = (low + high) / 2
    if code == PromptCode.CLICK:
        diameter = (lesion.volume_mm3 * 6 / np.pi) ** (1 / 3)
        inside = np.argwhere(ndimage.binary_erosion(lesion.mask) if rng.random() < 0.7 else lesion.mask)
        if len(inside) == 0:
            inside = np.argwhere(lesion.mask)
        spacing = lesion.overview.sides_mm[0] / _OVERVIEW
        place = (inside[rng.integers(len(inside))] - (_OVERVIEW - 1) / 2) * spacing
        # Far too near now and then: from inside a large lesion everything looks even, and no mask is good.
        nearest, furthest = (0.15, 0.9) if rng.random() < 0.3 else (0.9, 5.0)
        return cube(place, diameter * float(np.exp(rng.uniform(np.log(nearest), np.log(furthest)))))
    if code in (PromptCode.LINE, PromptCode.BOTH_AXES):
        axis = lesion.size.long_axis
        centre = (np.asarray(axis.start_lps) + np.asarray(axis.end_lps)) / 2
        return cube(centre, max(axis.length_mm, 0.5 * lesion.radius_mm) / FILL * rng.uniform(0.95, 1.1))
    if code == PromptCode.OUTLINE:
        return cube(middle, float((high - low)[1:].max()) / FILL)
    jitter = 0.02 if code == PromptCode.BOX else 0.1
    sides = high - low
    return window_of_box(low + rng.normal(0, jitter, 3) * sides, high + rng.normal(0, jitter, 3) * sides)


# ---------------------------------------------------------------- the image


def _seen(
    rng: np.random.Generator, lesion: _Lesion, window: Window, hardness: float
) -> tuple[Floats, Floats] | None:
    """Image and label on the patch, as a simulated scan shows them; None if nothing of the lesion is left."""
    background = lesion.background
    positions = window.positions_mm().reshape(-1, 3)
    level, tissue = (one(positions).reshape((SIDE,) * 3) for one in (lesion.level, lesion.tissue))
    scan = _ScanGrid.drawn(rng, window, background.native_mm)
    # The level is in radii: a voxel's share of the lesion, as if the border were flat in it.
    width = float(window.spacing_mm.mean()) / lesion.radius_mm
    share, seen_share = (
        scan.down(np.clip(0.5 + one / np.float32(width), 0, 1).astype(np.float32)) for one in (level, tissue)
    )
    part = _connected(share > 0.5, scan.middle)
    if part is None:
        return None
    label = scan.nearest(part.astype(np.float32) if scan.is_coarse else share * ndimage.binary_dilation(part))
    if (label > 0.5).sum() < 12:
        return None
    around = background.values(window)
    sharpness = (0.6, 1.4) if background.look is Look.PET else (0.2, 0.8)
    soft = scan.up(ndimage.gaussian_filter(seen_share, rng.uniform(*sharpness)))
    inner = _inner(rng, lesion, around, soft, tissue, hardness)
    image = around + soft * (inner - around)
    noise = rng.normal(size=share.shape).astype(np.float32) * np.float32(scan.noise_scale * background.noise)
    if isinstance(background, RealBackground):
        # The scan's own noise and blur are in its voxels; only the lesion needs its share.
        image = image + soft * scan.up(noise)
    else:
        image = scan.down(image)
        if background.look is Look.PET:
            image = ndimage.gaussian_filter(image, rng.uniform(0.4, 1.0))
            noise = ndimage.gaussian_filter(noise, 0.7) * np.float32(3) * np.sqrt(np.maximum(image, 0.1))
        image = scan.up(image + noise)
    return _recoded(rng, image.astype(np.float32), background.look), label.astype(np.float32)


def _ended(rng: np.random.Generator, image: Floats, label: Floats) -> tuple[Floats, Floats, float]:
    """Now and then the scan ends in the patch: its last slice, row or column goes on, without lesion.

    Returns the lesion's voxels that are lost by it, too.
    """
    image, kept = image.copy(), label.copy()
    for axis in range(3):
        for way in (slice(None), slice(None, None, -1)):
            if rng.random() > 0.08:
                continue
            beyond = int(rng.uniform(0.05, 0.35) * SIDE)
            shown = np.moveaxis(image, axis, 0)[way]
            marked = np.moveaxis(kept, axis, 0)[way]
            if marked[beyond:].sum() < 0.7 * label.sum() or (marked[beyond:] > 0.5).sum() < 12:
                continue
            shown[:beyond] = shown[beyond]
            marked[:beyond] = 0
    return image, kept, float(label.sum() - kept.sum())


def _connected(mask: NDArray[np.bool_], near: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """The part that holds the patch's middle, else the largest one."""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count == 0:
        return None
    own = int(parts[near])
    if own == 0:
        own = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    found: NDArray[np.bool_] = parts == own
    return found


def _inner(
    rng: np.random.Generator,
    lesion: _Lesion,
    around: Floats,
    share: Floats,
    level: Floats,
    hardness: float,
) -> Floats:
    """Intensities of the lesion itself, on the grid of `around`."""
    background = lesion.background
    weight = share + np.float32(1e-6)
    own = float((around * weight).sum() / weight.sum())
    low, high = np.percentile(around, (1, 99))
    unit = max(background.noise, 0.012 * float(high - low), 1e-3)
    least, most = 5 - 3.8 * hardness, 22.0
    contrast = float(np.exp(rng.uniform(np.log(least), np.log(most)))) * unit
    if background.look is Look.CT and own < -500:
        value = rng.normal(20, 30) if rng.random() < 0.85 else rng.uniform(-650, -250)
    elif background.look is Look.PET:
        value = own * rng.uniform(1.5 if hardness > 0.5 else 3, 9.0) + 2 * unit
    else:
        value = own + contrast * (1 if rng.random() < 0.65 else -1)
    step = value - own
    inner = np.full(around.shape, value, dtype=np.float32)
    if rng.random() < 0.3 and not (background.look is Look.CT and own < -500):
        # What lies there shows through: infiltration instead of replacement.
        inner = around + np.float32(step)
    depth = np.clip(level, 0, 1)
    kind = rng.random()
    if kind < 0.18 * hardness + 0.07:  # necrosis
        start = rng.uniform(0.2, 0.6)
        edge = np.clip((depth - start) / 0.15, 0, 1).astype(np.float32)
        inner = inner + edge * np.float32(-step * rng.uniform(0.3, 1.1))
    elif kind < 0.35:  # rim
        inner = inner + (depth < 0.25).astype(np.float32) * np.float32(step * rng.uniform(-0.4, 0.6))
    if rng.random() < 0.6:
        rough = ndimage.gaussian_filter(
            rng.normal(size=around.shape).astype(np.float32), rng.uniform(0.8, 3.0)
        )
        inner = inner + rough * np.float32(abs(step) * rng.uniform(0.05, 0.35) / (rough.std() + 1e-6))
    if rng.random() < 0.06 and background.look is Look.CT:
        chalk = ndimage.gaussian_filter((rng.random(around.shape) > 0.997).astype(np.float32), 0.7)
        inner = inner + np.float32(rng.uniform(200, 900)) * (chalk > 0.05)
    return inner


def _recoded(rng: np.random.Generator, image: Floats, look: Look) -> Floats:
    """Another contrast of the same anatomy: gamma, and now and then the negative."""
    if look is Look.CT and rng.random() < 0.8:
        return image
    low, high = float(image.min()), float(image.max())
    unit = (image - np.float32(low)) / np.float32(max(high - low, 1e-6))
    if rng.random() < 0.4:
        unit = unit ** np.float32(rng.uniform(0.6, 1.7))
    if look is not Look.PET and rng.random() < 0.25:
        unit = 1 - unit
    return unit * np.float32(100)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ScanGrid:
    """The grid of the simulated scan inside a patch, and the ways there and back."""

    downs: list[Floats]
    ups: list[Floats]
    nearest_index: list[NDArray[np.intp]]
    noise_scale: float
    is_coarse: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator, window: Window, native_mm: FloatArray) -> _ScanGrid:
        """A grid of that spacing at a random offset; no axis is finer than the patch."""
        downs, ups, nearest = [], [], []
        for at, spacing, native in zip(window.axes_mm(), window.spacing_mm, native_mm, strict=True):
            step = max(float(native), float(spacing))
            count = int(np.ceil((at[-1] - at[0]) / step)) + 2
            middles = at[0] - rng.uniform(0, 1) * step + step * np.arange(count)
            downs.append(
                _all_columns(overlap_weights(middles, step, float(at[0]), float(spacing), SIDE), SIDE)
            )
            ups.append(
                _all_columns(overlap_weights(at, float(spacing), float(middles[0]), step, count), count)
            )
            nearest.append(np.clip(np.round((at - middles[0]) / step), 0, count - 1).astype(np.intp))
        finer = np.minimum(native_mm / window.spacing_mm, 1)
        return cls(
            downs=downs,
            ups=ups,
            nearest_index=nearest,
            # A patch voxel averages the noise of the voxels in it.
            noise_scale=float(np.sqrt(np.prod(finer))),
            is_coarse=bool((native_mm > 1.2 * window.spacing_mm).any()),
        )

    @property
    def middle(self) -> tuple[int, ...]:
        """Index of the voxel in the patch's middle."""
        return tuple(int(index[SIDE // 2]) for index in self.nearest_index)

    def down(self, values: Floats) -> Floats:
        """From the patch to the scan's voxels."""
        return apply(self.downs, values)

    def up(self, values: Floats) -> Floats:
        """Intensities back to the patch, linearly."""
        return apply(self.ups, values)

    def nearest(self, values: Floats) -> Floats:
        """A drawn mask back to the patch: a reader's voxels stay blocks."""
        return values[np.ix_(*self.nearest_index)]


def _all_columns(found: tuple[Floats, slice], size: int) -> Floats:
    weights, part = found
    whole = np.zeros((weights.shape[0], size), dtype=np.float32)
    whole[:, part] = weights
    return whole


# ---------------------------------------------------------------- the prompt


def _draw(
    rng: np.random.Generator,
    lesion: _Lesion,
    code: PromptCode,
    window: Window,
    image: Floats,
    mask: NDArray[np.bool_],
    hardness: float,
) -> Drawing:
    """The prompt that a person gives who sees this mask, with a person's inaccuracy."""
    sloppy = 0.0 if rng.random() < 0.4 else rng.uniform(0, 0.06) * (0.5 + 0.5 * hardness)
    inside, beside = _corrections(rng, window, image, mask)
    if code == PromptCode.CLICK:
        places = np.argwhere(mask)
        nearest = places[((places - (SIDE - 1) / 2) ** 2).sum(axis=1).argmin()]
        return draw_click(window, np.vstack([_at(window, nearest)[None], inside]), beside)
    low, high = _box(mask, window)
    if code == PromptCode.BOX:
        low, high = (corner + rng.normal(0, 1, 3) * sloppy * (high - low) for corner in (low, high))
        return draw_box(window, np.minimum(low, high), np.maximum(low, high), inside, beside)
    if code in (PromptCode.LINE, PromptCode.BOTH_AXES):
        size = _measured(window, mask)
        ends = [np.asarray(end) for end in (size.long_axis.start_lps, size.long_axis.end_lps)]
        # In plane, as a reader draws.
        shake = (
            np.array([0.0, 1.0, 1.0]) * sloppy * max(size.long_axis.length_mm, float(window.spacing_mm[1]))
        )
        ends = [end + rng.normal(0, 1, 3) * shake for end in ends]
        short = None
        if code == PromptCode.BOTH_AXES:
            axis = size.short_axis
            short = (np.asarray(axis.start_lps), np.asarray(axis.end_lps))
        return draw_line(window, ends[0], ends[1], short, inside, beside)
    if code == PromptCode.OUTLINE:
        largest = int(mask.sum(axis=(1, 2)).argmax())
        return draw_filled(
            window, mask[largest], plane_mm=float(window.axes_mm()[0][largest]), inside=inside, beside=beside
        )
    # A prior's mask: of another size, a little elsewhere, without the detail.
    grow = rng.uniform(0.75, 1.3)
    # A registration is off by millimetres, whatever the lesion's size.
    shift = rng.normal(0, 1, 3) * min(0.08 * lesion.radius_mm + 1.5, 0.35 * lesion.radius_mm)
    moved = (window.positions_mm().reshape(-1, 3) - shift) / np.float32(grow)
    prior = (lesion.level(moved.astype(np.float32)) > 0).reshape(mask.shape)
    return draw_filled(window, prior if prior.any() else mask, inside=inside, beside=beside)


def _measured(window: Window, mask: NDArray[np.bool_]) -> LesionMeasurement:
    affine = np.diag([*window.spacing_mm, 1.0])
    affine[:3, 3] = [at[0] for at in window.axes_mm()]
    return measure(Volume(array=mask, affine=affine), Mask.from_array(mask))


def _at(window: Window, index: NDArray[np.int64]) -> FloatArray:
    return window.centre_mm + (index - (SIDE - 1) / 2) * window.spacing_mm


def _corrections(
    rng: np.random.Generator, window: Window, image: Floats, mask: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Now and then clicks where a result goes wrong: near the border, where the intensity misleads."""
    clicks: list[FloatArray] = []
    typical = float(np.median(image[mask]))
    near = ndimage.binary_dilation(mask, iterations=5) & ~ndimage.binary_dilation(mask)
    for region, misleading in ((mask, 1.0), (near, -1.0)):
        places = np.argwhere(region)
        if rng.random() < 0.85 or len(places) == 0:
            clicks.append(np.zeros((0, 3)))
            continue
        off = misleading * np.abs(image[region] - typical)
        # The most misleading of some, so that it is not always the same voxel.
        few = rng.integers(len(places), size=(int(rng.integers(1, 4)), 6))
        chosen = few[np.arange(len(few)), off[few].argmax(axis=1)]
        clicks.append(np.stack([_at(window, places[index]) for index in chosen]))
    return clicks[0], clicks[1]
