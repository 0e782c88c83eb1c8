"""Every form of a packet, parsed back, says the numbers of timeline.json, and who stands behind them."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openpyxl
import pptx
import pytest
from board_cases import RESPONDING, course_of, frozen, large_course, packet_of
from fhir.resources.R4B.bundle import Bundle
from result_cases import program

from dicom_io.board import BoardPackets
from dicom_io.board.content import column_groups, pages_of
from dicom_io.board.table import csv_of
from dicom_io.board.workbook import render_workbook
from workflow.documents.document import parse_document, read_batch
from workflow.domain.response import assess
from workflow.domain.sheet import UNVERIFIED, sheet_of
from workflow.ports.board import FrozenPacket
from workflow.settings import load_settings

STEM = "packet"


def write(packet: FrozenPacket, folder: Path) -> dict[str, Path]:
    files = BoardPackets(load_settings(None)).write(packet, STEM, folder)
    return {file.kind: folder / file.name for file in files}


@pytest.fixture(scope="module")
def course() -> dict[str, Any]:
    return course_of(RESPONDING, signed=(0,))


@pytest.fixture(scope="module")
def files(course, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packet")
    return write(packet_of(frozen(course, folder)), folder)


@pytest.fixture(scope="module")
def signed(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("signed")
    return write(packet_of(frozen(course_of(RESPONDING[:2], signed=(0, 1, 2)))), folder)


def pdf_text(path: Path) -> str:
    return subprocess.run(
        [program("pdftotext"), "-layout", path, "-"], capture_output=True, text=True, check=True
    ).stdout


def diameters(course: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """Of timeline.json: (time point, lesion) to the diameter that counts."""
    return {
        (point["id"], lesion["label"]): lesion["diameter_mm"]
        for point in course["time_points"]
        for lesion in point["report"]["lesions"]
    }


def assessments(course: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {point["id"]: point["report"]["assessment"] for point in course["time_points"]}


# ---------------------------------------------------------------- a table of words, as PDF and slides have it


def table_of_words(rows: list[list[str]]) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], str]]:
    """Diameters by (time point, lesion), and the rows below by (time point, name)."""
    points = [re.match(r"TP\d+", head)[0] for head in rows[0][1:]]
    sizes, below = {}, {}
    for name, *cells in rows[1:]:
        for point, cell in zip(points, cells, strict=True):
            lesion = re.match(r"(T|NT|N)\d\d\b", name)
            if lesion and (number := re.match(r"\d+\.\d", cell)):
                sizes[point, lesion[0]] = float(number[0])
            elif not lesion:
                below[point, name] = cell
    return sizes, below


def check_words(sizes, below, course) -> None:
    wanted = {key: value for key, value in diameters(course).items() if value is not None}
    assert sizes == {key: pytest.approx(value, abs=0.0501) for key, value in wanted.items()}
    for point, a in assessments(course).items():
        assert below[point, "Sum of diameters (mm)"] == f"{a['sum_mm']:.1f}"
        for name, key in (
            ("Change from baseline", "change_from_baseline_percent"),
            ("Change from the nadir before", "change_from_nadir_percent"),
        ):
            shown = below[point, name].replace("−", "-")
            assert shown == ("–" if a[key] is None else f"{a[key]:+.1f} %")
        assert below[point, "Overall response"] == a["overall"]
        assert below[point, "Target lesions"] == (a["target"] or "–")
        assert below[point, "New lesions"] == (a["new_lesion"] or "–")


def slide_table(path: Path) -> list[list[str]]:
    """The lesion tables of all slides as one; each repeats its head."""
    rows: list[list[str]] = []
    for slide in pptx.Presentation(path).slides:
        for shape in slide.shapes:
            if shape.has_table:
                own = [[cell.text for cell in row.cells] for row in shape.table.rows]
                rows += own if not rows else own[1:]
    return rows


def test_the_slides_say_the_numbers_of_the_timeline(files, course):
    check_words(*table_of_words(slide_table(files["pptx"])), course)


def test_the_pdf_says_the_numbers_of_the_timeline(files, course):
    text = pdf_text(files["pdf"])
    points = list(assessments(course))
    rows = [["Lesion", *points]]
    for line in text.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if len(cells) == 1 + len(points) and (
            re.match(r"(T|NT|N)\d\d\b", cells[0])
            or cells[0] in ("Sum of diameters (mm)", "Change from baseline", "Change from the nadir before",
                            "Overall response", "Target lesions", "New lesions")
        ):  # fmt: skip
            rows.append(cells)
    check_words(*table_of_words(rows), course)


def test_the_csv_says_the_numbers_of_the_timeline_to_the_last_digit(files, course):
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text("utf-8-sig"))))
    assert {(r["time_point"], r["lesion"]): float(r["diameter_mm"]) for r in rows} == diameters(course)
    for row in rows:
        a = assessments(course)[row["time_point"]]
        for name in ("sum_mm", "change_from_baseline_percent", "change_from_nadir_percent"):
            assert row[name] == ("" if a[name] is None else repr(a[name]))
        assert row["overall"] == a["overall"]
        assert row["standing"] == (
            "signed by Jane Roe, 2026-11-20" if a["overall"] == "baseline" else UNVERIFIED
        )


def test_the_response_engine_reads_the_csv_and_comes_to_the_same_sums_and_responses(files, course):
    text = files["csv"].read_text("utf-8-sig")
    blank = ("overall", "target", "non_target", "sum_mm")  # to be judged, not to be believed
    rows = [{k: "" if k in blank else v for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    ((place, raw),) = read_batch(out.getvalue(), suffix=".csv").documents
    document = parse_document(raw, place=place)
    judged = assess(document.timeline, document.protocol)
    for a, said in zip(judged.assessments, assessments(course).values(), strict=True):
        assert a.sum_um == round(1000 * said["sum_mm"])
        assert (a.overall.value if a.overall else "baseline") == said["overall"]


def sheets(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The sheets' tables: the first row with more than one cell has the names."""
    found = {}
    for sheet in openpyxl.load_workbook(path):
        rows = list(sheet.iter_rows(values_only=True))
        start = next((i for i, row in enumerate(rows) if sum(c is not None for c in row) > 1), len(rows))
        names = rows[start] if start < len(rows) else ()
        found[sheet.title] = [dict(zip(names, row, strict=True)) for row in rows[start + 1 :]]
    return found


