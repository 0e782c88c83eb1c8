"""The web application: what the overview knows, as pages and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.trustedhost import TrustedHostMiddleware

from workflow.domain.response.policy import CRITERIA_WORDS
from workflow.domain.states import RESULT_WORDS, VISIT_WORDS
from workflow.engine.context import Context
from workflow.settings import Settings
from workflow.web.access import LOOPBACK_NAMES, login_check
from workflow.web.colours import palette_css
from workflow.web.plot import sum_plot_svg
from workflow.web.view import course_table, page_status

_FOLDER = Path(__file__).parent
# Everything comes from here: no script, no other host.
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
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
    overview = context.overview
    templates = Jinja2Templates(_FOLDER / "templates")
    templates.env.globals |= {"visit_words": VISIT_WORDS, "result_words": RESULT_WORDS}
    guarded = [Depends(login_check(settings))] if settings.web.login else []
    app = FastAPI(title="Tumorline", docs_url=None, redoc_url=None, openapi_url=None)
    if not settings.web.login:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES)

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(_SECURITY_HEADERS)
        return response

    @app.get("/health")
    def health() -> dict[str, str]:
        overview.check()
        return {"status": "ok"}

    @app.get("/", response_class=HTMLResponse, dependencies=guarded)
    def show_worklist(request: Request) -> Response:
        values = {"patients": overview.worklist(), "status": page_status(overview.status())}
        return templates.TemplateResponse(request, "worklist.html", values)

    @app.get("/patients/{key}", response_class=HTMLResponse, dependencies=guarded)
    def show_patient(request: Request, key: int) -> Response:
        course = _course(key)
        values = {
            "course": course,
            "table": course_table(course, context.limits_of),
            "criteria": CRITERIA_WORDS,
            "plot": sum_plot_svg(course),
        }
        return templates.TemplateResponse(request, "patient.html", values)

    @app.get("/api/worklist", dependencies=guarded)
    def api_worklist() -> JSONResponse:
        return JSONResponse(overview.worklist())

    @app.get("/api/patients/{key}", dependencies=guarded)
    def api_patient(key: int) -> JSONResponse:
        return JSONResponse(_course(key))

    @app.get("/api/status", dependencies=guarded)
    def api_status() -> JSONResponse:
        return JSONResponse(page_status(overview.status()))

    @app.get("/key-images/{time_point_key}/{tracking_uid}.png", dependencies=guarded)
    def key_image(time_point_key: int, tracking_uid: str) -> FileResponse:
        return _file(overview.key_image(time_point_key, tracking_uid), "image/png", "picture")

    @app.get("/objects/{sop_instance_uid}.dcm", dependencies=guarded)
    def result_object(sop_instance_uid: str) -> FileResponse:
        return _file(overview.result_object(sop_instance_uid), "application/dicom", "object")

    @app.get("/palette.css")
    def palette() -> Response:
        return Response(palette_css(), media_type="text/css")

    def _course(key: int) -> dict[str, Any]:
        course = overview.course(key)
        if course is None:
            raise HTTPException(404, "there is no such patient")
        return course

    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    return app


def _file(path: Path | None, media_type: str, what: str) -> FileResponse:
    if path is None:
        raise HTTPException(404, f"there is no such {what}")
    if not path.is_file():
        raise HTTPException(404, "the file is gone")
    return FileResponse(path, media_type=media_type)
