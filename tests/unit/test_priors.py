"""Which earlier studies are fetched: by patient, day, modality, region and size, newest and oldest first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.domain.patient import PatientIdentity
from workflow.domain.priors import Arrived, ListedStudy, PriorRule, choose_priors

PERSON = PatientIdentity(patient_id="4711", patient_name="Doe^Jane", birth_date=date(1960, 1, 2), sex="F")
TODAY = date(2026, 6, 1)
ARRIVED = Arrived(
    study_instance_uid="2.1", patient=PERSON, day=TODAY, modalities=frozenset({"CT"}), words="CT Thorax"
)


def _listed(uid: str, days_ago: int = 90, **more) -> ListedStudy:
    values = {"description": "CT chest", "modalities": frozenset({"CT", "SR"}), "instance_count": 300}
    study = ListedStudy(study_instance_uid=uid, patient=PERSON, day=TODAY - timedelta(days=days_ago))
    return replace(study, **{**values, **more})


def _chosen(*listed: ListedStudy, held=(), rule: PriorRule | None = None) -> list[str]:
    choices = choose_priors(ARRIVED, listed, held, rule or PriorRule())
    return [choice.study.study_instance_uid for choice in choices if not choice.refusal]


def test_the_newest_comes_first_then_the_baseline_then_the_rest_from_new_to_old():
    listed = [_listed(f"1.{days}", days) for days in (400, 100, 300, 200)]
    assert _chosen(*listed, rule=PriorRule(at_most=3)) == ["1.100", "1.400", "1.200"]
    assert _chosen(*listed, rule=PriorRule(at_most=1)) == ["1.100"]


def test_a_single_prior_is_both_newest_and_baseline_and_fetched_once():
    assert _chosen(_listed("1.1")) == ["1.1"]


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("PatientID differs", {"patient": replace(PERSON, patient_id="4712")}),
        ("birth date", {"patient": replace(PERSON, birth_date=date(1990, 1, 2))}),
        ("no date", {"day": None}),
        ("later", {"day": TODAY + timedelta(days=1)}),
        ("older than", {"day": TODAY - timedelta(days=4000)}),
        ("9000 instances", {"instance_count": 9000}),
        ("MR is not compared with CT", {"modalities": frozenset({"MR"})}),
        ("another region (head)", {"description": "CT Schädel"}),
    ],
)
def test_what_can_be_no_prior_is_passed_over_with_the_reason(why, change):
    (choice,) = choose_priors(ARRIVED, [replace(_listed("1.1"), **change)], (), PriorRule())
    assert why in choice.refusal
    assert "Doe" not in choice.refusal
    assert "4711" not in choice.refusal


@pytest.mark.parametrize(
    "change",
    [{"modalities": frozenset()}, {"description": ""}, {"instance_count": None}, {"description": "CT CAP"}],
)
def test_what_a_pacs_does_not_say_speaks_against_no_study(change):
    assert _chosen(replace(_listed("1.1"), **change)) == ["1.1"]


def test_what_is_here_already_is_not_fetched():
    assert _chosen(_listed("1.1"), _listed("1.2"), _listed("2.1"), held={"1.1"}) == ["1.2"]


def test_a_study_of_marks_alone_is_fetched_beside_the_places_that_images_have():
    marks = _listed("1.9", 50, modalities=frozenset({"SR"}), description="")
    assert _chosen(marks, _listed("1.1"), rule=PriorRule(at_most=1)) == ["1.1", "1.9"]


@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(1, 5))
def test_every_study_is_judged_once_and_never_more_than_allowed_are_fetched(ages, at_most):
    listed = [_listed(f"1.{i}", age) for i, age in enumerate(ages)]
    choices = choose_priors(ARRIVED, listed, (), PriorRule(at_most=at_most))
    assert sorted(c.study.study_instance_uid for c in choices) == sorted(s.study_instance_uid for s in listed)
    fetched = [c.study for c in choices if not c.refusal]
    assert len(fetched) == min(at_most, sum(age <= 1826 for age in ages))
    if fetched:
        assert fetched[0].day == max(s.day for s in listed if (TODAY - s.day).days <= 1826)
