"""The one place that builds adapters and hands them to the rest, by their ports.

Nothing heavy is imported before it is asked for: models and DICOM encoders come with the first job that
needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.board import StoredBoards
from db.cursors import StoredCursors
from db.events import StoredPatientEvents
from db.examination import StoredExamination
from db.holdings import StoredHoldings
from db.jobs import StoredJobs
from db.operations import StoredOperations
from db.outbox import StoredOutbox
from db.overview import StoredOverview
from db.priors import StoredPriors
from db.reception import StoredReception
from db.records import StoredRecords
from db.session import migrate, open_engine, reading, unit_of_work
from db.users import StoredUsers
from db.worklist import StoredWorklist
from dicom_io.adapters import DicomImages, DicomMarks, DicomPrompts, DicomResultReader, DicomResults
from dicom_io.board import BoardPackets
from workflow.domain.conflict import Comparison
from workflow.domain.errors import ConfigurationError
from workflow.engine.context import Context
from workflow.ports import (
    ChangeFeed,
    Committer,
    Destination,
    DicomServer,
    ReceivedInstance,
    Reception,
    Segmenter,
    StoreOutcome,
    Tracker,
)
from workflow.ports.priors import PriorSource
from workflow.response import protocol_of
from workflow.settings import Models, Node, Settings

if TYPE_CHECKING:
    from dicom_io.dicomweb import DicomwebNode
    from dicom_io.scu import RemoteNode
    from workflow.domain.geometry import Volume


def utc_now() -> datetime:
    """The clock of the product."""
    return datetime.now(UTC)


def build(settings: Settings, *, destination: Destination | None = None) -> Context:
    """Open the database (migrated to the newest schema) and connect the adapters."""
    protocol_of(settings.response)  # refused at start, not when the first report is due
    _make_home(settings.home)
    migrate(settings.resolved_database_url)
    engine = open_engine(settings.resolved_database_url)
    unit, read = unit_of_work(engine), reading(engine)
    reception = StoredReception(unit=unit, reading=read, clock=utc_now, compare=_compare_files)
    keep = _keeper(settings.home / "received")
    return Context(
        settings=settings,
        clock=utc_now,
        reception=reception,
        records=StoredRecords(unit=unit, reading=read, clock=utc_now),
        outbox=StoredOutbox(unit=unit, reading=read, clock=utc_now),
        jobs=StoredJobs(unit=unit, reading=read, settings=settings.worker),
        cursors=StoredCursors(unit=unit, reading=read),
        overview=StoredOverview(reading=read),
        holdings=StoredHoldings(reading=read),
        boards=StoredBoards(unit=unit, reading=read, clock=utc_now),
        packets=BoardPackets(settings),
        priors=StoredPriors(unit=unit, reading=read, clock=utc_now),
        prior_source=open_prior_source(settings, reception, keep),
        worklist=StoredWorklist(reading=read),
        events=StoredPatientEvents(unit=unit, clock=utc_now),
        operations=StoredOperations(unit=unit, reading=read, clock=utc_now),
        users=StoredUsers(
            unit=unit,
            reading=read,
            clock=utc_now,
            idle_after=timedelta(minutes=settings.web.session_idle_minutes),
            ends_after=timedelta(hours=settings.web.session_hours),
        ),
        examination=StoredExamination(reading=read),
        images=DicomImages(),
        prompts=DicomPrompts(settings),
        marks=DicomMarks(),
        results=DicomResults(settings),
        destination=destination or open_destination(settings),
        committer=_open_committer(settings),
        keep=keep,
        result_reader=DicomResultReader(),
        open_segmenter=cache(lambda: open_segmenter(settings.models)),
        open_tracker=cache(lambda: open_tracker(settings.models)),
        limits_of=limits_of,
        pacs_instance_count=_instance_count(settings),
    )


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)  # patients' images and names lie in it
        is_writable = os.access(home, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {home} can't be made: {error.strerror}; choose another (TUMORLINE_HOME, --out)"
        ) from error
    if not is_writable:
        raise ConfigurationError(
            f"the folder {home} can't be written to: let this user, or choose another (TUMORLINE_HOME, --out)"
        )


# ---------------------------------------------------------------- DICOM


def _compare_files(first: Path, other: Path) -> Comparison:
    from dicom_io.conflicts import compare_files

    return compare_files(first, other)


def open_node(node: Node, calling_ae_title: str) -> RemoteNode:
    """A node that we send to and ask; nothing is called yet."""
    from dicom_io.scu import RemoteNode
    from dicom_io.tls import node_context

    tls = node.tls
    return RemoteNode(
        ae_title=node.ae_title,
        host=node.host,
        port=node.port,
        calling_ae_title=calling_ae_title,
        tls=node_context(tls.ca, tls.certificate, tls.key) if tls else None,
        server_name=tls.server_name if tls else "",
    )


def open_destination(settings: Settings) -> Destination:
    """Where results go: a DICOM node, or a DICOMweb server."""
    if settings.stores_by_dicomweb:
        return _open_dicomweb(settings)
    return open_node(settings.resolved_destination, settings.listener.ae_title)


def _open_committer(settings: Settings) -> Committer | None:
    if settings.delivery.proof != "commitment":
        return None
    from dicom_io.commitment import CommittingNode

    return CommittingNode(open_node(settings.resolved_destination, settings.listener.ae_title))


def open_prior_source(
    settings: Settings, reception: Reception, keep: Callable[[bytes, str], ReceivedInstance]
) -> PriorSource | None:
    """Who is asked for earlier studies; what comes over the same connection is kept and received here."""
    method = settings.priors.method
    if not method:
        return None

    def take(content: bytes, source: str) -> None:
        reception.receive(keep(content, source))

    if method == "dicomweb":
        return _open_dicomweb(settings, take)
    from dicom_io.retrieval import PriorNode

    assert settings.pacs is not None  # the settings were checked
    node = open_node(settings.pacs, settings.listener.ae_title)
    if method == "c-get":
        return PriorNode(node, lambda study: node.get(study, take))
    return PriorNode(node, lambda study: node.move(study, settings.listener.ae_title))


def _open_dicomweb(
    settings: Settings, take: Callable[[bytes, str], object] = lambda content, source: None
) -> DicomwebNode:
    from dicom_io.dicomweb import DicomwebNode

    server = settings.dicomweb
    assert server is not None  # the settings were checked
    return DicomwebNode(server.url, server.username, server.password.get_secret_value(), take)


def folder_archive(folder: Path) -> Destination:
    """A folder that results are delivered to, in place of a PACS."""
    from dicom_io.scp import FolderArchive

    return FolderArchive(folder)


def received_digest(path: Path) -> str:
    """The SHA-256 of a received instance, as it was noted when it came; "" if it can't be read any more."""
    from dicom_io.keeping import file_digest

    try:
        return file_digest(path)
    except Exception:  # whatever is left of it, it is not what was received
        return ""


