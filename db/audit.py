"""Who did what to which object, when: written, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from db.tables import AuditRow
from workflow.ports import AuditEntry


def write_audit(session: Session, entries: Sequence[AuditEntry], now: datetime) -> None:
    """Write down who did what, with what they did: both or neither."""
    for entry in entries:
        session.add(
            AuditRow(
                at=now, actor=entry.actor, action=entry.action, object=entry.about, detail=dict(entry.detail)
            )
        )
