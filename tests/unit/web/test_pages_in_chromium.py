"""The pages in a real browser: readable by everybody, light and dark, live, and on paper.

Needs Chromium, and axe-core for the check of accessibility (`npm ci` in tests/viewer); skipped without. Other
pages are added to PAGES.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from courses import CourseOnly, lesion, point, wide_course
from hospital import LEFT, RIGHT, Hospital, Sphere, Study

from workflow.domain.events import EventKind, PatientEvent
from workflow.web import make_app

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "viewer" / "node_modules" / "axe-core" / "axe.min.js"

# What is looked at, and what is there in it. 97 and up are courses that no pipeline made.
PAGES = {
    "worklist": "/",
    "worklist, searched": "/?q=nobody",
    "patient": "/patients/1",
    "patient without a report": "/patients/2",
    "patient with hard lesions": "/patients/98",
    "rather wide course": "/patients/97",
    "lesion": "/patients/1/lesions/{lesion}",
    "api": "/api",
    "review": "/review/1",
    "boards": "/board",
    "cohort": "/cohort",
    "operations": "/operations",
    "login": "/login",
    "not found": "/patients/12345",
}
WIDE = "/patients/99"  # twelve visits of forty lesions
SIZES = ((1920, 1080), (1366, 768))

pytestmark = [
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"Chromium is not installed ({CHROMIUM})"),
    pytest.mark.xdist_group("chromium"),
]


class _Also(CourseOnly):
    """The hospital's own overview, and some courses beside."""

    def __init__(self, context: Any, courses: dict[int, dict[str, Any]]) -> None:
        super().__init__(courses=courses)
        object.__setattr__(self, "_own", context.overview)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_own"), name)

    def course(self, patient_key: int) -> dict[str, Any] | None:
        return self.courses.get(patient_key) or self._own.course(patient_key)

    def key_image_folders(self, patient_key: int) -> Any:
        known = patient_key in self.courses
        return super().key_image_folders(patient_key) if known else self._own.key_image_folders(patient_key)


def _hard_course() -> dict[str, Any]:
    """Everything that a cell can say: gone, not evaluable, rejected, decided, flagged, a long reason."""
    made = {"what": "diameter", "old": "20.0 mm", "new": "18.0 mm", "by": "Dr. Grey", "at": "2024-03-01",
            "reason": "a vessel was included"}  # fmt: skip
    from courses import course

    first = [lesion("T01", 20), lesion("T02", 30), lesion("NT01", 11), lesion("NT02", 9)]
    second = [
        lesion("T01", 18, decisions=[made], flags=["low confidence"], reason="x " * 80),
        lesion("T02", 0.0),
        lesion("NT01", None),
        lesion("NT02", 9, is_rejected=True),
        lesion("N01", 7),
    ]
    events = [{"key": 1, "day": "2024-02-01", "kind": "therapy_start", "text": "FOLFOX", "author": "Dr. Grey",
               "created_at": "2024-02-02T10:00:00+00:00"}]  # fmt: skip
    points = [point(1, first, attention=["a size that cannot be"]), point(2, second)]
    return course(points, patient_key=98, events=events)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("chromium"), writes_real_results=True)
    drawn = {"is_prompted": True}
    hospital.process(
        Study(
            day=date(2026, 1, 5),
            spheres=[
                Sphere(centre_lps=LEFT, diameter_mm=16, **drawn),
                Sphere(centre_lps=RIGHT, diameter_mm=12, **drawn),
            ],
        ),
        Study(day=date(2026, 3, 5), spheres=[Sphere(centre_lps=LEFT, diameter_mm=8)]),
        Study(day=date(2026, 3, 6), patient_id="P-2", name="Roe^Richard"),
    )
    hospital.receive(Study(day=date(2026, 3, 7), patient_id="P-3"))
    hospital.context.reception.reject("SENDER", "no DICOM")
    noted = PatientEvent(day=date(2026, 2, 1), kind=EventKind.THERAPY_START, text="FOLFOX")
    hospital.context.events.add(1, noted, "Dr. Grey")
    return hospital


