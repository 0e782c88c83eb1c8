"""`tumorline board`: who is discussed on which day, and the packets for it."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table
from workflow.domain.board import BoardPriority

_Day = Annotated[datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The day of the board.")]
_By = Annotated[str, typer.Option("--by", help="Who asks, as the audit and the packet are to name them.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        help="Tumour boards: lists of patients, and frozen packets to hand out.", no_args_is_help=True
    )
    app.add_typer(group, name="board")

    @group.command("list")
    def list_command(
        day: Annotated[
            datetime | None,
            typer.Option("--date", formats=["%Y-%m-%d"], help="One day's list; else all days."),
        ] = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Show the days that have a board, or one day's list with what each patient lacks.

        Examples:

            tumorline board list

            tumorline board list --date 2026-12-01 --json
        """
        from workflow.board import board_json
        from workflow.bootstrap import build
        from workflow.settings import load_settings

        boards = build(load_settings(config)).boards
        if day is None:
            days = [
                {"day": b.day.isoformat(), "patients": b.patients, "urgent": b.urgent} for b in boards.days()
            ]
            if as_json:
                print_json(days)
            else:
                results.print(
                    table("boards", ["date", "patients", "urgent"], [tuple(d.values()) for d in days])
                )
            return
        shown = board_json(boards, day.date())
        if as_json:
            print_json(shown)
            return
        rows = [
            (
                e["place"],
                e["patient_id"],
                e["priority"],
                e["latest_response"],
                e["question"],
                "; ".join(e["missing"]),
            )
            for e in shown["entries"]
        ]
        columns = ["", "patient", "priority", "response", "question", "missing"]
        results.print(table(f"board of {shown['day']}", columns, rows))

    @group.command("add")
    def add_command(
        day: _Day,
        patient: Annotated[str, typer.Option("--patient", help="PatientID.")],
        by: _By,
        priority: Annotated[BoardPriority, typer.Option("--priority")] = BoardPriority.NORMAL,
        question: Annotated[str, typer.Option("--question", help="What the board is asked.")] = "",
        config: ConfigOption = None,
    ) -> None:
        """Put a patient on the list of a day.

        Examples:

            tumorline board add --date 2026-12-01 --patient P1 --by roe --question "Resection?"
        """
        from workflow.board import add_to_board, patient_named
        from workflow.bootstrap import build
        from workflow.settings import load_settings

        context = build(load_settings(config))
        agenda = add_to_board(
            context,
            day=day.date(),
            patient_key=patient_named(context, patient),
            by=by,
            priority=priority,
            question=question,
        )
        messages.print(f"{len(agenda.entries)} patients are on the list of {agenda.day}")

    @group.command("packet")
    def packet_command(
        day: _Day,
        by: _By,
        out: Annotated[
            Path | None, typer.Option("--out", help="Folder to copy the files to.", show_default=False)
        ] = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Freeze a packet of each patient on the list and one of the list, and wait for their files.

        What says the same as before is not made again. Workers that run do the work, else this command does.

        Examples:

            tumorline board packet --date 2026-12-01 --by roe --out packets
        """
        from workflow.bootstrap import build
        from workflow.settings import load_settings
        from workflow.use_cases.board import make_packets

        made = make_packets(build(load_settings(config)), day=day.date(), by=by)
        paths = [Path(packet.folder) / file.name for packet in made for file in packet.files]
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            paths = [Path(shutil.copy(path, out / path.name)) for path in paths]
        if as_json:
            print_json([str(path) for path in paths])
            return
        for path in paths:
            typer.echo(path)
