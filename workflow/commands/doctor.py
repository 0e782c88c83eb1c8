"""`tumorline doctor`: whether an installation is sound, and what to do if not."""

from __future__ import annotations

from typing import Annotated

import typer

from workflow.commands._exit import ExitCode, done
from workflow.commands._shared import ConfigOption, JsonOption, print_json, results, table


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("doctor")
    def doctor_command(
        config: ConfigOption = None,
        digests: Annotated[
            bool,
            typer.Option("--digests", help="Read every file and compare its SHA-256: hours on a big store."),
        ] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Check that nothing is lost, stored twice or forgotten, and that everything needed is there.

        It changes nothing, and may run beside the services. Exit code 1: something needs a person; 3: the
        database, the broker or a PACS is not there.

        Examples:

            tumorline doctor

            tumorline doctor --digests --json | jq '.findings[] | select(.verdict != "sound")'
        """
        from workflow.bootstrap import build
        from workflow.settings import load_settings
        from workflow.use_cases.doctor import Verdict, examine

        findings = examine(build(load_settings(config)), digests=digests)
        verdicts = {finding.verdict for finding in findings}
        if Verdict.NOT_THERE in verdicts:
            code = ExitCode.TRY_AGAIN
        else:
            code = done(needs_a_person=Verdict.NEEDS_A_PERSON in verdicts)
        if as_json:
            print_json({"exit_code": int(code), "findings": [finding.to_json() for finding in findings]})
        else:
            rows = [(one.check, one.verdict, one.what, one.advice) for one in findings]
            results.print(table("doctor", ["check", "", "what", "what to do"], rows))
        raise typer.Exit(code)
