"""Celery: one thin task that carries a job's id to a worker. What must be done is in the job table."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from workflow.bootstrap import build
from workflow.domain.errors import TransientError
from workflow.engine.context import Context
from workflow.engine.reconciler import run_job
from workflow.settings import Settings

log = logging.getLogger(__name__)

RUN_JOB = "tumorline.run_job"
# GPU work goes to a queue of its own, so that a GPU worker takes nothing else.
DEFAULT_QUEUE, INFERENCE_QUEUE = "pipeline", "inference"


def make_app(settings: Settings) -> Celery:
    """Make the Celery application for these settings: any broker will do, and without one a folder does."""
    app = Celery("tumorline")
    url, options = _broker(settings)
    app.conf.update(
        broker_url=url,
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=DEFAULT_QUEUE,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker.concurrency,
        worker_hijack_root_logger=False,
        task_serializer="json",
        accept_content=["json"],
    )
    contexts: dict[int, Context] = {}

    def run_job_task(job_id: int) -> None:
        # By process: a forked child must not share its parent's database connections.
        context = contexts.get(os.getpid()) or contexts.setdefault(os.getpid(), build(settings))
        if run_job(job_id, context):
            due = [job.id for job in context.jobs.due(limit=2)]
            announce(app, context, due)  # the chain goes on without waiting for the reconciler

    app.task(run_job_task, name=RUN_JOB)
    return app


def announce(app: Celery, context: Context, job_ids: Sequence[int]) -> None:
    """Send the ids of due jobs to the workers. Losing one costs a few seconds, nothing else.

    Raises
    ------
    TransientError
        If the broker is not there.
    """
    queues = {
        job_id: INFERENCE_QUEUE if stage == "infer" else DEFAULT_QUEUE
        for job_id, stage in context.jobs.stages(job_ids).items()
    }
    try:
        for job_id, queue in queues.items():
            app.send_task(RUN_JOB, args=(job_id,), queue=queue)
    except OperationalError as error:
        raise TransientError(f"the broker is not there: {error}") from error


def run_worker(settings: Settings) -> None:
    """Be a worker until told to end (SIGTERM finishes the running job first)."""
    app = make_app(settings)
    app.worker_main(
        [
            "worker",
            "--loglevel=WARNING",
            # RabbitMQ ends the second worker of a name on one host.
            f"--hostname=tumorline-{uuid.uuid4().hex[:8]}@%h",
            f"--queues={','.join(settings.worker.queues)}",
            "--without-gossip",
            "--without-mingle",
            "--pool=prefork" if settings.worker.concurrency > 1 else "--pool=solo",
        ]
    )


def _broker(settings: Settings) -> tuple[str, dict[str, Any]]:
    if not settings.broker_url:
        folder = settings.home / "broker"
        for part in ("queue", "control"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        return "filesystem://", {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.1,
        }
    if settings.broker_url.startswith("redis"):
        # Messages of dead workers come back late by default (after up to 100 s); the sweep is tightened.
        # The timeout is longer than any job: redis would deliver a running one twice.
        return settings.broker_url, {
            "visibility_timeout": 6 * 3600,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
        }
    return settings.broker_url, {}
