"""The review page: a visit's lesions one by one, what a reader decides about them, and the signature."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from workflow.domain.drawing import MarkedLesion
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion_life import Decision
from workflow.domain.marks import CANVAS
from workflow.domain.reading import LesionToRead, Standing, diameter_um, lesions_to_read
from workflow.domain.record import PatientRecord, Visit
from workflow.domain.report import LesionRole
from workflow.domain.response import millimetres
from workflow.domain.series import SeriesDescription
from workflow.domain.users import User, UserRole
from workflow.response import placed_decisions, protocol_of
from workflow.review import (
    NotAllowedError,
    Ruling,
    SeenOtherwiseError,
    record_rulings,
    sign_visit,
    token_of,
    told_of,
    undo,
    why_not_allowed,
)
from workflow.use_cases.marks import take_in
from workflow.web.review_forms import DecisionBody, MarksBody, SignBody, TakeAllBody, UndoBody, forms_for
from workflow.web.review_view import decision_words, review_view, why_busy
from workflow.web.site import Key, Site
from workflow.web.slices import Shown, VolumeCache, axes_as_mark, open_volume, record_of, slices_routes

_MB = 1_000_000


def review_routes(site: Site) -> APIRouter:
    """The review page of a visit, the slices that it shows, and what its reader decides."""
    context = site.context
    reader = site.access.needs(UserRole.READER, UserRole.ADJUDICATOR)
    volumes = VolumeCache(site.settings.web.image_cache_mb * _MB)
    routes = APIRouter()
    routes.include_router(slices_routes(site, volumes))

    @routes.get("/review/{visit_key}", response_class=HTMLResponse)
    def show_review(request: Request, visit_key: Key, user: User = Depends(reader)) -> Response:
        record, visit = record_of(context, visit_key)
        view = review_view(record, visit, visit_key, context, user)
        criteria = protocol_of(site.settings.response).criteria
        is_follow_up = bool(view["lesions"]) and not view["is_baseline"]
        forms = forms_for(user, criteria, is_follow_up=is_follow_up)
        return site.render(request, "review.html", view=view, forms=forms)

    @routes.get("/review/{visit_key}/panel", response_class=HTMLResponse)
    def show_panel(request: Request, visit_key: Key, user: User = Depends(reader)) -> Response:
        record, visit = record_of(context, visit_key)
        return _panel(request, record, visit, visit_key, user)

    @routes.get("/review/{visit_key}/state", dependencies=[Depends(reader)])
    def state(visit_key: Key) -> JSONResponse:
        record, visit = record_of(context, visit_key)
        told = told_of(record, visit, context)
        jobs = [j for j in context.overview.status()["running"] if _is_about(j, record, visit_key)]
        return JSONResponse(
            {
                "seen": token_of(record, told),
                "analysis": visit.current_analysis or "",
                "state": visit.state.value,
                "busy_with": why_busy(record, visit, told),
                "progress": max((job["progress"] for job in jobs), default=None),
                "doing": next((job["doing"] for job in jobs if job["doing"]), ""),
            }
        )

    @routes.post("/review/{visit_key}/decisions")
    def decided(
        request: Request, visit_key: Key, body: DecisionBody, user: User = Depends(reader)
    ) -> Response:
        record, visit = record_of(context, visit_key)

        def rulings() -> list[Ruling]:
            ruling = body.ruling(record.day_of(visit))
            if reason_against := why_not_allowed(user, ruling, record):
                raise NotAllowedError(reason_against)
            wanted = [o for o in _to_read(record, visit) if o.lesion.tracking_uid == body.lesion]
            if reason_against := _why_without_effect(ruling, wanted):
                raise UnsuitableInputError(reason_against)
            if ruling.decision is not Decision.CONFIRM:
                return [ruling]
            return [_confirmation(one, str(body.id), record.day_of(visit)) for one in wanted]

        return _decide(request, record, visit, visit_key, user, body.seen, rulings)

    @routes.post("/review/{visit_key}/take-all")
    def taken(request: Request, visit_key: Key, body: TakeAllBody, user: User = Depends(reader)) -> Response:
        record, visit = record_of(context, visit_key)

        def rulings() -> list[Ruling]:
            return [
                _confirmation(one, _part_of(body.id, one), record.day_of(visit))
                for one in _to_read(record, visit)
                if one.standing is Standing.OPEN and one.is_unremarkable
            ]

        return _decide(request, record, visit, visit_key, user, body.seen, rulings)

    @routes.post("/review/{visit_key}/undo")
    def undone(request: Request, visit_key: Key, body: UndoBody, user: User = Depends(reader)) -> Response:
        record, visit = record_of(context, visit_key)
        try:
            undo(context, record.key, record.day_of(visit), by=user.name, of=body.of)
        except UnsuitableInputError as error:
            return _refusal(error, record)
        return show_panel(request, visit_key, user)

    @routes.post("/review/{visit_key}/sign")
    def signed(request: Request, visit_key: Key, body: SignBody, user: User = Depends(reader)) -> Response:
        record, visit = record_of(context, visit_key)
        try:
            sign_visit(
                context,
                record.key,
                record.day_of(visit),
                by=user.name,
                is_as_seen=lambda now: _token(now, visit.anchor) == body.seen,
            )
        except UnsuitableInputError as error:
            return _refusal(error, record)
        return show_panel(request, visit_key, user)

    @routes.post("/review/{visit_key}/marks")
    def marked(request: Request, visit_key: Key, body: MarksBody, user: User = Depends(reader)) -> Response:
        record, visit = record_of(context, visit_key)
        # A further lesion stands in nobody's way; another outline replaces the one that was looked at.
        if body.lesion is not None and _token(record, visit.anchor) != body.seen:
            return _refusal(SeenOtherwiseError("the lesions have changed since you looked"), record)
        series, shown = open_volume(record, visit, body.volume, volumes, context)
        try:
            lesion = _marked_lesion(body, record, visit, series, shown, user)
            content = context.marks.write(lesion, shown.stack)
        except (UnsuitableInputError, ValueError) as error:
            return JSONResponse({"message": str(error)}, status_code=422)
        (taken,) = take_in(context, [content], user, CANVAS).objects
        if not taken.outcome.is_accepted:
            return JSONResponse({"message": taken.said}, status_code=422)
        return show_panel(request, visit_key, user)

    def _marked_lesion(
        body: MarksBody,
        record: PatientRecord,
        visit: Visit,
        series: SeriesDescription,
        shown: Shown,
        user: User,
    ) -> MarkedLesion:
        marks = [one.mark() for one in body.marks]
        seen = next((o for o in visit.observations if o.tracking_uid == body.lesion), None)
        if body.lesion is not None and body.lesion not in record.lesions:
            raise UnsuitableInputError("the patient has no such lesion; mark it as a new one")
        if body.is_refined and seen is not None and seen.measurement and seen.measured_on == series.key:
            marks = [axes_as_mark(seen.measurement, shown.stack.volume), *marks]
        return MarkedLesion(
            id=str(body.id),
            marks=tuple(marks),
            by=user.name,
            at=context.clock(),
            tracking_uid=body.lesion,
            label=record.lesions[body.lesion].label if body.lesion else body.label,
        )

    def _decide(
        request: Request,
        record: PatientRecord,
        visit: Visit,
        visit_key: Key,
        user: User,
        seen: str,
        rulings: Callable[[], Sequence[Ruling]],
    ) -> Response:
        try:
            saved, _ = record_rulings(
                context,
                record.key,
                rulings(),
                by=user.name,
                is_as_seen=lambda now: _token(now, visit.anchor) == seen,
            )
        except UnsuitableInputError as error:
            return _refusal(error, context.records.load(record.key))
        return _panel(request, saved, saved.visit(visit.anchor), visit_key, user)

    def _to_read(record: PatientRecord, visit: Visit) -> tuple[LesionToRead, ...]:
        told = told_of(record, visit, context)
        return lesions_to_read(record, visit, told.report, placed_decisions(record)) if told else ()

    def _token(record: PatientRecord, anchor: str) -> str:
        return token_of(record, told_of(record, record.visit(anchor), context))

    def _panel(request: Request, record: PatientRecord, visit: Visit, visit_key: Key, user: User) -> Response:
        view = review_view(record, visit, visit_key, context, user)
        return site.render(request, "review_panel.html", view=view)

    return routes


def _is_about(job: dict[str, Any], record: PatientRecord, visit_key: Key) -> bool:
    if job["stage"] == "infer":
        return bool(job["subject"] == str(visit_key))
    return job["stage"] in ("timeline", "report") and job["subject"] == str(record.key)


def _why_without_effect(ruling: Ruling, about: Sequence[LesionToRead]) -> str:
    """Why a decision would be recorded and change nothing, or ""."""
    if ruling.decision is not Decision.UNEQUIVOCAL_PROGRESSION:
        return ""
    targets = [one.lesion.label for one in about if one.lesion.role is LesionRole.TARGET]
    return f"{targets[0]} is a target: its progression is measured; correct its diameter" if targets else ""


def _part_of(action: uuid.UUID, one: LesionToRead) -> str:
    """The id of one decision of several that are made in one action; the same again for the same action."""
    return str(uuid.uuid5(action, one.lesion.tracking_uid))


def _confirmation(one: LesionToRead, decision_id: str, day: date) -> Ruling:
    """That a lesion is right as it is shown: its state and size are what was confirmed."""
    size_um = diameter_um(one.lesion)
    return Ruling(
        id=decision_id,
        decision=Decision.CONFIRM,
        lesion=one.lesion.tracking_uid,
        day=day,
        state=one.lesion.state,
        diameter_mm=None if size_um is None else millimetres(size_um),
    )


def _refusal(error: UnsuitableInputError, record: PatientRecord) -> JSONResponse:
    """Why nothing was recorded; 409 where the reader has to look again first, with what came in between."""
    if isinstance(error, NotAllowedError):
        return JSONResponse({"message": str(error)}, status_code=403)
    if not isinstance(error, SeenOtherwiseError):
        return JSONResponse({"message": str(error)}, status_code=422)
    latest = max(record.decisions, key=lambda made: (made.at, made.id), default=None)
    by = f" The latest decision is {latest.by}'s: {decision_words(record, latest)}." if latest else ""
    return JSONResponse({"message": f"{error}.{by}"}, status_code=409)
