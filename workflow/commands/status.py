"""`tumorline status`: what waits, runs, failed and was kept for a person."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from workflow.commands._exit import done
from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table, who


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("status")
    def status_command(
        config: ConfigOption = None,
        as_json: JsonOption = False,
        replay: Annotated[
            int | None, typer.Option("--replay", help="Put a stopped job (its id) back into the queue.")
        ] = None,
        cancel: Annotated[
            int | None, typer.Option("--cancel", help="End a job (its id) that waits or runs.")
        ] = None,
        reason: Annotated[
            str, typer.Option("--reason", help="Why; its study or visit shows it.")
        ] = "not wanted any more",
    ) -> None:
        """Show the worklist, and what waits, runs, stopped or was kept for a person.

        Exit code 1: something needs a person.

        Examples:

            tumorline status

            tumorline status --json | jq .outbox

            tumorline status --replay 17

            tumorline status --cancel 18 --reason "the wrong patient"
        """
        from workflow.bootstrap import build
        from workflow.domain.states import RESULT_WORDS, VISIT_WORDS, ResultState, VisitState
        from workflow.operations import cancel as end_job
        from workflow.operations import replay as put_back
        from workflow.settings import load_settings
        from workflow.use_cases.attention import needs_a_person

        context = build(load_settings(config))
        if replay is not None:
            put_back(context, replay, by=who())
            messages.print(f"job {replay} is queued again")
            return
        if cancel is not None:
            end_job(context, cancel, by=who(), reason=reason)
            messages.print(f"job {cancel} is ended within seconds, by its worker or by the reconciler")
            return
        status, patients = context.overview.status(), context.overview.worklist()
        code = done(needs_a_person=bool(needs_a_person(status)))
        if as_json:
            print_json({**status, "worklist": patients})
            raise typer.Exit(code)
        rows = [
            (p["patient_id"], point["study_date"], VISIT_WORDS[VisitState(point["state"])], point["reason"])
            for p in patients
            for point in p["time_points"]
        ]
        results.print(table("worklist", ["patient", "date", "state", "reason"], rows))
        counts = [(j["stage"], j["state"], j["outcome"], j["count"]) for j in status["jobs"]]
        results.print(table("jobs", ["stage", "state", "outcome", "count"], counts))
        results.print(
            table(
                "outbox",
                ["state", "objects"],
                [(RESULT_WORDS[ResultState(s)], n) for s, n in status["outbox"].items()],
            )
        )
        for job in status["running"]:
            doing = f"{job['stage']} {job['subject']}, {job['progress']:.0%} {job['doing']}"
            results.print(f"runs: job {job['id']}: {doing}", markup=False)
        for job in status["retrying"]:
            what = f"{job['stage']} {job['subject']} until {job['due_at'][:19]}"
            results.print(f"waits: job {job['id']}: {what}: {job['error']}", markup=False)
        for job in status["stopped"]:
            last = job["error"].strip().splitlines()[-1:] or [""]
            results.print(f"stopped: job {job['id']} ({job['stage']}): {last[0]}", markup=False)
        if status["stopped"]:
            with_config = f" --config {shlex.quote(str(config))}" if config else ""
            messages.print(
                f"Once its cause is gone, run one again: tumorline status{with_config} --replay JOB",
                markup=False,
                soft_wrap=True,
            )
        for line in status["attention"]:
            results.print(f"look at: study {line['study_instance_uid']}: {line['text']}", markup=False)
        for kept in status["quarantine"]:
            results.print(f"kept for a person: {kept['what']}: {kept['reason']}", markup=False)
        raise typer.Exit(code)
