"""CDISC's tumour tables, and other tables with several readers, scans and dates."""

import json

import pytest
import typer
from typer.testing import CliRunner

from workflow.commands.recist import register
from workflow.documents.document import parse_document, read_batch, read_tables
from workflow.documents.result import result_of
from workflow.domain.response import TimelineError, assess

APP = typer.Typer()
APP.callback()(lambda: None)
register(APP)

TU = """\
DOMAIN,USUBJID,VISIT,VISITNUM,TULOC,TUTESTCD,TUSTRESC,TULNKID
TU,S1,SCREENING,1,LIVER,TUMIDENT,TARGET,T01
TU,S1,SCREENING,1,LYMPH NODE,TUMIDENT,TARGET,T02
TU,S1,SCREENING,1,BONE,TUMIDENT,NON-TARGET,NT01
"""
TR = """\
"DOMAIN","USUBJID","TRGRPID","TRLNKID","TRTESTCD","TRORRES","TRSTRESN","TRSTRESU","VISIT","VISITNUM","TRDTC"
"TR","S1","TARGET","T01","LDIAM","30",30,"mm","SCREENING",1,"2024-01-01"
"TR","S1","TARGET","T01","LPERP","25",25,"mm","SCREENING",1,"2024-01-01"
"TR","S1","TARGET","T02","LDIAM","28",28,"mm","SCREENING",1,"2024-01-01"
"TR","S1","TARGET","T02","LPERP","20",20,"mm","SCREENING",1,"2024-01-01"
"TR","S1","NON-TARGET","NT01","TUMSTATE","PRESENT",NA,NA,"SCREENING",1,"2024-01-01"
"TR","S1","TARGET","T01","LDIAM","0",0,"mm","WEEK 8",2,"2024-02-26"
"TR","S1","TARGET","T02","LDIAM","12",12,"mm","WEEK 8",2,"2024-02-27"
"TR","S1","TARGET","T02","LPERP","9",9,"mm","WEEK 8",2,"2024-02-27"
"TR","S1","NON-TARGET","NT01","TUMSTATE","ABSENT",NA,NA,"WEEK 8",2,"2024-02-26"
"""


def results(*tables, reader=None):
    batch = read_tables({f"table {i}": table for i, table in enumerate(tables, start=1)}, reader=reader)
    documents = [parse_document(raw, place=place) for place, raw in batch.documents]
    return [
        result_of(assess(d.timeline, d.protocol), name=d.name, reader=d.reader, warnings=d.warnings)
        for d in documents
    ]


def overalls(result):
    return [point["overall"] for point in result["time_points"]]


def tr(*rows, header="USUBJID,VISIT,TRDTC,TRLNKID,TRTESTCD,TRORRES,TRSTRESN,TRSTRESU,TRSTAT,TRREASND"):
    return "\n".join([header, *rows]) + "\n"


def test_tu_and_tr_together_tell_role_node_and_diameter():
    (result,) = results(TU, TR)
    assert [p["sum_mm"] for p in result["time_points"]] == [50.0, 9.0]
    assert overalls(result) == [None, "CR"]
    assert (result["warnings"], result["name"]) == ([], "S1")


def test_tr_alone_sums_long_axes_and_says_so():
    (result,) = results(TR)
    assert [p["sum_mm"] for p in result["time_points"]] == [58.0, 12.0]
    assert "lymph node" in result["warnings"][0]


@pytest.mark.parametrize("code", ["SAXIS", "LPERP"])
def test_a_lesion_that_is_measured_across_only_is_a_node(code):
    rows = [f"S1,BL,2024-01-01,T01,{code},20,20,mm,,", f"S1,W8,2024-02-26,T01,{code},8,8,mm,,"]
    (result,) = results(tr(*rows))
    assert overalls(result) == [None, "CR"]


def test_a_lesion_too_small_to_measure_counts_5_mm():
    rows = [
        "S1,BL,2024-01-01,T01,LDIAM,20,20,mm,,",
        "S1,BL,2024-01-01,T02,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T01,LDIAM,TOO SMALL TO MEASURE,5,mm,,",
        "S1,W8,2024-02-26,T02,LDIAM,TOO SMALL TO MEASURE,,,,",
    ]
    (result,) = results(tr(*rows))
    assert result["time_points"][1]["sum_mm"] == 10.0


