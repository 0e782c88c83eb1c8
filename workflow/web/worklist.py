"""The worklist: which patients are here, and what waits for whom."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from workflow.web.site import Site
from workflow.web.view import page_status


def worklist_routes(site: Site) -> APIRouter:
    """The worklist as a page and as JSON."""
    routes, overview = APIRouter(dependencies=[Depends(site.access.user)]), site.context.overview

    @routes.get("/", response_class=HTMLResponse)
    def show_worklist(request: Request) -> Response:
        return site.render(
            request, "worklist.html", patients=overview.worklist(), status=page_status(overview.status())
        )

    @routes.get("/api/worklist")
    def api_worklist() -> JSONResponse:
        return JSONResponse(overview.worklist())

    @routes.get("/api/status")
    def api_status() -> JSONResponse:
        return JSONResponse(page_status(overview.status()))

    return routes
