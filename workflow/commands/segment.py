"""`tumorline segment`: lesions of one image from prompts, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._shared import print_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def segment(
        image: Annotated[Path, typer.Argument(help="DICOM folder, NIfTI, NRRD or MHA.")],
        prompt: Annotated[
            list[str],
            typer.Option(
                help="Where a lesion is, LPS mm: point:x,y,z  line:x1,y1,z1,x2,y2,z2  box:x1,y1,z1,x2,y2,z2  "
                "mask:FILE. Repeat it for more lesions."
            ),
        ],
        out: Annotated[
            Path, typer.Option(help="Label map to write (.nii.gz, .nrrd, .mha): lesion 1 is 1 ...")
        ],
        model: Annotated[str, typer.Option(help="A segmenter's name.")] = "weight-free",
        weights: Annotated[Path | None, typer.Option(help="File or folder of the model's weights.")] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
        parameters: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the model; repeatable."),
        ] = None,
    ) -> None:
        """Segment lesions from prompts and measure them; JSON on stdout.

        A reader's mask (`mask:FILE`) is measured as it was drawn.

        **Examples**

        `tumorline segment ct/ --prompt point:-62,18,-1240 --out lesions.nii.gz`

        `tumorline segment ct.nii.gz --prompt line:-70,18,-1240,-52,24,-1240 --prompt box:10,-5,80,34,20,99
        --out lesions.nii.gz | jq '.lesions[].measurement.long_axis_mm'`

        `tumorline segment ct/ --model medsam --weights medsam_vit_b.pth --set window=lung
        --prompt box:10,-5,80,34,20,99 --out lesions.nii.gz`
        """
        from workflow.use_cases.segment import segment_image

        print_json(
            segment_image(
                image,
                prompt,
                out,
                model=model,
                weights=weights,
                device=device,
                parameters=parameters or (),
                progress=say,
            )
        )
