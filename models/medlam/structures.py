"""MedLSAM: boxes of known structures, and a segmenter that fills them."""

from __future__ import annotations

from dataclasses import dataclass

from workflow.domain.geometry import Volume
from workflow.domain.lesion import LesionPrompt, PromptSource, SegmentedLesion
from workflow.ports import Detector, Progress, Segmenter, no_progress


@dataclass(frozen=True, kw_only=True, eq=False)
class MedLsam:
    """A detector's boxes as prompts of a segmenter: MedLAM's with MedSAM are MedLSAM.

    No label takes part: upstream keeps only the slices on which the reference has the organ, which leaks the
    answer; here every slice of the box is segmented, in the segmenter's own window.
    """

    detector: Detector
    segmenter: Segmenter
    least_score: float = 0.0

    def segment_structures(
        self, volume: Volume, *, progress: Progress = no_progress
    ) -> dict[str, SegmentedLesion]:
        """Every structure that is found, by the name of its template."""
        boxes = [one for one in self.detector.detect(volume) if one.score >= self.least_score]
        prompts = [
            LesionPrompt(shapes=(one.box,), source=PromptSource.DETECTOR, label=one.label) for one in boxes
        ]
        found = self.segmenter.segment(volume, prompts, progress=progress)
        return {box.label: structure for box, structure in zip(boxes, found, strict=True)}
