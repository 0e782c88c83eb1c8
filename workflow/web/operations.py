"""Operations: what runs, waits, stopped and was kept, and what an operator decides about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from workflow.domain.states import STAGE_WORDS
from workflow.domain.users import User, UserRole
from workflow.operations import cancel, complete_study, dismiss, plan_study, replay
from workflow.web.site import Key, Site
from workflow.web.view import page_work

_AUDIT_ENTRIES = 50
_Text = Annotated[str, Form(max_length=1000)]
_Reason = Annotated[str, Body(embed=True, min_length=1, max_length=1000, description="Why, for the audit.")]
_Uid = Annotated[str, Form(max_length=64)]

# What is said after a write, by the key in the address: nobody's link puts words of their own on the page.
_DONE = {
    "replayed": "The job is queued again.",
    "canceled": "The job is ended within seconds.",
    "dismissed": "It is off the list; the audit says why.",
    "completed": "The study goes on without waiting for more of it.",
}


def operations_routes(site: Site) -> APIRouter:
    """The operations page, what it decides, and the same as JSON."""
    context = site.context
    needed = site.access.needs(UserRole.OPERATOR)
    routes = APIRouter(dependencies=[Depends(needed)])

    # ------------------------------------------------------------ the page

    @routes.get("/operations", response_class=HTMLResponse, include_in_schema=False)
    def show_operations(request: Request, done: str = "") -> Response:
        seen = context.operations.view(context.clock())
        return site.render(
            request,
            "operations.html",
            done=_DONE.get(done, ""),
            stage_words=STAGE_WORDS,
            work=page_work(context.overview.work()),
            audit=context.operations.audit(_AUDIT_ENTRIES),
            charts=_charts(seen["throughput"]),
            **seen,
        )

    @routes.get("/operations/study", response_class=HTMLResponse, include_in_schema=False)
    def show_plan(request: Request, uid: str = "") -> Response:
        return site.render(request, "study_plan.html", plan=plan_study(context, uid.strip()))

    @routes.post("/operations/jobs/{job_id}/replay", include_in_schema=False)
    def replayed(job_id: Key, user: User = Depends(needed)) -> Response:
        replay(context, job_id, by=user.name)
        return _back("replayed")

    @routes.post("/operations/jobs/{job_id}/cancel", include_in_schema=False)
    def canceled(job_id: Key, user: User = Depends(needed), reason: _Text = "") -> Response:
        cancel(context, job_id, by=user.name, reason=reason)
        return _back("canceled")

    @routes.post("/operations/kept/{entry}/dismiss", include_in_schema=False)
    def dismissed(entry: Key, user: User = Depends(needed), reason: _Text = "") -> Response:
        dismiss(context, entry, by=user.name, reason=reason)
        return _back("dismissed")

    @routes.post("/operations/study/complete", include_in_schema=False)
    def completed(user: User = Depends(needed), uid: _Uid = "", reason: _Text = "") -> Response:
        complete_study(context, uid, by=user.name, reason=reason)
        return _back("completed")

    # ------------------------------------------------------------ JSON

    @routes.get("/api/operations", tags=["operations"])
    def api_operations() -> JSONResponse:
        """Queues, workers, throughput by hour, studies being received, what is kept, and the latest audit."""
        seen = context.operations.view(context.clock())
        return JSONResponse({**seen, "audit": context.operations.audit(_AUDIT_ENTRIES)})

    @routes.get("/api/studies/{study_instance_uid}/plan", tags=["operations"])
    def api_plan(study_instance_uid: str) -> JSONResponse:
        """What would be done with a received study now: whose it is, what is measured, and why."""
        return JSONResponse(plan_study(context, study_instance_uid))

    @routes.post("/api/jobs/{job_id}/replay", tags=["operations"])
    def api_replay(job_id: Key, user: User = Depends(needed)) -> dict[str, str]:
        """Put a stopped job back into the queue."""
        replay(context, job_id, by=user.name)
        return {"done": _DONE["replayed"]}

    @routes.post("/api/jobs/{job_id}/cancel", tags=["operations"])
    def api_cancel(job_id: Key, reason: _Reason, user: User = Depends(needed)) -> dict[str, str]:
        """End a job that waits or runs."""
        cancel(context, job_id, by=user.name, reason=reason)
        return {"done": _DONE["canceled"]}

    @routes.post("/api/kept/{entry}/dismiss", tags=["operations"])
    def api_dismiss(entry: Key, reason: _Reason, user: User = Depends(needed)) -> dict[str, str]:
        """Take something that was kept off the list."""
        dismiss(context, entry, by=user.name, reason=reason)
        return {"done": _DONE["dismissed"]}

    @routes.post("/api/studies/{study_instance_uid}/complete", tags=["operations"])
    def api_complete(
        study_instance_uid: str, reason: _Reason, user: User = Depends(needed)
    ) -> dict[str, str]:
        """Go on with a study that is being received without waiting for more of it."""
        complete_study(context, study_instance_uid, by=user.name, reason=reason)
        return {"done": _DONE["completed"]}

    return routes


def _back(done: str) -> Response:
    return RedirectResponse(f"/operations?done={done}", 303)


def _charts(throughput: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of bars per stage: each hour's count, and its height as a share of the stage's busiest hour."""
    charts = []
    for stage, counts in throughput["stages"].items():
        most = max(counts, default=0) or 1
        bars = [
            {"hour": hour[11:16], "count": count, "height": round(24 * count / most, 1)}
            for hour, count in zip(throughput["hours"], counts, strict=True)
        ]
        charts.append({"stage": stage, "total": sum(counts), "last": counts[-1], "most": most, "bars": bars})
    return charts
