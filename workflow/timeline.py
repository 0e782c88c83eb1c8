"""Timeline: put a patient's studies into visits, in order, and find out what has to be done next.

This stage looks at what is and what should be, as `make` does: a late baseline, a corrected study, a new
prompt or another model all change what should be, and everything after them is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from workflow.domain.record import PatientRecord, Study, Visit, digest
from workflow.domain.states import ResultState, StudyState, VisitState
from workflow.domain.visit import (
    StudyGroup,
    VisitRules,
    earlier_visits,
    group_into_visits,
    prior_of,
    prompt_objects_of,
)
from workflow.engine.context import PIPELINE_VERSION, Context
from workflow.measurement import compared_with
from workflow.ports import Changed, Job, NewJob
from workflow.settings import Settings


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A record with its visits in order, and the visit whose analysis is missing or out of date."""

    record: PatientRecord
    next_visit: str | None = None


def update_timeline(job: Job, context: Context) -> None:
    """Order the visits of a patient; ask for the first analysis that is missing or out of date.

    One at a time: a follow-up is tracked from its prior's result. When all are up to date, reports follow.
    """
    patient_key = int(job.subject)
    lane = f"patient:{patient_key}"

    def ordered(record: PatientRecord) -> Changed:
        plan = plan_patient(record, context.settings)

        def next_job(saved: PatientRecord) -> list[NewJob]:
            if plan.next_visit is None:
                return [NewJob(stage="report", subject=str(patient_key), lane=lane)]
            return [NewJob(stage="infer", subject=str(saved.visit(plan.next_visit).key), lane=lane)]

        return Changed(record=plan.record, jobs=next_job)

    context.records.change(patient_key, ordered)


def plan_patient(record: PatientRecord, settings: Settings) -> Plan:
    """Put the visits in order, take the analyses that hold, and name the first that is missing."""
    record = with_visits(record, visit_rules(settings))
    next_visit = None
    for visit in record.standing:
        wanted = analysis_identity(record, visit, settings)
        if any(a.identity == wanted for a in visit.analyses):
            visit = settle(replace(visit, current_analysis=wanted), record)
        elif visit.failed_identity == wanted:
            visit = settle(visit, record)
        elif next_visit is not None:
            # What it would be tracked from may change: its own turn comes after that.
            day = record.day_of(record.visit(next_visit))
            visit = replace(visit, state=VisitState.WAITING, reason=f"waits for the visit of {day}")
        else:
            next_visit = visit.anchor
            visit = replace(visit, state=VisitState.PROCESSING, reason=compared_with(record, visit))
        record = record.with_visit(visit)
    return Plan(record=record, next_visit=next_visit)


def visit_rules(settings: Settings) -> VisitRules:
    """What the site takes for one visit."""
    return VisitRules(
        window_days=settings.response.visit_window_days,
        baseline_window_days=settings.response.baseline_window_days,
    )


def with_visits(record: PatientRecord, rules: VisitRules) -> PatientRecord:
    """The record with its usable studies grouped into visits, in order; former visits keep what they know.

    A visit whose studies went to another one keeps its reports and holds no study.
    """
    former = {visit.anchor: visit for visit in record.visits}
    groups = group_into_visits(record.studies, rules)
    visits = []
    for order, group in enumerate(groups, start=1):
        visit = former.pop(group.anchor, None) or Visit(anchor=group.anchor)
        visits.append(
            replace(
                visit,
                studies=tuple(s.study_instance_uid for s in group.studies),
                order=order,
                attention=group.doubts,
            )
        )
    left = [_left_over(visit, record, groups) for visit in former.values()]
    record = _with_unused_prompts(replace(record, visits=(*visits, *left)))
    priors = {v.anchor: prior_of(record, v) for v in record.standing}
    return replace(
        record,
        visits=tuple(
            replace(v, prior=prior.anchor if (prior := priors.get(v.anchor)) else None) for v in record.visits
        ),
    )


