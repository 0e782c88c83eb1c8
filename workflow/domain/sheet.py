"""A patient's course as one table: lesions by visits, with sums and responses, out of timeline.json.

Every form of a board's packet (PDF, slides, workbook, CSV, FHIR) takes its numbers from here, so that they
are the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from workflow.domain.lesion import LesionState
from workflow.domain.report import ROLE_WORDS, LesionRole
from workflow.domain.response.policy import CRITERIA_WORDS
from workflow.domain.states import LESION_WORDS

UNVERIFIED = "AI result, unverified"
"""Stands on every page, slide and sheet that shows a visit which nobody signed."""


@dataclass(frozen=True, kw_only=True)
class SheetVisit:
    """A visit with a report: its sums (mm, %), its response and the reason."""

    key: int
    id: str
    day: date
    version: int
    is_baseline: bool
    days_from_baseline: int
    signed_by: str | None
    signed_on: str
    criteria: str
    overall: str
    reason: str
    target: str | None
    non_target: str | None
    new_lesion: str | None
    sum_mm: float | None
    baseline_sum_mm: float | None
    nadir_sum_mm: float | None
    nadir_date: str | None
    change_from_baseline_percent: float | None
    change_from_nadir_percent: float | None
    change_from_nadir_mm: float | None
    best_overall_response: str | None
    computed_overall: str | None
    decisions: tuple[str, ...]
    attention: tuple[str, ...]
    warnings: tuple[str, ...]
    models: tuple[str, ...]
    study_instance_uids: tuple[str, ...]

    @property
    def standing(self) -> str:
        """Who stands behind it: "signed by ..." or the warning."""
        return f"signed by {self.signed_by}, {self.signed_on}" if self.signed_by else UNVERIFIED


@dataclass(frozen=True, kw_only=True)
class SheetCell:
    """A lesion at a visit; lengths in mm, the volume in ml, None where nothing was measured."""

    state: LesionState
    diameter_mm: float | None
    long_axis_mm: float | None
    short_axis_mm: float | None
    volume_ml: float | None
    confidence: float | None
    is_rejected: bool
    flags: tuple[str, ...]
    decisions: tuple[str, ...]
    reason: str
    response: str
    model: str

    @property
    def words(self) -> str:
        """The diameter that counts, with the state unless it is present: "5.0 too small to measure"."""
        if self.is_rejected:
            return "rejected"
        state = "" if self.state is LesionState.PRESENT else LESION_WORDS[self.state]
        length = self.diameter_mm
        if length is None:
            return state or "not measured"
        return f"{length:.1f} {state}".strip()


@dataclass(frozen=True, kw_only=True)
class SheetLesion:
    """A lesion through the visits; `cells` has one per visit, None where it was not known or not in view."""

    tracking_uid: str
    label: str
    role: LesionRole
    site: str
    finding_site: str | None
    finding_site_meaning: str | None
    laterality: str | None
    is_nodal: bool
    cells: tuple[SheetCell | None, ...]

    @property
    def role_words(self) -> str:
        """Its part in the assessment, and which axis counts."""
        return ROLE_WORDS[self.role] + (", node: short axis" if self.is_nodal else "")


@dataclass(frozen=True, kw_only=True)
class CourseSheet:
    """A patient's course: visits with a report in order, lesions by part (targets first) and label."""

    patient_key: int
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    visits: tuple[SheetVisit, ...]
    lesions: tuple[SheetLesion, ...]
    without_report: tuple[str, ...]

    @property
    def latest(self) -> SheetVisit | None:
        """The latest visit with a report."""
        return self.visits[-1] if self.visits else None

    @property
    def unsigned(self) -> tuple[SheetVisit, ...]:
        """The visits that nobody signed."""
        return tuple(visit for visit in self.visits if not visit.signed_by)

    @property
    def warning(self) -> str:
        """The warning with the visits that it is about; "" if everything is signed."""
        if not self.unsigned:
            return ""
        if len(self.unsigned) == len(self.visits):
            return f"{UNVERIFIED}: nobody signed any time point"
        return f"{UNVERIFIED}: nobody signed {', '.join(f'{v.id} ({v.day})' for v in self.unsigned)}"

    @property
    def nadir(self) -> int | None:
        """The place of the visit with the smallest sum, the first of equals; None without sums."""
        sums = [(v.sum_mm, place) for place, v in enumerate(self.visits) if v.sum_mm is not None]
        return min(sums)[1] if sums else None

    @property
    def compared(self) -> tuple[tuple[str, int], ...]:
        """Baseline, nadir and the present visit, each once, with what it is and its place."""
        if not self.visits:
            return ()
        first, last, nadir = 0, len(self.visits) - 1, self.nadir
        found = [("baseline" if self.visits[0].is_baseline else "first", first)]
        if nadir is not None and nadir not in (first, last):
            found.append(("nadir", nadir))
        if last != first:
            found.append(("now, nadir" if nadir == last else "now", last))
        return tuple(found)


