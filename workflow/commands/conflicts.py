"""`tumorline conflicts`: other content for what was received, and a person's word on it."""

from __future__ import annotations

from typing import Annotated

import typer

from workflow.commands._exit import done
from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("conflicts")
    def conflicts_command(
        take: Annotated[
            int | None, typer.Option("--take", help="Take the other content of this number.")
        ] = None,
        leave: Annotated[
            int | None, typer.Option("--leave", help="Leave what came first; the other stays on disk.")
        ] = None,
        by: Annotated[str, typer.Option("--by", help="Who decides, for the audit.")] = "",
        reason: Annotated[str, typer.Option("--reason", help="Why, for the audit.")] = "",
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Show or decide what came with other content, study or patient than what was received first.

        The first content stays until somebody takes the other, e.g. a header that the PACS corrected. What
        was taken is processed as if it had just been received; nothing is deleted.

        Exit code 1: something waits for a decision.

        Examples:

            tumorline conflicts

            tumorline conflicts --take 17 --by "Dr. Roe" --reason "name corrected after marriage"

            tumorline conflicts --leave 18 --by "Dr. Roe" --reason "phantom sent under a patient's UIDs"
        """
        from workflow.bootstrap import build
        from workflow.settings import load_settings

        key = take if take is not None else leave
        if take is not None and leave is not None:
            raise typer.BadParameter("say --take or --leave, not both")
        if key is not None and not (by.strip() and reason.strip()):
            raise typer.BadParameter("a decision needs --by and --reason: both are audited")
        reception = build(load_settings(config)).reception
        if key is not None:
            count = reception.decide_conflict(key, take=take is not None, by=by, reason=reason)
            what = "taken; their study is processed again" if take is not None else "left as they are kept"
            messages.print(f"{count} instances {what}", markup=False)
            return
        kept = reception.conflicts()
        if as_json:
            print_json(
                [
                    {
                        "id": one.key,
                        "study_instance_uid": one.study_instance_uid,
                        "difference": one.difference,
                        "keywords": list(one.keywords),
                        "files": [str(file) for file in one.files],
                        "sources": list(one.sources),
                        "kept_at": one.kept_at.isoformat(),
                    }
                    for one in kept
                ]
            )
        else:
            rows = [
                (one.key, one.study_instance_uid, len(one.files), one.difference, ", ".join(one.sources))
                for one in kept
            ]
            columns = ["number", "study", "objects", "what differs", "from"]
            results.print(table("other content", columns, rows))
        raise typer.Exit(done(needs_a_person=bool(kept)))
