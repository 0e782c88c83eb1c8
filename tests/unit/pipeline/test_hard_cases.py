"""Cases in which a simple pipeline compares with the wrong thing, or loses somebody's word."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pydicom
import pytest
from hospital import LEFT, RIGHT, Hospital, Sphere, SphereFinder, Study, diameters, states
from test_course_of_a_patient import BASELINE, FOLLOW_UP, PROGRESS

from dicom_io.scp import FolderArchive
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask
from workflow.domain.lesion_life import Decision
from workflow.domain.report import LesionRole
from workflow.review import decide

NEAR_LEFT = (24.0, 24.0, 20.0)


def _written(study: Study, folder: Path) -> list[Path]:
    study.write(folder)
    return sorted(folder.glob("*.dcm"))


def _labels(point) -> dict[str, str]:
    return {o["label"]: o["role"] for o in point["report"]["lesions"]}


def _with_tracking_uid(path: Path, uid: str) -> None:
    """Give every lesion of an SR one tracking UID."""
    report = pydicom.dcmread(path)
    for element in report.iterall():
        if element.keyword == "UID":
            element.value = uid
    report.save_as(path)


def test_a_tracking_uid_that_is_a_path_writes_nothing_outside(hospital, tmp_path):
    study = replace(BASELINE, spheres=BASELINE.spheres[:1])
    study.write(tmp_path / "study")
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        _with_tracking_uid(tmp_path / "study" / "sr.dcm", "../../../../evil")
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    (point,) = hospital.time_points()
    assert point["report"]["lesions"][0]["tracking_uid"].startswith("2.25.")
    assert any("is not a UID" in note for note in point["notes"])
    assert not list(tmp_path.rglob("evil*"))


def test_another_patients_tracking_uid_does_not_touch_that_patient(hospital, tmp_path):
    hospital.process(replace(BASELINE, spheres=BASELINE.spheres[:1]))
    uid = hospital.time_points()[0]["report"]["lesions"][0]["tracking_uid"]
    other = replace(BASELINE, patient_id="P-2", spheres=BASELINE.spheres[1:])
    other.write(tmp_path / "other")
    _with_tracking_uid(tmp_path / "other" / "sr.dcm", uid)
    hospital.receive_folder(tmp_path / "other")
    hospital.process(FOLLOW_UP)
    assert [_labels(p) for p in hospital.time_points()] == [{"T01": "target"}] * 2
    assert hospital.time_points("P-2")[0]["report"]["lesions"][0]["tracking_uid"] != uid


def test_a_lesion_that_was_never_outlined_is_not_taken_for_new(hospital):
    class Blind(SphereFinder):
        def segment(self, volume, prompts, **options):
            found = super().segment(volume, prompts, **options)
            empty = Mask.from_array(volume.array > 30_000)
            return [replace(lesion, mask=empty) if volume_is_first else lesion for lesion in found]

    hospital.model = Blind()
    volume_is_first = True
    hospital.process(replace(BASELINE, spheres=BASELINE.spheres[:1]))
    volume_is_first = False
    drawn = replace(BASELINE.spheres[0], label="left lung again")
    hospital.process(replace(FOLLOW_UP, spheres=(drawn,)))
    follow_up = hospital.time_points()[1]["report"]
    assert follow_up["assessment"]["overall"] != "PD"
    assert {o["label"]: o["state"] for o in follow_up["lesions"]}["T01" if "T01" in _labels(
        hospital.time_points()[1]) else "NT01"] == "not_evaluable"  # fmt: skip


def test_regions_examined_on_two_days_before_treatment_are_one_baseline(hospital):
    abdomen = Study(
        day=date(2024, 3, 6),
        body_part="ABDOMEN",
        description="CT abdomen",
        key="abdomen",
        spheres=(Sphere(centre_lps=RIGHT, diameter_mm=14, is_prompted=True, label="liver"),),
    )
    chest = replace(BASELINE, spheres=BASELINE.spheres[:1])
    hospital.process(chest, abdomen)
    (baseline,) = hospital.time_points()
    assert _labels(baseline) == {"T01": "target", "T02": "target"}
    assert baseline["report"]["assessment"]["overall"] == "baseline"
    assert len(baseline["studies"]) == 2


def test_two_regions_give_the_same_labels_in_either_order_of_arrival(tmp_path):
    abdomen = Study(
        day=date(2024, 3, 6), body_part="ABDOMEN", description="CT abdomen", key="abdomen",
        spheres=(Sphere(centre_lps=RIGHT, diameter_mm=14, is_prompted=True, label="liver"),),
    )  # fmt: skip
    chest = replace(BASELINE, spheres=BASELINE.spheres[:1])
    seen = []
    for place, order in enumerate(((chest, abdomen), (abdomen, chest))):
        hospital = Hospital(tmp_path / str(place))
        hospital.process(*order)
        seen.append([(_labels(p), p["objects"][0]["sop_instance_uid"]) for p in hospital.time_points()])
    assert seen[0] == seen[1]


def test_a_region_first_looked_at_long_after_baseline_shows_new_lesions(hospital):
    abdomen = Study(
        day=date(2024, 5, 6), body_part="ABDOMEN", description="CT abdomen",
        spheres=(Sphere(centre_lps=RIGHT, diameter_mm=14, is_prompted=True, label="liver"),),
    )  # fmt: skip
    hospital.process(replace(BASELINE, spheres=BASELINE.spheres[:1]), abdomen)
    follow_up = hospital.time_points()[1]
    assert _labels(follow_up) == {"N01": "new", "T01": "target"}
    assert follow_up["report"]["assessment"]["overall"] == "PD"
    assert follow_up["report"]["assessment"]["sum_mm"] is None


def test_two_lesions_that_grow_together_are_counted_once(hospital):
    apart = (
        Sphere(centre_lps=LEFT, diameter_mm=10, is_prompted=True, label="one"),
        Sphere(centre_lps=NEAR_LEFT, diameter_mm=10, is_prompted=True, label="two"),
    )
    together = (Sphere(centre_lps=(18.0, 24.0, 20.0), diameter_mm=20),)
    hospital.process(replace(BASELINE, spheres=apart), replace(FOLLOW_UP, spheres=together))
    follow_up = hospital.time_points()[1]["report"]
    assert sorted(o["state"] for o in follow_up["lesions"]) == ["merged", "present"]
    assert follow_up["assessment"]["sum_mm"] == pytest.approx(20, abs=1.5)


def test_a_redrawn_lesion_keeps_its_identity_and_what_a_reader_decided(hospital, tmp_path):
    study = replace(BASELINE, spheres=BASELINE.spheres[:1])
    hospital.process(study, FOLLOW_UP)
    before = hospital.time_points()[0]["report"]["lesions"][0]["tracking_uid"]
    decide(
        hospital.context, patient_id="P-1", lesion="T01", decision=Decision.SET_ROLE,
        role=LesionRole.NON_TARGET, by="Roe", reason="cystic",
    )  # fmt: skip
    study.write(tmp_path / "again")
    corrected = pydicom.dcmread(tmp_path / "again" / "sr.dcm")
    corrected.SOPInstanceUID = corrected.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    for element in corrected.iterall():
        if element.keyword == "UID":
            element.value = "1.2.3.5"
    corrected.ContentTime = "235900"
    corrected.save_as(tmp_path / "sr.dcm")
    hospital.receive_folder(tmp_path / "sr.dcm")
    hospital.work()
    baseline = hospital.time_points()[0]["report"]["lesions"]
    assert before in {lesion["tracking_uid"] for lesion in baseline}
    assert {o["tracking_uid"]: o["role"] for o in baseline}[before] == "non_target"


def test_taking_a_decision_back_is_a_new_version_that_supersedes_it(hospital):
    hospital.process(BASELINE, FOLLOW_UP)
    common = {"patient_id": "P-1", "lesion": "T02", "by": "Roe", "reason": "vessel"}
    made = decide(hospital.context, decision=Decision.NOT_A_LESION, **common)
    hospital.work()
    with_it = hospital.time_points()[1]
    decide(hospital.context, decision=Decision.WITHDRAW, other=made.id, **common)
    hospital.work()
    without = hospital.time_points()[1]
    assert (with_it["report_version"], without["report_version"]) == (2, 3)
    sr = next(o["sop_instance_uid"] for o in with_it["objects"] if o["role"] == "sr")
    assert [p["sop_instance_uid"] for p in without["report"]["predecessors"]] == [sr]
    hospital.receive(FOLLOW_UP)
    hospital.work()
    assert hospital.time_points()[1]["report_version"] == 3


def test_a_study_corrected_to_another_patient_leaves_the_first_ones_timeline(hospital, tmp_path):
    hospital.process(BASELINE, FOLLOW_UP)
    baseline_uid = hospital.time_points()[0]["study_instance_uid"]
    for path in sorted((hospital.home / "sent").glob("P-1-2024-03-04*/*.dcm")):
        corrected = pydicom.dcmread(path)
        corrected.PatientID = "P-9"
        corrected.save_as(tmp_path / path.name)
        hospital.receive_folder(tmp_path / path.name)
    hospital.work()
    assert len(hospital.time_points()) == 2  # until a person takes the correction
    hospital.take()
    hospital.work()
    assert [p["study_instance_uid"] for p in hospital.time_points("P-9")] == [baseline_uid]
    (alone,) = hospital.time_points("P-1")
    assert (alone["state"], alone["prior_study_instance_uid"]) == ("AWAITING_PROMPTS", None)


def test_a_study_that_is_quarantined_later_is_no_baseline_any_more(hospital, tmp_path):
    hospital.process(BASELINE, FOLLOW_UP)
    path = next((hospital.home / "sent").glob("P-1-2024-03-04*/ct_0003.dcm"))
    wrong = pydicom.dcmread(path)
    wrong.PatientName, wrong.PatientID = "Other^Body", "P-7"
    wrong.save_as(tmp_path / "wrong.dcm")
    hospital.receive_folder(tmp_path / "wrong.dcm")
    hospital.take()
    hospital.work()
    baseline, follow_up = hospital.time_points()
    assert (baseline["state"], follow_up["state"]) == ("QUARANTINED", "AWAITING_PROMPTS")
    assert "different patients" in hospital.status()["quarantine"][0]["reason"]
    right = pydicom.dcmread(path)
    right.ImageComments = "corrected"
    right.save_as(tmp_path / "right.dcm")
    hospital.receive_folder(tmp_path / "right.dcm")
    hospital.take()
    hospital.work()
    assert states(hospital.time_points()) == ["DRAFT", "DRAFT"]
    assert hospital.status()["quarantine"] == []


def test_a_corrected_study_date_moves_the_time_point(hospital, tmp_path):
    hospital.process(BASELINE, FOLLOW_UP)
    for path in sorted((hospital.home / "sent").glob("P-1-2024-05-06*/*.dcm")):
        corrected = pydicom.dcmread(path)
        corrected.StudyDate = "20240606"
        corrected.save_as(tmp_path / path.name)
        hospital.receive_folder(tmp_path / path.name)
    hospital.take()
    hospital.work()
    assert [p["study_date"] for p in hospital.time_points()] == ["2024-03-04", "2024-06-06"]


def test_a_failing_study_says_so_and_the_others_go_on(hospital):
    class Broken(SphereFinder):
        def track(self, prior, prior_lesions, volume, **options):
            raise RuntimeError("out of memory for Test^Person")

    hospital.process(BASELINE)
    hospital.model = Broken()
    hospital.process(FOLLOW_UP)
    new_one = Sphere(centre_lps=LEFT, diameter_mm=9, is_prompted=True, label="left lung")
    other = replace(BASELINE, patient_id="P-2", spheres=(new_one,))
    hospital.process(other)
    assert states(hospital.time_points()) == ["DRAFT", "FAILED"]
    assert "see job" in hospital.time_points()[1]["reason"]
    assert "Person" not in hospital.time_points()[1]["reason"]
    assert states(hospital.time_points("P-2")) == ["DRAFT"]


def test_one_object_that_the_pacs_refuses_does_not_hold_the_others_back(tmp_path):
    class Picky(FolderArchive):
        def store(self, paths):
            if any(path.name == "seg.dcm" for path in paths):
                raise UnsuitableInputError("0xA900: SEG is not supported")
            super().store(paths)

    hospital = Hospital(tmp_path)
    hospital.context = replace(hospital.context, destination=Picky(tmp_path / "archive"))
    hospital.process(BASELINE)
    (point,) = hospital.time_points()
    assert {o["role"]: o["state"] for o in point["objects"]} == {"seg": "REFUSED", "sr": "VERIFIED"}
    assert "not supported" in next(o["error"] for o in point["objects"] if o["role"] == "seg")


def test_prompts_beside_a_plan_and_a_dose_in_a_study_of_their_own_are_read(hospital, tmp_path):
    series = BASELINE.write(tmp_path / "study")
    (tmp_path / "rt").mkdir()
    (tmp_path / "study" / "sr.dcm").rename(tmp_path / "rt" / "sr.dcm")
    report = pydicom.dcmread(tmp_path / "rt" / "sr.dcm")
    plan = pydicom.dcmread(series.paths[0])
    for made, uid in ((report, "1.2.3.10"), (plan, "1.2.3.11")):
        made.StudyInstanceUID = "1.2.3.9"
        made.SeriesInstanceUID = uid
    plan.SOPInstanceUID = plan.file_meta.MediaStorageSOPInstanceUID = "1.2.3.12"
    plan.SOPClassUID = plan.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"
    plan.Modality = "RTPLAN"
    del plan.PixelData
    report.save_as(tmp_path / "rt" / "sr.dcm")
    plan.save_as(tmp_path / "rt" / "plan.dcm")
    hospital.receive_folder(tmp_path / "study")
    hospital.receive_folder(tmp_path / "rt")
    hospital.work()
    assert hospital.status()["quarantine"] == []
    assert diameters(hospital.time_points()[0]) == pytest.approx({"T01": 16, "T02": 12}, abs=1.5)


def test_a_follow_up_whose_prompts_show_one_lesion_still_tracks_the_others(hospital):
    one = replace(FOLLOW_UP.spheres[0], is_prompted=True)
    hospital.process(BASELINE, replace(FOLLOW_UP, spheres=(one, FOLLOW_UP.spheres[1])), PROGRESS)
    for point in hospital.time_points():
        assert _labels(point) == {"T01": "target", "T02": "target"}


def test_a_sop_instance_uid_of_another_study_is_kept_and_a_second_instance_if_a_person_says_so(
    hospital, tmp_path
):
    hospital.process(BASELINE)
    before = hospital.time_points()[0]
    for path in _written(FOLLOW_UP, tmp_path / "later"):
        image = pydicom.dcmread(path)
        if image.InstanceNumber == 3:
            taken = next((hospital.home / "sent").glob("P-1-2024-03-04*/ct_0003.dcm"))
            image.SOPInstanceUID = pydicom.dcmread(taken).SOPInstanceUID
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(path)
    hospital.receive_folder(tmp_path / "later")
    hospital.work()
    (kept,) = hospital.context.reception.conflicts()
    assert (kept.difference, len(kept.files)) == ("another study", 1)
    assert diameters(hospital.time_points()[0]) == diameters(before)
    hospital.take()
    hospital.work()
    baseline, follow_up = hospital.time_points()
    assert diameters(baseline) == diameters(before)
    assert any("stand in other studies too" in text for text in follow_up["attention"])
    assert follow_up["report"]["assessment"]["overall"] == "PR"
