"""Who works here, what each may do, and how long a wrong password makes everyone wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MINIMUM_PASSWORD_LENGTH = 8
_MAXIMUM_PASSWORD_LENGTH = 256
# Signatures and audits have so much room for a name.
_MAXIMUM_NAME_LENGTH = 64


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


def why_no_name(name: str) -> str:
    """What is wrong with a name for an account, "" if nothing is."""
    if not name or name != name.strip() or not name.isprintable():
        return "a name is not empty, has no space at its ends and no control character"
    if ":" in name:  # HTTP Basic (RFC 7617) ends the name there
        return "a name has no colon"
    if len(name) > _MAXIMUM_NAME_LENGTH:
        return f"a name has at most {_MAXIMUM_NAME_LENGTH} characters"
    return ""


def why_no_password(password: str, name: str) -> str:
    """What is wrong with a new password, "" if nothing is."""
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        return f"a password has {MINIMUM_PASSWORD_LENGTH} characters or more"
    if len(password) > _MAXIMUM_PASSWORD_LENGTH:
        return f"a password has at most {_MAXIMUM_PASSWORD_LENGTH} characters"
    if password.casefold() == name.casefold():
        return "the password must not be the name"
    return ""


class AttemptsOf(StrEnum):
    """Whose failed attempts to log in are counted together."""

    NAME = "name"  # whether or not there is such an account: the answer must not tell
    ADDRESS = "address"


# A ward shares an address, so more failures are borne from one than for one name.
_FREE_FAILURES: Mapping[AttemptsOf, int] = {AttemptsOf.NAME: 4, AttemptsOf.ADDRESS: 30}
_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(minutes=15)
# Failures this long ago no longer count.
FORGOTTEN_AFTER = timedelta(hours=24)


def wait_after(failures: int, of: AttemptsOf) -> timedelta:
    """How long nobody may try again after so many failures: nothing, then 30 s, doubling up to 15 minutes."""
    too_many = failures - _FREE_FAILURES[of]
    if too_many <= 0:
        return timedelta(0)
    doubled: int = 2 ** min(too_many - 1, 10)
    return min(_FIRST_WAIT * doubled, _LONGEST_WAIT)
