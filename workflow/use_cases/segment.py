"""Lesions of one image from prompts, measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workflow.bootstrap import limits_of, open_segmenter
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
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
from workflow.ports import Progress, no_progress
from workflow.settings import Models, load_settings
from workflow.use_cases.images import check_output, label_map, read_image, write_image

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
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Segment each prompt's lesion, write the label map (1 to n) and return what was measured.

    Raises
    ------
    WorkflowError
        If the image, a prompt or the model can't be used; the message says which and what to do.
    """
    check_output(out)
    asked = [prompt for text in prompts for prompt in prompts_from_text(text)]
    volume = read_image(image)
    segmenter = open_segmenter(
        Models(
            segmenter=model,
            segmenter_weights=weights,
            segmenter_parameters=parameters_from_text(parameters),
            device=device,
            allowed_licences=load_settings().models.allowed_licences,
        )
    )
    found = segmenter.segment(volume, asked, progress=progress)
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


def parameters_from_text(settings: Sequence[str]) -> dict[str, Any]:
    """A model's own parameters, from "name=value" as a command line has them.

    Values are JSON (`clean_up=false`, `folds=[0,1]`, `window=[-160,240]`); what is no JSON is text
    (`window=lung`).

    Raises
    ------
    ConfigurationError
        If one has no "=".
    """
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name.isidentifier():
            raise ConfigurationError(f"the parameter '{setting}' is not NAME=VALUE, as in window=lung")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return parameters


def _masks_of(path: Path) -> list[Volume]:
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
