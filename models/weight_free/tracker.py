"""A tracker without weights: one registration per pair, then a search around each lesion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from models.weight_free.hints import ShapeHint, mask_hint
from models.weight_free.identity import Identity
from models.weight_free.refinement import Finding, find_nearby, moved
from models.weight_free.registration import Registration, register
from models.weight_free.segmenter import WeightFreeSegmenter
from models.weight_free.yardstick import moved_outline, offset_mm
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Point, Volume, lps_from_ijk
from workflow.domain.lesion import (
    Flag,
    LesionState,
    ModelIdentity,
    PriorLesion,
    RegistrationQuality,
    TrackedLesion,
)
from workflow.domain.measurement import measure
from workflow.ports import Progress, no_progress

VERSION = "1.1"

# Size over the prior's between which the prior's yardstick holds: what shrank or grew by more has other edges
# than those that the reader drew.
_UNCHANGED = (0.8, 1.25)


@dataclass(frozen=True, kw_only=True)
class TrackerSettings:
    """What the tracker can be told; each enters the model identity.

    Attributes
    ----------
    largest_voxel_count
        Voxels of the registration's finest grid.
    least_similarity
        Normalised cross-correlation below which a registration is not believed.
    gone_evidence, gone_evidence_small
        Share of the prior's own contrast below which the lesion is gone; more is asked of what is much
        smaller than the lesion was, as a vessel's stump is.
    least_distinctness
        Contrast at the prior below which its absence can't be told.
    too_small_mm
        Long axis below which a lesion is seen but not measured.
    """

    largest_voxel_count: float = 1.2e6
    least_similarity: float = 0.35
    gone_evidence: float = 0.4
    gone_evidence_small: float = 0.65
    least_distinctness: float = 0.15
    too_small_mm: float = 4.5


class WeightFreeTracker:
    """Finds lesions again by registration, local search and segmentation, on any modality.

    The confidence is the segmentation's, lowered by a poor local similarity and by a lesion that
    hardly resembles the prior one; for a lesion that is gone it is the trust in the place looked at.
    """

    def __init__(
        self, settings: TrackerSettings | None = None, segmenter: WeightFreeSegmenter | None = None
    ) -> None:
        """Take settings, and the segmenter that draws the lesions once they are found."""
        self._settings = settings or TrackerSettings()
        self._segmenter = segmenter or WeightFreeSegmenter()

    @property
    def identity(self) -> ModelIdentity:
        """See `workflow.ports.Tracker`."""
        parameters = {name: str(value) for name, value in asdict(self._settings).items()}
        return ModelIdentity(name="weight-free tracker", version=VERSION, parameters=parameters)

    def track(
        self,
        prior: Volume,
        prior_lesions: Sequence[PriorLesion],
        volume: Volume,
        *,
        progress: Progress = no_progress,
    ) -> list[TrackedLesion]:
        """See `workflow.ports.Tracker`."""
        if not prior_lesions:
            return []
        progress(0.0, "registering the pair")
        try:
            registration = register(prior, volume, largest_voxel_count=self._settings.largest_voxel_count)
        except UnsuitableInputError as error:
            return [self._failed(lesion, volume, str(error)) for lesion in prior_lesions]
        if registration.identity.is_in_doubt:
            return [self._of_another(lesion, volume, registration.identity) for lesion in prior_lesions]
        results = []
        for number, lesion in enumerate(prior_lesions):
            progress(0.7 + 0.3 * number / len(prior_lesions), f"finding lesion {number + 1} again")
            results.append(self._track_one(prior, lesion, volume, registration))
        progress(1.0, "tracked")
        return results

    def _track_one(
        self, prior: Volume, lesion: PriorLesion, volume: Volume, registration: Registration
    ) -> TrackedLesion:
        if lesion.mask.is_empty:
            return self._failed(
                lesion, volume, "the prior's mask is empty; track from the last time point where it was seen"
            )
        hint = mask_hint(_cropped(prior, lesion.mask), slope=0.6, limit=0.8)
        to_new = registration.local_affine(hint.centre_lps, hint.radius_mm + 3.0, hint.radius_mm + 14.0)
        expected = lps_from_ijk(hint.centre_lps, to_new)
        similarity, folding, _ = registration.around(hint.centre_lps, hint.radius_mm + 15.0)
        if not volume.contains(_point(expected)):
            return self._failed(
                lesion, volume, "its place is outside the new volume; look in another series of the study"
            )
        finding = find_nearby(prior, hint, volume, to_new)
        there = moved(hint, to_new, finding)
        quality = RegistrationQuality(
            similarity=max(similarity, finding.similarity),
            folding_fraction=folding,
            warped_voxel_count=int(
                lesion.mask.voxel_count
                * abs(np.linalg.det(to_new[:3, :3]))
                * prior.voxel_volume_mm3
                / volume.voxel_volume_mm3
            ),
        )

        def offset() -> float:
            return offset_mm(
                lesion.mask, self._segmenter.segment_hint(prior, hint, leaves_out=False).mask, prior
            )

        return self._judged(lesion, volume, there, finding, quality, offset)

    def _judged(
        self,
        lesion: PriorLesion,
        volume: Volume,
        hint: ShapeHint,
        finding: Finding,
        quality: RegistrationQuality,
        offset: Callable[[], float],
    ) -> TrackedLesion:
        settings = self._settings
        expected = _point(hint.centre_lps)
        trust = float(np.clip((quality.similarity - 0.2) / 0.5, 0, 1))
        can_tell = finding.distinctness >= settings.least_distinctness
        if quality.similarity < settings.least_similarity and (not can_tell or finding.evidence < 0.7):
            return self._failed(
                lesion,
                volume,
                f"the surroundings do not match (similarity {quality.similarity:.2f}); "
                "place the lesion by hand",
                quality,
                expected,
            )
        if can_tell and finding.evidence < (
            settings.gone_evidence if finding.scale > 0.65 else settings.gone_evidence_small
        ):
            return self._result(
                lesion,
                _empty(volume),
                LesionState.DISAPPEARED,
                trust * (1 - finding.evidence / settings.gone_evidence / 2),
                f"nothing like it at its place (likeness {finding.evidence:.2f} of 1; surroundings match, "
                f"{quality.similarity:.2f} of 1)",
                quality,
                expected,
            )
        found = self._segmenter.segment_hint(volume, hint, leaves_out=False)
        mask, stability = found.mask, found.confidence
        if _UNCHANGED[0] < finding.scale < _UNCHANGED[1]:
            mask = moved_outline(mask, volume, offset())
        if mask.is_empty:
            return self._result(
                lesion,
                mask,
                LesionState.DISAPPEARED,
                0.5 * trust,
                "no voxel stands out at its place",
                quality,
                expected,
            )
        confidence = stability * (0.4 + 0.6 * trust) * (0.6 + 0.4 * min(finding.evidence, 1) * can_tell)
        long_axis_mm = measure(volume, mask).long_axis.length_mm
        is_small = long_axis_mm < settings.too_small_mm
        return self._result(
            lesion,
            mask,
            LesionState.TOO_SMALL if is_small else LesionState.PRESENT,
            confidence,
            f"found {np.linalg.norm(finding.shift_lps):.1f} mm from where the registration puts it, "
            f"long axis {long_axis_mm:.1f} mm" + (", too small to measure" if is_small else ""),
            quality,
            expected,
        )

    def _of_another(self, lesion: PriorLesion, volume: Volume, identity: Identity) -> TrackedLesion:
        """Where the images may be of another patient nothing is said of a lesion, least that it went."""
        failed = self._failed(
            lesion,
            volume,
            f"the images may show another patient than the prior's: {identity.by} match with "
            f"{identity.similarity:.2f}, those of one patient with {identity.least:.2f} or more; "
            "check whose images these are, and place the lesions by hand if they are this patient's",
        )
        return replace(failed, flags=failed.flags | {Flag.OTHER_PATIENT})

    def _failed(
        self,
        lesion: PriorLesion,
        volume: Volume,
        reason: str,
        quality: RegistrationQuality | None = None,
        expected: Point | None = None,
    ) -> TrackedLesion:
        return self._result(
            lesion, _empty(volume), LesionState.TRACKING_FAILED, 0.0, reason, quality, expected
        )

    def _result(
        self,
        lesion: PriorLesion,
        mask: Mask,
        state: LesionState,
        confidence: float,
        reason: str,
        quality: RegistrationQuality | None,
        expected: Point | None,
    ) -> TrackedLesion:
        flags = set()
        if confidence < 0.5:
            flags.add(Flag.LOW_CONFIDENCE)
        if quality is not None and quality.folding_fraction > 0:
            flags.add(Flag.REGISTRATION_FOLDING)
        if not mask.is_empty and (mask.start_ijk[0] == 0 or mask.stop_ijk[0] == mask.shape[0]):
            flags.add(Flag.TRUNCATED_AT_VOLUME_END)
        return TrackedLesion(
            tracking_uid=lesion.tracking_uid,
            mask=mask,
            state=state,
            confidence=float(np.clip(confidence, 0, 1)),
            model=self.identity,
            reason=reason,
            registration=quality,
            expected_lps=expected,
            flags=frozenset(flags),
        )


def _empty(volume: Volume) -> Mask:
    return Mask(voxels=np.zeros((0, 0, 0), dtype=bool), start_ijk=(0, 0, 0), shape=volume.shape)


def _cropped(volume: Volume, mask: Mask) -> Volume:
    """The mask's bounding box as a volume of its own."""
    return volume.crop(mask.start_ijk, mask.stop_ijk).with_array(mask.voxels)


def _point(position: FloatArray) -> Point:
    x, y, z = (float(value) for value in position)
    return x, y, z
