"""What the pages show, ready for the templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from workflow.domain.errors import ConfigurationError
from workflow.domain.findings import AS_DRAWN, NOT_OUTLINED
from workflow.domain.lesion import LesionState
from workflow.domain.report import ROLE_WORDS, LesionRole
from workflow.domain.states import LESION_WORDS
from workflow.web.colours import colour_class

LimitsOf = Callable[[str], Sequence[str]]

# What a reader outlined, or left without an outline, was made by no model.
_READERS = (AS_DRAWN.name, NOT_OUTLINED.name)
PRINTED_COLUMNS = 6  # with the lesions' names on A4 paper, upright
IMAGE_PIXELS = 192
# A longer reason is folded away under its first words: columns are narrow.
_REASON_LENGTH = 90

# An absolute path up to its last part; a date, a ratio or a UID path of DICOMweb does not begin so.
_FOLDERS = re.compile(r"(?<![\w/.:])/(?:[^\s/'\"]+/)+")
_TRACEBACK = "Traceback (most recent call last):"


def page_work(work: dict[str, Any]) -> dict[str, Any]:
    """`Overview.work` or `status` as a browser may see it: no words of unforeseen errors, no server's paths.

    Unforeseen errors may quote a header's values. Messages that were written for people (unsuitable input,
    something not there) stay whole but for the folders of files that they name.
    """
    return {
        **work,
        "stopped": [{**job, "error": _shown_error(job)} for job in work["stopped"]],
        "retrying": [{**job, "error": without_folders(job["error"])} for job in work["retrying"]],
        "quarantine": [
            {
                "id": kept["id"],
                "what": without_folders(kept["what"]),
                "reason": without_folders(kept["reason"]),
                "kept_at": kept["kept_at"],
            }
            for kept in work["quarantine"]
        ],
    }


def without_folders(text: str) -> str:
    """A message without the folders of the server's files: "/data/home/a.dcm" is "a.dcm"."""
    return _FOLDERS.sub("", text)


def _shown_error(job: dict[str, Any]) -> str:
    if _TRACEBACK not in job["error"]:
        return without_folders(job["error"])
    _, _, last = job["error"].rpartition(_TRACEBACK)
    # Frames are indented; the first line that is not begins with the type. Its message may go on below.
    raised = next((line for line in last.splitlines() if line[:1].strip()), "")
    kind = re.match(r"[A-Za-z_][\w.]*(?=:|$)", raised)
    what = kind[0] if kind else "an unforeseen error"
    return f"{what} in {job['stage']}; tumorline status --json and the worker's log have the rest"


def course_table(course: dict[str, Any], limits_of: LimitsOf) -> dict[str, Any]:
    """Columns (time points with a report), rows (lesions) and models of the page's table.

    A row has one cell per column, None where the lesion was not known or not in view. `blocks` are the
    columns in stretches that fit a printed page.
    """
    columns = [point for point in course["time_points"] if point["report"]]
    seen: dict[str, list[dict[str, Any] | None]] = {}
    for i, point in enumerate(columns):
        for lesion in point["report"]["lesions"]:
            seen.setdefault(lesion["tracking_uid"], [None] * len(columns))[i] = lesion
    # The latest word on its role and site.
    lesions = {uid: next(o for o in reversed(row) if o) for uid, row in seen.items()}
    ordered = sorted(lesions.values(), key=lambda o: (list(LesionRole).index(o["role"]), o["label"]))
    return {
        "columns": [
            {
                **point,
                "tags": tags,
                "sum": _sum(point["report"]["assessment"]),
                "decisions": [_decision(made) for made in point["report"].get("decisions", ())],
            }
            for point, tags in zip(columns, _tags(columns), strict=True)
        ],
        "rows": [_row(lesion, seen[lesion["tracking_uid"]], columns) for lesion in ordered],
        "blocks": [
            range(i, min(i + PRINTED_COLUMNS, len(columns))) for i in range(0, len(columns), PRINTED_COLUMNS)
        ],
        "models": _models(columns, limits_of),
    }


