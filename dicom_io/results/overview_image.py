"""Where the lesions of a volume lie in the body: a coronal projection with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from dicom_io.results.key_images import label_font, lesion_centre_ijk
from workflow.domain.geometry import FloatArray, Volume
from workflow.domain.palette import colour_of
from workflow.domain.report import ReportedLesion

_LONGEST_SIDE = 480
# Air outside the patient would thin out what a mean shows.
_CT_FLOOR_HU = -200.0
_LEFT, _BACK, _UP = 0, 1, 2  # axes of LPS


def render_overview(volume: Volume, lesions: Sequence[ReportedLesion], *, modality: str) -> bytes:
    """Draw a volume as one coronal picture, head up and the patient's right on the left; a PNG file.

    CT and MR are a mean from front to back, like a radiograph; PET is a maximum, dark on white. Each lesion
    with a place has a dot in its colour and its label beside it.
    """
    from PIL import Image, ImageDraw

    axes = _axes_of(volume)
    spacing = np.array(volume.spacing_mm)
    grey = _projection(volume, axes, modality)
    height, width = grey.shape[0] * spacing[axes[_UP]], grey.shape[1] * spacing[axes[_LEFT]]
    scale = _LONGEST_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    pen = ImageDraw.Draw(picture)
    font = label_font(_LONGEST_SIDE // 28)
    for lesion in lesions:
        centre = lesion_centre_ijk(volume, lesion)
        if centre is None:
            continue
        x, y = (scale * mm for mm in _place_mm(volume, axes, centre))
        colour = colour_of(lesion.role, lesion.label)
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour, outline=(0, 0, 0))
        is_right = x > size[0] * 0.8  # the label stays within the picture
        pen.text(
            (x - 9 if is_right else x + 9, y),
            lesion.label,
            font=font,
            anchor="rm" if is_right else "lm",
            fill=colour,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def _axes_of(volume: Volume) -> tuple[int, int, int]:
    """The array axes that run most along left, back and up, each once."""
    along = np.abs(volume.directions)  # LPS by array axis
    up = int(np.argmax(along[_UP]))
    back = max((axis for axis in range(3) if axis != up), key=lambda axis: along[_BACK, axis])
    (left,) = {0, 1, 2} - {up, back}
    return left, back, up


def _is_flipped(volume: Volume, axes: tuple[int, int, int]) -> tuple[bool, bool]:
    """Whether rows of the picture (head first) and its columns (right first) run against the array's axes."""
    left, _, up = axes
    return bool(volume.directions[_UP, up] > 0), bool(volume.directions[_LEFT, left] < 0)


def _projection(volume: Volume, axes: tuple[int, int, int], modality: str) -> NDArray[np.uint8]:
    _, back, up = axes
    # Plane by plane from head to foot: no second volume beside the one that is there.
    planes = np.moveaxis(volume.array, (up, back), (0, 2))
    flat: FloatArray
    if modality == "PT":
        flat = np.stack([plane.max(axis=1) for plane in planes]).astype(np.float64)
    elif modality == "CT":
        flat = np.stack([np.maximum(plane, _CT_FLOOR_HU).mean(axis=1, dtype=np.float64) for plane in planes])
    else:
        flat = np.stack([plane.mean(axis=1, dtype=np.float64) for plane in planes])
    upside_down, mirrored = _is_flipped(volume, axes)
    flat = flat[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    low, high = (float(v) for v in np.percentile(flat, (1, 99.5)))
    shade = np.clip((flat - low) / max(high - low, 1e-6), 0, 1)
    if modality == "PT":
        shade = 1 - shade
    grey: NDArray[np.uint8] = np.round(shade * 255).astype(np.uint8)
    return grey


def _place_mm(volume: Volume, axes: tuple[int, int, int], centre_ijk: FloatArray) -> tuple[float, float]:
    """(x, y) in the picture, mm from its upper left corner."""
    left, _, up = axes
    upside_down, mirrored = _is_flipped(volume, axes)
    x, y = centre_ijk[left] + 0.5, centre_ijk[up] + 0.5
    if mirrored:
        x = volume.shape[left] - x
    if upside_down:
        y = volume.shape[up] - y
    return x * volume.spacing_mm[left], y * volume.spacing_mm[up]
