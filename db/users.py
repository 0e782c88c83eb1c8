"""Accounts and sessions in the database: who comes in, who stays in, and who has to wait."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.audit import write_audit
from db.passwords import NOBODYS_HASH, hash_of, is_outdated, matches
from db.session import UnitOfWork
from db.tables import AccountRow, FailedLoginsRow, LoginSessionRow
from workflow.domain.errors import ConflictError, UnsuitableInputError
from workflow.domain.users import (
    FORGOTTEN_AFTER,
    AttemptsOf,
    User,
    UserRole,
    wait_after,
    why_no_name,
    why_no_password,
)
from workflow.ports import Account, AuditEntry, LoginRefusedError

# A session's last use is written down this seldom: a page asks for forty pictures at once.
_SEEN_AGAIN_AFTER = timedelta(minutes=1)
# A script's password is hashed once in this time, not at every request.
_REMEMBERED_S = 60.0
_REMEMBERED_AT_MOST = 1000


class _Remembered:
    """Which passwords were found right lately, in this process, by a digest that only it can make."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._hashes: dict[bytes, tuple[str, float]] = {}

    def holds(self, name: str, password: str, password_hash: str) -> bool:
        """Whether this password was found to match this very hash: a changed password is not remembered."""
        known, until = self._hashes.get(self._digest(name, password), ("", 0.0))
        return time.monotonic() < until and hmac.compare_digest(known, password_hash)

    def keep(self, name: str, password: str, password_hash: str) -> None:
        """Remember that a password matched a hash."""
        if len(self._hashes) >= _REMEMBERED_AT_MOST:
            self._hashes.clear()
        self._hashes[self._digest(name, password)] = (password_hash, time.monotonic() + _REMEMBERED_S)

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")


