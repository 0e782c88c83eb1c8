"""A visit: several series and studies of a patient that are judged together, with one response."""

from __future__ import annotations

from datetime import date

import pydicom
import pytest
from hospital import LEFT, Hospital, Series, Sphere, Study, diameters

FIRST, SECOND = date(2024, 3, 4), date(2024, 5, 6)
# In the abdomen: below the lung, which ends at 0 mm.
LIVER = (24.0, 24.0, -60.0)
FROM_LIVER_MM = -90.0


def _chest(mm: float, *, is_prompted: bool = False) -> Sphere:
    return Sphere(centre_lps=LEFT, diameter_mm=mm, is_prompted=is_prompted, label="left lung")


def _liver(mm: float, *, is_prompted: bool = False) -> Sphere:
    return Sphere(centre_lps=LIVER, diameter_mm=mm, is_prompted=is_prompted, label="liver")


def _abdomen_series(mm: float, *, is_prompted: bool = False, **changes) -> Series:
    return Series(
        key="abdomen", spheres=(_liver(mm, is_prompted=is_prompted),), body_part="ABDOMEN",
        description="CT abdomen", from_mm=FROM_LIVER_MM, **changes,
    )  # fmt: skip


def _one_study(day: date, chest_mm: float, liver_mm: float, *, is_prompted: bool = False) -> list[Study]:
    """Chest and abdomen as two series of one study."""
    return [
        Study(
            day=day, spheres=(_chest(chest_mm, is_prompted=is_prompted),), description="CT chest",
            more=(_abdomen_series(liver_mm, is_prompted=is_prompted),),
        )
    ]  # fmt: skip


def _two_studies(day: date, chest_mm: float, liver_mm: float, *, is_prompted: bool = False) -> list[Study]:
    """Chest on one day, the abdomen two days later."""
    abdomen = Study(
        day=day.replace(day=day.day + 2), spheres=(_liver(liver_mm, is_prompted=is_prompted),), key="abdomen",
        body_part="ABDOMEN", description="CT abdomen", from_mm=FROM_LIVER_MM,
    )  # fmt: skip
    return [Study(day=day, spheres=(_chest(chest_mm, is_prompted=is_prompted),)), abdomen]


def _two_acquisitions(
    day: date, chest_mm: float, liver_mm: float, *, is_prompted: bool = False
) -> list[Study]:
    """Chest and abdomen as two acquisitions of one series, in their own frames of reference."""
    abdomen = _abdomen_series(liver_mm, is_prompted=is_prompted, acquisition=2, is_repositioned=True)
    chest = _chest(chest_mm, is_prompted=is_prompted)
    return [Study(day=day, spheres=(chest,), description="CT", body_part="", more=(abdomen,))]


ROUTES = {"two series": _one_study, "two days": _two_studies, "two acquisitions": _two_acquisitions}


@pytest.mark.parametrize("at_follow_up", ROUTES)
@pytest.mark.parametrize("at_baseline", ROUTES)
def test_chest_and_abdomen_are_one_visit_with_one_response(hospital, at_baseline, at_follow_up):
    if "two acquisitions" in (at_baseline, at_follow_up) and at_baseline != at_follow_up:
        pytest.skip("their headers don't name what they show: of which a person is asked")
    hospital.receive(*ROUTES[at_baseline](FIRST, 16, 20, is_prompted=True))
    hospital.receive(*ROUTES[at_follow_up](SECOND, 9, 12))
    hospital.work()
    baseline, follow_up = hospital.time_points()
    assert sorted(diameters(baseline).values()) == pytest.approx([16, 20], abs=1.5)
    assert {o["role"] for o in baseline["report"]["lesions"]} == {"target"}
    assert baseline["report"]["assessment"]["sum_mm"] == pytest.approx(36, abs=2.5)
    assert sorted(diameters(follow_up).values()) == pytest.approx([9, 12], abs=1.5)
    assert follow_up["report"]["assessment"]["sum_mm"] == pytest.approx(21, abs=2.5)
    assert follow_up["report"]["assessment"]["overall"] == "PR"


def test_each_measured_series_gets_a_seg_and_each_study_an_sr(tmp_path):
    hospital = Hospital(tmp_path, writes_real_results=True)
    hospital.receive(*_one_study(FIRST, 16, 20, is_prompted=True), *_two_studies(SECOND, 9, 12))
    hospital.work()
    for point, studies in zip(hospital.time_points(), (1, 2), strict=True):
        made = [o for o in point["objects"] if not o["role"].startswith("course")]
        segs = [pydicom.dcmread(o["path"]) for o in made if o["role"].startswith("seg")]
        srs = [pydicom.dcmread(o["path"]) for o in made if o["role"].startswith("sr")]
        assert {o["state"] for o in made} == {"VERIFIED"}
        assert len(segs) == 2
        assert len({s.ReferencedSeriesSequence[0].SeriesInstanceUID for s in segs}) == 2
        assert len(srs) == studies
        assert {s.StudyInstanceUID for s in srs} == {s["study_instance_uid"] for s in point["studies"]}
        lesions = [s for seg in segs for s in seg.SegmentSequence]
        tracked = {o["tracking_uid"] for o in point["report"]["lesions"]}
        assert {s.TrackingUID for s in lesions} == tracked
        assert len(lesions) == 2


def _pet_ct(day: date, mm: float, *, on: str = "", pet_mm: float = 0.0) -> Study:
    """One lesion on PET and CT of one examination; `on` says where a reader drew it."""
    pet = Series(
        key="pet", modality="PT", description="PET",
        spheres=(_chest(pet_mm or mm, is_prompted="PT" in on),),
    )  # fmt: skip
    return Study(
        day=day, spheres=(_chest(mm, is_prompted="CT" in on),), description="PET/CT chest", more=(pet,)
    )


def _measured_modality(point) -> list[str]:
    by_series = {
        (line["series_instance_uid"], line["stack"]): line["modality"] for line in point["series_choice"]
    }
    return [by_series[tuple(o["measured_on"].values())] for o in point["report"]["lesions"]]


@pytest.mark.parametrize(("on", "modality"), [("CT", "CT"), ("PT", "PT"), ("PT CT", "CT")])
def test_a_lesion_of_a_pet_ct_is_measured_where_it_was_drawn_and_on_the_ct_if_on_both(hospital, on, modality):
    hospital.process(_pet_ct(FIRST, 16, on=on, pet_mm=18), _pet_ct(SECOND, 9))
    baseline, follow_up = hospital.time_points()
    assert len(baseline["report"]["lesions"]) == 1
    assert _measured_modality(baseline) == [modality]
    assert _measured_modality(follow_up) == [modality]
    assert follow_up["report"]["assessment"]["overall"] == "PR"
    assert follow_up["prior_study_instance_uid"] == baseline["study_instance_uid"]
