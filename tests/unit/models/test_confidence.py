"""Confidence as the overlap of results from prompts a few millimetres apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from shapes import a_prompt, a_volume, at

from models.confidence import PromptSensitivity, moved
from models.prompt_geometry import centre_ijk
from workflow.domain.geometry import Mask
from workflow.domain.lesion import (
    BoxPrompt,
    Flag,
    LinePrompt,
    MaskPrompt,
    ModelIdentity,
    OutlinePrompt,
    PointPrompt,
    SegmentedLesion,
)
from workflow.ports import Segmenter

VOLUME = a_volume()  # 0.8 x 0.5 mm pixels


@dataclass
class Square:
    """Finds 10 x 10 pixels around the prompt's centre, or around a fixed place whatever the prompt."""

    fixed: bool = False
    size: int = 10
    calls: list[int] = field(default_factory=list)
    identity = ModelIdentity(name="square", version="1", parameters={"size": "10"})

    def segment(self, volume, prompts, *, progress=None):
        self.calls.append(len(prompts))
        progress(1.0, "square")
        return [self.one(volume, index, prompt) for index, prompt in enumerate(prompts)]

    def one(self, volume, index, prompt):
        slice_, row, column = (5, 20, 25) if self.fixed else np.rint(centre_ijk(volume, prompt)).astype(int)
        array = np.zeros(volume.shape, dtype=bool)
        half = self.size // 2
        array[slice_, row - half : row + half, column - half : column + half] = True
        return SegmentedLesion(index=index, mask=Mask.from_array(array), confidence=0.42, model=self.identity)


def click(*index):
    return a_prompt(PointPrompt(position_lps=at(VOLUME, *index)))


def test_the_wrapper_is_a_segmenter():
    assert isinstance(PromptSensitivity(inner=Square()), Segmenter)


def test_a_result_that_does_not_move_with_its_prompt_is_certain():
    (found,) = PromptSensitivity(inner=Square(fixed=True)).segment(VOLUME, [click(5, 20, 25)])
    assert found.confidence == 1.0
    assert found.flags == frozenset()


def test_a_result_that_moves_with_its_prompt_has_the_overlap_that_geometry_says():
    # 2.4 mm are 3 of 10 rows (Dice 0.7) and 5 of 10 columns (4.8 rounded; Dice 0.5), both ways.
    sensitive = PromptSensitivity(inner=Square(), shift_mm=2.4)
    (found,) = sensitive.segment(VOLUME, [click(5, 20, 25)])
    assert found.confidence == pytest.approx((0.7 + 0.7 + 0.5 + 0.5) / 4)
    assert found.flags == {Flag.PROMPT_SENSITIVE}
    assert (
        Flag.PROMPT_SENSITIVE
        not in PromptSensitivity(inner=Square(), shift_mm=2.4, sensitive_below=0.6)
        .segment(VOLUME, [click(5, 20, 25)])[0]
        .flags
    )


def test_a_lesion_and_its_copies_never_go_to_the_model_in_one_call():
    inner = Square()
    found = PromptSensitivity(inner=inner).segment(VOLUME, [click(5, 20, 25), click(7, 15, 20)])
    assert inner.calls == [2, 2, 2, 2, 2]
    assert [one.index for one in found] == [0, 1]
    assert found[1].mask.centroid_ijk()[0] == 7


def test_copies_outside_the_volume_are_left_out():
    inner = Square(fixed=True)
    (found,) = PromptSensitivity(inner=inner).segment(VOLUME, [click(5, 0, 0)])
    assert inner.calls == [1, 1, 0, 1, 0]
    assert found.confidence == 1.0


def test_an_empty_result_is_no_agreement():
    (found,) = PromptSensitivity(inner=Square(fixed=True, size=0)).segment(VOLUME, [click(5, 20, 25)])
    assert found.confidence == 0.0
    assert Flag.PROMPT_SENSITIVE not in found.flags


def test_how_it_was_measured_is_in_the_provenance():
    wrapper = PromptSensitivity(inner=Square())
    (found,) = wrapper.segment(VOLUME, [click(5, 20, 25)])
    assert found.model.parameters["confidence"] == "mean Dice with the prompt moved by 2 mm"
    assert wrapper.identity.parameters == found.model.parameters


@pytest.mark.parametrize(
    "shape",
    [
        PointPrompt(position_lps=at(VOLUME, 5, 20, 25)),
        BoxPrompt(minimum_lps=at(VOLUME, 4, 18, 20), maximum_lps=at(VOLUME, 6, 22, 30)),
        LinePrompt(
            start_lps=at(VOLUME, 5, 20, 20),
            end_lps=at(VOLUME, 5, 20, 30),
            short_axis_lps=(at(VOLUME, 5, 18, 25), at(VOLUME, 5, 22, 25)),
        ),
        OutlinePrompt(points_lps=(at(VOLUME, 5, 18, 20), at(VOLUME, 5, 22, 20), at(VOLUME, 5, 20, 35))),
        MaskPrompt(volume=VOLUME.with_array(np.indices(VOLUME.shape).sum(axis=0) == 50)),
    ],
    ids=["point", "box", "line", "outline", "mask"],
)
def test_every_shape_moves_as_a_whole(shape):
    before = a_prompt(shape)
    after = moved(before, np.array([1.0, -0.8, 3.0]))
    step = centre_ijk(VOLUME, after) - centre_ijk(VOLUME, before)
    assert step == pytest.approx([1.0, -1.0, 2.0])


def test_progress_runs_once_from_start_to_end():
    told = []
    PromptSensitivity(inner=Square()).segment(
        VOLUME, [click(5, 20, 25)], progress=lambda share, what: told.append(share)
    )
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_no_prompts_give_no_results():
    assert PromptSensitivity(inner=Square()).segment(VOLUME, []) == []