@pytest.fixture(scope="module")
def address(hospital) -> Iterator[str]:
    context = hospital.context
    courses = {
        98: _hard_course(),
        99: {**wide_course(), "patient_key": 99},
        97: {**wide_course(7, 10), "patient_key": 97},
    }
    shown = replace(context, overview=_Also(context, courses))
    web = hospital.settings.web.model_copy(update={"login": False})
    app = make_app(shown, hospital.settings.model_copy(update={"web": web}))
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, address, hospital) -> Iterator[Any]:
    """Open a page of PAGES; what the browser complains about fails the test at its end."""
    contexts, complaints = [], []
    uid = hospital.time_points()[0]["report"]["lesions"][0]["tracking_uid"]

    def opened(path: str, *, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": 1366, "height": 768}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(address + path.replace("{lesion}", uid))
        return page

    yield opened
    for context in contexts:
        context.close()
    # A page that is not there is asked for on purpose.
    assert [said for said in complaints if "status of 404" not in said] == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there: run `npm ci` in tests/viewer")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_violation_and_nothing_is_wider_than_the_screen(open_page, name, scheme):
    page = open_page(PAGES[name], scheme=scheme)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    bad = [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert bad == []
    assert len(found["passes"]) > 10  # it did look


def test_names_and_dates_stay_in_view_in_a_wide_matrix(open_page):
    page = open_page(WIDE)
    frame = page.locator(".matrix-frame")
    frame.evaluate("frame => { frame.scrollTop = 500; frame.scrollLeft = 200; }")
    box = frame.bounding_box()
    date_row = page.locator(".matrix-frame thead th").nth(5).bounding_box()
    name = page.locator(".matrix-frame tbody th").nth(20).bounding_box()
    assert abs(date_row["y"] - box["y"]) <= 2
    assert abs(name["x"] - box["x"]) <= 2


def test_the_pictures_of_a_lesion_come_when_they_are_asked_for(open_page):
    page = open_page(WIDE)
    assert page.locator(".strip").count() == 0
    page.locator("#lesion-T01 > summary").click()
    page.locator("#lesion-T01 .strip figure").nth(11).wait_for(timeout=10_000)
    assert page.locator(".strip").count() == 1


@pytest.mark.parametrize(
    ("name", "words"), [("patient", "nobody has signed 2026-01-05"), ("worklist", "unverified")]
)
def test_the_warning_is_printed_and_what_can_only_be_operated_is_not(open_page, name, words):
    page = open_page(PAGES[name])
    page.emulate_media(media="print")
    assert words in page.locator(".banner").inner_text()
    assert page.locator(".banner").is_visible()
    assert not page.locator("button:visible, input:visible, .bar:visible").count()


def test_a_wide_course_is_printed_without_a_column_cut_off(open_page):
    page = open_page(WIDE)
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 upright, at 96 per inch, within its margins
    page.emulate_media(media="print")
    tables = page.locator(".paper-only table")
    assert tables.count() == 2
    for i in range(2):
        box = tables.nth(i).bounding_box()
        assert box["x"] + box["width"] <= 718
    assert not page.locator(".matrix-frame").is_visible()


def test_the_theme_is_chosen_and_kept(open_page):
    page = open_page("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    for _ in range(2):  # auto, light, dark
        page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


def test_what_arrives_is_on_the_worklist_without_a_reload_and_focus_and_place_are_kept(open_page, hospital):
    page = open_page("/")
    page.get_by_text("Live", exact=True).wait_for(timeout=10_000)
    page.evaluate("window.isSame = true")
    page.set_viewport_size({"width": 900, "height": 300})
    page.locator("#patient-1").focus()
    page.evaluate("scrollTo(0, 120)")
    place = page.evaluate("scrollY")
    hospital.process(Study(day=date(2026, 3, 8), patient_id="P-4", name="Late^Laura"))
    page.get_by_role("rowheader", name="Late, Laura").wait_for(timeout=30_000)
    assert page.evaluate("window.isSame")
    assert page.evaluate("document.activeElement.id") == "patient-1"
    assert abs(page.evaluate("scrollY") - place) <= 2


def test_a_search_that_is_being_typed_survives_what_arrives(open_page, hospital):
    page = open_page("/")
    page.get_by_text("Live", exact=True).wait_for(timeout=10_000)
    page.locator("#q").type("doe")
    hospital.process(Study(day=date(2026, 3, 9), patient_id="P-5", name="Later^Lars"))
    page.get_by_role("rowheader", name="Later, Lars").wait_for(timeout=30_000)
    assert page.locator("#q").input_value() == "doe"
    assert page.evaluate("document.activeElement.id") == "q"
