"""Timeline: put a patient's studies in order, and find out what has to be done next.

This stage looks at what is and what should be, as `make` does: a late baseline, a corrected study, a new
prompt or another model all change what should be, and everything after them is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import AnalysisRow, InstanceRow, StudyRow, TimePointRow
from workflow.domain.timeline import PriorChoice, TimelineStudy, choose_priors, in_order
from workflow.engine.context import PIPELINE_VERSION, Context
from workflow.engine.jobs import Job, enqueue
from workflow.ingest import PROMPT_MODALITIES, series_from_json
from workflow.settings import Settings


@dataclass(frozen=True, kw_only=True)
class PlannedTimePoint:
    """A time point with its place, its comparable priors (nearest first) and what may prompt it."""

    row: TimePointRow
    study: TimelineStudy
    priors: PriorChoice
    prior_rows: tuple[TimePointRow, ...]
    prompt_objects: tuple[InstanceRow, ...]


def update_timeline(job: Job, context: Context) -> None:
    """Order the time points of a patient; ask for the first analysis that is missing or out of date.

    One at a time: a follow-up is tracked from its prior's result. When all are up to date, reports follow.
    """
    with context.unit() as session:
        patient_key = int(job.subject)
        now = context.clock()
        lane = f"patient:{patient_key}"
        planned = plan_patient(session, patient_key)
        for order, point in enumerate(planned, start=1):
            point.row.order = order
            point.row.prior_id = point.prior_rows[0].id if point.prior_rows else None
        waits_for: PlannedTimePoint | None = None
        for place, point in enumerate(planned):
            wanted = analysis_identity(point, planned[:place], context.settings)
            done = session.scalar(
                select(AnalysisRow).where(
                    AnalysisRow.time_point_id == point.row.id, AnalysisRow.identity == wanted
                )
            )
            if done is not None:
                point.row.analysis = done
                settle(point.row)
            elif point.row.failed_identity == wanted:
                settle(point.row)
            elif waits_for is not None:
                # What it would be tracked from may change: its own turn comes after that.
                point.row.state = "WAITING"
                point.row.reason = f"waits for the study of {waits_for.study.study_date}"
            else:
                waits_for = point
                point.row.state, point.row.reason = "PROCESSING", point.priors.reason
                enqueue(session, stage="infer", subject=str(point.row.id), lane=lane, due_at=now)
        if waits_for is None:
            enqueue(session, stage="report", subject=str(patient_key), lane=lane, due_at=now)


def settle(row: TimePointRow) -> None:
    """Set a time point's state on the worklist from what is known of it: the one place that does."""
    if row.analysis is None:
        row.state, row.reason = ("FAILED", row.failure) if row.failed_identity else ("WAITING", "")
    elif row.analysis.state != "ANALYSED" or row.report is None:
        row.state, row.reason = row.analysis.state, row.analysis.reason
    else:
        row.state, row.reason = row.report.status.upper(), row.analysis.reason
        held = [o.error for o in row.report.objects if o.state == "HELD"]
        if held:
            row.reason = f"the results were not sent, validation failed: {held[0]}"


def plan_patient(session: Session, patient_key: int) -> list[PlannedTimePoint]:
    """A patient's time points in order, each with its priors and prompt objects."""
    rows = list(session.scalars(select(TimePointRow).where(TimePointRow.patient_key == patient_key)))
    by_uid = {row.study.study_instance_uid: row for row in rows if row.study.state != "QUARANTINED"}
    studies = in_order([_timeline_study(row) for row in by_uid.values()])
    prompts = _prompt_objects(session, patient_key)
    planned = []
    for study in studies:
        row = by_uid[study.study_instance_uid]
        priors = choose_priors(studies, study.study_instance_uid)
        planned.append(
            PlannedTimePoint(
                row=row,
                study=study,
                priors=priors,
                prior_rows=tuple(by_uid[uid] for uid in priors.study_instance_uids),
                prompt_objects=tuple(p for p in prompts if _speaks_of(p, row)),
            )
        )
    return planned


# Of the response policies, those that decide what is recorded, and not only how it is judged.
_ROLE_POLICIES = ("maximum_targets", "maximum_targets_per_organ", "node_double_slice_rule")


def analysis_identity(
    point: PlannedTimePoint, earlier: Sequence[PlannedTimePoint], settings: Settings
) -> str:
    """What an analysis depends on, as one digest: the same inputs make the same results.

    `earlier` are all the patient's time points before this one: labels and roles depend on them too.
    """
    models = settings.models.model_dump(mode="json", exclude={"device", "allowed_licences"})
    for weights in ("segmenter_weights", "tracker_weights"):  # a worker's own path is nobody else's
        models[weights] = PurePath(models[weights]).name if models[weights] else None
    inputs = {
        "pipeline": PIPELINE_VERSION,
        "day": point.study.study_date.isoformat(),
        "series": [point.row.revision.series_sha256, point.row.revision.series_stack],
        "prompts": sorted(p.sha256 for p in point.prompt_objects),
        "priors": [row.analysis.identity if row.analysis else "" for row in point.prior_rows],
        "earlier": [
            [p.study.study_date.isoformat(), p.row.analysis.identity]
            for p in earlier
            if p.row.analysis and p.row.analysis.observations
        ],
        "prompt_rules": settings.prompts.model_dump(mode="json"),
        "role_rules": [
            settings.response.baseline_window_days,
            *(settings.response.policy.get(name) for name in _ROLE_POLICIES),
        ],
        "models": models,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _timeline_study(row: TimePointRow) -> TimelineStudy:
    study = row.study
    series = series_from_json(row.revision.series or {})
    if study.study_date is None:
        raise ValueError(f"study {study.study_instance_uid} has no place in time")  # ingest gives it one
    return TimelineStudy(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        study_time=study.study_time,
        modality=series.modality,
        region_text=" ".join((series.body_part, study.description, series.description, series.protocol)),
        frame_of_reference_uid=series.frame_of_reference_uid,
    )


def _prompt_objects(session: Session, patient_key: int) -> Sequence[InstanceRow]:
    return list(
        session.scalars(
            select(InstanceRow)
            .join(StudyRow, StudyRow.study_instance_uid == InstanceRow.study_instance_uid)
            .where(
                StudyRow.patient_key == patient_key,
                StudyRow.state != "QUARANTINED",
                InstanceRow.modality.in_(PROMPT_MODALITIES),
                InstanceRow.is_own_result.is_(False),
            )
            .order_by(InstanceRow.sop_instance_uid)
        )
    )


def _speaks_of(prompt: InstanceRow, row: TimePointRow) -> bool:
    """Whether an object lies in the study, or names its study, series or frame of reference."""
    series = row.revision.series or {}
    own = {
        row.study.study_instance_uid,
        series.get("series_instance_uid"),
        series.get("frame_of_reference_uid"),
    }
    return prompt.study_instance_uid == row.study.study_instance_uid or bool(
        own & set(prompt.refers_to or [])
    )
