"""The same lesions on the next scan: the `Tracker` port on LesionLocator's tracking network. CT in HU only.

What cannot be followed is said, with the reason; `models.lesionlocator.tracing` does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.lesionlocator import LICENCE, NAME, VERSION
from models.lesionlocator.checkpoints import Checkpoint, Part, open_checkpoint
from models.lesionlocator.fields import Field
from models.lesionlocator.inference import Compute, Ensemble
from models.lesionlocator.orientation import Orientation
from models.lesionlocator.plans import Triple
from models.lesionlocator.prediction import certainty
from models.lesionlocator.preprocessing import NetworkImage, require_finite
from models.lesionlocator.prompts import masks_to_network
from models.lesionlocator.registration import MINIMUM_GRID
from models.lesionlocator.tracing import BACKGROUND, LesionTrace, trace_lesions
from models.lesionlocator.tracknet import REGISTRATION_GRID, TrackNet
from models.postprocess import clean, position_flags, separate, touches_border
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask, Point, Volume
from workflow.domain.lesion import (
    Flag,
    LesionState,
    ModelIdentity,
    PriorLesion,
    RegistrationQuality,
    TrackedLesion,
)
from workflow.ports import Progress, no_progress

MINIMUM_SIMILARITY = 0.5
"""Correlation of the registered images below which nothing found does not mean that a lesion is gone.

A choice of ours, not the paper's; it errs towards asking a person.
"""


class LesionLocatorTracker:
    """Finds lesions of a prior CT again on a new one.

    `confidence` (0 to 1) is the product of three: how far the network is from indifferent inside the
    mask (the mean of 2 p - 1; 1 for a lesion that it finds gone), the similarity of the registered
    images around the lesion, and the share of that surroundings that the registration does not
    fold. The caller checks that both series are CT: a volume does not know its modality.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        mirror: bool = False,
        float16_inputs: bool = True,
        registration_grid: int = REGISTRATION_GRID,
        clean_up: bool = True,
    ) -> None:
        self._ensemble = ensemble
        self._mirror = mirror
        self._float16_inputs = float16_inputs
        self._grid = registration_grid
        self._clean_up = clean_up

    @cached_property
    def identity(self) -> ModelIdentity:
        """Name, version, digest of the weights, and the parameters."""
        checkpoint = self._ensemble.checkpoint
        return ModelIdentity(
            name=NAME,
            version=VERSION,
            weights_sha256=checkpoint.sha256,
            licence=LICENCE,
            parameters=MappingProxyType(
                {
                    "network": checkpoint.part.value,
                    "configuration": checkpoint.plan.configuration,
                    "folds": " ".join(str(fold.number) for fold in checkpoint.folds),
                    "resampling": checkpoint.plan.resampling.family.value,
                    "mirroring": "on" if self._mirror else "off",
                    "precision": self._ensemble.compute.precision,
                    "inputs": "float16" if self._float16_inputs else "float32",
                    "registration_grid": str(self._grid),
                    "clean_up": "on" if self._clean_up else "off",
                }
            ),
        )

    def track(
        self,
        prior: Volume,
        prior_lesions: Sequence[PriorLesion],
        volume: Volume,
        *,
        progress: Progress = no_progress,
    ) -> list[TrackedLesion]:
        """One result per prior lesion, in their order; see `workflow.ports.Tracker`."""
        for lesion in prior_lesions:
            if lesion.mask.shape != prior.shape:
                raise ValueError(
                    f"the mask of lesion {lesion.tracking_uid} is on a grid {lesion.mask.shape}, "
                    f"the prior volume on {prior.shape}"
                )
        if not prior_lesions:
            return []
        try:
            return self._track(prior, prior_lesions, volume, progress)
        except UnsuitableInputError as error:
            return [self._failed(lesion, volume.shape, str(error)) for lesion in prior_lesions]

    def _track(
        self, prior: Volume, prior_lesions: Sequence[PriorLesion], volume: Volume, progress: Progress
    ) -> list[TrackedLesion]:
        plan = self._ensemble.checkpoint.plan
        turned, orientation = Orientation.of(prior), Orientation.of(volume)
        views = turned.view(prior), orientation.view(volume)
        for view in views:
            require_finite(view)
        old, new = (NetworkImage.of(view.array, view.spacing_mm, plan) for view in views)
        masks = masks_to_network([turned.mask_to_view(lesion.mask) for lesion in prior_lesions], old)
        traced = trace_lesions(
            self.prepare(old),
            masks,
            self.prepare(new),
            self._ensemble,
            mirror=self._mirror,
            grid=self._grid,
            progress=progress,
        )
        found = [
            self._lesion(lesion, mask, trace, traced.fields, new, views[1], orientation)
            for lesion, mask, trace in zip(prior_lesions, masks, traced.lesions, strict=True)
        ]
        return self._cleaned(found, volume)

    def prepare(self, image: NetworkImage) -> NDArray[np.float32]:
        """A scan as both networks see it: normalised, (z, y, x) on the network's grid."""
        whole = image.whole()
        return whole.astype(np.float16).astype(np.float32) if self._float16_inputs else whole

    def _lesion(
        self,
        lesion: PriorLesion,
        prior_mask: Mask,
        trace: LesionTrace,
        fields: dict[int, Field],
        new: NetworkImage,
        view: Volume,
        orientation: Orientation,
    ) -> TrackedLesion:
        if trace.count == 0:
            return self._failed(lesion, orientation.shape, _why_nowhere(lesion, prior_mask, fields))
        logits = trace.mean()
        mask = new.restore(logits, trace.start, outside=BACKGROUND)
        quality = _quality(trace, new, view)
        stop = [s + n for s, n in zip(trace.start, logits.shape[1:], strict=True)]
        field_of_view = new.to_scan(trace.start, (stop[0], stop[1], stop[2]))
        flags = {Flag.TOUCHES_PATCH_BORDER} if touches_border(mask, *field_of_view) else set()
        trust = max(0.0, quality.similarity) * (1 - quality.folding_fraction)
        if quality.folding_fraction > 0:
            flags.add(Flag.REGISTRATION_FOLDING)
        if quality.similarity < MINIMUM_SIMILARITY:
            flags.add(Flag.LOW_CONFIDENCE)
        state, reason = _judge(mask, quality)
        return TrackedLesion(
            tracking_uid=lesion.tracking_uid,
            mask=orientation.mask_from_view(mask),
            state=state,
            confidence=trust * (1.0 if mask.is_empty else certainty(logits)),
            model=self.identity,
            reason=reason,
            registration=quality,
            expected_lps=_expected(trace, fields, new, view),
            flags=frozenset(flags),
        )

    def _failed(self, lesion: PriorLesion, shape: Triple, reason: str) -> TrackedLesion:
        return TrackedLesion(
            tracking_uid=lesion.tracking_uid,
            mask=Mask.from_array(np.zeros((1, 1, 1), dtype=bool), shape=shape),
            state=LesionState.TRACKING_FAILED,
            confidence=0.0,
            model=self.identity,
            reason=reason,
            flags=frozenset({Flag.EMPTY}),
        )

    def _cleaned(self, found: list[TrackedLesion], volume: Volume) -> list[TrackedLesion]:
        if not self._clean_up:
            return [replace(one, flags=one.flags | position_flags(one.mask)) for one in found]
        centres = [
            volume.ijk(np.asarray(one.expected_lps)) if one.expected_lps is not None else np.zeros(3)
            for one in found
        ]
        cleaned = [
            clean(one.mask, volume, seeds_ijk=centre[None])
            for one, centre in zip(found, centres, strict=True)
        ]
        divided = separate([mask for mask, _ in cleaned], volume, centres)
        return [
            replace(one, mask=mask, flags=one.flags | flags | more)
            for one, (_, flags), (mask, more) in zip(found, cleaned, divided, strict=True)
        ]


