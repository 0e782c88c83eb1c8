"""How far a change log of somebody else was read."""

from __future__ import annotations

from dataclasses import dataclass

from db.session import UnitOfWork
from db.tables import CursorRow


@dataclass(frozen=True, kw_only=True)
class StoredCursors:
    """The port `workflow.ports.Cursors` on the database."""

    unit: UnitOfWork
    reading: UnitOfWork

    def position(self, name: str) -> int:
        """See `workflow.ports.Cursors.position`."""
        with self.reading() as session:
            row = session.get(CursorRow, name)
            return row.value if row else 0

    def move(self, name: str, position: int) -> None:
        """See `workflow.ports.Cursors.move`."""
        with self.unit() as session:
            session.merge(CursorRow(name=name, value=position))
