"""The sum of diameters over time, as the PDF shows it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from workflow.domain.palette import PROGRESSION, RESPONSE, css
from workflow.domain.report import TimePointReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORTEST_SPAN_DAYS = 28  # so that a single time point is not spread over fractions of a day
_MOST_UNITS = 6  # of more points the numbers alone stand beside each other; the axis says mm
_LINE = "#1f4e79"


def sum_plot_png(
    course: Sequence[TimePointReport], *, width_mm: float = 170, height_mm: float = 62
) -> bytes | None:
    """Plot the sums with the lines that decide: 30 % below baseline, 20 % above nadir.

    Parameters
    ----------
    course
        Time points in order.

    Returns
    -------
    bytes or None
        A PNG file at 200 dpi; None if no time point has a sum.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    points = [(r, r.assessment.sum_mm) for r in course if r.assessment.sum_mm is not None]
    if not points:
        return None
    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    days = [report.days_from_baseline for report, _ in points]
    sums = [total for _, total in points]
    axes.plot(days, sums, color=_LINE, marker="o", markersize=5, linewidth=1.8, zorder=3)
    unit = " mm" if len(points) <= _MOST_UNITS else ""
    for report, total in points:
        words = f"{total:.1f}{unit}\n{report.assessment.overall}"
        axes.annotate(
            words, (report.days_from_baseline, total), textcoords="offset points", xytext=(0, 7),
            ha="center", fontsize=7, zorder=4, bbox={"boxstyle": "square,pad=0.1", "fc": "w", "ec": "none"},
        )  # fmt: skip
    last = points[-1][0].assessment
    for value, factor, colour, words in (
        (last.baseline_sum_mm, 0.7, css(RESPONSE), "30 % below\nbaseline"),
        (last.nadir_sum_mm, 1.2, css(PROGRESSION), "20 % above\nnadir"),
    ):
        if value:
            axes.axhline(value * factor, color=colour, linewidth=1, linestyle="--")
            axes.annotate(
                words, (1, value * factor), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", ha="left", va="center", fontsize=6.5, color=colour,
            )  # fmt: skip
    top = max([*sums, (last.nadir_sum_mm or 0) * 1.2, (last.baseline_sum_mm or 0) * 0.7, 1])
    axes.set_ylim(0, top * 1.3)
    span = max(days[-1] - days[0], SHORTEST_SPAN_DAYS)
    axes.set_xlim(days[0] - 0.08 * span, days[-1] + 0.12 * span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xticks([tick for tick in axes.get_xticks() if days[0] <= tick <= days[-1] + 0.12 * span])
    label_axes(axes, "days from baseline")
    return png_of(figure)


def label_axes(axes: Axes, days: str) -> None:
    """Say what is plotted, sums over days, and take away what is not needed for it."""
    axes.set_xlabel(days, fontsize=7.5)
    axes.set_ylabel("sum of diameters (mm)", fontsize=7.5)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)


def png_of(figure: Figure) -> bytes:
    """A figure as a PNG file, which the same figure always becomes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = BytesIO()
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()
