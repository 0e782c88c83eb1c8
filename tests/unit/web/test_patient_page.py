"""The patient page: every lesion at every visit with its change, also of forty lesions at twelve visits."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html import unescape

import pytest
from browser import open_as
from courses import course, lesion, point, wide_course
from hospital import LEFT, Hospital, Sphere, Study, rows
from PIL import Image, PngImagePlugin

from db.tables import AuditRow, PatientRow
from workflow.domain.users import UserRole
from workflow.web.plot import Mark, plots, spider_plot, sum_plot, volume_plot
from workflow.web.view import changes_of


def _words(html: str) -> str:
    """What a reader sees of a piece of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html))).replace("\u00a0", " ").strip()


# ---------------------------------------------------------------- the matrix


@pytest.mark.parametrize(
    ("diameters", "changes"),
    [
        ([20.0], [(None, None)]),
        ([20.0, 10.0, 15.0], [(None, None), (-50.0, -50.0), (-25.0, 50.0)]),
        (
            [None, 20.0, 25.0],
            [(None, None), (None, None), (25.0, 25.0)],
        ),  # a new lesion: since it was first seen
        (
            [20.0, 0.0, 5.0],
            [(None, None), (-100.0, -100.0), (-75.0, None)],
        ),  # nothing is no measure of a change
        ([20.0, None, 30.0], [(None, None), (None, None), (50.0, 50.0)]),
        ([0.0, 5.0], [(None, None), (None, None)]),
    ],
)
def test_a_lesion_changes_since_it_was_first_measured_and_since_its_smallest(diameters, changes):
    found = changes_of(diameters)
    assert len(found) == len(changes)
    for pair, expected in zip(found, changes, strict=True):
        assert pair == tuple(None if one is None else pytest.approx(one) for one in expected)


def test_the_matrix_says_diameter_and_both_changes(pages_of):
    points = [point(v, [lesion("T01", mm)]) for v, mm in enumerate((20.0, 10.0, 15.0), start=1)]
    text = pages_of(course(points)).get("/patients/1").text
    row = re.search(r'<tr>\s*<th scope="row"><a class="label.*?</tr>', text, re.DOTALL)[0]
    cells = [_words(cell) for cell in re.findall(r"<td>.*?</td>", row, re.DOTALL)]
    assert cells == ["20.0", "10.0 B −50.0 %", "15.0 B −25.0 % N +50.0 %"]


def test_forty_lesions_at_twelve_visits_are_all_there_and_no_picture_is_read(pages_of, empty_context):
    wide = wide_course()
    page = pages_of(wide)
    text = page.get("/patients/1").text
    frame = re.search(r'<div class="matrix-frame.*?</table>', text, re.DOTALL)[0]
    shown = re.findall(r"<strong>(\d+\.\d)</strong>", frame)
    expected = [
        f"{p['report']['lesions'][i]['diameter_mm']:.1f}" for i in range(40) for p in wide["time_points"]
    ]
    # In the order of rows: targets, then non-targets, by label.
    assert sorted(shown) == sorted(expected)
    assert len(shown) == 480
    assert "<img" not in text
    assert len(text) < 600_000


def test_a_wide_course_is_printed_in_blocks_with_the_names_in_each(pages_of):
    text = pages_of(wide_course()).get("/patients/1").text
    paper = re.search(r'<div class="paper-only">.*?</div></section>', text.replace("\n", ""), re.DOTALL)[0]
    blocks = paper.split("<table")[1:]
    dates = [re.findall(r'<th scope="col">(\d{4}-\d\d-\d\d)', block) for block in blocks]
    assert [len(block) for block in dates] == [6, 6]
    assert sum(dates, []) == [p["study_date"] for p in wide_course()["time_points"]]  # noqa: RUF017
    for block in blocks:
        assert block.count('<th scope="row"><a class="label') == 40


def test_a_narrow_course_is_printed_as_it_is_shown(pages_of):
    text = pages_of(course([point(v, [lesion("T01", 20)]) for v in (1, 2, 3)])).get("/patients/1").text
    assert "paper-only" not in text
    assert 'class="matrix-frame"' in text


def test_a_lesion_that_is_gone_has_no_confidence(pages_of):
    points = [point(1, [lesion("T01", 20)]), point(2, [lesion("T01", 0.0)])]
    text = _words(pages_of(course(points)).get("/patients/1").text)
    assert "tracker found nothing at its place: to be looked at" in text
    assert text.count("confidence") == 1  # of the outline at baseline


def test_each_series_says_whether_it_was_measured_or_why_not(pages_of):
    beside = {"study_instance_uid": "1.9", "study_date": "2024-02-01", "study_description": "CT head",
              "state": "INGESTED", "reason": "no series can be measured"}  # fmt: skip
    points = [point(1, [lesion("T01", 20)])]
    text = _words(pages_of(course(points, studies_on_no_visit=[beside])).get("/patients/1").text)
    assert "CT abdomen measured 7.5 axial" in text
    assert "Scout not used a localizer is not measured" in text
    assert "CT head 1.9 not used no series can be measured" in text


