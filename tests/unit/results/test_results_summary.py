"""The course of a patient in one SR."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import date

import pytest
from phantoms import three_lesions, time_point_report
from pydicom.sr.coding import Code
from result_cases import Case, program

from dicom_io import codes
from dicom_io.results import InstanceReference, SummarizedTimePoint, build_summary, to_bytes, validate_summary
from dicom_io.results.content import children, descendants, text_of
from dicom_io.results.sr_document import reference_to
from workflow.domain.report import LesionRole, ReviewStatus

BASELINE_SR = InstanceReference("2.25.11", "2.25.12", "1.2.840.10008.5.1.4.1.1.88.33", "2.25.13")


@pytest.fixture
def course(axial: Case) -> list[SummarizedTimePoint]:
    lesions = three_lesions(axial.source.volume)[:2]
    baseline = time_point_report(
        axial.source, lesions, overall="baseline", study_instance_uid="2.25.11", time_point_id="TP1", order=1,
        is_baseline=True, study_date=date(2026, 1, 5), days_from_baseline=0, identity="earlier",
    )  # fmt: skip
    return [
        SummarizedTimePoint(report=axial.report, srs=(reference_to(axial.results.sr),)),
        SummarizedTimePoint(report=baseline, srs=(BASELINE_SR,)),
    ]


def test_time_points_stand_in_order_with_their_reports(axial: Case, course):
    summary = build_summary(course, [axial.source])
    (derived,) = children(summary, codes.DERIVED_IMAGING_MEASUREMENTS)
    points = children(derived, codes.TIME_POINT, "CONTAINER")
    assert [text_of(point, codes.TIME_POINT) for point in points] == ["TP1", "TP2"]
    reports = [children(p, codes.SOURCE_REPORT, "COMPOSITE")[0].ReferencedSOPSequence[0] for p in points]
    assert [r.ReferencedSOPInstanceUID for r in reports] == ["2.25.13", axial.results.sr.SOPInstanceUID]


def test_a_lesion_has_one_identity_at_every_time_point(axial: Case, course):
    (derived,) = children(build_summary(course, [axial.source]), codes.DERIVED_IMAGING_MEASUREMENTS)
    for point in children(derived, codes.TIME_POINT, "CONTAINER"):
        first = children(point, codes.LESION, "CONTAINER")[0]
        assert text_of(first, codes.TRACKING_UNIQUE_IDENTIFIER) == axial.report.lesions[0].tracking_uid


def test_only_targets_have_a_diameter_in_the_sum(axial: Case):
    lesions = tuple(
        replace(lesion, role=role, diameter_mm=12.0)
        for lesion, role in zip(axial.report.lesions, LesionRole, strict=False)
    )
    report = replace(axial.report, lesions=lesions)
    summary = build_summary([SummarizedTimePoint(report=report)], [axial.source])
    (derived,) = children(summary, codes.DERIVED_IMAGING_MEASUREMENTS)
    (point,) = children(derived, codes.TIME_POINT, "CONTAINER")

    def named(name: Code) -> list[str | None]:
        lesions = children(point, codes.LESION, "CONTAINER")
        return [
            text_of(lesion, codes.TRACKING_IDENTIFIER) for lesion in lesions if children(lesion, name, "NUM")
        ]

    assert named(codes.DIAMETER_IN_SUM) == ["T01"]
    assert named(codes.DIAMETER) == ["T02", "N01"]


def test_reports_of_other_studies_are_pertinent_evidence(axial: Case, course):
    summary = build_summary(course, [axial.source])
    assert [s.StudyInstanceUID for s in summary.PertinentOtherEvidenceSequence] == ["2.25.11"]
    current = summary.CurrentRequestedProcedureEvidenceSequence
    assert [s.StudyInstanceUID for s in current] == [axial.report.study_instance_uid]


@pytest.mark.reads("dciodvfy", "course")
def test_it_is_valid_and_the_same_every_time(axial: Case, course):
    summary = build_summary(course, [axial.source])
    assert validate_summary(summary, axial.source) == []
    assert to_bytes(summary) == to_bytes(build_summary(course[::-1], [axial.source]))
    assert summary.ConceptNameCodeSequence[0].CodeValue == "126001"  # viewers don't hydrate this title


def test_it_is_verified_only_when_every_time_point_is_signed(axial: Case, course):
    def signed(point: SummarizedTimePoint) -> SummarizedTimePoint:
        return replace(
            point, report=replace(point.report, status=ReviewStatus.SIGNED, signed_by="Reader^Rosa")
        )

    one = build_summary([signed(course[0]), course[1]], [axial.source])
    both = build_summary([signed(point) for point in course], [axial.source])
    assert (one.VerificationFlag, both.VerificationFlag) == ("UNVERIFIED", "VERIFIED")
    assert one.SOPInstanceUID != both.SOPInstanceUID


def test_images_of_another_study_are_refused(axial: Case, course):
    with pytest.raises(ValueError, match=r"the report is on study 2\.25\.11"):
        build_summary(course[1:], [axial.source])


@pytest.mark.reads("dcmtk", "course")
def test_a_person_can_read_it_as_text(axial: Case, course, tmp_path):
    """Each value with its name, each lesion under a line of its own, as dcmtk prints it."""
    path = tmp_path / "course.dcm"
    path.write_bytes(to_bytes(build_summary(course, [axial.source])))
    done = subprocess.run([program("dsrdump"), "+Pl", path], capture_output=True, check=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    labels = [n for n, line in enumerate(lines) if '"Short label")="T01, Lung, right, target"' in line]
    assert len(labels) == 2
    diameter = axial.report.lesions[0].diameter_mm
    assert f'"Diameter in Sum of Diameters")="{diameter:.3f}" (mm,UCUM,"mm")' in lines[labels[-1] + 1]
    assert any('"Report of the Time Point")="TP2, draft, not confirmed by a radiologist"' in x for x in lines)
    assert any('"Longitudinal Temporal Offset from Event")="56" (d,UCUM,"days")' in line for line in lines)


def test_no_container_runs_its_values_together(axial: Case, course):
    for document in (axial.results.sr, build_summary(course, [axial.source])):
        containers = [i for i in (document, *descendants(document)) if i.ValueType == "CONTAINER"]
        assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}
