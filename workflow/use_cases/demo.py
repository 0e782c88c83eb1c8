"""The demo: two simulated patients, sent over DICOM to the embedded stack, beside their truth."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.bootstrap import build, open_node
from workflow.domain.errors import TransientError
from workflow.domain.lesion import LesionState
from workflow.domain.states import LESION_WORDS
from workflow.engine.context import Context
from workflow.engine.services import Supervisor, wanted_services
from workflow.settings import Node, Settings, load_settings

MODALITY_AE = "DEMO_MODALITY"
# How far a demo lesion may be from its truth before the demo calls itself failed: for implanted nodules what
# the simulated benchmark asks; for radiotherapy contours a bound of our own, because they are one hand's
# opinion, drawn generously, and their longest line is not where a diameter would be measured.
DIAMETER_TOLERANCE_MM = 2.0
HAND_DRAWN_TOLERANCE = 0.2


@dataclass(frozen=True, kw_only=True)
class TruthRow:
    """One lesion at one time point: what was simulated and what was found."""

    patient_id: str
    lesion: str
    study_date: str
    expected: str
    found: str
    agrees: bool
    tolerance: str = ""


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def demo_environment(home: Path) -> dict[str, str]:
    """Settings of the demo as environment variables, for this process and the services."""
    return {
        "TUMORLINE_HOME": str(home),
        "TUMORLINE_LISTENER__PORT": str(free_port()),
        "TUMORLINE_LISTENER__ALLOWED_CALLING_AE_TITLES": json.dumps([MODALITY_AE]),
        "TUMORLINE_ARCHIVE__PORT": str(free_port()),
        "TUMORLINE_WEB__PORT": str(free_port()),
        "TUMORLINE_WEB__LOGIN": "false",
        "TUMORLINE_READINESS__QUIET_S": "2",
        "TUMORLINE_WORKER__RECONCILE_S": "0.3",
    }


class Demo:
    """The demo's stack and patients; `with Demo(...)` starts and ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        environment = demo_environment(self.folder / "home")
        # The demo is alone in its folder: settings of an installation must not reach into it.
        for name in [n for n in os.environ if n.startswith("TUMORLINE_")]:
            del os.environ[name]
        os.environ.update(environment)
        self.settings: Settings = load_settings()
        self.supervisor = Supervisor(wanted_services(self.settings), self.settings)
        self.context: Context = build(self.settings)

    def __enter__(self) -> Demo:
        self.supervisor.start()
        self.supervisor.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()

    def send(self, folder: Path, progress: Callable[[int, int], None]) -> int:
        """Send a study by C-STORE, like a modality would; return the number of instances."""
        listener = self.settings.listener
        called = Node(ae_title=listener.ae_title, host=listener.host, port=listener.port)
        files = sorted(folder.glob("*.dcm"))
        open_node(called, MODALITY_AE).store(files, progress=progress)
        return len(files)

    def wait(self, on_status: Callable[[Mapping[str, Any]], None], timeout_s: float = 900.0) -> None:
        """Wait until everything is processed and delivered.

        Raises
        ------
        TransientError
            If work is left after the time limit; the message says what was going on.
        """
        end = time.monotonic() + timeout_s
        while not self.context.jobs.is_idle():
            status = self.status()
            on_status(status)
            if time.monotonic() > end:
                doing = ", ".join(f"{j['stage']}: {j['doing']}" for j in status["running"]) or "nothing runs"
                raise TransientError(f"not done after {timeout_s:g} s ({doing}); see {self.folder}/home/logs")
            self.supervisor.check()
            time.sleep(0.3)

    def courses(self) -> list[dict[str, Any]]:
        """Every patient's course, as the page shows it."""
        return self.context.overview.courses()

    def status(self) -> dict[str, Any]:
        """Counts and what needs a person."""
        return self.context.overview.status()