def _row(
    lesion: dict[str, Any], seen: Sequence[dict[str, Any] | None], columns: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    changes = changes_of([one["diameter_mm"] if one else None for one in seen])
    return {
        "label": lesion["label"],
        "tracking_uid": lesion["tracking_uid"],
        "role": ROLE_WORDS[LesionRole(lesion["role"])],
        "colour": colour_class(LesionRole(lesion["role"]), lesion["label"]),
        "site": lesion["finding_site_meaning"] or lesion["organ"] or "site not said",
        "laterality": lesion["laterality"],
        "is_nodal": lesion["is_nodal"],
        "is_rejected": lesion.get("is_rejected", False),
        "cells": [
            _cell(point, one, change) if one else None
            for point, one, change in zip(columns, seen, changes, strict=True)
        ],
    }


def changes_of(diameters_mm: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    """How a lesion's diameter changed, at each time point.

    Returns
    -------
    list of (from_first, from_nadir)
        Percent of the first known diameter, and of the smallest one before; None where there is none before,
        or it is zero.
    """
    changes: list[tuple[float | None, float | None]] = []
    known: list[float] = []
    for now in diameters_mm:
        pair = (known[0], min(known)) if now is not None and known else (0.0, 0.0)
        first, nadir = (100 * (now / before - 1) if now is not None and before else None for before in pair)
        changes.append((first, nadir))
        known += [] if now is None else [now]
    return changes


def _tags(columns: list[dict[str, Any]]) -> list[list[str]]:
    """What each time point is called; the nadir is the lowest sum shown, the first of equals."""
    sums = [point["report"]["assessment"]["sum_mm"] for point in columns]
    known = [mm for mm in sums if mm is not None]
    nadir = sums.index(min(known)) if len(known) > 1 else None
    return [
        [point["id"], *["baseline"] * point["report"]["is_baseline"], *["nadir"] * (i == nadir)]
        for i, point in enumerate(columns)
    ]


def _sum(assessment: dict[str, Any]) -> dict[str, Any]:
    """The sum and how it changed since the baseline and, if that is another, since the nadir before."""
    mm, baseline_mm, a = assessment["sum_mm"], assessment["baseline_sum_mm"], assessment
    changes, short = [], []
    if mm is not None and a["change_from_baseline_percent"] is not None:
        changes.append(f"{_change(a['change_from_baseline_percent'], mm - baseline_mm)} from baseline")
        short.append(f"B {_percent(a['change_from_baseline_percent'])}")
    if a["change_from_nadir_percent"] is not None and a["nadir_sum_mm"] != baseline_mm:
        change = _change(a["change_from_nadir_percent"], a["change_from_nadir_mm"])
        changes.append(f"{change} from the nadir of {a['nadir_date']}")
        short.append(f"N {_percent(a['change_from_nadir_percent'])}")
    return {"text": "not evaluable" if mm is None else f"{mm:.1f} mm", "changes": changes, "short": short}


def _change(percent: float, mm: float) -> str:
    """E.g. "−13.6 % (−5.7 mm)", kept together on a line where there is room."""
    return f"{percent:+.1f}\u00a0% ({mm:+.1f}\u00a0mm)".replace("-", "\u2212")


def visits_of(course: dict[str, Any]) -> list[dict[str, Any]]:
    """The visits; each series says whether lesions were measured on it (None: there is no report yet)."""

    def used(point: dict[str, Any], line: dict[str, Any]) -> bool | None:
        if point["report"] is None:
            return None
        measured = {(v["series_instance_uid"], v["stack"]) for v in point["report"].get("volumes", ())}
        return (line["series_instance_uid"], line["stack"]) in measured

    return [
        {
            **point,
            "studies": [
                {
                    **s,
                    "series_choice": [{**line, "is_used": used(point, line)} for line in s["series_choice"]],
                }
                for s in point["studies"]
            ],
            "objects": [{**made, "error": without_folders(made["error"])} for made in point["objects"]],
        }
        for point in course["time_points"]
    ]


def _models(columns: list[dict[str, Any]], limits_of: LimitsOf) -> list[dict[str, Any]]:
    """Every model that made one of these results, with what must be known of it beside them."""
    made = [m for point in columns for m in point["report"]["models"] if m["name"] not in _READERS]
    used = {(m["name"], m["version"]): m for m in made}
    return [{**model, "limits": _limits(model["name"], limits_of)} for _, model in sorted(used.items())]


def _limits(name: str, limits_of: LimitsOf) -> tuple[str, ...]:
    try:
        return tuple(limits_of(name)) or ("Its limits are not known to this installation.",)
    except ConfigurationError as error:  # a broken package of another model must not take the page away
        return (f"Its limits can't be shown: {error}",)


def _decision(made: dict[str, Any]) -> str:
    """What a reader decided, in one line: what, from what to what, who, when and why."""
    change = " → ".join(part for part in (made["old"], made["new"]) if part)
    what = f"{made['what']}: {change}" if change else made["what"]
    return f"{what} ({made['by']}, {made['at'][:10]}: {made['reason']})"


def _cell(
    point: dict[str, Any], seen: dict[str, Any], changes: tuple[float | None, float | None]
) -> dict[str, Any]:
    size = seen["measurement"]
    state = LesionState(seen["state"])
    is_measured = state is LesionState.PRESENT and size is not None
    model = seen["model"]["name"] if seen["model"] else ""
    first, nadir = (None if change is None else _percent(change) for change in changes)
    return {
        "date": point["study_date"],
        "time_point": point["id"],
        "text": f"{seen['diameter_mm']:.1f} mm" if is_measured else LESION_WORDS[state],
        "short": f"{seen['diameter_mm']:.1f}" if is_measured else LESION_WORDS[state],
        "from_first": first,
        "from_nadir": nadir if nadir != first else None,
        "axes": f"{size['long_axis']['length_mm']:.1f} × {size['short_axis']['length_mm']:.1f} mm"
        if size
        else "",
        "volume": f"{size['volume_mm3'] / 1000:.2f} ml" if size else "",
        "by": _by(state, model, seen["confidence"]),
        "reason": seen["reason"],
        "is_reason_long": len(seen["reason"]) > _REASON_LENGTH,
        "flags": seen["flags"],
        "is_rejected": seen.get("is_rejected", False),
        "decisions": [_decision(made) for made in seen.get("decisions", ())],
        "anchor": f"at-{point['key']}-{seen['label']}",
        "visit_key": point["key"],
        "image": f"/key-images/{point['key']}/{seen['tracking_uid']}.png",
        "width": IMAGE_PIXELS,
    }


def _by(state: LesionState, model: str, confidence: float | None) -> str:
    """Who says so. A model's confidence is about an outline that it drew, not about a lesion being gone."""
    if not model or model in _READERS:
        return model
    if state is LesionState.DISAPPEARED:
        return f"{model} found nothing at its place: to be looked at"
    if state is not LesionState.PRESENT or confidence is None:
        return model
    return f"{model}, confidence {100 * confidence:.0f}\u00a0%"


def _percent(change: float) -> str:
    """E.g. "−13.6 %"."""
    return f"{change:+.1f}\u00a0%".replace("-", "\u2212")


def at_same_scale(rows: Sequence[dict[str, Any]], field_mm_of: Callable[[int, str], float | None]) -> None:
    """Set the width of each picture so that a millimetre is as long in all pictures of a lesion.

    `field_mm_of` gives the side of the square that a visit's picture of a lesion shows.
    """
    for row in rows:
        cells = [cell for cell in row["cells"] if cell]
        fields = [field_mm_of(cell["visit_key"], row["tracking_uid"]) for cell in cells]
        largest = max((f for f in fields if f), default=None)
        for cell, field in zip(cells, fields, strict=True):
            cell["has_image"] = field is not None
            if field and largest:
                cell["width"] = round(IMAGE_PIXELS * field / largest)


def signatures(columns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Which visits nobody signed, and who signed the others."""
    drafts = [point["study_date"] for point in columns if point["report"]["status"] != "signed"]
    signed = [
        {"date": p["study_date"], "by": p["report"]["signed_by"], "at": (p["report"]["signed_at"] or "")[:10]}
        for p in columns
        if p["report"]["status"] == "signed"
    ]
    return {"drafts": drafts, "signed": signed}
