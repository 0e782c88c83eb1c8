"""The viewer is installed from a checked package, lives under a path of ours, and pages link to it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from datetime import date
from pathlib import Path

import pytest
from browser import open_as, open_browser
from fastapi.testclient import TestClient
from hospital import RIGHT, Hospital, Sphere, Study

from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.users import UserRole
from workflow.settings import load_settings
from workflow.use_cases import viewer
from workflow.web.viewer import app_config, open_link, viewer_link

INDEX = (
    '<!doctype html><head><script>window.PUBLIC_URL="/"</script><link rel="manifest" href="/manifest.json">'
    '<script type="module" src="/init-service-worker.js"></script><script src="/app-config.js"></script>'
    '<script defer src="/app.bundle.1.js"></script><link href="/app.css" rel="stylesheet"></head>'
)
FILES = {
    "package/LICENSE": "MIT",
    "package/dist/index.html": INDEX,
    "package/dist/app.bundle.1.js": '__webpack_require__.p = "/";',
    "package/dist/app.css": "@font-face { src: url(/font.woff2) }",
    "package/dist/assets/logo.svg": "<svg/>",
    "package/dist/app.bundle.1.js.map": "large",
    "package/dist/ort/ort.wasm": "large",
    "package/dist/dicom-microscopy-viewer/all.js": "large",
    "package/dist/sw.js": "no",
    "package/dist/app-config.js": "names a public host",
    "package/src/other.js": "no",
}


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    """A package like npm's @ohif/app."""
    path = tmp_path / "ohif.tgz"
    with tarfile.open(path, "w:gz") as packed:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            packed.addfile(entry, io.BytesIO(text.encode()))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(target: Path, tarball: Path) -> None:
    viewer.install(target, tarball, sha256=digest(tarball))


# ---------------------------------------------------------------- installing


def test_only_what_is_needed_is_installed(tmp_path, tarball):
    install(tmp_path / "viewer", tarball)
    found = {str(path.relative_to(tmp_path / "viewer")) for path in (tmp_path / "viewer").rglob("*.*")}
    assert found == {
        "index.html", "app.bundle.1.js", "app.css", "assets/logo.svg", "start.js", "tumorline.json",
    }  # fmt: skip


def test_every_address_is_moved_below_our_path_and_no_script_is_left_inline(tmp_path, tarball):
    install(tmp_path / "viewer", tarball)
    page = (tmp_path / "viewer" / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses == [
        "/viewer/start.js", "/viewer/app-config.js", "/viewer/app.bundle.1.js", "/viewer/app.css",
    ]  # fmt: skip
    assert re.findall(r"<script[^>]*>([^<]+)</script>", page) == []
    assert 'PUBLIC_URL="/viewer/"' in (tmp_path / "viewer" / "start.js").read_text()
    assert (tmp_path / "viewer" / "app.bundle.1.js").read_text() == '__webpack_require__.p = "/viewer/";'
    assert "url(/viewer/font.woff2)" in (tmp_path / "viewer" / "app.css").read_text()


def test_another_file_than_the_one_that_was_tried_is_refused(tmp_path, tarball):
    with pytest.raises(UnsuitableInputError, match="nothing is installed"):
        viewer.install(tmp_path / "viewer", tarball)
    assert not (tmp_path / "viewer").exists()


def test_installing_again_replaces_the_viewer_and_nothing_else(tmp_path, tarball):
    install(tmp_path / "viewer", tarball)
    (tmp_path / "viewer" / "old.js").write_text("of a former version")
    install(tmp_path / "viewer", tarball)
    assert not (tmp_path / "viewer" / "old.js").exists()
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "mine.txt").write_text("mine")
    with pytest.raises(UnsuitableInputError, match="--to"):
        install(tmp_path / "papers", tarball)
    assert (tmp_path / "papers" / "mine.txt").exists()


def test_without_npm_it_is_said_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"install Node\.js .* or .* --from"):
        viewer.install(tmp_path / "viewer")


# ---------------------------------------------------------------- serving


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Hospital:
    hospital = Hospital(tmp_path_factory.mktemp("viewer"))
    sphere = Sphere(centre_lps=RIGHT, diameter_mm=16, is_prompted=True)
    hospital.process(
        Study(day=date(2026, 3, 2), spheres=(sphere,)), Study(day=date(2026, 6, 1), spheres=(sphere,))
    )
    return hospital


