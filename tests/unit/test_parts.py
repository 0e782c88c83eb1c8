"""A region that was drawn as one can be several lesions."""

from __future__ import annotations

import numpy as np
import pytest

from workflow.domain.geometry import Mask, Volume, union
from workflow.domain.lesion import LesionPrompt, MaskPrompt, PromptSource
from workflow.domain.parts import separate

SPACING = (2.0, 1.0, 1.0)


def _mask(*boxes) -> Mask:
    array = np.zeros((40, 60, 60), dtype=bool)
    for start, stop in boxes:
        array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return Mask.from_array(array)


def _prompt(**said) -> LesionPrompt:
    shape = MaskPrompt(volume=Volume(array=np.ones((1, 1, 1), dtype=bool), affine=np.eye(4)))
    return LesionPrompt(shapes=(shape,), **({"source": PromptSource.STRUCTURE_SET, "label": "LN"} | said))


BIG = ((5, 5, 5), (15, 15, 15))


@pytest.mark.parametrize(
    ("name", "second", "parts"),
    [
        ("far apart", ((5, 30, 30), (12, 38, 38)), 2),
        ("a gap of more than 5 mm", ((5, 5, 21), (12, 12, 28)), 2),
        ("a gap of less than 5 mm", ((5, 5, 18), (12, 12, 25)), 1),
        ("a gap over slices of more than 5 mm", ((18, 5, 5), (24, 12, 12)), 2),
        ("a stray contour", ((30, 50, 50), (31, 52, 52)), 1),
    ],
)
def test_parts_that_lie_apart_are_lesions_of_their_own(name, second, parts):
    mask = _mask(BIG, second)
    found = separate(_prompt(), mask, SPACING)
    assert len(found) == parts
    assert np.array_equal(union([part for _, part in found]).array(), mask.array())


def test_parts_have_names_of_their_own_largest_first():
    found = separate(_prompt(item="ROI 3"), _mask(((5, 30, 30), (9, 38, 38)), BIG), SPACING)
    assert [(p.label, p.item) for p, _ in found] == [
        ("LN (part 1 of 2)", "ROI 3 part 1"),
        ("LN (part 2 of 2)", "ROI 3 part 2"),
    ]
    assert found[0][1].voxel_count == 1000


@pytest.mark.parametrize("said", [{"tracking_uid": "2.25.1"}, {"source": PromptSource.MEASUREMENT_REPORT}])
def test_what_somebody_called_one_lesion_stays_one(said):
    mask = _mask(BIG, ((5, 30, 30), (12, 38, 38)))
    ((_, part),) = separate(_prompt(**said), mask, SPACING)
    assert part is mask
