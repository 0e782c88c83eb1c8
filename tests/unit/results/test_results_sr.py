"""The SR's content and its place in the PACS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from phantoms import MODEL, Phantom, three_lesions, time_point_report
from pydicom import Dataset, dcmread
from result_cases import PLAIN, SPHERES, Case

from dicom_io import codes, uids
from dicom_io.results import InstanceReference, ResultSettings, build_results, to_bytes, validate
from dicom_io.results.content import children, descendants, measurement_groups, text_of
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.report import ReviewStatus


def item(parent: Dataset, name: object) -> Dataset:
    (found,) = children(parent, name)
    return found


def number(parent: Dataset, name: object) -> tuple[float, str]:
    value = item(parent, name).MeasuredValueSequence[0]
    return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue


def code(parent: Dataset, name: object) -> tuple[str, str]:
    value = item(parent, name).ConceptCodeSequence[0]
    return value.CodeValue, value.CodingSchemeDesignator


def test_each_lesion_has_its_axes_first_and_its_volume_second(axial: Case):
    groups = measurement_groups(axial.results.sr)
    templates = [group.ContentTemplateSequence[0].TemplateIdentifier for group in groups]
    assert templates == ["1501", "1411"] * 3
    uids_in_order = [text_of(group, codes.TRACKING_UNIQUE_IDENTIFIER) for group in groups]
    lesions = axial.report.lesions[:3]
    assert uids_in_order == [lesion.tracking_uid for lesion in lesions for _ in range(2)]


def test_an_axis_is_drawn_between_pixel_centres(axial: Case):
    group = measurement_groups(axial.results.sr)[0]
    drawn = item(group, codes.LONG_AXIS).ContentSequence[0]
    axis = axial.report.lesions[0].measurement.long_axis
    # The phantom's first pixel centre is at (-30, -25) mm and its pixels are 0.8 mm wide.
    start = [(axis.start_lps[0] + 30) / 0.8 + 0.5, (axis.start_lps[1] + 25) / 0.8 + 0.5]
    assert (drawn.ValueType, drawn.GraphicType) == ("SCOORD", "POLYLINE")
    assert list(drawn.GraphicData)[:2] == pytest.approx(start, abs=1e-4)
    image = drawn.ContentSequence[0]
    assert (drawn.RelationshipType, image.RelationshipType) == ("INFERRED FROM", "SELECTED FROM")
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID.endswith(".2.9")  # z = 120 mm


def test_a_groups_findings_are_coded(axial: Case):
    first, _, node, *_ = measurement_groups(axial.results.sr)
    assert code(first, codes.FINDING_SITE) == ("39607008", "SCT")
    assert code(item(first, codes.FINDING_SITE), codes.LATERALITY) == ("24028007", "SCT")
    assert code(node, codes.FINDING_SITE) == ("59441001", "SCT")
    assert code(first, codes.BASELINE_CATEGORY) == ("112074", "DCM")
    assert code(first, codes.CURRENT_RESPONSE) == ("112042", "DCM")
    assert text_of(first, codes.COMMENT) == "T01"
    assert text_of(first, codes.TIME_POINT) == "TP2"
    assert text_of(node, codes.QUALITY_FLAG).startswith("touches another lesion")


def test_volume_and_mean_stand_beside_the_segment(axial: Case):
    group, lesion = measurement_groups(axial.results.sr)[1], axial.report.lesions[0]
    assert number(group, codes.VOLUME) == (pytest.approx(lesion.measurement.volume_mm3), "mm3")
    assert number(group, codes.INTENSITIES["CT"][0]) == (80.0, "[hnsf'U]")
    reference = item(group, codes.REFERENCED_SEGMENT).ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == axial.results.seg.SOPInstanceUID
    assert reference.ReferencedSegmentNumber == 1


def test_sums_and_their_changes_stand_at_the_root(axial: Case):
    derived, said = item(axial.results.sr, codes.DERIVED_IMAGING_MEASUREMENTS), axial.report.assessment
    assert number(derived, codes.SUM_OF_DIAMETERS) == (pytest.approx(said.sum_mm, abs=1e-3), "mm")
    assert number(derived, codes.EARLIER_NADIR_SUM)[0] == said.nadir_sum_mm
    assert number(derived, codes.CHANGE_FROM_BASELINE) == (-35.0, "%")
    assert number(derived, codes.TIME_POINT_ORDER)[0] == 2
    assert number(derived, codes.TEMPORAL_OFFSET) == (56, "d")


def test_the_response_is_coded_and_its_reason_said(axial: Case):
    said = item(axial.results.sr, codes.QUALITATIVE_EVALUATIONS)
    assert code(said, codes.RESPONSE_EVALUATION_METHOD) == ("126081", "DCM")
    (overall,) = children(said, codes.CURRENT_RESPONSE)
    concept = overall.ConceptCodeSequence[0]
    assert (concept.CodeValue, concept.CodingSchemeDesignator) == ("C18058", "NCIt")
    assert concept.CodeMeaning == "Partial Response"
    assert text_of(said, codes.RESPONSE_REASON) == axial.report.assessment.reason
    assert text_of(said, codes.WARNING) == axial.report.assessment.warnings[0]
    assert code(said, codes.BEST_OVERALL_RESPONSE) == ("C18058", "NCIt")


def test_a_lesion_that_is_gone_is_said_without_a_group(axial: Case):
    gone = axial.report.lesions[3]
    said = item(item(axial.results.sr, codes.QUALITATIVE_EVALUATIONS), codes.LESION_STATE)
    assert said.ConceptCodeSequence[0].CodeMeaning == "Disappeared"
    assert text_of(said, codes.TRACKING_UNIQUE_IDENTIFIER) == gone.tracking_uid
    assert text_of(said, codes.LESION_REASON) == gone.reason
    assert code(said, codes.CURRENT_RESPONSE) == ("112045", "DCM")
    in_groups = {text_of(g, codes.TRACKING_UNIQUE_IDENTIFIER) for g in measurement_groups(axial.results.sr)}
    assert gone.tracking_uid not in in_groups


def test_a_patient_with_nothing_left_still_has_a_report(make_case: Callable[[str], Case]):
    case = make_case("nothing left")
    assert measurement_groups(case.results.sr) == []
    states = children(item(case.results.sr, codes.QUALITATIVE_EVALUATIONS), codes.LESION_STATE)
    assert [s.ConceptCodeSequence[0].CodeMeaning for s in states] == ["Disappeared", "Not evaluable"]


def test_the_private_scheme_is_declared_where_it_is_used(axial: Case):
    (scheme,) = axial.results.sr.CodingSchemeIdentificationSequence
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeUID[:5]) == ("99TUMORLINE", "2.25.")
    assert "CodingSchemeIdentificationSequence" not in axial.results.seg


def test_a_tilted_gantrys_axes_are_drawn_on_the_tilted_images(make_case: Callable[[str], Case]):
    case = make_case("gantry tilt")
    images = {str(i.SOPInstanceUID): i for i in map(dcmread, case.image_paths)}
    assert case.results.sr.SOPClassUID.name == "Comprehensive SR Storage"
    for lesion, group in zip(case.report.lesions, measurement_groups(case.results.sr)[::2], strict=True):
        for name, axis in (
            (codes.LONG_AXIS, lesion.measurement.long_axis),
            (codes.SHORT_AXIS, lesion.measurement.short_axis),
        ):
            drawn = item(group, name).ContentSequence[0]
            image = images[drawn.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
            along, down = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3)) * 0.8
            columns, rows = (np.reshape(drawn.GraphicData, (2, 2)) - 0.5).T[:, :, None]
            ends = np.array(image.ImagePositionPatient, float) + columns * along + rows * down
            assert ends == pytest.approx(np.array([axis.start_lps, axis.end_lps]), abs=0.001)
            assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(axis.length_mm, abs=0.001)
    notes = children(item(case.results.sr, codes.QUALITATIVE_EVALUATIONS), codes.NOTE)
    assert "gantry tilt" in notes[0].TextValue


def test_a_lesion_on_a_slice_that_was_filled_in_is_measured_in_the_patient(
    make_case: Callable[[str], Case],
):
    case = make_case("slice filled in")
    lesion = case.report.lesions[1]
    drawn = item(measurement_groups(case.results.sr)[2], codes.LONG_AXIS).ContentSequence[0]
    axis = lesion.measurement.long_axis
    assert drawn.ValueType == "SCOORD3D"
    assert list(drawn.GraphicData) == pytest.approx([*axis.start_lps, *axis.end_lps], abs=1e-4)
    assert case.results.sr.SOPClassUID.name == "Comprehensive 3D SR Storage"


def test_the_image_library_holds_the_measured_slices_only(axial: Case):
    library = item(axial.results.sr, codes.IMAGE_LIBRARY)
    assert len([i for i in descendants(library) if i.ValueType == "IMAGE"]) == 3


# ---------------------------------------------------------------- its place in the PACS


def test_patient_study_and_order_are_the_sources(tmp_path):
    request, procedure = Dataset(), Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    procedure.ReferencedSOPClassUID, procedure.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.3", "2.25.5"
    source = Phantom(
        attributes={
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientName": "Müller^Änne",
            "RequestAttributesSequence": [request],
            "ReferencedPerformedProcedureStepSequence": [procedure],
        }
    ).write(tmp_path)
    results = build_results(time_point_report(source, []), [source], settings=PLAIN)
    sr = results.sr
    assert (sr.PatientName, sr.SpecificCharacterSet) == ("Müller^Änne", "ISO_IR 100")
    assert (sr.AccessionNumber, sr.IssuerOfPatientID) == ("ACC-7", "Hospital")
    assert (sr.StudyID, sr.StudyDescription, sr.ReferringPhysicianName) == ("S1", "CT thorax", "Refer^Rita")
    (referenced,) = sr.ReferencedRequestSequence
    assert (referenced.RequestedProcedureID, referenced.AccessionNumber) == ("RP1", "ACC-7")
    assert sr.ReferencedPerformedProcedureStepSequence[0].ReferencedSOPInstanceUID == "2.25.5"
    assert sr.SeriesNumber == 9101
    assert validate(results).is_valid


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "王^小東"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
    ids=["Japanese", "Cyrillic", "UTF-8", "Korean"],
)
def test_names_survive_in_the_sources_character_set(tmp_path, character_set, name):
    from io import BytesIO

    from pydicom import dcmread

    attributes = {"SpecificCharacterSet": character_set, "PatientName": name}
    source = Phantom(attributes=attributes).write(tmp_path)
    report = time_point_report(source, three_lesions(source.volume), notes=("≥ 20 % – 5 mm × 3",))
    results = build_results(report, [source], settings=PLAIN)
    for made in results.all:
        back = dcmread(BytesIO(to_bytes(made)))
        assert str(back.PatientName) == name
        assert back.SpecificCharacterSet == character_set
    assert validate(results).is_valid


def test_text_that_the_sources_character_set_lacks_moves_the_object_to_utf8(tmp_path):
    source = Phantom(attributes={"PatientName": "Müller^Änne"}).write(tmp_path)
    report = time_point_report(source, [], notes=("患者",))
    sr = build_results(report, [source], settings=PLAIN).sr
    assert sr.SpecificCharacterSet == "ISO_IR 192"
    assert sr.PatientName == "Müller^Änne"


def test_evidence_is_split_by_study(axial: Case):
    earlier = InstanceReference("2.25.1", "2.25.2", "1.2.840.10008.5.1.4.1.1.88.33", "2.25.3")
    sr = build_results(axial.report, [axial.source], settings=PLAIN, prior=[earlier]).sr
    (current,) = sr.CurrentRequestedProcedureEvidenceSequence
    (other,) = sr.PertinentOtherEvidenceSequence
    assert current.StudyInstanceUID == sr.StudyInstanceUID
    counts = [len(series.ReferencedSOPSequence) for series in current.ReferencedSeriesSequence]
    assert counts == [24, 1]  # the images and the SEG
    assert other.StudyInstanceUID == "2.25.1"


def test_an_unsigned_report_is_unverified_and_preliminary(axial: Case):
    sr = axial.results.sr
    assert (sr.VerificationFlag, sr.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in sr


def test_a_signed_report_names_who_and_supersedes_the_draft(axial: Case, make_case: Callable[[str], Case]):
    sr = make_case("signed").results.sr
    (observer,) = sr.VerifyingObserverSequence
    assert (sr.VerificationFlag, sr.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Reader^Rosa", "Hospital")
    assert str(observer.VerificationDateTime).startswith("20260303090500")
    series = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.77"
    assert series.SeriesInstanceUID == uids.series_instance_uid_of("2.25.77")
    assert sr.SOPInstanceUID != axial.results.sr.SOPInstanceUID


@pytest.mark.parametrize(
    ("institution", "setting", "organization"),
    [
        ("Hospital", "Reading group", "Reading group"),
        ("Hospital", "", "Hospital"),
        (None, "", "Operator of this Tumorline installation"),
    ],
)
def test_the_verifying_organization_is_set_or_the_images_institution(
    tmp_path, institution, setting, organization
):
    source = Phantom(attributes={"InstitutionName": institution}).write(tmp_path)
    signed = time_point_report(source, [], status=ReviewStatus.SIGNED, signed_by="Reader^Rosa")
    settings = replace(PLAIN, verifying_organization=setting)
    results = build_results(signed, [source], settings=settings)
    assert results.sr.VerifyingObserverSequence[0].VerifyingOrganization == organization
    assert validate(results).is_valid


def test_a_study_without_a_date_gets_none(tmp_path):
    source = Phantom(spheres=SPHERES, attributes={"StudyDate": "", "StudyTime": ""}).write(tmp_path)
    report = time_point_report(source, three_lesions(source.volume))
    results = build_results(report, [source], settings=ResultSettings(writes_key_images=True))
    assert {str(made.get("StudyDate") or "") for made in results.all} == {""}
    assert validate(results).is_valid


def test_a_signature_without_a_name_is_refused(axial: Case):
    nameless = replace(axial.report, status=ReviewStatus.SIGNED, signed_by=None)
    with pytest.raises(UnsuitableInputError, match="not by whom"):
        build_results(nameless, [axial.source], settings=PLAIN)


def test_equipment_and_algorithm_agree_on_name_version_and_device(axial: Case):
    sr = axial.results.sr
    ours = [i for i in sr.ContributingEquipmentSequence if "DeviceUID" in i]
    application, model = ours
    assert (model.ManufacturerModelName, model.SoftwareVersions) == (MODEL.name, MODEL.version)
    assert model.DeviceUID == uids.device_uid(MODEL)
    group = measurement_groups(sr)[0]
    assert text_of(group, codes.ALGORITHM_NAME) == model.ManufacturerModelName
    assert text_of(group, codes.ALGORITHM_VERSION) == model.SoftwareVersions
    assert text_of(group, codes.ALGORITHM_PARAMETERS) == f"device_uid={model.DeviceUID}"
    assert text_of(sr, codes.DEVICE_OBSERVER_UID) == application.DeviceUID


def test_other_weights_are_another_device():
    assert uids.device_uid(MODEL) != uids.device_uid(replace(MODEL, weights_sha256="cd" * 32))


def test_the_same_report_gives_the_same_bytes(case: Case):
    again = build_results(case.report, [case.source], settings=case.results.settings)
    assert [to_bytes(a) for a in again.all] == [to_bytes(b) for b in case.results.all]


def test_draft_and_signed_are_told_apart_in_a_viewers_list(axial: Case):
    settings = ResultSettings(writes_key_images=True)
    draft = build_results(axial.report, [axial.source], settings=settings)
    report = replace(
        axial.report, status=ReviewStatus.SIGNED, signed_by="Reader^Rosa", version=2,
        signed_at=datetime(2026, 3, 3, 9, 5),
    )  # fmt: skip
    signed = build_results(report, [axial.source], settings=settings)
    for role, made in draft.by_role.items():
        other = signed.by_role[role]
        assert made.SeriesDescription.endswith(", draft")
        assert other.SeriesDescription.endswith(", signed by Rosa Reader on 2026-03-03")
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"):
            assert made[keyword].value != other[keyword].value


def test_a_second_draft_says_so(axial: Case):
    results = build_results(replace(axial.report, version=2), [axial.source], settings=PLAIN)
    assert results.sr.SeriesDescription == "Tumorline measurements, draft, version 2"
    assert (results.seg.SeriesNumber, results.sr.SeriesNumber) == (9200, 9201)


def test_a_long_name_fits_the_series_description(axial: Case):
    report = replace(axial.report, status=ReviewStatus.SIGNED, signed_by=f"{'Long' * 14}^Rosa")
    results = build_results(report, [axial.source], settings=PLAIN)
    assert len(results.sr.SeriesDescription) <= 64
    assert validate(results).is_valid


def test_times_follow_the_scanners_clock(tmp_path):
    source = Phantom(attributes={"TimezoneOffsetFromUTC": "+0100"}).write(tmp_path)
    report = time_point_report(source, [], created_at=datetime(2026, 3, 2, 23, 30, tzinfo=UTC))
    sr = build_results(report, [source], settings=PLAIN).sr
    assert (str(sr.ContentDate), str(sr.ContentTime)) == ("20260303", "003000")
    assert sr.TimezoneOffsetFromUTC == "+0100"


def test_a_report_without_a_time_takes_the_studys(tmp_path):
    source = Phantom().write(tmp_path)
    sr = build_results(time_point_report(source, [], created_at=None), [source], settings=PLAIN).sr
    assert (str(sr.ContentDate), str(sr.ContentTime)) == ("20260302", "101500")


def test_a_report_on_another_series_is_refused(axial: Case):
    with pytest.raises(ValueError, match=r"2\.25\.9"):
        build_results(replace(axial.report, series_instance_uid="2.25.9"), [axial.source], settings=PLAIN)