def test_centimetres_are_read_and_another_unit_is_refused():
    rows = ["S1,BL,2024-01-01,T01,LDIAM,3.0,3.0,cm,,", "S1,W8,2024-02-26,T01,LDIAM,2.1,2.1,cm,,"]
    (result,) = results(tr(*rows))
    assert (result["time_points"][1]["sum_mm"], overalls(result)[1]) == (21.0, "PR")
    with pytest.raises(TimelineError, match="table 1 row 2: the unit 'in' is no length"):
        results(tr("S1,BL,2024-01-01,T01,LDIAM,3.0,3.0,in,,"))


def test_what_was_not_done_is_not_evaluable_for_its_reason():
    rows = [
        "S1,BL,2024-01-01,T01,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T01,LDIAM,,,,NOT DONE,SCAN NOT PERFORMED",
    ]
    (result,) = results(tr(*rows))
    assert result["time_points"][1]["reason"] == "NE: nothing was assessed (T01: SCAN NOT PERFORMED)"


def test_merged_lesions_have_a_row_of_their_own():
    rows = [
        *(
            f"S1,BL,2024-01-01,{name},LDIAM,{mm},{mm},mm,,"
            for name, mm in (("T01", 20), ("T02", 15), ("T03", 15))
        ),
        "S1,W8,2024-02-26,T01,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T02,LDIAM,,,,NOT DONE,TUMOR MERGED",
        "S1,W8,2024-02-26,T03,LDIAM,,,,NOT DONE,TUMOR MERGED",
        "S1,W8,2024-02-26,T02/T03,LDIAM,35,35,mm,,",
    ]
    (result,) = results(tr(*rows))
    assert [p["sum_mm"] for p in result["time_points"]] == [50.0, 55.0]
    assert overalls(result) == [None, "SD"]
    assert "lesion 'T02/T03' is read as T02 and T03, merged" in result["warnings"]


def test_parts_of_a_split_lesion_have_rows_of_their_own():
    rows = [
        "S1,BL,2024-01-01,T01,LDIAM,40,40,mm,,",
        "S1,W8,2024-02-26,T01.1,LDIAM,12,12,mm,,",
        "S1,W8,2024-02-26,T01.2,LDIAM,11,11,mm,,",
        "S1,W16,2024-04-22,T01.1,LDIAM,12,12,mm,,",
        "S1,W16,2024-04-22,T01.2,LDIAM,,,,NOT DONE,SCAN NOT PERFORMED",
        "S1,W24,2024-06-17,T01.1,LDIAM,,,,NOT DONE,SCAN NOT PERFORMED",
        "S1,W24,2024-06-17,T01.2,LDIAM,11,11,mm,,",
    ]
    (result,) = results(tr(*rows))
    assert [p["sum_mm"] for p in result["time_points"]] == [40.0, 23.0, None, None]
    assert overalls(result) == [None, "PR", "NE", "NE"]


def test_a_lesion_with_a_dot_in_its_name_from_the_baseline_on_is_a_lesion():
    rows = [
        "S1,BL,2024-01-01,T01,LDIAM,20,20,mm,,",
        "S1,BL,2024-01-01,T01.1,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T01,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T01.1,LDIAM,20,20,mm,,",
    ]
    (result,) = results(tr(*rows))
    assert [p["sum_mm"] for p in result["time_points"]] == [40.0, 40.0]


def test_a_new_lesion_that_only_tu_tells_of_is_there():
    found = "DOMAIN,USUBJID,VISIT,TULOC,TUTESTCD,TUSTRESC,TULNKID\nTU,S1,WEEK 8,BRAIN,TUMIDENT,NEW,NEW01\n"
    (result,) = results(TU, found, TR)
    assert overalls(result) == [None, "PD"]


def test_equivocal_new_lesions_are_followed():
    rows = [
        "S1,BL,2024-01-01,T01,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T01,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,NEW01,TUMSTATE,EQUIVOCAL,,,,",
        "S1,W16,2024-04-22,T01,LDIAM,20,20,mm,,",
        "S1,W16,2024-04-22,NEW01,TUMSTATE,UNEQUIVOCAL,,,,",
    ]
    (result,) = results(tr(*rows))
    assert (overalls(result), result["progression"]["date"]) == ([None, "PD", "PD"], "2024-02-26")


def test_rs_is_compared_with_what_was_measured():
    rs = "USUBJID,VISIT,RSDTC,RSTESTCD,RSSTRESC\n"
    rs += "S1,WEEK 8,2024-02-26,OVRLRESP,PR\nS1,WEEK 8,2024-02-26,BESTRESP,PR\n"
    (result,) = results(TU, TR, rs)
    last = result["time_points"][1]
    assert (last["overall"], last["computed_overall"]) == ("PR", "CR")
    assert last["warnings"] == ["overall_against_computed: PR is given, but the levels below give CR"]


