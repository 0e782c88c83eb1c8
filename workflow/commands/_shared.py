"""What the commands share: options, where output goes, tables."""

from __future__ import annotations

import getpass
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workflow.domain.lesion import LesionState
from workflow.domain.states import LESION_WORDS

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="TUMORLINE_CONFIG", help="TOML file with settings.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

# Results go to stdout, everything else to stderr, so that scripts can read the one.
messages = Console(stderr=True)
results = Console()


def print_json(value: Any) -> None:
    """Print a value for scripts."""
    typer.echo(json.dumps(value, indent=1))


def say(share: float, what: str) -> None:
    """Progress (0 to 1) on stderr, so that stdout is JSON alone."""
    typer.echo(f"{100 * share:3.0f} % {what}", err=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table for people; None is an empty cell."""
    drawn = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    return drawn


def who() -> str:
    """Who sits at the command line, for the audit."""
    return f"{getpass.getuser()} (command line)"[:64]


def log_to_stderr(verbose: bool = False) -> None:
    """Log UIDs, stages and versions for an operator; libraries only when something is wrong."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"
    )
    for name in ("workflow", "dicom_io", "models", "db"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)


def lesion_rows(time_points: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The lesion by time point table of a patient's course: its columns, and rows with sums and responses."""
    reported = [point for point in time_points if point["report"]]
    columns = ["lesion", "site", *(f"{p['study_date']}" for p in reported)]
    lesions: dict[str, tuple[str, str]] = {}
    for point in reported:
        for lesion in point["report"]["lesions"]:
            site = lesion["finding_site_meaning"] or lesion["organ"]
            lesions[lesion["tracking_uid"]] = (lesion["label"], site)
    rows = []
    for uid, (label, site) in sorted(lesions.items(), key=lambda item: item[1]):
        cells = []
        for point in reported:
            seen = next((o for o in point["report"]["lesions"] if o["tracking_uid"] == uid), None)
            cells.append("" if seen is None else _cell(seen))
        rows.append([label, site, *cells])
    assessed = [p["report"]["assessment"] for p in reported]
    rows.append(["sum", "", *(f"{a['sum_mm']:.1f} mm" if a["sum_mm"] is not None else "" for a in assessed)])
    rows.append(["response", "", *(a["overall"] for a in assessed)])
    return columns, rows


def _cell(lesion: Mapping[str, Any]) -> str:
    if lesion["state"] == "present":
        return f"{lesion['diameter_mm']:.1f} mm"
    return LESION_WORDS[LesionState(lesion["state"])]