def start_listener(settings: Settings, context: Context) -> DicomServer:
    """Start to receive studies over DICOM."""
    reception, outbox = context.reception, context.outbox
    from dicom_io.acceptor import Callers, Limits
    from dicom_io.commitment import CommitmentServer
    from dicom_io.listener import serve_listener
    from dicom_io.tls import listener_context

    s = settings.listener
    server: DicomServer = serve_listener(
        host=s.host,
        port=s.port,
        folder=settings.home / "received",
        callers=Callers(
            called_ae_title=s.ae_title if s.checks_called_ae_title else "",
            calling_ae_titles=s.allowed_calling_ae_titles,
            networks=s.allowed_hosts,
        ),
        on_received=reception.receive_all,
        on_rejected=reception.reject,
        limits=Limits(
            associations=s.maximum_associations,
            associations_per_host=s.maximum_associations_per_host,
            request_s=s.request_timeout_s,
            idle_s=s.idle_timeout_s,
            object_bytes=s.maximum_object_mb << 20,
        ),
        minimum_free_mb=s.minimum_free_mb,
        shares_port=s.processes > 1,
        commitment=CommitmentServer(outbox.kept, outbox.settle),
        tls=listener_context(s.tls_certificate, s.tls_key, s.tls_ca) if s.tls_certificate else None,
    )
    return server


def start_archive(settings: Settings) -> DicomServer:
    """Start the local archive that stands in for a PACS."""
    from dicom_io.scp import serve_archive

    server: DicomServer = serve_archive(
        ae_title=settings.archive.ae_title,
        host="127.0.0.1",
        port=settings.archive.port,
        folder=settings.home / "archive",
    )
    return server


def open_change_feed(url: str, username: str, password: str) -> ChangeFeed:
    """An Orthanc whose changes are followed.

    Raises
    ------
    ConfigurationError
        If its extra is not installed, or it refuses the login.
    """
    from dicom_io.orthanc import OrthancClient

    return OrthancClient(url, username, password)


def read_folder(folder: Path) -> Volume:
    """The best series of a folder of DICOM as a volume."""
    from dicom_io.volumes import read_folder

    return read_folder(folder).volume


def _keeper(folder: Path) -> Callable[[bytes, str], ReceivedInstance]:
    def keep(content: bytes, source: str) -> ReceivedInstance:
        from dicom_io.keeping import keep_file

        return keep_file(content, folder, source)

    return keep


def _instance_count(settings: Settings) -> Callable[[str, Collection[str]], int] | None:
    if settings.pacs is None:
        return _open_dicomweb(settings).study_instance_count if settings.dicomweb else None
    return open_node(settings.pacs, settings.listener.ae_title).study_instance_count


# ---------------------------------------------------------------- models


def open_segmenter(models: Models) -> Segmenter:
    """Open the segmenter that these settings name."""
    from models.registry import open_segmenter

    return open_segmenter(
        models.segmenter,
        models.segmenter_weights,
        device=models.device,
        allowed_licences=models.allowed_licences,
        perturb_mm=models.perturb_prompts_mm,
        **models.segmenter_parameters,
    )


def open_tracker(models: Models) -> Tracker:
    """Open the tracker that these settings name."""
    from models.registry import open_tracker

    return open_tracker(
        models.tracker,
        models.tracker_weights,
        device=models.device,
        allowed_licences=models.allowed_licences,
        **models.tracker_parameters,
    )


def limits_of(model: str) -> Sequence[str]:
    """What must be known of a model's results; empty for a model that is not installed.

    Raises
    ------
    ConfigurationError
        If the package of some model is broken.
    """
    from models.registry import limits_of

    return limits_of(model)


# ---------------------------------------------------------------- DICOMweb


def dicomweb_routes(
    context: Context,
    *,
    prefix: str,
    reader: Callable[..., Any],
    writer: Callable[..., Any],
    store: Callable[[bytes, Any], StoreOutcome],
) -> Any:
    """The routes of our DICOMweb server; see `dicom_io.web`."""
    from dicom_io.web import dicomweb_routes

    return dicomweb_routes(
        context.holdings,
        prefix=prefix,
        reader=reader,
        writer=writer,
        store=store,
        largest_upload_mb=context.settings.web.largest_upload_mb,
    )
