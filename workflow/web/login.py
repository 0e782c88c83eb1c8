"""Coming in, going out, and choosing another password: plain forms that need no script."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.users import MINIMUM_PASSWORD_LENGTH, User
from workflow.ports import LoginRefusedError
from workflow.web.access import COOKIE, address_of, keep_session, refusal
from workflow.web.site import Site

_Text = Annotated[str, Form(max_length=1024)]


def login_routes(site: Site) -> APIRouter:
    """The login page, the way out, and the page of one's own account."""
    routes, access, users = APIRouter(), site.access, site.context.users

    @routes.get("/login", response_class=HTMLResponse)
    def show_login(request: Request, next: str = "/") -> Response:
        if access.known_user(request) is not None:
            return RedirectResponse(local_path(next), 303)
        return site.render(request, "login.html", next=local_path(next))

    @routes.post("/login", response_class=HTMLResponse)
    def log_in(
        request: Request,
        name: _Text = "",
        password: _Text = "",
        next: _Text = "/",
    ) -> Response:
        if not access.has_login:
            return RedirectResponse("/", 303)
        try:
            token = users.log_in(name, password, address_of(request))
        except LoginRefusedError as refused:
            answer = refusal(refused)
            page = site.render(
                request,
                "login.html",
                status_code=answer.status_code,
                next=local_path(next),
                name=name,
                problem=str(refused),
            )
            page.headers.update(answer.headers or {})
            return page
        # A session that was there before, perhaps put there by somebody else, ends here.
        users.log_out(request.cookies.get(COOKIE, ""))
        answered = RedirectResponse(local_path(next), 303)
        keep_session(answered, request, token)
        return answered

    @routes.post("/logout", dependencies=[Depends(access.user)])
    def log_out(request: Request) -> Response:
        users.log_out(request.cookies.get(COOKIE, ""))
        answered = RedirectResponse("/login", 303)
        answered.delete_cookie(COOKIE, path="/")
        return answered

    @routes.get("/account", response_class=HTMLResponse, dependencies=[Depends(access.user)])
    def show_account(request: Request) -> Response:
        return _account(request)

    @routes.post("/account", response_class=HTMLResponse)
    def change_password(
        request: Request,
        user: User = Depends(access.user),
        former: _Text = "",
        new: _Text = "",
        again: _Text = "",
    ) -> Response:
        if new != again:
            return _account(request, "the new password was not the same twice", 422)
        try:
            token = users.change_password(user.name, former, new, address_of(request))
        except LoginRefusedError as refused:
            problem = str(refused) if refused.wait_s else "the present password is wrong"
            return _account(request, problem, 429 if refused.wait_s else 403)
        except UnsuitableInputError as error:
            return _account(request, str(error), 422)
        answered = RedirectResponse("/account?changed=yes", 303)
        keep_session(answered, request, token)
        return answered

    def _account(request: Request, problem: str = "", status_code: int = 200) -> Response:
        return site.render(
            request,
            "account.html",
            status_code=status_code,
            problem=problem,
            is_changed="changed" in request.query_params,
            shortest=MINIMUM_PASSWORD_LENGTH,
        )

    return routes


def local_path(path: str) -> str:
    """A path of this site to go on to; "/" for whatever could lead to another one."""
    # Browsers read a backslash as a slash, and leave control characters out.
    is_plain = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    if not is_plain or " " in path or urlsplit(path).netloc or urlsplit(path).scheme:
        return "/"
    return path
