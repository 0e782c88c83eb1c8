"""Operations: what an operator decides about work and studies that can't go on by themselves. All audited."""

from __future__ import annotations

from typing import Any

from workflow import ingest
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.states import StudyState
from workflow.domain.study_state import Readiness
from workflow.engine.context import Context
from workflow.ports import AuditEntry
from workflow.ports.operations import KnownStudy


def replay(context: Context, job_id: int, *, by: str) -> None:
    """Put a stopped job back into the queue, with its attempts forgotten.

    Raises
    ------
    UnsuitableInputError
        If there is no such job, or it did not stop.
    """
    context.jobs.replay(job_id)
    audit = AuditEntry(actor=by, action="job replayed", about=f"job {job_id}")
    context.operations.record([audit])


def cancel(context: Context, job_id: int, *, by: str, reason: str) -> None:
    """End a job that waits or runs, within seconds; its study or visit shows who did it, and why.

    Raises
    ------
    UnsuitableInputError
        If there is no such job, it ended already, or no reason is given.
    """
    said = _said(reason)
    context.jobs.cancel(job_id, f"{said} ({by})")
    audit = AuditEntry(actor=by, action="job canceled", about=f"job {job_id}", detail={"reason": said})
    context.operations.record([audit])


def dismiss(context: Context, entry: int, *, by: str, reason: str) -> None:
    """Take something that was kept for a person off the list; it stays where it is, and unused.

    New instances of such a study have it looked at again.

    Raises
    ------
    UnsuitableInputError
        If nothing of this number is on the list, or no reason is given.
    """
    kept = {one["id"]: one for one in context.operations.view(context.clock())["kept"]}
    about = (kept.get(entry) or {}).get("study_instance_uid") or f"quarantine {entry}"
    detail = {"entry": entry, "reason": _said(reason)}
    audit = AuditEntry(actor=by, action="kept entry dismissed", about=about, detail=detail)
    context.operations.dismiss(entry, audit)


def complete_study(context: Context, study_instance_uid: str, *, by: str, reason: str) -> None:
    """Go on with a study that is being received without waiting for more of it; it is marked incomplete.

    Raises
    ------
    UnsuitableInputError
        If nothing of the study is here, it is being received no more, or no reason is given.
    """
    said, study = _said(reason), _study(context, study_instance_uid)
    words = f"{by} went on without waiting for more: {said}"
    is_closed = study.state is StudyState.RECEIVING and context.reception.close(
        study.key, lambda facts: (Readiness.READY_INCOMPLETE, words), pacs_is_asked=False
    )
    if not is_closed:
        raise UnsuitableInputError(f"study {study_instance_uid} is being received no more: it went on")
    detail = {"reason": said, "instances": study.instances}
    context.operations.record(
        [AuditEntry(actor=by, action="study completed by hand", about=study_instance_uid, detail=detail)]
    )


def plan_study(context: Context, study_instance_uid: str) -> dict[str, Any]:
    """What would be done with a received study now, as JSON: whose it is, what is measured, and why.

    Nothing is changed. Headers are read, no pixels.

    Raises
    ------
    UnsuitableInputError
        If nothing of the study is here.
    """
    study = _study(context, study_instance_uid)
    plan = ingest.plan(study.key, context)
    return {
        "study_instance_uid": study_instance_uid,
        "state": study.state.value,
        "instances": study.instances,
        "patient_id": plan.patient_id,
        "is_known_patient": plan.is_known_patient,
        "study_date": plan.study_date.isoformat() if plan.study_date else None,
        "dated_by": plan.dated_by,
        "refusal": plan.refusal,
        "choice": plan.choice,
        "series": [dict(line) for line in plan.series],
        "doubts": list(plan.doubts),
    }


def _study(context: Context, study_instance_uid: str) -> KnownStudy:
    found = context.operations.study(study_instance_uid)
    if found is None:
        raise UnsuitableInputError(f"nothing of study {study_instance_uid} was received")
    return found


def _said(reason: str) -> str:
    if not reason.strip():
        raise UnsuitableInputError("say why: the reason is audited")
    return reason.strip()