def test_rs_alone_is_a_sequence_of_responses():
    rs = "USUBJID,VISIT,RSDTC,RSTESTCD,RSSTRESC\n" + "".join(
        f"S1,W{week},2024-0{month}-01,OVRLRESP,PR\n" for week, month in ((8, 3), (16, 5))
    )
    (result,) = results(rs)
    assert (overalls(result), result["warnings"]) == (["PR", "PR"], [])


def test_a_sum_that_tr_holds_is_compared_with_the_lesions():
    rows = [
        "S1,BL,2024-01-01,T01,LDIAM,20,20,mm,,",
        "S1,BL,2024-01-01,,SUMDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,T01,LDIAM,20,20,mm,,",
        "S1,W8,2024-02-26,,SUMDIAM,25,25,mm,,",
    ]
    (result,) = results(tr(*rows))
    assert "sum_against_lesions" in result["time_points"][1]["warnings"][0]


READERS = """\
usubjid,reader,accepted,time_point,date,lesion,role,diameter_mm
S1,R1,Y,BL,2024-01-01,T1,target,30
S1,R2,,BL,2024-01-01,T1,target,31
S1,R1,,TP1,2024-02-26,T1,target,10
S1,R2,Y,TP1,2024-02-26,T1,target,25
"""


def test_every_reader_makes_a_course_of_their_own():
    one, other = results(READERS)
    assert [(r["name"], r["reader"], overalls(r)) for r in (one, other)] == [
        ("S1", "R1", [None, "PR"]),
        ("S1", "R2", [None, "SD"]),
    ]


def test_one_reader_or_the_accepted_rows_can_be_asked_for():
    (second,) = results(READERS, reader="r2")
    assert (second["reader"], overalls(second)) == ("R2", [None, "SD"])
    (accepted,) = results(READERS, reader="accepted")
    assert [p["sum_mm"] for p in accepted["time_points"]] == [30.0, 25.0]
    assert "R1, R2" in accepted["warnings"][0]
    with pytest.raises(TimelineError, match="no row is of reader 'R9'"):
        results(READERS, reader="R9")


def test_rows_without_a_reader_are_every_readers():
    table = READERS + "S1,,,BL,2024-01-01,X,non_target,\n"
    assert all("X" in str(r["time_points"][1]["reason"]) for r in results(table))


def test_chest_and_abdomen_on_two_days_are_one_visit():
    table = (
        "name,time_point,date,lesion,role,diameter_mm\n"
        "S1,BL,2024-01-01,T1,target,30\nS1,BL,2024-01-02,T2,target,30\n"
        "S1,TP1,2024-02-26,T1,target,10\nS1,TP1,2024-02-28,T2,target,15\n"
        "S1,TP2,2024-04-22,T1,target,20\nS1,TP2,2024-04-24,T2,target,25\n"
    )
    (result,) = results(table)
    assert overalls(result) == [None, "PR", "PD"]
    # A response on the last day that shows it, progression on the first.
    assert result["response"]["date"] == "2024-02-28"
    assert result["progression"]["date"] == "2024-04-22"


def test_visits_go_by_date_and_a_visit_number_that_says_otherwise_is_a_warning():
    table = (
        "name,visit,visitnum,date,lesion,role,diameter_mm\n"
        "S1,BL,1,2024-01-01,T1,target,30\nS1,W16,3,2024-02-26,T1,target,30\nS1,W8,2,2024-04-22,T1,target,10\n"
    )
    (result,) = results(table)
    assert [p["id"] for p in result["time_points"]] == ["BL", "W16", "W8"]
    assert result["warnings"] == [
        "visit_order: the dates of BL, W8, W16 are not in the order of their visit numbers"
    ]


def test_without_dates_visits_go_by_their_numbers():
    table = "name,visit,visitnum,overall\nS1,W16,10,PD\nS1,W8,9,SD\n"
    assert overalls(results(table)[0]) == ["SD", "PD"]


