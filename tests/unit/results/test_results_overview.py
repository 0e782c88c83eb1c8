"""The coronal overview: every lesion where it is in the body, whichever way the array runs."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from phantoms import reported_lesion, sphere
from PIL import Image

from dicom_io.results import render_overview
from workflow.domain.geometry import Point, Volume, affine_from_axes
from workflow.domain.palette import colour_of
from workflow.domain.report import LesionRole

UP, BACK, LEFT = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
HEAD_RIGHT: Point = (-30.0, 10.0, 42.0)  # a quarter and 3/20 of the way from the corner


def _against(direction: Point) -> Point:
    return tuple(-part for part in direction)  # type: ignore[return-value]


def _volume(*directions: Point, spacing_mm: Point = (4.0, 2.0, 2.0)) -> Volume:
    """A grey box of 120 mm a side around the origin, its array axes along the given directions."""
    shape = tuple(round(120 / mm) for mm in spacing_mm)
    steps = [np.array(d) * mm for d, mm in zip(directions, spacing_mm, strict=True)]
    origin = -sum(step * (n - 1) / 2 for step, n in zip(steps, shape, strict=True))
    affine = affine_from_axes(
        origin_lps=tuple(origin), slice_step=steps[0], row_step=steps[1], column_step=steps[2]
    )
    return Volume(array=np.full(shape, 40, dtype=np.int16), affine=affine)


def _spot(volume: Volume, modality: str = "CT") -> tuple[float, float]:
    """(x, y) of the lesion's colour in the picture, as parts of its width and height."""
    lesion = reported_lesion(volume, sphere(volume, HEAD_RIGHT, 8.0), "T01")
    with Image.open(BytesIO(render_overview(volume, [lesion], modality=modality))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    near = np.abs(pixels - colour_of(LesionRole.TARGET, "T01")).sum(axis=2) < 20
    rows, columns = np.nonzero(near)
    left_most = columns <= columns.min() + 8  # the dot; its label is to the right of it
    return columns[left_most].mean() / pixels.shape[1], rows[left_most].mean() / pixels.shape[0]


@pytest.mark.parametrize(
    "directions",
    [
        (UP, BACK, LEFT),
        (_against(UP), BACK, LEFT),  # stored from head to feet
        (LEFT, BACK, _against(UP)),  # sagittal
        (BACK, _against(UP), LEFT),  # coronal
        (UP, _against(BACK), _against(LEFT)),  # prone
    ],
)
def test_a_lesion_high_up_on_the_right_is_in_the_upper_left_of_the_picture(directions):
    x, y = _spot(_volume(*directions))
    assert (x, y) == pytest.approx((0.25, 0.15), abs=0.02)


def test_unequal_spacing_distorts_nothing():
    tall = _volume(UP, BACK, LEFT, spacing_mm=(8.0, 1.0, 1.0))
    with Image.open(BytesIO(render_overview(tall, [], modality="MR"))) as image:
        assert image.size == (480, 480)


def test_a_lesion_without_a_place_is_left_out():
    volume = _volume(UP, BACK, LEFT)
    gone = reported_lesion(volume, None, "T01")
    with_it, without = (render_overview(volume, lesions, modality="PT") for lesions in ([gone], []))
    assert with_it == without
