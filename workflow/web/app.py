"""The web application: its parts put together, behind a login and a strict content policy."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from workflow.engine.context import Context
from workflow.settings import Settings
from workflow.web.access import LOOPBACK_NAMES
from workflow.web.board import board_routes
from workflow.web.cohort import cohort_routes
from workflow.web.colours import palette_css
from workflow.web.patient import patient_routes
from workflow.web.site import FOLDER, open_site
from workflow.web.worklist import worklist_routes

# Everything comes from here: no other host, and no script that is not a file of ours.
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(context: Context, settings: Settings) -> FastAPI:
    """Make the application on an open database.

    Raises
    ------
    ConfigurationError
        If a login is wanted with an empty name or password.
    """
    site = open_site(context, settings)
    app = FastAPI(title="Tumorline", docs_url=None, redoc_url=None, openapi_url=None)
    if not settings.web.login:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES)

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        for name, value in _SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.get("/health")
    def health() -> dict[str, str]:
        context.overview.check()
        return {"status": "ok"}

    @app.get("/palette.css")
    def palette() -> Response:
        return Response(palette_css(), media_type="text/css")

    app.include_router(worklist_routes(site))
    app.include_router(patient_routes(site))
    app.include_router(board_routes(site))
    app.include_router(cohort_routes(site))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    return app
