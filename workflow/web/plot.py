"""The sum of diameters over time as SVG: nothing to load, sharp at any size, readable by screen readers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 152, 28, 56
_TICK_STEPS_MM = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500)
_MOST_TICKS = 6
# Widths of a character at the sizes that the style sheet gives, rounded up.
_TICK_CHARACTER, _VALUE_CHARACTER = 7.5, 8.0
_LINE = 15.0


@dataclass(frozen=True, kw_only=True)
class _Label:
    """A text and the box it takes; x grows to the right, y down."""

    text: str
    x: float
    y: float
    anchor: str
    character: float

    @property
    def _left(self) -> float:
        return self.x - len(self.text) * self.character * {"start": 0.0, "": 0.5, "end": 1.0}[self.anchor]

    def overlaps(self, other: _Label) -> bool:
        """Whether two labels would be written over each other."""
        return (
            abs(self.y - other.y) < _LINE
            and self._left < other._left + len(other.text) * other.character
            and other._left < self._left + len(self.text) * self.character
        )

    def svg(self, kind: str) -> str:
        """The text element."""
        classes = f"{kind} {self.anchor}".strip()
        return f'<text class="{classes}" x="{self.x:.1f}" y="{self.y:.1f}">{escape(self.text)}</text>'


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
    sums = [float(a["sum_mm"]) for _, a in points]
    partial_response = 0.7 * sums[0]
    nadir = min(sums[:-1])
    progression = max(1.2 * nadir, nadir + 5)
    highest = max(*sums, progression)
    step = next((s for s in _TICK_STEPS_MM if highest <= s * _MOST_TICKS), _TICK_STEPS_MM[-1])
    top = step * (int(highest / step) + 1)

    xs = [_LEFT + (_WIDTH - _LEFT - _RIGHT) * day / max(days[-1], 1) for day in days]

    def y(mm: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - mm / top)

    ys = [y(mm) for mm in sums]
    spoken = "Sum of diameters: " + ", ".join(
        f"{when.isoformat()} {mm:.1f} mm" for (when, _), mm in zip(points, sums, strict=True)
    )
    dates = _date_labels(xs, [when.isoformat() for when, _ in points])
    height = max(label.y for label in dates) + _LINE
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" class="plot" aria-label="{escape(spoken)}">'
    ]
    for mm in range(0, top + 1, step):
        parts.append(_level("grid", y(mm)))
        parts.append(f'<text class="tick end" x="{_LEFT - 8}" y="{y(mm) + 4:.1f}">{mm}</text>')
    parts.append(f'<text class="tick end" x="{_LEFT - 8}" y="{_TOP - 12}">mm</text>')
    parts += _deciding_lines(
        ("pr", y(partial_response), "30 % below baseline", f"{partial_response:.1f} mm"),
        ("pd", y(progression), "progression from", f"{progression:.1f} mm"),
    )
    line = " ".join(f"{x:.1f},{place:.1f}" for x, place in zip(xs, ys, strict=True))
    parts.append(f'<polyline class="course" points="{line}"/>')
    for x, place, (when, a) in zip(xs, ys, points, strict=True):
        title = escape(f"{when.isoformat()}: {a['sum_mm']:.1f} mm, {a['overall']}")
        dot = f'<circle class="dot" cx="{x:.1f}" cy="{place:.1f}" r="5">'
        parts.append(f"{dot}<title>{title}</title></circle>")
    parts += [label.svg("value") for label in _value_labels(xs, ys, _texts([a for _, a in points]))]
    parts += [label.svg("tick") for label in dates]
    return "".join(parts) + "</svg>"


def _level(kind: str, height: float) -> str:
    return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'


def _deciding_lines(*levels: tuple[str, float, str, str]) -> list[str]:
    """The dashed lines, each with two lines of text at its right end, moved apart where they are near."""
    parts: list[str] = []
    below = -_HEIGHT * 1.0
    for kind, height, name, value in sorted(levels, key=lambda level: level[1]):
        place = max(height, below + 2 * _LINE)
        below = place
        x = _WIDTH - _RIGHT + 12
        parts.append(_level(kind, height))
        parts.append(f'<text class="tick start {kind}-text" x="{x}" y="{place - 2:.1f}">{name}</text>')
        parts.append(f'<text class="tick start {kind}-text" x="{x}" y="{place + 12:.1f}">{value}</text>')
    return parts


def _texts(assessments: list[dict[str, Any]]) -> list[str]:
    """Sums, the first and the last with their unit, and the response wherever it changes."""
    texts: list[str] = []
    before = "baseline"
    for i, assessment in enumerate(assessments):
        response, is_end = assessment["overall"], i in (0, len(assessments) - 1)
        unit = " mm" if is_end else ""
        is_said = response != "baseline" and (is_end or response != before)
        texts.append(f"{assessment['sum_mm']:.1f}{unit}" + (f" · {response}" if is_said else ""))
        before = response
    return texts


def _value_labels(xs: list[float], ys: list[float], texts: list[str]) -> list[_Label]:
    """A label beside each dot, away from the curve; one that finds no room is left to the dot's title."""
    placed: list[_Label] = []
    # The latest sum first: it is the one that must be read.
    for i in (len(xs) - 1, *range(len(xs) - 1)):
        from_above = i > 0 and ys[i - 1] < ys[i]
        to_above = i + 1 < len(ys) and ys[i + 1] < ys[i]
        is_below = (from_above and (to_above or i + 1 == len(ys))) or (to_above and i == 0)
        anchor = "start" if xs[i] == _LEFT else "end" if i + 1 == len(xs) else ""
        if not anchor and " " in texts[i] and from_above != to_above:
            anchor = "start" if from_above else "end"
        above, below = ys[i] - 12, ys[i] + 22
        fits = below < _HEIGHT - _BOTTOM
        heights = (below, above) if is_below and fits else (above, below) if fits else (above,)
        labels = (
            _Label(text=texts[i], x=xs[i], y=height, anchor=side, character=_VALUE_CHARACTER)
            for height in heights
            for side in ((anchor,) if xs[i] == _LEFT else dict.fromkeys((anchor, "", "start", "end")))
        )
        placed += [label for label in labels if not any(map(label.overlaps, placed))][:1]
    return placed


def _date_labels(xs: list[float], dates: list[str]) -> list[_Label]:
    """Dates under the axis, in a second row where two are near, else left to the dot's title."""
    placed: list[_Label] = []
    for i in (len(xs) - 1, *range(len(xs) - 1)):
        rows = (_HEIGHT - _BOTTOM + 20.0, _HEIGHT - _BOTTOM + 20.0 + _LINE + 2)
        labels = (_Label(text=dates[i], x=xs[i], y=row, anchor="", character=_TICK_CHARACTER) for row in rows)
        placed += [label for label in labels if not any(map(label.overlaps, placed))][:1]
    return placed
