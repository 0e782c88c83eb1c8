"""When a study counts as received: evidence, and a timer only as the last resort (design, decision 5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# The PACS's count has to agree with ours this often in a row: it may be receiving itself.
AGREEING_POLLS_NEEDED = 2


class Readiness(StrEnum):
    """What to do with a study now."""

    WAIT = "wait"
    READY = "ready"
    READY_INCOMPLETE = "ready, incomplete"


@dataclass(frozen=True, kw_only=True)
class ReceptionFacts:
    """What is known of a study's reception. Counts are of instances; times are aware."""

    first_received_at: datetime
    last_received_at: datetime
    modalities: frozenset[str]
    pacs_is_asked: bool
    agreeing_polls: int


@dataclass(frozen=True, kw_only=True)
class ReceptionRule:
    """A site's rule; seconds."""

    quiet_s: float
    max_wait_s: float
    required_modalities: frozenset[str]


def judge_readiness(facts: ReceptionFacts, rule: ReceptionRule, now: datetime) -> tuple[Readiness, str]:
    """Decide whether a study is ready, and say why.

    Ready: quiet for `quiet_s`, and the PACS's count (if a PACS is asked) agrees with ours on two polls,
    and the required modalities are there. At `max_wait_s` after the first instance it goes on all the same,
    marked incomplete.
    """
    lacking = []
    if now - facts.last_received_at < timedelta(seconds=rule.quiet_s):
        lacking.append(f"an instance came less than {rule.quiet_s:g} s ago")
    if facts.pacs_is_asked and facts.agreeing_polls < AGREEING_POLLS_NEEDED:
        lacking.append("the PACS does not count as many instances as came")
    if missing := sorted(rule.required_modalities - facts.modalities):
        lacking.append(f"no {' or '.join(missing)} came")
    if not lacking:
        return Readiness.READY, ""
    if now - facts.first_received_at >= timedelta(seconds=rule.max_wait_s):
        return Readiness.READY_INCOMPLETE, f"after {rule.max_wait_s:g} s: " + "; ".join(lacking)
    return Readiness.WAIT, "; ".join(lacking)
