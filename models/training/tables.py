"""An evaluation as tables, plots and a summary for a model card; all of it from the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.training.evaluation import (
    Row,
    calibration,
    difference,
    grouped,
    mean_by_patient,
    write_rows,
)

# How rows are put together in the summary.
_BREAKDOWNS = (
    ("prompt",),
    ("prompt", "modality"),
    ("prompt", "size"),
    ("prompt", "thickness"),
    ("prompt", "jitter"),
    ("prompt", "site"),
)


def summary(rows: Sequence[Row], models: Sequence[str]) -> dict[str, Any]:
    """Means by model and breakdown, differences from the last model, and calibration, as JSON values.

    `models` are in the order of the tables; every model is compared with the last one.
    """
    breakdowns: dict[str, Any] = {}
    for names in _BREAKDOWNS:
        groups = grouped(rows, *names)
        if len(names) > 1 and len({key[1] for key in groups}) < 2:
            continue
        breakdowns[" by ".join(names)] = {
            ", ".join(key): {model: _means([r for r in group if r.model == model]) for model in models}
            | {"difference": asdict(difference(group, models[0], models[-1]))}
            for key, group in groups.items()
        }
    return {
        "models": list(models),
        "lesions": len({row.case for row in rows}),
        "patients": len({row.patient for row in rows}),
        "breakdowns": breakdowns,
        "calibration": {
            f"{model}, {prompt}": asdict(calibration(group))
            for (model, prompt), group in grouped(rows, "model", "prompt").items()
        },
    }


def _means(rows: Sequence[Row]) -> dict[str, Any]:
    patients = [row.patient for row in rows]

    def mean(values: list[float]) -> float:
        known = [value for value in values if not np.isnan(value)]
        return round(float(np.mean(known)), 4) if known else float("nan")

    return {
        "dice": asdict(mean_by_patient(np.array([row.dice for row in rows]), patients)),
        "surface_mm": mean([row.surface_mm for row in rows]),
        "surface_95_mm": mean([row.surface_95_mm for row in rows]),
        "long_axis_error_mm": mean([abs(row.long_axis_error_mm) for row in rows]),
        "long_axis_error_percent": mean([abs(row.long_axis_error_percent) for row in rows]),
        "long_axis_bias_percent": mean([row.long_axis_error_percent for row in rows]),
        "volume_ratio": mean([row.volume_ratio for row in rows]),
        "measurable_agreed": mean([float(row.is_measurable_agreed) for row in rows]),
        "confidence": mean([row.confidence for row in rows]),
        "seconds": mean([row.seconds for row in rows]),
    }


def markdown(summed: Mapping[str, Any]) -> str:
    """The summary as Markdown tables, Dice with its interval, the best of each row in bold."""
    return "\n".join(_lines(summed)) + "\n"


def _lines(summed: Mapping[str, Any]) -> Iterator[str]:
    models: list[str] = summed["models"]
    yield f"{summed['lesions']} lesions of {summed['patients']} patients; mean Dice."
    for name, groups in summed["breakdowns"].items():
        yield ""
        yield f"| {name} | lesions | " + " | ".join(models) + f" | {models[0]} - {models[-1]} (95 %) |"
        yield "|---|---:|" + "---:|" * (len(models) + 1)
        for key, group in groups.items():
            dices = {model: group[model]["dice"]["mean"] for model in models}
            best = max((value for value in dices.values() if not np.isnan(value)), default=np.nan)
            cells = [f"**{value:.3f}**" if value == best else f"{value:.3f}" for value in dices.values()]
            apart = group["difference"]
            yield (
                f"| {key} | {group[models[0]]['dice']['lesions']} | "
                + " | ".join(cells)
                + f" | {apart['mean']:+.3f} ({apart['low']:+.3f} to {apart['high']:+.3f}) |"
            )
    yield ""
    yield (
        "| prompt | model | surface mm | 95 % mm | long axis mm | long axis % | bias % | volume | measurable "
        "| s |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for key, group in summed["breakdowns"]["prompt"].items():
        for model in models:
            one = group[model]
            yield (
                f"| {key} | {model} | {one['surface_mm']:.1f} | {one['surface_95_mm']:.1f} "
                f"| {one['long_axis_error_mm']:.1f} | {one['long_axis_error_percent']:.0f} "
                f"| {one['long_axis_bias_percent']:+.0f} | {one['volume_ratio']:.2f} "
                f"| {100 * one['measurable_agreed']:.0f} % | {one['seconds']:.2f} |"
            )
    yield ""
    yield "| model, prompt | confidence off by | rank correlation | poor flagged | good flagged |"
    yield "|---|---:|---:|---:|---:|"
    for key, one in summed["calibration"].items():
        poor, good = (
            f"{100 * one[f'{name}_flagged']:.0f} % of {one[name]}" if one[name] else "-"
            for name in ("poor", "good")
        )
        yield f"| {key} | {one['error']:.2f} | {one['correlation']:.2f} | {poor} | {good} |"


def write(rows: Sequence[Row], models: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write `rows.csv`, `summary.json`, `tables.md` and two plots to a folder; returns the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    summed = summary(rows, models)
    write_rows(rows, folder / "rows.csv")
    (folder / "summary.json").write_text(json.dumps(summed, indent=1) + "\n", encoding="utf-8")
    (folder / "tables.md").write_text(markdown(summed), encoding="utf-8")
    _plot_dice(rows, models, folder / "dice.png")
    _plot_calibration(rows, models[0], folder / "calibration.png")
    return summed


def _plot_dice(rows: Sequence[Row], models: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure

    prompts = list(grouped(rows, "prompt"))
    figure = Figure(figsize=(1.5 + 1.8 * len(prompts), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(models)
    for place, model in enumerate(models):
        dices = [[r.dice for r in rows if r.model == model and r.prompt == prompt] for (prompt,) in prompts]
        axes.boxplot(
            dices,
            positions=np.arange(len(prompts)) + (place - (len(models) - 1) / 2) * width,
            widths=0.85 * width,
            patch_artist=True,
            boxprops={"facecolor": f"C{place}", "alpha": 0.6},
            medianprops={"color": "black"},
            label=model,
        )
    axes.set_xticks(range(len(prompts)), [prompt for (prompt,) in prompts])
    axes.set_ylabel("Dice")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=120)


def _plot_calibration(rows: Sequence[Row], model: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for (prompt,), group in grouped([row for row in rows if row.model == model], "prompt").items():
        axes.scatter([r.confidence for r in group], [r.dice for r in group], s=14, alpha=0.7, label=prompt)
    axes.set_xlabel(f"confidence of {model}")
    axes.set_ylabel("Dice")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