@dataclass(frozen=True, kw_only=True)
class StoredUsers:
    """The port `workflow.ports.users.Users` on the database.

    A session ends `idle_after` its last use and `ends_after` its login.
    """

    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]
    idle_after: timedelta
    ends_after: timedelta
    _remembered: _Remembered = field(default_factory=_Remembered, init=False, repr=False)
    # One password at a time: a flood of attempts takes neither all memory nor all cores, and requests of one
    # script that come at once find the first one's answer.
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    # ------------------------------------------------------------ coming in

    def log_in(self, name: str, password: str, address: str) -> str:
        """See `workflow.ports.users.Users.log_in`."""
        with self._one_at_a_time:
            account = self._verified(name, password, address)
        with self.unit() as session:
            self._end_old_sessions(session)
            self._note(session, name, "logged in", name, address=address)
            return self._open_session(session, account.id)

    def check(self, name: str, password: str, address: str) -> User:
        """See `workflow.ports.users.Users.check`."""
        if (user := self._recalled(name, password)) is not None:
            return user
        with self._one_at_a_time:
            if (user := self._recalled(name, password)) is not None:
                return user
            account = self._verified(name, password, address)
            self._remembered.keep(name, password, account.password_hash)
            return _user_of(account)

    def of_session(self, token: str) -> User | None:
        """See `workflow.ports.users.Users.of_session`."""
        now, key = self.clock(), _sha256(token)
        with self.reading() as session:
            row = session.get(LoginSessionRow, key)
        if row is None or row.account.is_disabled:
            return None
        if now - row.last_seen_at >= self.idle_after or now - row.created_at >= self.ends_after:
            return None
        if now - row.last_seen_at >= _SEEN_AGAIN_AFTER:
            with self.unit() as session:
                seen = session.get(LoginSessionRow, key)
                if seen is not None:
                    seen.last_seen_at = now
        return _user_of(row.account)

    def log_out(self, token: str) -> None:
        """See `workflow.ports.users.Users.log_out`."""
        with self.unit() as session:
            row = session.get(LoginSessionRow, _sha256(token))
            if row is not None:
                session.delete(row)
                self._note(session, row.account.name, "logged out", row.account.name)

    def change_password(self, name: str, former: str, new: str, address: str) -> str:
        """See `workflow.ports.users.Users.change_password`."""
        with self._one_at_a_time:
            self._verified(name, former, address)
        password_hash = _hash_of_new(new, name)
        with self.unit() as session:
            account = self._change_password(session, name, password_hash)
            self._note(session, name, "password changed", name, address=address)
            return self._open_session(session, account.id)

    def _recalled(self, name: str, password: str) -> User | None:
        account = self._account(name)
        if account is None or account.is_disabled:
            return None
        is_known = self._remembered.holds(name, password, account.password_hash)
        return _user_of(account) if is_known else None

    def _verified(self, name: str, password: str, address: str) -> AccountRow:
        """The account that a password opens. Unknown, closed, wrong: same answer, same cost."""
        counted = ((AttemptsOf.NAME, _of_name(name)), (AttemptsOf.ADDRESS, _of_address(address)))
        self._count_attempt(counted)
        account = self._account(name)
        is_open = account is not None and not account.is_disabled
        password_hash = account.password_hash if account is not None and is_open else NOBODYS_HASH
        if not matches(password_hash, password) or account is None or not is_open:
            with self.unit() as session:
                # A name that is no account's may be a password in the wrong field: it is written nowhere.
                about = account.name if account else "no such account"
                self._note(session, about, "login failed", about, address=address)
            raise LoginRefusedError
        with self.unit() as session:
            if (failed := session.get(FailedLoginsRow, _of_name(name))) is not None:
                session.delete(failed)
            # Others at this address may still be guessing: only this attempt is taken back.
            failed = session.get(FailedLoginsRow, _of_address(address), with_for_update=True)
            if failed is not None:
                failed.count, failed.locked_until = max(failed.count - 1, 0), None
            if is_outdated(password_hash):
                account = session.merge(account)
                account.password_hash = hash_of(password)
        return account

    def _count_attempt(self, counted: Collection[tuple[AttemptsOf, str]]) -> None:
        """Count an attempt as failed before it is looked at: many at once don't slip past the limit.

        Raises
        ------
        LoginRefusedError
            If name or address have to wait; then nothing is counted.
        """
        for is_last in (False, True):
            try:
                with self.unit() as session:
                    self._count(session, counted)
                return
            except ConflictError:  # another process counted the first attempt of the same name
                if is_last:
                    raise

    def _count(self, session: Session, counted: Collection[tuple[AttemptsOf, str]]) -> None:
        now = self.clock()
        session.execute(delete(FailedLoginsRow).where(FailedLoginsRow.last_at < now - FORGOTTEN_AFTER))
        rows = {key: session.get(FailedLoginsRow, key, with_for_update=True) for _, key in counted}
        locks = [row.locked_until for row in rows.values() if row is not None and row.locked_until]
        if locks and max(locks) > now:
            raise LoginRefusedError(ceil((max(locks) - now).total_seconds()))
        for of, key in counted:
            row = rows[key]
            if row is None:
                session.add(row := FailedLoginsRow(of=key, count=0, last_at=now))
            row.count, row.last_at = row.count + 1, now
            wait = wait_after(row.count, of)
            row.locked_until = now + wait if wait else None

    def _open_session(self, session: Session, account_id: int) -> str:
        token, now = secrets.token_urlsafe(32), self.clock()
        session.add(
            LoginSessionRow(
                token_sha256=_sha256(token), account_id=account_id, created_at=now, last_seen_at=now
            )
        )
        return token

    def _end_old_sessions(self, session: Session) -> None:
        session.execute(
            delete(LoginSessionRow).where(LoginSessionRow.created_at < self.clock() - self.ends_after)
        )

    # ------------------------------------------------------------ managing

    def accounts(self) -> list[Account]:
        """See `workflow.ports.users.Users.accounts`."""
        with self.reading() as session:
            failed = {row.of: row for row in session.scalars(select(FailedLoginsRow))}
            return [
                Account(
                    user=_user_of(row),
                    is_disabled=row.is_disabled,
                    failed_attempts=failures.count if (failures := failed.get(_of_name(row.name))) else 0,
                    locked_until=failures.locked_until if failures else None,
                    created_at=row.created_at,
                )
                for row in session.scalars(select(AccountRow).order_by(AccountRow.name))
            ]

    def has_password(self, name: str, password: str) -> bool:
        """See `workflow.ports.users.Users.has_password`."""
        account = self._account(name)
        return account is not None and matches(account.password_hash, password)

    def add(self, user: User, password: str, *, by: str) -> None:
        """See `workflow.ports.users.Users.add`."""
        _require(why_no_name(user.name))
        password_hash = _hash_of_new(password, user.name)
        with self.unit() as session:
            taken = session.scalar(
                select(AccountRow.name).where(func.lower(AccountRow.name) == user.name.lower())
            )
            _require(f"there is an account {taken} already" if taken else "")
            session.add(
                AccountRow(
                    name=user.name,
                    full_name=user.full_name,
                    roles=_stored(user.roles),
                    password_hash=password_hash,
                    created_at=self.clock(),
                )
            )
            self._note(session, by, "account opened", user.name, roles=_stored(user.roles))

    def set_roles(self, name: str, roles: Collection[UserRole], *, by: str) -> None:
        """See `workflow.ports.users.Users.set_roles`."""
        with self.unit() as session:
            account = _existing(session, name)
            former, account.roles = account.roles, _stored(roles)
            self._note(session, by, "roles changed", name, former=former, present=account.roles)

    def set_password(self, name: str, password: str, *, by: str) -> None:
        """See `workflow.ports.users.Users.set_password`."""
        password_hash = _hash_of_new(password, name)
        with self.unit() as session:
            self._change_password(session, name, password_hash)
            self._note(session, by, "password changed", name)

    def set_disabled(self, name: str, *, is_disabled: bool, by: str) -> None:
        """See `workflow.ports.users.Users.set_disabled`."""
        with self.unit() as session:
            account = _existing(session, name)
            account.is_disabled = is_disabled
            if is_disabled:
                _end_sessions(session, account)
            self._note(session, by, "account closed" if is_disabled else "account opened again", name)

    def unlock(self, name: str, *, by: str) -> None:
        """See `workflow.ports.users.Users.unlock`."""
        with self.unit() as session:
            _existing(session, name)
            if (failed := session.get(FailedLoginsRow, _of_name(name))) is not None:
                session.delete(failed)
            self._note(session, by, "account unlocked", name)

    def _change_password(self, session: Session, name: str, password_hash: str) -> AccountRow:
        account = _existing(session, name)
        account.password_hash = password_hash
        _end_sessions(session, account)
        return account

    def _account(self, name: str) -> AccountRow | None:
        if why_no_name(name):  # PostgreSQL takes no text with a NUL in it
            return None
        with self.reading() as session:
            return session.scalar(select(AccountRow).where(AccountRow.name == name))

    def _note(self, session: Session, actor: str, action: str, about: str, **detail: object) -> None:
        entry = AuditEntry(actor=actor, action=action, about=about, detail=detail)
        write_audit(session, [entry], self.clock())


