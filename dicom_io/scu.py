"""DICOM client: send files, ask what a node holds, say hello."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_io.headers import read_header
from dicom_io.listings import STUDY_KEYS, listed_study
from dicom_io.retrieved_classes import RETRIEVED_SOP_CLASSES, RETRIEVED_TRANSFER_SYNTAXES
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.priors import ListedStudy

log = logging.getLogger(__name__)

_UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
# An association proposes at most 128 contexts (PS3.8 9.3.2.2: odd ids of one byte).
_MAXIMUM_CONTEXTS = 128


@dataclass(frozen=True, kw_only=True)
class RemoteNode:
    """An application entity to talk to, and the title we call ourselves.

    With `tls` (see `dicom_io.tls.node_context`) the node must show a trusted certificate for `server_name`,
    or for `host` if that is empty.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "TUMORLINE"
    timeout_s: float = 30.0
    # An archive may read a study from tape before it sends the first instance, and says nothing meanwhile.
    retrieval_timeout_s: float = 600.0
    tls: ssl.SSLContext | None = None
    server_name: str = ""

    @property
    def name(self) -> str:
        """E.g. "ARCHIVE@127.0.0.1:11113"."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def echo(self) -> None:
        """Verify the connection (C-ECHO).

        Raises
        ------
        TransientError
            If the node is not there, refuses us, or answers with an error.
        """
        ae = AE(ae_title=self.calling_ae_title)
        ae.add_requested_context(Verification)
        with self.association(ae) as association:
            status = association.send_c_echo()
            if "Status" not in status or status.Status != 0:
                raise TransientError(f"{self.name} did not answer C-ECHO")

    def store(
        self, paths: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, of: None
    ) -> None:
        """Send files in this order, each in the transfer syntax that it has.

        Raises
        ------
        TransientError
            If the node is not there, drops the connection or is out of resources (0xA7xx).
        UnsuitableInputError
            If the node refuses an object or its transfer syntax for good; the message has its status.
        """
        headers = [read_header(path) for path in paths]
        kinds = sorted({(h.sop_class_uid, h.transfer_syntax_uid) for h in headers})
        if len(kinds) > _MAXIMUM_CONTEXTS:
            raise UnsuitableInputError(f"{len(kinds)} kinds of object at once; an association takes 128")
        ae = AE(ae_title=self.calling_ae_title)
        for sop_class_uid, transfer_syntax_uid in kinds:
            syntaxes = [transfer_syntax_uid]
            if transfer_syntax_uid in _UNCOMPRESSED:  # pynetdicom converts among these by itself
                syntaxes += [
                    s for s in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) if s != transfer_syntax_uid
                ]
            ae.add_requested_context(sop_class_uid, syntaxes)
        with self.association(ae) as association:
            for done, (path, header) in enumerate(zip(paths, headers, strict=True)):
                self._store_one(association, path, header.sop_instance_uid)
                progress(done + 1, len(paths))

    def _store_one(self, association: Association, path: Path, sop_instance_uid: str) -> None:
        try:
            status = association.send_c_store(path)
        except ValueError as error:  # no accepted presentation context
            raise UnsuitableInputError(f"{self.name} does not take {path.name}: {error}") from error
        except RuntimeError as error:
            raise TransientError(f"{self.name} dropped the connection at {sop_instance_uid}") from error
        if "Status" not in status:
            raise TransientError(f"{self.name} did not answer for {sop_instance_uid}")
        code = int(status.Status)
        comment = f" ({status.ErrorComment})" if status.get("ErrorComment") else ""
        if code == 0x0000 or code & 0xF000 == 0xB000:  # success, or stored with a warning
            return
        if code & 0xFF00 == 0xA700:
            raise TransientError(f"{self.name} is out of resources (0x{code:04X}{comment})")
        raise UnsuitableInputError(f"{self.name} refused {sop_instance_uid}: 0x{code:04X}{comment}")

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """SOP Instance UIDs that the node lists for a series (C-FIND, study root, IMAGE level).

        Raises
        ------
        TransientError
            If the node is not there or can't be asked.
        """
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID = study_instance_uid, series_instance_uid
        query.SOPInstanceUID = ""
        return frozenset(str(match.SOPInstanceUID) for match in self._find(query))

    def study_instance_count(self, study_instance_uid: str, without_series: Collection[str] = ()) -> int:
        """How many instances the node has of a study, some series left out.

        Its own count is taken (NumberOfStudyRelatedInstances, optional: PS3.4 C.6.2.1.2); where it gives
        none, the instances are listed and counted.

        Raises
        ------
        TransientError
            If the node is not there or can't be asked.
        """
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID, query.NumberOfStudyRelatedInstances = study_instance_uid, ""
        matches = self._find(query)
        if not matches:
            return 0
        count = matches[0].get("NumberOfStudyRelatedInstances")
        if count not in (None, ""):
            return int(count) - sum(len(self.held(study_instance_uid, uid)) for uid in without_series)
        series = set(self._series(study_instance_uid)) - set(without_series)
        return sum(len(self.held(study_instance_uid, uid)) for uid in series)

    def studies(self, patient_id: str) -> list[ListedStudy]:
        """The studies that the node lists for a PatientID (C-FIND, study root, STUDY level).

        A wildcard in the PatientID would match others: what is listed says whose it is, and is compared.

        Raises
        ------
        TransientError
            If the node is not there or does not answer to the end.
        """
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "STUDY"
        for keyword in STUDY_KEYS:
            setattr(query, keyword, "")
        query.PatientID = patient_id
        return [listed_study(match) for match in self._find(query)]

    def move(self, study_instance_uid: str, to_ae_title: str) -> int:
        """Have the node send a whole study to an application entity (C-MOVE); how many instances it sent.

        Raises
        ------
        TransientError
            If the node is not there, is out of resources, or could not send everything.
        UnsuitableInputError
            If it refuses, e.g. as it does not know the destination; the message has its status.
        """
        ae = AE(ae_title=self.calling_ae_title)
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
        with self.association(ae, dimse_timeout_s=self.retrieval_timeout_s) as association:
            answers = association.send_c_move(
                _study_query(study_instance_uid), to_ae_title, StudyRootQueryRetrieveInformationModelMove
            )
            return self._retrieved([status for status, _ in answers], "C-MOVE", study_instance_uid)

    def get(self, study_instance_uid: str, take: Callable[[bytes, str], object]) -> int:
        """Fetch a whole study over the same association (C-GET); how many instances came.

        `take` is given each instance as a DICOM file's bytes and who sent it.

        Raises
        ------
        TransientError
            If the node is not there, or not everything came or could be kept.
        UnsuitableInputError
            If it refuses; the message has its status.
        """
        ae = AE(ae_title=self.calling_ae_title)
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
        for sop_class_uid in RETRIEVED_SOP_CLASSES:
            ae.add_requested_context(sop_class_uid, list(RETRIEVED_TRANSFER_SYNTAXES))

        def keep(event: evt.Event) -> int:
            try:
                take(event.encoded_dataset(), self.ae_title)
            except UnsuitableInputError as error:
                log.warning("%s: %s", self.name, error)
                return 0xC000  # cannot understand
            except (OSError, TransientError) as error:
                log.warning("%s: an instance was not kept: %s", self.name, error)
                return 0xA700  # out of resources
            return 0x0000

        roles = [build_role(uid, scp_role=True) for uid in RETRIEVED_SOP_CLASSES]
        with self.association(
            ae,
            dimse_timeout_s=self.retrieval_timeout_s,
            ext_neg=roles,
            evt_handlers=[(evt.EVT_C_STORE, keep)],
        ) as association:
            answers = association.send_c_get(
                _study_query(study_instance_uid), StudyRootQueryRetrieveInformationModelGet
            )
            return self._retrieved([status for status, _ in answers], "C-GET", study_instance_uid)

    def _retrieved(self, statuses: Sequence[pydicom.Dataset], what: str, study_instance_uid: str) -> int:
        """How many instances a C-MOVE or C-GET brought, from its last answer (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        last = statuses[-1] if statuses else pydicom.Dataset()
        if "Status" not in last:
            raise TransientError(
                f"{self.name} did not answer {what} of study {study_instance_uid} to the end"
            )
        code, failed = int(last.Status), int(last.get("NumberOfFailedSuboperations") or 0)
        completed = int(last.get("NumberOfCompletedSuboperations") or 0)
        completed += int(last.get("NumberOfWarningSuboperations") or 0)
        comment = f" ({last.ErrorComment})" if last.get("ErrorComment") else ""
        if code == 0x0000 and not failed:
            return completed
        if code == 0xB000 or (code == 0x0000 and failed) or (code & 0xFF00 == 0xA700 and code != 0xA801):
            raise TransientError(
                f"{self.name} sent {completed} instances of study {study_instance_uid}, {failed} failed "
                f"(0x{code:04X}{comment})"
            )
        # "Move destination unknown" is 0xA801; Orthanc says 0xC000 for the same.
        hint = "; does it know our listener's AE title, host and port?" if what == "C-MOVE" else ""
        raise UnsuitableInputError(
            f"{self.name} refused {what} of study {study_instance_uid}: 0x{code:04X}{comment}{hint}"
        )

    def _series(self, study_instance_uid: str) -> list[str]:
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID, query.SeriesInstanceUID = study_instance_uid, ""
        return [str(match.SeriesInstanceUID) for match in self._find(query)]

    def _find(self, query: pydicom.Dataset) -> list[pydicom.Dataset]:
        ae = AE(ae_title=self.calling_ae_title)
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        matches = []
        with self.association(ae) as association:
            for status, identifier in association.send_c_find(
                query, StudyRootQueryRetrieveInformationModelFind
            ):
                if not status or (status.Status not in (0xFF00, 0xFF01, 0x0000)):
                    raise TransientError(f"{self.name} did not answer C-FIND to the end")
                if identifier is not None:
                    matches.append(identifier)
        return matches

    @contextmanager
    def association(
        self, ae: AE, dimse_timeout_s: float | None = None, **options: Any
    ) -> Iterator[Association]:
        """An association with the node, released at the end.

        Raises
        ------
        TransientError
            If the node is not there, or refuses us.
        """
        ae.maximum_pdu_size = 0
        ae.connection_timeout = ae.acse_timeout = self.timeout_s
        ae.dimse_timeout = ae.network_timeout = dimse_timeout_s or self.timeout_s
        tls = (self.tls, self.server_name or self.host) if self.tls else None
        try:
            association = ae.associate(self.host, self.port, ae_title=self.ae_title, tls_args=tls, **options)
        except socket.gaierror as error:  # also while a name server is away
            raise TransientError(f"{self.name} is not there: the name {self.host} is not known") from error
        except UnicodeError as error:  # a part of it is empty or has more than 63 characters
            raise UnsuitableInputError(f"{self.host} is no host's name") from error
        if association.is_rejected:
            raise TransientError(
                f"{self.name} refuses the calling AE title {self.calling_ae_title}; let it be allowed there"
            )
        if not association.is_established:
            or_tls = ", TLS with it failed (pynetdicom's log says why)" if self.tls else ""
            raise TransientError(f"{self.name} is not there{or_tls}, or accepts none of our contexts")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()


def _study_query(study_instance_uid: str) -> pydicom.Dataset:
    query = pydicom.Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study_instance_uid
    return query
