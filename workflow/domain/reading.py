"""Reading a visit: which lesions a reader still has to look at, and what is remarkable about each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision, Override, confirmation_of, in_force
from workflow.domain.record import Observation, PatientRecord, Visit
from workflow.domain.report import LesionRole, ReportedLesion, TimePointReport
from workflow.domain.response import micrometres
from workflow.domain.states import LESION_WORDS
from workflow.domain.visit import earlier_visits

# A lesion in one of these states is there, measured, and the same one as before.
_PLAIN = frozenset({LesionState.PRESENT, LesionState.TOO_SMALL})


class Standing(StrEnum):
    """How far a reader is with a lesion at a visit."""

    OPEN = "open"  # nobody has looked at it as it is now
    CONFIRMED = "confirmed"
    DECIDED = "decided"  # a reader changed something about it at this visit


@dataclass(frozen=True, kw_only=True, eq=False)
class LesionToRead:
    """A lesion at a visit as a reader has to look at it.

    Attributes
    ----------
    by
        Who confirmed it, or decided about it last; "" while it is open.
    remarks
        Why it wants a look, for people; a lesion without any can be taken together with others.
    previous_mm
        Its diameter at the nearest earlier visit that measured it, None if none did.
    """

    lesion: ReportedLesion
    standing: Standing
    by: str = ""
    remarks: tuple[str, ...] = ()
    previous_mm: float | None = None

    @property
    def is_unremarkable(self) -> bool:
        """Whether it may be taken without a look of its own."""
        return not self.remarks


def lesions_to_read(
    record: PatientRecord, visit: Visit, report: TimePointReport, decisions: Sequence[Override]
) -> tuple[LesionToRead, ...]:
    """The lesions of a visit's report, in its order.

    Parameters
    ----------
    decisions
        All readers' decisions, each under the first day of its visit.
    """
    day = record.day_of(visit).isoformat()
    seen = {o.tracking_uid: o for o in visit.observations}
    found = []
    for lesion in report.lesions:
        standing, by = _standing(record, visit, lesion, day, decisions)
        previous_mm = _previous_mm(record, visit, lesion)
        found.append(
            LesionToRead(
                lesion=lesion,
                standing=standing,
                by=by,
                remarks=_remarks(lesion, seen.get(lesion.tracking_uid), report, previous_mm),
                previous_mm=previous_mm,
            )
        )
    return tuple(found)


def _standing(
    record: PatientRecord, visit: Visit, lesion: ReportedLesion, day: str, decisions: Sequence[Override]
) -> tuple[Standing, str]:
    confirmed = confirmation_of(
        decisions,
        lesion=lesion.tracking_uid,
        time_point=day,
        state=lesion.state,
        diameter_um=diameter_um(lesion),
    )
    if confirmed is not None:
        return Standing.CONFIRMED, confirmed.by
    analysed_at = visit.analysis.created_at if visit.analysis else None
    own = [
        o
        for o in in_force(decisions)
        if lesion.tracking_uid in (o.lesion, o.other)
        and o.decision is not Decision.CONFIRM
        # What holds everywhere was decided in sight of this visit only if this visit was there.
        and (
            o.time_point == day or (o.time_point is None and analysed_at is not None and o.at >= analysed_at)
        )
    ]
    if own:
        return Standing.DECIDED, own[-1].by
    # What is no lesion was settled at whatever visit it was said.
    rejected = [o for o in in_force(decisions) if o.lesion == lesion.tracking_uid]
    if lesion.is_rejected and rejected:
        return Standing.DECIDED, rejected[-1].by
    return Standing.OPEN, ""


def diameter_um(lesion: ReportedLesion) -> int | None:
    """A reported lesion's diameter as decisions carry it, whole µm."""
    return None if lesion.diameter_mm is None else micrometres(round(lesion.diameter_mm, 3))


def _previous_mm(record: PatientRecord, visit: Visit, lesion: ReportedLesion) -> float | None:
    for earlier in earlier_visits(record, visit):
        for seen in earlier.observations:
            if seen.tracking_uid == lesion.tracking_uid and seen.measurement is not None:
                size = seen.measurement
                return size.short_axis.length_mm if lesion.is_nodal else size.long_axis.length_mm
    return None


def _remarks(
    lesion: ReportedLesion, seen: Observation | None, report: TimePointReport, previous_mm: float | None
) -> tuple[str, ...]:
    if lesion.is_rejected:
        return ()
    found = [str(flag.value) for flag in sorted(lesion.flags)]
    if lesion.state not in _PLAIN:
        found.append(LESION_WORDS[lesion.state])
    if seen is not None and seen.is_equivocal:
        found.append("held for equivocal")
    elif lesion.role is LesionRole.NEW and previous_mm is None:
        found.append("new at this visit")
    if lesion.diameter_mm is not None and previous_mm is not None:
        # RECIST's own bound of growth, here only to ask for a look.
        growth_mm = lesion.diameter_mm - previous_mm
        if growth_mm >= 5 and growth_mm >= 0.2 * previous_mm:
            found.append(f"{growth_mm:.1f} mm larger than before")
    named = re.compile(rf"(?<![\w-]){re.escape(lesion.label)}(?![\w-])")
    found += [text for text in report.attention if named.search(text)]
    return tuple(dict.fromkeys(found))