def _judge(mask: Mask, quality: RegistrationQuality) -> tuple[LesionState, str]:
    """State and its reason; nothing found counts as gone only where the registration can be trusted."""
    where = f"where the registration puts it (similarity there {quality.similarity:.2f})"
    if not mask.is_empty:
        return LesionState.PRESENT, f"the network finds it {where}"
    if quality.similarity < MINIMUM_SIMILARITY:
        return LesionState.TRACKING_FAILED, (
            f"the network finds nothing {where}, but the two scans do not match there: look for it by eye"
        )
    return LesionState.DISAPPEARED, f"the network finds nothing {where}"


def _why_nowhere(lesion: PriorLesion, mask: Mask, fields: dict[int, Field]) -> str:
    if lesion.mask.is_empty:
        return "its mask at the prior time point is empty"
    if mask.is_empty:
        return "its mask lies where the prior scan holds no image (0 HU up to its border)"
    ranges = [found.prior_slices for found in fields.values()]
    if all(mask.stop_ijk[0] <= a or mask.start_ijk[0] >= b for a, b in ranges):
        return "it lies in a part of the prior scan that the new scan does not show"
    return "the registration leads it out of the new scan's field of view"


def _quality(trace: LesionTrace, new: NetworkImage, view: Volume) -> RegistrationQuality:
    """Mean over the folds; the voxel count is that of the new scan's own voxels."""
    similarity, folding = np.mean(list(trace.quality.values()), axis=0)
    counts = [mask.voxel_count for mask in trace.warped.values() if not mask.is_empty]
    ratio = float(np.prod(new.plan.spacing)) / view.voxel_volume_mm3
    return RegistrationQuality(
        similarity=float(similarity),
        folding_fraction=float(folding),
        warped_voxel_count=max(1, round(float(np.mean(counts)) * ratio)),
    )


def _expected(trace: LesionTrace, fields: dict[int, Field], new: NetworkImage, view: Volume) -> Point:
    """Centre of the warped mask, mean over the folds, LPS mm."""
    centres = [
        mask.centroid_ijk() + np.array([fields[fold].slices[0], 0, 0])
        for fold, mask in trace.warped.items()
        if not mask.is_empty
    ]
    x, y, z = view.lps(new.index_on_scan(np.mean(centres, axis=0)))
    return float(x), float(y), float(z)


def open_tracker(
    weights: Path,
    *,
    folds: Sequence[int] | None = None,
    mirror: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch: int | None = None,
    float16_inputs: bool = True,
    registration_grid: int = REGISTRATION_GRID,
    clean_up: bool = True,
) -> LesionLocatorTracker:
    """See `models.lesionlocator.open_tracker`."""
    if registration_grid < MINIMUM_GRID:
        raise ValueError(f"a registration grid of {registration_grid} is below {MINIMUM_GRID} samples")
    compute = Compute.choose(device, precision, batch)
    ensemble = Ensemble(open_checkpoint(Path(weights), Part.TRACK, folds), _build, compute)
    return LesionLocatorTracker(
        ensemble,
        mirror=mirror,
        float16_inputs=float16_inputs,
        registration_grid=registration_grid,
        clean_up=clean_up,
    )


def _build(checkpoint: Checkpoint) -> TrackNet:
    return TrackNet(checkpoint.plan.architecture)
