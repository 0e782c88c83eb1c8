"""The gate: every case passes, and each kind of damage is found and named."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sr.coding import Code
from result_cases import Case

from dicom_io import codes
from dicom_io.parsing import quiet
from dicom_io.results import ResultObjects, validate
from dicom_io.results.content import children, measurement_groups
from dicom_io.results.hydration import hydration_problems


def test_what_we_make_passes(case: Case):
    checked = validate(case.results)
    assert checked.is_valid, str(checked)


def damaged(case: Case, role: str, damage: Callable[[Dataset], object]) -> ResultObjects:
    made = deepcopy(case.results.by_role[role])
    with quiet():
        damage(made)
    return replace(case.results, **{f"{role}s": (made,)})


def axes(sr: Dataset) -> Dataset:
    """The first lesion's group with its axes."""
    return measurement_groups(sr)[0]


def long_axis(sr: Dataset) -> Dataset:
    return children(axes(sr), codes.LONG_AXIS)[0]


def referenced_segment(sr: Dataset) -> Dataset:
    return children(measurement_groups(sr)[1], codes.REFERENCED_SEGMENT)[0].ReferencedSOPSequence[0]


def drop(group: Dataset, name: Code) -> None:
    group.ContentSequence = [i for i in group.ContentSequence if i not in children(group, name)]


def exchange(sr: Dataset) -> None:
    drawn = long_axis(sr).ContentSequence[0]
    (a, b, c, d) = drawn.GraphicData
    drawn.GraphicData = [b, a, d, c]


def volume_first(sr: Dataset) -> None:
    number = deepcopy(children(measurement_groups(sr)[1], codes.VOLUME)[0])
    group = axes(sr)
    place = list(group.ContentSequence).index(long_axis(sr))
    group.ContentSequence = [*group.ContentSequence[:place], number, *group.ContentSequence[place:]]


