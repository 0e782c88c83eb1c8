"""Downloads of weights: resumed where they stopped, put in place only with the right checksum."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from workflow.domain.errors import ConfigurationError, TransientError
from workflow.ports import Progress, no_progress

_CHUNK = 1 << 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    attempts: int = 4,
    wait_s: float = 1.0,
    timeout_s: float = 60.0,
    progress: Progress = no_progress,
) -> str:
    """Download a file and return its SHA-256.

    What has come stands beside the target as `<name>.part` until it is complete and verified; an interrupted
    download goes on from there, in this call or a later one, if the server can (RFC 9110, 14.2) and still has
    the same file (its ETag).

    Parameters
    ----------
    sha256
        What the file must have; None takes it as it comes (the caller records the digest). Then the address
        must be https, or on this machine.
    attempts
        How often a broken connection is tried again, `wait_s` seconds later and twice as long each time.

    Raises
    ------
    ConfigurationError
        If the server does not have the file, the checksum is another one (the download is removed), the disk
        is too small, or the address is not http(s).
    TransientError
        If the connection kept breaking; what has come is kept.
    """
    _check_address(url, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(attempts):
        try:
            _download(url, part, timeout_s, progress)
            break
        except TransientError:
            if attempt + 1 == attempts:
                raise
            time.sleep(wait_s * 2**attempt)
    digest = _digest(part)
    if sha256 is not None and digest != sha256:
        _discard(part)
        raise ConfigurationError(
            f"{url} has the SHA-256 {digest} and not {sha256}; the download was removed. Fetch again; if it "
            "stays so, the publisher changed the file: compare with the model's own page"
        )
    os.replace(part, target)
    _tag_file(part).unlink(missing_ok=True)
    return digest


def _check_address(url: str, sha256: str | None) -> None:
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in ("http", "https"):
        raise ConfigurationError(f"{url} is no http or https address")
    if sha256 is None and parsed.scheme != "https" and parsed.hostname not in _LOOPBACK:
        raise ConfigurationError(
            f"{url} is not https and no SHA-256 is given: anyone on the way could change it"
        )


def _download(url: str, part: Path, timeout_s: float, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    tag = _tag_file(part).read_text(encoding="utf-8") if _tag_file(part).exists() else ""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 (checked above)
    if done:
        request.add_header("Range", f"bytes={done}-")
        if tag:
            request.add_header("If-Range", tag)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 (checked above)
            _store(response, part, done, progress)
    except urllib.error.HTTPError as error:
        _refused(error, url, part, done)
    except (OSError, http.client.HTTPException) as error:
        kept = part.stat().st_size if part.exists() else 0
        raise TransientError(
            f"the download of {url} broke off ({error}); {kept} bytes are kept, fetch again to go on"
        ) from error


def _store(response: Any, part: Path, done: int, progress: Progress) -> None:
    is_continued = response.status == http.HTTPStatus.PARTIAL_CONTENT and _range_start(response) == done
    if not is_continued:
        done = 0
    # Only a strong tag can be continued (RFC 9110, 13.1.5).
    tag = response.headers.get("ETag", "")
    _tag_file(part).write_text("" if tag.startswith("W/") else tag, encoding="utf-8")
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    if total is not None and shutil.disk_usage(part.parent).free < total - done:
        raise ConfigurationError(f"{part.parent} has no room for the {total - done} bytes that are to come")
    with part.open("ab" if is_continued else "wb") as stream:
        _copy(response, stream, done, total, progress)
    if total is not None and part.stat().st_size != total:
        raise http.client.HTTPException(f"{part.stat().st_size} of {total} bytes came")


def _copy(response: Any, stream: IO[bytes], done: int, total: int | None, progress: Progress) -> None:
    while chunk := response.read(_CHUNK):
        stream.write(chunk)
        done += len(chunk)
        progress(
            done / total if total else 0.0,
            f"{done >> 20} of {total >> 20} MB" if total else f"{done >> 20} MB",
        )
    stream.flush()
    os.fsync(stream.fileno())


def _refused(error: urllib.error.HTTPError, url: str, part: Path, done: int) -> None:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
        # Nothing is left to send: complete, unless the file is another one by now.
        if error.headers.get("Content-Range", "") == f"bytes */{done}":
            return
        _discard(part)
        raise TransientError(f"{url} no longer has what was begun; it is fetched from the start")
    if error.code >= 500 or error.code in (
        http.HTTPStatus.REQUEST_TIMEOUT,
        http.HTTPStatus.TOO_MANY_REQUESTS,
    ):
        raise TransientError(f"the server of {url} answers {error.code}; fetch again later") from error
    raise ConfigurationError(
        f"the server of {url} answers {error.code} {error.reason}; get the file from the model's own page "
        "(`tumorline models show`)"
    ) from error


def _range_start(response: Any) -> int:
    # "bytes 100-199/200"
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
