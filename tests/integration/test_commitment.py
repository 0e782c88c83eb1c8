"""Storage commitment, asked of a real Orthanc for our results, and answered to a sender."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hospital import Hospital, rows
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from servers import OrthancServer, wait_until
from sqlalchemy import select
from studies import BASELINE

from db.tables import AuditRow, CommitmentRow, InstanceRow
from dicom_io.acceptor import Callers
from dicom_io.commitment import CommitmentServer, CommittingNode, commitment_in, commitment_request
from dicom_io.listener import serve_listener
from workflow.domain.commitment import NO_SUCH_OBJECT, OTHER_CLASS, Commitment
from workflow.engine.reconciler import runner
from workflow.ingest import close_quiet_studies
from workflow.use_cases.demo import free_port

pytestmark = pytest.mark.xdist_group("orthanc")


@pytest.fixture
def listener_port() -> int:
    return free_port()


@pytest.fixture
def hospital(tmp_path, listener_port) -> Iterator[Hospital]:
    """The pipeline, whose listener takes part in storage commitment."""
    hospital = Hospital(tmp_path, overrides={"worker": {"retry_base_s": 0.2, "retry_at_most_s": 0.2}})
    context = hospital.context
    server = serve_listener(
        host="127.0.0.1",
        port=listener_port,
        folder=hospital.settings.home / "received",
        callers=Callers(called_ae_title="", calling_ae_titles=("ORTHANC", "CT1")),
        on_received=context.reception.receive_all,
        on_rejected=context.reception.reject,
        commitment=CommitmentServer(context.outbox.kept, context.outbox.settle),
        minimum_free_mb=1,
    )
    yield hospital
    server.shutdown()


def test_results_count_as_delivered_when_orthanc_has_committed_itself(hospital, tmp_path, listener_port):
    orthanc = OrthancServer(
        tmp_path / "orthanc", {"tumorline": ["TUMORLINE", "127.0.0.1", listener_port]}
    ).start()
    try:
        hospital.context = replace(
            hospital.context, destination=orthanc.node(), committer=CommittingNode(orthanc.node())
        )
        hospital.receive(BASELINE)
        wait_until(lambda: _step(hospital) and hospital.context.jobs.is_idle(), "the results to be committed")
    finally:
        orthanc.stop()
    (point,) = hospital.time_points()
    assert {made["state"] for made in point["objects"]} == {"VERIFIED"}
    with rows(hospital.context) as session:
        (asked,) = session.scalars(select(CommitmentRow))
        assert asked.answered_at is not None
        audited = set(session.scalars(select(AuditRow.object).where(AuditRow.action == "committed")))
    assert audited == {made["sop_instance_uid"] for made in point["objects"]} == set(asked.sop_instance_uids)


def test_we_commit_ourselves_to_what_we_keep_and_to_nothing_else(hospital, listener_port):
    hospital.receive(BASELINE)
    with rows(hospital.context) as session:
        kept = dict(session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.sop_class_uid)).all())
    first, second, *_ = sorted(kept)
    wanted = {first: kept[first], second: "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4": kept[first]}
    answer = _ask(listener_port, wanted)
    assert answer.transaction_uid == "1.2.840.99.1"
    assert answer.held == {first}
    assert answer.failed == {second: OTHER_CLASS, "1.2.3.4": NO_SUCH_OBJECT}


def _ask(port: int, wanted: dict[str, str]) -> Commitment:
    """A modality that asks and waits on the same association."""
    answers: list[Commitment] = []
    came = threading.Event()

    def answered(event: evt.Event) -> tuple[int, None]:
        answers.append(commitment_in(event.event_information))
        came.set()
        return 0x0000, None

    ae = AE(ae_title="CT1")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate("127.0.0.1", port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, answered)])
    status, _ = association.send_n_action(
        commitment_request("1.2.840.99.1", wanted),
        1,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    assert status.Status == 0
    assert came.wait(20)
    association.release()
    return answers[0]


def _step(hospital: Hospital) -> bool:
    close_quiet_studies(hospital.context)
    runner(hospital.context).run_next(())
    return True
