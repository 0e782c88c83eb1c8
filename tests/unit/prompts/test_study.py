"""Many objects of one study show each lesion once."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_io.prompts import ProblemKind, read_study_prompts
from tests.unit.prompts.sr_builder import axes, group, image, report
from tests.unit.prompts.support import phantom_images
from tests.unit.prompts.test_gsps import graphic, presentation_state
from tests.unit.prompts.test_rtstruct import square, structure_set
from tests.unit.prompts.test_seg import block, segmentation
from workflow.domain.lesion import LinePrompt, MaskPrompt, PromptSource

IMAGES = phantom_images()
AT = (-100.0, 40.0, -294.0)


def named(dataset, uid: str, **said):
    dataset.SOPInstanceUID = uid
    for keyword, value in said.items():
        setattr(dataset, keyword, value)
    return dataset


def seg(uid: str = "1.2.3.99", tracking_uid: str | None = None):
    dataset = named(segmentation([(1, AT, block(slice(10, 30), slice(10, 30)))]), uid)
    if tracking_uid is not None:
        dataset.SegmentSequence[0].TrackingUID, dataset.SegmentSequence[0].TrackingID = tracking_uid, "T01"
    return dataset


def test_a_segment_that_a_report_refers_to_is_the_reports_lesion():
    document = report(group(*axes(IMAGES), image("1.2.3.99", segment=1)))
    reading = read_study_prompts([seg(), document], [IMAGES])
    (prompt,) = reading.prompts
    assert [type(shape) for shape in prompt.shapes] == [LinePrompt, MaskPrompt]
    assert reading.problems == ()


def test_a_segment_of_the_same_tracking_uid_adds_its_mask_to_the_reports_lesion():
    reading = read_study_prompts([seg(tracking_uid="2.25.1"), report(group(*axes(IMAGES)))], [IMAGES])
    (prompt,) = reading.prompts
    assert prompt.source is PromptSource.MEASUREMENT_REPORT
    assert [type(shape) for shape in prompt.shapes] == [LinePrompt, MaskPrompt]


def test_of_two_reports_on_one_lesion_the_newer_is_taken():
    older = named(report(group(*axes(IMAGES, 1))), "1.2.3.1000", ContentDate="20230101")
    newer = named(report(group(*axes(IMAGES, 3))), "1.2.3.1001", ContentDate="20240101")
    reading = read_study_prompts([older, newer], [IMAGES])
    (prompt,) = reading.prompts
    assert prompt.sop_instance_uid == "1.2.3.1001"
    assert [(p.sop_instance_uid, p.kind) for p in reading.problems] == [("1.2.3.1000", ProblemKind.REPEATED)]


def test_the_same_line_in_report_and_presentation_state_is_one_lesion():
    line = graphic("POLYLINE", [30.5, 20.5, 10.5, 20.6])  # the other way round, a hair off
    reading = read_study_prompts([presentation_state(line), report(group(*axes(IMAGES)))], [IMAGES])
    assert [prompt.source for prompt in reading.prompts] == [PromptSource.MEASUREMENT_REPORT]
    assert [problem.kind for problem in reading.problems] == [ProblemKind.REPEATED]


@pytest.mark.parametrize(("offset_mm", "lesions"), [(0.0, 1), (0.5, 1), (4.0, 2)])
def test_a_contour_and_a_segment_of_nearly_the_same_voxels_are_one_lesion(offset_mm, lesions):
    # The block's pixels cover x from -95.25 to -85.25 and y from 47.6 to 63.6; the square is 10 x 16 mm.
    kind, corners = square(-294, 1.0, (0.0, 0.0))
    drawn = kind, [(-90.25 + offset_mm + 5 * x, 55.6 + 8 * y, z) for x, y, z in corners]
    reading = read_study_prompts([seg(), structure_set(drawn)], [IMAGES])
    assert len(reading.prompts) == lesions


def test_lesions_of_one_object_are_never_taken_for_one_another():
    both = segmentation(
        [(1, AT, block(slice(10, 30), slice(10, 30))), (2, AT, block(slice(10, 30), slice(10, 30)))]
    )
    assert len(read_study_prompts([both], [IMAGES]).prompts) == 2


def test_the_order_of_the_files_changes_nothing():
    objects = [seg(), report(group(*axes(IMAGES, 5))), structure_set(square(-285, 6.0)), presentation_state()]
    forwards = read_study_prompts(objects, [IMAGES])
    backwards = read_study_prompts(objects[::-1], [IMAGES])
    assert [(p.sop_instance_uid, p.item) for p in forwards.prompts] == [
        (p.sop_instance_uid, p.item) for p in backwards.prompts
    ]
    assert len(forwards.prompts) == 3


def test_an_object_given_twice_counts_once():
    assert len(read_study_prompts([seg(), seg()], [IMAGES]).prompts) == 1


def test_a_mask_keeps_its_voxels_when_it_joins_a_report():
    reading = read_study_prompts([seg(tracking_uid="2.25.1"), report(group(*axes(IMAGES)))], [IMAGES])
    assert np.count_nonzero(reading.prompts[0].shapes[1].volume.array) == 400