@pytest.fixture
def installed(hospital, tarball) -> Hospital:
    install(hospital.settings.home / "viewer", tarball)
    return hospital


@pytest.fixture
def browser(installed) -> TestClient:
    return open_as(installed.context, UserRole.READER)


def test_it_is_shown_to_people_who_are_logged_in_alone(installed):
    stranger = open_browser(installed.context)
    assert stranger.get("/viewer/viewer?StudyInstanceUIDs=1.2").headers["Location"].startswith("/login")
    assert stranger.get("/viewer/app.bundle.1.js", headers={"Accept": "*/*"}).status_code == 401


def test_any_address_of_its_own_is_the_application_under_a_policy_of_its_own(browser):
    answer = browser.get("/viewer/viewer?StudyInstanceUIDs=1.2")
    assert "app.bundle.1.js" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "")
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "unsafe-inline" not in browser.get("/").headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/viewer/none.js", "/viewer/..%2f..%2ftumorline.db", "/viewer/%2e%2e/%2e%2e/tumorline.db"]
)
def test_no_other_file_is_given(browser, path):
    assert browser.get(path).status_code == 404


def test_built_files_are_kept_by_the_browser_and_the_page_is_not(browser):
    assert "immutable" in browser.get("/viewer/app.bundle.1.js").headers["Cache-Control"]
    for path in ("/viewer/", "/viewer/app-config.js", "/viewer/start.js"):
        assert browser.get(path).headers["Cache-Control"] == "no-store"


def configuration(**viewer_settings: str) -> dict:
    text = app_config(load_settings(None, viewer=viewer_settings))
    return json.loads(text.removeprefix("window.config = ").removesuffix(";\n"))


def test_images_come_from_us_or_from_the_pacs_that_is_set():
    for settings, root in (
        ({}, "/dicom-web"),
        ({"dicomweb_url": "https://pacs.example/dw/"}, "https://pacs.example/dw"),
    ):
        (source,) = configuration(**settings)["dataSources"]
        assert {source["configuration"][name] for name in ("qidoRoot", "wadoRoot", "wadoUriRoot")} == {root}


def test_a_visit_is_opened_with_its_report(installed, browser):
    first, _ = installed.time_points()
    (sr,) = [o["sop_instance_uid"] for o in first["objects"] if o["role"] == "sr"]
    address = browser.get(open_link(installed.settings, first["key"])).headers["Location"]
    assert (
        address
        == f"/viewer/viewer?StudyInstanceUIDs={first['study_instance_uid']}&initialSOPInstanceUID={sr}"
    )


def test_a_follow_up_is_opened_beside_its_prior(installed, browser):
    first, second = installed.time_points()
    address = browser.get(open_link(installed.settings, second["key"], prior=True)).headers["Location"]
    both = f"{first['study_instance_uid']},{second['study_instance_uid']}"
    assert address == f"/viewer/viewer?StudyInstanceUIDs={both}&hangingprotocolId=@ohif/hpCompare"
    assert browser.get(open_link(installed.settings, first["key"], prior=True)).status_code == 404


def test_a_lesion_is_opened_on_the_image_of_its_axes(installed, browser):
    first, _ = installed.time_points()
    (lesion,) = first["report"]["lesions"]
    link = open_link(installed.settings, first["key"], lesion=lesion["tracking_uid"])
    image = browser.get(link).headers["Location"].partition("initialSOPInstanceUID=")[2]
    # Slices are 4 mm apart from 0 on, and the sphere's middle is on one.
    asked = f"SOPInstanceUID={image}&includefield=ImagePositionPatient"
    told = browser.get(f"/dicom-web/studies/{first['study_instance_uid']}/instances?{asked}").json()
    assert told[0]["00200032"]["Value"][2] == RIGHT[2]


def test_a_study_is_opened_on_its_own(installed, browser):
    study = installed.time_points()[0]["study_instance_uid"]
    address = browser.get(open_link(installed.settings, study=study)).headers["Location"]
    assert address == f"/viewer/viewer?StudyInstanceUIDs={study}"
    assert browser.get("/open/studies/1.2.3").status_code == 404


def test_without_the_viewer_there_are_no_links_and_the_address_says_why(tmp_path):
    hospital = Hospital(tmp_path)
    assert viewer_link(hospital.settings, ["1.2"]) is None
    assert open_link(hospital.settings, 1) is None
    assert "tumorline viewer install" in open_as(hospital.context, UserRole.READER).get("/viewer/").text
