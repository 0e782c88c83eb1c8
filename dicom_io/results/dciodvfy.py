"""dciodvfy of dicom3tools: an independent judge of the objects' attributes, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from pydicom import Dataset

from dicom_io.results.common import to_bytes

_TIMEOUT_S = 120
# 20220618, the release in Debian, does not know this class; what it says of one is no verdict.
_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"


def iod_errors(result: Dataset) -> tuple[list[str], str]:
    """Errors of an object, and why there was no verdict if there was none ("" otherwise)."""
    program = shutil.which("dciodvfy")
    if program is None:
        return [], "dciodvfy is not installed; install the package dicom3tools to have every object checked"
    if result.SOPClassUID == _LABEL_MAP_SEGMENTATION:
        return [], "dciodvfy does not know Label Map Segmentation"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.dcm"
        path.write_bytes(to_bytes(result))
        # Its exit code says nothing; errors stand on lines of their own.
        run = subprocess.run(
            [program, str(path)], capture_output=True, timeout=_TIMEOUT_S, check=False, errors="replace"
        )
    lines = (run.stdout + run.stderr).splitlines()
    if not lines:
        return [f"dciodvfy said nothing (exit code {run.returncode})"], ""
    return [line.strip() for line in lines if line.startswith("Error") and not _is_mistaken(line, result)], ""


def _is_mistaken(line: str, result: Dataset) -> bool:
    """Whether it objects to a segment number because it doesn't know Label Map Segmentation."""
    return "that is not segmentation - attribute <ReferencedSegmentNumber>" in line and any(
        element.keyword == "ReferencedSOPClassUID" and element.value == _LABEL_MAP_SEGMENTATION
        for element in result.iterall()
    )
