"""`tumorline demo`: the main job, end to end, on this machine."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from workflow.commands._exit import done
from workflow.commands._shared import JsonOption, lesion_rows, messages, print_json, results, table


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("demo")
    def demo_command(
        out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the demo (emptied first).")] = Path(
            "demo-output"
        ),
        keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Run the main job end to end: send two patients' studies over DICOM, get RECIST, SEG and SR back.

        Starts the embedded stack on free ports of this machine, sends a baseline and a follow-up of
        (a) a real pair of chest CTs with implanted nodules of known size and (b) a real lung cancer with a
        simulated follow-up, waits, prints what was found beside the truth, and ends the stack.
        Exit code 1: something differs from the truth.

        Examples:

            tumorline demo

            tumorline demo --keep --out /tmp/demo
        """
        from workflow.simulation.studies import demo_studies
        from workflow.use_cases.attention import needs_a_person
        from workflow.use_cases.demo import Demo, compare

        started = time.monotonic()
        _empty(out)
        with messages.status("simulating two patients") as status:
            patients = demo_studies(out / "studies", progress=lambda s, what: status.update(what)).patients
        messages.print(f"simulated two patients in {time.monotonic() - started:.0f} s: {out / 'studies'}")
        rows = []
        with Demo(out) as demo:
            with messages.status("sending") as status:
                for patient in patients:
                    for folder in patient.time_points:
                        count = demo.send(folder, lambda n, of: status.update(f"sending {n} of {of}"))
                        messages.print(
                            f"sent {count} instances of {patient.patient_id} {folder.name} by C-STORE"
                        )
                status.update("waiting for the studies to be complete")
                demo.wait(lambda now: status.update(_doing(now)))
            courses, state = demo.courses(), demo.status()
            for patient in patients:
                course = next(c for c in courses if c["patient_id"] == patient.patient_id)
                truth = json.loads(patient.truth.read_text(encoding="utf-8"))
                rows += compare(course, truth, patient.patient_id)
            seconds = time.monotonic() - started
            if as_json:
                print_json({"courses": courses, "truth": [vars(row) for row in rows], "status": state,
                            "seconds": round(seconds, 1), "folder": str(demo.folder)})  # fmt: skip
            else:
                _show(courses, rows)
                port = demo.settings.web.port
                results.print(
                    f"SEG, SR, PDF  {demo.folder / 'home' / 'results'} (as delivered: home/archive)"
                )
                results.print(f"page          http://127.0.0.1:{port}/" + ("" if keep else "  (with --keep)"))
                results.print(f"done in {seconds:.0f} s")
            for stopped in state["stopped"]:
                messages.print(f"stopped: {stopped['stage']}: {stopped['error']}", markup=False)
            if keep:
                messages.print("The stack is running; Ctrl-C ends it.")
                _wait_for_the_end(demo)
        # What the stages doubt is on the page; here it is held against the truth.
        unwell = needs_a_person({**state, "attention": ()}) or not all(row.agrees for row in rows)
        raise typer.Exit(done(needs_a_person=bool(unwell)))


def _empty(folder: Path) -> None:
    """Empty the demo's folder; refuse one that is not the demo's."""
    import shutil

    from workflow.domain.errors import UnsuitableInputError

    marker = folder / ".tumorline-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise UnsuitableInputError(f"{folder} is not empty and not of a demo; give another with --out")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()


def _doing(status: Mapping[str, Any]) -> str:
    running = [f"{j['stage']} {j['progress']:.0%} {j['doing']}" for j in status["running"]]
    waiting = sum(j["count"] for j in status["jobs"] if j["state"] == "SCHEDULED")
    return "; ".join(running) or f"{waiting} jobs wait, {status['instances']} instances received"


def _show(courses: list[dict[str, Any]], rows: list[Any]) -> None:
    for course in courses:
        columns, cells = lesion_rows(course["time_points"])
        results.print(table(f"RECIST 1.1, patient {course['patient_id']}", columns, cells))
        for point in course["time_points"]:
            if point["report"]:
                results.print(
                    f"  {point['study_date']}: {point['report']['assessment']['reason']}", markup=False
                )
    results.print(
        table(
            "found beside the simulated truth",
            ["patient", "lesion", "date", "truth", "found", "agrees", "within"],
            [
                (
                    r.patient_id,
                    r.lesion,
                    r.study_date,
                    r.expected,
                    r.found,
                    "yes" if r.agrees else "NO",
                    r.tolerance,
                )
                for r in rows
            ],
        )
    )


def _wait_for_the_end(demo: Any) -> None:
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))
    while not stop:
        demo.supervisor.check()
        time.sleep(0.5)