# ---------------------------------------------------------------- who signed


def test_the_banner_names_what_nobody_signed_and_stays_on_paper(pages_of):
    signed = {"status": "signed", "signed_by": "Dr. Grey", "signed_at": "2024-02-01 10:00:00"}
    points = [point(1, [lesion("T01", 20)], report=signed), point(2, [lesion("T01", 18)])]
    page = pages_of(course(points))
    text = page.get("/patients/1").text
    (banner,) = re.findall(r'<p class="banner"[^>]*>(.*?)</p>', text, re.DOTALL)
    assert "nobody has signed 2024-03-11" in banner
    assert "1 of 2 visits" in banner
    assert 'class="banner' not in re.search(r"<header.*?</header>", text, re.DOTALL)[0]


def test_once_all_is_signed_the_banner_says_by_whom_and_no_longer_unverified(pages_of):
    signed = {"status": "signed", "signed_by": "Dr. Grey", "signed_at": "2024-02-01 10:00:00"}
    text = pages_of(course([point(1, [lesion("T01", 20)], report=signed)])).get("/patients/1").text
    assert "2024-01-15 by Dr. Grey on 2024-02-01" in text
    assert "unverified" not in text


# ---------------------------------------------------------------- pictures


def _picture(folder, uid: str, field_mm: float) -> None:
    said = PngImagePlugin.PngInfo()
    said.add_itxt("field_mm", str(field_mm))
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(folder / f"{uid}.png", pnginfo=said)


def test_a_millimetre_is_as_long_in_every_picture_of_a_lesion(pages_of, tmp_path):
    seen = lesion("T01", 20)
    for key, field_mm in ((1, 80.0), (2, 120.0)):
        _picture(tmp_path / f"{key}", seen["tracking_uid"], field_mm)
    folders = {key: tmp_path / f"{key}" for key in (1, 2, 3)}
    page = pages_of(course([point(v, [seen]) for v in (1, 2, 3)]), folders=folders)
    widths = [int(w) for w in re.findall(r'<img [^>]*width="(\d+)"', page.get("/patients/1").text)]
    assert widths == [128, 192]
    assert "no picture" in page.get("/patients/1").text
    assert re.findall(
        r'<img [^>]*width="(\d+)"', page.get(f"/patients/1/lesions/{seen['tracking_uid']}").text
    )


def test_a_lesion_of_nobody_is_not_found(pages_of):
    page = pages_of(wide_course(2, 2))
    assert page.get("/patients/1/lesions/2.25.0").status_code == 404


# ---------------------------------------------------------------- plots


def test_the_spider_is_in_percent_of_the_first_size_and_leaves_rejected_lesions_out():
    points = [
        point(v, [lesion("T01", mm), lesion("NT01", 10, is_rejected=True)])
        for v, mm in enumerate((20.0, 10.0, 15.0), start=1)
    ]
    for v in (2, 3):
        points[v - 1]["report"]["lesions"].append(lesion("N01", 4.0 * v))
    plot = spider_plot(course(points))
    assert plot.rows == (("T01", "+0.0", "−50.0", "−25.0"), ("N01", "", "+0.0", "+50.0"))


def test_volumes_are_in_ml_and_their_total_is_given_only_where_every_target_is_known():
    sizes = ((20.0, 10.0), (10.0, None), (0.0, 6.0))
    points = [point(v, [lesion("T01", a), lesion("T02", b)]) for v, (a, b) in enumerate(sizes, start=1)]
    plot = volume_plot(course(points))
    assert plot.rows == (
        ("all targets", "15.0", "", "3.0"),
        ("T01", "10.0", "5.0", "0.0"),
        ("T02", "5.0", "", "3.0"),
    )


@pytest.mark.parametrize("made", [sum_plot, spider_plot, volume_plot])
def test_every_plot_has_its_numbers_as_a_table_and_a_name_for_screen_readers(made):
    plot = made(wide_course(4, 6))
    assert 'role="img"' in plot.svg
    assert 'aria-label="' in plot.svg
    assert len(plot.rows) >= 4
    assert all(len(row) == len(plot.head) for row in plot.rows)


@pytest.mark.parametrize("made", [sum_plot, spider_plot, volume_plot])
def test_a_course_of_one_visit_has_no_plot(made):
    assert made(course([point(1, [lesion("T01", 20)])])) is None


def test_a_note_stands_at_its_day_between_the_visits():
    points = [point(1, [lesion("T01", 20)]), point(2, [lesion("T01", 10)], days=100)]
    marks = [
        Mark(day=date(2020, 1, 1), number=1, words="surgery"),  # before the first visit: in the list only
        Mark(day=date(2024, 2, 9), number=2, words="therapy starts: <FOLFOX>"),  # a quarter of the way
    ]
    for plot in plots(course(points), marks):
        (x,) = map(float, re.findall(r'<line class="mark" x1="([\d.]+)"', plot.svg))
        left, right = (
            float(x) for x in re.findall(r'<line class="grid" x1="([\d.]+)" x2="([\d.]+)"', plot.svg)[0]
        )
        assert x == pytest.approx(left + 0.25 * (right - left), abs=0.1)
        assert "2024-02-09 therapy starts: &lt;FOLFOX&gt;" in plot.svg


