"""Which names and codes are lesions, and which organ a name means."""

from __future__ import annotations

import pytest
from pydicom.sr.coding import Code

from dicom_io.prompts import LesionRules
from workflow.domain.anatomy import is_nodal_name, laterality_of_words, site_of_code, site_of_words, words_of

RULES = LesionRules()


@pytest.mark.parametrize(
    "name",
    ["GTV", "GTV-1", "GTVp", "iGTV_50", "gtv_mass_ct", "Tumor_c40", "Tumour left lung", "Lesion 3", "Met1",
     "LiverMets", "Metastasis seg IV", "Brain metastases", "Nodule RUL", "LN_c40", "Lymph node 4R", "GTVn1",
     "Rundherd li OL", "Lung GTV", "Lung_GTV", "RECIST 1"],
)  # fmt: skip
def test_names_of_lesions_are_taken(name):
    assert RULES.choose(name).is_lesion


@pytest.mark.parametrize(
    "name",
    ["CTV", "CTV_high", "PTV 60", "ITV", "pCTVn", "BODY", "External", "Carina_c40", "Isocenter", "Ring_2cm",
     "Liver", "Lung-GTV", "Lungs minus GTV", "Brain - GTV", "GTV_ring", "SA node", "Vertebra_c40", "ROI-1",
     "PTV_GTV", "Tumor bed", "LN level II", "Edema", "couch", "Heart", "", "normal liver lesion reference"],
)  # fmt: skip
def test_names_of_anything_else_are_left(name):
    choice = RULES.choose(name)
    assert not choice.is_lesion
    assert choice.reason


@pytest.mark.parametrize(
    ("name", "kind", "taken"),
    [
        ("ROI 1", "GTV", True),
        ("ROI 1", "", False),
        ("ROI 1", "ORGAN", False),
        ("Tumor_c40", "ORGAN", True),  # some systems call every ROI an organ
        ("GTV", "CTV", False),
        ("GTV", "ptv", False),
        ("PTV", "GTV", False),
        ("Tumor", "ISOCENTER", False),
    ],
)
def test_type_and_name_decide_together(name, kind, taken):
    assert RULES.choose(name, kind).is_lesion is taken


def test_a_sites_lists_go_before_every_rule():
    rules = LesionRules(always=frozenset({"Index"}), never=frozenset({"GTV old"}))
    assert rules.choose("INDEX", "ORGAN").is_lesion
    assert rules.choose("index", "PTV").is_lesion
    assert not rules.choose("gtv old", "GTV").is_lesion


def test_a_site_can_leave_nodes_out():
    assert not LesionRules(nodes_are_lesions=False).choose("LN 4R").is_lesion


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match=str(fraction)):
        LesionRules(fraction=fraction)


ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
LESION, EDEMA = Code("52988006", "SCT", "Lesion"), Code("79654002", "SCT", "Edema")
LIVER, NODE = Code("10200004", "SCT", "Liver"), Code("59441001", "SCT", "Lymph node")


@pytest.mark.parametrize(
    ("label", "category", "kind", "taken"),
    [
        ("x", ABNORMAL, LESION, True),
        ("x", ABNORMAL, None, True),
        ("x", ABNORMAL, EDEMA, False),
        ("x", TISSUE, LESION, True),
        ("tumor", TISSUE, TISSUE, True),
        ("x", TISSUE, TISSUE, False),
        ("tumor", STRUCTURE, LIVER, False),
        ("x", STRUCTURE, NODE, True),
        ("GTV", None, None, True),
        ("x", None, None, False),
    ],
)
def test_segments_are_chosen_by_their_codes_and_else_by_label(label, category, kind, taken):
    assert RULES.choose_coded(label, category, kind).is_lesion is taken


@pytest.mark.parametrize(
    ("category", "finding", "taken"),
    [
        (None, LESION, True),
        (None, Code("1", "99LOCAL", "whatever"), True),
        (None, LIVER, False),
        (None, Code("80891009", "SCT", "Heart"), False),
        (STRUCTURE, Code("1", "99LOCAL", "whatever"), False),
        (None, NODE, True),
        (ABNORMAL, LIVER, True),
        (None, EDEMA, False),
    ],
)
def test_a_measured_finding_is_a_lesion_unless_it_is_coded_otherwise(category, finding, taken):
    assert RULES.choose_measured("", category, finding).is_lesion is taken


