"""The outbox in the database: result objects until the PACS is proven to hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from db import mapping
from db.audit import write_audit
from db.session import UnitOfWork
from db.tables import ReportRow, ResultObjectRow
from workflow.domain.record import StoredObject, kind_of_role
from workflow.domain.states import ResultState, may_follow
from workflow.ports import AuditEntry

# The order in which objects leave: what is referred to comes before what refers to it.
_KINDS = ("seg", "sr", "pdf")


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


def _rank(role: str) -> int:
    kind = kind_of_role(role)
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
