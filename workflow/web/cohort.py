"""The cohort: waterfall, spider, swimmer and response rates of those patients that a filter leaves."""

from __future__ import annotations

import csv
from datetime import date
from io import StringIO
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from workflow.domain.cohort import CATEGORIES, Cohort, CohortFilter, Rate, cohort_of
from workflow.domain.response.policy import CRITERIA_WORDS
from workflow.web.charts import legend_svg, spider_svg, swimmer_svg, waterfall_svg
from workflow.web.site import Site

_Day = Annotated[str, Query(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]


def cohort_routes(site: Site) -> APIRouter:
    """The cohort as a page, as JSON and as CSV."""
    routes = APIRouter(dependencies=[Depends(site.access.user)])

    def wanted(
        criteria: str = "",
        since: Annotated[_Day, Query(alias="from")] = "",
        until: Annotated[_Day, Query(alias="to")] = "",
        signed: bool = False,
    ) -> CohortFilter:
        """A form sends what is left blank as an empty text."""
        try:
            return CohortFilter(
                criteria=criteria,
                since=date.fromisoformat(since) if since else None,
                until=date.fromisoformat(until) if until else None,
                is_signed_only=signed,
            )
        except ValueError as error:
            raise HTTPException(422, f"no such day: {error}") from error

    @routes.get("/cohort", response_class=HTMLResponse, include_in_schema=False)
    def show_cohort(request: Request, chosen: CohortFilter = Depends(wanted)) -> Response:
        visits = site.context.boards.cohort()
        cohort = cohort_of(visits, chosen)
        return site.render(
            request,
            "cohort.html",
            chosen=chosen,
            query=request.url.query,
            criteria=sorted({visit.criteria for visit in visits}),
            words={name.value: words for name, words in CRITERIA_WORDS.items()},
            told=cohort_json(cohort),
            figures={
                "waterfall": waterfall_svg(cohort),
                "spider": spider_svg(cohort),
                "swimmer": swimmer_svg(cohort),
                "legend": legend_svg(),
            },
            unsigned=sum(not v.is_signed for p in cohort.patients for v in p.visits),
        )

    @routes.get("/api/cohort", tags=["boards"])
    def api_cohort(chosen: CohortFilter = Depends(wanted)) -> JSONResponse:
        """Responses of the patients that a filter leaves, and their rates with exact intervals."""
        return JSONResponse(cohort_json(cohort_of(site.context.boards.cohort(), chosen)))

    @routes.get("/cohort.csv", tags=["boards"])
    def cohort_table(chosen: CohortFilter = Depends(wanted)) -> Response:
        """The same as a table, a row per visit."""
        text = cohort_csv(cohort_of(site.context.boards.cohort(), chosen))
        named = {"Content-Disposition": 'attachment; filename="cohort.csv"'}
        return Response(text.encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers=named)

    return routes


def cohort_json(cohort: Cohort) -> dict[str, Any]:
    """The cohort's numbers: per patient, the order of the waterfall, and rates with exact intervals."""
    return {
        "patients": [
            {
                "patient_key": p.patient_key,
                "patient_id": p.patient_id,
                "criteria": p.criteria,
                "baseline": p.visits[0].day.isoformat(),
                "days_on_study": p.last_day,
                "best_response": p.best_response,
                "category": p.category,
                "best_change_percent": p.best_change_percent,
                "has_new_lesion": p.has_new_lesion,
                "progression_day": p.progression_day,
                "visits": [
                    {
                        "day": v.day.isoformat(),
                        "days_from_baseline": v.days_from_baseline,
                        "overall": v.overall,
                        "sum_mm": v.sum_mm,
                        "change_from_baseline_percent": v.change_from_baseline_percent,
                        "new_lesion": v.new_lesion,
                        "is_signed": v.is_signed,
                    }
                    for v in p.visits
                ],
            }
            for p in cohort.patients
        ],
        "waterfall": [p.patient_key for p in cohort.waterfall],
        "without_baseline": cohort.without_baseline,
        "counts": cohort.counts,
        "objective_response": _rate(cohort.objective_response),
        "disease_control": _rate(cohort.disease_control),
        "best": [
            {"category": name, **_rate(Rate(count=cohort.counts[name], of=len(cohort.patients)))}
            for name in CATEGORIES
        ],
    }


def _rate(rate: Rate) -> dict[str, Any]:
    interval = rate.interval
    return {
        "count": rate.count,
        "of": rate.of,
        "percent": None if rate.share is None else 100 * rate.share,
        "interval_percent": None if interval is None else [100 * limit for limit in interval],
    }


_COLUMNS = (
    "patient_id", "criteria", "baseline", "date", "days_from_baseline", "overall", "sum_mm",
    "change_from_baseline_percent", "new_lesion", "is_signed", "best_response", "category",
    "best_change_percent", "has_new_lesion", "progression_day",
)  # fmt: skip
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def cohort_csv(cohort: Cohort) -> str:
    """A row per visit, its patient's figures repeated; what looks like a formula gets an apostrophe."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for patient in cohort_json(cohort)["patients"]:
        for visit in patient["visits"]:
            row = {**patient, **visit, "date": visit["day"]}
            writer.writerow([_cell(row[name]) for name in _COLUMNS])
    return file.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA_SIGNS):
        return f"'{value}"
    return "" if value is None else value
