"""`tumorline run`: the whole pipeline in one process over folders of DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._exit import done as exit_code
from workflow.commands._shared import (
    ConfigOption,
    JsonOption,
    lesion_rows,
    log_to_stderr,
    messages,
    print_json,
    results,
    table,
)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("run")
    def run_command(
        inputs: Annotated[list[Path], typer.Argument(help="Folders or files of DICOM.", exists=True)],
        out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
        config: ConfigOption = None,
        as_json: JsonOption = False,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every stage.")] = False,
    ) -> None:
        """Process folders of DICOM from images and prompts to SEG, SR and RECIST, with no servers.

        Studies are put on their patients' timelines; lesions come from RTSTRUCT, SEG, SR and GSPS among the
        files and are tracked from study to study. Results:

            OUT/PATIENT/DATE_STUDY/{seg.dcm,sr.dcm,report.json}
            OUT/PATIENT/timeline.json

        The same folder can be given again: new studies join the timelines, nothing is done twice.
        Exit code 1: done, but a study or an object needs a person (said on stderr).

        Examples:

            tumorline run baseline/ follow-up/ --out results/

            tumorline run /data/patient7 --out results/ --json | jq '.patients[].time_points[].state'
        """
        from workflow.domain.states import VISIT_WORDS, VisitState
        from workflow.settings import load_settings
        from workflow.use_cases.run import run

        log_to_stderr(verbose)
        with messages.status("reading files") as status:
            done = run(
                inputs,
                out,
                load_settings(config),
                on_file=lambda n, of: status.update(f"receiving {n} of {of} files"),
                on_job=lambda stage, subject: status.update(f"{stage} {subject}"),
            )
        if as_json:
            print_json(done.to_json())
        else:
            for course, folder in zip(done.patients, done.folders, strict=True):
                columns, rows = lesion_rows(course["time_points"])
                if any(point["report"] for point in course["time_points"]):
                    results.print(table(f"patient {course['patient_id']}", columns, rows))
                else:
                    results.print(f"patient {course['patient_id']}", markup=False)
                for point in course["time_points"]:
                    words = VISIT_WORDS[VisitState(point["state"])]
                    reason = point["report"]["assessment"]["reason"] if point["report"] else point["reason"]
                    results.print(f"{point['study_date']} {words}: {reason}", markup=False)
                results.print(f"results: {folder}", markup=False)
        for reason in done.needs_attention:
            messages.print(f"needs a person: {reason}", markup=False)
        raise typer.Exit(exit_code(needs_a_person=bool(done.needs_attention)))
