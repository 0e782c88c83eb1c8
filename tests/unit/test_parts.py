"""A region that was drawn as one is one lesion, unless drawing and image both say that it is several."""

from __future__ import annotations

import numpy as np
import pytest

from workflow.domain.geometry import Mask, Volume, union
from workflow.domain.lesion import LesionPrompt, MaskPrompt, PromptSource
from workflow.domain.parts import separate

SPACING = (2.0, 1.0, 1.0)
SHAPE = (40, 60, 60)
TISSUE, LESION = 40.0, 120.0


def _mask(*boxes) -> Mask:
    return Mask.from_array(_array(*boxes))


def _array(*boxes) -> np.ndarray:
    array = np.zeros(SHAPE, dtype=bool)
    for start, stop in boxes:
        array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return array


def _volume(*lesions, noise: float = 10.0) -> Volume:
    """A body of 40 HU with lesions of 120 HU in these boxes."""
    values = np.where(_array(*lesions), LESION, TISSUE)
    values = values + np.random.default_rng(1).normal(0, noise, SHAPE)
    return Volume(array=values.astype(np.float32), affine=np.diag([*SPACING, 1.0]))


def _prompt(label: str = "GTV", **said) -> LesionPrompt:
    shape = MaskPrompt(volume=Volume(array=np.ones((1, 1, 1), dtype=bool), affine=np.eye(4)))
    return LesionPrompt(
        shapes=(shape,), label=label, **({"source": PromptSource.STRUCTURE_SET, "item": "ROI 3"} | said)
    )


BIG = ((5, 5, 5), (15, 15, 15))
APART = ((5, 30, 30), (12, 38, 38))
BESIDE = ((5, 5, 23), (15, 15, 33))
BRIDGE = ((5, 5, 15), (15, 15, 23))


@pytest.mark.parametrize("label", ["GTV", "LN"])
@pytest.mark.parametrize(
    ("name", "second", "parts"),
    [
        ("far apart", APART, 2),
        ("a gap of more than 5 mm", ((5, 5, 21), (12, 12, 28)), 2),
        ("a gap of less than 5 mm", ((5, 5, 18), (12, 12, 25)), 1),
        ("a gap over slices of more than 5 mm", ((18, 5, 5), (24, 12, 12)), 2),
        ("a stray contour", ((30, 50, 50), (31, 52, 52)), 1),
    ],
)
def test_parts_that_lie_apart_in_drawing_and_image_are_lesions_of_their_own(name, second, parts, label):
    mask = _mask(BIG, second)
    found = separate(_prompt(label), mask, _volume(BIG, second))
    assert len(found.parts) == parts
    assert np.array_equal(union([part for _, part in found.parts]).array(), mask.array())
    # A name of nodes says itself that there are several; of anything else a person is asked.
    assert bool(found.doubt) is (parts > 1 and label == "GTV")


def test_parts_between_which_the_lesion_goes_on_are_one():
    found = separate(_prompt(), _mask(BIG, BESIDE), _volume(BIG, BRIDGE, BESIDE))
    assert (len(found.parts), found.doubt) == (1, "")


def test_the_doubt_names_the_object_and_the_item():
    found = separate(_prompt(sop_instance_uid="1.2.3.66"), _mask(BIG, BESIDE), _volume(BIG, BESIDE))
    assert found.doubt.startswith("ROI 3 of 1.2.3.66 was drawn as one and has 2 parts")


def test_of_three_parts_those_that_the_image_joins_stay_together():
    found = separate(_prompt(), _mask(BIG, BESIDE, APART), _volume(BIG, BRIDGE, BESIDE, APART))
    assert [part.voxel_count for _, part in found.parts] == [2000, 448]


def test_a_lesion_that_does_not_stand_out_is_not_joined_by_what_lies_between():
    found = separate(_prompt(), _mask(BIG, BESIDE), _volume(noise=15.0))
    assert len(found.parts) == 2
    assert found.doubt


def test_parts_have_names_of_their_own_largest_first():
    found = separate(_prompt("LN"), _mask(((5, 30, 30), (9, 38, 38)), BIG), _volume())
    assert [(p.label, p.item) for p, _ in found.parts] == [
        ("LN (part 1 of 2)", "ROI 3 part 1"),
        ("LN (part 2 of 2)", "ROI 3 part 2"),
    ]
    assert found.parts[0][1].voxel_count == 1000


@pytest.mark.parametrize("said", [{"tracking_uid": "2.25.1"}, {"source": PromptSource.MEASUREMENT_REPORT}])
def test_what_somebody_called_one_lesion_stays_one(said):
    mask = _mask(BIG, APART)
    ((_, part),) = separate(_prompt(**said), mask, _volume(BIG, APART)).parts
    assert part is mask
