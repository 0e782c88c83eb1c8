"""Which of our objects which program reads, as a table for docs/results.md: `python tests/viewer/readers.py`.

It runs the tests that are marked `reads(reader, *objects)` and counts them. A cell is "9 of 9" for cases read
right, and says why where nothing could be tried.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = ("SEG", "SR", "course", "presentation state")


class Readers:
    """Collects what became of each marked test."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._outcomes: dict[tuple[str, str], list[str]] = defaultdict(list)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remember what the marked tests read."""
        for item in items:
            mark = item.get_closest_marker("reads")
            if mark is not None:
                self._marks[item.nodeid] = (mark.args[0], mark.args[1:])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that was skipped or failed while it was set up has no call."""
        if report.when != "call" and not (report.when == "setup" and report.outcome != "passed"):
            return
        reader, objects = self._marks[report.nodeid]
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        for one in objects:
            said = f"skipped: {reason.removeprefix('Skipped: ')}" if report.skipped else report.outcome
            self._outcomes[reader, one].append(said)

    def table(self) -> str:
        """Markdown: a row per reader, a column per object."""
        readers = dict.fromkeys(reader for reader, _ in self._outcomes)
        lines = ["| reader | " + " | ".join(OBJECTS) + " |", "|---" * (len(OBJECTS) + 1) + "|"]
        for reader in readers:
            cells = [_cell(self._outcomes.get((reader, one), [])) for one in OBJECTS]
            lines.append(f"| {reader} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _cell(outcomes: list[str]) -> str:
    tried = [outcome for outcome in outcomes if not outcome.startswith("skipped")]
    if tried:
        return f"{tried.count('passed')} of {len(tried)}"
    return outcomes[0] if outcomes else ""


def main() -> int:
    """Run the tests and print the table after pytest's own words."""
    os.environ["TUMORLINE_OHIF"] = "all"
    readers = Readers()
    folders = [str(ROOT / "tests" / "unit" / "results"), str(ROOT / "tests" / "viewer")]
    code = pytest.main(
        ["-q", "-m", "reads", "--rootdir", str(ROOT), *folders, *sys.argv[1:]], plugins=[readers]
    )
    print(readers.table())
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
