"""The command's documents: JSON, JSON Lines and CSV in, results and clear errors out."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from workflow.commands.recist import register
from workflow.documents.document import Overrides, parse_document, read_batch
from workflow.documents.explain import explanation
from workflow.documents.result import result_of
from workflow.domain.response import Policies, TimelineError, assess
from workflow.domain.response.policy import POLICY_TABLE

APP = typer.Typer()
APP.callback()(lambda: None)
register(APP)


def run(text, *arguments):
    return CliRunner().invoke(APP, ["recist", "-", *arguments], input=text)


def document(**more):
    return {
        "name": "P1",
        "reference_date": "2024-01-01",
        "lesions": [{"id": "T1", "role": "target", "organ": "liver"}],
        "time_points": [
            {"id": "BL", "date": "2024-01-01", "observations": [{"lesion": "T1", "diameter_mm": 50.0}]},
            {"id": "TP1", "date": "2024-03-02", "observations": [{"lesion": "T1", "diameter_mm": 20.0}]},
            {"id": "TP2", "date": "2024-05-04", "observations": [{"lesion": "T1", "diameter_mm": 35.0}]},
        ],
        **more,
    }


def assessed(raw, **overrides):
    parsed = parse_document(raw, overrides=Overrides(**overrides))
    return result_of(assess(parsed.timeline, parsed.protocol), name=parsed.name, warnings=parsed.warnings)


def overalls(result):
    return [point["overall"] for point in result["time_points"]]


def test_one_json_document_gives_one_result_with_every_key():
    result = json.loads(run(json.dumps(document())).stdout)
    assert result["name"] == "P1"
    assert overalls(result) == [None, "PR", "PD"]
    last = result["time_points"][2]
    assert last["sum_mm"] == 35.0
    assert last["baseline_sum_mm"] == 50.0
    assert last["nadir_sum_mm"] == 20.0
    assert last["change_from_baseline_percent"] == -30.0
    assert last["change_from_nadir_percent"] == 75.0
    assert last["change_from_nadir_mm"] == 15.0
    assert (last["target"], last["non_target"], last["new_lesion"]) == ("PD", None, "no")
    assert last["reason"] == "PD: 35 mm is 75 % and 15 mm above the nadir of 20 mm (2024-03-02)"
    assert result["best_overall_response"]["value"] == "PR"
    assert result["best_overall_response"]["date"] == "2024-03-02"
    assert result["confirmed_best_overall_response"]["value"] == "SD"
    assert (result["response"]["value"], result["response"]["date"]) == ("Y", "2024-03-02")
    assert (result["confirmed_response"]["value"], result["confirmed_response"]["date"]) == ("N", None)
    assert result["progression"]["date"] == "2024-05-04"
    assert result["clinical_benefit"]["value"] == "Y"
    assert result["confirmed_clinical_benefit"]["value"] == "Y"
    assert "icpd" not in result


def test_irecist_results_hold_icpd_and_iupd():
    result = assessed(document(criteria="iRECIST"))
    assert overalls(result) == [None, "iPR", "iUPD"]
    assert result["icpd"]["value"] == "N"
    assert (result["iupd"]["value"], result["iupd"]["date"]) == ("Y", "2024-05-04")


def test_json_lines_give_a_result_a_line_in_the_same_order():
    lines = "\n".join(json.dumps(document(name=name)) for name in ("C", "A", "B"))
    answer = run(lines)
    assert answer.exit_code == 0
    assert [json.loads(line)["name"] for line in answer.stdout.splitlines()] == ["C", "A", "B"]


def test_a_wrong_line_has_its_error_in_its_place_and_the_others_are_assessed():
    wrong = document(name="B", lesions=[])
    lines = "\n".join(
        [json.dumps(document(name="A")), json.dumps(wrong), "{broken", json.dumps(document(name="D"))]
    )
    answer = run(lines)
    results = [json.loads(line) for line in answer.stdout.splitlines()]
    assert answer.exit_code == 2
    assert [r["name"] for r in results] == ["A", "B", None, "D"]
    assert results[1]["error"].startswith("line 2 (B): time point 'BL': lesion 'T1' is unknown")
    assert results[2]["error"].startswith("line 3: not JSON")


def test_an_array_of_documents_gives_an_array():
    answer = run(json.dumps([document(name="A"), document(name="B")]))
    assert [result["name"] for result in json.loads(answer.stdout)] == ["A", "B"]


def test_an_empty_array_gives_an_empty_array():
    assert json.loads(run("[]").stdout) == []


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ({"sum_mm": 35}, "PR"),
        ({"target": "PR", "non_target": "NON-CR/NON-PD", "new_lesion": "no"}, "PR"),
        ({"target": "cr", "non_target": "non-cr/non-pd"}, "PR"),
        ({"target": "SD", "new_lesion": True}, "PD"),
        ({"target": "Stable disease", "new_lesion": "equivocal"}, "SD"),
        ({"overall": "CR"}, "CR"),
        ({"overall": "not evaluable"}, "NE"),
        ({"overall": "NED"}, "NED"),
        ({"overall": "ND"}, "ND"),
        ({}, "NE"),
        ({"observations": []}, "NE"),
        ({"observations": {"T1": 35}}, "PR"),
        ({"observations": [{"lesion": "T1", "diameter_mm": None}]}, "NE"),
        ({"observations": [{"lesion": "T1", "state": "Not Evaluable"}]}, "NE"),
        ({"observations": [{"lesion": "T1", "diameter_mm": "NE"}]}, "NE"),
        ({"observations": [{"lesion": "T1", "state": "too small"}]}, "PR"),
        ({"observations": [{"lesion": "T1", "state": "disappeared"}]}, "CR"),
        ({"observations": [{"lesion": "T1", "long_axis_mm": 35, "short_axis_mm": 10}]}, "PR"),
        ({"observations": [{"lesion": "T1", "state": "split", "fragments_mm": [20, 16]}]}, "SD"),
        (
            {
                "observations": [
                    {"lesion": "T1", "state": "split", "diameter_mm": 20},
                    {"lesion": "T1", "state": "split", "diameter_mm": 15},
                ]
            },
            "PR",
        ),
    ],
)
def test_every_level_may_be_given(point, expected):
    raw = document(time_points=[document()["time_points"][0], {"id": "V1", "date": "2024-03-02", **point}])
    assert overalls(assessed(raw))[1] == expected


def test_a_sum_stands_in_place_of_observations_at_baseline_too():
    raw = {
        "time_points": [
            {"id": "BL", "date": "2024-01-01", "sum_mm": 14.0},
            {"id": "V1", "date": "2024-03-01", "sum_mm": 9.8},
        ]
    }
    assert overalls(assessed(raw)) == [None, "PR"]


def test_a_first_time_point_with_measurements_is_the_baseline_whatever_else_it_says():
    raw = {
        "time_points": [
            {"id": "visit 1", "sum_mm": 50, "non_target": "NON-CR/NON-PD", "new_lesion": "no"},
            {"id": "visit 2", "sum_mm": 35, "non_target": "NON-CR/NON-PD", "new_lesion": "no"},
        ]
    }
    assert overalls(assessed(raw)) == [None, "PR"]


def test_a_first_time_point_with_levels_alone_is_a_follow_up():
    raw = {"time_points": [{"id": "visit 1", "non_target": "NON-CR/NON-PD", "new_lesion": "no"}]}
    assert overalls(assessed(raw)) == ["NON-CR/NON-PD"]


def test_a_sequence_of_overall_responses_alone_has_no_baseline():
    raw = {
        "reference_date": "2024-01-01",
        "time_points": [
            {"id": "1", "date": "2024-02-20", "overall": "PR"},
            {"id": "2", "date": "2024-04-20", "overall": "PR"},
        ],
    }
    result = assessed(raw)
    assert overalls(result) == ["PR", "PR"]
    assert result["confirmed_best_overall_response"]["value"] == "PR"


def test_the_command_line_goes_over_the_documents_own_protocol():
    raw = document(criteria="recist-1.1", policy={"confirmation_days": 10})
    answer = run(json.dumps(raw), "--criteria", "irecist", "--policy", "minimum_stable_days=50")
    result = json.loads(answer.stdout)
    assert result["criteria"] == "irecist"
    assert result["policy"]["minimum_stable_days"] == 50
    assert result["policy"]["confirmation_days"] == 10


def changed(**point):
    raw = document()
    raw["time_points"][1].update(point)
    return raw


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        (
            "unknown lesion",
            changed(observations=[{"lesion": "T9", "diameter_mm": 1}]),
            ["'TP1'", "'T9'", "unknown"],
        ),
        ("two baselines", changed(is_baseline=True), ["'BL'", "'TP1'", "both the baseline"]),
        ("two baselines by name", changed(id="Baseline"), ["'BL'", "'Baseline'", "both the baseline"]),
        ("negative diameter", changed(observations={"T1": -3}), ["'TP1'", "'T1'", "-3", "negative"]),
        ("not a number", changed(observations={"T1": "big"}), ["'TP1'", "'big'"]),
        ("NaN", changed(sum_mm=float("nan")), ["'TP1'", "sum_mm"]),
        ("another unit", changed(sum_mm=1e9), ["'TP1'", "unit"]),
        ("dates out of order", changed(date="2023-03-02"), ["'TP1'", "2023-03-02", "order"]),
        ("no date", changed(date="spring"), ["'TP1'", "'spring'"]),
        ("unknown value", changed(overall="GREAT"), ["'TP1'", "'GREAT'", "CR"]),
        ("unknown finding", changed(new_lesion="perhaps not"), ["'TP1'", "'perhaps not'"]),
        ("unknown state", changed(observations=[{"lesion": "T1", "state": "huge"}]), ["'TP1'", "'huge'"]),
        ("observed twice", changed(observations=[{"lesion": "T1"}, {"lesion": "T1"}]), ["'TP1'", "twice"]),
        ("one id twice", changed(id="BL "), ["BL"]),
        (
            "merged into an unknown lesion",
            changed(observations=[{"lesion": "T1", "merged_into": "T9"}]),
            ["'TP1'", "'T1'", "'T9'", "unknown"],
        ),
        ("unknown role", document(lesions=[{"id": "T1", "role": "main"}]), ["'T1'", "'main'", "target"]),
        ("no role", document(lesions=[{"id": "T1"}]), ["'T1'", "role"]),
        ("a lesion twice", document(lesions=[{"id": "T1", "role": "new"}] * 2), ["'T1'", "twice"]),
        ("unknown policy", document(policy={"luck": 1}), ["'luck'", "confirmation_days"]),
        ("policy value", document(policy={"confirmation_days": "many"}), ["'many'", "whole number"]),
        ("unknown criteria", document(criteria="mood"), ["'mood'", "recist-1.1"]),
        ("no list", document(time_points="none"), ["time_points", "list"]),
    ],
)
def test_bad_input_gets_one_clear_error_that_names_the_row(name, raw, words):
    with pytest.raises(TimelineError) as caught:
        parse_document(raw)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    answer = run(json.dumps(raw))
    assert answer.exit_code == 2
    assert answer.stdout == ""


def test_unknown_keys_are_said_not_swallowed():
    result = assessed(changed(diamter=3))
    assert result["warnings"] == ["time point 'TP1': unknown key 'diamter' is ignored"]


CSV = """\
patient,visit,date,lesion,role,organ,is_nodal,diameter_mm,state,overall
A,BL,2024-01-01,T1,target,liver,no,50,,
A,TP1,2024-03-01,T1,target,liver,no,20,,
A,BL,2024-01-01,N1,target,,yes,18,,
A,TP1,2024-03-01,N1,target,,yes,,disappeared,
B,V1,2024-03-01,,,,,,,SD
B,V2,2024-05-01,,,,,,,PD
"""


def test_a_tidy_table_holds_many_patients_in_any_order_of_rows():
    results = [json.loads(line) for line in run(CSV).stdout.splitlines()]
    assert [r["name"] for r in results] == ["A", "B"]
    assert [p["sum_mm"] for p in results[0]["time_points"]] == [68.0, 20.0]
    assert overalls(results[0]) == [None, "PR"]
    assert overalls(results[1]) == ["SD", "PD"]


def test_a_table_with_semicolons_and_decimal_commas():
    table = "name;date;lesion;role;diameter_mm\nA;20240101;T1;target;14,0\nA;20240301;T1;target;9,8\n"
    result = json.loads(run(table).stdout)
    assert overalls(result) == [None, "PR"]
    assert result["time_points"][1]["date"] == "2024-03-01"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("A,TP1,2024-03-02,T1,target,liver,no,20,,", ["row 8", "'TP1'", "'T1'", "observed twice"]),
        ("A,TP1,2024-03-01,T1,new,liver,no,20,,", ["row 8", "role", "'new'"]),
        ("A,,,T1,target,liver,no,20,,", ["row 8", "time_point"]),
        ("A,TP2,2024-05-01,T1,target,liver,no,-2,,", ["row 8", "'TP2'", "'T1'", "negative"]),
        ("A,TP2,2024-05-01,T1,target,liver,no,2,,,extra", ["row 8", "11 cells"]),
    ],
)
def test_a_wrong_row_is_named(row, words):
    answer = run(CSV + row + "\n")
    assert answer.exit_code == 2
    assert all(word in answer.stderr for word in words), answer.stderr


def test_a_table_without_visits_is_refused_at_its_header():
    answer = run("lesion,size\nT1,3\n")
    assert answer.exit_code == 2
    assert "row 1" in answer.stderr


def test_the_form_is_seen_from_the_text_or_the_suffix():
    assert len(read_batch(CSV, suffix=".csv").documents) == 2
    assert len(read_batch(json.dumps(document(), indent=2), suffix=".json").documents) == 1
    assert len(read_batch(json.dumps(document()), suffix=".jsonl").documents) == 1
    with pytest.raises(TimelineError, match="empty"):
        read_batch("  \n")
    with pytest.raises(TimelineError, match="line 2, column"):
        read_batch('{"name":\n oops}')


def test_numbers_stay_the_decimals_that_were_written():
    batch = read_batch('{"time_points":[{"id":"BL","sum_mm":27.0},{"id":"V1","sum_mm":32.4}]}')
    result = assessed(batch.documents[0][1])
    assert result["time_points"][1]["change_from_nadir_percent"] == 20.0
    assert overalls(result) == [None, "PD"]


def test_the_table_shows_responses_and_reasons():
    answer = run(json.dumps(document()), "--table")
    assert "TP2" in answer.stdout
    assert "above the nadir of 20 mm (2024-03-02)" in answer.stdout
    assert "confirmed best overall response: SD" in answer.stdout


def test_explain_prints_every_policy_with_its_default_and_source():
    answer = CliRunner().invoke(APP, ["recist", "--explain"])
    assert answer.exit_code == 0
    assert "carry_partial_response_forward = as_required" in answer.stdout
    assert "minimum_stable_days = 42" in explanation()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "confirmation_days"], "key=value"),
        (["--policy", "luck=1"], "luck"),
        (["--criteria", "mood"], "mood"),
        (["--json", "--table"], "exclude"),
    ],
)
def test_wrong_options_are_said(arguments, words):
    answer = run(json.dumps(document()), *arguments)
    assert answer.exit_code == 2
    assert words in answer.stderr


def test_a_missing_file_is_said():
    answer = CliRunner().invoke(APP, ["recist", "nowhere.json"])
    assert answer.exit_code == 2
    assert "nowhere.json" in answer.stderr


def test_the_documentation_lists_every_policy_with_its_default_meaning_and_source():
    text = (Path(__file__).parents[3] / "docs" / "recist.md").read_text()
    for name, value in Policies().to_dict().items():
        meaning, source = POLICY_TABLE[name]
        shown = str(value).lower() if isinstance(value, bool) else value
        assert f"| `{name}` | `{shown}` | {meaning} | {source} |" in text
