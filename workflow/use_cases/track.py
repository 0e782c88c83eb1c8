"""The lesions of a baseline found again on a follow-up, measured on both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow.bootstrap import limits_of, open_tracker
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import PriorLesion, TrackedLesion
from workflow.ports import Progress, no_progress
from workflow.settings import Models, load_settings
from workflow.use_cases.images import SUFFIXES, label_map, read_image, read_labels, write_image
from workflow.use_cases.segment import described, measured, parameters_from_text, rounded


def track_images(
    baseline: Path,
    lesions: Path,
    follow_up: Path,
    out: Path,
    *,
    model: str = "weight-free",
    weights: Path | None = None,
    device: str = "auto",
    parameters: Sequence[str] = (),
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Find each label of a baseline's mask on the follow-up; write and return what was found.

    Writes `<out>/<name of the mask>.nii.gz`, a label map with the same labels on the follow-up's grid,
    and `<out>/result.json`, the returned value.

    Raises
    ------
    WorkflowError
        If an image, the mask or the model can't be used; the message says which and what to do.
    """
    prior = read_image(baseline)
    masks = read_labels(lesions, prior)
    volume = read_image(follow_up)
    tracker = open_tracker(
        Models(
            tracker=model,
            tracker_weights=weights,
            tracker_parameters=parameters_from_text(parameters),
            device=device,
            allowed_licences=load_settings().models.allowed_licences,
        )
    )
    asked = [PriorLesion(tracking_uid=str(label), mask=mask) for label, mask in masks.items()]
    found = tracker.track(prior, asked, volume, progress=progress)
    name = lesions.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    mask_path = out / f"{name}.nii.gz"
    write_image(
        mask_path, label_map({int(one.tracking_uid): one.mask for one in found}, volume.shape), volume
    )
    result = {
        "baseline": str(baseline),
        "follow_up": str(follow_up),
        "mask": str(mask_path),
        "model": described(tracker.identity),
        "limits": list(limits_of(tracker.identity.name)),
        "lesions": [_lesion(one, prior, masks[int(one.tracking_uid)], volume) for one in found],
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def _lesion(found: TrackedLesion, prior: Volume, prior_mask: Mask, volume: Volume) -> dict[str, Any]:
    quality = found.registration
    return {
        "label": int(found.tracking_uid),
        "state": found.state.value,
        "confidence": round(found.confidence, 3),
        "reason": found.reason,
        "flags": sorted(flag.name for flag in found.flags),
        "expected_lps": rounded(found.expected_lps) if found.expected_lps is not None else None,
        "registration": None
        if quality is None
        else {
            "similarity": round(quality.similarity, 3),
            "folding_fraction": round(quality.folding_fraction, 4),
            "warped_voxel_count": quality.warped_voxel_count,
        },
        "baseline_measurement": measured(prior, prior_mask),
        "measurement": measured(volume, found.mask),
    }
