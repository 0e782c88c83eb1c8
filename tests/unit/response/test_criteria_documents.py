"""The keys that single criteria ask for, as documents and tables give them."""

from pathlib import Path

import pytest

from workflow.documents.document import parse_document, read_batch
from workflow.documents.explain import explanation
from workflow.documents.result import result_of
from workflow.domain.response import Criteria, Policies, Response, TimelineError, assess
from workflow.domain.response.policy import POLICY_TABLE


def assessed(raw):
    parsed = parse_document(raw)
    return result_of(assess(parsed.timeline, parsed.protocol), name=parsed.name, warnings=parsed.warnings)


def document(criteria, *points, lesions=(), **more):
    return {"name": "P", "criteria": criteria, "lesions": list(lesions), "time_points": list(points), **more}


TARGET = {"id": "A", "role": "target", "organ": "liver"}

DOCUMENTS = {
    "rano-2.0": document(
        "RANO 2.0",
        {"id": "BL", "date": "2024-01-01", "observations": [
            {"lesion": "A", "long_axis_mm": 40, "short_axis_mm": 20}]},
        {"id": "TP1", "date": "2024-02-26", "corticosteroids": "stable", "clinical_status": "stable",
         "observations": [{"lesion": "A", "long_axis_mm": 30, "short_axis_mm": 20}]},
        lesions=[{**TARGET, "is_enhancing": False}], radiotherapy_end="2023-12-01"),
    "choi": document(
        "choi",
        {"id": "BL", "date": "2024-01-01", "observations": [
            {"lesion": "A", "diameter_mm": 40, "attenuation_hu": 80}]},
        {"id": "TP1", "date": "2024-02-26", "observations": [
            {"lesion": "A", "diameter_mm": 40, "hu": -12.5, "intratumoral_nodule": False}]},
        lesions=[TARGET]),
    "pcwg3": document(
        "PCWG3",
        {"id": "BL", "date": "2024-01-01", "observations": {"A": 40}},
        {"id": "TP1", "date": "2024-02-26", "new_bone_lesions": 2, "observations": {"A": 40}},
        {"id": "TP2", "date": "2024-04-22", "new_bone_lesions": 4, "observations": {"A": 40}},
        lesions=[TARGET]),
    "gcig-ca125": document(
        "GCIG CA-125",
        {"id": "BL", "date": "2024-01-01", "ca125": "20000", "ca125_upper_limit": 35,
         "observations": {"A": 40}},
        {"id": "TP1", "date": "2024-02-26", "ca125": 9000.5, "ca125_evaluable": True,
         "observations": {"A": 40}},
        {"id": "TP2", "date": "2024-04-22", "ca125": 9000.5, "observations": {"A": 40}},
        lesions=[TARGET]),
    "percist-1.0": document(
        "percist",
        {"id": "BL", "date": "2024-01-01", "liver_sul_mean": 1.6, "liver_sul_sd": 0.3,
         "observations": [{"lesion": "A", "sul_peak": 10}]},
        {"id": "TP1", "date": "2024-02-26", "liver_sul_mean": 1.7,
         "observations": [{"lesion": "A", "sul_peak": 7}]},
        lesions=[TARGET]),
    "irecist": document(
        "irecist",
        {"id": "BL", "date": "2024-01-01", "observations": {"A": 40}},
        {"id": "TP1", "date": "2024-02-26", "new_symptoms": True, "observations": {"A": 40}},
        lesions=[TARGET]),
}  # fmt: skip
EXPECTED = {
    "rano-2.0": ["MR"],
    "choi": ["PR"],
    "pcwg3": ["PD", "PD"],
    "gcig-ca125": ["PR", "PR"],
    "percist-1.0": ["PMR"],
    "irecist": ["iSD"],
}


@pytest.mark.parametrize("criteria", DOCUMENTS)
def test_every_key_of_the_criteria_is_read(criteria):
    result = assessed(DOCUMENTS[criteria])
    assert result["criteria"] == criteria
    assert result["warnings"] == []
    assert [point["overall"] for point in result["time_points"][1:]] == EXPECTED[criteria]


