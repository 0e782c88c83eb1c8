"""The series to measure on is chosen with the reason, and what can't be compared is named."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from workflow.domain.regions import regions_in
from workflow.domain.series import SeriesDescription
from workflow.domain.series_choice import (
    Mismatch,
    SeriesRules,
    choose_series,
    comparability,
    contrast_phase,
    kernel_class,
    measurable_stacks,
    score_series,
)


def series(name: str = "A", **attributes: object) -> SeriesDescription:
    values: dict[str, object] = {
        "study_instance_uid": "1",
        "series_instance_uid": f"1.{ord(name[0])}",
        "sop_instance_uids": ("1.1",),
        "modality": "CT",
        "description": name,
        "orientation": "axial",
        "spacing_mm": (2.0, 0.8, 0.8),
        "shape": (150, 512, 512),
        **attributes,
    }
    return SeriesDescription(**values)  # type: ignore[arg-type]


BASE = series("Base")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (series("Axial"), series("Coronal", orientation="coronal")),
        (
            series("Thin", spacing_mm=(1.5, 0.8, 0.8)),
            series("Five", spacing_mm=(5.0, 0.8, 0.8), shape=(60, 512, 512)),
        ),
        (
            series("Five", spacing_mm=(5.0, 0.8, 0.8)),
            series("Ten", spacing_mm=(10.0, 0.8, 0.8), shape=(75, 512, 512)),
        ),
        (series("Venous", contrast_phase="portal venous"), series("Native", contrast_phase="non-contrast")),
        (series("Venous", contrast_phase="portal venous"), series("Arterial", contrast_phase="arterial")),
        (series("Soft", kernel="B30f"), series("Lung", kernel="B70f")),
        (series("Long"), series("Short", shape=(50, 512, 512))),
        (series("CT"), series("PET", modality="PT")),
        (series("Original"), series("Derived", left_out="a reformat (MPR)")),
        (series("Whole"), series("Refused", refusal="1 slice is missing")),
    ],
    ids=lambda one: one.description,
)
def test_the_better_series_is_chosen(better, worse):
    for pair in ([better, worse], [worse, better]):
        assert choose_series(pair).chosen == better


def test_the_choice_explains_every_point():
    choice = choose_series([series("Venous", contrast_phase="portal venous", kernel="Br40", series_number=4)])
    assert choice.reason == (
        "series 4 (Venous): CT +6.0, axial +3.0, slices every 2.00 mm +2.5, portal venous +3.0, "
        "soft kernel Br40 +1.5, covers 300 mm +3.0 = 19.0; the only one"
    )


def test_equal_series_are_chosen_by_number_so_that_the_choice_repeats():
    pair = [series("B", series_number=5), series("A", series_number=4)]
    assert choose_series(pair).chosen == pair[1]
    assert choose_series(pair[::-1]).chosen == pair[1]


def test_a_derived_series_is_taken_if_nothing_else_is_there_and_the_reason_says_so():
    derived = series("ADC", modality="MR", left_out="derived from other images (ImageType DERIVED)")
    choice = choose_series([derived, series("Scout", refusal="a localizer")])
    assert choice.chosen is not None
    assert choice.chosen.key == derived.key
    doubt = "no original series can be read, so one is taken that is derived from other images"
    assert doubt in choice.reason
    assert doubt in choice.chosen.doubts[0]


def test_nothing_is_chosen_where_everything_is_refused_and_each_reason_is_given():
    choice = choose_series([series("Scout", refusal="a localizer"), series("Echo", modality="US")])
    assert choice.chosen is None
    assert "(Scout): a localizer" in choice.reason
    assert "(Echo): modality US is not among CT, MR, PT" in choice.reason


def test_a_study_without_images_says_so():
    assert choose_series([]).reason == "the study holds no images"


def test_refused_series_score_minus_infinity_with_the_reason_first():
    (scored,) = score_series([series(refusal="2 slices are missing")])
    assert (scored.score, scored.reasons) == (-inf, ("2 slices are missing",))


def test_a_site_can_ask_for_another_phase_and_another_modality_first():
    rules = SeriesRules(modalities=("MR", "CT"), contrast_phases=("arterial",), body_parts=("LIVER",))
    arterial = series("Arterial", contrast_phase="arterial")
    assert (
        choose_series([arterial, series("Venous", contrast_phase="portal venous")], rules).chosen == arterial
    )
    liver = series("MR liver", modality="MR")
    assert choose_series([arterial, liver], rules).chosen == liver


def test_too_little_coverage_is_no_choice():
    rules = SeriesRules(minimum_coverage_mm=50.0)
    choice = choose_series([series(shape=(5, 512, 512))], rules)
    assert choice.chosen is None
    assert "covers 10 mm, less than 50 mm" in choice.reason


# ---------------------------------------------------------------- all that a visit shows


def covering(name: str, low: float, high: float, **attributes: object) -> SeriesDescription:
    """A stack from `low` to `high` mm along the body; its score falls with its series number."""
    values: dict[str, object] = {
        "frame_of_reference_uid": "1.9",
        "extent_lps": ((-200.0, -200.0, low), (200.0, 200.0, high)),
        "shape": (int((high - low) / 2), 512, 512),
        "series_instance_uid": f"1.{name}",
        **attributes,
    }
    return series(name, **values)


def of_study(number: int, name: str, **attributes: object) -> SeriesDescription:
    return covering(
        name, 0, 300, study_instance_uid=f"{number}", frame_of_reference_uid=f"1.{number}", **attributes
    )


CHEST, ABDOMEN = covering("Chest", 0, 300), covering("Abdomen", -400, 20)


@pytest.mark.parametrize(
    ("name", "stacks", "measured"),
    [
        ("chest and abdomen", [CHEST, ABDOMEN], ["Abdomen", "Chest"]),
        (
            "soft and lung kernel of one chest",
            [CHEST, covering("Lung", -5, 310, kernel="B70f")],
            ["Chest"],
        ),
        (
            "a hand more of the body, on a worse series",
            [CHEST, covering("More", 0, 350, spacing_mm=(9.0, 0.8, 0.8))],
            ["Chest", "More"],
        ),
        (
            "a few slices that lie elsewhere",
            [CHEST, covering("Few", -100, -70)],
            ["Chest", "Few"],
        ),
        ("a small field of view within", [CHEST, covering("Zoom", 50, 250, kernel="B70f")], ["Chest"]),
        (
            "a larger field of view of the same slices",
            [
                covering(
                    "Wide", 0, 300, extent_lps=((-350.0, -350.0, 0.0), (350.0, 350.0, 300.0)), kernel="B70"
                ),
                CHEST,
            ],
            ["Chest"],
        ),
        (
            "arterial and portal phase of one liver",
            [
                covering("A", 0, 200, contrast_phase="arterial"),
                covering("P", 0, 210, contrast_phase="contrast"),
            ],
            ["P"],
        ),
        (
            "the arterial phase shows the liver alone, the portal one everything",
            [
                covering("Portal", -400, 300, contrast_phase="portal venous"),
                covering("Arterial", -200, 0, contrast_phase="arterial"),
            ],
            ["Portal"],
        ),
        (
            "a thin liver first, then what shows the rest",
            [
                covering("Liver", -200, 0, contrast_phase="portal venous", kernel="B30f"),
                covering("Native", -400, 300, kernel="B70f", spacing_mm=(9.0, 1, 1)),
            ],
            ["Liver", "Native"],
        ),
        ("PET and CT", [CHEST, covering("Pet", 0, 300, modality="PT")], ["Chest", "Pet"]),
        (
            "both breasts",
            [
                covering("L", 0, 150, extent_lps=((20.0, -100.0, 0.0), (180.0, 100.0, 150.0)), modality="MR"),
                covering(
                    "R", 0, 150, extent_lps=((-180.0, -100.0, 0.0), (-20.0, 100.0, 150.0)), modality="MR"
                ),
            ],
            ["L", "R"],
        ),
        (
            "two studies of two regions",
            [
                of_study(1, "C", body_part="CHEST"),
                of_study(2, "A", body_part="ABDOMEN"),
            ],
            ["A", "C"],
        ),
        (
            "two studies that only their own description tells apart",
            [
                of_study(1, "1", study_description="CT Thorax"),
                of_study(2, "2", study_description="CT Becken"),
            ],
            ["1", "2"],
        ),
        (
            "two studies of one region",
            [
                of_study(1, "C", body_part="CHEST"),
                of_study(2, "D", body_part="THORAX"),
            ],
            ["C"],
        ),
        (
            "two studies of which nothing is said",
            [
                of_study(1, "1"),
                of_study(2, "2"),
            ],
            ["1", "2"],
        ),
        (
            "two frames of one study at one height of the table",
            [covering("1", 0, 300), covering("2", 10, 310, frame_of_reference_uid="1.2")],
            ["1"],
        ),
        (
            "two frames of one study far apart, under one protocol's body part",
            [
                covering("1", 0, 300, body_part="CHEST"),
                covering("2", -400, 0, body_part="CHEST", frame_of_reference_uid="1.2"),
            ],
            ["2", "1"],
        ),
        ("refused ones never", [CHEST, replace(ABDOMEN, refusal="1 slice is missing")], ["Chest"]),
        ("a reformat beside its original", [CHEST, covering("MPR", -99, 300, left_out="MPR")], ["Chest"]),
        ("nothing that can be measured", [replace(CHEST, refusal="a localizer")], []),
        ("nothing at all", [], []),
    ],
)
def test_a_visit_is_measured_on_stacks_that_show_everything_once(name, stacks, measured):
    for order in (stacks, stacks[::-1]):
        assert [one.description for one in measurable_stacks(order)] == measured


def test_the_first_stack_is_the_one_that_is_chosen_for_a_study():
    stacks = [CHEST, ABDOMEN, covering("Pet", 0, 300, modality="PT")]
    assert measurable_stacks(stacks)[0] == choose_series(stacks).chosen


def test_a_reformat_takes_part_where_its_study_has_no_original_and_is_in_doubt():
    mpr = covering("MPR", -400, 0, study_instance_uid="2", left_out="a reformat (MPR)")
    first, second = measurable_stacks([CHEST, mpr])
    assert (first, second.key) == (CHEST, mpr.key)
    assert "no original series can be read, so one is taken that is a reformat (MPR)" in second.doubts


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("CT CH/ABD/PEL", {"chest", "abdomen", "pelvis"}),
        ("THORAX_ABDOMEN 5.0", {"chest", "abdomen"}),
        ("Torax con contraste", {"chest"}),
        ("Schädel nativ", {"head"}),
        ("Beurteilung", set()),
        ("PET whole body", {"head", "neck", "chest", "abdomen", "pelvis", "limb"}),
        ("", set()),
    ],
)
def test_regions_are_read_from_whole_words(text, regions):
    assert regions_in(text) == regions


# ---------------------------------------------------------------- comparability


def test_the_same_acquisition_has_no_mismatch():
    assert comparability(BASE, BASE) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"modality": "MR"}, "modality: baseline CT, follow-up MR"),
        ({"orientation": "coronal"}, "orientation: baseline axial, follow-up coronal"),
        ({"contrast_phase": "arterial"}, "contrast phase: baseline portal venous, follow-up arterial"),
        ({"kernel": "B70f"}, "kernel: baseline B30f (soft), follow-up B70f (sharp)"),
        ({"spacing_mm": (5.0, 0.8, 0.8)}, "slice spacing: baseline 2.00 mm, follow-up 5.00 mm"),
    ],
)
def test_each_difference_that_changes_a_diameter_is_named(change, text):
    baseline = replace(BASE, contrast_phase="portal venous", kernel="B30f")
    assert [str(one) for one in comparability(baseline, replace(baseline, **change))] == [text]


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": "B40f"},  # another soft one
        {"spacing_mm": (3.0, 0.8, 0.8)},  # half as much again, exactly
        {"spacing_mm": (2.9, 0.7, 0.7)},
        {"contrast_phase": ""},  # not said
        {"kernel": "XYZ"},  # tells nothing
    ],
)
def test_small_or_unstated_differences_are_no_mismatch(change):
    baseline = replace(BASE, contrast_phase="portal venous", kernel="B30f")
    assert comparability(baseline, replace(baseline, **change)) == []


def test_a_slice_spacing_just_beyond_half_as_much_again_is_a_mismatch():
    (found,) = comparability(BASE, replace(BASE, spacing_mm=(3.01, 0.8, 0.8)))
    assert found == Mismatch(aspect="slice spacing", baseline="2.00 mm", follow_up="3.01 mm")


def test_thin_slices_that_differ_by_less_than_a_millimetre_are_alike():
    thin = replace(BASE, spacing_mm=(0.6, 0.8, 0.8))
    assert comparability(thin, replace(BASE, spacing_mm=(1.25, 0.8, 0.8))) == []


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "agent", "phase"),
    [
        ("Abdomen portal venous 3.0", True, "portal venous"),
        ("ABD_VENOUS", True, "portal venous"),
        ("Leber arteriell", True, "arterial"),
        ("late phase 5 min", True, "delayed"),
        ("THORAX NATIV", False, "non-contrast"),
        ("Chest w/o", True, "non-contrast"),
        ("Non Contrast Chest", False, "non-contrast"),
        ("CT CH/AB/PEL", True, "contrast"),
        ("T1 post gado", False, "contrast"),
        ("CT CH/AB/PEL", False, ""),
        ("Standard part 2", False, ""),
    ],
)
def test_the_contrast_phase_is_read_from_what_a_site_writes(words, agent, phase):
    assert contrast_phase(words, agent) == phase


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("B30f", "soft"),
        ("B49f", "soft"),
        ("B50f", "sharp"),
        ("I70f\\3", "sharp"),
        ("Br40d\\3", "soft"),
        ("Bl57d", "sharp"),
        ("FC08", "soft"),
        ("FC51", "sharp"),
        ("STANDARD", "soft"),
        ("LUNG", "sharp"),
        ("BONEPLUS", "sharp"),
        ("B", "soft"),
        ("YC", ""),
        ("", ""),
        ("XYZG=7.00", ""),
    ],
)
def test_kernels_of_all_makers_are_soft_or_sharp_or_unknown(kernel, expected):
    assert kernel_class(kernel) == expected
