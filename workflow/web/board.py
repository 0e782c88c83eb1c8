"""Tumour boards: days and their lists, what each patient lacks, and frozen packets to hand out."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, Field

from workflow.board import (
    add_to_board,
    ask_board,
    board_json,
    freeze_packets,
    move_on_board,
    packet_file,
    packet_json,
    patient_json,
    remove_from_board,
    store_packet,
)
from workflow.domain.board import LONGEST_QUESTION, BoardPriority, next_first
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.users import User, UserRole
from workflow.web.site import Key, Site

# What each file is called on the page, in the order of the links.
FILE_WORDS = {
    "pdf": "PDF",
    "pptx": "Slides",
    "xlsx": "Excel",
    "csv": "CSV",
    "fhir.json": "FHIR",
    "json": "JSON",
}


class AddedPatient(BaseModel):
    """A patient for a list, as JSON says it."""

    patient_key: int
    priority: BoardPriority = BoardPriority.NORMAL
    question: str = Field("", max_length=LONGEST_QUESTION)


class ChangedEntry(BaseModel):
    """What is changed about an entry: words, or its place by some steps."""

    priority: BoardPriority | None = None
    question: str | None = Field(None, max_length=LONGEST_QUESTION)
    steps: int = 0


def board_routes(site: Site) -> APIRouter:
    """Boards as pages and as JSON, and the files of their packets."""
    routes, context = APIRouter(dependencies=[Depends(site.access.user)]), site.context
    boards = context.boards
    reader = Depends(site.access.needs(UserRole.READER))

    # ------------------------------------------------------------ pages

    @routes.get("/board", response_class=HTMLResponse, include_in_schema=False)
    def show_boards(request: Request, day: date | None = None) -> Response:
        if day is not None:
            return _to(day)
        coming, past = next_first(boards.days(), context.clock().date())
        return site.render(request, "boards.html", coming=coming, past=past, today=context.clock().date())

    @routes.get("/board/add", response_class=HTMLResponse, include_in_schema=False)
    def choose_a_day(
        request: Request, patient_key: Annotated[int, Query(ge=1, lt=2**31)], user: User = reader
    ) -> Response:
        patient = boards.patients([patient_key]).get(patient_key)
        if patient is None:
            raise HTTPException(404, "there is no such patient")
        today = context.clock().date()
        coming, _ = next_first(boards.days(), today)
        return site.render(
            request,
            "board_add.html",
            patient=patient,
            listed=boards.days_of(patient_key),
            next_day=coming[0].day if coming else today,
            priorities=[p.value for p in BoardPriority],
            longest=LONGEST_QUESTION,
        )

    @routes.get("/board/{day}", response_class=HTMLResponse, include_in_schema=False)
    def show_board(request: Request, day: date, find: str = "") -> Response:
        shown = board_json(boards, day)
        listed = {entry["patient_key"] for entry in shown["entries"]}
        found = [patient_json(patient) for patient in boards.find(find) if patient.key not in listed]
        return site.render(
            request,
            "board.html",
            board=shown,
            day=day,
            find=find,
            found=found,
            priorities=[p.value for p in BoardPriority],
            longest=LONGEST_QUESTION,
            file_words=FILE_WORDS,
            names={e["patient_key"]: e["patient_name"] or e["patient_id"] for e in shown["entries"]},
        )

    @routes.post("/board/{day}/add", tags=["boards"])
    def add(
        day: date,
        patient_key: Annotated[int, Form()],
        priority: Annotated[BoardPriority, Form()] = BoardPriority.NORMAL,
        question: Annotated[str, Form()] = "",
        user: User = reader,
    ) -> Response:
        """Put a patient on the list of a day."""
        add_to_board(
            context, day=day, patient_key=patient_key, by=user.name, priority=priority, question=question
        )
        return _to(day)

    @routes.post("/board/add", tags=["boards"])
    def add_on_a_day(
        day: Annotated[date, Form()],
        patient_key: Annotated[int, Form()],
        priority: Annotated[BoardPriority, Form()] = BoardPriority.NORMAL,
        question: Annotated[str, Form()] = "",
        user: User = reader,
    ) -> Response:
        """The same with the day in the form, as the patient's page has it."""
        return add(day, patient_key, priority, question, user)

    @routes.post("/board/{day}/{patient_key}/move", tags=["boards"])
    def move(day: date, patient_key: Key, steps: Annotated[int, Form()], user: User = reader) -> Response:
        """Discuss a patient some places later, or earlier if negative."""
        move_on_board(context, day=day, patient_key=patient_key, steps=steps, by=user.name)
        return _to(day)

    @routes.post("/board/{day}/{patient_key}/ask", tags=["boards"])
    def ask(
        day: date,
        patient_key: Key,
        priority: Annotated[BoardPriority, Form()],
        question: Annotated[str, Form()] = "",
        user: User = reader,
    ) -> Response:
        """Change priority and question."""
        ask_board(
            context, day=day, patient_key=patient_key, priority=priority, question=question, by=user.name
        )
        return _to(day)

    @routes.post("/board/{day}/{patient_key}/remove", tags=["boards"])
    def remove(day: date, patient_key: Key, user: User = reader) -> Response:
        """Take a patient off the list; packets stay."""
        remove_from_board(context, day=day, patient_key=patient_key, by=user.name)
        return _to(day)

    @routes.post("/board/{day}/packets", tags=["boards"])
    def freeze(day: date, user: User = reader) -> Response:
        """Freeze a packet of each patient and one of the list."""
        freeze_packets(context, day=day, by=user.name)
        return _to(day)

    @routes.post("/board/packets/{packet_id}/store", tags=["boards"])
    def store(packet_id: Key, user: User = reader) -> Response:
        """Send a patient's packet to the PACS as a PDF of the latest study."""
        packet = store_packet(context, packet_id=packet_id, by=user.name)
        return _to(packet.day)

    @routes.get("/board/packets/{packet_id}/{name}", tags=["boards"])
    def download(packet_id: Key, name: str) -> FileResponse:
        """A file of a packet; its name says nothing about the patient."""
        try:
            path, file = packet_file(context, packet_id, name)
        except UnsuitableInputError as error:
            raise HTTPException(404, str(error)) from error
        if not path.is_file():
            raise HTTPException(404, "the file is gone; make the packet again")
        return FileResponse(path, media_type=file.media_type, filename=file.name)

    # ------------------------------------------------------------ JSON

    @routes.get("/api/board", tags=["boards"])
    def api_boards() -> JSONResponse:
        """Every day that has a board."""
        days = [{"day": b.day.isoformat(), "patients": b.patients, "urgent": b.urgent} for b in boards.days()]
        return JSONResponse(days)

    @routes.get("/api/board/{day}", tags=["boards"])
    def api_board(day: date) -> JSONResponse:
        """A day's list: what is asked, what each patient lacks, the packets and what changed since."""
        return JSONResponse(board_json(boards, day))

    @routes.post("/api/board/{day}", tags=["boards"], status_code=201)
    def api_add(day: date, added: AddedPatient, user: User = reader) -> JSONResponse:
        """Put a patient on the list."""
        add_to_board(context, day=day, by=user.name, **dict(added))
        return JSONResponse(board_json(boards, day), 201)

    @routes.patch("/api/board/{day}/{patient_key}", tags=["boards"])
    def api_change(day: date, patient_key: Key, changed: ChangedEntry, user: User = reader) -> JSONResponse:
        """Change a patient's priority or question, or move the patient by steps (negative: earlier)."""
        entry = boards.agenda(day).entry(patient_key)
        if changed.priority is not None or changed.question is not None:
            ask_board(
                context,
                day=day,
                patient_key=patient_key,
                by=user.name,
                priority=changed.priority or entry.priority,
                question=entry.question if changed.question is None else changed.question,
            )
        if changed.steps:
            move_on_board(context, day=day, patient_key=patient_key, steps=changed.steps, by=user.name)
        return JSONResponse(board_json(boards, day))

    @routes.delete("/api/board/{day}/{patient_key}", tags=["boards"])
    def api_remove(day: date, patient_key: Key, user: User = reader) -> JSONResponse:
        """Take a patient off the list; packets stay."""
        remove_from_board(context, day=day, patient_key=patient_key, by=user.name)
        return JSONResponse(board_json(boards, day))

    @routes.post("/api/board/{day}/packets", tags=["boards"], status_code=202)
    def api_freeze(day: date, user: User = reader) -> JSONResponse:
        """Freeze a packet of each patient and one of the list; workers write their files."""
        made = freeze_packets(context, day=day, by=user.name)
        return JSONResponse([packet_json(packet) for packet in made], 202)

    return routes


def _to(day: date) -> Response:
    return RedirectResponse(f"/board/{day}", 303)
