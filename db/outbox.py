"""The outbox in the database: result objects until the PACS is proven to hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from db import mapping
from db.audit import write_audit
from db.jobs import enqueue
from db.session import UnitOfWork
from db.tables import CommitmentRow, InstanceRow, ReportRow, ResultObjectRow
from workflow.domain.commitment import AskedCommitment, Commitment, failure_words
from workflow.domain.record import StoredObject, kind_of_role
from workflow.domain.states import ResultState, may_follow
from workflow.ports import AuditEntry

# The order in which objects leave: what is referred to comes before what refers to it.
_KINDS = ("seg", "sr", "pdf")
# Variables in one statement: SQLite takes 999 in old builds.
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class StoredOutbox:
    """The port `workflow.ports.Outbox` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]

    def waiting(self, report_identity: str) -> tuple[StoredObject, ...]:
        """See `workflow.ports.Outbox.waiting`."""
        with self.reading() as session:
            rows = session.scalars(
                select(ResultObjectRow)
                .join(ReportRow, ReportRow.id == ResultObjectRow.report_id)
                .where(
                    ReportRow.identity == report_identity,
                    ResultObjectRow.state.in_((ResultState.PENDING, ResultState.SENT)),
                )
            )
            waiting = sorted(rows, key=lambda row: (_rank(row.role), row.id))
            return tuple(mapping.object_of(row) for row in waiting)

    def mark(
        self, sop_instance_uids: Collection[str], state: ResultState, destination: str, error: str = ""
    ) -> None:
        """See `workflow.ports.Outbox.mark`."""
        if not sop_instance_uids:
            return
        now = self.clock()
        with self.unit() as session:
            for row in session.scalars(
                select(ResultObjectRow).where(ResultObjectRow.sop_instance_uid.in_(sop_instance_uids))
            ):
                if not may_follow(ResultState(row.state), state):
                    raise ValueError(f"{row.sop_instance_uid} is {row.state} and can't become {state}")
                row.state, row.error, row.destination = state.value, error, destination
                if state is ResultState.VERIFIED:
                    row.verified_at = now
                    entry = AuditEntry(
                        actor="delivery",
                        action="stored",
                        about=row.sop_instance_uid,
                        detail={"destination": destination},
                    )
                    write_audit(session, [entry], now)

    # ------------------------------------------------------------ storage commitment

    def asked_commitment(self, report_identity: str) -> AskedCommitment | None:
        """See `workflow.ports.Outbox.asked_commitment`."""
        with self.reading() as session:
            row = session.scalar(
                select(CommitmentRow)
                .where(CommitmentRow.report_identity == report_identity, CommitmentRow.answered_at.is_(None))
                .order_by(CommitmentRow.asked_at.desc())
                .limit(1)
            )
            if row is None:
                return None
            return AskedCommitment(
                transaction_uid=row.transaction_uid,
                asked_at=row.asked_at,
                sop_instance_uids=frozenset(row.sop_instance_uids),
            )

    def ask_commitment(
        self, report_identity: str, transaction_uid: str, sop_instance_uids: Collection[str]
    ) -> None:
        """See `workflow.ports.Outbox.ask_commitment`."""
        with self.unit() as session:
            session.add(
                CommitmentRow(
                    transaction_uid=transaction_uid,
                    report_identity=report_identity,
                    sop_instance_uids=sorted(sop_instance_uids),
                    asked_at=self.clock(),
                    failed={},
                )
            )

    def give_up_commitment(self, transaction_uid: str) -> None:
        """See `workflow.ports.Outbox.give_up_commitment`."""
        with self.unit() as session:
            row = session.get(CommitmentRow, transaction_uid)
            if row is not None and row.answered_at is None:
                row.answered_at = self.clock()

    def settle(self, commitment: Commitment) -> bool:
        """See `workflow.ports.Outbox.settle`."""
        now = self.clock()
        with self.unit() as session:
            row = session.get(CommitmentRow, commitment.transaction_uid, with_for_update=True)
            if row is None:
                return False
            row.answered_at, row.failed = now, dict(commitment.failed)
            asked = frozenset(row.sop_instance_uids)
            for made in session.scalars(
                select(ResultObjectRow).where(
                    ResultObjectRow.sop_instance_uid.in_(asked), ResultObjectRow.state == ResultState.SENT
                )
            ):
                uid = made.sop_instance_uid
                if uid in commitment.held:
                    made.state, made.error, made.verified_at = ResultState.VERIFIED.value, "", now
                    detail = {"destination": made.destination, "transaction": commitment.transaction_uid}
                    entry = AuditEntry(actor="delivery", action="committed", about=uid, detail=detail)
                    write_audit(session, [entry], now)
                else:
                    reason = commitment.failed.get(uid)
                    made.state = ResultState.PENDING.value
                    made.error = f"not committed: {failure_words(reason)}" if reason else "not committed"
            # What was held back by the wait goes on now.
            identity = row.report_identity
            enqueue(session, stage="deliver", subject=identity, lane=f"report:{identity}")
            return True

    def kept(self, sop_instance_uids: Collection[str]) -> dict[str, str]:
        """See `workflow.ports.Outbox.kept`."""
        wanted, found = sorted(set(sop_instance_uids)), dict[str, str]()
        with self.reading() as session:
            for start in range(0, len(wanted), _AT_ONCE):
                rows = session.execute(
                    select(InstanceRow.sop_instance_uid, InstanceRow.sop_class_uid).where(
                        InstanceRow.sop_instance_uid.in_(wanted[start : start + _AT_ONCE])
                    )
                )
                found |= {row.sop_instance_uid: row.sop_class_uid for row in rows}
        return found


def _rank(role: str) -> int:
    kind = kind_of_role(role)
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
