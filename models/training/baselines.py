"""What any model has to beat: the prompt's own shape, and a threshold in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.display import upright
from models.open_lesion.encoding import FILL, Drawing, Floats, Window, cube, draw_click
from models.open_lesion.frame import Frame
from models.postprocess import keep_component
from models.prompt_geometry import centre_ijk, negative_points, positive_points, require_inside
from workflow.domain.geometry import Volume
from workflow.domain.lesion import Flag, LesionPrompt, ModelIdentity, SegmentedLesion
from workflow.ports import Progress, no_progress

_CLICK_DIAMETER_MM = 20.0


@dataclass(frozen=True)
class PromptShapeSegmenter:
    """The ellipsoid inscribed in a box, a line's ball, a prior's mask; for a click a ball of 20 mm."""

    name: str = "prompt's ellipsoid"

    @property
    def identity(self) -> ModelIdentity:
        """See `workflow.ports.Segmenter`."""
        return ModelIdentity(name=self.name, version="1")

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """See `workflow.ports.Segmenter`; the confidence is always 0.5."""
        require_inside(volume, prompts)
        shown = upright(volume)
        frame = Frame.of(shown.volume)
        found = []
        for index, prompt in enumerate(prompts):
            progress(index / len(prompts), self.name)
            window, drawing = _drawn(frame, prompt)
            mask = shown.back(frame.mask(self.log_odds(frame, window, drawing), window))
            mask = keep_component(mask, centre_ijk(volume, prompt)[None])
            flags = frozenset({Flag.EMPTY}) if mask.is_empty else frozenset[Flag]()
            found.append(
                SegmentedLesion(index=index, mask=mask, confidence=0.5, model=self.identity, flags=flags)
            )
        progress(1.0, self.name)
        return found

    def log_odds(self, frame: Frame, window: Window, drawing: Drawing) -> Floats:
        """Positive inside the lesion, on the patch."""
        return drawing.prior


@dataclass(frozen=True)
class ThresholdSegmenter(PromptShapeSegmenter):
    """Otsu's threshold between the prompt's ellipsoid and what lies around it, within a tenth beyond it."""

    name: str = "threshold in the prompt"

    def log_odds(self, frame: Frame, window: Window, drawing: Drawing) -> Floats:
        """See `PromptShapeSegmenter`."""
        from skimage.filters import threshold_otsu

        image = frame.values(window)
        nearby = drawing.prior > -0.5
        if np.ptp(image[nearby]) == 0:
            return drawing.prior
        limit = threshold_otsu(image[nearby])
        core = drawing.prior > 0.5 * float(drawing.prior.max())
        side = 1.0 if np.median(image[core]) > limit else -1.0
        scale = float(image[nearby].std())
        beyond = np.float32(side / scale) * (image - np.float32(limit))
        found: Floats = np.minimum(beyond, drawing.prior + np.float32(0.1))
        return found


def _drawn(frame: Frame, prompt: LesionPrompt) -> tuple[Window, Drawing]:
    inside = frame.points([one.position_lps for one in positive_points(prompt)])
    beside = frame.points([one.position_lps for one in negative_points(prompt)])
    shaped = frame.drawn(prompt, inside, beside)
    if shaped is None:
        window = cube(inside.mean(axis=0), _CLICK_DIAMETER_MM / FILL)
        return window, draw_click(window, inside, beside)
    return shaped
