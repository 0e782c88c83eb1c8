"""A reader at work in the real OHIF on our own server: what is read, changed and drawn there comes back.

Needs Chromium, Node and the viewer (`npm ci && npm run viewer` in tests/viewer/ohif); skipped without.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pytest
import uvicorn
from hospital import LEFT, RIGHT, Hospital, Sphere, Study
from test_results_in_ohif import CHROMIUM, DIST, OHIF

from workflow.domain.users import User, UserRole
from workflow.engine.reconciler import work_until_idle
from workflow.use_cases.viewer import install
from workflow.web import make_app
from workflow.web.access import COOKIE

PASSWORD = "a password for tests"
TARBALL = Path(os.environ.get("OHIF_TARBALL", DIST.parent / "ohif-app-3.13.2.tgz"))
# Seen, but marked by nobody: the reader draws it.
UNMARKED = (30.0, 36.0, 32.0)


def missing() -> str:
    if not TARBALL.is_file():
        return "OHIF's package is not there: run `npm ci && npm run viewer` in tests/viewer/ohif"
    return "" if shutil.which("node") and Path(CHROMIUM).exists() else "Node or Chromium is not installed"


pytestmark = [
    pytest.mark.xdist_group("ohif"),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]


@contextmanager
def serving(hospital: Hospital) -> Iterator[str]:
    """The pages of a hospital whose worker does what is to be done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = make_app(hospital.context, hospital.settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none"))
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            work_until_idle(hospital.context)

    threads = [threading.Thread(target=run, daemon=True) for run in (server.run, work)]
    for thread in threads:
        thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    stop.set()
    server.should_exit = True
    for thread in threads:
        thread.join()


@dataclass(frozen=True)
class Read:
    """What the reader saw and did, and the time point before and after."""

    answer: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def lesions(self) -> dict[str, dict[str, Any]]:
        """The lesions that there are afterwards, by their labels."""
        return {lesion["label"]: lesion for lesion in self.after["report"]["lesions"]}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """A baseline with two marked lesions and one that nobody marked, read by Dr. Roe."""
    folder = tmp_path_factory.mktemp("reading")
    hospital = Hospital(folder, writes_real_results=True)
    spheres = (
        Sphere(centre_lps=LEFT, diameter_mm=14, is_prompted=True, label="left"),
        Sphere(centre_lps=RIGHT, diameter_mm=16, is_prompted=True, label="right"),
        Sphere(centre_lps=UNMARKED, diameter_mm=12),
    )
    hospital.process(Study(day=date(2026, 3, 2), spheres=spheres))
    install(hospital.settings.home / "viewer", TARBALL)
    roe = User(name="roe", full_name="Rita Roe", roles=frozenset({UserRole.READER}))
    hospital.context.users.add(roe, PASSWORD, by="test")
    token = hospital.context.users.log_in("roe", PASSWORD, "127.0.0.1")
    (before,) = hospital.time_points()
    (image,) = [
        sent
        for path in (folder / "sent").glob("*/*.dcm")
        if (sent := pydicom.dcmread(path, stop_before_pixels=True)).Modality == "CT"
        and float(sent.ImagePositionPatient[2]) == UNMARKED[2]
    ]
    x, y, z = UNMARKED
    with serving(hospital) as url:
        job = {
            "url": url,
            "address": f"{url}/open/visits/{before['key']}",
            "cookies": [{"name": COOKIE, "value": token, "url": url}],
            "study": before["study_instance_uid"],
            "hydrated": True,
            "nudge": {"label": "T01", "by": [3.0, 0.0, 0.0]},
            "draw": [
                {
                    "tool": "Bidirectional",
                    "image": image.SOPInstanceUID,
                    "points": [[x - 6, y, z], [x + 6, y, z]],
                }
            ],
            "store": "by Dr. Roe",
            "segments": 3,
            "picture": str(folder / "ohif.png"),
        }
        done = subprocess.run(
            ["node", OHIF / "read.mjs", json.dumps(job)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    (after,) = hospital.time_points()
    return Read(json.loads(done.stdout.splitlines()[-1]), before, after)


def test_the_link_opens_the_study_with_our_measurements_at_our_lengths(read: Read):
    found = {one["label"]: one for one in read.answer["hydrated"]}
    told = {lesion["label"]: lesion["measurement"] for lesion in read.before["report"]["lesions"]}
    assert set(found) == set(told) == {"T01", "T02"}
    for label, measured in told.items():
        assert found[label]["length_mm"] == pytest.approx(measured["long_axis"]["length_mm"], abs=0.1)
        assert found[label]["width_mm"] == pytest.approx(measured["short_axis"]["length_mm"], abs=0.1)
        assert f"/{found[label]['image']}/" in found[label]["jumped_to"]


def test_nothing_is_refused_by_our_server_or_our_policy(read: Read):
    assert read.answer["refused"] == []
    assert [line for line in read.answer["console"] if "Content Security Policy" in line] == []


def test_what_was_drawn_and_stored_becomes_a_lesion_of_that_reader_with_a_new_segmentation(read: Read):
    assert read.answer["stored"]["status"] == 200
    new = read.lesions["T03"]
    assert (new["marked_by"], new["state"]) == ("roe", "present")
    # The model's own size: the sphere is 12 mm.
    assert new["diameter_mm"] == pytest.approx(12, abs=2)
    assert sorted(read.answer["segments"]) == ["T01", "T02", "T03"]


def test_what_was_changed_is_that_readers_correction_and_the_rest_stays(read: Read):
    former = {lesion["label"]: lesion for lesion in read.before["report"]["lesions"]}
    changed, kept = read.lesions["T01"], read.lesions["T02"]
    assert changed["tracking_uid"] == former["T01"]["tracking_uid"]
    assert changed["diameter_mm"] == pytest.approx(read.answer["nudged"]["length_mm"], abs=0.1)
    assert [made["by"] for made in changed["decisions"]] == ["roe"]
    for name in ("tracking_uid", "diameter_mm", "measurement", "decisions"):
        assert kept[name] == former["T02"][name]
