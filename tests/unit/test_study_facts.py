"""When a study was taken, whose it is, and of what it is a copy: the pure rules."""

from __future__ import annotations

from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.domain.patient import PatientIdentity
from workflow.domain.study_facts import InstanceDate, copy_of, study_facts

ANNA = PatientIdentity(patient_id="1", patient_name="Doe^Anna", birth_date=date(1960, 1, 2))
JAN, MARCH, APRIL = date(2025, 1, 10), date(2025, 3, 1), date(2025, 4, 10)


def dates(*images: tuple[str, date], reports: tuple[tuple[str, date], ...] = ()) -> list[InstanceDate]:
    return [InstanceDate(keyword=keyword, day=day, at=time(9)) for keyword, day in images] + [
        InstanceDate(keyword=keyword, day=day, is_image=False) for keyword, day in reports
    ]


@pytest.mark.parametrize(
    ("name", "borne", "day", "dated_by"),
    [
        ("StudyDate goes first", dates(("ContentDate", MARCH), ("StudyDate", JAN)), JAN, "StudyDate"),
        ("then SeriesDate", dates(("AcquisitionDate", MARCH), ("SeriesDate", JAN)), JAN, "SeriesDate"),
        (
            "then AcquisitionDate",
            dates(("ContentDate", MARCH), ("AcquisitionDate", JAN)),
            JAN,
            "AcquisitionDate",
        ),
        ("then ContentDate", dates(("ContentDate", JAN)), JAN, "ContentDate"),
        ("the earliest series", dates(("SeriesDate", MARCH), ("SeriesDate", JAN)), JAN, "SeriesDate"),
        (
            "the commonest StudyDate",
            dates(*[("StudyDate", d) for d in (MARCH, MARCH, JAN)]),
            MARCH,
            "StudyDate",
        ),
        (
            "the images' before a report's",
            dates(("AcquisitionDate", JAN), reports=(("SeriesDate", MARCH),)),
            JAN,
            "AcquisitionDate",
        ),
        ("a report's where no image has one", dates(reports=(("SeriesDate", MARCH),)), MARCH, "SeriesDate"),
        (
            "no date but what stands for none",
            dates(("StudyDate", date(1900, 1, 1)), ("SeriesDate", date(1970, 1, 1)), ("ContentDate", JAN)),
            JAN,
            "ContentDate",
        ),
    ],
)
def test_the_date_of_a_study(name, borne, day, dated_by):
    facts = study_facts([ANNA], borne)
    assert (facts.study_date, facts.dated_by) == (day, dated_by)
    assert bool(facts.notes or facts.doubts) is (dated_by != "StudyDate" or "commonest" in name)


def test_a_study_without_any_date_is_asked_about():
    facts = study_facts([ANNA], dates(("StudyDate", date(1858, 11, 17))))
    assert (facts.study_date, facts.study_time, facts.dated_by) == (None, None, "")
    assert "when was it taken" in facts.doubts[0]


def test_a_series_date_that_stands_for_the_studys_is_a_note_a_content_date_a_doubt():
    assert study_facts([ANNA], dates(("SeriesDate", JAN))).doubts == ()
    assert (
        "ContentDate 2025-01-10 stands for it" in study_facts([ANNA], dates(("ContentDate", JAN))).doubts[0]
    )


@pytest.mark.parametrize(
    ("name", "borne", "doubt"),
    [
        ("two study dates", dates(("StudyDate", JAN), ("StudyDate", MARCH)), "several dates"),
        (
            "a report of another study date",
            dates(("StudyDate", JAN), reports=(("StudyDate", MARCH),)),
            "several dates",
        ),
        (
            "taken long before",
            dates(("StudyDate", APRIL), ("AcquisitionDate", JAN)),
            "AcquisitionDate 2025-01-10",
        ),
        ("taken over midnight", dates(("StudyDate", JAN), ("AcquisitionDate", date(2025, 1, 11))), None),
        (
            "a reformat made later",
            dates(*[("StudyDate", JAN), ("SeriesDate", JAN), ("SeriesDate", MARCH)]),
            None,
        ),
        ("before birth", dates(("StudyDate", date(1950, 1, 2))), "before the patient's birth"),
        ("in the future", dates(("StudyDate", date(2125, 1, 10))), "in the future"),
        ("tomorrow, in another time zone", dates(("StudyDate", date(2025, 5, 2))), None),
    ],
)
def test_dates_that_contradict_each_other_or_the_calendar_are_doubts(name, borne, doubt):
    found = study_facts([ANNA], borne, today=date(2025, 5, 1)).doubts
    assert [doubt in one for one in found] == ([True] if doubt else [])


def test_the_time_is_the_earliest_beside_the_date_that_counts():
    borne = [
        InstanceDate(keyword="StudyDate", day=JAN, at=at)
        for at in (time(10, 30), None, time(9, 15), time(11))
    ]
    borne.append(InstanceDate(keyword="SeriesDate", day=JAN, at=time(8)))
    assert study_facts([ANNA], borne).study_time == time(9, 15)


def test_every_identity_is_named_once_the_commonest_first():
    eve = PatientIdentity(patient_id="2")
    assert study_facts([eve, ANNA, ANNA], []).identities == (ANNA, eve)


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize(
    ("name", "mine", "found"),
    [
        ("all of it", "abcd", "baseline"),
        ("a part of it", "ab", "baseline"),
        ("most of it, and more", "abcx", "baseline"),
        ("half of it is none", "abxy", None),
        ("nothing alike", "wxyz", None),
        ("nothing at all", "", None),
    ],
)
def test_most_images_make_a_copy(name, mine, found):
    assert copy_of(mine, {"baseline": "abcd", "other": "ad"}) == found


def test_the_whole_is_no_copy_of_its_half():
    assert copy_of("abcd", {"half": "ab"}) is None


@given(st.sets(st.text(min_size=1)), st.sets(st.text(min_size=1)))
def test_what_shares_no_image_is_never_a_copy(one, other):
    assert copy_of(one, {"it": other - one}) is None
    assert copy_of(one, {"itself": one}) == ("itself" if one else None)
