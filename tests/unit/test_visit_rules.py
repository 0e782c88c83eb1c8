"""Which studies are one visit, where a lesion is looked for, and what is found: the pure rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.domain.findings import AS_DRAWN, Grid, Prompted, Tracked, join
from workflow.domain.geometry import Mask, affine_from_axes
from workflow.domain.lesion import (
    Axis,
    LesionMeasurement,
    LesionPrompt,
    LesionState,
    LinePrompt,
    ModelIdentity,
    PromptSource,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.lesion_life import Decision, Override
from workflow.domain.patient import PatientIdentity
from workflow.domain.record import (
    Analysis,
    LesionIdentity,
    Observation,
    PatientRecord,
    Revision,
    Study,
    Visit,
)
from workflow.domain.report import LesionRole
from workflow.domain.response import Policies
from workflow.domain.series import SeriesDescription, StackKey
from workflow.domain.states import StudyState, VisitState
from workflow.domain.visit import (
    KnownLesion,
    VisitRules,
    group_into_visits,
    homes_for,
    prior_of,
    roster_of,
)
from workflow.measurement import measure_visit
from workflow.response import assess_visit, placed_decisions, protocol_of
from workflow.settings import load_settings
from workflow.timeline import with_visits

START = date(2024, 3, 4)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
MODEL = ModelIdentity(name="m", version="1")
SHAPE = (20, 40, 40)


def _series(
    study: str, part: str = "CHEST", *, modality: str = "CT", frame: str | None = None, from_mm: float = 0.0,
    name: str = "1", stack: int = 0, description: str = "",
) -> SeriesDescription:  # fmt: skip
    return SeriesDescription(
        study_instance_uid=study,
        series_instance_uid=f"{study}.{name}",
        sop_instance_uids=(f"{study}.{name}.1",),
        modality=modality,
        body_part=part,
        description=description,
        frame_of_reference_uid=frame or f"{study}.9",
        stack=stack,
        orientation="axial",
        spacing_mm=(3.0, 1.0, 1.0),
        shape=SHAPE,
        extent_lps=((0.0, 0.0, from_mm), (40.0, 40.0, from_mm + 60.0)),
    )


def _study(
    uid: str, day: int = 0, part: str = "CHEST", *, at: time | None = time(9), series=None, **changes
) -> Study:
    own = (_series(uid, part),) if series is None else tuple(series)
    revision = Revision(
        number=1, content_sha256=uid, is_complete=True, created_at=NOW, series=own,
        digests={s.key: s.series_instance_uid for s in own},
    )  # fmt: skip
    study = Study(
        key=1, study_instance_uid=uid, state=StudyState.INGESTED, study_date=START + timedelta(days=day),
        study_time=at, revision=revision,
    )  # fmt: skip
    return replace(study, **changes)


def _groups(studies, rules=None) -> list[list[str]]:
    return [[s.study_instance_uid for s in g.studies] for g in group_into_visits(studies, rules)]


# ---------------------------------------------------------------- which studies are one visit

CHEST, LATER = _study("1.1"), 60
FOLLOW_UP = _study("1.2", LATER)


def _shared_place(uid: str, day: int) -> Study:
    return _study(uid, day, series=(_series(uid, "", frame="1.77"),))


@pytest.mark.parametrize(
    ("name", "studies", "expected", "is_asked"),
    [
        ("one study", [CHEST], [["1.1"]], False),
        ("the same day, the same region", [CHEST, _study("1.3", 0, at=time(15))], [["1.1", "1.3"]], False),
        ("another region the next day", [CHEST, _study("1.3", 1, "ABDOMEN")], [["1.1", "1.3"]], False),
        ("the same region the next day", [CHEST, _study("1.3", 1)], [["1.1"], ["1.3"]], False),
        ("a baseline within four weeks", [CHEST, _study("1.3", 28, "ABDOMEN")], [["1.1", "1.3"]], False),
        ("a baseline a day too late", [CHEST, _study("1.3", 29, "ABDOMEN")], [["1.1"], ["1.3"]], False),
        (
            "a follow-up just inside a week",
            [CHEST, FOLLOW_UP, _study("1.3", LATER + 6, "ABDOMEN")],
            [["1.1"], ["1.2", "1.3"]],
            False,
        ),
        (
            "a follow-up on the seventh day",
            [CHEST, FOLLOW_UP, _study("1.3", LATER + 7, "ABDOMEN")],
            [["1.1"], ["1.2", "1.3"]],
            False,
        ),
        (
            "a follow-up on the eighth day",
            [CHEST, FOLLOW_UP, _study("1.3", LATER + 8, "ABDOMEN")],
            [["1.1"], ["1.2"], ["1.3"]],
            False,
        ),
        (
            "a third part counts from the first, not from the second",
            [CHEST, FOLLOW_UP, _study("1.3", LATER + 5, "ABDOMEN"), _study("1.4", LATER + 9, "NECK")],
            [["1.1"], ["1.2", "1.3"], ["1.4"]],
            False,
        ),
        (
            "one part shown again begins a visit, and what follows joins that one",
            [CHEST, FOLLOW_UP, _study("1.3", LATER + 2), _study("1.4", LATER + 3, "ABDOMEN")],
            [["1.1"], ["1.2"], ["1.3", "1.4"]],
            False,
        ),
        (
            "PET the day after CT of one region",
            [CHEST, _study("1.3", 1, series=(_series("1.3", modality="PT"),))],
            [["1.1", "1.3"]],
            False,
        ),
        (
            "nothing says what is shown, within a week",
            [_study("1.1", 0, ""), _study("1.2", 7, "")],
            [["1.1", "1.2"]],
            True,
        ),
        (
            "nothing says what is shown, a day more",
            [_study("1.1", 0, ""), _study("1.2", 8, "")],
            [["1.1"], ["1.2"]],
            False,
        ),
        (
            "nothing says what is shown, but it is the same place",
            [_shared_place("1.1", 0), _shared_place("1.2", 1)],
            [["1.1"], ["1.2"]],
            False,
        ),
        (
            "the whole body repeats every region",
            [CHEST, _study("1.3", 2, "WHOLE BODY")],
            [["1.1"], ["1.3"]],
            False,
        ),
    ],
)
def test_which_studies_are_one_visit(name, studies, expected, is_asked):
    assert _groups(studies) == expected
    assert any(g.doubts for g in group_into_visits(studies)) is is_asked


@pytest.mark.parametrize(("window", "expected"), [(2, 1), (1, 2), (0, 2)])
def test_the_window_is_the_sites_to_set(window, expected):
    rules = VisitRules(window_days=window, baseline_window_days=window)
    assert len(_groups([CHEST, _study("1.3", 2, "ABDOMEN")], rules)) == expected


def test_a_study_in_quarantine_without_a_date_or_without_images_is_no_part_of_a_visit():
    others = [
        _study("1.2", state=StudyState.QUARANTINED),
        _study("1.3", study_date=None),
        _study("1.4", revision=None),
    ]
    assert _groups([CHEST, *others]) == [["1.1"]]


def test_a_copy_is_not_measured_beside_its_original_and_stands_for_it_once_that_is_gone():
    copies = [_study("1.2", copy_of="1.1"), _study("1.3", copy_of="1.1")]
    assert _groups([CHEST, *copies]) == [["1.1"]]
    assert _groups([replace(CHEST, state=StudyState.QUARANTINED), *copies]) == [["1.2"]]
    assert _groups(copies) == [["1.2"]]


def test_a_copy_of_a_copy_is_none_of_its_own():
    chain = [CHEST, _study("1.2", copy_of="1.1"), _study("1.3", copy_of="1.2")]
    assert _groups(chain) == [["1.1"]]


parts = st.sampled_from(["CHEST", "ABDOMEN", "HEAD", "", "WHOLE BODY"])
some_studies = st.lists(
    st.tuples(
        st.integers(0, 90), parts, st.sampled_from(["CT", "PT", "MR"]), st.none() | st.times(),
        st.sampled_from([StudyState.INGESTED, StudyState.RECEIVING, StudyState.QUARANTINED]), st.booleans(),
    ),
    max_size=12,
).map(
    lambda rows: [
        _study(
            f"1.{n}", day, part, at=at, state=state,
            series=(_series(f"1.{n}", part, modality=modality),),
            copy_of="1.0" if is_copy and n else None,
        )
        for n, (day, part, modality, at, state, is_copy) in enumerate(rows)
    ]
)  # fmt: skip


@given(some_studies, st.randoms(use_true_random=False))
def test_every_usable_study_is_in_one_visit_whatever_the_order_of_arrival(studies, random):
    groups = _groups(studies)
    placed = [uid for group in groups for uid in group]
    days = {s.study_instance_uid: s.study_date for s in studies}
    assert len(placed) == len(set(placed))
    usable = {s.study_instance_uid for s in studies if s.is_usable}
    originals = {s.study_instance_uid for s in studies if s.is_usable and s.copy_of is None}
    assert originals <= set(placed) <= usable
    left_out = [s for s in studies if s.study_instance_uid in usable - set(placed)]
    assert all(s.copy_of in placed or any(o.copy_of == s.copy_of for o in studies) for s in left_out)
    assert [days[uid] for uid in placed] == sorted(days[uid] for uid in placed)
    firsts = [days[group[0]] for group in groups]
    assert len(set(firsts)) == len(firsts)  # a visit is named by its first day
    for group in groups:
        assert days[group[-1]] - days[group[0]] <= timedelta(days=28)
    shuffled = list(studies)
    random.shuffle(shuffled)
    assert _groups(shuffled) == groups


@given(some_studies)
def test_a_timeline_that_is_looked_at_again_is_the_same(studies):
    first = with_visits(_record(studies), VisitRules())
    again = with_visits(first, VisitRules())
    assert [(v.anchor, v.studies, v.order, v.prior) for v in again.visits] == [
        (v.anchor, v.studies, v.order, v.prior) for v in first.visits
    ]


# ---------------------------------------------------------------- a record


def _record(studies, **changes) -> PatientRecord:
    identity = PatientIdentity(
        patient_id="P", issuer_of_patient_id="", patient_name="A^B", birth_date=None, sex=""
    )
    return replace(PatientRecord(key=1, version=1, identity=identity, studies=tuple(studies)), **changes)


def _mask(centre, half=4) -> Mask:
    array = np.zeros(SHAPE, dtype=bool)
    k, j, i = centre
    array[max(k - 1, 0) : k + 2, j - half : j + half, i - half : i + half] = True
    return Mask.from_array(array)


def _grid(series: SeriesDescription) -> Grid:
    assert series.extent_lps is not None
    affine = affine_from_axes(
        origin_lps=series.extent_lps[0], slice_step=(0, 0, 3.0), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    return Grid(
        key=series.key, modality=series.modality, frame_of_reference_uid=series.frame_of_reference_uid,
        affine=affine, spacing_mm=(3.0, 1.0, 1.0), shape=SHAPE,
    )  # fmt: skip


def _size(mm: float) -> LesionMeasurement:
    def axis(length: float) -> Axis:
        return Axis(start_lps=(0.0, 0.0, 0.0), end_lps=(length, 0.0, 0.0), length_mm=length)

    return LesionMeasurement(
        long_axis=axis(mm), short_axis=axis(mm * 0.8), slice_index=1, volume_mm3=100.0, mean_hu=40.0
    )


def _prompt(label="", uid=None, organ="lung", item="1") -> LesionPrompt:
    line = LinePrompt(start_lps=(0.0, 0.0, 0.0), end_lps=(5.0, 0.0, 0.0))
    return LesionPrompt(
        shapes=(line,), source=PromptSource.MEASUREMENT_REPORT, label=label, tracking_uid=uid, organ=organ,
        sop_instance_uid="1.5", item=item,
    )  # fmt: skip


def _drawn(series, centre=(10, 20, 20), mm=20.0, *, mask=None, **prompt) -> Prompted:
    outline = _mask(centre) if mask is None else mask
    return Prompted(
        prompt=_prompt(**prompt), grid=_grid(series),
        lesion=SegmentedLesion(index=0, mask=outline, confidence=1.0, model=AS_DRAWN),
        measurement=None if outline.is_empty else _size(mm),
    )  # fmt: skip


def _seen(uid: str, series: SeriesDescription | None, state=LesionState.PRESENT) -> Observation:
    is_there = series is not None and state is LesionState.PRESENT
    return Observation(
        tracking_uid=uid, number=0, state=state, measured_on=series.key if series else None,
        mask=_mask((10, 20, 20)) if is_there else None, measurement=_size(20) if is_there else None,
        model=MODEL,
    )  # fmt: skip


def _with_analysis(record: PatientRecord, anchor: str, *seen: Observation) -> PatientRecord:
    analysis = Analysis(
        identity=f"analysis of {anchor}", created_at=NOW, state=VisitState.ANALYSED, reason="",
        is_baseline=True, observations=seen,
    )  # fmt: skip
    visit = replace(record.visit(anchor), analyses=(analysis,), current_analysis=analysis.identity)
    lesions = {
        o.tracking_uid: LesionIdentity(
            tracking_uid=o.tracking_uid, label=f"T{o.tracking_uid[-2:]}", role=LesionRole.TARGET,
            first_study_instance_uid=visit.studies[0],
        )
        for o in seen
    }  # fmt: skip
    return replace(record.with_visit(visit), lesions={**record.lesions, **lesions})


# ---------------------------------------------------------------- where a lesion is looked for

BASELINE = _study("1.1", series=(_series("1.1"), _series("1.1", "ABDOMEN", name="2", from_mm=-90.0)))
SOME = KnownLesion(
    tracking_uid="2.1", label="T01", visit="1.1", stack=BASELINE.series[0].key, mask=_mask((10, 20, 20))
)


def _homes(*later: SeriesDescription, lesion=SOME, baseline=BASELINE) -> list[StackKey]:
    record = with_visits(_record([baseline, _study("1.2", LATER, series=later)]), VisitRules())
    return [s.key for s in homes_for(record, record.visit("1.2"), lesion, later)]


def test_a_lesion_is_looked_for_where_its_part_of_the_body_is_shown():
    chest, abdomen = _series("1.2"), _series("1.2", "ABDOMEN", name="2")
    assert _homes(abdomen, chest) == [chest.key]
    assert _homes(abdomen) == []


def test_a_lesion_is_looked_for_on_its_own_modality_only():
    assert _homes(_series("1.2", modality="MR")) == []


def test_where_headers_say_nothing_the_stack_at_the_same_height_comes_first():
    low, high = _series("1.2", "", from_mm=-300.0), _series("1.2", "", name="2", from_mm=10.0)
    assert _homes(low, high) == [high.key, low.key]


def test_a_visit_is_compared_with_the_nearest_that_shows_the_same():
    brain = _study("1.2", 40, "HEAD")
    record = with_visits(_record([BASELINE, brain, _study("1.3", LATER)]), VisitRules())
    assert prior_of(record, record.visit("1.2")) is None
    prior = prior_of(record, record.visit("1.3"))
    assert prior is not None
    assert prior.anchor == "1.1"


def test_a_lesion_is_tracked_from_where_it_was_last_outlined_not_from_where_it_was_not_seen():
    record = with_visits(_record([BASELINE, _study("1.2", 40), _study("1.3", LATER)]), VisitRules())
    record = _with_analysis(record, "1.1", _seen("2.01", BASELINE.series[0]))
    gone = _seen("2.01", _series("1.2"), LesionState.DISAPPEARED)
    record = _with_analysis(record, "1.2", gone)
    (known,) = roster_of(record, record.visit("1.3"))
    assert known.visit == "1.1"
    assert known.mask is not None


# ---------------------------------------------------------------- one finding per lesion


def _tracked(known: KnownLesion, series, centre=(10, 20, 20)) -> Tracked:
    lesion = TrackedLesion(
        tracking_uid=known.tracking_uid, mask=_mask(centre), state=LesionState.PRESENT, confidence=0.8,
        model=MODEL, reason="found",
    )  # fmt: skip
    return Tracked(known=known, grid=_grid(series), lesion=lesion, measurement=_size(20))


def test_a_lesion_that_could_not_be_looked_for_is_not_evaluable_and_says_why():
    other = replace(SOME, tracking_uid="2.2", label="T02")
    tracked = [_tracked(SOME, _series("1.2"))]
    first, second = join([SOME, other], tracked, [], {"2.2": "no series here shows its place"})
    assert first.state is LesionState.PRESENT
    assert second.state is LesionState.NOT_EVALUABLE
    assert second.known is other
    assert "no series here shows its place" in second.reason


@pytest.mark.parametrize(
    ("frame", "states"), [("1.7", ["merged", "present"]), (None, ["present", "present"])]
)
def test_lesions_tracked_to_one_place_on_two_series_of_a_frame_have_grown_into_one(frame, states):
    other = replace(SOME, tracking_uid="2.2", label="T02")
    thick, thin = _series("1.2", frame=frame), _series("1.2", name="2", frame=frame or "1.8")
    found = join([SOME, other], [_tracked(SOME, thick), _tracked(other, thin)], [])
    assert sorted(f.state for f in found) == states


def test_a_visit_that_shows_nothing_known_and_has_no_prompt_says_nothing_of_the_lesions():
    assert join([SOME], [], [], {SOME.tracking_uid: "no series here shows its place"}) == []


def test_a_lesion_drawn_on_pet_and_ct_is_one_and_measured_on_the_ct_whichever_was_read_first():
    ct, pet = _series("1.1", frame="1.7"), _series("1.1", modality="PT", name="2", frame="1.7")
    on_ct, on_pet = _drawn(ct, label="on CT"), _drawn(pet, label="on PET", item="2")
    for order in ([on_pet, on_ct], [on_ct, on_pet]):
        (finding,) = join([], [], order)
        assert finding.measured_on == ct.key


def test_of_two_outlines_of_a_lesion_the_one_that_shows_it_counts():
    series = _series("1.1")
    nothing = _drawn(series, mask=Mask.empty(SHAPE), uid="2.5")
    (finding,) = join([], [], [nothing, _drawn(series, uid="2.5", item="2")])
    assert finding.state is LesionState.PRESENT


def test_a_lesion_drawn_again_beside_its_known_identity_is_no_new_one():
    series = _series("1.2")
    lost = replace(SOME, tracking_uid="2.5")
    drawn = [_drawn(series, uid="2.99"), _drawn(series, uid="2.5", item="2")]
    (finding,) = join([lost], [], drawn)
    assert finding.known is lost
    assert finding.prompt is not None
    assert finding.prompt.tracking_uid == "2.5"


# ---------------------------------------------------------------- targets over the whole visit


def _measure(record, anchor, findings, series, policies=None):
    grids = {s.key: _grid(s) for s in series}
    return measure_visit(
        record, record.visit(anchor), findings, grids, identity="i", policies=policies or Policies(), now=NOW
    )


def test_targets_are_chosen_over_all_studies_of_a_visit_two_to_an_organ():
    """One study holds three lung lesions, the other a fourth and one of the liver: T, T, T(liver), NT, NT."""
    abdomen = _study("1.2", 2, "ABDOMEN")
    record = with_visits(_record([CHEST, abdomen]), VisitRules())
    assert len(record.standing) == 1
    chest_ct, abdomen_ct = CHEST.series[0], abdomen.series[0]
    findings = join(
        [],
        [],
        [
            _drawn(chest_ct, (4, 8, 8), 30.0, item="1"),
            _drawn(chest_ct, (10, 20, 20), 28.0, item="2"),
            _drawn(chest_ct, (16, 30, 30), 26.0, item="3"),
            _drawn(abdomen_ct, (4, 8, 8), 40.0, item="4"),
            _drawn(abdomen_ct, (16, 30, 30), 12.0, item="5", organ="liver"),
        ],
    )
    measured = _measure(record, "1.1", findings, [chest_ct, abdomen_ct])
    roles = {o.number: lesion.role for o, lesion in zip(
        measured.analysis.observations, measured.new_lesions, strict=True
    )}  # fmt: skip
    targets = [n for n, role in roles.items() if role is LesionRole.TARGET]
    assert targets == [0, 3, 4]
    assert [n for n, role in roles.items() if role is LesionRole.NON_TARGET] == [1, 2]


def test_five_targets_at_most_over_all_studies_of_a_visit():
    abdomen = _study("1.2", 2, "ABDOMEN")
    record = with_visits(_record([CHEST, abdomen]), VisitRules())
    organs = ["lung", "liver", "spleen", "adrenal gland"]
    places = [(4, 8, 8), (4, 30, 30), (16, 8, 8), (16, 30, 30)]
    findings = join([], [], [
        _drawn(study.series[0], place, 20.0, organ=f"{organ} {n}", item=f"{n} {organ}")
        for n, study in enumerate((CHEST, abdomen))
        for organ, place in zip(organs, places, strict=True)
    ])  # fmt: skip
    measured = _measure(record, "1.1", findings, [CHEST.series[0], abdomen.series[0]])
    assert [lesion.role for lesion in measured.new_lesions].count(LesionRole.TARGET) == 5


def test_lesions_redrawn_on_images_that_are_of_another_visit_by_now_keep_their_identity():
    """The abdomen was a visit of its own; an earlier chest came late, and a drawing was corrected."""
    abdomen = _study("1.2", 2, "ABDOMEN")
    record = with_visits(_record([abdomen]), VisitRules())
    record = _with_analysis(record, "1.2", _seen("2.01", abdomen.series[0]))
    record = with_visits(replace(record, studies=(CHEST, abdomen)), VisitRules())
    assert [v.anchor for v in record.standing] == ["1.1"]
    assert [(v.anchor, v.state) for v in record.visits[1:]] == [("1.2", VisitState.JOINED)]
    redrawn = join([], [], [_drawn(abdomen.series[0], uid="2.77")])
    measured = _measure(record, "1.1", redrawn, [abdomen.series[0]])
    assert [o.tracking_uid for o in measured.analysis.observations] == ["2.01"]


def test_a_lesion_that_went_to_another_patient_is_no_obstacle():
    record = with_visits(_record([CHEST]), VisitRules())
    record = _with_analysis(record, "1.1", _seen("2.01", CHEST.series[0]))
    record = replace(record, lesions={})
    measured = _measure(record, "1.1", join([], [], [_drawn(CHEST.series[0], uid="2.77")]), CHEST.series)
    assert [o.tracking_uid for o in measured.analysis.observations] == ["2.77"]


def test_a_lesion_of_the_other_region_makes_nothing_of_the_first_equivocal():
    """What was not looked for was outlined before: a new lesion can't be that one."""
    record = with_visits(_record([BASELINE, FOLLOW_UP, _study("1.3", 120)]), VisitRules())
    record = _with_analysis(
        record, "1.1", _seen("2.01", BASELINE.series[0]), _seen("2.02", BASELINE.series[1])
    )
    not_looked_for = _seen("2.02", None, LesionState.NOT_EVALUABLE)
    record = _with_analysis(record, "1.2", _seen("2.01", FOLLOW_UP.series[0]), not_looked_for)
    third = record.study("1.3").series[0]
    measured = _measure(record, "1.3", join([], [], [_drawn(third, uid="2.9")]), [third])
    assert [o.is_equivocal for o in measured.analysis.observations] == [False]


