"""Courses over time as SVG: nothing to load, sharp at any size, and the same numbers as a table beside it.

x grows to the right with the days, y down. A line is told from its neighbours by the label at its end and by
its dashes (its part in the assessment), never by its colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import floor
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 168, 36, 62
_MOST_TICKS = 6
_STEPS = tuple(digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5))
# Widths of a character at the sizes that the style sheet gives, rounded up.
_TICK_CHARACTER, _VALUE_CHARACTER = 8.6, 9.4
_LINE = 17.0

# Whose labels are kept where there is no room for all.
_IMPORTANCE = ("total", "target", "new", "non-target")

Numbers = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot, and its numbers for those who can't see it: a head and rows of texts."""

    name: str
    svg: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that happened on a day, with the number that its line has in every plot."""

    day: date
    number: int
    words: str


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A lesion's values, one for each day of the plot."""

    label: str
    kind: str
    values: Numbers


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


@dataclass(kw_only=True)
class _Canvas:
    """Axes: days along x, values from `bottom` to `top` along y, ticks `step` apart; and what is drawn."""

    days: tuple[date, ...]
    bottom: float
    top: float
    step: float
    unit: str
    parts: list[str] = field(default_factory=list)

    @classmethod
    def around(cls, days: Sequence[date], values: Sequence[float], unit: str) -> _Canvas:
        """Axes that hold all values, and zero."""
        low, high = min(0.0, *values), max(0.0, *values)
        step = next((s for s in _STEPS if high - low <= s * _MOST_TICKS), _STEPS[-1])
        return cls(
            days=tuple(days),
            bottom=step * floor(low / step),
            top=step * (floor(high / step) + 1),
            step=step,
            unit=unit,
        )

    def x(self, day: date) -> float:
        """Where a day is."""
        length = max((self.days[-1] - self.days[0]).days, 1)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (day - self.days[0]).days / length

    def y(self, value: float) -> float:
        """Where a value is."""
        share = (value - self.bottom) / (self.top - self.bottom)
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - share)

    def level(self, kind: str, height: float) -> None:
        """A line across the plot."""
        self.parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
        )

    def grid(self) -> None:
        """Ticks with their values, and the unit."""
        for i in range(round((self.top - self.bottom) / self.step) + 1):
            value = self.bottom + i * self.step
            self.level("grid", self.y(value))
            self._tick(f"{value:g}".replace("-", "−"), self.y(value) + 4)
        self._tick(self.unit, _TOP - 14)

    def _tick(self, text: str, height: float) -> None:
        self.parts.append(f'<text class="tick end" x="{_LEFT - 8}" y="{height:.1f}">{escape(text)}</text>')

    def course(self, line: _Line) -> None:
        """A polyline with a dot per value; it breaks where a value is not known."""
        places = [
            None if value is None else (self.x(day), self.y(value))
            for day, value in zip(self.days, line.values, strict=True)
        ]
        for stretch in _stretches(places):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in stretch)
            title = f"<title>{escape(line.label)}</title>"
            self.parts.append(f'<polyline class="course {line.kind}" points="{points}">{title}</polyline>')
            self.parts += [
                f'<circle class="point {line.kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in stretch
            ]

    def end_labels(self, lines: Sequence[_Line]) -> int:
        """Each line's label at its right end, apart from each other; return how many found no room."""
        ends = [
            (self.y(last), line)
            for line in lines
            if (last := next((v for v in reversed(line.values) if v is not None), None)) is not None
        ]
        room = int((_HEIGHT - _TOP - _BOTTOM) / (_LINE - 2)) + 1
        ends.sort(key=lambda end: _IMPORTANCE.index(end[1].kind))
        shown = sorted(ends[:room], key=lambda end: end[0])
        heights = _spread([height for height, _ in shown], _LINE - 2, _TOP - 6, _HEIGHT - _BOTTOM + 6)
        for height, (_, line) in zip(heights, shown, strict=True):
            label = _Label(text=line.label, x=_WIDTH - _RIGHT + 10, y=height + 4, anchor="start",
                           character=_TICK_CHARACTER)  # fmt: skip
            self.parts.append(label.svg(f"tick {line.kind}-text"))
        return len(ends) - len(shown)

    def marks(self, marks: Sequence[Mark]) -> None:
        """What happened between the first and the last day: an upright line with its number above."""
        placed: list[_Label] = []
        for mark in marks:
            if not self.days[0] <= mark.day <= self.days[-1]:
                continue
            x = self.x(mark.day)
            self.parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{_HEIGHT - _BOTTOM}">'
                f"<title>{escape(f'{mark.day.isoformat()} {mark.words}')}</title></line>"
            )
            label = _Label(text=f"{mark.number}", x=x, y=_TOP - 10, anchor="", character=_TICK_CHARACTER)
            if not any(map(label.overlaps, placed)):
                placed.append(label)
                self.parts.append(label.svg("tick mark-text"))

    def svg(self, spoken: str) -> str:
        """The whole picture, with the dates under it."""
        dates = _date_labels([self.x(day) for day in self.days], [day.isoformat() for day in self.days])
        height = max(label.y for label in dates) + _LINE
        box = f'viewBox="0 0 {_WIDTH} {height:.0f}"'
        head = f'<svg {box} role="img" class="plot" aria-label={quoteattr(spoken)}>'
        return "".join([head, *self.parts, *(label.svg("tick") for label in dates), "</svg>"])


