"""What readers decide is audited, holds through re-runs, and can be taken back."""

from __future__ import annotations

from datetime import date

import pydicom
import pytest
from hospital import Hospital, rows
from sqlalchemy import select
from test_course_of_a_patient import BASELINE, FOLLOW_UP, PROGRESS

from db.tables import AssessmentRow, AuditRow
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.lesion_life import Decision
from workflow.domain.report import LesionRole
from workflow.review import decide, sign


@pytest.fixture
def hospital(tmp_path) -> Hospital:
    hospital = Hospital(tmp_path)
    hospital.process(BASELINE, FOLLOW_UP)
    return hospital


@pytest.fixture
def real_results(tmp_path) -> Hospital:
    hospital = Hospital(tmp_path, writes_real_results=True)
    hospital.process(BASELINE, FOLLOW_UP)
    return hospital


def _decide(hospital, decision, **values):
    made = decide(
        hospital.context, patient_id="P-1", decision=decision, by="Roe^Jane", reason="seen on MR", **values
    )
    hospital.work()
    return made


def _sums(hospital) -> list[float]:
    return [p["report"]["assessment"]["sum_mm"] for p in hospital.time_points()]


def test_a_diameter_that_a_reader_sets_counts_at_its_time_point(hospital):
    before = _sums(hospital)
    _decide(hospital, Decision.SET_DIAMETER, lesion="T01", day=date(2024, 5, 6), diameter_mm=20.0)
    after = _sums(hospital)
    assert after[0] == before[0]
    assert after[1] == pytest.approx(before[1] - 8 + 20, abs=1.5)


def test_a_decision_holds_when_more_studies_come(hospital):
    _decide(hospital, Decision.SET_ROLE, lesion="T02", role=LesionRole.NON_TARGET)
    hospital.process(PROGRESS)
    roles = [{o["label"]: o["role"] for o in p["report"]["lesions"]} for p in hospital.time_points()]
    assert roles == [{"T01": "target", "T02": "non_target"}] * 3


def test_a_role_that_breaks_a_rule_is_taken_and_said(hospital):
    _decide(hospital, Decision.SET_DIAMETER, lesion="T02", day=date(2024, 3, 4), diameter_mm=6.0)
    warnings = hospital.time_points()[0]["report"]["assessment"]["warnings"]
    assert any("T02 is a target but" in warning for warning in warnings)


def test_what_is_no_lesion_counts_nowhere_is_shown_struck_through_and_comes_back_when_withdrawn(hospital):
    def rejected() -> list[bool]:
        return [o["is_rejected"] for o in hospital.time_points()[1]["report"]["lesions"]]

    whole_mm = hospital.time_points()[1]["report"]["assessment"]["sum_mm"]
    made = _decide(hospital, Decision.NOT_A_LESION, lesion="T02")
    assert rejected() == [False, True]
    report = hospital.time_points()[1]["report"]
    assert report["assessment"]["sum_mm"] < whole_mm
    assert [d["by"] for d in report["lesions"][1]["decisions"]] == ["Roe^Jane"]
    _decide(hospital, Decision.WITHDRAW, lesion="T02", other=made.id)
    assert rejected() == [False, False]
    assert hospital.time_points()[1]["report"]["assessment"]["sum_mm"] == whole_mm


def test_every_version_of_an_assessment_is_kept(hospital):
    _decide(hospital, Decision.SET_DIAMETER, lesion="T01", day=date(2024, 5, 6), diameter_mm=20.0)
    with rows(hospital.context) as session:
        kept = session.scalars(select(AssessmentRow)).all()
        audited = session.scalars(select(AuditRow).where(AuditRow.actor == "Roe^Jane")).all()
    assert len(kept) == 3  # the baseline's, and the follow-up's before and after
    assert [row.action for row in audited] == ["decision: set diameter"]


def test_a_signed_report_is_verified_and_names_who_and_the_draft(real_results):
    hospital = real_results
    draft = hospital.time_points()[1]
    assert sign(hospital.context, patient_id="P-1", day=date(2024, 5, 6), by="Roe^Jane") == 1
    hospital.work()
    signed = hospital.time_points()[1]
    assert (signed["state"], signed["report_version"]) == ("SIGNED", 2)
    sr = pydicom.dcmread(next(o["path"] for o in signed["objects"] if o["role"] == "sr"))
    assert sr.VerificationFlag == "VERIFIED"
    assert sr.VerifyingObserverSequence[0].VerifyingObserverName == "Roe^Jane"
    draft_sr = next(o["sop_instance_uid"] for o in draft["objects"] if o["role"] == "sr")
    named = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == draft_sr
    assert sign(hospital.context, patient_id="P-1", day=date(2024, 5, 6), by="Roe^Jane") == 0


def test_the_course_is_one_report_that_names_each_time_points_own(real_results):
    latest = real_results.time_points()[1]
    (path,) = [o["path"] for o in latest["objects"] if o["role"].startswith("course")]
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in pydicom.dcmread(path).ContentSequence
        for part in group.get("ContentSequence", [])
        for item in part.get("ContentSequence", [])
        if item.ValueType == "COMPOSITE"
    }
    own = {
        o["sop_instance_uid"] for p in real_results.time_points() for o in p["objects"] if o["role"] == "sr"
    }
    assert named == own
    assert {o["state"] for o in latest["objects"]} == {"VERIFIED"}


def test_a_change_makes_a_draft_of_a_signed_report(hospital):
    sign(hospital.context, patient_id="P-1", day=date(2024, 5, 6), by="Roe^Jane")
    hospital.work()
    _decide(hospital, Decision.SET_DIAMETER, lesion="T01", day=date(2024, 5, 6), diameter_mm=20.0)
    assert hospital.time_points()[1]["state"] == "DRAFT"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lesion": "T09"}, "no lesion T09; there are: T01, T02"),
        ({"lesion": "T01", "day": date(2020, 1, 1)}, "no visit on 2020-01-01"),
        ({"lesion": "T01", "day": date(2024, 5, 6), "diameter_mm": -1.0}, "negative"),
    ],
)
def test_a_decision_about_what_is_not_there_says_so(hospital, values, message):
    with pytest.raises(UnsuitableInputError, match=message):
        _decide(hospital, Decision.SET_DIAMETER, **({"diameter_mm": 3.0} | values))
