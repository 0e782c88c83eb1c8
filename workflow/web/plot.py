"""The sum of diameters over time as SVG: nothing to load, sharp at any size, readable by screen readers."""

from __future__ import annotations

from datetime import date
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 24, 44


def sum_plot_svg(course: dict[str, Any]) -> str:
    """Plot the sums with the lines that decide: 30 % below baseline, 20 % (and 5 mm) above the nadir.

    Empty if there are fewer than two sums.
    """
    points = [
        (date.fromisoformat(p["study_date"]), p["report"]["assessment"])
        for p in course["time_points"]
        if p["report"] and p["report"]["assessment"]["sum_mm"] is not None
    ]
    if len(points) < 2:
        return ""
    days = [(day - points[0][0]).days for day, _ in points]
    sums = [a["sum_mm"] for _, a in points]
    partial_response = 0.7 * sums[0]
    nadir = min(sums[:-1])
    progression = max(1.2 * nadir, nadir + 5)
    top = 1.15 * max(*sums, progression)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(day: float) -> float:
        return _LEFT + width * day / max(days[-1], 1)

    def y(mm: float) -> float:
        return _TOP + height * (1.0 - mm / float(top))

    def level_line(mm: float, kind: str) -> str:
        return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(mm):.1f}" y2="{y(mm):.1f}"/>'

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="plot" '
        f'aria-label="{escape("Sum of diameters: " + ", ".join(f"{s:.1f} mm" for s in sums))}">'
    ]
    for step in range(5):
        mm = top * step / 4
        parts.append(level_line(mm, "grid"))
        parts.append(f'<text class="tick end" x="{_LEFT - 8}" y="{y(mm) + 4:.1f}">{mm:.0f}</text>')
    for level, kind, text in (
        (partial_response, "pr", f"30 % below baseline, {partial_response:.1f} mm"),
        (progression, "pd", f"progression, {progression:.1f} mm"),
    ):
        parts.append(level_line(level, kind))
        place = f'x="{_WIDTH - _RIGHT}" y="{y(level) - 5:.1f}"'
        parts.append(f'<text class="tick end {kind}-text" {place}>{text}</text>')
    line = " ".join(f"{x(d):.1f},{y(s):.1f}" for d, s in zip(days, sums, strict=True))
    parts.append(f'<polyline class="course" points="{line}"/>')
    for day, mm, (when, assessment) in zip(days, sums, points, strict=True):
        anchor = "" if 0 < day < days[-1] else (" start" if day == 0 else " end")
        parts.append(f'<circle class="dot" cx="{x(day):.1f}" cy="{y(mm):.1f}" r="5"/>')
        label = f"{mm:.1f} mm" + (
            "" if assessment["overall"] == "baseline" else f" · {assessment['overall']}"
        )
        parts.append(
            f'<text class="value{anchor}" x="{x(day):.1f}" y="{y(mm) - 12:.1f}">{escape(label)}</text>'
        )
        parts.append(
            f'<text class="tick{anchor}" x="{x(day):.1f}" y="{_HEIGHT - 16}">{when.isoformat()}</text>'
        )
    return "".join(parts) + "</svg>"
