"""Readiness, order of studies, priors: the pure rules."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow.domain.timeline import TimelineStudy, choose_priors, in_order

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


def _study(uid, day, at=None, modality="CT", text="CHEST", frame=None) -> TimelineStudy:
    return TimelineStudy(
        study_instance_uid=uid,
        study_date=date(2024, 1, day),
        study_time=time(at) if at is not None else None,
        modality=modality,
        region_text=text,
        frame_of_reference_uid=frame,
    )


def test_the_prior_is_the_nearest_earlier_study():
    studies = [_study("c", 3), _study("a", 1), _study("b", 2)]
    assert [s.study_instance_uid for s in in_order(studies)] == ["a", "b", "c"]
    assert choose_priors(studies, "c").study_instance_uids == ("b", "a")


def test_the_past_goes_before_the_same_day():
    studies = [_study("a", 1), _study("morning", 2, 8), _study("evening", 2, 18)]
    assert choose_priors(studies, "evening").study_instance_uids == ("a", "morning")


def test_without_a_past_the_same_day_is_the_prior():
    assert choose_priors([_study("m", 2, 8), _study("e", 2, 18)], "e").nearest == "m"


@pytest.mark.parametrize(
    ("name", "earlier", "reason"),
    [
        ("another modality", _study("a", 1, modality="MR"), "MR can't be compared with CT"),
        ("another region", _study("a", 1, text="BRAIN"), "head is not chest"),
    ],
)
def test_what_can_not_be_compared_is_no_prior_and_says_why(name, earlier, reason):
    choice = choose_priors([earlier, _study("b", 2)], "b")
    assert choice.nearest is None
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("name", "earlier"),
    [
        ("the region is not said", _study("a", 1, text="")),
        ("regions overlap", _study("a", 1, text="CT CHEST ABDOMEN PELVIS")),
        ("whole body", _study("a", 1, text="PET whole body")),
        ("an abbreviation that names both", _study("a", 1, text="CT CAP")),
        ("a word that only holds another", _study("a", 1, text="Beurteilung legacy Darm")),
        ("one frame of reference", _study("a", 1, text="ABDOMEN", frame="1.2")),
    ],
)
def test_what_may_be_compared_is(name, earlier):
    assert choose_priors([earlier, _study("b", 2, frame="1.2")], "b").nearest == "a"


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
