"""Priors: the earlier studies of a patient who is new here are looked for in the PACS, and fetched.

Two kinds of job: one that searches for what belongs to a study that arrived, and one for every study that is
fetched. What comes is received like anything else, and the patient's timeline is looked at again.
"""

from __future__ import annotations

from typing import Any

from workflow.domain.errors import ConfigurationError, TransientError, UnsuitableInputError
from workflow.domain.priors import PriorRule, PriorState, choose_priors
from workflow.engine.context import Context
from workflow.ports import Job
from workflow.ports.priors import PriorSource


def seek_priors(job: Job, context: Context) -> None:
    """Ask the PACS for a patient's earlier studies and choose those that count; `job.subject` is the study.

    Raises
    ------
    TransientError
        If the PACS is not there; the job is tried again.
    """
    source, study_key = _source(context), int(job.subject)
    arrived = context.priors.arrived(study_key)
    if arrived is None:
        return
    job.report_progress(0.1, f"asking {source.name} for earlier studies")
    settings = context.settings.priors
    rule = PriorRule(
        at_most=settings.at_most,
        within_days=settings.within_days,
        at_most_instances=settings.at_most_instances,
    )
    patient_id = arrived.patient.patient_id
    choices = choose_priors(arrived, source.studies(patient_id), context.priors.held(patient_id), rule)
    context.priors.want(study_key, source.name, choices)


def fetch_prior(job: Job, context: Context) -> None:
    """Have one earlier study received; `job.subject` is the store's key of the wish.

    Raises
    ------
    TransientError
        If it did not come whole; the job is tried again.
    UnsuitableInputError
        If the PACS will not give it.
    """
    source, prior = _source(context), context.priors.wanted(int(job.subject))
    if prior is None or prior.state is PriorState.FETCHED:
        return
    job.report_progress(0.1, f"fetching an earlier study from {source.name}")
    sent = source.fetch(prior.study_instance_uid)
    here = context.priors.received(prior.study_instance_uid)
    if here < sent or not here:
        raise TransientError(
            f"{source.name} says it sent {sent} instances of {prior.study_instance_uid}, {here} are here; "
            "is our listener known there by the AE title listener.ae_title, with this host and port?"
        )
    context.priors.mark(prior.key, PriorState.FETCHED)


def give_up(job: Job, reason: str, context: Context) -> None:
    """Show on the worklist that an earlier study will not come."""
    context.priors.mark(int(job.subject), PriorState.FAILED, reason)


def _source(context: Context) -> PriorSource:
    if context.prior_source is None:
        raise ConfigurationError("priors are not fetched here: set priors.method")
    return context.prior_source


# ---------------------------------------------------------------- what people ask


def priors_of_patient(context: Context, patient_id: str) -> list[dict[str, Any]]:
    """The earlier studies of a patient that the PACS was asked for, oldest first, as JSON.

    Raises
    ------
    UnsuitableInputError
        If nobody here has this PatientID.
    """
    courses = [context.overview.course(key) for key in _keys(context, patient_id)]
    return [prior for course in courses if course for prior in course["priors"]]


def seek_again(context: Context, patient_id: str) -> int:
    """Look for a patient's priors again, and fetch what failed; return how many searches were begun.

    Raises
    ------
    UnsuitableInputError
        If nobody here has this PatientID.
    ConfigurationError
        If priors are not fetched here.
    """
    _source(context)
    return sum(context.priors.again(key) for key in _keys(context, patient_id))


def _keys(context: Context, patient_id: str) -> list[int]:
    keys = context.records.patient_keys(patient_id)
    if not keys:
        raise UnsuitableInputError(f"there is no patient {patient_id} here")
    return keys