def plots(course: Mapping[str, Any], marks: Sequence[Mark] = ()) -> list[Plot]:
    """Every plot that the course gives: sum of diameters, lesions in percent, volumes."""
    made = (sum_plot(course, marks), spider_plot(course, marks), volume_plot(course, marks))
    return [plot for plot in made if plot is not None]


def marks_of(course: Mapping[str, Any], words: Mapping[Any, str]) -> list[Mark]:
    """The notes of a course as marks, numbered in the order of their days; `words` name their kinds."""
    return [
        Mark(
            day=date.fromisoformat(event["day"]),
            number=number,
            words=": ".join(part for part in (words[event["kind"]], event["text"]) if part),
        )
        for number, event in enumerate(course.get("events", ()), start=1)
    ]


# ---------------------------------------------------------------- the sum


def sum_plot(course: Mapping[str, Any], marks: Sequence[Mark] = ()) -> Plot | None:
    """The sums with the lines that decide: 30 % below baseline, 20 % (and 5 mm) above the nadir.

    None if there are fewer than two sums.
    """
    points = [
        (date.fromisoformat(p["study_date"]), p["report"]["assessment"])
        for p in course["time_points"]
        if p["report"] and p["report"]["assessment"]["sum_mm"] is not None
    ]
    if len(points) < 2:
        return None
    days, sums = [day for day, _ in points], [float(a["sum_mm"]) for _, a in points]
    baseline, nadir = sums[0], min(sums[:-1])
    partial_response, progression = 0.7 * baseline, max(1.2 * nadir, nadir + 5)
    canvas = _Canvas.around(days, [*sums, progression], "mm")
    canvas.grid()
    _deciding_lines(
        canvas,
        ("base", baseline, "baseline"),
        ("pr", partial_response, "30 % below baseline"),
        ("base", nadir, "nadir before"),
        ("pd", progression, "progression from"),
    )
    canvas.marks(marks)
    xs, ys = [canvas.x(day) for day in days], [canvas.y(mm) for mm in sums]
    line = " ".join(f"{x:.1f},{place:.1f}" for x, place in zip(xs, ys, strict=True))
    canvas.parts.append(f'<polyline class="course" points="{line}"/>')
    for x, place, (when, a) in zip(xs, ys, points, strict=True):
        title = escape(f"{when.isoformat()}: {a['sum_mm']:.1f} mm, {a['overall']}")
        dot = f'<circle class="dot" cx="{x:.1f}" cy="{place:.1f}" r="5">'
        canvas.parts.append(f"{dot}<title>{title}</title></circle>")
    texts = _texts([a for _, a in points])
    canvas.parts.extend(label.svg("value") for label in _value_labels(xs, ys, texts))
    spoken = "Sum of diameters: " + ", ".join(
        f"{when.isoformat()} {mm:.1f} mm" for when, mm in zip(days, sums, strict=True)
    )
    rows = tuple((day.isoformat(), f"{a['sum_mm']:.1f}", a["overall"]) for day, a in points)
    return Plot(
        name="Sum of diameters", svg=canvas.svg(spoken), head=("Date", "Sum, mm", "Response"), rows=rows
    )


def _deciding_lines(canvas: _Canvas, *levels: tuple[str, float, str]) -> None:
    """Dashed lines, each with its name and value at its right end, moved apart where they are near."""
    ordered = sorted(levels, key=lambda level: -level[1])
    heights = [canvas.y(value) for _, value, _ in ordered]
    places = _spread(heights, 2 * _LINE - 2, _TOP - 4, _HEIGHT - _BOTTOM + 8)
    x = _WIDTH - _RIGHT + 12
    for (kind, value, name), height, place in zip(ordered, heights, places, strict=True):
        canvas.level(kind, height)
        canvas.parts += [
            f'<text class="tick start {kind}-text" x="{x}" y="{place - 2:.1f}">{name}</text>',
            f'<text class="tick start {kind}-text" x="{x}" y="{place + 11:.1f}">{value:.1f} mm</text>',
        ]


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


# ---------------------------------------------------------------- lesions