def test_the_workbook_says_the_numbers_of_the_timeline_as_numbers(files, course):
    told = sheets(files["xlsx"])
    assert {(r["Time point"], r["Lesion"]): r["Diameter (mm)"] for r in told["Measurements"]} == diameters(
        course
    )
    matrix = {row["Lesion"]: row for row in told["Lesions (mm)"]}
    for point in course["time_points"]:
        head, a = f"{point['id']} {point['study_date']}", point["report"]["assessment"]
        assert matrix["Sum of diameters (mm)"][head] == a["sum_mm"]
        assert matrix["Change from baseline (%)"][head] == a["change_from_baseline_percent"]
        assert matrix["Overall response"][head] == a["overall"]
        for lesion in point["report"]["lesions"]:
            assert matrix[lesion["label"]][head] == lesion["diameter_mm"]
            row = next(
                r for r in told["Measurements"]
                if (r["Time point"], r["Lesion"]) == (point["id"], lesion["label"])
            )  # fmt: skip
            size = lesion["measurement"]
            # A workbook keeps 16 digits of a number.
            assert row["Long axis (mm)"] == pytest.approx(size["long_axis"]["length_mm"], rel=1e-14)
            assert row["Short axis (mm)"] == pytest.approx(size["short_axis"]["length_mm"], rel=1e-14)
            assert row["Volume (ml)"] == pytest.approx(size["volume_mm3"] / 1000, rel=1e-14)
    for row in told["Responses"]:
        a = assessments(course)[row["Time point"]]
        assert (row["Sum (mm)"], row["Nadir before (mm)"]) == (a["sum_mm"], a["nadir_sum_mm"])
        assert row["Change from nadir (mm)"] == a["change_from_nadir_mm"]