def compare(course: Mapping[str, Any], truth: Mapping[str, Any], patient_id: str) -> list[TruthRow]:
    """Hold a course against its truth file, lesion by lesion (found by their places) and by response."""
    points = [p for p in course["time_points"] if p["report"]]
    rows: list[TruthRow] = []
    identities = _identities(points, truth)
    for index, point in enumerate(points):
        found = {o["tracking_uid"]: o for o in point["report"]["lesions"]}
        for lesion in truth["lesions"]:
            expected = lesion["at"][index]
            if expected is None or lesion["role"] == "normal node":  # which RECIST does not record
                continue
            uid = identities.get(lesion["label"])
            rows.append(_lesion_row(patient_id, point["study_date"], lesion, expected, found.get(uid or "")))
        expected_response = truth["responses"][index]
        if expected_response is not None:
            overall = point["report"]["assessment"]["overall"]
            rows.append(
                TruthRow(
                    patient_id=patient_id,
                    lesion="response",
                    study_date=point["study_date"],
                    expected=expected_response["overall"],
                    found=overall,
                    agrees=overall == expected_response["overall"],
                )
            )
    return rows


def _identities(points: Sequence[Mapping[str, Any]], truth: Mapping[str, Any]) -> dict[str, str]:
    """Which tracking UID is which true lesion: the nearest at the first time point that shows both."""
    identities: dict[str, str] = {}
    for index, point in enumerate(points):
        for lesion in truth["lesions"]:
            expected = lesion["at"][index]
            if lesion["label"] in identities or not expected or expected["state"] != "present":
                continue
            free = [
                o
                for o in point["report"]["lesions"]
                if o["measurement"] and o["tracking_uid"] not in identities.values()
            ]
            if not free:
                continue
            nearest = min(free, key=lambda o: _distance_mm(o, expected["centre_lps"]))
            reach = max(10.0, expected["long_axis_mm"] / 2)
            if _distance_mm(nearest, expected["centre_lps"]) <= reach:
                identities[lesion["label"]] = nearest["tracking_uid"]
    return identities


def _distance_mm(lesion: Mapping[str, Any], centre_lps: Sequence[float]) -> float:
    axis = lesion["measurement"]["long_axis"]
    middle = [(a + b) / 2 for a, b in zip(axis["start_lps"], axis["end_lps"], strict=True)]
    return float(sum((m - c) ** 2 for m, c in zip(middle, centre_lps, strict=True)) ** 0.5)


def _lesion_row(
    patient_id: str,
    study_date: str,
    lesion: Mapping[str, Any],
    expected: Mapping[str, Any],
    found: Mapping[str, Any] | None,
) -> TruthRow:
    axis = "short_axis" if lesion["is_nodal"] else "long_axis"
    true_mm = float(expected.get(f"{axis}_mm", 0.0))
    is_present, is_exact = expected["state"] == "present", lesion["outline"] == "exact"
    tolerance_mm = max(DIAMETER_TOLERANCE_MM, 0.0 if is_exact else HAND_DRAWN_TOLERANCE * true_mm)
    if found is None:
        seen, agrees = "nothing", False
    elif found["measurement"] and found["state"] == "present":
        length = found["measurement"][axis]["length_mm"]
        seen, agrees = f"{length:.1f} mm", is_present and abs(length - true_mm) <= tolerance_mm
    else:
        seen, agrees = LESION_WORDS[LesionState(found["state"])], found["state"] == expected["state"]
    tolerance = f"± {tolerance_mm:.1f} mm{'' if is_exact else ', hand-drawn'}"
    return TruthRow(
        patient_id=patient_id,
        lesion=f"{found['label']} ({lesion['label']})" if found else lesion["label"],
        study_date=study_date,
        expected=f"{true_mm:.1f} mm" if is_present else LESION_WORDS[LesionState(expected["state"])],
        found=seen,
        agrees=agrees,
        tolerance=tolerance if is_present else "",
    )
