"""Storage commitment (PS3.4 annex J): asked of the node that holds our results, and answered to senders."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_io.parsing import Attributes
from dicom_io.scu import RemoteNode
from workflow.domain.commitment import NO_SUCH_OBJECT, OTHER_CLASS, Commitment
from workflow.domain.errors import TransientError, UnsuitableInputError

_REQUEST, _ALL_HELD, _SOME_FAILED = 1, 1, 2  # action type, event types: PS3.4 J.3.2, J.3.3
_PROCESSING_FAILURE = 0x0110
# Many answer on the association that asked, at once; the others come to our listener.
_ANSWER_AT_ONCE_S = 2.0


@dataclass(frozen=True)
class CommittingNode:
    """A node that is asked to commit; its answer comes at once, or later to our listener."""

    node: RemoteNode

    def new_transaction(self) -> str:
        """A Transaction UID for one request."""
        return str(generate_uid(prefix=None))  # 2.25, from a random UUID

    def request(self, transaction_uid: str, objects: Mapping[str, str]) -> Commitment | None:
        """Ask for commitment (N-ACTION) of instances, SOP Instance UID to SOP Class UID.

        The answer if it came on the same association, else None.

        Raises
        ------
        TransientError
            If the node is not there.
        UnsuitableInputError
            If it does not do storage commitment, or refuses the request; the message has its status.
        """
        answers: list[Commitment] = []
        came = threading.Event()

        def answered(event: evt.Event) -> tuple[int, None]:
            answers.append(commitment_in(event.event_information))
            came.set()
            return 0x0000, None

        ae = AE(ae_title=self.node.calling_ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_N_EVENT_REPORT, answered)]
        with self.node.association(ae, evt_handlers=handlers) as association:
            if not association.accepted_contexts:
                raise UnsuitableInputError(f"{self.node.name} does not do storage commitment")
            status, _ = association.send_n_action(
                commitment_request(transaction_uid, objects),
                _REQUEST,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            if "Status" not in status:
                raise TransientError(f"{self.node.name} did not answer the request for storage commitment")
            if int(status.Status) != 0x0000:
                raise UnsuitableInputError(
                    f"{self.node.name} refused storage commitment: 0x{int(status.Status):04X}"
                )
            came.wait(_ANSWER_AT_ONCE_S)
        return next((a for a in answers if a.transaction_uid == transaction_uid), None)


def commitment_in(information: Dataset) -> Commitment:
    """The commitment that an N-EVENT-REPORT tells of."""
    said = Attributes(information, "a storage commitment")
    return Commitment(
        transaction_uid=said.text("TransactionUID"),
        held=frozenset(item.text("ReferencedSOPInstanceUID") for item in said.items("ReferencedSOPSequence")),
        failed={
            item.text("ReferencedSOPInstanceUID"): item.integer("FailureReason") or _PROCESSING_FAILURE
            for item in said.items("FailedSOPSequence")
        },
    )


@dataclass(frozen=True)
class CommitmentServer:
    """What our listener does about storage commitment: it answers senders, and takes answers to our requests.

    `held` gives the SOP Class UID of each of some SOP Instance UIDs that are kept here. The answer goes
    out on the association that asked; a sender that has released it asks again.
    """

    held: Callable[[Sequence[str]], Mapping[str, str]]
    on_commitment: Callable[[Commitment], object]

    def asked(self, content: bytes, transfer_syntax: str) -> tuple[int, bytes]:
        """See `dicom_io.acceptor.CommitmentService.asked`."""
        request = Attributes(_decoded(content, transfer_syntax), "a request for storage commitment")
        wanted = {
            item.text("ReferencedSOPInstanceUID"): item.text("ReferencedSOPClassUID")
            for item in request.items("ReferencedSOPSequence")
        }
        commitment = _judged(request.text("TransactionUID"), wanted, self.held(sorted(wanted)))
        event_type = _SOME_FAILED if commitment.failed else _ALL_HELD
        return event_type, _encoded(_report(commitment, wanted), transfer_syntax)

    def answered(self, content: bytes, transfer_syntax: str) -> None:
        """See `dicom_io.acceptor.CommitmentService.answered`."""
        self.on_commitment(commitment_in(_decoded(content, transfer_syntax)))


def _judged(transaction_uid: str, wanted: Mapping[str, str], held: Mapping[str, str]) -> Commitment:
    failed = {
        uid: OTHER_CLASS if uid in held else NO_SUCH_OBJECT
        for uid, sop_class_uid in wanted.items()
        if held.get(uid) != sop_class_uid
    }
    return Commitment(transaction_uid=transaction_uid, held=frozenset(wanted) - failed.keys(), failed=failed)


def _report(commitment: Commitment, wanted: Mapping[str, str]) -> Dataset:
    held = {uid: wanted[uid] for uid in sorted(commitment.held)}
    report = commitment_request(commitment.transaction_uid, held)
    if commitment.failed:
        report.FailedSOPSequence = [
            _reference(uid, wanted[uid], reason) for uid, reason in sorted(commitment.failed.items())
        ]
    if not held:
        del report.ReferencedSOPSequence
    return report


def _decoded(content: bytes, transfer_syntax: str) -> Dataset:
    syntax = UID(transfer_syntax)
    return read_dataset(io.BytesIO(content), syntax.is_implicit_VR, syntax.is_little_endian)


def _encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = UID(transfer_syntax).is_implicit_VR, True
    write_dataset(file, dataset)
    return bytes(file.getvalue())


def commitment_request(transaction_uid: str, objects: Mapping[str, str]) -> Dataset:
    """What an N-ACTION asks for: instances, SOP Instance UID to SOP Class UID (PS3.4 table J.3.2-1)."""
    request = Dataset()
    request.TransactionUID = UID(transaction_uid)
    request.ReferencedSOPSequence = [_reference(uid, sop_class) for uid, sop_class in objects.items()]
    return request


def _reference(sop_instance_uid: str, sop_class_uid: str, reason: int | None = None) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if reason is not None:
        reference.FailureReason = reason
    return reference