def resources(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    for entry in json.loads(path.read_text())["entry"]:
        if entry["resource"]["resourceType"] == kind:
            yield entry["resource"]


def coded(resource: Mapping[str, Any]) -> set[str]:
    return {coding["code"] for coding in resource["code"]["coding"]}


def test_the_bundle_is_valid_fhir_and_every_reference_leads_somewhere(files):
    told = json.loads(files["fhir.json"].read_text())
    Bundle.model_validate(told)
    urls = [entry["fullUrl"] for entry in told["entry"]]
    assert len(set(urls)) == len(urls)
    wanted = set(re.findall(r'"reference": "([^"]+)"', files["fhir.json"].read_text()))
    assert wanted
    assert wanted <= set(urls)


def test_a_bundle_that_breaks_the_standard_is_seen(files):
    told = json.loads(files["fhir.json"].read_text())
    next(e for e in told["entry"] if e["resource"]["resourceType"] == "Observation")["resource"]["state"] = (
        "x"
    )
    with pytest.raises(ValueError, match="state"):
        Bundle.model_validate(told)


def test_the_observations_say_the_numbers_of_the_timeline(files, course):
    told = files["fhir.json"]
    lesions = {
        f"urn:uuid:{body['id']}": body["identifier"][1]["value"] for body in resources(told, "BodyStructure")
    }
    days = {point["study_date"]: point["id"] for point in course["time_points"]}
    sizes = {
        (days[o["effectiveDateTime"]], lesions[o["focus"][0]["reference"]]): o["valueQuantity"]["value"]
        for o in resources(told, "Observation")
        if "21889-1" in coded(o)
    }
    assert sizes == diameters(course)
    responses = {
        days[o["effectiveDateTime"]]: o for o in resources(told, "Observation") if "88040-1" in coded(o)
    }
    for point, a in assessments(course).items():
        quantities = {
            part["code"]["coding"][0]["code"]: part["valueQuantity"]["value"]
            for part in responses[point]["component"]
            if "valueQuantity" in part
        }
        wanted = {
            "SUMDIAM": a["sum_mm"], "SUMDIAMBASELINE": a["baseline_sum_mm"],
            "SUMEARLIERNADIR": a["nadir_sum_mm"], "CHANGEBASELINE": a["change_from_baseline_percent"],
            "CHANGENADIR": a["change_from_nadir_percent"], "ABSCHANGENADIR": a["change_from_nadir_mm"],
        }  # fmt: skip
        assert quantities == {name: value for name, value in wanted.items() if value is not None}


def test_what_nobody_signed_is_preliminary_and_the_pages_are_the_latest_reports_form(files, course):
    reports = list(resources(files["fhir.json"], "DiagnosticReport"))
    assert [r["status"] for r in reports] == ["final", "preliminary", "preliminary"]
    assert all(UNVERIFIED in r["conclusion"] for r in reports[1:])
    forms = [r["presentedForm"][0] for r in reports if "presentedForm" in r]
    assert [base64.b64decode(form["data"]) for form in forms] == [files["pdf"].read_bytes()]
    assert "presentedForm" in reports[-1]
    studies = {s["identifier"][0]["value"] for s in resources(files["fhir.json"], "ImagingStudy")}
    assert studies == {f"urn:oid:{point['study_instance_uid']}" for point in course["time_points"]}


def test_the_json_is_the_timeline_itself(files, course):
    assert json.loads(files["json"].read_text()) == course


# ---------------------------------------------------------------- who stands behind it


def test_every_page_slide_and_sheet_says_that_nobody_signed(files):
    pages = pdf_text(files["pdf"]).split("\f")[:-1]
    assert len(pages) >= 2
    assert all(UNVERIFIED in page for page in pages)
    for slide in pptx.Presentation(files["pptx"]).slides:
        assert any(UNVERIFIED in shape.text_frame.text for shape in slide.shapes if shape.has_text_frame)
    book = openpyxl.load_workbook(files["xlsx"])
    assert all(sheet["A1"].value.startswith(UNVERIFIED) for sheet in book)
    assert all(sheet.oddHeader.center.text.startswith(UNVERIFIED) for sheet in book)


def test_what_is_signed_throughout_carries_no_warning(signed):
    assert UNVERIFIED not in pdf_text(signed["pdf"])
    for slide in pptx.Presentation(signed["pptx"]).slides:
        assert not [s for s in slide.shapes if s.has_text_frame and UNVERIFIED in s.text_frame.text]
    assert all(r["status"] == "final" for r in resources(signed["fhir.json"], "DiagnosticReport"))


# ---------------------------------------------------------------- hostile and large


HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


@pytest.mark.parametrize("words", HOSTILE)
def test_no_text_becomes_a_formula(words):
    hostile = course_of(RESPONDING, patient_id=words, name=words)
    for point in hostile["time_points"]:
        for lesion in point["report"]["lesions"]:
            lesion["finding_site_meaning"] = words
    packet = packet_of(frozen(hostile, question=words))
    pages = [pages_of(patient) for patient in packet.patients]
    rows = csv.reader(io.StringIO(csv_of(pages), newline=""))
    is_number = re.compile(r"-?[\d.]+(e-?\d+)?")
    cells = [cell for row in rows for cell in row if cell and not is_number.fullmatch(cell)]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert f"'{words}" in cells
    for sheet in openpyxl.load_workbook(io.BytesIO(render_workbook(packet, pages))):
        for row in sheet.iter_rows():
            assert not [cell.value for cell in row if cell.data_type == "f"]


def test_who_the_patient_is_is_told_by_more_than_the_name(files):
    assert all("ID P-1 · born 1960-01-02 · F" in page for page in pdf_text(files["pdf"]).split("\f")[:-1])
    first = pptx.Presentation(files["pptx"]).slides[0]
    assert any("born 1960-01-02" in s.text_frame.text for s in first.shapes if s.has_text_frame)
    (row,) = sheets(files["xlsx"])["Patients"]
    assert (row["Birth date"], row["Sex"]) == ("1960-01-02", "F")
    (patient,) = resources(files["fhir.json"], "Patient")
    assert (patient["birthDate"], patient["gender"]) == ("1960-01-02", "female")


def test_markup_in_a_question_is_shown_as_it_is_written(tmp_path, course):
    written = write(packet_of(frozen(course, question="<b>R0</b> & 5 < 6?")), tmp_path)
    assert "<b>R0</b> & 5 < 6?" in pdf_text(written["pdf"])


def test_a_chinese_name_is_in_every_form(tmp_path):
    written = write(
        packet_of(frozen(course_of(RESPONDING[:1], name="王, 小东", patient_id="上-3"))), tmp_path
    )
    assert "王, 小东" in pdf_text(written["pdf"])
    deck = pptx.Presentation(written["pptx"])
    assert deck.slides[0].shapes.title.text_frame.text == "王, 小东 (上-3)"
    assert sheets(written["xlsx"])["Patients"][0]["Patient"] == "王, 小东"
    assert next(resources(written["fhir.json"], "Patient"))["name"] == [{"text": "王, 小东"}]
    assert list(written) == ["pdf", "pptx", "xlsx", "csv", "fhir.json", "json"]


def test_twelve_visits_of_forty_lesions_are_on_every_form(tmp_path):
    large = large_course()
    written = write(packet_of(frozen(large)), tmp_path)
    wanted = diameters(large)
    assert len(wanted) == 480
    sizes, below = table_of_words(slide_table(written["pptx"]))
    assert sizes == {key: pytest.approx(value, abs=0.0501) for key, value in wanted.items()}
    assert below["TP12", "Sum of diameters (mm)"] == f"{assessments(large)['TP12']['sum_mm']:.1f}"
    table = next(page for page in pdf_text(written["pdf"]).split("\f") if "NT35" in page)
    # All forty lesions and their sums on one page.
    assert "T01" in table
    assert "Overall response" in table
    printed = [line.split() for line in table.splitlines() if re.match(r"\s*(T|NT)\d\d ", line)]
    assert len(printed) == 40
    for line in printed:
        numbers = [float(word) for word in line if re.fullmatch(r"\d+\.\d", word)]
        assert numbers == [pytest.approx(wanted[f"TP{n}", line[0]], abs=0.0501) for n in range(1, 13)]


def test_more_visits_than_fit_go_on_in_further_tables_each_with_the_baseline():
    assert column_groups(12) == [list(range(12))]
    assert column_groups(13) == [list(range(12)), [0, 12]]
    assert column_groups(24) == [list(range(12)), [0, *range(12, 23)], [0, 23]]


def test_the_pages_show_each_lesion_at_baseline_nadir_and_now(tmp_path):
    up_and_down = course_of([(30.0, 12.0, 25.0, 26.0), (20.0, 15.0, 14.0, 22.0)])
    sheet = sheet_of(up_and_down)
    assert sheet.compared == (("baseline", 0), ("nadir", 1), ("now", 3))
    written = write(packet_of(frozen(up_and_down, tmp_path)), tmp_path)
    deck = pptx.Presentation(written["pptx"])
    shown = [
        shape._element.nvPicPr.cNvPr.get("descr")
        for slide in deck.slides
        for shape in slide.shapes
        if shape.shape_type == 13
    ]
    assert [text for text in shown if text.startswith("T01")] == [
        "T01, baseline, 2026-01-07: 30.0 mm, series 2, image 11",
        "T01, nadir, 2026-03-11: 12.0 mm, series 2, image 11",
        "T01, now, 2026-07-15: 26.0 mm, series 2, image 11",
    ]


def test_a_list_begins_with_its_agenda_and_holds_every_patient(tmp_path, course):
    second = course_of(RESPONDING[:2], key=2, patient_id="P-2", name="Second, Person", signed=(0, 1, 2))
    written = write(packet_of(frozen(course), frozen(second, question="Follow?"), is_list=True), tmp_path)
    first, *others = pdf_text(written["pdf"]).split("\f")
    assert "Follow?" in first
    assert "AI result, unverified, of 1 of 2 patients" in first
    assert any("Second, Person" in page for page in others)
    assert json.loads(written["json"].read_text()) == [course, second]
    assert len(list(resources(written["fhir.json"], "Patient"))) == 2
    # One patient's report must not carry the other's pages.
    assert not [r for r in resources(written["fhir.json"], "DiagnosticReport") if "presentedForm" in r]


def test_the_same_packet_gives_the_same_pages(tmp_path, course):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first, second = write(packet_of(frozen(course)), one), write(packet_of(frozen(course)), two)
    for kind in ("pdf", "csv", "fhir.json", "json"):
        assert first[kind].read_bytes() == second[kind].read_bytes()
