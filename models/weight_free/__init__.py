"""Segmentation and tracking without trained weights: works on any modality and any machine.

The default of every deployment, and the yardstick for models that do have weights.
"""

from __future__ import annotations

from workflow.ports import Segmenter, Tracker


def open_segmenter(**parameters: float) -> Segmenter:
    """A promptable segmenter; `parameters` override fields of `SegmenterSettings`."""
    from models.weight_free.segmenter import SegmenterSettings, WeightFreeSegmenter

    return WeightFreeSegmenter(SegmenterSettings(**parameters))


def open_tracker(**parameters: float) -> Tracker:
    """A registration-based tracker; `parameters` override fields of `TrackerSettings`."""
    from models.weight_free.tracker import TrackerSettings, WeightFreeTracker

    return WeightFreeTracker(TrackerSettings(**parameters))
