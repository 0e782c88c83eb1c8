"""A promptable segmenter without weights: the prompt's shape, the patch's look, one random walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy import ndimage

from models.weight_free.appearance import Binned, noise_of
from models.weight_free.calibration import (
    DOUBTFUL_CLICK,
    expected_dice,
    expected_dice_of_click,
    is_steady,
)
from models.weight_free.cutting import detached, mask_of, touch
from models.weight_free.drawn import Drawn
from models.weight_free.hints import Fields, Hint, ShapeHint, mask_hint, points_of, shape_hint, sphere_hint
from models.weight_free.patch import Patch, cut_patch
from models.weight_free.random_walk import random_walk
from models.weight_free.sizes import Candidate, Chosen, candidate, choose, edge_strength
from models.weight_free.tissue import other_tissue
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume, dice, mask_on_grid, union
from workflow.domain.lesion import (
    Flag,
    LesionPrompt,
    MaskPrompt,
    ModelIdentity,
    PromptSource,
    SegmentedLesion,
)
from workflow.ports import Progress, no_progress

VERSION = "1.1"

_BALLS_MM = (4.0, 6.0, 9.0, 13.0, 19.0, 28.0, 40.0)
# Nearest to the middle first: it stays where several fit equally well.
_THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)

# A contour that a person drew on this very image is what they mean, not a hint.
_DRAWN = frozenset(
    {
        PromptSource.SEGMENTATION,
        PromptSource.STRUCTURE_SET,
        PromptSource.READER,
        PromptSource.MEASUREMENT_REPORT,
    }
)


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings:
    """What the segmenter can be told; each enters the model identity.

    Attributes
    ----------
    appearance_weight
        How much intensity counts against shape (0: the prompt's ellipsoid itself).
    certainty
        Pull of a voxel's own evidence against that of its neighbours.
    rounds
        How often the appearance is learnt again from the result.
    context
        Width of the surroundings that the background is learnt from, in lesion radii.
    largest_voxel_count
        Voxels of a patch; larger lesions are worked on more coarsely.
    """

    appearance_weight: float = 0.8
    certainty: float = 0.4
    rounds: float = 3
    context: float = 0.7
    largest_voxel_count: float = 90_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A lesion's mask on the volume's grid, and what there is to say of how good it is.

    `confidence` is the Dice to be expected; `is_steady` says whether prompts moved and scaled a little give
    the same, `is_doubtful` whether the confidence is too low for the prompt's kind, and `is_size_uncertain`
    whether the image bears out another size as well.
    """

    mask: Mask
    confidence: float
    is_steady: bool = True
    is_doubtful: bool = False
    is_size_uncertain: bool = False


class WeightFreeSegmenter:
    """Segments from points, lines, boxes, outlines and masks, on any grid and modality.

    The confidence is the Dice to be expected (see `models.weight_free.calibration`); 1.0 for a mask that a
    reader drew, which is taken as it is.
    """

    def __init__(self, settings: SegmenterSettings | None = None) -> None:
        """Take settings, by default those that the benchmarks were run with."""
        self._settings = settings or SegmenterSettings()

    @property
    def identity(self) -> ModelIdentity:
        """See `workflow.ports.Segmenter`."""
        parameters = {name: str(value) for name, value in asdict(self._settings).items()}
        return ModelIdentity(name="weight-free segmenter", version=VERSION, parameters=parameters)

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """See `workflow.ports.Segmenter`."""
        results = []
        for index, prompt in enumerate(prompts):
            progress(index / len(prompts), f"segmenting lesion {index + 1} of {len(prompts)}")
            results.append(self._segment_one(volume, prompt, index))
        progress(1.0, "segmented")
        return _with_neighbours(results)

    def _segment_one(self, volume: Volume, prompt: LesionPrompt, index: int) -> SegmentedLesion:
        _refuse_outside(volume, prompt, index)
        if any(isinstance(shape, MaskPrompt) for shape in prompt.shapes) and prompt.source in _DRAWN:
            found = Found(mask=_adopted(volume, prompt), confidence=1.0)
        else:
            found = self._found(volume, prompt)
        return SegmentedLesion(
            index=index,
            mask=found.mask,
            confidence=found.confidence,
            model=self.identity,
            flags=_flags(volume, found),
        )

    def _found(self, volume: Volume, prompt: LesionPrompt) -> Found:
        drawn = Drawn.of(prompt, volume)
        hint = shape_hint(prompt, volume)
        if hint is not None:
            return self.segment_hint(volume, hint, drawn)
        chosen = self._from_click(volume, drawn)
        if chosen is None:
            return Found(mask=Mask.empty(volume.shape), confidence=0.0)
        hint = mask_hint(chosen.candidate.body, slope=0.8, limit=0.5)
        found = self.segment_hint(volume, hint, drawn)
        # How steady the result is says nothing of its size; the choice among sizes does.
        expected = expected_dice_of_click(chosen.score)
        return replace(
            found,
            confidence=expected,
            is_steady=True,
            is_doubtful=expected < DOUBTFUL_CLICK,
            is_size_uncertain=chosen.is_uncertain,
        )

    def segment_hint(
        self, volume: Volume, hint: Hint, drawn: Drawn | None = None, *, leaves_out: bool = True
    ) -> Found:
        """The lesion that a hint describes; `leaves_out` what the image says is other tissue."""
        drawn = drawn or Drawn()
        patch = self._patch(volume, hint)
        fields = self._fields(hint, patch, drawn, leaves_out)
        soft = self._solve(patch, fields, hint.radius_mm)
        mask, threshold = self._sized(soft, patch, volume, fields, hint)
        mask = drawn.hold(mask, volume)
        if mask.is_empty:
            return Found(mask=mask, confidence=0.0)
        others = []
        for shift, scale in _perturbations(hint.radius_mm):
            moved = self._fields(hint.perturbed(shift, scale), patch, drawn, leaves_out)
            other = self._solve(patch, moved, hint.radius_mm, rounds=1, start=soft)
            others.append(dice(mask, drawn.hold(mask_of(other, patch, volume, moved, threshold), volume)))
        stability, edge = float(np.mean(others)), edge_strength(patch, patch.of_mask(mask))
        return Found(
            mask=mask, confidence=expected_dice(stability, edge), is_steady=is_steady(stability, edge)
        )

    def _sized(
        self, soft: np.ndarray, patch: Patch, volume: Volume, fields: Fields, hint: Hint
    ) -> tuple[Mask, float | None]:
        """The lesion cut out of its probability where its size agrees best with what the prompt says of it.

        A box is tight and a line is the long axis: a threshold at which the result fills them is better
        than 0.5. The threshold None is half height, taken unless another fits clearly better.
        """
        mask = mask_of(soft, patch, volume, fields, None)
        best: tuple[float, Mask, float | None] = (hint.fit(mask, volume) + 0.03, mask, None)
        if hint.knows_size:
            for threshold in _THRESHOLDS:
                mask = mask_of(soft, patch, volume, fields, threshold)
                fit = hint.fit(mask, volume)
                if fit > best[0]:
                    best = (fit, mask, threshold)
        return best[1], best[2]

    @staticmethod
    def _fields(hint: Hint, patch: Patch, drawn: Drawn, leaves_out: bool = True) -> Fields:
        fields = drawn.limit(hint.fields(patch), patch)
        if not leaves_out or (
            drawn.slices and isinstance(hint, ShapeHint)
        ):  # outlined: the reader says what is in it
            return fields
        other = other_tissue(patch, fields) & ~fields.inside
        return replace(fields, outside=fields.outside | other)

    def _patch(self, volume: Volume, hint: Hint) -> Patch:
        low, high = hint.extent_lps()
        margin = max(self._settings.context * hint.radius_mm, 2 * float(max(volume.spacing_mm)), 4.0)
        return cut_patch(
            volume, low - margin, high + margin, largest_voxel_count=int(self._settings.largest_voxel_count)
        )

    def _solve(
        self,
        patch: Patch,
        fields: Fields,
        radius_mm: float,
        *,
        rounds: int | None = None,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """Probability of the lesion at each voxel of the patch."""
        settings = self._settings
        image = patch.array
        shape = 1 / (1 + np.exp(-fields.log_odds))
        shape[fields.outside] = 0
        soft = shape if start is None else start
        core = fields.inside if fields.inside.any() else shape >= shape.max()
        bins = Binned.of(image, ~fields.outside | ndimage.binary_dilation(~fields.outside, iterations=3))
        noise = noise_of(image, (shape > 0.7) | core)
        blur = max(1.0, 0.5 * float(image[core].std()) / bins.width, 0.7 * noise / bins.width)
        for _ in range(int(settings.rounds if rounds is None else rounds)):
            lesion = np.where(core, 1.0, soft**2)
            odds = bins.log_odds(lesion, (1 - soft) ** 2, min(blur, 12.0))
            odds = ndimage.gaussian_filter(odds, 0.5)
            total = settings.appearance_weight * np.clip(odds, -5, 5) + fields.log_odds
            target = (1 / (1 + np.exp(-total))).astype(np.float32)
            certainty = np.float32(settings.certainty) * (np.abs(2 * target - 1) + np.float32(0.1))
            target[core], certainty[core] = 1, 10
            target[fields.outside], certainty[fields.outside] = 0, 10
            soft = random_walk(image, target, certainty, noise=2.0 * noise, spacing_mm=patch.spacing_mm)
        return soft

    def _from_click(self, volume: Volume, drawn: Drawn) -> Chosen | None:
        """Try balls of growing radius around the click and choose what the image bears out best."""
        if not drawn.clicks:
            raise UnsuitableInputError(
                "the prompt has only points beside the lesion; give a point in it, a line, a box or a mask"
            )
        centre = np.mean(drawn.clicks, axis=0)
        thickest = max(volume.spacing_mm)
        return choose([self._candidate(volume, centre, max(r, 0.9 * thickest), drawn) for r in _BALLS_MM])

    def _candidate(
        self, volume: Volume, centre: FloatArray, ball_mm: float, drawn: Drawn
    ) -> Candidate | None:
        hint = sphere_hint(centre, ball_mm, slope=1.5, limit=1.8)
        low, high = hint.extent_lps()
        patch = cut_patch(volume, low - 0.4 * ball_mm, high + 0.4 * ball_mm, largest_voxel_count=25_000)
        fields = self._fields(hint, patch, drawn)
        body = detached(self._solve(patch, fields, ball_mm, rounds=2) > 0.5, patch, fields)
        return candidate(ball_mm, patch, body, volume) if body.any() else None


def _perturbations(radius_mm: float) -> list[tuple[FloatArray, float]]:
    step = 0.15 * radius_mm / np.sqrt(3)
    return [(np.full(3, step), 1.0), (np.full(3, -step), 1.15), (np.zeros(3), 0.87)]


def _adopted(volume: Volume, prompt: LesionPrompt) -> Mask:
    drawn = [shape.volume for shape in prompt.shapes if isinstance(shape, MaskPrompt)]
    return union([mask_on_grid(mask, volume) for mask in drawn])


def _refuse_outside(volume: Volume, prompt: LesionPrompt, index: int) -> None:
    places = points_of(prompt, positive=True)
    hint = shape_hint(prompt, volume)
    if hint is not None:
        places.append(hint.centre_lps)
    for place in places:
        x, y, z = (round(float(value), 1) for value in place)
        if not volume.contains((x, y, z)):
            raise UnsuitableInputError(
                f"prompt {prompt.label or index + 1} at ({x}, {y}, {z}) lies outside the volume; "
                "check that it is in LPS mm of this image"
            )


def _flags(volume: Volume, found: Found) -> frozenset[Flag]:
    if found.mask.is_empty:
        return frozenset({Flag.EMPTY, Flag.LOW_CONFIDENCE})
    flags = set()
    if found.mask.start_ijk[0] == 0 or found.mask.stop_ijk[0] == volume.shape[0]:
        flags.add(Flag.TRUNCATED_AT_VOLUME_END)
    if found.is_size_uncertain:
        flags.add(Flag.SIZE_UNCERTAIN)
    if not found.is_steady:
        flags.add(Flag.PROMPT_SENSITIVE)
    if found.is_doubtful:
        flags.add(Flag.LOW_CONFIDENCE)
    return frozenset(flags)


def _with_neighbours(results: list[SegmentedLesion]) -> list[SegmentedLesion]:
    """Flag the lesions that touch another one of the same call."""
    touching = set()
    for one in results:
        for other in results[one.index + 1 :]:
            if touch(one.mask, other.mask):
                touching |= {one.index, other.index}
    return [
        replace(result, flags=result.flags | {Flag.TOUCHES_NEIGHBOUR}) if result.index in touching else result
        for result in results
    ]
