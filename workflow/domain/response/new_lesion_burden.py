"""New lesions under iRECIST, followed apart: new targets (NLT) and new non-targets (NLNT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workflow.domain.response.organs import rule_organ
from workflow.domain.response.other_lesions import NewLesionAssessment
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import mm_text, rises_by
from workflow.domain.response.target import (
    PROGRESSION_PERCENT,
    PROGRESSION_UM,
    contributions_of,
    diameter_um,
    is_gone,
)
from workflow.domain.response.timeline import Lesion, TimePoint
from workflow.domain.response.values import NewLesion

MEASURABLE_UM = 10_000
MEASURABLE_NODE_UM = 15_000


@dataclass(frozen=True, kw_only=True)
class NewLesionBurden:
    """The new lesions at one time point.

    Attributes
    ----------
    lesions
        All that are known by now, by id.
    is_present
        Whether any is there.
    sum_um
        Sum of the new targets' diameters, µm; None without new targets or with one not evaluable.
    additional
        Those first seen at this time point (or a name for one that is only given).
    increased
        New non-targets that have grown since the time point before.
    unseen
        Known ones that were not evaluated.
    has_progressed
        Whether the category progresses at this time point: a further new lesion, or growth of known
        ones that meets RECIST 1.1 (20 % and 5 mm of the new targets' sum; unequivocal growth).
    """

    lesions: tuple[str, ...] = ()
    is_present: bool = False
    sum_um: int | None = None
    additional: tuple[str, ...] = ()
    increased: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    has_progressed: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class KnownNewLesions:
    """What earlier time points left.

    `nadir_um` is the smallest sum of exactly these new targets, `before` the last time point that
    counted, `is_given` whether a new lesion was given without naming one.
    """

    targets: tuple[Lesion, ...] = ()
    non_targets: tuple[Lesion, ...] = ()
    is_given: bool = False
    nadir_um: int | None = None
    before: TimePoint | None = None

    @property
    def all(self) -> tuple[Lesion, ...]:
        """New targets and new non-targets."""
        return (*self.targets, *self.non_targets)


def burden_at(
    point: TimePoint,
    finding: NewLesionAssessment,
    known: KnownNewLesions,
    lesions: Sequence[Lesion],
    policies: Policies,
) -> tuple[NewLesionBurden, KnownNewLesions]:
    """The burden of new lesions at a time point, and what is known after it if the time point counts."""
    names = {lesion.id for lesion in known.all}
    seen = finding.lesions if finding.counts else ()
    fresh = [lesion for lesion in lesions if lesion.id in seen and lesion.id not in names]
    targets, non_targets = _sorted_by_kind(fresh, known, point, policies)
    total = _sum(targets, point)
    additional = _additional(point, finding, known, fresh)
    reasons = [f"new lesion {', '.join(additional)}".strip()] if additional else []
    reasons += _growth(known, point)
    burden = NewLesionBurden(
        lesions=tuple(lesion.id for lesion in (*known.all, *fresh)),
        is_present=_is_present(known, fresh, point, finding),
        sum_um=total,
        additional=additional,
        increased=_increased(known, point),
        unseen=_unseen(known, point),
        has_progressed=bool(reasons),
        reason="; ".join(reasons),
    )
    # A new target changes the set; a sum of fewer lesions is no nadir for it.
    nadir = known.nadir_um if len(targets) == len(known.targets) else None
    if total is not None and (nadir is None or total < nadir):
        nadir = total
    after = KnownNewLesions(
        targets=targets,
        non_targets=non_targets,
        is_given=finding.counts or (known.is_given and finding.finding is not NewLesion.NO),
        nadir_um=nadir,
        before=point,
    )
    return burden, after


def _additional(
    point: TimePoint, finding: NewLesionAssessment, known: KnownNewLesions, fresh: Sequence[Lesion]
) -> tuple[str, ...]:
    """The lesions first seen here; an empty name stands for one that is given without a name."""
    if fresh:
        return tuple(lesion.id for lesion in fresh)
    is_first_given = finding.counts and not finding.lesions and not known.is_given
    return ("",) if is_first_given or point.additional_new_lesion else ()


def _growth(known: KnownNewLesions, point: TimePoint) -> list[str]:
    """Growth of known new lesions that is progression by RECIST 1.1 itself, as it must be after a reset."""
    reasons = []
    total, nadir = _sum(known.targets, point), known.nadir_um
    is_known = total is not None and nadir is not None
    if is_known and rises_by(total or 0, nadir or 0, percent=PROGRESSION_PERCENT, at_least=PROGRESSION_UM):
        above = mm_text((total or 0) - (nadir or 0))
        reasons.append(f"new target lesions {mm_text(total or 0)}, {above} above their least")
    names = {lesion.id for lesion in known.non_targets}
    unequivocal = [o.lesion for o in point.observations if o.has_progressed and o.lesion in names]
    if unequivocal:
        reasons.append(f"unequivocal progression of new {', '.join(unequivocal)}")
    return reasons


def _sorted_by_kind(
    fresh: Sequence[Lesion], known: KnownNewLesions, point: TimePoint, policies: Policies
) -> tuple[tuple[Lesion, ...], tuple[Lesion, ...]]:
    """New targets are measurable when first seen, at most five and two per organ, the largest first."""
    targets, non_targets = list(known.targets), list(known.non_targets)
    for lesion in sorted(fresh, key=lambda x: (-(_size(x, point) or 0), x.id)):
        in_organ = sum(1 for x in targets if rule_organ(x) and rule_organ(x) == rule_organ(lesion))
        has_room = len(targets) < policies.maximum_targets and in_organ < policies.maximum_targets_per_organ
        (targets if _is_measurable(lesion, point) and has_room else non_targets).append(lesion)
    return tuple(targets), tuple(non_targets)


def _size(lesion: Lesion, point: TimePoint) -> int | None:
    observation = point.observation_of(lesion.id)
    return None if observation is None else diameter_um(observation, is_nodal=lesion.is_nodal)


def _is_measurable(lesion: Lesion, point: TimePoint) -> bool:
    if lesion.is_measurable is not None:
        return lesion.is_measurable
    return (_size(lesion, point) or 0) >= (MEASURABLE_NODE_UM if lesion.is_nodal else MEASURABLE_UM)


def _sum(targets: Sequence[Lesion], point: TimePoint) -> int | None:
    if point.new_lesion_sum_um is not None:
        return point.new_lesion_sum_um
    parts = contributions_of(targets, point)
    if not parts or any(part.diameter_um is None for part in parts):
        return None
    return sum(part.diameter_um or 0 for part in parts)


def _increased(known: KnownNewLesions, point: TimePoint) -> tuple[str, ...]:
    """New non-targets that grew at all, and any new lesion whose growth the reader states."""
    targets = {lesion.id for lesion in known.targets}
    found = []
    for lesion in known.all:
        observation = point.observation_of(lesion.id)
        if observation is None:
            continue
        is_stated = observation.has_increased or observation.has_progressed
        if is_stated or (lesion.id not in targets and _has_grown(lesion, point, known.before)):
            found.append(lesion.id)
    return tuple(found) or (("given",) if point.new_lesion_increase else ())


def _has_grown(lesion: Lesion, point: TimePoint, before: TimePoint | None) -> bool:
    now, then = _size(lesion, point), None if before is None else _size(lesion, before)
    return now is not None and then is not None and now > then


def _unseen(known: KnownNewLesions, point: TimePoint) -> tuple[str, ...]:
    """Known new lesions that were not evaluated, where the time point tells lesions at all."""
    if point.new_lesion is not None:
        return ()
    parts = contributions_of(known.targets, point)
    missing = [part.lesion for part in parts if part.diameter_um is None]
    missing += [x.id for x in known.non_targets if point.observation_of(x.id) is None]
    return tuple(missing)


def _is_present(
    known: KnownNewLesions, fresh: Sequence[Lesion], point: TimePoint, finding: NewLesionAssessment
) -> bool:
    if finding.counts or fresh:
        return True
    for lesion in known.all:
        size = _size(lesion, point)
        if size is not None and not is_gone(lesion, size):
            return True
    return False
