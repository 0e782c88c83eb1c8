"""`tumorline decide` and `tumorline sign`: a reader's word."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json
from workflow.domain.lesion import LesionState
from workflow.domain.lesion_life import Decision
from workflow.domain.report import LesionRole
from workflow.domain.response import NewLesion, Response
from workflow.domain.response.timeline import Intervention, InterventionEffect, InterventionKind

_Day = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Study date.")]
_Patient = Annotated[str, typer.Option("--patient", help="PatientID.")]
_By = Annotated[str, typer.Option("--by", help="Who decides, as the audit and the SR are to name them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("decide")
    def decide_command(
        decision: Annotated[Decision, typer.Argument(help="What is decided.")],
        patient: _Patient,
        by: _By,
        reason: Annotated[str, typer.Option("--reason", help="Why, for the audit.")],
        lesion: Annotated[
            str | None,
            typer.Option("--lesion", help="Label (T01) or tracking UID; none for the visit as a whole."),
        ] = None,
        on: _Day = None,
        role: Annotated[LesionRole | None, typer.Option("--role")] = None,
        state: Annotated[LesionState | None, typer.Option("--state")] = None,
        diameter_mm: Annotated[float | None, typer.Option("--diameter-mm", min=0)] = None,
        other: Annotated[
            str | None,
            typer.Option("--other", help="The other lesion (merge, split) or the withdrawn decision's id."),
        ] = None,
        finding: Annotated[
            NewLesion | None, typer.Option("--finding", help="Of a new lesion: yes (definite) or equivocal.")
        ] = None,
        intervention: Annotated[
            InterventionKind | None, typer.Option("--intervention", help="What was done to the lesion.")
        ] = None,
        effect: Annotated[
            InterventionEffect | None,
            typer.Option("--effect", help="What that does to the assessment; unset, the usual."),
        ] = None,
        overall: Annotated[
            Response | None, typer.Option("--overall", help="The response that stands over the computed one.")
        ] = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Record a reader's decision about a lesion or a visit; its patient is assessed again from there on.

        Decisions are never edited: a later one goes over an earlier one, `withdraw` takes one back.
        They hold through every re-run.

        Examples:

            tumorline decide "set role" --role non_target --patient P1 --lesion T03 --by Roe --reason cystic

            tumorline decide "not a lesion" --patient P1 --lesion N01 --by "Dr. Roe" --reason "vessel"

            tumorline decide "set diameter" --diameter-mm 14 --on 2024-04-30 --patient P1 --lesion T01
            --by "Dr. Roe" --reason "vessel included"

            tumorline decide "unequivocal progression" --on 2024-04-30 --patient P1 --by "Dr. Roe"
            --reason "pleural disease has doubled"

            tumorline decide "set overall response" --overall SD --on 2024-04-30 --patient P1 --by "Dr. Roe"
            --reason "N01 is a granuloma"
        """
        from workflow.bootstrap import build
        from workflow.review import decide
        from workflow.settings import load_settings

        made = decide(
            build(load_settings(config)),
            patient_id=patient,
            lesion=lesion,
            decision=decision,
            by=by,
            reason=reason,
            day=on.date() if on else None,
            role=role,
            state=state,
            diameter_mm=diameter_mm,
            other=other,
            finding=finding,
            intervention=Intervention(kind=intervention, effect=effect) if intervention else None,
            overall=overall,
        )
        if as_json:
            print_json(made.to_dict())
        else:
            messages.print(f"recorded as {made.id}; the patient is assessed again")

    @app.command("sign")
    def sign_command(
        patient: _Patient,
        on: Annotated[datetime, typer.Option("--on", formats=["%Y-%m-%d"], help="Study date.")],
        by: _By,
        config: ConfigOption = None,
    ) -> None:
        """Sign the report of a time point; a verified SR that supersedes the draft goes to the PACS.

        Whatever changes what the report says afterwards makes a draft of it again.

        Examples:

            tumorline sign --patient P1 --on 2024-04-30 --by "Roe^Jane"
        """
        from workflow.bootstrap import build
        from workflow.review import sign
        from workflow.settings import load_settings

        count = sign(build(load_settings(config)), patient_id=patient, day=on.date(), by=by)
        messages.print(f"{count} reports signed" if count else "already signed; nothing changed")
