"""A model that a site adds to Tumorline: what is as bright as the prompt's centre, within 15 mm of it.

Too simple to be useful, complete as a backend: a catalogue entry, a factory, a segmenter. Another model
(VISTA3D, ULS23, ...) replaces `_near_and_alike` by its own inference and declares its weights in `ENTRY`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from models.catalogue import ALL_POSITIVE_PROMPTS, CatalogueEntry, Kind
from models.postprocess import clean, separate
from models.prompt_geometry import centre_ijk, require_inside
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import LesionPrompt, ModelIdentity, SegmentedLesion
from workflow.ports import Progress, no_progress

ENTRY = CatalogueEntry(
    name="threshold-ball",
    version="0.1",
    title="Threshold in a ball: an example",
    licence="Apache-2.0",
    factories={Kind.SEGMENTER: "site_model:open_segmenter"},
    prompts=ALL_POSITIVE_PROMPTS,
    limits=("An example, not a model.",),
    origin="site-model",
)


@dataclass(frozen=True, kw_only=True)
class ThresholdBall:
    """Segments what differs little from the voxel at the prompt's centre."""

    radius_mm: float = 15.0
    tolerance: float = 60.0

    @property
    def identity(self) -> ModelIdentity:
        """Name, version and parameters."""
        parameters = {"radius_mm": f"{self.radius_mm:g}", "tolerance": f"{self.tolerance:g}"}
        return ModelIdentity(name=ENTRY.name, version=ENTRY.version, parameters=MappingProxyType(parameters))

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Segment each prompt; see `workflow.ports.Segmenter`."""
        require_inside(volume, prompts)
        centres = [centre_ijk(volume, prompt) for prompt in prompts]
        cleaned = [
            clean(self._near_and_alike(volume, centre), volume, seeds_ijk=centre[None]) for centre in centres
        ]
        divided = separate([mask for mask, _ in cleaned], volume, centres)
        progress(1.0, ENTRY.name)
        return [
            SegmentedLesion(
                index=index, mask=mask, confidence=0.5, model=self.identity, flags=cleaned[index][1] | flags
            )
            for index, (mask, flags) in enumerate(divided)
        ]

    def _near_and_alike(self, volume: Volume, centre: np.ndarray) -> Mask:
        spacing = np.asarray(volume.spacing_mm)
        reach = self.radius_mm / spacing
        start = np.clip(np.floor(centre - reach), 0, volume.shape).astype(int)
        stop = np.clip(np.ceil(centre + reach) + 1, 0, volume.shape).astype(int)
        crop = volume.array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        places = np.indices(crop.shape).transpose(1, 2, 3, 0) + start
        is_near = np.linalg.norm((places - centre) * spacing, axis=-1) <= self.radius_mm
        seed = volume.array[tuple(np.clip(np.rint(centre), 0, np.array(volume.shape) - 1).astype(int))]
        is_alike = np.abs(crop - seed) <= self.tolerance
        a, b, c = (int(value) for value in start)
        return Mask.from_array(is_near & is_alike, (a, b, c), volume.shape)


def open_segmenter(**parameters: float) -> ThresholdBall:
    """Open the example; `parameters` are the fields of `ThresholdBall`."""
    return ThresholdBall(**parameters)
