"""DICOM servers: the listener that receives studies, and the archive that stands in for a PACS."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification
from pynetdicom.transport import ThreadedAssociationServer

from dicom_io.commitment import add_commitment
from dicom_io.headers import InstanceHeader, read_header
from dicom_io.parsing import quiet
from workflow.domain.errors import TransientError, UnsuitableInputError, WorkflowError
from workflow.domain.patient import PatientIdentity

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 table B.2-1.
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000

# Storage classes that pynetdicom does not know yet (label map SEG among them) are accepted too.
_config.UNRESTRICTED_STORAGE_SERVICE = True


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """An instance on disk: its header, its file, and the digest of the bytes as they came."""

    header: InstanceHeader
    path: Path
    sha256: str
    size: int
    source: str

    @property
    def identity(self) -> PatientIdentity:
        """Whose it says that it is."""
        return self.header.identity


def file_digest(path: Path) -> str:
    """SHA-256 of the data set as it was sent: the file less preamble and file meta information.

    The meta information names whoever wrote the file; the same instance received twice through
    different ways has the same digest, and only a change of content gives another.
    """
    with path.open("rb") as file, quiet():
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def keep_file(content: bytes, folder: Path, source: str) -> ReceivedFile:
    """Write an instance's bytes, unchanged, where they survive a crash: temporary name, fsync, rename.

    Raises
    ------
    UnsuitableInputError
        If the bytes are no DICOM instance. They are kept under `folder`/rejected and the message says where.
    OSError
        If the disk refuses.
    """
    incoming = folder / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    temporary = incoming / f"{secrets.token_hex(8)}.part"
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        header = read_header(temporary)
        sha256 = file_digest(temporary)
    except UnsuitableInputError as error:
        rejected = folder / "rejected" / f"{hashlib.sha256(content).hexdigest()[:16]}.dcm"
        rejected.parent.mkdir(exist_ok=True)
        temporary.replace(rejected)
        reason = str(error).replace(str(temporary), f"an object from {source}")
        raise UnsuitableInputError(f"{reason} (kept as {rejected})") from error
    # The digest in the name: an instance that comes again with other content loses nothing.
    final = folder / header.study_instance_uid / header.series_instance_uid
    changed = {final, *(part.parent for part in (final, final.parent) if not part.exists())}
    final.mkdir(parents=True, exist_ok=True)
    path = final / f"{header.sop_instance_uid}-{sha256}.dcm"
    temporary.replace(path)
    for part in changed:  # a folder's entry outlives a power cut like a file's content
        _sync_folder(part)
    return ReceivedFile(
        header=InstanceHeader(**{**vars(header), "path": path}),
        path=path,
        sha256=sha256,
        size=len(content),
        source=source,
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_unfinished(folder: Path, older_than_s: float = 3600.0) -> int:
    """Remove what a process that was killed while writing left; nobody was told that it was kept."""
    left = [
        part
        for part in (folder / "incoming").glob("*.part")
        if time.time() - part.stat().st_mtime > older_than_s
    ]
    for part in left:
        part.unlink(missing_ok=True)
    return len(left)


def serve_listener(
    *,
    ae_title: str,
    host: str,
    port: int,
    folder: Path,
    allowed_calling_ae_titles: tuple[str, ...],
    on_received: Callable[[ReceivedFile], object],
    on_rejected: Callable[[str, str], None],
    maximum_associations: int = 16,
    minimum_free_mb: int = 1024,
    commitment: Sequence[tuple[evt.EventType, Callable[[evt.Event], object]]] = (),
    tls: ssl.SSLContext | None = None,
) -> ThreadedAssociationServer:
    """Start the listener: C-ECHO, and C-STORE of every storage class in every transfer syntax.

    `on_received` records an instance and returns when that is durable: only then is success answered.
    `on_rejected(source, reason)` is told of objects that could not be read. Pixels are never decoded.
    A calling AE title that is not allowed is refused; with none allowed, nobody may send. `tls` is made by
    `dicom_io.tls.listener_context`; without it the listener speaks plain DICOM. With `commitment`
    (`dicom_io.commitment.commitment_handlers`) it also does storage commitment.

    Raises
    ------
    TransientError
        If the port is taken.
    """

    def store(event: evt.Event) -> int:
        source = str(event.assoc.requestor.ae_title).strip()
        if shutil.disk_usage(folder).free < minimum_free_mb << 20:
            log.error(
                "less than %d MB are free in %s: the sender is asked to try later", minimum_free_mb, folder
            )
            return OUT_OF_RESOURCES
        try:
            on_received(keep_file(event.encoded_dataset(), folder, source))
        except UnsuitableInputError as error:
            log.warning("%s", error)
            on_rejected(source, str(error))
            return CANNOT_UNDERSTAND
        except (OSError, WorkflowError):
            log.exception("an instance from %s was not kept; the sender is asked to try later", source)
            return OUT_OF_RESOURCES
        return SUCCESS

    folder.mkdir(parents=True, exist_ok=True)
    discard_unfinished(folder)
    ae = _application_entity(ae_title, allowed_calling_ae_titles, maximum_associations)
    if commitment:
        add_commitment(ae)
    return _start(ae, host, port, [(evt.EVT_C_STORE, store), *commitment], tls)


@dataclass(frozen=True)
class FolderArchive:
    """A folder study/series/instance.dcm that holds what it is given: what stands in for a PACS.

    One file per instance, named by its UID, so that any viewer can open the folder.
    """

    folder: Path

    @property
    def name(self) -> str:
        """For the outbox and the log."""
        return f"folder {self.folder}"

    def put(self, content: bytes, source: str) -> None:
        """Keep an instance's bytes; the same instance again replaces it.

        Raises
        ------
        UnsuitableInputError
            If they are no DICOM instance.
        OSError
            If the disk refuses.
        """
        received = keep_file(content, self.folder, source)
        received.path.replace(received.path.with_name(f"{received.header.sop_instance_uid}.dcm"))

    def store(self, paths: Sequence[Path]) -> None:
        """Keep copies of files; see `workflow.ports.Destination.store`."""
        for path in paths:
            self.put(path.read_bytes(), "folder")

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of a series; see `workflow.ports.Destination.held`."""
        return frozenset(
            p.stem for p in (self.folder / study_instance_uid / series_instance_uid).glob("*.dcm")
        )

    def find(self, query: pydicom.Dataset) -> list[pydicom.Dataset]:
        """Answer a study-root C-FIND (unique keys, no wildcards)."""
        level = str(query.get("QueryRetrieveLevel", "STUDY"))
        study, series = str(query.get("StudyInstanceUID", "")), str(query.get("SeriesInstanceUID", ""))
        if not all(_is_uid(part) for part in (study, series) if part):
            return []  # nothing has it, and nothing outside the folder is looked at
        depth = {"STUDY": 1, "SERIES": 2, "IMAGE": 3}.get(level, 0)
        pattern = "/".join([study or "*", series or "*", "*.dcm"][:depth])
        matches = []
        for found in sorted(self.folder.glob(pattern)) if depth else []:
            parts = found.relative_to(self.folder).parts
            if not _is_uid(parts[0]):
                continue
            match = pydicom.Dataset()
            match.QueryRetrieveLevel = level
            match.StudyInstanceUID = parts[0]
            if depth == 1:
                match.NumberOfStudyRelatedInstances = len(list(found.glob("*/*.dcm")))
            if depth > 1:
                match.SeriesInstanceUID = parts[1]
            if depth > 2:
                match.SOPInstanceUID = found.stem
            matches.append(match)
        return matches


