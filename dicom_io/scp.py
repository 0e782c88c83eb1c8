"""The archive that stands in for a PACS, on the loopback address."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification
from pynetdicom.transport import ThreadedAssociationServer

from dicom_io.keeping import discard_unfinished, keep_file
from workflow.domain.errors import TransientError, UnsuitableInputError

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 table B.2-1.
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000

# Storage classes that pynetdicom does not know yet (label map SEG among them) are accepted too.
_config.UNRESTRICTED_STORAGE_SERVICE = True


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
    ae = AE(ae_title=ae_title)
    ae.maximum_pdu_size = 0  # unlimited: a third faster than the default 16 kB
    ae.maximum_associations = 16
    ae.network_timeout, ae.acse_timeout, ae.dimse_timeout = 60, 30, 120
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    return _start(ae, host, port, [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)], tls)


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
