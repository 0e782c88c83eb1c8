"""Who works here, and what each may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UserRole(StrEnum):
    """What a person may do; one person may have several.

    A reader marks, corrects and signs. An adjudicator also decides between readers, and may set what the
    rules say aside. An operator sees queues and decides about what was kept. An administrator manages users.
    """

    READER = "reader"
    ADJUDICATOR = "adjudicator"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, kw_only=True)
class User:
    """An authenticated person. `name` is what audits and signatures carry, `full_name` what pages show."""

    name: str
    full_name: str = ""
    roles: frozenset[UserRole] = frozenset()

    def may(self, *roles: UserRole) -> bool:
        """Whether this person has one of some roles; an administrator has them all."""
        return not roles or bool(self.roles & {*roles, UserRole.ADMINISTRATOR})
