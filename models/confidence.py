"""How much a segmentation depends on where exactly it was shown: the prompt is moved by a few millimetres.

The idea is LinGuinE's (click-perturbation confidence): a lesion that has the same outline from prompts beside
each other is one that the image itself shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from models.prompt_geometry import require_inside
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Point, Volume, dice
from workflow.domain.lesion import (
    BoxPrompt,
    Flag,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    ModelIdentity,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
    SegmentedLesion,
)
from workflow.ports import Progress, Segmenter, no_progress


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptSensitivity:
    """A segmenter whose `confidence` is the mean Dice of its results from moved prompts with the first one.

    Attributes
    ----------
    inner
        Any segmenter; its masks are passed on unchanged.
    shift_mm
        How far a prompt is moved: along each in-plane axis of the volume, both ways.
    sensitive_below
        A lesion with less is flagged PROMPT_SENSITIVE.
    """

    inner: Segmenter
    shift_mm: float = 2.0
    sensitive_below: float = 0.7

    @cached_property
    def identity(self) -> ModelIdentity:
        """The inner model's, with how the confidence is measured among the parameters."""
        inner = self.inner.identity
        return replace(inner, parameters=self._parameters(inner))

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Segment the prompts, and again with all of them moved, once each way.

        A copy that would lie outside the volume is left out. An empty result has confidence 0, and one
        whose prompt can't be moved at all keeps the model's own confidence.
        """
        ways = [sign * self.shift_mm * volume.directions[:, axis] for axis in (1, 2) for sign in (1, -1)]
        rounds = len(ways) + 1

        def part(done: int) -> Progress:
            return lambda share, what: progress((done + share) / rounds, what)

        found = self.inner.segment(volume, prompts, progress=part(0))
        overlaps: list[list[float]] = [[] for _ in prompts]
        # A call of its own each way: in one call, a backend would take a lesion and its copies for
        # neighbours and divide the voxels between them.
        for done, way in enumerate(ways, 1):
            copies = [
                (i, copy) for i, one in enumerate(prompts) if _is_inside(volume, copy := moved(one, way))
            ]
            again = self.inner.segment(volume, [copy for _, copy in copies], progress=part(done))
            for (i, _), lesion in zip(copies, again, strict=True):
                overlaps[i].append(dice(found[i].mask, lesion.mask))
        return [self._judged(lesion, of_one) for lesion, of_one in zip(found, overlaps, strict=True)]

    def _judged(self, lesion: SegmentedLesion, overlaps: Sequence[float]) -> SegmentedLesion:
        confidence = float(np.mean(overlaps)) if overlaps else lesion.confidence
        if lesion.mask.is_empty:
            confidence = 0.0
        is_sensitive = confidence < self.sensitive_below and not lesion.mask.is_empty
        return replace(
            lesion,
            confidence=confidence,
            flags=lesion.flags | ({Flag.PROMPT_SENSITIVE} if is_sensitive else frozenset()),
            model=replace(lesion.model, parameters=self._parameters(lesion.model)),
        )

    def _parameters(self, model: ModelIdentity) -> MappingProxyType[str, str]:
        how = f"mean Dice with the prompt moved by {self.shift_mm:g} mm"
        return MappingProxyType({**model.parameters, "confidence": how})


def moved(prompt: LesionPrompt, way_lps: FloatArray) -> LesionPrompt:
    """The same prompt, every shape moved by a vector (mm, LPS)."""
    return replace(prompt, shapes=tuple(_moved_shape(shape, way_lps) for shape in prompt.shapes))


def _moved_shape(shape: PromptShape, way: FloatArray) -> PromptShape:
    def there(point: Point) -> Point:
        x, y, z = np.asarray(point) + way
        return float(x), float(y), float(z)

    match shape:
        case PointPrompt():
            return replace(shape, position_lps=there(shape.position_lps))
        case LinePrompt():
            short = shape.short_axis_lps
            return replace(
                shape,
                start_lps=there(shape.start_lps),
                end_lps=there(shape.end_lps),
                short_axis_lps=(there(short[0]), there(short[1])) if short else None,
            )
        case BoxPrompt():
            return BoxPrompt(minimum_lps=there(shape.minimum_lps), maximum_lps=there(shape.maximum_lps))
        case OutlinePrompt():
            return OutlinePrompt(points_lps=tuple(there(point) for point in shape.points_lps))
        case MaskPrompt():
            affine = shape.volume.affine.copy()
            affine[:3, 3] += way
            return MaskPrompt(volume=replace(shape.volume, affine=affine))


def _is_inside(volume: Volume, prompt: LesionPrompt) -> bool:
    try:
        require_inside(volume, [prompt])
    except UnsuitableInputError:
        return False
    return True
