"""What this project writes, given back to it as prompts, shows the same lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_io.prompts import read_prompts, read_study_prompts
from dicom_io.results import ResultSettings, SegmentationType, TrackingIdentifierForm, build_results
from tests.phantoms import Phantom, three_lesions, time_point_report
from tests.unit.prompts.support import on_grid
from workflow.domain.lesion import LinePrompt, MaskPrompt
from workflow.domain.report import PredecessorReport


@pytest.fixture(scope="module", params=["axial", "oblique", "multi-frame"])
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    turn = np.radians(20)
    axes = {
        "axial": Phantom(),
        "multi-frame": Phantom(study="3"),
        "oblique": Phantom(
            study="2",
            directions=(
                (0.0, -np.sin(turn), np.cos(turn)),
                (0.0, np.cos(turn), np.sin(turn)),
                (1.0, 0.0, 0.0),
            ),
            origin_lps=(-30.0, -13.8, 93.1),
        ),
    }
    phantom = axes[request.param]
    return phantom.write_multi_frame(folder) if request.param == "multi-frame" else phantom.write(folder)


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    return Phantom(study="4").write(tmp_path_factory.mktemp("axial"))


def shown(source):
    return [lesion for lesion in three_lesions(source.volume) if lesion.mask is not None]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (SegmentationType.BINARY, TrackingIdentifierForm.OHIF),
        (SegmentationType.LABELMAP, TrackingIdentifierForm.READABLE),
    ],
)
def test_our_report_and_segmentation_give_the_same_lesions_back(source, kind, form):
    lesions = shown(source)
    settings = ResultSettings(segmentation_type=kind, tracking_identifier=form)
    results = build_results(
        time_point_report(source, three_lesions(source.volume)), [source], settings=settings
    )

    reading = read_prompts(results.sr, [source], related=[results.seg])

    assert reading.problems == ()
    assert [p.tracking_uid for p in reading.prompts] == [lesion.tracking_uid for lesion in lesions]
    assert [p.tracking_id for p in reading.prompts] == [lesion.label for lesion in lesions]
    assert [p.label for p in reading.prompts] == [lesion.label for lesion in lesions]
    assert [p.organ for p in reading.prompts] == [lesion.organ for lesion in lesions]
    assert [p.is_nodal for p in reading.prompts] == [lesion.is_nodal for lesion in lesions]
    for prompt, lesion in zip(reading.prompts, lesions, strict=True):
        line, mask = prompt.shapes
        assert isinstance(line, LinePrompt)
        assert isinstance(mask, MaskPrompt)
        measured = lesion.measurement
        assert_same_ends((line.start_lps, line.end_lps), measured.long_axis)
        assert_same_ends(line.short_axis_lps, measured.short_axis)
        np.testing.assert_array_equal(on_grid(mask.volume, source.volume), lesion.mask.array())


def assert_same_ends(ends, axis):
    np.testing.assert_allclose(ends, (axis.start_lps, axis.end_lps), atol=0.01)


def test_our_segmentation_alone_gives_the_lesions_back(source):
    lesions = shown(source)
    results = build_results(time_point_report(source, lesions), [source])
    reading = read_prompts(results.seg, [source])
    assert reading.problems == ()
    assert [p.tracking_uid for p in reading.prompts] == [lesion.tracking_uid for lesion in lesions]
    for prompt, lesion in zip(reading.prompts, lesions, strict=True):
        np.testing.assert_array_equal(on_grid(prompt.shapes[0].volume, source.volume), lesion.mask.array())


def test_report_and_segmentation_of_one_study_show_each_lesion_once(axial):
    results = build_results(time_point_report(axial, shown(axial)), [axial])
    reading = read_study_prompts([results.seg, results.sr], [axial])
    assert len(reading.prompts) == 3
    assert reading.problems == ()


def test_a_replaced_report_is_left_out_with_the_reason(axial):
    first = build_results(time_point_report(axial, shown(axial)), [axial])
    second = build_results(
        time_point_report(
            axial, shown(axial), version=2, identity="corrected",
            predecessors=(
                PredecessorReport(
                    study_instance_uid=first.sr.StudyInstanceUID, sop_instance_uid=first.sr.SOPInstanceUID
                ),
            ),
        ),
        [axial],
    )  # fmt: skip
    reading = read_study_prompts([first.sr, first.seg, second.sr, second.seg], [axial])
    assert [p.sop_instance_uid for p in reading.prompts] == [second.sr.SOPInstanceUID] * 3
    assert f"it was replaced by {second.sr.SOPInstanceUID}" in {p.reason for p in reading.problems}


def test_what_kind_of_lesion_it_is_comes_back_from_both_objects(axial):
    lesions = [replace(one, finding="86049000", finding_meaning="Neoplasm, Primary") for one in shown(axial)]
    results = build_results(time_point_report(axial, lesions), [axial])
    for source in (results.seg, results.sr):
        kinds = {(p.finding, p.finding_meaning) for p in read_prompts(source, [axial]).prompts}
        assert kinds == {("86049000", "Neoplasm, Primary")}
    plain = build_results(time_point_report(axial, shown(axial)), [axial])
    assert {p.finding for p in read_prompts(plain.seg, [axial]).prompts} == {None}
