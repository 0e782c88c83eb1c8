"""Storage commitment (PS3.4 annex J): asked of the node that holds our results, and answered to senders."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_io.parsing import Attributes
from dicom_io.scu import RemoteNode
from workflow.domain.commitment import NO_SUCH_OBJECT, OTHER_CLASS, Commitment
from workflow.domain.errors import TransientError, UnsuitableInputError

log = logging.getLogger(__name__)

_REQUEST, _ALL_HELD, _SOME_FAILED = 1, 1, 2  # action type, event types: PS3.4 J.3.2, J.3.3
_UNKNOWN_ACTION, _PROCESSING_FAILURE = 0x0123, 0x0110
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


def commitment_handlers(
    held: Callable[[Sequence[str]], Mapping[str, str]],
    on_commitment: Callable[[Commitment], object],
) -> list[tuple[evt.EventType, Callable[[evt.Event], object]]]:
    """What a listener does about storage commitment: it answers senders, and takes answers to our requests.

    `held` gives the SOP Class UID of each of some SOP Instance UIDs that are kept here. The answer is sent on
    the association that asked, after its request was confirmed; a sender that has released it asks again.
    """

    def asked(event: evt.Event) -> tuple[int, None]:
        if event.action_type != _REQUEST:
            return _UNKNOWN_ACTION, None
        request = Attributes(event.action_information, "a request for storage commitment")
        wanted = {
            item.text("ReferencedSOPInstanceUID"): item.text("ReferencedSOPClassUID")
            for item in request.items("ReferencedSOPSequence")
        }
        commitment = _judged(request.text("TransactionUID"), wanted, held(sorted(wanted)))
        answer = threading.Thread(
            target=_answer, args=(event.assoc, commitment, wanted), name="commitment", daemon=True
        )
        # Sent from the handler it would wait for an answer that the handler itself keeps from coming.
        answer.start()
        return 0x0000, None

    def answered(event: evt.Event) -> tuple[int, None]:
        on_commitment(commitment_in(event.event_information))
        return 0x0000, None

    return [(evt.EVT_N_ACTION, asked), (evt.EVT_N_EVENT_REPORT, answered)]


def add_commitment(ae: AE) -> None:
    """Accept the presentation context in both roles: senders ask us, and nodes that we asked answer."""
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)


def _judged(transaction_uid: str, wanted: Mapping[str, str], held: Mapping[str, str]) -> Commitment:
    failed = {
        uid: OTHER_CLASS if uid in held else NO_SUCH_OBJECT
        for uid, sop_class_uid in wanted.items()
        if held.get(uid) != sop_class_uid
    }
    return Commitment(transaction_uid=transaction_uid, held=frozenset(wanted) - failed.keys(), failed=failed)


def _answer(association: Association, commitment: Commitment, wanted: Mapping[str, str]) -> None:
    held = {uid: wanted[uid] for uid in sorted(commitment.held)}
    report = commitment_request(commitment.transaction_uid, held)
    if commitment.failed:
        report.FailedSOPSequence = [
            _reference(uid, wanted[uid], reason) for uid, reason in sorted(commitment.failed.items())
        ]
    if not held:
        del report.ReferencedSOPSequence
    event_type = _SOME_FAILED if commitment.failed else _ALL_HELD
    try:
        association.send_n_event_report(
            report, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError) as error:  # released, or not in this role
        log.warning("a storage commitment could not be answered: %s", error)


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
