"""The cohort's figures as SVG: signs, patterns and words beside colours, texts for who can't see them."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from xml.sax.saxutils import escape, quoteattr

from workflow.domain.cohort import Cohort, CohortPatient, category_of, is_progression

_WIDTH = 1100
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 56.0, 24.0, 44.0
_CAP_PERCENT = 100.0
"""Growth beyond it is drawn to here, with its number: one bar must not flatten all others."""

# Hatching tells the bars apart in black and white, as the words above them do.
_PATTERNS = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="hatch-ground" width="6" height="6"/>'
    '<line class="hatch-line" x1="0" y1="0" x2="0" y2="6"/></pattern>'
    '<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="dots-ground" width="6" height="6"/><circle class="dots-dot" cx="3" cy="3" r="1.4"/>'
    "</pattern></defs>"
)


def waterfall_svg(cohort: Cohort) -> str:
    """A bar per patient: the best change of the target sum, sorted; * is progression by a new lesion."""
    patients = cohort.waterfall
    if not patients:
        return ""
    height, inner = 360.0, _WIDTH - _LEFT - _RIGHT
    changes = [_change(patient) for patient in patients]
    top = min(max(20.0, _tens_up(max(changes))), _CAP_PERCENT)
    bottom = min(-40.0, _tens_down(min(changes)))
    plot = height - _TOP - _BOTTOM

    def y(percent: float) -> float:
        return _TOP + plot * (top - max(bottom, min(top, percent))) / (top - bottom)

    step = inner / len(patients)
    width = min(step * 0.8, 46.0)
    parts = [
        _opening(height, f"Waterfall of {len(patients)} patients, best change of the target sum"),
        _PATTERNS,
    ]
    parts += _percent_axis(y, bottom, top)
    parts += [_rule(y(-30), "deciding", "−30 %"), _rule(y(20), "deciding", "+20 %"), _rule(y(0), "zero", "")]
    for place, (patient, percent) in enumerate(zip(patients, changes, strict=True)):
        x = _LEFT + step * place + (step - width) / 2
        high, low = min(y(0), y(percent)), max(y(0), y(percent))
        title = _title(
            f"{patient.patient_id}: {_percent(percent)}, best response {patient.best_response}"
            + (", new lesion" if patient.has_new_lesion else "")
        )
        parts.append(
            f'<rect class="bar best-{patient.category.lower()}" x="{x:.1f}" y="{high:.1f}" '
            f'width="{width:.1f}" height="{max(low - high, 1.5):.1f}">{title}</rect>'
        )
        end = high - 5 if percent >= 0 else low + 13
        mark = "*" if patient.has_new_lesion else ""
        words = [mark]
        if width >= 20:
            words = [f"{patient.best_response}{mark}"]
        if percent > top:
            words.append(_percent(percent))
        if any(words):
            parts.append(_text(" ".join(words), x + width / 2, end, "mark"))
    parts.append(
        _text("patients, from the largest growth to the largest shrinkage", _LEFT + inner / 2, height - 8)
    )
    return "".join(parts) + "</svg>"


def spider_svg(cohort: Cohort) -> str:
    """A line per patient: change of the target sum over time, with the sign of each response."""
    drawn = [p for p in cohort.patients if p.best_change_percent is not None]
    if not drawn:
        return ""
    height = 380.0
    lines = [_line(patient) for patient in drawn]
    every = [percent for line in lines for _, percent, _, _ in line]
    top = min(max(20.0, _tens_up(max(every))), _CAP_PERCENT)
    bottom = min(-40.0, _tens_down(min(every)))
    last = max(day for line in lines for day, _, _, _ in line) or 1
    plot, inner = height - _TOP - _BOTTOM, _WIDTH - _LEFT - _RIGHT - 30

    def x(day: int) -> float:
        return _LEFT + inner * day / last

    def y(percent: float) -> float:
        return _TOP + plot * (top - max(bottom, min(top, percent))) / (top - bottom)

    parts = [_opening(height, f"Spider of {len(drawn)} patients, change of the target sum over time")]
    parts += [*_percent_axis(y, bottom, top), *_day_axis(x, last, height)]
    parts += [_rule(y(-30), "deciding", "−30 %"), _rule(y(20), "deciding", "+20 %"), _rule(y(0), "zero", "")]
    taken: list[float] = []
    for patient, line in zip(drawn, lines, strict=True):
        said = "; ".join(f"day {day} {_percent(percent)}" for day, percent, _, _ in line)
        points = " ".join(f"{x(day):.1f},{y(percent):.1f}" for day, percent, _, _ in line)
        kind = f"line best-{patient.category.lower()}"
        title = _title(f"{patient.patient_id}, best response {patient.best_response}: {said}")
        parts.append(f'<polyline class="{kind}" points="{points}">{title}</polyline>')
        for day, percent, overall, is_new in line:
            parts.append(_sign(x(day), y(percent), overall, is_new=is_new))
        day, percent, _, _ = line[-1]
        if all(abs(y(percent) - other) >= 11 for other in taken):
            taken.append(y(percent))
            parts.append(_text(patient.patient_id[:9], x(day) + 9, y(percent) + 4, "name start"))
    return "".join(parts) + "</svg>"


def swimmer_svg(cohort: Cohort) -> str:
    """A lane per patient from baseline to the latest visit, with each response; an arrow goes on."""
    patients = cohort.swimmer
    if not patients:
        return ""
    lane = 22.0 if len(patients) <= 40 else 14.0 if len(patients) <= 100 else 9.0
    height = _TOP + lane * len(patients) + _BOTTOM
    last = max(max(patient.last_day for patient in patients), 28)
    left, inner = 110.0, _WIDTH - 110.0 - 60

    def x(day: int) -> float:
        return left + inner * day / last

    parts = [
        _opening(height, f"Swimmer of {len(patients)} patients, time from baseline with responses"),
        _PATTERNS,
    ]
    parts += _day_axis(x, last, height)
    for place, patient in enumerate(patients):
        middle = _TOP + lane * (place + 0.5)
        said = "; ".join(f"day {v.days_from_baseline} {v.overall}" for v in patient.visits)
        title = _title(f"{patient.patient_id}, best response {patient.best_response}: {said}")
        parts.append(
            f'<rect class="lane best-{patient.category.lower()}" x="{x(0):.1f}" '
            f'y="{middle - lane * 0.35:.1f}" width="{max(x(patient.last_day) - x(0), 2):.1f}" '
            f'height="{lane * 0.7:.1f}">{title}</rect>'
        )
        if lane >= 11:
            parts.append(_text(patient.patient_id[:14], left - 8, middle + 4, "name end"))
        for visit in patient.visits:
            if visit.is_baseline:
                continue
            parts.append(
                _sign(x(visit.days_from_baseline), middle, visit.overall, is_new=visit.new_lesion == "yes")
            )
        if patient.progression_day is None:
            end = x(patient.last_day) + 7
            parts.append(
                f'<path class="goes-on" d="M{end:.1f} {middle:.1f}h12m-5 -4l5 4l-5 4">'
                f"{_title('no progression')}</path>"
            )
    return "".join(parts) + "</svg>"


_SIGNS = {"CR": "cr", "PR": "pr", "SD": "sd", "PD": "pd"}


def _sign(x: float, y: float, overall: str, *, is_new: bool) -> str:
    """A response as a shape: circle CR, triangle PR, bar SD, square PD, ring for others; x new lesion."""
    kind = "pd" if is_progression(overall) else _SIGNS.get(category_of(overall), "ne")
    shape = {
        "cr": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
        "pr": f'<path d="M{x:.1f} {y + 5:.1f}l-5 -9h10z"/>',
        "sd": f'<rect x="{x - 5:.1f}" y="{y - 2:.1f}" width="10" height="4"/>',
        "pd": f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
        "ne": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>',
    }[kind]
    cross = f'<path class="new" d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12"/>' if is_new else ""
    words = _title(f"{overall}{', new lesion' if is_new else ''}")
    return f'<g class="sign sign-{kind}">{words}{shape}{cross}</g>'


def legend_svg() -> str:
    """What the shapes mean."""
    entries = (
        ("CR", "CR"),
        ("PR", "PR"),
        ("SD", "SD, non-CR/non-PD"),
        ("PD", "PD, iUPD, iCPD"),
        ("NE", "not evaluable"),
    )
    parts = ['<svg viewBox="0 0 900 24" class="chart legend" role="img" aria-label="Signs of the responses">']
    x = 12.0
    for overall, words in entries:
        parts += [_sign(x, 12, overall, is_new=False), _text(words, x + 12, 16, "start")]
        x += 36 + 7.2 * len(words)
    parts.append(f'<g class="sign"><path class="new" d="M{x - 6:.1f} 6l12 12m0 -12l-12 12"/></g>')
    parts.append(_text("new lesion", x + 12, 16, "start"))
    x += 110
    parts += [
        f'<path class="goes-on" d="M{x:.1f} 12h12m-5 -4l5 4l-5 4"/>',
        _text("no progression", x + 20, 16, "start"),
    ]
    return "".join(parts) + "</svg>"


# ---------------------------------------------------------------- parts


def _change(patient: CohortPatient) -> float:
    return patient.best_change_percent or 0.0


def _line(patient: CohortPatient) -> list[tuple[int, float, str, bool]]:
    """Day, change, response and whether a new lesion was seen, from the baseline's zero on."""
    points = [
        (v.days_from_baseline, v.change_from_baseline_percent, v.overall, v.new_lesion == "yes")
        for v in patient.visits
        if v.change_from_baseline_percent is not None
    ]
    return [(0, 0.0, "baseline", False), *[(d, c, o, n) for d, c, o, n in points if c is not None]]


