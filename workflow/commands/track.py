"""`tumorline track`: the lesions of a baseline found again on a follow-up, measured on both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._shared import print_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def track(
        baseline: Annotated[Path, typer.Option(help="DICOM folder, NIfTI, NRRD or MHA.")],
        lesions: Annotated[Path, typer.Option(help="Mask on the baseline; each label is one lesion.")],
        follow_up: Annotated[Path, typer.Option(help="DICOM folder, NIfTI, NRRD or MHA.")],
        out: Annotated[Path, typer.Option(help="Folder for the label map and result.json.")],
        model: Annotated[str, typer.Option(help="A tracker's name.")] = "weight-free",
        weights: Annotated[Path | None, typer.Option(help="File or folder of the model's weights.")] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
        parameters: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the model; repeatable."),
        ] = None,
    ) -> None:
        """Find a baseline's lesions again on a follow-up; JSON on stdout.

        Each lesion is present, too_small, disappeared or tracking_failed, with a confidence and the reason.

        **Examples**

        `tumorline track --baseline ct1/ --lesions lesions.nii.gz --follow-up ct2/ --out follow_up/`

        `tumorline track --baseline a.nii.gz --lesions m.nii.gz --follow-up b.nii.gz --out out
        | jq '.lesions[] | [.label, .state, .measurement.long_axis_mm]'`
        """
        from workflow.use_cases.track import track_images

        print_json(
            track_images(
                baseline,
                lesions,
                follow_up,
                out,
                model=model,
                weights=weights,
                device=device,
                parameters=parameters or (),
                progress=say,
            )
        )
