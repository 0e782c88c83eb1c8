"""Target lesions at baseline (RECIST 1.1, 4.2): chosen by rule, or a reader's choice checked against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from workflow.domain.report import LesionRole
from workflow.domain.response.eligibility import Candidate, Kind, Measurability, measurability
from workflow.domain.response.organs import rule_organ
from workflow.domain.response.policy import Policies
from workflow.domain.response.quantities import mm_text
from workflow.domain.response.timeline import Lesion


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A lesion's role at baseline and why; None for a normal node, which is not recorded."""

    lesion: str
    role: LesionRole | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The roles of all candidates, in their order, and what a reader should look at."""

    choices: tuple[Choice, ...]
    warnings: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Ids of the chosen target lesions."""
        return tuple(choice.lesion for choice in self.choices if choice.role is LesionRole.TARGET)


@dataclass(frozen=True, kw_only=True)
class _Rated:
    candidate: Candidate
    judged: Measurability

    @property
    def size_um(self) -> int:
        return self.candidate.size_um or 0

    @property
    def organ(self) -> str:
        return _organ(self.candidate.lesion)

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """Reproducible before not, solid before cystic, large before small; the id makes it definite."""
        is_second_choice = self.candidate.kind is Kind.CYSTIC
        return not self.candidate.is_reproducible, is_second_choice, -self.size_um, self.candidate.lesion.id


def choose_targets(
    candidates: Sequence[Candidate], policies: Policies | None = None, *, already: Sequence[Lesion] = ()
) -> Selection:
    """Choose up to five targets, two per organ: the best of each organ first, then the second best.

    Best is reproducible, solid rather than cystic, and large. What is measurable but not chosen, and what
    is not measurable, is non-target; nodes below 10 mm are normal.

    Parameters
    ----------
    candidates
        The lesions of the whole visit, or those of it that have no role yet.
    already
        Lesions that are targets before any of the candidates: those of another study of the visit, or of an
        earlier analysis. They stay, and count in the five and in the two of their organ.

    Raises
    ------
    ValueError
        If a lesion is both a candidate and a target already.
    """
    rules = policies or Policies()
    both = {lesion.id for lesion in already} & {c.lesion.id for c in candidates}
    if both:
        raise ValueError(
            f"{', '.join(sorted(both))}: a candidate, and a target already; give each lesion once"
        )
    rated = [_Rated(candidate=c, judged=measurability(c, rules)) for c in candidates]
    per_organ = Counter(_organ(lesion) for lesion in already)
    chosen = _chosen([r for r in rated if r.judged.is_measurable], rules, per_organ)
    per_organ.update(r.organ for r in chosen)
    choices = tuple(_choice(r, r in chosen, per_organ, rules) for r in rated)
    has_targets = bool(chosen or already or not candidates)
    warnings = () if has_targets else ("no lesion is measurable: non-target disease only",)
    return Selection(choices=choices, warnings=warnings)


def _organ(lesion: Lesion) -> str:
    # A lesion of unknown organ shares its organ with no other: the limit can't be said to be reached.
    return rule_organ(lesion) or f"organ of {lesion.id}"


def _chosen(measurable: Sequence[_Rated], rules: Policies, taken: Counter[str]) -> list[_Rated]:
    by_organ: dict[str, list[_Rated]] = {}
    for rated in sorted(measurable, key=lambda r: r.rank):
        by_organ.setdefault(rated.organ, []).append(rated)
    free = rules.maximum_targets - taken.total()
    chosen: list[_Rated] = []
    for turn in range(rules.maximum_targets_per_organ):
        # All organs are to be represented before any is represented twice; the turns that an organ's earlier
        # targets took are gone.
        turn_takers = [
            own[turn - taken[organ]] for organ, own in by_organ.items() if 0 <= turn - taken[organ] < len(own)
        ]
        chosen += sorted(turn_takers, key=lambda r: r.rank)[: max(free - len(chosen), 0)]
    return chosen


def _choice(rated: _Rated, is_chosen: bool, per_organ: Counter[str], rules: Policies) -> Choice:
    lesion, judged = rated.candidate.lesion, rated.judged
    if is_chosen:
        note = (
            "" if rated.candidate.is_reproducible else "; hard to measure again, but nothing better is there"
        )
        return Choice(lesion=lesion.id, role=LesionRole.TARGET, reason=f"target: {judged.reason}{note}")
    if not judged.is_measurable:
        word = "non-target" if judged.role else "not recorded"
        return Choice(lesion=lesion.id, role=judged.role, reason=f"{word}: {judged.reason}")
    if per_organ[rated.organ] >= rules.maximum_targets_per_organ:
        why = f"{rated.organ} already has {per_organ[rated.organ]} targets"
    else:
        why = f"there are already {per_organ.total()} targets"
    return Choice(
        lesion=lesion.id,
        role=LesionRole.NON_TARGET,
        reason=f"non-target: measurable ({mm_text(rated.size_um)}), but {why}",
    )


def check_choice(
    candidates: Sequence[Candidate], policies: Policies | None = None
) -> tuple[tuple[str, str], ...]:
    """Which rules the roles at baseline break: the edit check's name, and the lesion and the numbers."""
    rules = policies or Policies()
    targets = [c for c in candidates if c.lesion.role is LesionRole.TARGET]
    found = []
    if len(targets) > rules.maximum_targets:
        text = f"{len(targets)} target lesions: RECIST takes at most {rules.maximum_targets}"
        found.append(("too_many_targets", text))
    for organ, number in Counter(rule_organ(c.lesion) for c in targets).items():
        limit = rules.maximum_targets_per_organ
        if organ and number > limit:
            text = f"{number} target lesions in {organ}: RECIST takes at most {limit} per organ"
            found.append(("too_many_targets_in_organ", text))
    has_measurable = False
    for candidate in candidates:
        judged = measurability(candidate, rules)
        has_measurable |= judged.is_measurable
        if candidate.size_um is None:
            continue
        if candidate.lesion.role is LesionRole.TARGET and not judged.is_measurable:
            found.append(("target_not_measurable", f"{candidate.lesion.id} is a target but {judged.reason}"))
        elif candidate.lesion.role is LesionRole.NON_TARGET and judged.role is None:
            found.append(("normal_node", f"{candidate.lesion.id} is non-target but {judged.reason}"))
    if not targets and has_measurable:
        found.append(("no_target", "no target lesion is chosen although there is measurable disease"))
    return tuple(found)
