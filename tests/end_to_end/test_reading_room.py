"""The reading room from end to end, in a real browser with a login: from an unmarked study to a packet.

A baseline arrives and shows on the worklist by itself, is marked on the canvas, is followed up; one lesion
is corrected, two are merged, one is rejected, the report is signed, and the packet of a board is downloaded.
Pictures are kept in the folder that TUMORLINE_SCREENSHOTS names, else in the one of pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hospital import Hospital, Sphere, Study, diameters

from workflow.domain.users import User, UserRole
from workflow.web import make_app

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt install chromium"),
    pytest.mark.slow,
]
SIZES, SCHEMES = ((1366, 768), (1920, 1080)), ("light", "dark")
PASSWORD = "a password for the test"
# In one slice, the fourth at 12 mm; (x, y) in mm of an image of 48 mm.
PLACES = ((10.0, 10.0), (36.0, 10.0), (10.0, 36.0), (36.0, 36.0))
BEFORE_MM, AFTER_MM = (14, 13, 12, 11), (8, 9, 12, 11)
BASELINE = Study(
    day=date(2024, 3, 4),
    spheres=[
        Sphere(centre_lps=(x, y, 12.0), diameter_mm=mm) for (x, y), mm in zip(PLACES, BEFORE_MM, strict=True)
    ],
)
FOLLOW_UP = Study(
    day=date(2024, 5, 6),
    spheres=[
        Sphere(centre_lps=(x, y, 12.0), diameter_mm=mm) for (x, y), mm in zip(PLACES, AFTER_MM, strict=True)
    ],
)


@contextmanager
def _served(hospital: Hospital) -> Iterator[str]:
    app = make_app(hospital.context, hospital.settings)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Room:
    """A reader at a browser, and the hospital behind it."""

    hospital: Hospital
    page: Any
    url: str
    pictures: Path

    def log_in(self) -> None:
        self.page.goto(self.url)
        self.page.fill("#name", "roe")
        self.page.fill("#password", PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", name="Worklist").wait_for()

    def picture(self, name: str) -> None:
        """At two sizes, light and dark; nothing is wider than the window."""
        for width, height in SIZES:
            for scheme in SCHEMES:
                self.page.set_viewport_size({"width": width, "height": height})
                self.page.emulate_media(color_scheme=scheme)
                self.page.wait_for_timeout(200)
                self.page.screenshot(path=self.pictures / f"{name}-{width}-{scheme}.png")
                assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        self.page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})
        self.page.emulate_media(color_scheme="light")

    def open_slice(self, visit: int, slice_index: int) -> None:
        self.page.goto(f"{self.url}/review/{visit}")
        self.page.locator("#now figcaption", has_text="·").wait_for()
        self.page.wait_for_timeout(400)
        for _ in range(20):
            self.page.keyboard.press("PageUp")
        for _ in range(slice_index):
            self.page.keyboard.press("ArrowDown")
        self.page.wait_for_timeout(300)

    def draw_axes(self, place: tuple[float, float], label: str) -> None:
        """Both axes of a lesion at (x, y) mm, with the mouse."""
        keys, mouse = self.page.keyboard, self.page.mouse
        keys.press("h")
        self.page.locator("#marking").wait_for()
        box = self.page.locator("#now canvas").bounding_box()
        # All of the image is shown at first; with a lesion chosen it is in the middle, and "-" ends at half.
        side, middle = min(box["width"], box["height"]) / 48, (23.5, 23.5)
        if (chosen := self._chosen()) is not None:
            for _ in range(30):
                keys.press("-")
            side, middle = side / 2, chosen
        x = box["x"] + box["width"] / 2 + (place[0] - middle[0]) * side
        y = box["y"] + box["height"] / 2 + (place[1] - middle[1]) * side
        for dx, dy in ((5 * side, 0), (0, 5 * side)):
            mouse.move(x - dx, y - dy)
            mouse.down()
            mouse.move(x + dx, y + dy, steps=4)
            mouse.up()
        self.page.locator("#marking-what", has_text="axes").wait_for()
        self.page.locator("#marking [name=lesion]").select_option("")
        self.page.locator("#marking [name=label]").fill(label)

    def _chosen(self) -> tuple[float, float] | None:
        """Where the chosen lesion of the first visit is, (x, y) in mm."""
        shown = self.page.locator("[data-lesion]:has(.details:not([hidden]))")
        if not shown.count():
            return None
        uid = shown.first.get_attribute("data-lesion")
        lesions = self.hospital.time_points()[0]["report"]["lesions"]
        axis = next(one for one in lesions if one["tracking_uid"] == uid)["measurement"]["long_axis"]
        ends = axis["start_lps"], axis["end_lps"]
        return sum(end[0] for end in ends) / 2, sum(end[1] for end in ends) / 2

    def store_marks(self) -> None:
        self.page.keyboard.press("Enter")
        self.page.locator("#busy").wait_for()
        self.hospital.work()
        self.page.locator("#busy").wait_for(state="hidden")

    def decide(self, lesion: str, key: str, decision: str, *before_reason: str) -> None:
        """Choose a lesion, open a decision by its key, fill it with keys, take the first usual reason."""
        self.page.locator("button.lesion", has_text=lesion).click()
        self.page.keyboard.press(key)
        for typed in before_reason:
            self.page.keyboard.type(typed)
            self.page.keyboard.press("Tab")
        self.page.keyboard.press("1")
        self.page.keyboard.press("Enter")
        self.page.locator(".decision", has_text=decision).first.wait_for()


@pytest.fixture
def room(tmp_path) -> Iterator[Room]:
    hospital = Hospital(tmp_path / "hospital", writes_real_results=True)
    reader = User(name="roe", full_name="Dr. Roe", roles=frozenset({UserRole.READER}))
    hospital.context.users.add(reader, PASSWORD, by="test")
    pictures = Path(os.environ.get("TUMORLINE_SCREENSHOTS", tmp_path / "screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with _served(hospital) as url, playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        yield Room(hospital, page, url, pictures)
        chromium.close()
    assert wrong == []


def test_from_a_study_that_nobody_marked_to_the_packet_of_a_board(room):
    page, hospital = room.page, room.hospital
    room.log_in()
    page.get_by_text("No study has been received yet").wait_for()

    # A baseline without marks arrives, and the worklist shows it without being loaded again.
    page.evaluate("window.isTheSamePage = true")
    hospital.process(BASELINE)
    page.get_by_role("link", name="Test, Person", exact=True).wait_for()
    assert page.evaluate("window.isTheSamePage")
    room.picture("1-worklist")

    # It is marked on the canvas, and every mark is segmented.
    page.get_by_role("link", name="Test, Person", exact=True).click()
    page.get_by_role("link", name="Mark lesions").first.click()
    for number, place in enumerate(PLACES, start=1):
        room.open_slice(1, 3)
        room.draw_axes(place, f"lesion {number}")
        if number == 1:
            room.picture("2-marking")
        room.store_marks()
    (baseline,) = hospital.time_points()
    found_mm = sorted(mm or 0.0 for mm in diameters(baseline).values())
    assert found_mm == pytest.approx(sorted(BEFORE_MM), abs=1.5)
    labels = list(diameters(baseline))
    room.picture("3-marked")

    # A follow-up is tracked; its reader corrects a lesion, merges two and rejects one.
    hospital.process(FOLLOW_UP)
    follow_up = hospital.time_points()[1]
    assert len(diameters(follow_up)) == len(PLACES)
    by_rules = follow_up["report"]["assessment"]["overall"]
    page.goto(f"{room.url}/review/2")
    page.locator("#now figcaption", has_text="·").wait_for()
    room.picture("4-review")
    room.decide(labels[0], "d", "set diameter 30.0 mm", "30")
    verdict = page.locator(".verdict-box .response").inner_text()
    assert verdict != by_rules
    assert "PD" in verdict
    room.decide(labels[2], "m", "merge", labels[3])
    room.decide(labels[1], "b", "not a lesion")
    hospital.work()
    page.reload()
    page.locator("#now figcaption", has_text="·").wait_for()
    room.picture("5-decided")
    decided = page.locator(".verdict-box .response").inner_text()

    # It is signed, and says so with the reader's name.
    page.keyboard.press("Shift+S")
    page.keyboard.press("Enter")
    page.locator(".badge.good", has_text="signed by roe").wait_for()
    hospital.work()
    signed = hospital.time_points()[1]
    assert signed["state"] == "SIGNED"
    assessment = signed["report"]["assessment"]
    assert assessment["overall"] == decided.split()[-1]
    page.goto(f"{room.url}/patients/1")
    for text in (assessment["reason"], "set diameter", "merge", "not a lesion", "roe"):
        assert page.get_by_text(text).count(), text
    room.picture("6-patient")

    # The board's packet is made in one click, and its numbers are the timeline's.
    page.get_by_role("link", name="Add to a board").click()
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Make packets").click()
    hospital.work()
    page.reload()
    room.picture("7-board")
    links = page.locator("ul.files a")
    kinds = {str(links.nth(i).get_attribute("href")).rsplit(".", 1)[-1] for i in range(links.count())}
    assert kinds >= {"pdf", "pptx", "xlsx", "csv", "json"}
    with page.expect_download() as coming:
        page.locator('.entry ul.files a[href$=".json"]').first.click()
    packet = Path(coming.value.path()).read_text(encoding="utf-8")
    for point in hospital.time_points():
        assert str(point["report"]["assessment"]["sum_mm"]) in packet
        assert point["report"]["assessment"]["reason"] in json.loads(json.dumps(packet))