def test_an_unknown_column_is_named():
    table = "name,visit,lesion,role,diameter_mm,diamater\nS1,BL,T1,target,30,3\n"
    assert results(table)[0]["warnings"] == ["table 1: unknown column 'diamater' is ignored"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("name,visit,lesion,role,diameter mm2", ["no column holds a measurement", "'diameter mm2'"]),
        ("name,visit,lesion,role", ["no column holds a measurement"]),
        ("name,visit,lesion,role,diameter,diameter (mm)", ["more than one column", "diameter_mm"]),
        ("lesion,role,diameter_mm", ["neither time_point nor date"]),
    ],
)
def test_a_header_with_nothing_left_to_read_is_refused(header, words):
    with pytest.raises(TimelineError) as caught:
        results(header + "\nS1,BL,T1,target,30,30\n")
    assert all(word in str(caught.value) for word in ("row 1", *words)), str(caught.value)


def test_a_header_alone_is_refused():
    with pytest.raises(TimelineError, match="a header and no row"):
        read_batch("name,visit,diameter_mm\n")


def test_several_tables_are_read_from_the_command_line(tmp_path):
    (tmp_path / "tu.csv").write_text(TU)
    (tmp_path / "tr.csv").write_text(TR)
    files = [str(tmp_path / "tu.csv"), str(tmp_path / "tr.csv")]
    answer = CliRunner().invoke(APP, ["recist", *files, "--json"])
    assert overalls(json.loads(answer.stdout)) == [None, "CR"]
    (tmp_path / "patient.json").write_text("{}")
    answer = CliRunner().invoke(APP, ["recist", files[0], str(tmp_path / "patient.json")])
    assert (answer.exit_code, "patient.json is no CSV table" in answer.stderr) == (2, True)


def dated(*dates, **more):
    points = [
        {"id": f"TP{i}", "date": date, "observations": {"T1": mm}}
        for i, (date, mm) in enumerate(zip(dates, (30, 20, 40), strict=False))
    ]
    document = parse_document({"lesions": [{"id": "T1", "role": "target"}], "time_points": points, **more})
    return result_of(assess(document.timeline, document.protocol), warnings=document.warnings)


@pytest.mark.parametrize(
    ("date", "response_day"),
    [
        ("2024-02", "2024-02-29"),
        ("2024-02-UN", "2024-02-29"),
        ("2024---15", "2024-12-31"),
        ("2024", "2024-12-31"),
        ("2024-02-26T10:30", "2024-02-26"),
        ("2024/02/26", "2024-02-26"),
        ("26FEB2024", "2024-02-26"),
        ("26-Feb-2024", "2024-02-26"),
    ],
)
def test_a_date_known_in_part_is_an_interval(date, response_day):
    result = dated("2024-01-01", date)
    assert result["response"]["date"] == response_day
    warned = any("partial_date" in w for w in result["time_points"][1]["warnings"])
    assert warned == (response_day != "2024-02-26")


def test_progression_is_dated_to_the_first_day_that_it_may_be():
    result = dated("2024-01-01", "2024-02-26", "2024-06")
    assert result["progression"]["date"] == "2024-06-01"
    latest = dated("2024-01-01", "2024-02-26", "2024-06", policy={"visit_date": "latest"})
    assert latest["progression"]["date"] == "2024-06-30"


@pytest.mark.parametrize(
    "date", ["2024-13", "2024-02-30", "24", "2024-2-1", "26/02/2024", "30FEB2024", "26FOO2024", "spring"]
)
def test_what_is_no_date_is_refused(date):
    with pytest.raises(TimelineError, match="is not a date"):
        dated("2024-01-01", date)


def test_a_partial_date_that_can_lie_in_order_is_in_order():
    assert [p["id"] for p in dated("2024-02-10", "2024-02", "2024-02-20")["time_points"]] == [
        "TP0",
        "TP1",
        "TP2",
    ]
    with pytest.raises(TimelineError, match="order"):
        dated("2024-03-10", "2024-02")


def test_a_reference_date_known_in_part_is_said():
    result = dated("2024-01-01", "2024-02-26", reference_date="2024-01")
    assert "reference_date: only 2024-01 is known" in result["warnings"][0]


def test_scans_of_a_json_document_may_have_days_of_their_own():
    raw = {
        "lesions": [{"id": "T1", "role": "target"}, {"id": "T2", "role": "target"}],
        "time_points": [
            {"id": "BL", "date": "2024-01-01", "observations": {"T1": 30, "T2": 30}},
            {
                "id": "TP1",
                "date": "2024-02-26",
                "observations": [
                    {"lesion": "T1", "diameter_mm": 10},
                    {"lesion": "T2", "diameter_mm": 10, "date": "2024-02-28"},
                ],
            },
        ],
    }
    document = parse_document(raw)
    assert assess(document.timeline).response.date.isoformat() == "2024-02-28"
