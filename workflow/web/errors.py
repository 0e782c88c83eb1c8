"""What is answered where something can't be: a page for people, JSON for programs, the login for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from workflow.domain.errors import ConflictError, TransientError, UnsuitableInputError
from workflow.web.access import is_api
from workflow.web.gate import SECURITY_HEADERS
from workflow.web.site import Site

_WORDS = {
    400: ("That can't be answered", "Go back and try again."),
    401: ("Log in first", "This page is shown to people who work here."),
    403: ("That was refused", "If you should be able to do it, an administrator can give you the role."),
    404: ("There is no such page", "It may have been another's, or the address has a slip in it."),
    405: ("That can't be done here", "Go back and use the page's own buttons."),
    409: ("Somebody else was first", "Load the page again and look at what they did."),
    413: ("That is too much", "Send less at once."),
    422: ("That does not fit", "Go back, mend what is named here, and send it again."),
    429: ("Too many attempts", "Wait as long as is said, then try again."),
    500: ("Something went wrong", "It is a defect of the software; the log of the web service has the rest."),
    503: ("Something is not there now", "Try again in a moment; if it goes on, ask whoever runs Tumorline."),
}


def answer_errors(app: FastAPI, site: Site) -> None:
    """Have every error answered in the site's own words."""

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 401 and _is_page(request):
            return RedirectResponse(f"/login?next={quote(_asked_for(request))}", 303)
        return answer(request, error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    def wrong_values(request: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        if any(fault["loc"][0] == "path" for fault in faults):  # a key that is none names nothing
            return answer(request, 404, "there is no such page")
        # The values themselves may be a password or a name: they are not repeated.
        told = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in faults)
        return answer(request, 422, told)

    @app.exception_handler(UnsuitableInputError)
    def unsuitable(request: Request, error: UnsuitableInputError) -> Response:
        return answer(request, 422, str(error))

    @app.exception_handler(TransientError)
    def not_there(request: Request, error: TransientError) -> Response:
        if isinstance(error, ConflictError):
            return answer(request, 409, str(error))
        return answer(request, 503, str(error), {"Retry-After": "5"})

    @app.exception_handler(Exception)
    def defect(request: Request, error: Exception) -> Response:
        # Answered outside of the gate, which has no say in it any more.
        return answer(request, 500, "an unforeseen error", SECURITY_HEADERS)

    def answer(
        request: Request, status_code: int, detail: Any, headers: Mapping[str, str] | None = None
    ) -> Response:
        if is_api(request) or not _reads_html(request):
            response: Response = JSONResponse({"detail": detail}, status_code)
        else:
            _find_user(request, site)
            title, next_step = _WORDS.get(status_code, ("That can't be answered", "Go back and try again."))
            response = site.render(
                request, "error.html", status_code, title=title, detail=detail, next_step=next_step
            )
        response.headers.update(headers or {})
        if status_code == 401 and "HX-Request" in request.headers:
            response.headers["HX-Redirect"] = "/login"  # a part of a page: htmx shows the login as a whole
        return response


def _find_user(request: Request, site: Site) -> None:
    """Also where no route was found does the page say who is logged in."""
    if not hasattr(request.state, "user"):
        try:
            site.access.known_user(request)
        except TransientError:
            request.state.user = None


def _reads_html(request: Request) -> bool:
    return "text/html" in request.headers.get("Accept", "") or "HX-Request" in request.headers


def _is_page(request: Request) -> bool:
    """Whether a person asked for a page as a whole, and can be sent to the login instead."""
    is_part = is_api(request) or "HX-Request" in request.headers
    return request.method in ("GET", "HEAD") and not is_part and _reads_html(request)


def _asked_for(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