def set_to(target: Callable[[Dataset], Dataset], keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda made: setattr(target(made), keyword, value)


SR_DAMAGES: dict[str, tuple[Callable[[Dataset], Any], str]] = {
    "another patient": (set_to(lambda sr: sr, "PatientID", "PH-2"), "PatientID is not that"),
    "a broken UID": (set_to(lambda sr: sr, "SeriesInstanceUID", "1.02.3"), "no UID"),
    "an end point off the image": (
        set_to(lambda sr: long_axis(sr).ContentSequence[0], "GraphicData", [1.0, 1.0, 90.0, 2.0]),
        "end point lies outside its image of 72 x 64",
    ),
    "a length that isn't the distance": (
        set_to(lambda sr: long_axis(sr).MeasuredValueSequence[0], "NumericValue", "20.5"),
        "20.5 mm, its end points are 13.7",
    ),
    "columns and rows exchanged": (exchange, "mm from where it was measured"),
    "an unknown image": (
        set_to(
            lambda sr: long_axis(sr).ContentSequence[0].ContentSequence[0].ReferencedSOPSequence[0],
            "ReferencedSOPInstanceUID",
            "2.25.4",
        ),
        "2.25.4, which is no image, SEG or report of the visit",
    ),
    "a segment that isn't there": (
        set_to(
            lambda sr: children(measurement_groups(sr)[1], codes.REFERENCED_SEGMENT)[0].ReferencedSOPSequence[
                0
            ],
            "ReferencedSegmentNumber",
            9,
        ),
        "segment 9, which the SEG does not have",
    ),
    "another lesion's segment": (
        set_to(
            lambda sr: children(measurement_groups(sr)[1], codes.REFERENCED_SEGMENT)[0].ReferencedSOPSequence[
                0
            ],
            "ReferencedSegmentNumber",
            2,
        ),
        "refers to segment 2, which is",
    ),
    "verified without a signature": (
        set_to(lambda sr: sr, "VerificationFlag", "VERIFIED"),
        "the report is draft",
    ),
    "no tracking UID": (
        lambda sr: drop(axes(sr), codes.TRACKING_UNIQUE_IDENTIFIER),
        "has no Tracking Unique Identifier",
    ),
    "a meaning in other letters": (
        set_to(lambda sr: long_axis(sr).ConceptNameCodeSequence[0], "CodeMeaning", "Long axis"),
        "'Long Axis', letter by letter",
    ),
    "a number before the axes": (volume_first, "its first measurement is 'Volume'"),
    "a readable identifier": (
        set_to(lambda sr: children(axes(sr), codes.TRACKING_IDENTIFIER)[0], "TextValue", "T01"),
        "does not begin with Cornerstone3DTools",
    ),
    "another title": (
        set_to(lambda sr: sr.ConceptNameCodeSequence[0], "CodeValue", "126001"),
        "the title is 126001",
    ),
    "a missing type 1 attribute": (lambda sr: delattr(sr, "CompletionFlag"), "CompletionFlag"),
}


@pytest.mark.parametrize("name", SR_DAMAGES)
def test_a_damaged_sr_is_held_back_and_the_damage_named(axial: Case, name: str):
    damage, message = SR_DAMAGES[name]
    results = damaged(axial, "sr", damage)
    checked = validate(results)
    assert message in str(checked)
    assert checked.failing() == {str(results.sr.SOPInstanceUID)}


def shift_frames(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[0] += 0.4


def move_a_slice(seg: Dataset) -> None:
    first, second = seg.PerFrameFunctionalGroupsSequence[:2]
    first.PlanePositionSequence, second.PlanePositionSequence = (
        second.PlanePositionSequence,
        first.PlanePositionSequence,
    )


def erase(seg: Dataset) -> None:
    seg.PixelData = bytes(len(seg.PixelData))


def transpose(seg: Dataset) -> None:
    seg.Rows, seg.Columns = seg.Columns, seg.Rows


SEG_DAMAGES: dict[str, tuple[Callable[[Dataset], Any], str]] = {
    "half a pixel aside": (shift_frames, "frame 1 does not lie on a slice"),
    "two slices exchanged": (move_a_slice, "is not the mask of T01"),
    "no voxel": (erase, "T01 has 0 voxels"),
    "rows and columns exchanged": (transpose, "frames of 72 x 64, the source's images 64 x 72"),
    "another lesion's identity": (
        set_to(lambda seg: seg.SegmentSequence[0], "TrackingUID", "2.25.8"),
        "Tracking UIDs are not the lesions'",
    ),
    "an unknown image": (
        set_to(
            lambda seg: seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0],
            "ReferencedSOPInstanceUID",
            "2.25.6",
        ),
        "2.25.6, which is no image of the source",
    ),
    "another frame of reference": (
        set_to(lambda seg: seg, "FrameOfReferenceUID", "2.25.9"),
        "frame of reference is not the source's",
    ),
}


@pytest.mark.parametrize("name", SEG_DAMAGES)
def test_a_damaged_seg_is_held_back_and_the_damage_named(axial: Case, name: str):
    damage, message = SEG_DAMAGES[name]
    results = damaged(axial, "seg", damage)
    checked = validate(results)
    assert message in str(checked)
    assert str(results.seg.SOPInstanceUID) in checked.failing()


def test_without_dciodvfy_our_own_checks_still_run_and_say_so(axial: Case, monkeypatch):
    monkeypatch.setenv("PATH", "")
    checked = validate(damaged(axial, "sr", set_to(lambda sr: sr, "PatientID", "PH-2")))
    assert not checked.is_valid
    assert "install the package dicom3tools" in checked.skipped[0]


def test_a_lesion_without_coordinates_would_keep_ohif_from_loading(axial: Case):
    sr = deepcopy(axial.results.sr)
    for name in (codes.LONG_AXIS, codes.SHORT_AXIS):
        drop(axes(sr), name)
    assert any("has no coordinates" in problem for problem in hydration_problems(sr))


def test_the_volume_may_be_a_scanners_own_rounding_off(axial: Case):
    """Positions in headers are rounded; a hundredth of a pixel is no reason to hold a SEG back."""

    def nudge(seg: Dataset) -> None:
        for frame in seg.PerFrameFunctionalGroupsSequence:
            position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
            frame.PlanePositionSequence[0].ImagePositionPatient = (position + 0.008).tolist()

    assert validate(damaged(axial, "seg", nudge)).is_valid
