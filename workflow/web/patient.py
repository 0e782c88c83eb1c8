"""A patient's course: lesions by time points, the response and its reasons, pictures and result objects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.events import EVENT_WORDS, LONGEST_TEXT, EventKind, PatientEvent
from workflow.domain.priors import PriorState
from workflow.domain.states import STUDY_WORDS
from workflow.domain.users import User, UserRole
from workflow.priors import seek_again
from workflow.settings import Settings
from workflow.web.plot import marks_of, plots
from workflow.web.shapes import Course
from workflow.web.site import Key, Site, file_answer
from workflow.web.view import at_same_scale, course_table, signatures, visits_of, without_folders
from workflow.web.viewer import open_link

# More pictures than that come when somebody asks for a lesion.
_MOST_PICTURES_AT_ONCE = 24


def patient_routes(site: Site) -> APIRouter:
    """A patient as a page and as JSON, the files that the page links to, and notes."""
    routes, context = APIRouter(dependencies=[Depends(site.access.user)]), site.context
    overview, is_reader = context.overview, Depends(site.access.needs(UserRole.READER))

    @routes.get("/patients/{key}", response_class=HTMLResponse)
    def show_patient(request: Request, key: Key) -> Response:
        return _page(request, _course(key))

    @routes.get(
        "/patients/{key}/lesions/{tracking_uid}", response_class=HTMLResponse, include_in_schema=False
    )
    def show_lesion(request: Request, key: Key, tracking_uid: str) -> Response:
        course = _course(key)
        table = course_table(course, context.limits_of)
        row = next((row for row in table["rows"] if row["tracking_uid"] == tracking_uid), None)
        if row is None:
            raise HTTPException(404, "there is no such lesion")
        at_same_scale([row], _fields(key))
        return site.render(request, "lesion.html", course=course, row=row)

    @routes.post("/patients/{key}/events", response_class=HTMLResponse, tags=["patients"])
    def add_event(
        request: Request,
        key: Key,
        day: Annotated[str, Form(description="2026-03-01")],
        kind: Annotated[str, Form(description=f"One of: {', '.join(EventKind)}.")],
        text: Annotated[str, Form()] = "",
        user: User = is_reader,
    ) -> Response:
        """Note what happened to a patient; it is shown on the axis of the plots."""
        course = _course(key)
        try:
            event = PatientEvent(day=_day(day), kind=EventKind(kind), text=text)
            context.events.add(key, event, user.name)
        except (ValueError, UnsuitableInputError) as error:
            tried = {"day": day, "kind": kind, "text": text, "error": str(error)}
            return _page(request, course, tried=tried, status_code=422)
        return RedirectResponse(f"/patients/{key}#events", status_code=303)

    @routes.post("/patients/{key}/events/{event_key}/remove", response_class=HTMLResponse, tags=["patients"])
    def remove_event(key: Key, event_key: Key, user: User = is_reader) -> Response:
        """Take a note away; the audit keeps it."""
        try:
            context.events.remove(key, event_key, user.name)
        except UnsuitableInputError as error:
            raise HTTPException(404, str(error)) from error
        return RedirectResponse(f"/patients/{key}#events", status_code=303)

    @routes.post("/patients/{key}/priors", response_class=HTMLResponse, tags=["patients"])
    def seek_priors_again(key: Key, user: User = is_reader) -> Response:
        """Look in the PACS for earlier studies once more, and fetch once more what did not come."""
        course = _course(key)
        seek_again(context, course["patient_id"])
        return RedirectResponse(f"/patients/{key}#visits", status_code=303)

    @routes.get("/api/patients/{key}", response_model=Course, tags=["patients"])
    def api_patient(key: Key) -> JSONResponse:
        """All visits of a patient in order, each with its studies, report and result objects."""
        course = _course(key)
        for point in course["time_points"]:
            for made in point["objects"]:
                made["href"] = f"/objects/{made['sop_instance_uid']}.dcm"
                made["destination"] = without_folders(made["destination"])
                made["error"] = without_folders(made["error"])
                del made["path"]
        return JSONResponse(course)

    @routes.get("/key-images/{visit_key}/{tracking_uid}.png", response_class=FileResponse, tags=["patients"])
    def key_image(visit_key: Key, tracking_uid: str) -> FileResponse:
        """A visit's picture of a lesion, with contour and axes."""
        return file_answer(overview.key_image(visit_key, tracking_uid), "image/png", "picture")

    @routes.get("/overviews/{visit_key}/{number}.png", response_class=FileResponse, tags=["patients"])
    def overview_image(visit_key: Key, number: Key) -> FileResponse:
        """A coronal picture of a visit's measured volume with its lesions, counted from 1."""
        return file_answer(overview.overview_image(visit_key, number), "image/png", "picture")

    @routes.get("/objects/{sop_instance_uid}.dcm", response_class=FileResponse, tags=["patients"])
    def result_object(sop_instance_uid: str) -> FileResponse:
        """A result object as it was delivered."""
        return file_answer(overview.result_object(sop_instance_uid), "application/dicom", "object")

    @routes.get("/objects/{sop_instance_uid}.pdf", response_class=Response, tags=["patients"])
    def result_document(sop_instance_uid: str) -> Response:
        """The pages of an encapsulated PDF."""
        answer = file_answer(overview.result_object(sop_instance_uid), "application/pdf", "object")
        pages = context.result_reader.document(Path(answer.path))
        if pages is None:
            raise HTTPException(404, "this object holds no PDF; it can be had as .dcm")
        # The name that a browser keeps it under says nothing about the patient.
        named = {"Content-Disposition": f'inline; filename="tumorline-{sop_instance_uid}.pdf"'}
        return Response(pages, media_type="application/pdf", headers=named)

    def _course(key: int) -> dict[str, Any]:
        course = overview.course(key)
        if course is None:
            raise HTTPException(404, "there is no such patient")
        return course

    def _fields(key: int) -> Callable[[int, str], float | None]:
        folders = overview.key_image_folders(key)
        return lambda visit_key, uid: context.result_reader.field_mm(folders[visit_key] / f"{uid}.png")

    def _page(request: Request, course: dict[str, Any], status_code: int = 200, **values: Any) -> Response:
        table = course_table(course, context.limits_of)
        pictures = sum(cell is not None for row in table["rows"] for cell in row["cells"])
        if shows_pictures := pictures <= _MOST_PICTURES_AT_ONCE:
            at_same_scale(table["rows"], _fields(course["patient_key"]))
        marks = marks_of(course, EVENT_WORDS)
        user = getattr(request.state, "user", None)
        may_note = user is not None and user.may(UserRole.READER)
        return site.render(
            request,
            "patient.html",
            status_code,
            course=course,
            table=table,
            visits=visits_of(course),
            plots=plots(course, marks),
            marks=marks,
            shows_pictures=shows_pictures,
            signatures=signatures(table["columns"]),
            event_words=EVENT_WORDS,
            study_words=STUDY_WORDS,
            longest_text=LONGEST_TEXT,
            may_note=may_note,
            actions=_actions(course, table["columns"], site.settings),
            priors=_priors(course),
            may_seek_priors=context.prior_source is not None
            and user is not None
            and user.may(UserRole.READER),
            **values,
        )

    return routes


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no day: write it as 2026-03-01") from error


def _actions(
    course: dict[str, Any], columns: list[dict[str, Any]], settings: Settings
) -> list[tuple[str, str]]:
    """What can be done with the latest visit: words and address."""
    if not columns:
        return []
    latest = columns[-1]
    has_prior = latest["prior_study_instance_uid"] is not None
    offered = (
        ("Review and sign", f"/review/{latest['key']}"),
        ("Open in OHIF", open_link(settings, latest["key"], prior=has_prior)),
        ("Add to a board", f"/board/add?patient_key={course['patient_key']}"),
    )
    return [(words, address) for words, address in offered if address is not None]


def _priors(course: dict[str, Any]) -> str:
    """How far the earlier studies are that the PACS was asked for, "" if it was asked for none."""
    states = [prior["state"] for prior in course["priors"]]
    if not states:
        return ""
    fetched, failed = states.count(PriorState.FETCHED), states.count(PriorState.FAILED)
    return f"{fetched} of {len(states)} fetched" + (f", {failed} did not come" if failed else "")
