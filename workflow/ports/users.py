"""What pages and commands ask of the accounts: who is this, and may they still come in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from workflow.domain.errors import WorkflowError
from workflow.domain.users import User, UserRole


class LoginRefusedError(WorkflowError):
    """The name or the password is wrong, or there were too many attempts; which of them is not said.

    `wait_s` is how long the next attempt has to wait, 0 if it may come at once.
    """

    def __init__(self, wait_s: int = 0) -> None:
        self.wait_s = wait_s
        waiting = f"too many attempts: wait {wait_s} s and try again"
        super().__init__(waiting if wait_s else "the name or the password is wrong")


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account as whoever manages them sees it; times are aware."""

    user: User
    is_disabled: bool
    failed_attempts: int
    locked_until: datetime | None
    created_at: datetime


class Users(Protocol):
    """Accounts with their passwords, and the sessions of those who logged in.

    Whatever changes an account, opens or ends a session or fails to is audited. `by` is who does it,
    `address` where from. Whatever takes a password from there raises `LoginRefusedError` where it is wrong,
    and counts that for the name and for the address.
    """

    def log_in(self, name: str, password: str, address: str) -> str:
        """Open a session; return its token, which nothing but the browser keeps."""
        ...

    def check(self, name: str, password: str, address: str) -> User:
        """The user of a script that sends its password with every request."""
        ...

    def of_session(self, token: str) -> User | None:
        """The user of a session; None if there is no such session, or it or its account has ended."""
        ...

    def log_out(self, token: str) -> None:
        """End a session; one that is not there is no error."""
        ...

    def change_password(self, name: str, former: str, new: str, address: str) -> str:
        """Give a new password for the former one: all sessions end; return the token of a new one.

        Raises
        ------
        UnsuitableInputError
            If the new one is too short; the message says what is asked for.
        """
        ...

    def accounts(self) -> list[Account]:
        """Every account, in the order of names."""
        ...

    def has_password(self, name: str, password: str) -> bool:
        """Whether an account (still) has a password. For whoever holds the database; nothing is counted."""
        ...

    def add(self, user: User, password: str, *, by: str) -> None:
        """Open an account.

        Raises
        ------
        UnsuitableInputError
            If the name is taken (in whatever case), or name or password won't do; the message says why.
        """
        ...

    def set_roles(self, name: str, roles: Collection[UserRole], *, by: str) -> None:
        """Give an account these roles and no others; they hold from the next request on.

        Raises
        ------
        UnsuitableInputError
            If there is no such account.
        """
        ...

    def set_password(self, name: str, password: str, *, by: str) -> None:
        """Give an account a password; its sessions end.

        Raises
        ------
        UnsuitableInputError
            If there is no such account, or the password won't do.
        """
        ...

    def set_disabled(self, name: str, *, is_disabled: bool, by: str) -> None:
        """Close an account, and its sessions with it, or open it again. None is ever deleted: it signed.

        Raises
        ------
        UnsuitableInputError
            If there is no such account.
        """
        ...

    def unlock(self, name: str, *, by: str) -> None:
        """Forget the failed attempts of a name.

        Raises
        ------
        UnsuitableInputError
            If there is no such account.
        """
        ...
