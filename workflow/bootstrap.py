"""The one place that builds adapters and hands them to the stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from db.outbox import StoredOutbox
from db.reception import StoredReception
from db.records import StoredRecords
from db.session import migrate, open_engine, reading, unit_of_work
from dicom_io.adapters import DicomImages, DicomPrompts, DicomResults
from workflow.engine.context import Context
from workflow.ports import Destination, Segmenter, Tracker
from workflow.response import protocol_of
from workflow.settings import Node, Settings

if TYPE_CHECKING:
    from dicom_io.scu import RemoteNode

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of the product."""
    return datetime.now(UTC)


def build(settings: Settings, *, destination: Destination | None = None) -> Context:
    """Open the database (migrated to the newest schema) and connect the adapters.

    Nothing heavy is imported here: models and DICOM encoders come when a stage first asks for them.
    """
    protocol_of(settings.response)  # refused at start, not when the first report is due
    settings.home.mkdir(parents=True, exist_ok=True)
    migrate(settings.resolved_database_url)
    engine = open_engine(settings.resolved_database_url)
    unit, read = unit_of_work(engine), reading(engine)
    return Context(
        settings=settings,
        unit=unit,
        reading=read,
        clock=utc_now,
        reception=StoredReception(unit=unit, reading=read, clock=utc_now),
        records=StoredRecords(unit=unit, reading=read, clock=utc_now),
        outbox=StoredOutbox(unit=unit, reading=read, clock=utc_now),
        images=DicomImages(),
        prompts=DicomPrompts(settings),
        results=DicomResults(settings),
        destination=destination or _remote(settings.resolved_destination, settings),
        open_segmenter=cache(lambda: _segmenter(settings)),
        open_tracker=cache(lambda: _tracker(settings)),
        pacs_instance_count=_instance_count(settings),
    )


def _remote(node: Node, settings: Settings) -> RemoteNode:
    from dicom_io.scu import RemoteNode
    from dicom_io.tls import node_context

    tls = node.tls
    return RemoteNode(
        ae_title=node.ae_title,
        host=node.host,
        port=node.port,
        calling_ae_title=settings.listener.ae_title,
        tls=node_context(tls.ca, tls.certificate, tls.key) if tls else None,
        server_name=tls.server_name if tls else "",
    )


def _instance_count(settings: Settings) -> Callable[[str, Collection[str]], int] | None:
    return None if settings.pacs is None else _remote(settings.pacs, settings).study_instance_count


def _segmenter(settings: Settings) -> Segmenter:
    from models.registry import open_segmenter

    models = settings.models
    return open_segmenter(
        models.segmenter,
        models.segmenter_weights,
        device=models.device,
        allowed_licences=models.allowed_licences,
        perturb_mm=models.perturb_prompts_mm,
        **models.segmenter_parameters,
    )


def _tracker(settings: Settings) -> Tracker:
    from models.registry import open_tracker

    models = settings.models
    return open_tracker(
        models.tracker,
        models.tracker_weights,
        device=models.device,
        allowed_licences=models.allowed_licences,
        **models.tracker_parameters,
    )
