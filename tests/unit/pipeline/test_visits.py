"""A visit: several series and studies of a patient that are judged together, with one response."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from pathlib import Path
from time import sleep

import pydicom
import pytest
from hospital import LEFT, RIGHT, Hospital, Series, Sphere, SphereFinder, Study, diameters, rows, states

from db.jobs import database_now, due_job_ids, enqueue
from db.tables import JobRow
from workflow import timeline
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.domain.lesion_life import Decision
from workflow.engine.reconciler import runner, work_until_idle
from workflow.ingest import close_quiet_studies
from workflow.ports import Changed
from workflow.review import decide

FIRST, SECOND, LATEST = date(2024, 3, 4), date(2024, 5, 6), date(2024, 7, 8)
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
        spheres=(replace(_chest(pet_mm or mm, is_prompted="PT" in on), label="hot spot"),),
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
    hospital.process(_pet_ct(FIRST, 16, on=on, pet_mm=22), _pet_ct(SECOND, 9))
    baseline, follow_up = hospital.time_points()
    assert len(baseline["report"]["lesions"]) == 1
    assert _measured_modality(baseline) == [modality]
    assert _measured_modality(follow_up) == [modality]
    assert follow_up["report"]["assessment"]["overall"] == "PR"
    assert follow_up["prior_study_instance_uid"] == baseline["study_instance_uid"]


# ---------------------------------------------------------------- what a visit lacks


def _by_label(point) -> dict[str, dict]:
    return {o["label"]: o for o in point["report"]["lesions"]}


def test_a_follow_up_of_one_region_has_no_sum_and_shows_the_other_lesions_as_not_evaluable(tmp_path):
    hospital = Hospital(tmp_path, writes_real_results=True)
    hospital.receive(*_one_study(FIRST, 16, 20, is_prompted=True))
    hospital.receive(Study(day=SECOND, spheres=(_chest(9),)))
    hospital.work()
    baseline, follow_up = hospital.time_points()
    labels = {round(mm): label for label, mm in diameters(baseline).items() if mm}
    chest, liver = (
        _by_label(follow_up)[next(v for k, v in labels.items() if abs(k - mm) <= 1)] for mm in (16, 20)
    )
    assert chest["diameter_mm"] == pytest.approx(9, abs=1.5)
    assert (liver["state"], liver["diameter_mm"]) == ("not_evaluable", None)
    assert "no series here shows its place" in liver["reason"]
    assert follow_up["report"]["assessment"]["sum_mm"] is None
    assert follow_up["report"]["assessment"]["overall"] == "NE"
    assert {o["state"] for o in follow_up["objects"]} == {"VERIFIED"}


def test_a_first_visit_without_lesions_leaves_the_baseline_to_the_next_and_a_person_is_asked(hospital):
    hospital.process(Study(day=FIRST), Study(day=SECOND, spheres=(_chest(16, is_prompted=True),)))
    empty, baseline = hospital.time_points()
    assert empty["state"] == "AWAITING_PROMPTS"
    assert baseline["report"]["assessment"]["overall"] == "baseline"
    assert [text for text in baseline["attention"] if "shows no lesion yet" in text]


class _Refusing(SphereFinder):
    """A model that takes no prompt whose label is refused, and compares nothing with what is `apart`."""

    def segment(self, volume, prompts, **options):
        if any("refused" in p.label for p in prompts):
            raise UnsuitableInputError("the prompt lies outside the volume")
        return super().segment(volume, prompts, **options)

    def track(self, prior, prior_lesions, volume, **options):
        if float(volume.affine[2, 3]) < 0:
            raise UnsuitableInputError("too few slices to compare")
        return super().track(prior, prior_lesions, volume, **options)


def test_a_prompt_that_the_model_refuses_stops_no_other_and_is_shown(hospital):
    hospital.model = _Refusing()
    refused = Sphere(centre_lps=RIGHT, diameter_mm=12, is_prompted=True, label="refused one")
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True), refused)))
    (point,) = hospital.time_points()
    assert list(diameters(point).values()) == pytest.approx([16], abs=1.5)
    assert [t for t in point["attention"] if t.startswith("refused one") and "outside the volume" in t]


def test_one_pair_of_series_that_the_model_refuses_stops_no_other(hospital):
    hospital.model = _Refusing()
    hospital.receive(*_one_study(FIRST, 16, 20, is_prompted=True), *_one_study(SECOND, 9, 12))
    hospital.work()
    follow_up = hospital.time_points()[1]
    assert sorted(o["state"] for o in follow_up["report"]["lesions"]) == ["not_evaluable", "present"]
    assert [text for text in follow_up["attention"] if "too few slices to compare" in text]
    assert follow_up["report"]["assessment"]["sum_mm"] is None


def test_a_series_that_can_not_be_read_any_more_stops_no_other(hospital):
    hospital.process(*_one_study(FIRST, 16, 20, is_prompted=True))
    (follow_up,) = _one_study(SECOND, 9, 12)
    hospital.receive(follow_up)
    _close(hospital)
    _lose_a_file(hospital, "CT abdomen")
    hospital.work()
    point = hospital.time_points()[1]
    assert sorted(o["state"] for o in point["report"]["lesions"]) == ["not_evaluable", "present"]
    assert [text for text in point["attention"] if "could not be read" in text]


def _close(hospital: Hospital) -> None:
    """Ingest what was received, and nothing after that."""
    while not close_quiet_studies(hospital.context):
        sleep(0.02)
    with rows(hospital.context) as session:
        (job,) = due_job_ids(session, database_now(session))
    runner(hospital.context).run(job)


def _lose_a_file(hospital: Hospital, description: str) -> None:
    record = hospital.context.records.load(1)
    newest = max(record.studies, key=lambda s: s.place_in_time)
    series = next(s for s in newest.series if s.description == description)
    files = hospital.context.records.files([newest.study_instance_uid])
    next(f.path for f in files if f.sop_instance_uid == series.sop_instance_uids[0]).unlink()


@pytest.mark.parametrize("drawn_on", [0, 1])
def test_a_lesion_drawn_on_either_study_of_the_day_is_the_known_one_and_no_new_one(hospital, drawn_on):
    """Two studies of the chest, each with a frame of reference of its own; one of them is tracked on."""
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)))
    again = replace(_chest(9, is_prompted=True), label="seen again")
    shown = [_chest(9), _chest(9)]
    shown[drawn_on] = again
    hospital.receive(
        Study(day=SECOND, spheres=(shown[0],)),
        Study(day=SECOND, spheres=(shown[1],), at=time(15), key="second"),
    )
    hospital.work()
    follow_up = hospital.time_points()[1]
    assert [(o["label"], o["role"]) for o in follow_up["report"]["lesions"]] == [("T01", "target")]
    assert follow_up["report"]["assessment"]["overall"] == "PR"


def test_two_lesions_that_grow_together_over_two_series_are_counted_once(hospital):
    """Each was drawn on a series of its own; both series share a frame of reference."""
    one = Sphere(centre_lps=LEFT, diameter_mm=10, is_prompted=True, label="one")
    two = Sphere(centre_lps=(24.0, 24.0, 20.0), diameter_mm=10, is_prompted=True, label="two")
    both = Sphere(centre_lps=(18.0, 24.0, 20.0), diameter_mm=22)
    plain, thin = "CT chest", Series(key="thin", description="CT chest", spheres=(two,))
    hospital.process(
        Study(day=FIRST, spheres=(one,), description=plain, more=(thin,)),
        Study(
            day=SECOND, spheres=(both,), description=plain,
            more=(Series(key="thin", description="CT chest", spheres=(both,)),),
        ),
    )  # fmt: skip
    baseline, follow_up = hospital.time_points()
    assert len(baseline["report"]["lesions"]) == 2
    assert sorted(o["state"] for o in follow_up["report"]["lesions"]) == ["merged", "present"]
    assert follow_up["report"]["assessment"]["sum_mm"] == pytest.approx(22, abs=1.5)


# ---------------------------------------------------------------- studies that come late, again, or go


@pytest.mark.parametrize("at", [time(9), None])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_studies_of_one_moment_come_to_an_end_in_either_order(hospital, order, at, tmp_path):
    chest, abdomen = _same_day_studies(tmp_path, at)
    for place in order:
        hospital.receive_folder((chest, abdomen)[place])
        hospital.work()
    (visit,) = hospital.time_points()
    assert len(visit["studies"]) == 2
    assert visit["report"]["assessment"]["sum_mm"] == pytest.approx(36, abs=2.5)
    record = hospital.context.records.load(1)
    assert list(record.standing[0].studies) == sorted(record.standing[0].studies)


def _same_day_studies(folder: Path, at: time | None) -> tuple[Path, Path]:
    chest = Study(day=FIRST, spheres=(_chest(16, is_prompted=True),))
    (_, abdomen) = _two_studies(FIRST, 16, 20, is_prompted=True)
    chest.write(folder / "chest")
    replace(abdomen, day=FIRST).write(folder / "abdomen")
    if at is None:
        _edit(folder, lambda image: setattr(image, "StudyTime", ""))
    return folder / "chest", folder / "abdomen"


def _edit(folder: Path, change) -> None:
    """Change every object in a folder."""
    for path in folder.rglob("*.dcm"):
        image = pydicom.dcmread(path)
        change(image)
        image.save_as(path)


def _srs(point) -> dict[str, str]:
    """SOP Instance UID of the SR by study."""
    return {o["study_instance_uid"]: o["sop_instance_uid"] for o in point["objects"] if o["role"][:2] == "sr"}


def _predecessors(point) -> dict[str, str]:
    return {p["study_instance_uid"]: p["sop_instance_uid"] for p in point["report"]["predecessors"]}


def test_a_first_study_that_comes_late_supersedes_what_was_said_of_the_second(hospital):
    chest, abdomen = _two_studies(FIRST, 16, 20, is_prompted=True)
    hospital.process(abdomen)
    (alone,) = hospital.time_points()
    hospital.process(chest)
    (whole,) = hospital.time_points()
    assert whole["study_instance_uid"] != alone["study_instance_uid"]
    assert _predecessors(whole) == _srs(alone)
    assert set(_srs(whole)) == {s["study_instance_uid"] for s in whole["studies"]}
    assert len(hospital.archived()) == len(alone["objects"]) + len(whole["objects"])


def test_a_study_that_goes_to_another_patient_leaves_its_visit_and_is_superseded_there(hospital, tmp_path):
    chest, abdomen = _two_studies(FIRST, 16, 20, is_prompted=True)
    hospital.process(abdomen, chest)
    (whole,) = hospital.time_points()
    chest.write(tmp_path / "corrected")

    def correct(image) -> None:
        image.PatientID, image.PatientName = "P-2", "Other^Person"

    _edit(tmp_path / "corrected", correct)
    hospital.receive_folder(tmp_path / "corrected")
    hospital.take()
    hospital.work()
    (left,), (moved,) = hospital.time_points(), hospital.time_points("P-2")
    assert [round(mm) for mm in diameters(left).values() if mm] == [19]
    assert [round(mm) for mm in diameters(moved).values() if mm] == [16]
    # Each newest SR names the one that stood before it: of the visit that held both.
    (abdomen_uid,), (chest_uid,) = _srs(left), _srs(moved)
    assert _predecessors(left) == {abdomen_uid: _srs(whole)[abdomen_uid]}
    assert _predecessors(moved) == {chest_uid: _srs(whole)[chest_uid]}
    assert hospital.status()["jobs"]
    assert not hospital.status()["stopped"]


def test_what_a_reader_decided_of_a_visit_holds_when_its_first_study_comes_late(hospital):
    chest, abdomen = _two_studies(SECOND, 9, 12)
    hospital.process(*_one_study(FIRST, 16, 20, is_prompted=True), abdomen)
    liver = next(label for label, mm in diameters(hospital.time_points()[0]).items() if mm and mm > 17)
    decide(
        hospital.context, patient_id="P-1", lesion=liver, decision=Decision.SET_DIAMETER, diameter_mm=25.0,
        day=date(2024, 5, 8), by="Roe", reason="measured by hand",
    )  # fmt: skip
    hospital.work()
    assert diameters(hospital.time_points()[1])[liver] == 25
    hospital.process(chest)
    (_, follow_up) = hospital.time_points()
    assert len(follow_up["studies"]) == 2
    assert diameters(follow_up)[liver] == 25
    assert [d["by"] for d in _by_label(follow_up)[liver]["decisions"]] == ["Roe"]


def test_a_copy_under_a_new_uid_is_shown_and_not_measured_until_its_original_goes(hospital, tmp_path):
    study = Study(day=FIRST, spheres=(_chest(16, is_prompted=True),))
    hospital.process(study)
    study.write(tmp_path / "copy")

    def rename(image) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(image, keyword, f"{getattr(image, keyword)[:-4]}1234")
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID

    (tmp_path / "copy" / "sr.dcm").unlink()
    _edit(tmp_path / "copy", rename)
    hospital.receive_folder(tmp_path / "copy")
    hospital.work()
    (point,) = hospital.time_points()
    assert len(point["studies"]) == 1
    assert [line for line in hospital.status()["attention"] if "not measured twice" in line["text"]]
    study.write(tmp_path / "moved")
    _edit(tmp_path / "moved", lambda image: setattr(image, "PatientID", "P-2"))
    hospital.receive_folder(tmp_path / "moved")
    hospital.take()
    hospital.work()
    points = [p for p in hospital.time_points() if p["studies"][0]["study_instance_uid"][-4:] == "1234"]
    assert states(points) == ["AWAITING_PROMPTS"]
    assert not [line for line in hospital.status()["attention"] if "not measured twice" in line["text"]]


# ---------------------------------------------------------------- others at work at the same moment


class _Interrupted(SphereFinder):
    """A model during whose first segmentation something else happens."""

    def __init__(self, event) -> None:
        self.event = event

    def segment(self, volume, prompts, **options):
        event, self.event = self.event, None
        if event is not None:
            event()
        return super().segment(volume, prompts, **options)


def test_what_a_reader_decides_while_a_worker_works_is_not_lost(hospital):
    hospital.process(*_one_study(FIRST, 16, 20, is_prompted=True))

    def decides() -> None:
        decide(
            hospital.context, patient_id="P-1", lesion="T01", decision=Decision.NOT_A_LESION, by="Roe",
            reason="a vessel",
        )  # fmt: skip

    hospital.model = _Interrupted(decides)
    hospital.process(Study(day=SECOND, spheres=(_chest(9, is_prompted=True),)))
    baseline, follow_up = hospital.time_points()
    assert states([baseline, follow_up]) == ["DRAFT", "DRAFT"]
    assert [d["by"] for d in _by_label(baseline)["T01"]["decisions"]] == ["Roe"]
    assert not hospital.status()["stopped"]


def test_a_study_that_leaves_while_a_worker_works_is_not_saved_back(hospital, tmp_path):
    study = Study(day=FIRST, spheres=(_chest(16, is_prompted=True),))
    study.write(tmp_path / "moved")
    _edit(tmp_path / "moved", lambda image: setattr(image, "PatientID", "P-2"))

    def leaves() -> None:
        hospital.receive_folder(tmp_path / "moved")
        hospital.take()
        _ingest_now(hospital)

    hospital.model = _Interrupted(leaves)
    hospital.process(study)
    assert states(hospital.time_points("P-2")) == ["DRAFT"]
    assert not hospital.time_points("P-1")
    assert not hospital.status()["stopped"]


def _ingest_now(hospital: Hospital) -> None:
    """As another worker would, beside the one that is at work."""
    while not close_quiet_studies(hospital.context):
        sleep(0.02)
    with rows(hospital.context) as session:
        due = [i for i in due_job_ids(session, database_now(session))
               if session.get_one(JobRow, i).stage == "ingest"]  # fmt: skip
    for job in due:
        runner(hospital.context).run(job)


class _RefusesOnce(SphereFinder):
    """A model that can't compare the first pair, while something else happens."""

    def __init__(self, event) -> None:
        self.event = event

    def track(self, prior, prior_lesions, volume, **options):
        event, self.event = self.event, None
        if event is not None:
            event()
            raise UnsuitableInputError("the images end too early")
        return super().track(prior, prior_lesions, volume, **options)