def test_result_holds_the_responses_that_were_combined():
    result = assessed(DOCUMENTS["gcig-ca125"])
    assert result["time_points"][1]["components"] == {"RECIST 1.1": "SD", "CA-125": "PR"}


@pytest.mark.parametrize(
    ("score", "expected"),
    [("X", "NE"), ("3X", "CR"), ("x", "NE"), (3, "CR"), ("ND", "NE"), ("4", "NE")],
)
def test_deauville_score_may_be_or_hold_x(score, expected):
    raw = document(
        "lugano", {"id": "BL", "is_baseline": True, "deauville": 5}, {"id": "TP1", "deauville": score}
    )
    assert assessed(raw)["time_points"][1]["overall"] == expected


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("deauville", "6", "not a score from 1 to 5"),
        ("deauville", "34", "not a score from 1 to 5"),
        ("clinical_status", "poor", "improved, stable or worse"),
        ("corticosteroids", "8 mg", "none, decreased, stable or increased"),
        ("new_bone_lesions", -1, "not a number of lesions"),
        ("new_bone_lesions", 1.5, "not a number of lesions"),
        ("ca125", -3, "not a concentration"),
        ("ca125", "nan", "not a concentration"),
        ("ca125", "inf", "not a concentration"),
        ("ca125", True, "not a concentration"),
    ],
)
def test_value_that_can_not_be_meant_is_refused_with_what_can(key, value, words):
    raw = document("recist", {"id": "BL", "is_baseline": True}, {"id": "TP1", key: value})
    with pytest.raises(TimelineError, match=words):
        parse_document(raw)


@pytest.mark.parametrize("value", ["soft", "20000", True])
def test_attenuation_is_a_number_of_hounsfield_units(value):
    seen = {"lesion": "A", "attenuation_hu": value}
    raw = document("choi", {"id": "BL", "observations": [seen]}, lesions=[TARGET])
    with pytest.raises(TimelineError, match="attenuation_hu"):
        parse_document(raw)


def test_table_has_the_columns_of_single_criteria():
    text = (
        "name,criteria,visit,date,lesion,role,diameter_mm,attenuation_hu,ca125,radiotherapy_end\n"
        "S,choi,BL,2024-01-01,A,target,40,80,100,2023-12-01\n"
        "S,choi,TP1,2024-02-26,A,target,40,60,40,2023-12-01\n"
    )
    (_, raw), = read_batch(text, suffix=".csv").documents  # fmt: skip
    parsed = parse_document(raw)
    assert parsed.warnings == ()
    assert assessed(raw)["time_points"][1]["overall"] == "PR"
    assert parsed.timeline.time_points[0].ca125_milli == 100_000


def test_explanation_names_every_criteria():
    text = explanation().lower().replace("recist 1.1", "recist-1.1")
    assert all(criteria.value in text for criteria in Criteria)


def test_unknown_criteria_are_refused_with_those_that_are_known():
    with pytest.raises(TimelineError, match=r"imwg.*unknown.*rano-2\.0.*lyric"):
        parse_document(document("imwg"))


DOCS = Path(__file__).parents[3] / "docs" / "recist.md"


def test_docs_have_every_policy_with_its_default_meaning_and_source():
    rows = DOCS.read_text(encoding="utf-8").splitlines()
    defaults = Policies().to_dict()
    for name, (meaning, source) in POLICY_TABLE.items():
        default = str(defaults[name]).lower() if isinstance(defaults[name], bool) else defaults[name]
        assert f"| `{name}` | `{default}` | {meaning} | {source} |" in rows


@pytest.mark.parametrize(
    "word", [c.value for c in Criteria] + [r.value for r in Response if r is not Response.NA]
)
def test_docs_name_every_criteria_and_response(word):
    text = DOCS.read_text(encoding="utf-8")
    assert f"`{word}`" in text
