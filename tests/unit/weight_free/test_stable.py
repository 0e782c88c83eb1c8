"""What did not change does not seem to: another posture, breath, kernel, slice thickness and reader."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulated_tracking import revisited
from models.weight_free import open_tracker
from models.weight_free.yardstick import moved_outline
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import LesionState, PriorLesion
from workflow.domain.measurement import measure
from workflow.simulation.course import DEMO_PLAN, lung_case


@pytest.fixture(scope="module")
def lesion() -> tuple[Volume, Mask]:
    """A nodule of 18 mm in a real lung, with 50 mm around it."""
    case = lung_case(seed=1, plan=DEMO_PLAN)
    found = next(one.at[0] for one in case.lesions if one.label == "L2")
    assert found is not None
    start, stop = found.mask.box_with_margin(50.0, case.baseline.spacing_mm)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return case.baseline.crop(start, stop), Mask.from_array(found.mask.array()[box])


@pytest.mark.parametrize("seed", [0, 1], ids=["same slices", "slices twice as thick"])
@pytest.mark.parametrize("margin_mm", [0.0, 1.2], ids=["drawn tightly", "drawn generously"])
def test_volume_and_diameter_stay(lesion, seed, margin_mm):
    volume, mask = lesion
    drawn = moved_outline(mask, volume, margin_mm)
    visit = revisited(volume, drawn, seed, is_ct=True)
    (found,) = open_tracker().track(volume, [PriorLesion(tracking_uid="1", mask=drawn)], visit.volume)
    assert found.state is LesionState.PRESENT
    size, truth = (measure(visit.volume, one) for one in (found.mask, visit.mask))
    assert size.volume_mm3 == pytest.approx(truth.volume_mm3, rel=0.2)
    assert size.long_axis.length_mm == pytest.approx(truth.long_axis.length_mm, abs=2.5)
    moved = np.linalg.norm(
        visit.volume.lps(found.mask.centroid_ijk()) - visit.volume.lps(visit.mask.centroid_ijk())
    )
    assert moved < 2.0