def test_what_failed_is_what_was_tried_and_not_what_came_in_the_meantime(hospital, tmp_path):
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)))
    Study(day=SECOND, spheres=(_chest(9),)).write(tmp_path / "study")
    late = tmp_path / "study" / "ct_0016.dcm"
    late.rename(tmp_path / late.name)

    def comes() -> None:
        hospital.receive_folder(tmp_path / late.name)
        _ingest_now(hospital)

    hospital.model = _RefusesOnce(comes)
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    assert states(hospital.time_points()) == ["DRAFT", "DRAFT"]


def test_a_pair_that_can_not_be_compared_fails_its_visit_with_the_reason_and_is_not_tried_for_ever(hospital):
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)))
    hospital.model = _RefusesOnce(lambda: None)
    hospital.process(Study(day=SECOND, spheres=(_chest(9),)), Study(day=LATEST, spheres=(_chest(9),)))
    _, failed, last = hospital.time_points()
    assert failed["state"] == "FAILED"
    assert "the images end too early" in failed["reason"]
    assert last["report"]["assessment"]["overall"] == "PR"
    assert [text for text in last["attention"] if f"the visit of {SECOND} could not be analysed" in text]


def test_a_change_that_was_overtaken_by_ingest_is_made_again_on_what_is_there(hospital):
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)))
    seen = []

    def change(record) -> Changed:
        if not seen:
            hospital.context.reception.quarantine(record.studies[0].key, "whose is it?")
        seen.append(len(record.studies))
        return Changed(record=record)

    hospital.context.records.change(1, change)
    assert seen == [1, 0]


