"""Install OHIF: npm's prebuilt application, checked by its digest, made to live under a path of ours."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from workflow.domain.errors import ConfigurationError, TransientError, UnsuitableInputError
from workflow.settings import VIEWER_PATH

PACKAGE, VERSION = "@ohif/app", "3.13.2"
SHA256 = "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"

_DIST = PurePosixPath("package/dist")
# Segmentation by neural networks in the browser, microscopy, and what only other hosting needs.
_LEFT_OUT = ("ort", "dicom-microscopy-viewer")
_LEFT_OUT_FILES = (
    "google.js", "oidc-client.min.js", "silent-refresh.html", "sw.js", "init-service-worker.js",
    "app-config.js", "_headers", "_redirects", "serve.json", "manifest.json",
)  # fmt: skip
# Where webpack's runtime looks for the rest of the application.
_PUBLIC_PATH = '__webpack_require__.p = "/"'
_SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<code>[^<]*)</script>")


def fetch(folder: Path) -> Path:
    """Have npm download the package; return the tarball.

    Raises
    ------
    ConfigurationError
        If npm is not installed.
    TransientError
        If it can't download.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError(
            "npm is not installed: install Node.js (Debian: apt install nodejs npm), or have "
            f"`npm pack {PACKAGE}@{VERSION}` run elsewhere and give its file with --from"
        )
    done = subprocess.run(
        [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    tarballs = sorted(folder.glob("*.tgz"))
    if done.returncode or not tarballs:
        reason = (done.stderr.strip().splitlines() or ["npm gave no reason"])[-1]
        raise TransientError(f"npm could not download {PACKAGE} {VERSION}: {reason}")
    return tarballs[0]


def install(target: Path, tarball: Path | None = None, sha256: str = SHA256) -> int:
    """Put OHIF's files into a folder, in place of what is there; return their bytes.

    Raises
    ------
    ConfigurationError
        If npm is not installed and no tarball is given.
    TransientError
        If npm can't download.
    UnsuitableInputError
        If the tarball is not the release that was tried, or the folder holds something else.
    """
    if target.exists() and any(target.iterdir()) and not (target / "index.html").is_file():
        raise UnsuitableInputError(f"{target} holds something else than a viewer; name another with --to")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".viewer-") as scratch:
        given = tarball or fetch(Path(scratch))
        _check(given, sha256)
        fresh = Path(scratch) / "fresh"
        _unpack(given, fresh)
        _move_under_our_path(fresh)
        said = {"package": PACKAGE, "version": VERSION, "sha256": sha256}
        (fresh / "tumorline.json").write_text(json.dumps(said))
        if target.exists():
            target.rename(Path(scratch) / "former")
        fresh.rename(target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _check(tarball: Path, sha256: str) -> None:
    if not tarball.is_file():
        raise UnsuitableInputError(f"there is no file {tarball}")
    with tarball.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UnsuitableInputError(
            f"{tarball.name} has the SHA-256 {found}, and {PACKAGE} {VERSION} has {sha256}: "
            "nothing is installed"
        )


def _unpack(tarball: Path, folder: Path) -> None:
    """The files of dist that are wanted, and the licence beside them."""
    with tarfile.open(tarball) as packed:
        for member in packed:
            path = PurePosixPath(member.name)
            if path == PurePosixPath("package/LICENSE"):
                member.name = "LICENSE"
            elif path.is_relative_to(_DIST) and _is_wanted(path.relative_to(_DIST)):
                member.name = str(path.relative_to(_DIST))
            else:
                continue
            packed.extract(member, folder, filter="data")
    if not (folder / "index.html").is_file():
        raise UnsuitableInputError(f"{tarball.name} holds no built application")


def _is_wanted(path: PurePosixPath) -> bool:
    is_left_out = path.suffix == ".map" or path.parts[0] in _LEFT_OUT or str(path) in _LEFT_OUT_FILES
    return not is_left_out and not path.name.startswith("ort-")


def _move_under_our_path(folder: Path) -> None:
    """Built for "/": its addresses are rewritten, and its two inline scripts become a file (the CSP)."""
    for script in folder.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        if _PUBLIC_PATH in text:
            moved = text.replace(_PUBLIC_PATH, f'__webpack_require__.p = "{VIEWER_PATH}/"')
            script.write_text(moved, encoding="utf-8")
    for sheet in folder.glob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        sheet.write_text(re.sub(r"url\(/(?!/)", f"url({VIEWER_PATH}/", text), encoding="utf-8")
    index = folder / "index.html"
    page = index.read_text(encoding="utf-8")
    inline = [found["code"] for found in _SCRIPT.finditer(page) if "src=" not in found["attributes"]]
    (folder / "start.js").write_text(
        "\n".join(code.replace('PUBLIC_URL="/"', f'PUBLIC_URL="{VIEWER_PATH}/"') for code in inline) + "\n",
        encoding="utf-8",
    )
    page = _SCRIPT.sub(lambda found: "" if _is_dropped(found) else found[0], page)
    page = re.sub(r'<link rel="(?:manifest|apple-touch[^"]*|yandex[^"]*)"[^>]*>', "", page)
    page = re.sub(r'(src|href|content)="/(?!/)', rf'\1="{VIEWER_PATH}/', page)
    start = f'<script src="{VIEWER_PATH}/start.js"></script>'
    index.write_text(page.replace("<head>", f"<head>{start}", 1), encoding="utf-8")


def _is_dropped(found: re.Match[str]) -> bool:
    return "src=" not in found["attributes"] or "init-service-worker" in found["attributes"]