def _opening(height: float, spoken: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" class="chart" role="img" aria-label={quoteattr(spoken)}>'
    )


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>"


def _text(words: str, x: float, y: float, kind: str = "") -> str:
    return f'<text class="{kind or "axis"}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _rule(y: float, kind: str, words: str) -> str:
    line = f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + (_text(words, _WIDTH - _RIGHT + 6, y + 4, "axis start") if words else "")


def _percent_axis(y: Callable[[float], float], bottom: float, top: float) -> list[str]:
    step = 20 if top - bottom <= 160 else 50
    levels = range(int(ceil(bottom / step) * step), int(top) + 1, step)
    parts = []
    for level in levels:
        place = y(level)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        )
        parts.append(
            _text(f"{level:+d} %".replace("-", "−").replace("+0", "0"), _LEFT - 8, place + 4, "axis end")
        )
    return parts


_DAY_STEPS = (14, 28, 56, 84, 168, 365, 730)


def _day_axis(x: Callable[[int], float], last: int, height: float) -> list[str]:
    step = next((s for s in _DAY_STEPS if last / s <= 12), _DAY_STEPS[-1])
    parts = []
    for day in range(0, last + 1, step):
        place = x(day)
        parts.append(
            f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{height - _BOTTOM:.1f}"/>'
        )
        parts.append(_text(str(day), place, height - _BOTTOM + 16))
    parts.append(_text("days from baseline", x(last) / 2, height - 8))
    return parts


def _tens_up(value: float) -> float:
    return ceil(value / 10) * 10.0


def _tens_down(value: float) -> float:
    return floor(value / 10) * 10.0


def _percent(value: float) -> str:
    return f"{value:+.1f} %".replace("-", "−")
