"""A visit with several measured volumes: chest and abdomen in one study, a second study two days later."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from phantoms import (
    LESION_CENTRES,
    Phantom,
    PhantomSource,
    measured_volume,
    reported_lesion,
    sphere,
    time_point_report,
)
from pydicom import Dataset, dcmread
from result_cases import PLAIN, Case, program

from dicom_io import codes, uids
from dicom_io.results import (
    InstanceReference,
    ResultObjects,
    SummarizedTimePoint,
    build_results,
    build_summary,
    evidence_of,
    reference_to,
    to_bytes,
    validate,
    validate_summary,
)
from dicom_io.results.content import children, descendants, measurement_groups, text_of
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole, ReportedDecision, ReportedLesion, TimePointReport
from workflow.report import report_to_json

SPHERES = tuple((c, r, 80) for c, r in zip(LESION_CENTRES, (7.0, 5.0, 3.5), strict=True))
ENLARGED = ReportedDecision(
    what="long axis", by="Reader^Rosa", at=datetime(2026, 3, 3, 9, 5), reason="a vessel was in it",
    old="14.2 mm", new="13.7 mm",
)  # fmt: skip
NO_LESION = ReportedDecision(
    what="rejected", by="Reader^Rosa", at=datetime(2026, 3, 3, 9, 7), reason="it is a vessel"
)


def lesion_on(source: PhantomSource, number: int, label: str, **said: Any) -> ReportedLesion:
    mask = sphere(source.volume, LESION_CENTRES[number], (7.0, 5.0, 3.5)[number])
    return reported_lesion(source.volume, mask, label, **({"measured_on": source.series.key} | said))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[PhantomSource]:
    """Chest and abdomen of one study, and the pelvis, scanned two days later."""
    folder = tmp_path_factory.mktemp("visit")
    chest = Phantom(spheres=SPHERES).write(folder / "chest")
    abdomen = of_another_series(Phantom(spheres=SPHERES, shape=(22, 60, 80)), folder / "abdomen")
    pelvis = Phantom(
        spheres=SPHERES, study="5", study_date=date(2026, 3, 4), attributes={"AccessionNumber": "ACC-9"}
    ).write(folder / "pelvis")
    return [chest, abdomen, pelvis]


def of_another_series(phantom: Phantom, folder: Path) -> PhantomSource:
    source = phantom.write(folder)
    slices = []
    for one in source.slices:
        image = dcmread(one.path)
        image.SeriesInstanceUID = phantom.uid(4)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{one.sop_instance_uid}.4"
        image.save_as(one.path)
        slices.append(replace(one, sop_instance_uid=str(image.SOPInstanceUID)))
    series = replace(
        source.series,
        series_instance_uid=phantom.uid(4),
        sop_instance_uids=tuple(s.sop_instance_uid for s in slices),
        series_number=4,
        description="abdomen",
    )
    return replace(source, slices=tuple(slices), series=series)


def report_on(sources: Sequence[PhantomSource], **said: Any) -> TimePointReport:
    chest, abdomen, pelvis = sources
    lesions = (
        lesion_on(chest, 0, "T01", decisions=(ENLARGED,)),
        lesion_on(abdomen, 1, "T02"),
        lesion_on(pelvis, 0, "T03"),
        lesion_on(pelvis, 2, "NT01", role=LesionRole.NON_TARGET),
        lesion_on(chest, 2, "N01", role=LesionRole.NEW, is_rejected=True, decisions=(NO_LESION,)),
        reported_lesion(abdomen.volume, None, "T04", state=LesionState.NOT_EVALUABLE, diameter_mm=None,
                        measured_on=abdomen.series.key),
    )  # fmt: skip
    volumes = (measured_volume(chest), measured_volume(abdomen), measured_volume(pelvis, date(2026, 3, 4)))
    return time_point_report(chest, lesions, **({"volumes": volumes} | said))


@pytest.fixture(scope="module")
def visit(sources: list[PhantomSource]) -> ResultObjects:
    return build_results(report_on(sources), sources, settings=replace(PLAIN, writes_key_images=True))


def labels_in_groups(sr: Dataset) -> list[str]:
    found = [text_of(group, codes.TRACKING_IDENTIFIER) or "" for group in measurement_groups(sr)]
    return list(dict.fromkeys(identifier.split(":")[-1] for identifier in found))


def lesion_items(sr: Dataset) -> dict[str, Dataset]:
    (conclusions,) = children(sr, codes.QUALITATIVE_EVALUATIONS)
    return {text_of(i, codes.TRACKING_IDENTIFIER): i for i in children(conclusions, codes.LESION_STATE)}


def evidence(sr: Dataset, keyword: str) -> set[str]:
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in sr.get(keyword, [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def test_each_volume_has_a_seg_and_each_study_an_sr(visit: ResultObjects, sources: list[PhantomSource]):
    roles = ["seg", "seg-2", "seg-3", "sr", "sr-2", "key01", "key02", "key03", "key04"]
    assert list(visit.by_role) == roles
    series = [seg.ReferencedSeriesSequence[0].SeriesInstanceUID for seg in visit.segs if seg is not None]
    assert series == [source.series.series_instance_uid for source in sources]
    assert [sr.StudyInstanceUID for sr in visit.srs] == [
        sources[0].series.study_instance_uid, sources[2].series.study_instance_uid
    ]  # fmt: skip
    assert len({made.SOPInstanceUID for made in visit.all}) == len(roles)


def test_each_object_has_the_header_of_its_own_study(visit: ResultObjects):
    headers = {role: (made.AccessionNumber, str(made.StudyDate)) for role, made in visit.by_role.items()}
    own, later = ("ACC-7", "20260302"), ("ACC-9", "20260304")
    in_the_later_study = {"seg-3", "sr-2", "key03", "key04"}
    assert headers == {role: later if role in in_the_later_study else own for role in headers}


def test_series_of_one_study_are_told_apart(visit: ResultObjects):
    numbers: dict[str, dict[str, int]] = {}
    for made in visit.all:
        numbers.setdefault(made.StudyInstanceUID, {})[made.SeriesInstanceUID] = made.SeriesNumber
    for of_study in numbers.values():
        assert len(set(of_study.values())) == len(of_study)


def test_a_lesion_is_measured_in_the_sr_of_its_study_only(visit: ResultObjects):
    assert [labels_in_groups(sr) for sr in visit.srs] == [["T01", "T02"], ["T03", "NT01"]]


def test_an_sr_tells_of_the_other_studys_lesions_and_where_they_are(visit: ResultObjects):
    there = lesion_items(visit.srs[0])
    assert list(there) == ["T03", "NT01", "N01", "T04"]
    assert text_of(there["T03"], codes.MEASURED_ON) == "series of 2026-03-04"
    assert text_of(there["T03"], codes.STUDY_INSTANCE_UID) == visit.srs[1].StudyInstanceUID
    assert children(there["T03"], codes.DIAMETER_IN_SUM)
    assert text_of(there["T04"], codes.MEASURED_ON) == "series 4 (abdomen) of 2026-03-02"


def test_only_targets_carry_a_diameter_in_the_sum(visit: ResultObjects):
    of_label = {text_of(g, codes.COMMENT): g for g in measurement_groups(visit.srs[1])}
    assert children(of_label["T03"], codes.DIAMETER_IN_SUM)
    assert not children(of_label["NT01"], codes.DIAMETER_IN_SUM)
    other = lesion_items(visit.srs[0])["NT01"]
    assert not children(other, codes.DIAMETER_IN_SUM)
    assert children(other, codes.DIAMETER)


def test_the_visits_sums_and_response_stand_in_every_sr(visit: ResultObjects):
    for sr in visit.srs:
        (derived,) = children(sr, codes.DERIVED_IMAGING_MEASUREMENTS)
        assert len(children(derived, codes.SUM_OF_DIAMETERS)) == 1


def test_the_visits_srs_name_each_other_and_all_segs(visit: ResultObjects):
    for sr, other in zip(visit.srs, visit.srs[::-1], strict=True):
        (conclusions,) = children(sr, codes.QUALITATIVE_EVALUATIONS)
        (named,) = children(conclusions, codes.REPORT_OF_VISIT, "COMPOSITE")
        assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID
        segs = {str(seg.SOPInstanceUID) for seg in visit.segs if seg is not None}
        own = evidence(sr, "CurrentRequestedProcedureEvidenceSequence")
        pertinent = evidence(sr, "PertinentOtherEvidenceSequence")
        assert segs <= own | pertinent
        assert str(other.SOPInstanceUID) in pertinent


def test_a_rejected_lesion_has_neither_segment_nor_measurement_and_is_listed(visit: ResultObjects):
    uid = visit.report.lesions[4].tracking_uid
    assert uid not in {s.TrackingUID for seg in visit.segs if seg is not None for s in seg.SegmentSequence}
    for sr in visit.srs:
        item = lesion_items(sr)["N01"]
        assert item.ConceptCodeSequence[0].CodeValue == codes.REJECTED.value
        assert text_of(item, codes.READERS_DECISION) == (
            "rejected, by Rosa Reader, 2026-03-03 09:07: it is a vessel"
        )


def test_a_decision_tells_what_changed_who_when_and_why(visit: ResultObjects):
    group = measurement_groups(visit.srs[0])[0]
    (decision,) = children(group, codes.READERS_DECISION)
    assert decision.TextValue == (
        "long axis 14.2 mm to 13.7 mm, by Rosa Reader, 2026-03-03 09:05: a vessel was in it"
    )
    assert str(decision.ObservationDateTime) == "20260303090500"
    (person,) = children(decision, codes.PERSON_OBSERVER_NAME)
    assert person.PersonName == "Reader^Rosa"


def test_an_overridden_response_stands_beside_the_computed_one(sources: list[PhantomSource]):
    report = report_on(sources, attention=("T02 grew by 80 %",), decisions=(ENLARGED,))
    report = replace(report, assessment=replace(report.assessment, overall="PD", computed_overall="SD"))
    for sr in build_results(report, sources, settings=PLAIN).srs:
        (conclusions,) = children(sr, codes.QUALITATIVE_EVALUATIONS)
        (said,) = children(conclusions, codes.CURRENT_RESPONSE)
        (computed,) = children(conclusions, codes.COMPUTED_RESPONSE)
        assert said.ConceptCodeSequence[0].CodeMeaning == "Progressive Disease"
        assert computed.ConceptCodeSequence[0].CodeMeaning == "Stable Disease"
        assert text_of(conclusions, codes.ATTENTION) == "T02 grew by 80 %"
        assert len(children(conclusions, codes.READERS_DECISION)) == 1


def test_the_visits_objects_pass_the_gate(visit: ResultObjects):
    checked = validate(visit)
    assert checked.is_valid, str(checked)


def test_dcentvfy_finds_each_study_to_be_one(
    visit: ResultObjects, sources: list[PhantomSource], tmp_path: Path
):
    for study in {made.StudyInstanceUID for made in visit.all}:
        own = [source for source in sources if source.series.study_instance_uid == study]
        files = [image.path for source in own for image in source.slices]
        for role, made in visit.by_role.items():
            if study == made.StudyInstanceUID:
                files.append(tmp_path / f"{role}.dcm")
                files[-1].write_bytes(to_bytes(made))
        done = subprocess.run([program("dcentvfy"), *files], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr


def exchange_segs(made: ResultObjects) -> ResultObjects:
    first, second, third = made.segs
    return replace(made, segs=(second, first, third))


def exchange_srs(made: ResultObjects) -> ResultObjects:
    return replace(made, srs=made.srs[::-1])


def measure_a_rejected_lesion(made: ResultObjects) -> ResultObjects:
    sr = deepcopy(made.srs[0])
    for group in measurement_groups(sr)[2:]:
        children(group, codes.TRACKING_UNIQUE_IDENTIFIER)[0].UID = made.report.lesions[4].tracking_uid
    return replace(made, srs=(sr, made.srs[1]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (exchange_segs, "frames of 60 x 80, the source's images 64 x 72"),
        (exchange_srs, "StudyInstanceUID is not that of the source images"),
        (measure_a_rejected_lesion, "N01 is measured in the report, and must not be"),
    ],
)
def test_each_object_is_held_against_its_own_volume(
    visit: ResultObjects, damage: Callable[[ResultObjects], ResultObjects], message: str
):
    assert message in str(validate(damage(visit)))


def test_one_volume_gives_what_it_gave_alone(axial: Case):
    """No lesion needs to say where it is measured, and nothing is called the second."""
    assert list(axial.results.by_role) == ["seg", "sr"]
    named = replace(
        axial.report,
        lesions=tuple(replace(o, measured_on=axial.source.series.key) for o in axial.report.lesions),
    )
    again = build_results(named, [axial.source], settings=PLAIN)
    assert [to_bytes(a) for a in again.all] == [to_bytes(b) for b in axial.results.all]


def test_two_stacks_of_one_series_have_a_seg_each(axial: Case, tmp_path):
    first = axial.source
    late = replace(first, series=replace(first.series, stack=1, stack_label="temporal position 2"))
    lesions = (lesion_on(first, 0, "T01"), lesion_on(late, 1, "T02"))
    report = time_point_report(first, lesions, volumes=(measured_volume(first), measured_volume(late)))
    results = build_results(report, [first, late], settings=PLAIN)
    assert validate(results).is_valid
    assert list(results.by_role) == ["seg", "seg-2", "sr"]
    assert len({made.SOPInstanceUID for made in results.all}) == 3


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 1), (0, 1, 1)])
def test_images_that_are_not_the_reports_volumes_are_refused(sources: list[PhantomSource], order):
    with pytest.raises(ValueError, match="the report is on series"):
        build_results(report_on(sources), [sources[n] for n in order], settings=PLAIN)


def test_a_lesion_on_a_volume_that_the_report_lacks_is_refused(axial: Case, sources: list[PhantomSource]):
    lesion = lesion_on(sources[2], 0, "T01")
    with pytest.raises(ValueError, match=r"T01 is measured on series 1\.2\.826\.0\.1\.3680043\.8\.498\.5"):
        build_results(replace(axial.report, lesions=(lesion,)), [axial.source], settings=PLAIN)


def test_values_that_are_not_known_are_not_written(axial: Case):
    nan = float("nan")
    (first, *others) = axial.report.lesions
    assert first.measurement is not None
    unknown = replace(
        first, diameter_mm=nan, confidence=nan, measurement=replace(first.measurement, mean_hu=nan)
    )
    said = replace(axial.report.assessment, sum_mm=nan, change_from_nadir_percent=float("inf"))
    report = replace(axial.report, lesions=(unknown, *others), assessment=said)
    results = build_results(report, [axial.source])
    assert validate(results).is_valid
    assert "NaN" not in json.dumps(report_to_json(report))
    values = [str(e.value).lower() for e in results.sr.iterall() if e.keyword == "NumericValue"]
    assert values
    assert not {"nan", "inf"} & set(values)


def test_the_course_lies_in_the_first_study_and_names_every_sr(
    visit: ResultObjects, sources: list[PhantomSource], axial: Case
):
    baseline = replace(
        axial.report, order=1, is_baseline=True, study_instance_uid="2.25.11", study_date=date(2026, 1, 5),
        identity="earlier",
    )  # fmt: skip
    before = InstanceReference("2.25.11", "2.25.12", "1.2.840.10008.5.1.4.1.1.88.33", "2.25.13")
    course = [
        SummarizedTimePoint(report=baseline, srs=(before,)),
        SummarizedTimePoint(report=visit.report, srs=tuple(reference_to(sr) for sr in visit.srs)),
    ]
    summary = build_summary(course, sources)
    assert validate_summary(summary, sources[0]) == []
    assert summary.StudyInstanceUID == visit.srs[0].StudyInstanceUID
    named = {
        str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for i in descendants(summary)
        if i.ValueType == "COMPOSITE"
    }
    assert named == {"2.25.13", *(str(sr.SOPInstanceUID) for sr in visit.srs)}


def test_an_earlier_report_brings_the_seg_and_the_images_that_it_measures(axial: Case, tmp_path):
    path = tmp_path / "sr.dcm"
    path.write_bytes(to_bytes(axial.results.sr))
    found = [r.sop_instance_uid for r in evidence_of(reference_to(axial.results.sr), path)]
    measured = {lesion.measurement.slice_index for lesion in axial.report.lesions if lesion.measurement}
    images = {axial.source.slices[index].sop_instance_uid for index in measured}
    assert set(found) == {axial.results.sr.SOPInstanceUID, axial.results.seg.SOPInstanceUID, *images}
    assert evidence_of(reference_to(axial.results.sr), tmp_path / "gone.dcm") == [
        reference_to(axial.results.sr)
    ]


def test_predecessors_stand_in_the_sr_of_their_study(sources: list[PhantomSource]):
    from workflow.domain.report import PredecessorReport

    later = sources[2].series.study_instance_uid
    report = report_on(
        sources,
        predecessors=tuple(
            PredecessorReport(study_instance_uid=study, sop_instance_uid=uid)
            for study, uid in ((later, "2.25.71"), ("2.25.9", "2.25.72"))
        ),
    )
    first, second = build_results(report, sources, settings=PLAIN).srs
    (left,) = first.PredecessorDocumentsSequence
    (own,) = second.PredecessorDocumentsSequence
    assert (left.StudyInstanceUID, own.StudyInstanceUID) == ("2.25.9", later)
    assert own.ReferencedSeriesSequence[0].SeriesInstanceUID == uids.series_instance_uid_of("2.25.71")
