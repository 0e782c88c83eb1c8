"""The web application: its parts put together, behind a login and a strict content policy."""

from __future__ import annotations

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles

from workflow import __version__
from workflow.engine.context import Context
from workflow.engine.first_account import open_first_account
from workflow.settings import Settings
from workflow.web.api import API_SUMMARY, api_routes
from workflow.web.board import board_routes
from workflow.web.cohort import cohort_routes
from workflow.web.colours import palette_css
from workflow.web.dicomweb import dicomweb
from workflow.web.errors import answer_errors
from workflow.web.gate import Gate, allowed_hosts
from workflow.web.health import health_routes
from workflow.web.live import live_routes
from workflow.web.login import login_routes
from workflow.web.operations import operations_routes
from workflow.web.patient import patient_routes
from workflow.web.review import review_routes
from workflow.web.site import FOLDER, open_site
from workflow.web.viewer import viewer_routes
from workflow.web.worklist import worklist_routes


class StyleSheet(Response):
    """CSS."""

    media_type = "text/css"


def make_app(context: Context, settings: Settings) -> FastAPI:
    """Make the application on an open database.

    Raises
    ------
    ConfigurationError
        If a login is wanted with an empty name or password.
    """
    if settings.web.login:
        open_first_account(context.users, settings)
    site = open_site(context, settings)
    # The document and its page are in `api`, behind the login.
    app = FastAPI(
        title="Tumorline",
        version=__version__,
        description=API_SUMMARY,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.add_middleware(Gate, hosts=allowed_hosts(settings.web))
    answer_errors(app, site)

    @app.get("/palette.css", response_class=StyleSheet, include_in_schema=False)
    def palette() -> StyleSheet:
        return StyleSheet(palette_css())

    app.include_router(health_routes(context))
    app.include_router(login_routes(site))
    app.include_router(worklist_routes(site))
    app.include_router(patient_routes(site))
    app.include_router(dicomweb(site))
    app.include_router(board_routes(site))
    app.include_router(cohort_routes(site))
    app.include_router(viewer_routes(site))
    app.include_router(live_routes(site))
    app.include_router(review_routes(site))
    app.include_router(operations_routes(site))
    app.include_router(api_routes(site))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    return app