def spider_plot(course: Mapping[str, Any], marks: Sequence[Mark] = ()) -> Plot | None:
    """Each lesion's change in percent since it was first measured; None if no lesion has two values."""
    reported = _reported(course)
    lines = [
        _Line(label=label, kind=kind, values=_percent_of_first(values))
        for label, kind, values in _by_lesion(reported, lambda seen: seen["diameter_mm"])
    ]
    return _lesion_plot("Change of each lesion since it was first measured", "%", reported, lines, marks)


def volume_plot(course: Mapping[str, Any], marks: Sequence[Mark] = ()) -> Plot | None:
    """Each lesion's volume and, where every target is known, that of all targets; None without two values."""
    reported = _reported(course)

    def volume_ml(seen: Mapping[str, Any]) -> float | None:
        if seen["state"] == "disappeared":
            return 0.0
        return seen["measurement"]["volume_mm3"] / 1000 if seen["measurement"] else None

    lines = [
        _Line(label=label, kind=kind, values=values)
        for label, kind, values in _by_lesion(reported, volume_ml)
    ]
    targets = [line.values for line in lines if line.kind == "target"]
    if len(targets) > 1:
        total = [None if None in at else sum(v or 0.0 for v in at) for at in zip(*targets, strict=True)]
        lines.insert(0, _Line(label="all targets", kind="total", values=total))
    return _lesion_plot("Volumes", "ml", reported, lines, marks)


def _lesion_plot(
    name: str,
    unit: str,
    reported: Sequence[tuple[date, Mapping[str, Any]]],
    lines: Sequence[_Line],
    marks: Sequence[Mark],
) -> Plot | None:
    drawn = [line for line in lines if sum(v is not None for v in line.values) > 1]
    if not drawn:
        return None
    days = [day for day, _ in reported]
    canvas = _Canvas.around(days, [v for line in drawn for v in line.values if v is not None], unit)
    canvas.grid()
    if canvas.bottom < 0:
        canvas.level("zero", canvas.y(0))
    canvas.marks(marks)
    for line in drawn:
        canvas.course(line)
    left_out = canvas.end_labels(drawn)
    sign = "+" if unit == "%" else ""
    rows = tuple(
        (line.label, *("" if v is None else f"{v:{sign}.1f}".replace("-", "−") for v in line.values))
        for line in lines
    )
    spoken = f"{name}, {len(drawn)} lines; the table below has the numbers"
    notes = (f"{left_out} lines are named in the table only.",) if left_out else ()
    head = (f"Lesion, {unit}", *(day.isoformat() for day in days))
    return Plot(name=name, svg=canvas.svg(spoken), head=head, rows=rows, notes=notes)


def _reported(course: Mapping[str, Any]) -> list[tuple[date, Mapping[str, Any]]]:
    return [(date.fromisoformat(p["study_date"]), p["report"]) for p in course["time_points"] if p["report"]]


def _by_lesion(
    reported: Sequence[tuple[date, Mapping[str, Any]]], value_of: Any
) -> list[tuple[str, str, list[float | None]]]:
    """Label, part and values of each lesion that no reader rejected: targets, non-targets, new ones."""
    values: dict[str, list[float | None]] = {}
    latest: dict[str, Mapping[str, Any]] = {}
    for i, (_, report) in enumerate(reported):
        for seen in report["lesions"]:
            values.setdefault(seen["tracking_uid"], [None] * len(reported))[i] = value_of(seen)
            latest[seen["tracking_uid"]] = seen
    parts = ("target", "non_target", "new")
    shown = [uid for uid, seen in latest.items() if not seen.get("is_rejected")]
    shown.sort(key=lambda uid: (parts.index(latest[uid]["role"]), latest[uid]["label"]))
    return [(latest[uid]["label"], latest[uid]["role"].replace("_", "-"), values[uid]) for uid in shown]


def _percent_of_first(values: Numbers) -> list[float | None]:
    """Change in percent since the first known value; None where that is zero or not known."""
    first = next((v for v in values if v is not None), None)
    return [None if v is None or not first else 100 * (v / first - 1) for v in values]


# ---------------------------------------------------------------- places


def _stretches(places: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """What lies between gaps."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for place in places:
        if place is not None:
            stretches[-1].append(place)
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending heights moved apart to at least `gap`, between `low` and `high` if they fit there."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else low))
    limit = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    return placed


def _date_labels(xs: list[float], dates: list[str]) -> list[_Label]:
    """Dates under the axis, in a second row where two are near, else left to the dot's title."""
    placed: list[_Label] = []
    for i in (len(xs) - 1, *range(len(xs) - 1)):
        rows = (_HEIGHT - _BOTTOM + 20.0, _HEIGHT - _BOTTOM + 20.0 + _LINE + 2)
        labels = (_Label(text=dates[i], x=xs[i], y=row, anchor="", character=_TICK_CHARACTER) for row in rows)
        placed += [label for label in labels if not any(map(label.overlaps, placed))][:1]
    return placed
