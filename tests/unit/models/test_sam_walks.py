"""How MedSAM walks from hint to hint and MedSAM2 carries one through: with networks whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from shapes import a_prompt, a_volume, at

from models.display import upright
from models.medsam import MedSam
from models.medsam2 import MedSam2
from models.prompt_geometry import slice_plan
from models.windows import BONE, LUNG, SOFT_TISSUE, choose_window, to_uint8
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import BoxPrompt, Flag, LinePrompt, MaskPrompt, OutlinePrompt, PointPrompt

SHAPE = (12, 40, 50)


def lesion_volume(slices=range(3, 9), rows=(10, 20), columns=(20, 32)) -> Volume:
    """Soft tissue with a brighter block: 200 HU, the top of the window."""
    volume = a_volume(SHAPE)
    for slice_ in slices:
        volume.array[slice_, rows[0] : rows[1], columns[0] : columns[1]] = 200
    return volume


VOLUME = lesion_volume()


class BoxedThreshold:
    """In place of MedSAM: what is bright within the box."""

    def __init__(self) -> None:
        self.embedded: list[int] = []
        self.asked: list[tuple[float, ...]] = []

    def embed(self, image):
        self.embedded.append(int(image[15, 25]))
        return image

    def low_res_logits(self, embedding, box, shape):
        self.asked.append(box)
        x0, y0, x1, y1 = (round(v) for v in box)
        found = np.zeros(shape, dtype=bool)
        found[y0 : y1 + 1, x0 : x1 + 1] = embedding[y0 : y1 + 1, x0 : x1 + 1] > 200
        return found, 0.9

    def mask(self, logits, shape):
        return logits


class BrightSlices:
    """In place of MedSAM2: what is bright on a slice; remembers what it was shown and how far it went."""

    def session(self, array, window):
        return array

    def propagate(self, session, hints, start, last):
        self.hints = hints
        step = 1 if last >= start else -1
        for slice_ in range(start, last + step, step):
            self.reached = getattr(self, "reached", set()) | {slice_}
            yield slice_, torch.from_numpy(session[slice_] - 100.0), 0.8


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    return tmp_path / "w.pth"


@pytest.fixture
def medsam(weights):
    return MedSam(network=BoxedThreshold(), weights=weights)


@pytest.fixture
def medsam2(weights):
    return MedSam2(network=BrightSlices(), weights=weights)


def a_box(first=2, last=9):
    return BoxPrompt(minimum_lps=at(VOLUME, first, 8, 18), maximum_lps=at(VOLUME, last, 22, 34))


def lesion(volume=VOLUME) -> np.ndarray:
    return volume.array > 150


# ---------------------------------------------------------------- MedSAM


def test_medsam_finds_the_block_from_a_box_and_stops_behind_its_ends(medsam):
    (found,) = medsam.segment(VOLUME, [a_prompt(a_box(0, 11))])
    assert np.array_equal(found.mask.array(), lesion())
    assert found.confidence == pytest.approx(0.9)
    assert found.flags == frozenset()
    # 3 to 8 and the two empty slices that end the walk.
    assert len(medsam.network.embedded) == 8


def test_medsam_follows_the_last_mask_within_the_hints_box(medsam):
    medsam.segment(VOLUME, [a_prompt(a_box())])
    key, following = medsam.network.asked[0], medsam.network.asked[1]
    assert key == pytest.approx((18, 8, 34, 22))
    assert following == pytest.approx(
        (18, 8, 34, 22)
    )  # 20 to 31 and 10 to 19, with 5 pixels each way, cut to the box


def test_medsam_uses_each_slices_own_hint_and_interpolates_between(medsam):
    def outline(slice_, columns):
        low, high = columns
        corners = [(9, low), (9, high), (21, high), (21, low)]
        return OutlinePrompt(points_lps=tuple(at(VOLUME, slice_, *corner) for corner in corners))

    medsam.segment(VOLUME, [a_prompt(outline(3, (18, 26)), outline(7, (18, 34)))])
    asked = [box[2] for box in medsam.network.asked]
    # Slice 7 first, the largest; then down to 3: 32, 30, 28 and the outline's own 26.
    assert asked == pytest.approx([34, 32, 30, 28, 26])


def test_lesions_on_the_same_slices_share_their_embeddings_also_in_the_next_call(medsam):
    prompts = [a_prompt(a_box(3, 5)), a_prompt(a_box(3, 5))]
    medsam.segment(VOLUME, prompts)
    medsam.segment(VOLUME, prompts)
    assert len(medsam.network.embedded) == 3


def test_another_volume_is_embedded_anew(medsam):
    medsam.segment(VOLUME, [a_prompt(a_box(3, 5))])
    medsam.segment(lesion_volume(), [a_prompt(a_box(3, 5))])
    assert len(medsam.network.embedded) == 6


def test_medsam_takes_no_points(medsam):
    point = PointPrompt(position_lps=at(VOLUME, 5, 15, 25))
    with pytest.raises(UnsuitableInputError, match=r"prompt 0 has a point, and MedSAM takes none"):
        medsam.segment(VOLUME, [a_prompt(point)])


def test_the_window_that_was_used_is_in_the_provenance(medsam):
    (found,) = medsam.segment(VOLUME, [a_prompt(a_box())])
    assert found.model.parameters["window"] == "soft-tissue"
    (found,) = medsam.segment(VOLUME, [a_prompt(a_box(), finding_site="39607008")])
    assert found.model.parameters["window"] == "lung"


def test_a_lesion_that_fills_the_volume_is_truncated(medsam):
    volume = lesion_volume(slices=range(12))
    (found,) = medsam.segment(volume, [a_prompt(a_box(0, 11))])
    assert found.flags == {Flag.TRUNCATED_AT_VOLUME_END}


def test_without_clean_up_the_mask_is_the_networks(weights):
    volume = lesion_volume()
    volume.array[5, 14:16, 24:26] = 0
    raw = MedSam(network=BoxedThreshold(), weights=weights, clean_up=False)
    (found,) = raw.segment(volume, [a_prompt(a_box())])
    assert np.array_equal(found.mask.array(), lesion(volume))
    (cleaned,) = MedSam(network=BoxedThreshold(), weights=weights).segment(volume, [a_prompt(a_box())])
    assert np.array_equal(cleaned.mask.array(), lesion())


# ---------------------------------------------------------------- MedSAM2


def test_medsam2_joins_both_directions(medsam2):
    line = LinePrompt(start_lps=at(VOLUME, 5, 15, 18), end_lps=at(VOLUME, 5, 15, 34))
    (found,) = replace(medsam2, reach_factor=9.0).segment(VOLUME, [a_prompt(line)])
    assert np.array_equal(found.mask.array(), lesion())
    assert found.confidence == pytest.approx(0.8)
    # The empty slices 2 and 9 end it.
    assert medsam2.network.reached == set(range(2, 10))


def test_medsam2_goes_no_further_than_a_box_reaches(medsam2):
    (found,) = medsam2.segment(VOLUME, [a_prompt(a_box(4, 7))])
    assert medsam2.network.reached == {4, 5, 6, 7}
    assert found.mask.start_ijk[0] == 4


def test_medsam2_goes_as_far_from_a_point_as_it_is_told(medsam2):
    point = PointPrompt(position_lps=at(VOLUME, 5, 15, 25))
    replace(medsam2, reach_mm=6.0).segment(VOLUME, [a_prompt(point)])
    assert medsam2.network.reached == {3, 4, 5, 6, 7}
    assert medsam2.network.hints[5].points == ((pytest.approx(25), pytest.approx(15), True),)
    assert medsam2.network.hints[5].box is None


def test_medsam2_shows_the_box_and_the_clicks_of_its_slice_together(medsam2):
    negative = PointPrompt(position_lps=at(VOLUME, 5, 9, 19), is_positive=False)
    medsam2.segment(VOLUME, [a_prompt(a_box(3, 7), negative)])
    hint = medsam2.network.hints[5]
    assert hint.box == pytest.approx((18, 8, 34, 22))
    assert hint.points == ((pytest.approx(19), pytest.approx(9), False),)


def test_medsam2_shows_a_mask_on_its_key_slice_only(medsam2):
    mask = MaskPrompt(volume=VOLUME.with_array(lesion()))
    medsam2.segment(VOLUME, [a_prompt(mask)])
    (hint,) = medsam2.network.hints.values()
    assert np.array_equal(hint.mask, lesion()[3])


def test_a_negative_click_on_another_slice_takes_its_part_away(medsam2):
    volume = lesion_volume()
    volume.array[7, 30:34, 30:40] = 200
    drawn = a_prompt(a_box(3, 8), PointPrompt(position_lps=at(VOLUME, 7, 31, 35), is_positive=False))
    raw = replace(medsam2, clean_up=False)
    (found,) = raw.segment(volume, [drawn])
    assert np.array_equal(found.mask.array(), lesion())


def test_negative_clicks_alone_are_refused(medsam2):
    negative = PointPrompt(position_lps=at(VOLUME, 5, 15, 25), is_positive=False)
    with pytest.raises(UnsuitableInputError, match="prompt 0 has negative points only"):
        medsam2.segment(VOLUME, [a_prompt(negative)])


# ---------------------------------------------------------------- windows


def window_of(volume, prompt, window="auto"):
    return choose_window(window, volume, prompt, slice_plan(volume, prompt))


def test_a_nodule_in_lung_gets_the_lung_window_and_a_mass_in_liver_does_not():
    nodule = lesion_volume()
    nodule.array[nodule.array == 40] = -850
    assert window_of(nodule, a_prompt(a_box(5, 5))) == ("lung", LUNG)
    assert window_of(VOLUME, a_prompt(a_box(5, 5))) == ("soft-tissue", SOFT_TISSUE)


def test_the_stated_site_decides_before_the_image():
    nodule = lesion_volume()
    nodule.array[nodule.array == 40] = -850
    assert window_of(nodule, a_prompt(a_box(5, 5), finding_site="10200004"))[0] == "soft-tissue"


def test_a_window_can_be_named_or_given():
    assert window_of(VOLUME, a_prompt(a_box()), "bone") == ("bone", BONE)
    assert window_of(VOLUME, a_prompt(a_box()), (0, 100)) == ("0 to 100", (0.0, 100.0))
    assert window_of(VOLUME, a_prompt(a_box()), "percentile")[1] == (40.0, 200.0)
    with pytest.raises(ConfigurationError, match="no window 'brain'"):
        window_of(VOLUME, a_prompt(a_box()), "brain")
    with pytest.raises(ConfigurationError, match="has no width"):
        window_of(VOLUME, a_prompt(a_box()), (5, 5))


def test_the_part_of_the_window_that_the_volume_fills_is_stretched():
    values = np.array([-1000.0, -160.0, 40.0, 240.0, 900.0])
    assert to_uint8(values, SOFT_TISSUE, (-1000, 900)).tolist() == [0, 0, 127, 255, 255]
    assert to_uint8(values[2:3], SOFT_TISSUE, (40, 140)).tolist() == [0]
    assert to_uint8(values, SOFT_TISSUE, (900, 900)).tolist() == [0] * 5


# ---------------------------------------------------------------- display


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("is_exchanged", [False, True])
def test_any_stored_order_is_shown_the_same_and_masks_find_back(axes, is_exchanged):
    array = np.random.default_rng(0).random(SHAPE)
    shown = Volume(array=array, affine=VOLUME.affine)
    order = (0, 2, 1) if is_exchanged else (0, 1, 2)
    affine = VOLUME.affine[:, (*order, 3)].copy()
    stored_shape = tuple(SHAPE[axis] for axis in order)
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (stored_shape[axis] - 1)
        affine[:3, axis] *= -1
    stored = Volume(array=np.flip(array.transpose(order), axes), affine=affine)
    display = upright(stored)
    assert display.volume.has_grid_of(shown)
    assert np.array_equal(display.volume.array, array)
    back = display.back(Mask.from_array(array > 0.9))
    assert np.array_equal(back.array(), stored.array > 0.9)
    assert display.back(Mask.from_array(array > 2)).is_empty


def test_coronal_slices_are_shown_with_the_head_up():
    # Slices front to back, rows to the feet, columns to the left: as acquired, nothing to turn.
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = 3.0, -1.0, 1.0, 1.0
    upright_already = upright(Volume(array=np.zeros((2, 3, 4)), affine=affine))
    assert upright_already.is_reversed == (False, False, False)
    assert not upright_already.is_exchanged
    affine[2, 1] = 1.0
    assert upright(Volume(array=np.zeros((2, 3, 4)), affine=affine)).is_reversed == (False, True, False)
