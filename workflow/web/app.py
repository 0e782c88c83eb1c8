"""The web application: what `db.overview` knows, as pages and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy import select
from starlette.middleware.trustedhost import TrustedHostMiddleware

from db.overview import patient_course, system_status, worklist
from db.tables import PatientRow, ReportRow, ResultObjectRow, TimePointRow
from workflow.engine.context import Context
from workflow.settings import Settings
from workflow.web.access import LOOPBACK_NAMES, login_check
from workflow.web.colours import palette_css
from workflow.web.plot import sum_plot_svg
from workflow.web.view import CRITERIA_WORDS, course_table, page_status

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
    templates = Jinja2Templates(_FOLDER / "templates")
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
        with context.reading() as session:
            session.execute(select(1))
        return {"status": "ok"}

    @app.get("/", response_class=HTMLResponse, dependencies=guarded)
    def show_worklist(request: Request) -> Response:
        with context.reading() as session:
            values = {"patients": worklist(session), "status": page_status(system_status(session))}
        return templates.TemplateResponse(request, "worklist.html", values)

    @app.get("/patients/{key}", response_class=HTMLResponse, dependencies=guarded)
    def show_patient(request: Request, key: int) -> Response:
        course = _course(key)
        values = {
            "course": course,
            "table": course_table(course),
            "criteria": CRITERIA_WORDS,
            "plot": sum_plot_svg(course),
        }
        return templates.TemplateResponse(request, "patient.html", values)

    @app.get("/api/worklist", dependencies=guarded)
    def api_worklist() -> JSONResponse:
        with context.reading() as session:
            return JSONResponse(worklist(session))

    @app.get("/api/patients/{key}", dependencies=guarded)
    def api_patient(key: int) -> JSONResponse:
        return JSONResponse(_course(key))

    @app.get("/api/status", dependencies=guarded)
    def api_status() -> JSONResponse:
        with context.reading() as session:
            return JSONResponse(page_status(system_status(session)))

    @app.get("/key-images/{time_point_key}/{tracking_uid}.png", dependencies=guarded)
    def key_image(time_point_key: int, tracking_uid: str) -> FileResponse:
        with context.reading() as session:
            # The newest report need not be the current one: a withdrawn decision brings an older one back.
            report = session.scalar(
                select(ReportRow)
                .join(TimePointRow, TimePointRow.report_id == ReportRow.id)
                .where(TimePointRow.id == time_point_key)
            )
        lesions = report.document["lesions"] if report else []
        if report is None or tracking_uid not in {lesion["tracking_uid"] for lesion in lesions}:
            raise HTTPException(404, "there is no such picture")
        return _file(Path(report.folder) / f"{tracking_uid}.png", "image/png")

    @app.get("/objects/{sop_instance_uid}.dcm", dependencies=guarded)
    def result_object(sop_instance_uid: str) -> FileResponse:
        with context.reading() as session:
            row = session.scalar(
                select(ResultObjectRow).where(ResultObjectRow.sop_instance_uid == sop_instance_uid)
            )
        if row is None:
            raise HTTPException(404, "there is no such object")
        return _file(Path(row.path), "application/dicom")

    @app.get("/palette.css")
    def palette() -> Response:
        return Response(palette_css(), media_type="text/css")

    def _course(key: int) -> dict[str, Any]:
        with context.reading() as session:
            if session.get(PatientRow, key) is None:
                raise HTTPException(404, "there is no such patient")
            return patient_course(session, key)

    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    return app


def _file(path: Path, media_type: str) -> FileResponse:
    if not path.is_file():
        raise HTTPException(404, "the file is gone")
    return FileResponse(path, media_type=media_type)