def test_lines_that_decide_and_their_names_stay_within_the_picture():
    points = [point(v, [lesion("T01", mm)]) for v, mm in enumerate((90.0, 1.0, 2.0), start=1)]
    svg = sum_plot(course(points)).svg
    (height,) = map(float, re.findall(r'viewBox="0 0 \d+ (\d+)"', svg))
    names = [float(y) for y in re.findall(r'-text" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(names) == 8
    assert all(0 < y < height for y in names)
    assert all(b - a >= 12 for a, b in zip(sorted(names), sorted(names)[1:], strict=False))


# ---------------------------------------------------------------- notes


@pytest.fixture
def hospital(tmp_path) -> Hospital:
    hospital = Hospital(tmp_path)
    with rows(hospital.context) as session:
        session.add_all(PatientRow(patient_id=number) for number in ("P-1", "P-2"))
    return hospital


def test_a_note_is_written_shown_and_removed_and_the_audit_keeps_it(hospital, open_pages):
    page = open_pages(hospital.context)
    said = {"day": "2026-01-20", "kind": "therapy_start", "text": "FOLFOX <b>"}
    before = hospital.context.worklist.revision()
    answer = page.post("/patients/1/events", data=said, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/patients/1#events")
    assert hospital.context.worklist.revision() != before  # pages that are open show it
    (event,) = hospital.course("P-1")["events"]
    assert (event["day"], event["kind"], event["text"], event["author"]) == (
        "2026-01-20", "therapy_start", "FOLFOX <b>", "demo",
    )  # fmt: skip
    text = page.get("/patients/1").text
    assert "FOLFOX &lt;b&gt;" in text
    assert hospital.course("P-2")["events"] == []
    assert page.post(f"/patients/2/events/{event['key']}/remove").status_code == 404
    page.post(f"/patients/1/events/{event['key']}/remove")
    assert hospital.course("P-1")["events"] == []
    with rows(hospital.context) as session:
        noted = [(a.actor, a.action, a.detail["text"]) for a in session.query(AuditRow) if "note" in a.action]
    assert noted == [("demo", "note added", "FOLFOX <b>"), ("demo", "note removed", "FOLFOX <b>")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"day": "01/02/2026"}, "write it as 2026-03-01"), ({"kind": "magic"}, "magic"),
     ({"kind": "other", "text": " "}, "a note says something"), ({"text": "x" * 501}, "at most 500")],
)  # fmt: skip
def test_what_can_not_be_noted_is_said_and_what_was_typed_stays(pages_of, wrong, words):
    page = pages_of(course([point(1, [lesion("T01", 20)])]))
    said = {"day": "2026-01-20", "kind": "therapy_start", "text": "FOLFOX", **wrong}
    answer = page.post("/patients/1/events", data=said)
    assert answer.status_code == 422
    (alert,) = re.findall(r'role="alert">(.*?)</p>', answer.text)
    assert words in unescape(alert)
    assert f'value="{said["text"]}"' in answer.text


def test_only_a_reader_writes_notes(hospital):
    page = open_as(hospital.context, UserRole.OPERATOR)
    shown = page.get("/patients/1")
    assert shown.status_code == 200
    assert "/patients/1/events" not in shown.text
    assert page.post("/patients/1/events", data={"day": "2026-01-20", "kind": "other"}).status_code == 403


# ---------------------------------------------------------------- documents


def test_the_pdf_is_unpacked_and_its_name_says_nothing_about_the_patient(tmp_path, open_pages):
    from workflow.bootstrap import build

    hospital = Hospital(tmp_path, writes_real_results=True)
    results = hospital.settings.results.model_copy(update={"encapsulated_pdf": True})
    with_pdf = build(hospital.settings.model_copy(update={"results": results})).results
    hospital.context = replace(hospital.context, results=with_pdf)
    hospital.process(
        Study(day=date(2026, 1, 5), spheres=[Sphere(centre_lps=LEFT, diameter_mm=12, is_prompted=True)])
    )
    page = open_pages(hospital.context)
    objects = {made["role"]: made["sop_instance_uid"] for made in hospital.time_points()[0]["objects"]}
    answer = page.get(f"/objects/{objects['pdf']}.pdf")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert answer.content.rstrip().endswith(b"%%EOF")
    assert f"/objects/{objects['pdf']}.pdf" in page.get("/patients/1").text
    assert not re.search(
        "P-1|Test|Person|2026", answer.headers["Content-Disposition"].replace(objects["pdf"], "")
    )
    assert page.get(f"/objects/{objects['sr']}.pdf").status_code == 404
    assert page.get("/objects/1.2.3.pdf").status_code == 404
