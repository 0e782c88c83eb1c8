"""dciodvfy of dicom3tools: an independent judge of the objects' attributes, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from pydicom import Dataset

from dicom_io.results.common import to_bytes

_TIMEOUT_S = 120
_NAMED = re.compile(r"\(0x[0-9a-f]{4},0x[0-9a-f]{4}\) [A-Z]{2} (.+?)\s\s|(?:Element=|attribute )<([^>]+)>")
_QUOTED = re.compile(r"\[\d+\] = <.*>(?= - )")
# 20220618, the release in Debian, does not know this class; what it says of one is no verdict.
_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"


def iod_errors(result: Dataset, source: Path) -> tuple[list[str], list[str]]:
    """Judge one object.

    Parameters
    ----------
    source
        An image that patient and study were copied from. An error that it has itself (a Study ID
        that is too long) is its maker's: it is remarked on, not held against the result.

    Returns
    -------
    tuple
        Errors, and remarks: the attributes of inherited errors in one, or why there is no verdict. None
        quotes a value.
    """
    program = shutil.which("dciodvfy")
    if program is None:
        return [], ["dciodvfy is not installed; install the package dicom3tools to have every object checked"]
    if result.SOPClassUID == _LABEL_MAP_SEGMENTATION:
        return [], ["dciodvfy does not know Label Map Segmentation"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.dcm"
        path.write_bytes(to_bytes(result))
        said = _run(program, path)
    if not said:
        return ["dciodvfy said nothing"], []
    errors = [line for line in _errors(said) if not _is_mistaken(line, result)]
    if not errors:
        return [], []
    inherited = set(_errors(_run(program, source)))
    found = [_without_value(line) for line in errors if line not in inherited]
    attributes = {name for line in errors if line in inherited and (name := _attribute(line))}
    if not attributes:
        return found, []
    names = ", ".join(sorted(attributes))
    return found, [f"as in the source images, dciodvfy objects to: {names}"]


def _attribute(line: str) -> str | None:
    """The attribute that an error is about, as "(0x0010,0x0010) PN Patient's Name  PN" or "Element=<...>"."""
    found = _NAMED.search(line)
    return next((name.strip() for name in found.groups() if name), None) if found else None


def _without_value(line: str) -> str:
    """An error without the value that it quotes: the message goes into logs, and the value may be a name."""
    return _QUOTED.sub("[value]", line)


def _run(program: str, path: Path) -> list[str]:
    # Its exit code says nothing; errors stand on lines of their own.
    run = subprocess.run(
        [program, str(path)], capture_output=True, timeout=_TIMEOUT_S, check=False, errors="replace"
    )
    return (run.stdout + run.stderr).splitlines()


def _errors(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("Error")]


def _is_mistaken(line: str, result: Dataset) -> bool:
    """Whether it objects to a segment number because it doesn't know Label Map Segmentation."""
    return "that is not segmentation - attribute <ReferencedSegmentNumber>" in line and any(
        element.keyword == "ReferencedSOPClassUID" and element.value == _LABEL_MAP_SEGMENTATION
        for element in result.iterall()
    )
