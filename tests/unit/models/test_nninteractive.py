"""nnInteractive: what its session is told, in which axes and order, and what never reaches it."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from shapes import a_prompt, a_volume, at

from models import nninteractive
from models.nninteractive import NnInteractive
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.lesion import BoxPrompt, LinePrompt, MaskPrompt, PointPrompt
from workflow.ports import Segmenter

VOLUME = a_volume()  # 12 x 40 x 50


class FakeSession:
    """Keeps what it is told; a prediction fills 3 voxels each way around the last positive click or box."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def set_image(self, image):
        self.image = image

    def set_target_buffer(self, target_buffer):
        self.target = target_buffer

    def reset_interactions(self):
        self.told.append(("reset",))
        self.place = None

    def add_point_interaction(self, coordinates, include_interaction, run_prediction=True):
        self.told.append(("point", coordinates, include_interaction, run_prediction))
        if include_interaction:
            self.place = coordinates
        self._predict(run_prediction)

    def add_bbox_interaction(self, bbox_coords, include_interaction, run_prediction=True):
        self.told.append(("box", bbox_coords, include_interaction, run_prediction))
        self.place = tuple((a + b) // 2 for a, b in bbox_coords)
        self._predict(run_prediction)

    def add_initial_seg_interaction(self, initial_seg, run_prediction=False):
        self.told.append(("mask", initial_seg.sum(), run_prediction))
        self.target[:] = initial_seg

    def _predict(self, run):
        if run:
            k, j, i = self.place
            self.target[k - 1 : k + 2, j - 3 : j + 4, i - 3 : i + 4] = 1


@pytest.fixture
def model(tmp_path):
    (tmp_path / "checkpoint_final.pth").write_bytes(b"weights")
    (tmp_path / "LICENSE").write_text("CC BY-NC-SA 4.0\nmore\n")
    return NnInteractive(session=FakeSession(), weights=tmp_path)


def click(*index, positive=True):
    return PointPrompt(position_lps=at(VOLUME, *index), is_positive=positive)


def test_it_fits_the_port(model):
    assert isinstance(model, Segmenter)


def test_the_image_and_the_clicks_are_in_the_order_of_the_array(model):
    model.segment(VOLUME, [a_prompt(click(5, 20, 30), click(7, 10, 12, positive=False))])
    assert model.session.image.shape == (1, 12, 40, 50)
    assert model.session.told == [
        ("reset",),
        ("point", (5, 20, 30), True, False),
        ("point", (7, 10, 12), False, True),
    ]


def test_one_prediction_is_made_after_all_hints_of_a_lesion(model):
    box = BoxPrompt(minimum_lps=at(VOLUME, 4, 10, 12), maximum_lps=at(VOLUME, 6, 18, 24))
    model.segment(VOLUME, [a_prompt(click(5, 14, 18), box)])
    assert model.session.told[1:] == [
        ("box", [[5, 6], [10, 19], [12, 25]], True, False),
        ("point", (5, 14, 18), True, True),
    ]


def test_a_mask_to_refine_comes_first_because_it_resets_the_others(model):
    drawn = np.zeros(VOLUME.shape, dtype=bool)
    drawn[5, 10:14, 20:24] = True
    mask = MaskPrompt(volume=VOLUME.with_array(drawn))
    model.segment(VOLUME, [a_prompt(click(5, 12, 22), mask)])
    assert [one[0] for one in model.session.told] == ["reset", "mask", "point"]
    assert model.session.told[1][1] == 16


def test_a_result_is_on_the_volumes_grid_and_a_line_is_a_flat_box(model):
    line = LinePrompt(start_lps=at(VOLUME, 5, 20, 20), end_lps=at(VOLUME, 5, 20, 30))
    (found,) = model.segment(VOLUME, [a_prompt(line)])
    assert found.mask.start_ijk == (4, 17, 22)
    assert found.mask.voxels.shape == (3, 7, 7)


def test_lesions_do_not_leak_into_each_other(model):
    one, other = model.segment(VOLUME, [a_prompt(click(5, 10, 10)), a_prompt(click(5, 30, 40))])
    assert one.mask.voxel_count == other.mask.voxel_count == 7 * 7 * 3


def test_a_click_outside_never_reaches_the_session(model):
    with pytest.raises(UnsuitableInputError, match="prompt 1 lies outside the volume"):
        model.segment(VOLUME, [a_prompt(click(5, 10, 10)), a_prompt(click(5, 10, 90))])
    assert model.session.told == []


def test_negative_clicks_alone_show_nothing(model):
    with pytest.raises(UnsuitableInputError, match="prompt 0 has negative points only"):
        model.segment(VOLUME, [a_prompt(click(5, 10, 10, positive=False))])


def test_the_weights_own_licence_is_in_the_provenance(model):
    assert model.identity.licence == "CC BY-NC-SA 4.0"
    assert model.identity.weights_sha256


def test_no_prompts_give_no_results(model):
    assert model.segment(VOLUME, []) == []


@pytest.mark.parametrize("error", [ImportError("no module"), RuntimeError("torchvision::nms does not exist")])
def test_a_library_that_does_not_import_says_what_to_do(monkeypatch, tmp_path, error):
    original = builtins.__import__

    def refuse(name, *rest, **given):
        if name.startswith("nnInteractive"):
            raise error
        return original(name, *rest, **given)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(
        ConfigurationError, match=r"pip install 'tumorline\[nninteractive\]', in an environment"
    ):
        nninteractive.open_segmenter(tmp_path)