def test_hosts_that_want_something_else_do_not_go_round_in_circles(hospital, monkeypatch):
    """The timeline's host has other settings than the worker's: neither takes the other's analysis."""
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)))
    own = timeline.analysis_identity
    monkeypatch.setattr(timeline, "analysis_identity", lambda *a: "another version: " + own(*a))
    with rows(hospital.context) as session:
        enqueue(session, stage="timeline", subject="1", lane="patient:1")
    done: list[str] = []

    def count(stage: str, subject: str) -> None:
        done.append(stage)
        assert len(done) < 6, done

    with pytest.raises(TransientError, match="work is left"):  # it waits until the other host may be right
        work_until_idle(hospital.context, count, timeout_s=1)


def test_what_a_model_thinks_of_its_outline_reaches_report_and_sr_as_it_is(tmp_path):
    hospital = Hospital(tmp_path, writes_real_results=True)
    hospital.process(Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)))
    hospital.process(Study(day=SECOND, spheres=(_chest(9),)))
    told = [p["report"]["lesions"][0]["confidence"] for p in hospital.time_points()]
    assert told == [0.9, 0.8]  # the sphere finder's own, of a prompt and of a tracked lesion
    written = []
    for point in hospital.time_points():
        sr = pydicom.dcmread(next(o["path"] for o in point["objects"] if o["role"] == "sr"))
        written += _confidences(sr)
    assert written == [100 * confidence for confidence in told]