def _visit_states(record: PatientRecord) -> dict[str, VisitState]:
    return {v.anchor: v.state for v in record.visits}


def test_a_visit_whose_study_left_keeps_its_words_and_says_where_it_went():
    record = with_visits(_record([CHEST, FOLLOW_UP]), VisitRules())
    record = _with_analysis(record, "1.2", _seen("2.01", FOLLOW_UP.series[0]))
    copied = replace(record, studies=(CHEST, replace(FOLLOW_UP, copy_of="1.1")))
    left = with_visits(copied, VisitRules()).visit("1.2")
    assert isinstance(left, Visit)
    assert left.state is VisitState.QUARANTINED
    assert "images of study 1.1 again" in left.reason
    assert len(left.analyses) == 1
    back = with_visits(replace(with_visits(copied, VisitRules()), studies=(CHEST, FOLLOW_UP)), VisitRules())
    assert back.visit("1.2").studies == ("1.2",)
    assert len(back.visit("1.2").analyses) == 1


# ---------------------------------------------------------------- the sum of a visit


def _assessed(record: PatientRecord, anchor: str):
    protocol = protocol_of(load_settings(None).response)
    return assess_visit(record, record.visit(anchor), protocol)


def test_the_sum_of_a_visit_is_over_all_of_its_studies():
    abdomen, later = _study("1.2", 2, "ABDOMEN"), _study("1.4", LATER + 3, "ABDOMEN")
    record = with_visits(_record([CHEST, abdomen, _study("1.3", LATER), later]), VisitRules())
    for anchor, second, mm in (("1.1", abdomen, 20.0), ("1.3", later, 10.0)):
        first = record.study(anchor).series[0]
        seen = [_seen("2.01", first), _seen("2.02", second.series[0])]
        seen = [replace(o, measurement=_size(mm + 5 * n)) for n, o in enumerate(seen)]
        record = _with_analysis(record, anchor, *seen)
    assert _assessed(record, "1.1").reported().sum_mm == 45
    follow_up = _assessed(record, "1.3")
    assert follow_up.reported().sum_mm == 25
    assert follow_up.reported().overall == "PR"
    assert {uid: seen.diameter_um for uid, seen in follow_up.lesions.items()} == {
        "2.01": 10_000,
        "2.02": 15_000,
    }


