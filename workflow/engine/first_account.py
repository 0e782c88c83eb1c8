"""The first account of an installation: an administrator, whose password is set or made at first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from workflow.domain.errors import ConfigurationError, ConflictError, UnsuitableInputError
from workflow.domain.users import User, UserRole
from workflow.ports import Users
from workflow.settings import Settings


def open_first_account(users: Users, settings: Settings) -> None:
    """Open the first account, unless there is one already.

    Raises
    ------
    ConfigurationError
        If its name or password won't do: that would be no login.
    """
    password = settings.web.password
    if not settings.web.username or (password is not None and not password.get_secret_value()):
        raise ConfigurationError("web.username and web.password must not be empty; set both or neither")
    if users.accounts():
        return
    user = User(name=settings.web.username, roles=frozenset({UserRole.ADMINISTRATOR}))
    try:
        users.add(user, first_password(settings), by="first start")
    except (ConflictError, UnsuitableInputError) as error:
        if users.accounts():  # another web service of the site was first
            return
        raise ConfigurationError(f"web.username, web.password: {error}") from error


def how_to_log_in(users: Users, settings: Settings) -> str:
    """Whom to log in as, and where that password is; never the password."""
    name = settings.web.username
    if not any(account.user.name == name for account in users.accounts()):
        return "with an account of `tumorline users list`"
    if not users.has_password(name, first_password(settings)):
        return f"{name} with the password that was chosen since, or another of `tumorline users list`"
    return f"{name}, password {'as set' if settings.web.password else f'in {_kept(settings)}'}"


def first_password(settings: Settings) -> str:
    """The first account's password: the one that is set, else one made and kept in the home folder."""
    if settings.web.password is not None:
        return settings.web.password.get_secret_value()
    kept = _kept(settings)
    password = kept.read_text(encoding="utf-8").strip() if kept.exists() else ""
    return password or _make_password(kept)


def _kept(settings: Settings) -> Path:
    return settings.home / "web-password"


def _make_password(kept: Path) -> str:
    """Write a new password, whole or not at all, for the owner's eyes only."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(12))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(kept)
    return kept.read_text(encoding="utf-8").strip()
