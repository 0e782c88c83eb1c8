"""The sum of diameters over time, as pages and slides show it: told apart by line and sign, not by colour."""

from __future__ import annotations

from dicom_io.results.plots import SHORTEST_SPAN_DAYS, label_axes, png_of
from workflow.domain.sheet import CourseSheet

_MOST_LABELS = 13


def sum_figure(sheet: CourseSheet, *, width_mm: float, height_mm: float, dpi: int = 200) -> bytes | None:
    """Plot the sums with the lines that decide: 30 % below baseline, 20 % above the nadir before the latest.

    Returns
    -------
    bytes or None
        A PNG file; None if no visit has a sum.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    points = [(visit, visit.sum_mm) for visit in sheet.visits if visit.sum_mm is not None]
    if not points:
        return None
    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), dpi=dpi, layout="constrained")
    axes = figure.add_subplot()
    days = [visit.days_from_baseline for visit, _ in points]
    axes.plot(days, [total for _, total in points], color="black", linewidth=1.6, zorder=3)
    for visit, total in points:
        # Hollow: nobody signed it.
        fill = "black" if visit.signed_by else "white"
        axes.plot(
            [visit.days_from_baseline], [total], marker="o", markersize=6, color="black",
            markerfacecolor=fill, linestyle="none", zorder=4,
        )  # fmt: skip
    labelled = points if len(points) <= _MOST_LABELS else [points[0], points[-1]]
    for visit, total in labelled:
        axes.annotate(
            f"{total:.1f}\n{'' if visit.is_baseline else visit.overall}".strip(),
            (visit.days_from_baseline, total), textcoords="offset points", xytext=(0, 8), ha="center",
            fontsize=7.5, zorder=5,
            bbox={"boxstyle": "square,pad=0.1", "fc": "w", "ec": "none", "alpha": 0.8},
        )  # fmt: skip
    last = points[-1][0]
    lines = (
        (last.baseline_sum_mm, 0.7, "--", "30 % below\nbaseline"),
        (last.nadir_sum_mm, 1.2, ":", "20 % above\nnadir before"),
    )
    drawn = [(value * factor, style, words) for value, factor, style, words in lines if value]
    top = max([*(total for _, total in points), *(level for level, _, _ in drawn), 1]) * 1.3
    below = -top
    for level, style, words in sorted(drawn) if not last.is_baseline else []:
        axes.axhline(level, color="0.25", linewidth=1.1, linestyle=style)
        place = below = max(level, below + 0.16 * top)  # two lines of words, one above the other
        axes.annotate(
            words, (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", ha="left", va="center", fontsize=6.5, color="0.2",
        )  # fmt: skip
    axes.set_ylim(0, top)
    span = max(days[-1] - days[0], SHORTEST_SPAN_DAYS)
    axes.set_xlim(days[0] - 0.06 * span, days[-1] + 0.08 * span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    label_axes(axes, "days from baseline; hollow: not signed")
    return png_of(figure)
