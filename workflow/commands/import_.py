"""`tumorline import`: take DICOM files in from folders, as if they had been sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._exit import done as exit_code
from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("import")
    def import_command(
        inputs: Annotated[list[Path], typer.Argument(help="Folders or files.", exists=True)],
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Take DICOM files in from folders, as if they had been sent.

        The stack (`tumorline up`) goes on with them; without one, `tumorline run` does everything at once.
        What is no DICOM file is named and left out; what was known already changes nothing.

        Examples:

            tumorline import /mnt/cd

            tumorline import baseline/ follow-up/ --json
        """
        from workflow.bootstrap import build
        from workflow.domain.errors import UnsuitableInputError
        from workflow.listener import dicom_files, import_files
        from workflow.settings import load_settings

        files = list(dicom_files(inputs))
        if not files:
            raise UnsuitableInputError(f"no DICOM file below {', '.join(map(str, inputs))}")
        context = build(load_settings(config))
        with messages.status("reading") as status:
            done = import_files(files, context, lambda n, of: status.update(f"{n} of {of} files"))
        if as_json:
            rejected = [{"file": file, "reason": reason} for file, reason in done.rejected]
            print_json({"new": done.new, "known": done.known, "rejected": rejected})
        else:
            messages.print(f"{done.new} new instances, {done.known} known already")
            for file, reason in done.rejected:
                messages.print(f"left out: {file}: {reason}", markup=False)
        raise typer.Exit(exit_code(needs_a_person=bool(done.rejected)))
