"""A page of the worklist: filtered, sorted and cut by the database, however many patients there are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, and_, case, func, or_, select, true
from sqlalchemy.orm import Session

from db.overview import iso
from db.session import UnitOfWork
from db.tables import (
    InstanceRow,
    JobRow,
    PatientRow,
    QuarantineRow,
    ReportRow,
    ResultObjectRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.patient import readable_name
from workflow.domain.states import ResultState, StudyState, VisitState
from workflow.domain.worklist import NEEDS_A_PERSON, RESULTS, STUDIES, VISITS, Waiting, WorklistOrder
from workflow.ports.worklist import PAGE_SIZE, WorklistQuery


@dataclass(frozen=True, kw_only=True)
class StoredWorklist:
    """The port `workflow.ports.worklist.Worklist` on the database."""

    reading: UnitOfWork

    def page(self, query: WorklistQuery) -> dict[str, Any]:
        """See `workflow.ports.worklist.Worklist.page`."""
        with self.reading() as session:
            return worklist_page(session, query)

    def revision(self) -> str:
        """See `workflow.ports.worklist.Worklist.revision`."""
        with self.reading() as session:
            return worklist_revision(session)


def worklist_page(session: Session, query: WorklistQuery) -> dict[str, Any]:
    """A page in five statements."""
    counts, rows = _counted_and_cut(session, query)
    total = counts[query.waiting or "all"]
    pages = max(1, -(-total // PAGE_SIZE))
    page = min(query.page, pages)
    if page != query.page:
        _, rows = _counted_and_cut(session, replace(query, page=page))
    lines = [_line(row) for row in rows]
    _add_visits(session, {line["patient_key"]: line for line in lines})
    studies, waiting_studies = _studies_of_nobody(session, query)
    for kind, count in waiting_studies.items():
        counts[kind] += count
    return {
        "patients": lines,
        "page": page,
        "pages": pages,
        "total": total,
        "counts": counts,
        "studies": studies,
    }


def _counted_and_cut(
    session: Session, query: WorklistQuery
) -> tuple[dict[str, int], list[Mapping[Any, Any]]]:
    """How many patients wait for what, and a page of them, in one statement: all are gone through once."""
    patients = _patients(query)
    sums = (func.coalesce(func.sum(patients.c[kind]), 0).label(f"n_{kind}") for kind in Waiting)
    counted = select(func.count().label("n_all"), *sums).select_from(patients).cte("counted")
    cut = select(patients).order_by(*_order(query.order, patients))
    if query.waiting is not None:
        cut = cut.where(patients.c[query.waiting] == 1)
    cut = cut.limit(PAGE_SIZE).offset((query.page - 1) * PAGE_SIZE)
    page = cut.cte("page")
    found = select(counted, page).join(page, true(), isouter=True).order_by(*_order(query.order, page))
    rows = session.execute(found).mappings().all()
    counts = {kind: int(rows[0][f"n_{kind}"]) for kind in ("all", *Waiting)}
    return counts, [row for row in rows if row["patient_key"] is not None]


def worklist_revision(session: Session) -> str:
    """Counts that move with whatever a worklist shows; each is answered from an index or a small table."""
    running = JobRow.state == "IN PROGRESS"
    on_the_way = ResultObjectRow.state.in_([state for state in ResultState if state != ResultState.VERIFIED])
    asked: tuple[Select[Any], ...] = (
        select(func.sum(PatientRow.version)),
        select(func.max(PatientRow.id)),
        select(func.max(StudyRow.id)),
        select(func.max(StudyRow.last_received_at)),
        select(func.count()).where(StudyRow.state == StudyState.RECEIVING),
        select(func.count()).where(StudyRow.state == StudyState.QUARANTINED),
        select(func.max(JobRow.id)),
        select(func.count()).where(JobRow.state == "SCHEDULED"),
        select(func.count()).where(running),
        select(func.sum(JobRow.progress)).where(running),
        select(func.count()).where(JobRow.state == "CANCELED"),
        select(func.count()).where(on_the_way),
        select(func.count()).where(QuarantineRow.resolved_at.is_(None)),
    )
    values = session.execute(select(*(one.scalar_subquery() for one in asked))).one()
    return "/".join(str(value) for value in values)


# ---------------------------------------------------------------- what each patient waits for


def _any(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """1 if some row of the group fulfils a condition, else 0."""
    return func.max(case((condition, 1), else_=0))


def _open_visits() -> CTE:
    """What visits wait for, of patients with such visits: looked for by state, as most visits are signed."""
    state = TimePointRow.state
    return (
        select(
            TimePointRow.patient_key,
            _any(TimePointRow.attention.is_not(None)).label("is_doubtful"),
            *(_any(state.in_(sorted(states))).label(kind) for kind, states in VISITS.items()),
        )
        .where(state.in_(_all_of(VISITS)))
        .group_by(TimePointRow.patient_key)
        .cte("open_visits")
    )


def _open_studies() -> CTE:
    state = StudyRow.state
    return (
        select(
            StudyRow.patient_key,
            *(_any(state.in_(sorted(states))).label(kind) for kind, states in STUDIES.items()),
        )
        .where(state.in_(_all_of(STUDIES)), StudyRow.patient_key.is_not(None))
        .group_by(StudyRow.patient_key)
        .cte("open_studies")
    )


def _open_results() -> CTE:
    """Current reports with objects that the PACS does not hold."""
    state = ResultObjectRow.state
    return (
        select(
            TimePointRow.patient_key,
            *(_any(state.in_(sorted(states))).label(kind) for kind, states in RESULTS.items()),
        )
        .join(ReportRow, ReportRow.id == ResultObjectRow.report_id)
        .join(TimePointRow, TimePointRow.id == ReportRow.time_point_id)
        .where(state.in_(_all_of(RESULTS)), TimePointRow.report_id == ReportRow.id)
        .group_by(TimePointRow.patient_key)
        .cte("open_results")
    )


def _patients(query: WorklistQuery) -> CTE:
    """One row per patient: who it is, a 0 or 1 for each kind of waiting, and how urgent it is."""
    visits, studies, results = _open_visits(), _open_studies(), _open_results()
    # Both are read from an index alone.
    latest = (
        select(func.max(StudyRow.study_date)).where(StudyRow.patient_key == PatientRow.id).scalar_subquery()
    )
    is_reported = (
        select(func.max(TimePointRow.report_id))
        .where(TimePointRow.patient_key == PatientRow.id)
        .scalar_subquery()
        .is_not(None)
    )
    known = select(PatientRow.id, latest.label("latest"), is_reported.label("is_reported")).cte("known")

    def waits(kind: Waiting) -> ColumnElement[int]:
        if kind is Waiting.OVERDUE:
            return case((known.c.latest < query.overdue_before, 1), else_=0)
        if kind is Waiting.STORED:
            return case((and_(known.c.is_reported, results.c.patient_key.is_(None)), 1), else_=0)
        found = [table.c[kind] == 1 for table in (visits, studies, results) if kind in table.c]
        return case((or_(*found), 1), else_=0)

    kinds = {kind: waits(kind) for kind in Waiting}
    # The first that is true says how urgent it is; a doubtful draft comes before one that nothing is said of.
    is_doubtful = and_(kinds[Waiting.REVIEW] == 1, visits.c.is_doubtful == 1)
    urgent = [kinds[kind] == 1 for kind in Waiting if kind is not Waiting.STORED]
    urgent.insert(list(Waiting).index(Waiting.REVIEW), is_doubtful)
    rank = case(*((condition, rank) for rank, condition in enumerate(urgent)), else_=len(urgent))
    return (
        select(
            PatientRow.id.label("patient_key"),
            PatientRow.patient_id,
            PatientRow.patient_name,
            known.c.latest,
            *(flag.label(kind) for kind, flag in kinds.items()),
            rank.label("rank"),
        )
        .join(known, known.c.id == PatientRow.id)
        .join(visits, visits.c.patient_key == PatientRow.id, isouter=True)
        .join(studies, studies.c.patient_key == PatientRow.id, isouter=True)
        .join(results, results.c.patient_key == PatientRow.id, isouter=True)
        .where(*_matches(query.search))
        .cte("worklist")
    )


def _all_of(states: Mapping[Waiting, Collection[str]]) -> list[str]:
    return sorted({state for some in states.values() for state in some})


def _order(order: WorklistOrder, patients: CTE) -> list[ColumnElement[Any]]:
    columns = patients.c
    latest_first: list[ColumnElement[Any]] = [columns.latest.desc().nulls_last(), columns.patient_key.desc()]
    orders: dict[WorklistOrder, list[ColumnElement[Any]]] = {
        WorklistOrder.URGENCY: [columns.rank, *latest_first],
        WorklistOrder.LATEST: latest_first,
        WorklistOrder.NAME: [func.lower(columns.patient_name), columns.patient_id, columns.patient_key],
        WorklistOrder.NUMBER: [columns.patient_id, columns.patient_key],
    }
    return orders[order]


def _matches(search: str) -> list[ColumnElement[bool]]:
    """Each word of the search is in the name or the number; "Doe, Jane" finds "Doe^Jane"."""
    words = [word for word in re.split(r"[\s,^]+", search) if word]
    return [
        or_(
            PatientRow.patient_name.icontains(word, autoescape=True),
            PatientRow.patient_id.icontains(word, autoescape=True),
        )
        for word in words
    ]


# ---------------------------------------------------------------- the lines of a page


def _line(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "patient_key": row["patient_key"],
        "patient_id": row["patient_id"],
        "patient_name": readable_name(row["patient_name"]),
        "visits": 0,
        "latest_study_date": iso(row["latest"]),
        "waits_for": [kind.value for kind in Waiting if row[kind] and kind is not Waiting.STORED],
        "needs_a_person": any(row[kind] for kind in NEEDS_A_PERSON),
        "is_stored": bool(row[Waiting.STORED]),
        "latest": None,
        "attention": [],
    }


def _add_visits(session: Session, lines: Mapping[int, dict[str, Any]]) -> None:
    """The latest visit of each line, with its response, and what is doubtful about visits nobody signed."""
    found = session.execute(
        select(
            TimePointRow.patient_key,
            TimePointRow.id.label("key"),
            StudyRow.study_date,
            TimePointRow.state,
            TimePointRow.reason,
            TimePointRow.attention,
            TimePointRow.report_id,
        )
        .join(StudyRow, StudyRow.id == TimePointRow.study_id)
        .where(TimePointRow.patient_key.in_(lines), TimePointRow.state != VisitState.JOINED)
        .order_by(TimePointRow.patient_key, TimePointRow.order)
    ).mappings()
    reports: dict[int, dict[str, Any]] = {}
    for row in found:
        line = lines[row["patient_key"]]
        line["visits"] += 1
        if line["latest"] is not None and line["latest"]["report_id"] is not None:
            reports.pop(line["latest"]["report_id"], None)
        line["latest"] = latest = {
            "key": row["key"],
            "study_date": iso(row["study_date"]),
            "state": row["state"],
            "reason": row["reason"],
            "report_id": row["report_id"],
            "overall_response": None,
        }
        if row["report_id"] is not None:
            reports[row["report_id"]] = latest
        if row["state"] != VisitState.SIGNED:
            line["attention"] += [
                {"study_date": iso(row["study_date"]), "text": text} for text in row["attention"] or ()
            ]
    overall = ReportRow.document["assessment", "overall"].as_string()
    for report_id, response in session.execute(
        select(ReportRow.id, overall).where(ReportRow.id.in_(reports))
    ):
        reports[report_id]["overall_response"] = response
    for line in lines.values():
        if line["latest"] is not None:
            del line["latest"]["report_id"]


def _studies_of_nobody(
    session: Session, query: WorklistQuery
) -> tuple[list[dict[str, Any]], dict[Waiting, int]]:
    """Studies that have no patient yet, the newest first, and how many wait for what.

    A search is for patients, and leaves them out.
    """
    if query.search.strip():
        return [], {}
    kind_of = {state: kind for kind, states in STUDIES.items() for state in states}
    nobody = (StudyRow.patient_key.is_(None), StudyRow.state.in_(sorted(kind_of)))
    counts: dict[Waiting, int] = dict.fromkeys(STUDIES, 0)
    for state, count in session.execute(
        select(StudyRow.state, func.count()).where(*nobody).group_by(StudyRow.state)
    ):
        counts[kind_of[StudyState(state)]] += count
    if query.waiting not in (None, *STUDIES):
        return [], counts
    wanted = sorted(kind_of) if query.waiting is None else sorted(STUDIES[query.waiting])
    images = (
        select(func.count(InstanceRow.id))
        .where(InstanceRow.study_instance_uid == StudyRow.study_instance_uid)
        .scalar_subquery()
    )
    rows = session.execute(
        select(StudyRow.study_instance_uid, StudyRow.description.label("study_description"),
               StudyRow.study_date, StudyRow.state, StudyRow.reason,
               StudyRow.last_received_at, images.label("instances"))
        .where(*nobody, StudyRow.state.in_(wanted))
        .order_by(StudyRow.last_received_at.desc())
        .limit(PAGE_SIZE)
    ).mappings()  # fmt: skip
    return [
        {
            **row,
            "study_date": iso(row["study_date"]),
            "last_received_at": row["last_received_at"].isoformat(),
            "waits_for": kind_of[StudyState(row["state"])].value,
        }
        for row in rows
    ], counts
