"""Images of one patient are taken for one patient's, at another breath and on another scanner; others not."""

from __future__ import annotations

import numpy as np
import pytest

from models.weight_free import open_tracker
from models.weight_free.identity import Identity
from models.weight_free.registration import register
from tests.unit.weight_free.test_registration import chest, motion
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import Flag, LesionState, PriorLesion
from workflow.simulation.acquisition import reslice
from workflow.simulation.sources import load_lung_pair


def person(seed: int, *, spacing_mm: float = 5.0, motion_of: np.ndarray | None = None) -> Volume:
    """The phantom's chest with vessels and bones of one person's own; `motion_of` moves the patient."""
    volume = chest(spacing_mm=spacing_mm, matrix=motion_of)
    index = np.moveaxis(np.indices(volume.shape), 0, -1)
    where = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    if motion_of is not None:
        back = np.linalg.inv(motion_of)
        where = where @ back[:3, :3].T + back[:3, 3]
    random = np.random.default_rng(seed)
    image = np.where((volume.array == 30) | (volume.array == 400), -850, volume.array).astype(np.float32)
    for _ in range(60):
        middle = random.uniform((-80, -60, -70), (80, 60, 70))
        away = np.linalg.norm(where - middle, axis=-1)
        lung = (image < -700) & (away < 7)
        image[lung] = 20
        middle = random.uniform((-85, -65, -80), (85, 65, 80))
        bone = (np.linalg.norm((where - middle) / (1, 1, 2), axis=-1) < 8) & (image > 0) & (image < 100)
        image[bone] = 500
    return volume.with_array(image)


def compared(one: Volume, other: Volume) -> Identity:
    return register(one, other, largest_voxel_count=8e4).identity


def test_a_patient_who_lies_elsewhere_is_the_same_patient():
    found = compared(person(1), person(1, motion_of=motion(5.0, (9.0, -6.0, 14.0))))
    assert found.similarity is not None
    assert found.similarity > found.least + 0.1
    assert not found.is_in_doubt


def test_another_patient_of_the_same_build_is_another_patient():
    found = compared(person(1), person(2, motion_of=motion(2.0, (4.0, 0.0, 5.0))))
    assert found.similarity is not None
    assert found.similarity < found.least - 0.1
    assert found.is_in_doubt


def test_where_there_is_nothing_to_compare_nobody_is_accused():
    assert not Identity(similarity=None, by="bone", least=0.65).is_in_doubt


def test_no_lesion_of_another_patient_is_present_or_gone():
    prior = person(1)
    voxels = np.zeros(prior.shape, dtype=bool)
    voxels[18:21, 18:21, 28:31] = True
    lesions = [PriorLesion(tracking_uid=uid, mask=Mask.from_array(voxels)) for uid in ("1", "2")]
    for one in open_tracker(largest_voxel_count=8e4).track(prior, lesions, person(2)):
        assert one.state is LesionState.TRACKING_FAILED
        assert one.mask.is_empty
        assert Flag.OTHER_PATIENT in one.flags
        assert "another patient" in one.reason
    for one in open_tracker(largest_voxel_count=8e4).track(prior, lesions, person(1)):
        assert Flag.OTHER_PATIENT not in one.flags


@pytest.mark.slow
@pytest.mark.parametrize("slice_mm", [2.5, 7.0])
def test_a_real_follow_up_is_the_same_person_s_also_in_thick_slices(slice_mm):
    pair = load_lung_pair()
    found = register(pair.baseline, reslice(pair.follow_up, slice_mm=slice_mm)).identity
    assert not found.is_in_doubt
    assert found.similarity > 0.75
