"""Inference: segment what has a prompt, track what has a prior, measure what was found."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import AnalysisRow, InstanceRow, TimePointRow
from workflow.context import Context, audit
from workflow.domain.lesion import LesionPrompt, PromptsRead
from workflow.domain.response import Policies
from workflow.domain.series import SeriesDescription
from workflow.domain.series_choice import comparability
from workflow.findings import KnownLesion, join, part_of, roster_of, segment_all, track_all
from workflow.ingest import PROMPT_MODALITIES, series_from_json
from workflow.jobs import Job, enqueue
from workflow.ports import ImageStack
from workflow.recording import Recorded, analysis_of, observations_of
from workflow.timeline import PlannedTimePoint, analysis_identity, plan_patient, settle

log = logging.getLogger(__name__)


def infer(job: Job, context: Context) -> None:
    """Make the analysis of one time point, if it is still wanted; then look at the timeline again.

    Raises
    ------
    UnsuitableInputError
        If the images can't be read or the model refuses them; the time point shows the reason.
    """
    started = time.monotonic()
    with context.reading() as session:
        row = session.get_one(TimePointRow, int(job.subject))
        planned = plan_patient(session, row.patient_key)
        point = next((p for p in planned if p.row.id == row.id), None)
        if point is None:
            return
        earlier = planned[: planned.index(point)]
        identity = analysis_identity(point, earlier, context.settings)
        roster = roster_of(point.prior_rows)
        paths = series_paths(session, point.row)
        study_images = _image_paths(session, point.row)
        priors = {
            k.last_seen.id: (series_paths(session, k.last_seen), k.last_seen) for k in roster if k.last_seen
        }
    job.report_progress(0.05, "reading images")
    image = context.images.read_volume(paths, series_from_json(point.row.revision.series or {}))
    read = context.prompts.read([Path(p.path) for p in point.prompt_objects], study_images)
    prompts, elsewhere = _on_this_frame(read, image, context.images.describe_study(study_images))
    remarks = [*read.doubts, *elsewhere, *read.notes]
    tracked = track_all(image, roster, priors, context, part_of(job.report_progress, 0.1, 0.7))
    prompted, doubts = segment_all(image, prompts, context, part_of(job.report_progress, 0.7, 0.9))
    remarks += doubts
    findings = join(image.volume, roster, tracked, prompted)
    job.report_progress(0.9, "measuring")
    recorded = Recorded(
        point=point,
        earlier=earlier,
        policies=Policies.from_mapping(context.settings.response.policy),
        baseline_window_days=context.settings.response.baseline_window_days,
    )
    with context.unit() as session:
        row = session.get_one(TimePointRow, point.row.id)
        done = session.scalar(
            select(AnalysisRow).where(AnalysisRow.time_point_id == row.id, AnalysisRow.identity == identity)
        )
        if done is None:
            # The plan was made in another transaction: its rows are taken into this one.
            recorded = _attached(session, recorded)
            rows, notes = observations_of(session, recorded, image.volume, findings)
            notes = [*image.notes, *remarks, *_comparability(point, roster), *notes]
            done = analysis_of(recorded, identity, rows, notes, context.clock())
            done.seconds = time.monotonic() - started
            session.add(done)
            session.flush()
        row.analysis = done
        row.failed_identity = ""
        settle(row)
        audit(
            session,
            context.clock(),
            actor="inference",
            action="analysis",
            about=row.study.study_instance_uid,
            identity=identity,
            seconds=round(done.seconds, 1),
            lesions=len(done.observations),
        )
        look_again(session, row, context)


def give_up(job: Job, reason: str, context: Context) -> None:
    """Show that a time point's analysis failed for good, and go on with the patient's others."""
    with context.unit() as session:
        row = session.get_one(TimePointRow, int(job.subject))
        planned = plan_patient(session, row.patient_key)
        for place, point in enumerate(planned):
            if point.row.id == row.id:
                row.failed_identity = analysis_identity(point, planned[:place], context.settings)
        row.analysis = None  # what was found in an earlier revision does not belong to this one
        row.failure = reason
        settle(row)
        look_again(session, row, context)


def look_again(session: Session, row: TimePointRow, context: Context) -> None:
    """Have the patient's timeline looked at."""
    enqueue(
        session,
        stage="timeline",
        subject=str(row.patient_key),
        lane=f"patient:{row.patient_key}",
        due_at=context.clock(),
    )


def _attached(session: Session, recorded: Recorded) -> Recorded:
    planned = plan_patient(session, recorded.point.row.patient_key)
    place = next(i for i, p in enumerate(planned) if p.row.id == recorded.point.row.id)
    return replace(recorded, point=planned[place], earlier=planned[:place])


def series_paths(session: Session, row: TimePointRow) -> list[Path]:
    """Files of the chosen series' stack, in the series description's order."""
    wanted = series_from_json(row.revision.series or {}).sop_instance_uids
    found = session.scalars(
        select(InstanceRow).where(
            InstanceRow.study_instance_uid == row.study.study_instance_uid,
            InstanceRow.series_instance_uid == row.revision.series_instance_uid,
        )
    )
    by_uid = {instance.sop_instance_uid: Path(instance.path) for instance in found}
    return [by_uid[uid] for uid in wanted if uid in by_uid]


def _image_paths(session: Session, row: TimePointRow) -> list[Path]:
    """Files of all images of the study."""
    found = session.scalars(
        select(InstanceRow.path).where(
            InstanceRow.study_instance_uid == row.study.study_instance_uid,
            InstanceRow.modality.not_in(PROMPT_MODALITIES),
            InstanceRow.is_own_result.is_(False),
        )
    )
    return [Path(path) for path in found]


def _on_this_frame(
    read: PromptsRead, image: ImageStack, described: Sequence[SeriesDescription]
) -> tuple[list[LesionPrompt], list[str]]:
    """The prompts that hold on this image (drawn on it, or in its frame of reference); of others, that."""
    frames = {series.key: series.frame_of_reference_uid for series in described}
    own, frame = image.series.key, image.series.frame_of_reference_uid
    here, elsewhere = [], []
    for placed in read.prompts:
        if placed.drawn_on == own or (frame is not None and frames.get(placed.drawn_on) == frame):
            here.append(placed.prompt)
        else:
            elsewhere.append(
                f"{placed.prompt.item} of {placed.prompt.sop_instance_uid} was drawn on series "
                f"{placed.drawn_on.series_instance_uid}, in another frame of reference than what is measured"
            )
    return here, elsewhere


def _comparability(point: PlannedTimePoint, roster: Sequence[KnownLesion]) -> list[str]:
    """How the acquisition differs from each prior that lesions are tracked from."""
    present = series_from_json(point.row.revision.series or {})
    notes = []
    for row in {k.last_seen.id: k.last_seen for k in roster if k.last_seen}.values():
        former = series_from_json(row.revision.series or {})
        notes += [f"compared with {row.study.study_date}: {m}" for m in comparability(former, present)]
    return notes