@pytest.mark.parametrize(
    "label",
    ["Aorta diameter", "AortaDiameter", "aorta 3,2 cm", "Aortendurchmesser", "IVC", "Portal vein",
     "Spleen", "spleen length", "spleen 13 x 5 cm", "Milz", "Milzlänge", "Rate", "Bazo", "milza lunghezza",
     "baço", "śledziona",
     "селезёнка длина", "脾臓 長径", "主动脉直径", "Liver", "hígado diámetro", "Herzgröße", "kidney L",
     "renal cyst", "blood pool", "normal liver", "liver lesion reference", "stent", "Pleural effusion"],
)  # fmt: skip
def test_labels_of_measured_structures_are_no_lesions_and_doubtful(label):
    choice = RULES.choose_measured(label)
    assert not choice.is_lesion
    assert choice.doubt


@pytest.mark.parametrize(
    "label",
    ["Lesion 1", "", "Measurement", "T1", "Liver S7", "liver met", "Leber Herd 2", "Lung RUL", "Lung RUL 2",
     "lésion rate", "spleen met", "para-aortic LN", "aortic arch node", "tumor thrombus portal vein",
     "cystic metastasis", "Vertebra L2", "печень очаг", "肝转移", "リンパ節", "肺结节", "Rundherd RUL",
     "Tumordurchmesser"],
)  # fmt: skip
def test_labels_of_lesions_are_taken_without_a_doubt(label):
    choice = RULES.choose_measured(label)
    assert (choice.is_lesion, choice.doubt) == (True, "")


@pytest.mark.parametrize("label", ["Lung", "adrenal left", "肺", "Pancreas"])
def test_labels_of_an_organ_that_lesions_are_named_after_are_taken_and_doubtful(label):
    choice = RULES.choose_measured(label)
    assert choice.is_lesion
    assert choice.doubt


def test_a_sites_lists_go_before_the_words_of_a_label():
    rules = LesionRules(always=frozenset({"Spleen"}), never=frozenset({"Lesion 9"}))
    assert (rules.choose_measured("spleen").is_lesion, rules.choose_measured("spleen").doubt) == (True, "")
    assert not rules.choose_measured("lesion 9").is_lesion


# ---------------------------------------------------------------- anatomy


@pytest.mark.parametrize(
    ("words", "organ"),
    [
        ("Tumor liver seg. IV", "liver"), ("hepatic met", "liver"), ("Lung nodule RUL", "lung"),
        ("RLL", "lung"), ("LeftLung", "lung"), ("kidneys", "kidney"), ("Nebenniere rechts", "adrenal gland"),
        ("mediastinal mass", "mediastinum"), ("mediastinal LN", "lymph node"), ("LN_c40", "lymph node"),
        ("soft tissue thigh", "soft tissue"), ("small bowel", "small bowel"),
        ("base of tongue", "oral cavity"),
        ("met of liver", "liver"), ("foie", "liver"), ("hígado", "liver"), ("легкое", "lung"),
        ("脾臓", "spleen"), ("ganglion médiastinal", "lymph node"), ("リンパ節", "lymph node"),
        ("rib 4", "bone"), ("peritoneal carcinosis", "peritoneum"), ("paravertebral", None), ("", None),
        ("lesion 3", None),
    ],
)  # fmt: skip
def test_words_name_the_organ_that_recist_counts(words, organ):
    site = site_of_words(words)
    assert (site.organ if site else None) == organ


def test_nodes_keep_their_region():
    assert site_of_words("inguinal LN left").meaning == "Inguinal lymph node"
    assert site_of_code("53074004").is_nodal
    assert site_of_code("39607008").is_nodal is False
    assert site_of_code("0") is None


@pytest.mark.parametrize(
    ("name", "nodal"),
    [("LN", True), ("GTVn", True), ("GTV-N2", True), ("GTV", False), ("SA node", False), ("nodule", False),
     ("Lymphknoten", True), ("AV node", False), ("lymph node station 7", True)],
)  # fmt: skip
def test_nodal_names_are_known(name, nodal):
    assert is_nodal_name(name) is nodal


@pytest.mark.parametrize(
    ("words", "side"),
    [("Lung left", "left"), ("adrenal R", "right"), ("RUL", "right"), ("LN li axillär", "left"),
     ("left and right lung", None), ("rein gauche", "left"), ("liver", None), ("bilateral", "bilateral")],
)  # fmt: skip
def test_words_name_the_side(words, side):
    assert laterality_of_words(words) == side


def test_names_split_into_words_at_case_digits_and_signs():
    assert words_of("GTV_Mass-CT2.leftLung") == ("gtv", "mass", "ct", "left", "lung")
