"""`tumorline simulate`: studies whose truth is known, from the real images in examples/data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow.commands._shared import JsonOption, messages, print_json, results, table

if TYPE_CHECKING:
    from workflow.ports import Progress
    from workflow.simulation.studies import SimulatedPatientFolder

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the patients; made if missing.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed writes the same bytes.")]
CasesOption = Annotated[
    int, typer.Option("--cases", min=1, help="Patients to write, with seeds from --seed on.")
]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        help="What shows the lesions: sr, rtstruct, both or none.",
        show_default="as a reader would",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(
        help="Write DICOM studies with known lesions: images, prompts and the truth beside them.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    group.command("lung-pair")(lung_pair)
    group.command("breathing")(breathing)
    app.add_typer(group, name="simulate")


def lung_pair(
    out: OutOption,
    seed: SeedOption = 1,
    cases: CasesOption = 1,
    time_points: Annotated[
        int,
        typer.Option(
            "--time-points", min=2, max=6, help="Studies per patient; 3 gives a response, then progression."
        ),
    ] = 2,
    slice_mm: Annotated[
        float | None,
        typer.Option(
            "--slice-mm", min=2.5, max=12.5, help="Average to thicker slices, mm.", show_default="2.5"
        ),
    ] = None,
    tilt_deg: Annotated[
        float,
        typer.Option(
            "--tilt", min=-30.0, max=30.0, help="Turn the acquired planes about the left-right axis."
        ),
    ] = 0.0,
    prompts: PromptsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Implant nodules of known diameter into a real longitudinal CT pair of one lung.

    The nodules lie at corresponding landmarks of both dates. With one case they are the demo's: one shrinks,
    one grows, one vanishes, one is new. With more cases number, sizes and fates are drawn. From the third
    time point on, the image is the follow-up after a simulated breath.

    Each patient is a folder `lung-pair` (or `lung-pair-001` ...) with `baseline/`, `follow-up/` ...,
    `truth.json` (states, diameters, volumes, positions, expected response) and the truth masks.

    Examples:

        tumorline simulate lung-pair --out simulated/

        tumorline simulate lung-pair --out simulated/ --time-points 3 --seed 7

        tumorline simulate lung-pair --out many/ --cases 20 --json | jq -r '.patients[].truth'
    """
    if cases > 1 and time_points > 2:
        raise typer.BadParameter("several cases have two time points each", param_hint="--time-points")
    from workflow.simulation.studies import PromptKind, write_lung_pair, write_random_lung_pairs

    def write(progress: Progress) -> list[SimulatedPatientFolder]:
        kind = PromptKind(prompts or "sr")
        if cases > 1:
            return write_random_lung_pairs(
                out,
                seed=seed,
                count=cases,
                prompts=kind,
                slice_mm=slice_mm,
                tilt_deg=tilt_deg,
                progress=progress,
            )
        return [
            write_lung_pair(
                out,
                seed=seed,
                time_points=time_points,
                prompts=kind,
                slice_mm=slice_mm,
                tilt_deg=tilt_deg,
                progress=progress,
            )
        ]

    _run(write, prompts, as_json)


def breathing(
    out: OutOption,
    seed: SeedOption = 1,
    cases: CasesOption = 1,
    factor: Annotated[
        list[float] | None,
        typer.Option(
            "--factor",
            min=0.0,
            max=1.0,
            help="The tumour's size over baseline, once per follow-up.",
            show_default="0.6",
        ),
    ] = None,
    prompts: PromptsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a real lung cancer CT with its structure set, and a simulated follow-up of it.

    The baseline is the 4D-Lung case as it is, with a new identity; its tumour and lymph nodes are the prompt
    (RTSTRUCT). In the follow-up the tumour is smaller by a known factor, the chest breathes differently and
    the noise is new; every description says "simulated follow-up".

    Examples:

        tumorline simulate breathing --out simulated/

        tumorline simulate breathing --out simulated/ --factor 0.6 --factor 0.3 --seed 4
    """
    from workflow.simulation.studies import PromptKind, write_breathing

    def write(progress: Progress) -> list[SimulatedPatientFolder]:
        return [
            write_breathing(
                out,
                seed=seed + number,
                name="breathing" if cases == 1 else f"breathing-{number + 1:03d}",
                factors=tuple(factor or (0.6,)),
                prompts=PromptKind(prompts or "rtstruct"),
                progress=progress,
            )
            for number in range(cases)
        ]

    _run(write, prompts, as_json)


def _run(
    write: Callable[[Progress], list[SimulatedPatientFolder]], prompts: str | None, as_json: bool
) -> None:
    if prompts not in (None, "sr", "rtstruct", "both", "none"):
        raise typer.BadParameter(f"{prompts!r} is none of sr, rtstruct, both, none", param_hint="--prompts")
    with messages.status("starting") as status:
        patients = write(lambda share, what: status.update(f"{share:4.0%} {what}"))
    if as_json:
        print_json({"patients": [_described(patient) for patient in patients]})
        return
    rows = [
        [patient.patient_id, ", ".join(path.name for path in patient.time_points), str(patient.folder)]
        for patient in patients
    ]
    results.print(table("simulated patients", ["patient", "studies", "folder"], rows))


def _described(patient: SimulatedPatientFolder) -> dict[str, Any]:
    return {
        "patient_id": patient.patient_id,
        "description": patient.description,
        "folder": str(patient.folder),
        "studies": [
            {"folder": str(path), "study_instance_uid": uid}
            for path, uid in zip(patient.time_points, patient.study_instance_uids, strict=True)
        ],
        "truth": str(patient.truth),
    }
