"""Readiness, and masks that are one lesion: the pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.domain.geometry import Mask, Volume, affine_from_axes, dice, mask_on_grid, union
from workflow.domain.matching import match
from workflow.domain.study_state import Readiness, ReceptionFacts, ReceptionRule, judge_readiness

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)
RULE = ReceptionRule(quiet_s=120, max_wait_s=3600, required_modalities=frozenset({"CT"}))


def _facts(first=200, last=130, modalities=("CT",), asked=True, polls=2) -> ReceptionFacts:
    return ReceptionFacts(
        first_received_at=NOW - timedelta(seconds=first),
        last_received_at=NOW - timedelta(seconds=last),
        modalities=frozenset(modalities),
        pacs_is_asked=asked,
        agreeing_polls=polls,
    )


@pytest.mark.parametrize(
    ("name", "facts", "expected", "reason"),
    [
        ("all evidence is there", _facts(), Readiness.READY, ""),
        ("exactly quiet long enough", _facts(last=120), Readiness.READY, ""),
        ("not quiet yet", _facts(last=119), Readiness.WAIT, "less than 120 s"),
        ("the PACS agreed only once", _facts(polls=1), Readiness.WAIT, "the PACS does not count"),
        ("no PACS is asked", _facts(asked=False, polls=0), Readiness.READY, ""),
        ("the required modality is missing", _facts(modalities=("SR",)), Readiness.WAIT, "no CT came"),
        ("waited long enough", _facts(first=3600, polls=0), Readiness.READY_INCOMPLETE, "after 3600 s"),
        ("waited just too short", _facts(first=3599, polls=0), Readiness.WAIT, "the PACS"),
    ],
)
def test_readiness(name, facts, expected, reason):
    verdict, why = judge_readiness(facts, RULE, NOW)
    assert verdict is expected
    assert reason in why


def _mask(start, size, shape=(20, 20, 20)) -> Mask:
    array = np.zeros(shape, dtype=bool)
    array[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))] = True
    return Mask.from_array(array)


def test_findings_are_paired_with_the_likest_lesion():
    known = [_mask((2, 2, 2), (5, 5, 5)), _mask((12, 12, 12), (5, 5, 5))]
    found = [_mask((12, 12, 13), (5, 5, 5)), _mask((3, 2, 2), (5, 5, 5)), _mask((2, 14, 2), (3, 3, 3))]
    assert match(found, known, (1.0, 1.0, 1.0)) == {0: 1, 1: 0}


boxes = st.tuples(*[st.integers(0, 12)] * 3), st.tuples(*[st.integers(1, 6)] * 3)


@given(*boxes, *boxes)
def test_dice_and_union_are_those_of_the_whole_arrays(start_a, size_a, start_b, size_b):
    one, other = _mask(start_a, size_a), _mask(start_b, size_b)
    a, b = one.array(), other.array()
    assert dice(one, other) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert np.array_equal(union([one, other]).array(), a | b)


@given(*boxes)
def test_a_mask_drawn_on_a_crop_lands_on_the_same_voxels(start, size):
    affine = affine_from_axes(
        origin_lps=(-3.0, 7.0, 50.0), slice_step=(0, 0, -2.5), row_step=(0, 0.7, 0), column_step=(0.7, 0, 0)
    )
    grid = Volume(array=np.zeros((20, 20, 20), dtype=np.int16), affine=affine)
    whole = _mask(start, size)
    crop = grid.with_array(whole.array()).crop(whole.start_ijk, whole.stop_ijk)
    assert np.array_equal(mask_on_grid(crop, grid).array(), whole.array())