def _existing(session: Session, name: str) -> AccountRow:
    row = session.scalar(select(AccountRow).where(AccountRow.name == name).with_for_update())
    if row is None:
        known = ", ".join(session.scalars(select(AccountRow.name).order_by(AccountRow.name))) or "none"
        raise UnsuitableInputError(f"there is no account {name}; there are: {known}")
    return row


def _end_sessions(session: Session, account: AccountRow) -> None:
    session.execute(delete(LoginSessionRow).where(LoginSessionRow.account_id == account.id))


def _hash_of_new(password: str, name: str) -> str:
    """Made before a transaction begins: it takes as long as many of those."""
    _require(why_no_password(password, name))
    return hash_of(password)


def _require(fault: str) -> None:
    if fault:
        raise UnsuitableInputError(fault)


def _user_of(row: AccountRow) -> User:
    return User(name=row.name, full_name=row.full_name, roles=frozenset(UserRole(r) for r in row.roles))


def _stored(roles: Collection[UserRole]) -> list[str]:
    return sorted(role.value for role in roles)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _of_name(name: str) -> str:
    return f"name:{_sha256(name)}"


def _of_address(address: str) -> str:
    """What is counted together: an IPv4 address, or the /64 that one IPv6 host has at its disposal."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket has none
        return f"address:{address[:40]}"
    network = ipaddress.ip_network((parsed, 64 if parsed.version == 6 else 32), strict=False)
    return f"address:{network}"