def _left_over(visit: Visit, record: PatientRecord, groups: Sequence[StudyGroup]) -> Visit:
    empty = replace(visit, studies=(), order=0, prior=None, current_analysis=None, attention=())
    for group in groups:
        if visit.anchor in {s.study_instance_uid for s in group.studies}:
            day = group.studies[0].study_date
            return replace(empty, state=VisitState.JOINED, reason=f"is part of the visit of {day}")
    study = next((s for s in record.studies if s.study_instance_uid == visit.anchor), None)
    if study is None:
        reason = "its study is kept for a person, or is another patient's now"
    elif study.copy_of and study.is_usable:
        reason = f"its study holds the images of study {study.copy_of} again: it is not measured twice"
    else:
        reason = study.reason
    return replace(empty, state=VisitState.QUARANTINED, reason=reason)


def _with_unused_prompts(record: PatientRecord) -> PatientRecord:
    """Say of each study that holds marks only, and of images that never came, that it waits for them."""
    used = {p.sop_instance_uid for v in record.standing for p in prompt_objects_of(record, v)}

    def judged(study: Study) -> Study:
        own = [p for p in record.prompt_objects if p.study_instance_uid == study.study_instance_uid]
        if study.state is not StudyState.INGESTED or study.revision is not None or not own:
            return study
        if any(p.sop_instance_uid in used for p in own):
            return replace(study, reason="")
        return replace(study, reason="its marks are drawn on images that are not here; have those sent too")

    return replace(record, studies=tuple(map(judged, record.studies)))


def settle(visit: Visit, record: PatientRecord) -> Visit:
    """A visit with its state on the worklist, from what is known of it: the one place that sets it."""
    analysis, report = visit.analysis, visit.report
    attention = [
        *(doubt for study in record.studies_of(visit) if study.revision for doubt in study.revision.doubts),
        *visit.attention,
        *(analysis.doubts if analysis else ()),
    ]
    if analysis is None:
        state, reason = (
            (VisitState.FAILED, visit.failure) if visit.failed_identity else (VisitState.WAITING, "")
        )
    elif analysis.state is not VisitState.ANALYSED or report is None:
        state, reason = analysis.state, analysis.reason
    else:
        state, reason = VisitState(report.status.upper()), analysis.reason
        held = [o.error for o in report.objects if o.state == ResultState.HELD]
        if held:
            reason = f"the results were not sent, validation failed: {held[0]}"
    return replace(visit, state=state, reason=reason, attention=tuple(dict.fromkeys(attention)))


# Of the response policies, those that decide what is recorded, and not only how it is judged.
_ROLE_POLICIES = ("maximum_targets", "maximum_targets_per_organ", "node_double_slice_rule")


def analysis_identity(record: PatientRecord, visit: Visit, settings: Settings) -> str:
    """What an analysis depends on, as one digest: the same inputs make the same results.

    All the patient's visits before count: labels, roles and what is tracked depend on them.
    """
    models = settings.models.model_dump(mode="json", exclude={"device", "allowed_licences"})
    for weights in ("segmenter_weights", "tracker_weights"):  # a worker's own path is nobody else's
        models[weights] = PurePath(models[weights]).name if models[weights] else None
    inputs = {
        "pipeline": PIPELINE_VERSION,
        "studies": [
            [
                study.study_instance_uid,
                str(study.study_date),
                sorted(
                    [key.series_instance_uid, key.stack, sha] for key, sha in study.revision.digests.items()
                ),
            ]
            for study in record.studies_of(visit)
            if study.revision
        ],
        "prompts": sorted(p.sha256 for p in prompt_objects_of(record, visit)),
        "earlier": [
            [record.day_of(v).isoformat(), v.analysis.identity]
            for v in earlier_visits(record, visit)
            if v.analysis and v.observations
        ],
        "looked_at": [v.anchor for v in earlier_visits(record, visit)],
        "prompt_rules": settings.prompts.model_dump(mode="json"),
        "role_rules": [settings.response.policy.get(name) for name in _ROLE_POLICIES],
        "models": models,
    }
    return digest(inputs)