def test_a_lesion_too_small_to_measure_counts_as_the_policy_says_and_not_its_few_pixels():
    record = with_visits(_record([CHEST, FOLLOW_UP]), VisitRules())
    record = _with_analysis(record, "1.1", _seen("2.01", CHEST.series[0]))
    small = replace(_seen("2.01", FOLLOW_UP.series[0]), state=LesionState.TOO_SMALL, measurement=_size(3.2))
    record = _with_analysis(record, "1.2", small)
    told = _assessed(record, "1.2")
    assert told.lesions["2.01"].diameter_um == 5000
    assert told.reported().sum_mm == 5


def test_a_visit_is_dated_by_all_of_its_days():
    """The earliest day counts for progression, the latest for response (section 1 of the visit's rules)."""
    abdomen = _study("1.2", 2, "ABDOMEN")
    record = with_visits(_record([CHEST, abdomen]), VisitRules())
    record = _with_analysis(record, "1.1", _seen("2.01", CHEST.series[0]))
    (visit,) = record.standing
    assert record.days_of(visit) == (START, START + timedelta(days=2))
    assert record.day_of(visit) == START


def test_a_decision_is_placed_on_the_visit_that_its_day_belongs_to_by_now():
    abdomen = _study("1.2", 2, "ABDOMEN")
    decision = Override(
        id="1", decision=Decision.SET_STATE, lesion="2.01", state=LesionState.DISAPPEARED, by="Roe",
        at=NOW, reason="gone", time_point=(START + timedelta(days=2)).isoformat(),
    )  # fmt: skip
    elsewhere = replace(decision, id="2", time_point="2020-01-01")
    record = with_visits(_record([CHEST, abdomen], decisions=(decision, elsewhere)), VisitRules())
    assert [d.time_point for d in placed_decisions(record)] == [START.isoformat(), "2020-01-01"]
