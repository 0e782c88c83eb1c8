"""Who may see the pages: a login, or, without one, only a browser on this machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from workflow.domain.errors import ConfigurationError
from workflow.domain.users import User, UserRole
from workflow.settings import Settings

# A page of another site can make its own name point at 127.0.0.1 (DNS rebinding) and then read ours as
# its own; it can't make the browser ask for these names.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1", "[::1]")

_basic = HTTPBasic(auto_error=False)
_given = Depends(_basic)
# Without a login there is one user, and the pages say so.
DEMO_USER = User(name="demo", full_name="Demo user", roles=frozenset(UserRole))


class Access:
    """Who asks for a page, and whether they may.

    Raises
    ------
    ConfigurationError
        If the name or the password is empty: that would be no login.
    """

    def __init__(self, settings: Settings) -> None:
        self._has_login = settings.web.login
        if not self._has_login:
            return
        self._username, self._password = settings.web.username, web_password(settings)
        if not self._username or not self._password:
            raise ConfigurationError("web.username and web.password must not be empty; set both or neither")

    def user(self, request: Request, given: HTTPBasicCredentials | None = _given) -> User:
        """The user who asks, as a dependency of a route; compared in constant time."""
        request.state.user = self._user(given)
        user: User = request.state.user
        return user

    def _user(self, given: HTTPBasicCredentials | None) -> User:
        if not self._has_login:
            return DEMO_USER
        refused = HTTPException(401, "log in", {"WWW-Authenticate": 'Basic realm="Tumorline"'})
        if given is None:
            raise refused
        is_user = secrets.compare_digest(given.username.encode(), self._username.encode())
        is_password = secrets.compare_digest(given.password.encode(), self._password.encode())
        if not (is_user and is_password):
            raise refused
        return User(name=self._username, roles=frozenset(UserRole))

    def needs(self, *roles: UserRole) -> Callable[..., User]:
        """Make a dependency that gives the user, or answers 403 to one who has none of these roles."""

        def check(user: User = Depends(self.user)) -> User:
            if not user.may(*roles):
                raise HTTPException(403, f"this needs the role {' or '.join(roles)}")
            return user

        return check


def web_password(settings: Settings) -> str:
    """The page's password: the one that is set, else one made at first start and kept in the home folder."""
    if settings.web.password is not None:
        return settings.web.password.get_secret_value()
    kept = settings.home / "web-password"
    password = kept.read_text(encoding="utf-8").strip() if kept.exists() else ""
    return password or _make_password(kept)


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
