"""`tumorline segment`: lesions of one image from prompts, measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow.domain.errors import UnsuitableInputError, WorkflowError
from workflow.domain.geometry import Mask, Point, Volume
from workflow.domain.lesion import (
    BoxPrompt,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    ModelIdentity,
    PointPrompt,
    PromptShape,
    PromptSource,
)
from workflow.domain.measurement import measure

if TYPE_CHECKING:
    from workflow.ports import Progress

_COUNTS = {"point": 3, "line": 6, "box": 6}
_EXAMPLE = ("-12.5", "40", "113.2", "8", "52", "120")


def prompts_from_text(text: str) -> list[LesionPrompt]:
    """Read one `--prompt`: `point:x,y,z`, `line:` or `box:x1,y1,z1,x2,y2,z2` in LPS mm, or `mask:FILE`.

    A mask file with several labels is several lesions, in the order of their labels.

    Raises
    ------
    UnsuitableInputError
        If it is none of these; the message shows the right form.
    """
    kind, _, value = text.partition(":")
    if kind == "mask" and value:
        return [_prompt(MaskPrompt(volume=volume)) for volume in _masks_of(Path(value))]
    if kind not in _COUNTS:
        raise UnsuitableInputError(
            f"the prompt '{text}' is none of point:x,y,z line:x1,y1,z1,x2,y2,z2 box:x1,y1,z1,x2,y2,z2 "
            "mask:FILE"
        )
    try:
        numbers = [float(number) for number in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != _COUNTS[kind]:
        raise UnsuitableInputError(
            f"the prompt '{text}' needs {_COUNTS[kind]} numbers (LPS mm) with commas in between, "
            f"as in {kind}:{','.join(_EXAMPLE[: _COUNTS[kind]])}"
        )
    return [_prompt(_shape(kind, numbers))]


def segment_image(
    image: Path,
    prompts: Sequence[str],
    out: Path,
    *,
    model: str = "weight-free",
    weights: Path | None = None,
    device: str = "auto",
    parameters: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Segment each prompt's lesion, write the label map (1 to n) and return what was measured.

    Raises
    ------
    WorkflowError
        If the image, a prompt or the model can't be used; the message says which and what to do.
    """
    from models.registry import limits_of, open_segmenter, parameters_from_text
    from workflow.ports import no_progress
    from workflow.settings import load_settings
    from workflow.use_cases.images import check_output, label_map, read_image, write_image

    check_output(out)
    asked = [prompt for text in prompts for prompt in prompts_from_text(text)]
    volume = read_image(image)
    segmenter = open_segmenter(
        model,
        weights,
        device=device,
        allowed_licences=load_settings().models.allowed_licences,
        **parameters_from_text(parameters),
    )
    found = segmenter.segment(volume, asked, progress=progress or no_progress)
    masks = {lesion.index + 1: lesion.mask for lesion in found}
    write_image(out, label_map(masks, volume.shape), volume)
    return {
        "image": str(image),
        "mask": str(out),
        "model": described(segmenter.identity),
        "limits": list(limits_of(segmenter.identity.name)),
        "lesions": [
            {
                "label": lesion.index + 1,
                "confidence": round(lesion.confidence, 3),
                "flags": sorted(flag.name for flag in lesion.flags),
                "measurement": measured(volume, lesion.mask),
            }
            for lesion in found
        ],
    }


def measured(volume: Volume, mask: Mask) -> dict[str, Any] | None:
    """A mask's measurement as JSON, lengths in mm to 0.01; None if it is empty."""
    if mask.is_empty:
        return None
    size = measure(volume, mask)
    return {
        "long_axis_mm": round(size.long_axis.length_mm, 2),
        "long_axis_lps": [rounded(size.long_axis.start_lps), rounded(size.long_axis.end_lps)],
        "short_axis_mm": round(size.short_axis.length_mm, 2),
        "short_axis_lps": [rounded(size.short_axis.start_lps), rounded(size.short_axis.end_lps)],
        "slice_index": size.slice_index,
        "volume_mm3": round(size.volume_mm3, 2),
        "volume_ml": round(size.volume_mm3 / 1000, 3),
        "mean_hu": None if size.mean_hu is None else round(size.mean_hu, 2),
        "centroid_lps": rounded(volume.lps(mask.centroid_ijk())),
    }


def rounded(position: Any) -> list[float]:
    """A position in LPS mm, to 0.01."""
    return [round(float(value), 2) for value in position]


def described(identity: ModelIdentity) -> dict[str, Any]:
    """A model's identity as JSON."""
    return {
        "name": identity.name,
        "version": identity.version,
        "weights_sha256": identity.weights_sha256,
        "licence": identity.licence,
        "parameters": dict(identity.parameters),
    }


def say(share: float, what: str) -> None:
    """Progress on stderr, so that stdout is JSON alone."""
    typer.echo(f"{100 * share:3.0f} % {what}", err=True)


def finish(work: Any) -> None:
    """Run a verb: its JSON on stdout and exit code 0, or one line on stderr and exit code 2."""
    try:
        result = work()
    except WorkflowError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(json.dumps(result, indent=2))


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
        finish(
            lambda: segment_image(
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


def _masks_of(path: Path) -> list[Volume]:
    import numpy as np

    from workflow.use_cases.images import read_image

    labels = read_image(path)
    values = [value for value in np.unique(labels.array) if value > 0]
    if not values:
        raise UnsuitableInputError(f"{path}: no voxel is set; give a mask with at least one lesion")
    return [labels.with_array(labels.array == value) for value in values]


def _prompt(shape: PromptShape) -> LesionPrompt:
    return LesionPrompt(shapes=(shape,), source=PromptSource.READER)


def _shape(kind: str, numbers: Sequence[float]) -> PromptShape:
    first = _point(numbers[:3])
    if kind == "point":
        return PointPrompt(position_lps=first)
    second = _point(numbers[3:])
    if kind == "line":
        return LinePrompt(start_lps=first, end_lps=second)
    # Any two opposite corners will do.
    low = _point([min(a, b) for a, b in zip(first, second, strict=True)])
    high = _point([max(a, b) for a, b in zip(first, second, strict=True)])
    return BoxPrompt(minimum_lps=low, maximum_lps=high)


def _point(numbers: Sequence[float]) -> Point:
    x, y, z = numbers
    return x, y, z
