"""Who asks, and may they: `access.user` and `access.needs(...)` are all that a route has to know.

Pages know a browser by its session cookie. Scripts send name and password (HTTP Basic) with each request,
under /api and /dicom-web only: a browser would keep sending those, and no log-out would end it.

Cross-site requests (CSRF). Whoever reads `access.user` has this checked by it; a route does nothing for it.
A request that changes something (all but GET, HEAD and OPTIONS) and comes with a cookie needs the session's
token, in the form field `csrf_token` or in the header `X-CSRF-Token`:

* a form has `<input type="hidden" name="csrf_token" value="{{ csrf_token }}">`;
* a script reads `document.querySelector('meta[name="csrf-token"]').content` (base.html) and sends the header.

Under /dicom-web an `Origin` that is ours stands in for it: a viewer that is not ours knows no token. The gate
(`workflow.web.gate`) refuses every other `Origin` before any of this, with Basic as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request, Response
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from workflow.domain.users import User, UserRole
from workflow.ports import LoginRefusedError, Users
from workflow.settings import Settings

# Answers there are JSON, also those that refuse, and scripts may log in by HTTP Basic.
API_PATHS = ("/api/", "/dicom-web/")
COOKIE = "tumorline_session"
_SAFE = ("GET", "HEAD", "OPTIONS")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

_basic = HTTPBasic(auto_error=False)
_given = Depends(_basic)
# Without a login there is one user, and the pages say so.
DEMO_USER = User(name="demo", full_name="Demo user, no login", roles=frozenset(UserRole))


async def _given_csrf_token(request: Request) -> str:
    """The token that came with a request, from its header or its form; "" if none did."""
    if request.method in _SAFE:
        return ""
    if "X-CSRF-Token" in request.headers:
        return request.headers["X-CSRF-Token"]
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() in _FORMS:
        return str((await request.form()).get("csrf_token", ""))
    return ""


_csrf_token = Depends(_given_csrf_token)


class Access:
    """Who asks for a page, and whether they may."""

    def __init__(self, settings: Settings, users: Users) -> None:
        self.has_login = settings.web.login
        self._users = users
        # Of the demo's one user, who has no session: new with every start.
        self._demo_token = secrets.token_urlsafe(32)

    def user(
        self,
        request: Request,
        given: HTTPBasicCredentials | None = _given,
        csrf_token: str = _csrf_token,
    ) -> User:
        """The user who asks, as a dependency of a route; whoever is none is answered 401, in both."""
        user = self.known_user(request, given)
        if user is None:
            raise HTTPException(401, "log in first", _challenge(request))
        by_cookie = request.state.csrf_token
        if by_cookie and request.method not in _SAFE:
            _check_csrf(request, by_cookie, csrf_token)
        return user

    def needs(self, *roles: UserRole) -> Callable[..., User]:
        """Make a dependency that gives the user, or answers 403 to one who has none of these roles."""

        def check(user: User = Depends(self.user)) -> User:
            if not user.may(*roles):
                raise HTTPException(403, f"this needs the role {' or '.join(roles)}")
            return user

        return check

    def known_user(self, request: Request, given: HTTPBasicCredentials | None = None) -> User | None:
        """The user who asks, None if that is nobody; templates find who it is, and the token, in the request.

        Raises
        ------
        HTTPException
            401 or 429 if a script's name or password is wrong.
        """
        user, csrf_token = self._user(request, given)
        request.state.user, request.state.csrf_token = user, csrf_token
        return user

    def _user(self, request: Request, given: HTTPBasicCredentials | None) -> tuple[User | None, str]:
        if not self.has_login:
            return DEMO_USER, self._demo_token
        if given is not None and is_api(request):
            try:
                return self._users.check(given.username, given.password, address_of(request)), ""
            except LoginRefusedError as refused:
                raise refusal(refused, _challenge(request)) from refused
        token = request.cookies.get(COOKIE, "")
        user = self._users.of_session(token) if token else None
        return (user, csrf_token_of(token)) if user else (None, "")


def refusal(refused: LoginRefusedError, headers: dict[str, str] | None = None) -> HTTPException:
    """What is answered to a wrong name or password."""
    if refused.wait_s:
        return HTTPException(429, str(refused), {"Retry-After": str(refused.wait_s)})
    return HTTPException(401, str(refused), headers)


def csrf_token_of(session_token: str) -> str:
    """A session's token against cross-site requests: from it nobody gets to the session's own."""
    return hmac.new(session_token.encode(), b"csrf", hashlib.sha256).hexdigest()


def _check_csrf(request: Request, expected: str, given: str) -> None:
    if hmac.compare_digest(given.encode(), expected.encode()):
        return
    is_dicomweb = request.url.path.startswith("/dicom-web/")
    if is_dicomweb and is_own_origin(request.headers.get("Origin", ""), request):
        return
    raise HTTPException(403, "this came without the page's token; load the page again and repeat it")


def is_own_origin(origin: str, request: Request) -> bool:
    """Whether an Origin header names the host that was asked; a proxy may speak https where we speak http."""
    return bool(origin) and urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()


def is_api(request: Request) -> bool:
    """Whether a request is a program's: its answers are JSON."""
    return request.url.path.startswith(API_PATHS)


def address_of(request: Request) -> str:
    """Where a request comes from: the browser's address, told by a trusted proxy if there is one."""
    return request.client.host if request.client else ""


def keep_session(response: Response, request: Request, token: str) -> None:
    """Have the browser keep a session: no script reads it, and no other site's form sends it."""
    response.set_cookie(
        COOKIE, token, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/"
    )


def _challenge(request: Request) -> dict[str, str] | None:
    """Ask programs for a password. A browser (only that sends this header) would open a window of its own."""
    if is_api(request) and "Sec-Fetch-Mode" not in request.headers:
        return {"WWW-Authenticate": 'Basic realm="Tumorline", charset="UTF-8"'}
    return None
