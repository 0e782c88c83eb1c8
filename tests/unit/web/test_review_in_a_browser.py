"""A reader at a real browser: reviews and signs with keys alone. Chromium draws; without it this is skipped.

Pictures are kept in the folder that TUMORLINE_SCREENSHOTS names, else in pytest's own.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from hospital import Hospital
from test_review_page import BASELINE, BEFORE_MM, FOLLOW_UP

from workflow.web import make_app

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt install chromium"),
    pytest.mark.slow,
]
SIZES = ((1366, 768), (1920, 1080))
SCHEMES = ("light", "dark")


@contextmanager
def _served(hospital: Hospital) -> Iterator[str]:
    """The hospital's pages on a port of their own."""
    web = hospital.settings.web.model_copy(update={"login": False})
    app = make_app(hospital.context, hospital.settings.model_copy(update={"web": web}))
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="warning", ws="none", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://localhost:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page whose script errors and refused resources fail the test."""
    opened = browser.new_page(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
    opened.set_default_timeout(20_000)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    opened.on(
        "response",
        lambda got: (
            wrong.append(f"{got.status} {got.url}")
            if got.status >= 400 and not got.url.endswith("/favicon.ico")
            else None
        ),
    )
    yield opened
    opened.close()
    assert wrong == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("TUMORLINE_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _keep_pictures(page, folder: Path, name: str) -> None:
    for width, height in SIZES:
        for scheme in SCHEMES:
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(300)
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})
    page.emulate_media(color_scheme="light")


def _brightness(page, pane: str = "now") -> float:
    """Mean grey of the canvas: 0 where nothing is drawn."""
    return page.evaluate(
        """(id) => { const c = document.querySelector(`#${id} canvas`);
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        let sum = 0; for (let i = 0; i < d.length; i += 4) sum += d[i]; return sum / (d.length / 4); }""",
        pane,
    )


def _wait_for_slices(page) -> None:
    page.locator("#now figcaption", has_text="·").wait_for()
    page.wait_for_timeout(400)


def test_a_follow_up_is_reviewed_and_signed_with_keys_alone(tmp_path, page, pictures):
    hospital = Hospital(tmp_path / "hospital")
    hospital.process(BASELINE, FOLLOW_UP)
    with _served(hospital) as url:
        page.goto(f"{url}/review/2")
        _wait_for_slices(page)
        assert _brightness(page) > 5
        assert _brightness(page, "before") > 5
        _keep_pictures(page, pictures, "review")
        keys = page.keyboard
        page.locator("body").press("?")
        page.screenshot(path=pictures / "review-keys.png")
        keys.press("Escape")

        before = page.locator(".verdict-box .response").inner_text()
        keys.press("d")  # T01 is larger than the machine says
        keys.type("30")
        keys.press("Tab")
        keys.press("1")
        page.screenshot(path=pictures / "review-diameter.png")
        keys.press("Enter")
        page.locator("li.decided").wait_for()
        page.locator(".decision", has_text="set diameter 30.0 mm").wait_for()
        assert page.locator(".verdict-box .response").inner_text() != before
        keys.press("u")
        page.locator("li.decided").wait_for(state="detached")
        assert page.locator(".verdict-box .response").inner_text() == before

        keys.press("t")
        page.locator("li.confirmed").nth(0).wait_for()
        keys.press("Shift+T")
        page.locator("li.confirmed").nth(4).wait_for()
        keys.press("Shift+S")
        keys.press("Enter")
        page.locator(".badge.good", has_text="signed by demo").wait_for()
        hospital.work()
        page.locator("#busy").wait_for(state="hidden")
        _keep_pictures(page, pictures, "review-signed")
    assert hospital.time_points()[1]["state"] == "SIGNED"


def test_a_baseline_without_marks_is_marked_on_the_canvas_and_its_outline_appears(tmp_path, page, pictures):
    hospital = Hospital(tmp_path / "hospital")
    hospital.process(replace(BASELINE, spheres=[replace(s, is_prompted=False) for s in BASELINE.spheres]))
    with _served(hospital) as url:
        page.goto(f"{url}/review/1")
        _wait_for_slices(page)
        keys, mouse = page.keyboard, page.mouse
        for _ in range(20):
            keys.press("PageUp")
        for _ in range(3):  # to the slice at 12 mm
            keys.press("ArrowDown")
        page.wait_for_timeout(300)
        keys.press("h")
        page.locator("#marking").wait_for()
        # The sphere at (10, 10) mm of an image of 48 mm, which fills the canvas's shorter side.
        box = page.locator("#now canvas").bounding_box()
        side = min(box["width"], box["height"]) / 48
        x = box["x"] + box["width"] / 2 + (10 - 23.5) * side
        y = box["y"] + box["height"] / 2 + (10 - 23.5) * side
        for dx, dy in ((5 * side, 0), (0, 5 * side)):
            mouse.move(x - dx, y - dy)
            mouse.down()
            mouse.move(x + dx, y + dy, steps=4)
            mouse.up()
        page.locator("#marking-what", has_text="axes").wait_for()
        page.locator("#marking [name=label]").fill("left lung")
        _keep_pictures(page, pictures, "marking")
        keys.press("Enter")
        page.locator("#busy").wait_for()
        hospital.work()
        page.locator("[data-lesion]").wait_for()
        page.wait_for_timeout(500)
        _keep_pictures(page, pictures, "marked")
    (lesion,) = hospital.time_points()[0]["report"]["lesions"]
    assert lesion["diameter_mm"] == pytest.approx(BEFORE_MM[0], abs=1.5)