def sheet_of(course: Mapping[str, Any]) -> CourseSheet:
    """Read a course as timeline.json has it."""
    points = [point for point in course["time_points"] if point["report"]]
    latest: dict[str, Mapping[str, Any]] = {}
    by_visit = [{one["tracking_uid"]: one for one in point["report"]["lesions"]} for point in points]
    for seen in by_visit:
        latest |= seen  # the latest word on role and site
    order = list(LesionRole)
    lesions = sorted(latest.values(), key=lambda one: (order.index(LesionRole(one["role"])), one["label"]))
    return CourseSheet(
        patient_key=int(course["patient_key"]),
        patient_id=course["patient_id"],
        issuer_of_patient_id=course.get("issuer_of_patient_id") or "",
        patient_name=course["patient_name"],
        visits=tuple(_visit(point) for point in points),
        lesions=tuple(_lesion(one, [seen.get(one["tracking_uid"]) for seen in by_visit]) for one in lesions),
        without_report=tuple(
            f"{point['study_date'] or 'without a date'}: {point['reason'] or point['state'].lower()}"
            for point in course["time_points"]
            if not point["report"]
        ),
    )


def _visit(point: Mapping[str, Any]) -> SheetVisit:
    report = point["report"]
    a = report["assessment"]
    is_signed = report["status"] == "signed"
    return SheetVisit(
        key=point["key"],
        id=report["time_point_id"],
        day=date.fromisoformat(report["study_date"]),
        version=report["version"],
        is_baseline=report["is_baseline"],
        days_from_baseline=report["days_from_baseline"],
        signed_by=person_words(report["signed_by"]) if is_signed else None,
        signed_on=(report["signed_at"] or "")[:10] if is_signed else "",
        criteria=criteria_words(a["criteria"]),
        overall=a["overall"],
        reason=a["reason"],
        target=a["target"],
        non_target=a["non_target"],
        new_lesion=a["new_lesion"],
        sum_mm=a["sum_mm"],
        baseline_sum_mm=a["baseline_sum_mm"],
        nadir_sum_mm=a["nadir_sum_mm"],
        nadir_date=a["nadir_date"],
        change_from_baseline_percent=a["change_from_baseline_percent"],
        change_from_nadir_percent=a["change_from_nadir_percent"],
        change_from_nadir_mm=a["change_from_nadir_mm"],
        best_overall_response=a["best_overall_response"],
        computed_overall=a.get("computed_overall"),
        decisions=tuple(map(_decision, report.get("decisions", ()))),
        attention=tuple(point["attention"]),
        warnings=tuple(a.get("warnings", ())),
        models=tuple(f"{model['name']} {model['version']}" for model in report["models"]),
        study_instance_uids=tuple(study["study_instance_uid"] for study in point["studies"]),
    )


def criteria_words(criteria: str) -> str:
    """The criteria as their authors write them."""
    return {str(name): words for name, words in CRITERIA_WORDS.items()}.get(criteria, criteria)


def _lesion(one: Mapping[str, Any], seen: Sequence[Mapping[str, Any] | None]) -> SheetLesion:
    site = one["finding_site_meaning"] or one["organ"] or "site not said"
    side = one["laterality"]
    return SheetLesion(
        tracking_uid=one["tracking_uid"],
        label=one["label"],
        role=LesionRole(one["role"]),
        site=f"{site}, {side}" if side else site,
        finding_site=one["finding_site"],
        finding_site_meaning=one["finding_site_meaning"],
        laterality=side,
        is_nodal=one["is_nodal"],
        cells=tuple(None if at is None else _cell(at) for at in seen),
    )


def _cell(at: Mapping[str, Any]) -> SheetCell:
    size = at["measurement"]
    return SheetCell(
        state=LesionState(at["state"]),
        diameter_mm=at["diameter_mm"],
        long_axis_mm=size["long_axis"]["length_mm"] if size else None,
        short_axis_mm=size["short_axis"]["length_mm"] if size else None,
        volume_ml=size["volume_mm3"] / 1000 if size else None,
        confidence=at["confidence"],
        is_rejected=at.get("is_rejected", False),
        flags=tuple(at["flags"]),
        decisions=tuple(map(_decision, at.get("decisions", ()))),
        reason=at["reason"],
        response=at["response"],
        model=f"{at['model']['name']} {at['model']['version']}" if at["model"] else "",
    )


def _decision(made: Mapping[str, Any]) -> str:
    """What a reader decided in one line: what, from what to what, who, when and why."""
    change = " → ".join(part for part in (made["old"], made["new"]) if part)
    what = f"{made['what']}: {change}" if change else made["what"]
    return f"{what} ({person_words(made['by'])}, {made['at'][:10]}: {made['reason']})"


def person_words(name: str | None) -> str:
    """A person for people: "Roe^Jane" is "Jane Roe" (PS3.5 6.2.1); what has no carets stays."""
    family, *others = [part.strip() for part in (name or "").split("=")[0].split("^")]
    given = " ".join(part for part in others[:2] if part)
    return f"{given} {family}".strip() or "an unnamed reader"


def percent_words(value: float | None) -> str:
    """A change in percent with its sign, or a dash."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def length_words(value: float | None) -> str:
    """A length in mm without the unit, or a dash."""
    return "–" if value is None else f"{value:.1f}"
