"""The worklist: which patients are here, and what waits for whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from workflow.domain.worklist import NEEDS_A_PERSON, ORDER_WORDS, WAITING_WORDS, Waiting, WorklistOrder
from workflow.ports.worklist import WorklistQuery
from workflow.web.shapes import Status, WorklistPage
from workflow.web.site import Site
from workflow.web.view import page_work

_Waiting = Annotated[Waiting | None, Query(description="Only patients that wait for this.")]
_Search = Annotated[str, Query(max_length=200, description="Words of the name or number.")]
_Order = Annotated[WorklistOrder, Query(description="What comes first.")]
_Page = Annotated[int, Query(ge=1, le=1_000_000, description="50 patients each, from 1.")]


def worklist_routes(site: Site) -> APIRouter:
    """The worklist as a page and as JSON."""
    routes, context = APIRouter(dependencies=[Depends(site.access.user)]), site.context

    def page_of(
        waiting: _Waiting = None,
        q: _Search = "",
        sort: _Order = WorklistOrder.URGENCY,
        page: _Page = 1,
    ) -> tuple[WorklistQuery, dict[str, Any]]:
        today = context.clock().date()
        overdue_before = today - timedelta(days=site.settings.web.overdue_after_days)
        query = WorklistQuery(waiting=waiting, search=q, order=sort, page=page, overdue_before=overdue_before)
        return query, context.worklist.page(query)

    asked = Depends(page_of)

    @routes.get("/", response_class=HTMLResponse)
    def show_worklist(request: Request, answer: tuple[WorklistQuery, dict[str, Any]] = asked) -> Response:
        query, page = answer
        return site.render(
            request,
            "worklist.html",
            query=query,
            list=page,
            tabs=_tabs(query, page["counts"]),
            links=_links(query, page["page"], page["pages"]),
            orders=ORDER_WORDS,
            words=WAITING_WORDS,
            overdue_after_days=site.settings.web.overdue_after_days,
            work=page_work(context.overview.work()),
        )

    @routes.get("/api/worklist", response_model=WorklistPage, tags=["worklist"])
    def api_worklist(answer: tuple[WorklistQuery, dict[str, Any]] = asked) -> JSONResponse:
        """A page of the worklist, filtered and sorted as on the page."""
        return JSONResponse(answer[1])

    @routes.get("/api/status", response_model=Status, tags=["operations"])
    def api_status() -> JSONResponse:
        """Counts of what waits, runs, failed and was kept for a person."""
        return JSONResponse(page_work(context.overview.status()))

    return routes


def _address(query: WorklistQuery, **changed: Any) -> str:
    """The worklist's address with some of the query changed; what is as it comes is left out."""
    said = {"waiting": query.waiting, "q": query.search, "sort": query.order, "page": query.page, **changed}
    usual = {"waiting": None, "q": "", "sort": WorklistOrder.URGENCY, "page": 1}
    parameters = {name: str(value) for name, value in said.items() if value != usual[name]}
    return f"/?{urlencode(parameters)}" if parameters else "/"


def _tabs(query: WorklistQuery, counts: dict[str, int]) -> list[dict[str, Any]]:
    """All patients, then one filter per kind of waiting; an empty one that nobody looks at is left out."""
    kinds = [None, *(kind for kind in Waiting if counts[kind] or kind is query.waiting)]
    return [
        {
            "words": WAITING_WORDS[kind] if kind else "All",
            "count": counts[kind or "all"],
            "is_urgent": kind in NEEDS_A_PERSON and kind is not Waiting.OVERDUE,
            "is_current": kind is query.waiting,
            "address": _address(query, waiting=kind, page=1),
        }
        for kind in kinds
    ]


def _links(query: WorklistQuery, page: int, pages: int) -> dict[str, Any]:
    """Where this page is, and those before and after it."""
    return {
        "here": _address(query, page=page),
        "before": _address(query, page=page - 1) if page > 1 else None,
        "after": _address(query, page=page + 1) if page < pages else None,
    }
