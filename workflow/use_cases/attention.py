"""What of the system's state needs a person: one rule for `run`, `status` and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Results that will not get to the PACS by themselves.
_STUCK = {"HELD": "were not sent, as validation failed", "REFUSED": "were refused by the destination"}


def needs_a_person(status: Mapping[str, Any]) -> list[str]:
    """A line for each thing in `workflow.ports.Overview.status` that somebody has to look at."""
    lines = [f"{kept['what']}: {kept['reason']}" for kept in status["quarantine"]]
    lines += [f"study {line['study_instance_uid']}: {line['text']}" for line in status["attention"]]
    # A study whose ingest stopped is in quarantine, with the same words.
    lines += [
        f"{job['stage']} {job['subject']} (job {job['id']}): {job['error']}"
        for job in status["stopped"]
        if job["stage"] != "ingest"
    ]
    lines += [
        f"{count} result objects {words}"
        for state, words in _STUCK.items()
        if (count := status["outbox"].get(state))
    ]
    return lines
