"""What every request passes, whichever part of the application it is for, and what every answer says."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workflow.settings import Web

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened on)
# Forms and JSON are small. DICOM comes in under a path whose route bounds it itself.
_MOST_BYTES = 4 * 1024 * 1024
_UNBOUNDED_PATHS = ("/dicom-web/",)

# Everything comes from here: no other host, and no script that is not a file of ours. A route that needs
# more says so itself. Referrer-Policy: under "no-referrer" forms would come with "Origin: null".
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def allowed_hosts(web: Web) -> frozenset[str]:
    """The names that requests may ask for, in lower case and without a port.

    A page of another site can make its own name point at us (DNS rebinding) and then read ours as its own;
    it can't make the browser ask for one of these.
    """
    named = {web.host, *web.allowed_hosts} - {*_ALL_ADDRESSES}
    bracketed = (f"[{name}]" if ":" in name and not name.startswith("[") else name for name in named)
    return frozenset({*_LOOPBACK_NAMES, *(name.lower() for name in bracketed)})


class Gate:
    """Refuses other hosts' names, other sites' writes and bodies without end; adds the security headers."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer what is wrong with it (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(scope, receive, send_secured)
            return
        if not scope["path"].startswith(_UNBOUNDED_PATHS):
            receive = _bounded(receive)
        await self._app(scope, receive, send_secured)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._hosts:
            return PlainTextResponse("This name is not ours; see the setting web.allowed_hosts.", 400)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
            is_ours = origin is None or urlsplit(origin).netloc.lower() == host
            if not is_ours or site not in ("same-origin", "none"):
                return PlainTextResponse("This comes from another site's page and is refused.", 403)
        if not scope["path"].startswith(_UNBOUNDED_PATHS):
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > _MOST_BYTES:
                return PlainTextResponse(f"More than {_MOST_BYTES} bytes are too many here.", 413)
        return None


def _bounded(receive: Receive) -> Receive:
    """Read at most so much of a body that does not say how long it is; then the sender is as good as gone."""
    count = 0

    async def read() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        return message if count <= _MOST_BYTES else {"type": "http.disconnect"}

    return read