def _confidences(sr) -> list[float]:
    found = []
    for element in sr.iterall():
        if element.keyword == "ContentSequence":
            found += [
                float(item.MeasuredValueSequence[0].NumericValue)
                for item in element.value
                if item.get("ValueType") == "NUM"
                and item.ConceptNameCodeSequence[0].CodeValue == "CONFIDENCE"
            ]
    return found


# ---------------------------------------------------------------- marks that stand apart


def _apart(folder: Path) -> Path:
    """Give the SR a study of its own; return its file."""
    report = pydicom.dcmread(folder / "sr.dcm")
    report.StudyInstanceUID = f"{report.StudyInstanceUID[:-4]}4321"
    (folder / "sr.dcm").unlink()
    path = folder.parent / "apart.dcm"
    report.save_as(path)
    return path


@pytest.mark.parametrize("is_first", [True, False])
def test_marks_in_a_study_of_their_own_find_their_images_whichever_comes_first(hospital, tmp_path, is_first):
    Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)).write(tmp_path / "images")
    marks = _apart(tmp_path / "images")
    first, second = (marks, tmp_path / "images") if is_first else (tmp_path / "images", marks)
    hospital.receive_folder(first)
    hospital.work()
    told = [line["text"] for line in hospital.status()["attention"]]
    assert any("images that are not here" in text for text in told) is is_first
    hospital.receive_folder(second)
    hospital.work()
    (point,) = hospital.time_points()
    assert list(diameters(point).values()) == pytest.approx([16], abs=1.5)
    assert len(point["studies"]) == 1
    assert not hospital.status()["attention"]