def _is_uid(text: str) -> bool:
    return text.replace(".", "").isdigit()


def serve_archive(
    *, ae_title: str, host: str, port: int, folder: Path, tls: ssl.SSLContext | None = None
) -> ThreadedAssociationServer:
    """Start the local archive: C-ECHO, C-STORE into a `FolderArchive`, C-FIND (study root, down to IMAGE).

    Raises
    ------
    TransientError
        If the port is taken.
    """
    archive = FolderArchive(folder)

    def store(event: evt.Event) -> int:
        try:
            archive.put(event.encoded_dataset(), str(event.assoc.requestor.ae_title))
        except UnsuitableInputError as error:
            log.warning("%s", error)
            return CANNOT_UNDERSTAND
        except OSError:
            log.exception("the archive could not keep an instance")
            return OUT_OF_RESOURCES
        return SUCCESS

    def find(event: evt.Event) -> Iterator[tuple[int, pydicom.Dataset | None]]:
        yield from ((0xFF00, match) for match in archive.find(event.identifier))

    folder.mkdir(parents=True, exist_ok=True)
    discard_unfinished(folder)
    ae = _application_entity(ae_title, None, 16)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    return _start(ae, host, port, [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)], tls)


def _application_entity(title: str, allowed: tuple[str, ...] | None, maximum_associations: int) -> AE:
    ae = AE(ae_title=title)
    ae.maximum_pdu_size = 0  # unlimited: a third faster than the default 16 kB
    ae.maximum_associations = maximum_associations
    ae.network_timeout, ae.acse_timeout, ae.dimse_timeout = 60, 30, 120
    ae.require_called_aet = False
    if allowed is not None:
        # An empty list means "anybody" to pynetdicom; a title that nobody has means "nobody".
        ae.require_calling_aet = list(allowed) or [secrets.token_hex(8)]
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    return ae


def _start(
    ae: AE, host: str, port: int, handlers: list[Any], tls: ssl.SSLContext | None
) -> ThreadedAssociationServer:
    try:
        server = ae.start_server((host, port), block=False, evt_handlers=handlers, ssl_context=tls)
    except OSError as error:
        raise TransientError(
            f"{ae.ae_title} can't listen on {host}:{port}: {error.strerror}; is another one running?"
        ) from error
    if not isinstance(server, ThreadedAssociationServer):
        raise TypeError(f"pynetdicom gave a {type(server).__name__}")
    return server
