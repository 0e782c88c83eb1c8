"""`tumorline operate`: decide about work and studies that can't go on by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table, who

if TYPE_CHECKING:
    from workflow.engine.context import Context

_Study = Annotated[str, typer.Argument(help="Study Instance UID.", metavar="STUDY")]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit.")]
_By = Annotated[str, typer.Option("--by", help="Who decides; unset, who is logged in here.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    operate = typer.Typer(
        help="Decide about work and studies that can't go on by themselves (`tumorline status` lists them).",
        no_args_is_help=True,
    )
    app.add_typer(operate, name="operate")

    @operate.command("replay")
    def replay_command(
        job: Annotated[int, typer.Argument(help="Number of the job.")],
        by: _By = "",
        config: ConfigOption = None,
    ) -> None:
        """Put a stopped job back into the queue, with its attempts forgotten.

        Examples:

            tumorline operate replay 17
        """
        from workflow.operations import replay

        replay(_context(config), job, by=by or who())
        messages.print(f"job {job} is queued again")

    @operate.command("cancel")
    def cancel_command(
        job: Annotated[int, typer.Argument(help="Number of the job.")],
        reason: _Reason,
        by: _By = "",
        config: ConfigOption = None,
    ) -> None:
        """End a job that waits or runs; its study or visit shows who did it, and why.

        Examples:

            tumorline operate cancel 18 --reason "the wrong patient"
        """
        from workflow.operations import cancel

        cancel(_context(config), job, by=by or who(), reason=reason)
        messages.print(f"job {job} is ended within seconds, by its worker or by the reconciler")

    @operate.command("dismiss")
    def dismiss_command(
        entry: Annotated[int, typer.Argument(help="Number of what was kept, as `status --json` has it.")],
        reason: _Reason,
        by: _By = "",
        config: ConfigOption = None,
    ) -> None:
        """Take something that was kept for a person off the list; it stays where it is, and unused.

        Examples:

            tumorline operate dismiss 3 --reason "test images of the phantom"
        """
        from workflow.operations import dismiss

        dismiss(_context(config), entry, by=by or who(), reason=reason)
        messages.print(f"{entry} is off the list")

    @operate.command("complete")
    def complete_command(study: _Study, reason: _Reason, by: _By = "", config: ConfigOption = None) -> None:
        """Go on with a study that is being received without waiting for more of it; it is marked incomplete.

        Examples:

            tumorline operate complete 1.2.826.0.1.3680043.8.498.7 --reason "the scan was broken off"
        """
        from workflow.operations import complete_study

        complete_study(_context(config), study, by=by or who(), reason=reason)
        messages.print("the study goes on")

    @operate.command("plan")
    def plan_command(study: _Study, config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """Say what would be done with a received study now, and why; nothing is changed.

        Examples:

            tumorline operate plan 1.2.826.0.1.3680043.8.498.7

            tumorline operate plan 1.2.826.0.1.3680043.8.498.7 --json | jq '.series[] | {description, score}'
        """
        from workflow.operations import plan_study

        plan = plan_study(_context(config), study)
        if as_json:
            print_json(plan)
            return
        verdict = f"it would be kept: {plan['refusal']}" if plan["refusal"] else "it would go on"
        known = "known" if plan["is_known_patient"] else "not known"
        messages.print(
            f"patient {plan['patient_id']} ({known}), {plan['study_date']}: {verdict}", markup=False
        )
        for doubt in plan["doubts"]:
            messages.print(f"look at: {doubt}", markup=False)
        rows = [
            (
                line["description"],
                line["modality"],
                "" if line["score"] is None else f"{line['score']:.1f}",
                line["refusal"] or ", ".join(line["reasons"]),
            )
            for line in plan["series"]
        ]
        results.print(table(plan["choice"] or "series", ["series", "modality", "score", "why"], rows))


def _context(config: Path | None) -> Context:
    from workflow.bootstrap import build
    from workflow.settings import load_settings

    return build(load_settings(config))