def test_a_mark_on_no_image_of_the_visit_stops_no_other_and_a_person_is_asked(hospital, tmp_path):
    study = Study(
        day=FIRST, spheres=(_chest(16, is_prompted=True),), more=(_abdomen_series(20, is_prompted=True),)
    )
    study.write(tmp_path / "study")

    def point_nowhere(image) -> None:
        for element in image.iterall():
            if element.keyword == "ReferencedSOPInstanceUID":
                element.value = "1.2.3.4"

    lost = pydicom.dcmread(tmp_path / "study" / "abdomen" / "sr.dcm")
    point_nowhere(lost)
    lost.save_as(tmp_path / "study" / "abdomen" / "sr.dcm")
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    (point,) = hospital.time_points()
    assert list(diameters(point).values()) == pytest.approx([16], abs=1.5)
    assert [text for text in point["attention"] if str(lost.SOPInstanceUID) in text]


def test_a_study_of_refused_images_and_marks_waits_for_a_person(hospital, tmp_path):
    series = Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)).write(tmp_path / "study")

    def make_scout(image) -> None:
        if image.Modality == "CT":
            image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    _edit(tmp_path / "study", make_scout)
    hospital.receive_folder(tmp_path / "study")
    hospital.work()
    (kept,) = hospital.status()["quarantine"]
    assert kept["what"] == f"study {series.study.study_instance_uid}"
    assert "no series of the study can be measured" in kept["reason"]


def test_a_study_that_was_kept_for_a_person_comes_back_to_its_visit(hospital, tmp_path):
    baseline, follow_up = Study(day=FIRST, spheres=(_chest(16, is_prompted=True),)), Study(
        day=SECOND, spheres=(_chest(9),)
    )  # fmt: skip
    hospital.process(baseline, follow_up)
    first = hospital.time_points()[1]
    for number, name in enumerate(("Somebody^Else", "Test^Person")):
        follow_up.write(tmp_path / name)

        def rename(image, name=name, number=number) -> None:
            image.PatientName, image.ImageComments = name, f"sent again {number}"

        _edit(tmp_path / name, rename)
        hospital.receive_folder(tmp_path / name)
        hospital.take()
        hospital.work()
        if name == "Somebody^Else":
            assert len(hospital.status()["quarantine"]) == 1
            assert [p["state"] for p in hospital.time_points()].count("DRAFT") == 1
    assert states(hospital.time_points()) == ["DRAFT", "DRAFT"]
    again = hospital.time_points()[1]
    assert diameters(again) == diameters(first)
    assert _predecessors(again) == _srs(first)
    assert not hospital.status()["quarantine"]
