"""`tumorline priors`: the earlier studies that the PACS was asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("priors")
    def priors_command(
        patient: Annotated[str, typer.Argument(help="PatientID.")],
        again: Annotated[
            bool, typer.Option("--again", help="Look once more, and fetch once more what did not come.")
        ] = False,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Show which earlier studies of a patient were fetched from the PACS, and how far they are.

        Examples:

            tumorline priors 4711

            tumorline priors 4711 --again
        """
        from workflow.bootstrap import build
        from workflow.priors import priors_of_patient, seek_again
        from workflow.settings import load_settings

        context = build(load_settings(config))
        if again:
            messages.print(f"{seek_again(context, patient)} studies' priors are looked for again")
        known = priors_of_patient(context, patient)
        if as_json:
            print_json(known)
            return
        rows = [
            (p["study_date"], p["study_description"], p["state"].lower(), p["error"] or p["reason"])
            for p in known
        ]
        results.print(table("earlier studies", ["date", "study", "state", "why"], rows))
