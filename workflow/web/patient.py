"""A patient's course: lesions by time points, the response and its reasons, pictures and result objects."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from workflow.web.plot import sum_plot_svg
from workflow.web.site import Key, Site, file_answer
from workflow.web.view import course_table


def patient_routes(site: Site) -> APIRouter:
    """A patient as a page and as JSON, and the files that the page links to."""
    routes, overview = APIRouter(dependencies=[Depends(site.access.user)]), site.context.overview

    @routes.get("/patients/{key}", response_class=HTMLResponse)
    def show_patient(request: Request, key: Key) -> Response:
        course = _course(key)
        table = course_table(course, site.context.limits_of)
        return site.render(request, "patient.html", course=course, table=table, plot=sum_plot_svg(course))

    @routes.get("/api/patients/{key}")
    def api_patient(key: Key) -> JSONResponse:
        return JSONResponse(_course(key))

    @routes.get("/key-images/{time_point_key}/{tracking_uid}.png")
    def key_image(time_point_key: Key, tracking_uid: str) -> FileResponse:
        return file_answer(overview.key_image(time_point_key, tracking_uid), "image/png", "picture")

    @routes.get("/objects/{sop_instance_uid}.dcm")
    def result_object(sop_instance_uid: str) -> FileResponse:
        return file_answer(overview.result_object(sop_instance_uid), "application/dicom", "object")

    def _course(key: Key) -> dict[str, Any]:
        course = overview.course(key)
        if course is None:
            raise HTTPException(404, "there is no such patient")
        return course

    return routes
