"""UIDs that follow from what they name: the same work done twice makes the same objects."""

from __future__ import annotations

import uuid

from pydicom.uid import UID

from workflow.domain.lesion import ModelIdentity
from workflow.domain.report import TimePointReport
from workflow.domain.series import StackKey

# Fixed for life: another namespace would give every object another UID.
_NAMESPACE = uuid.UUID("6d4b2f0e-3c0a-5d0f-9a6f-2f6f6f0c7a11")

IMPLEMENTATION_CLASS_UID = UID(f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}")


def uid_of(*parts: str) -> UID:
    """A UID under 2.25 (PS3.5 B.2) that depends on the parts and nothing else.

    Parts are told apart: ("ab", "c") and ("a", "bc") give different UIDs.
    """
    name = "\x1f".join(f"{len(part)}:{part}" for part in parts)
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def seg_sop_instance_uid(report: TimePointReport, volume: StackKey) -> UID:
    """SOP Instance UID of a report's SEG on a volume."""
    stack = [f"stack {volume.stack}"] if volume.stack else []
    return uid_of(report.identity, report.status.value, volume.series_instance_uid, *stack, "seg")


def sop_instance_uid(report: TimePointReport, role: str) -> UID:
    """SOP Instance UID of another object of the report ("sr", "pdf", "sr-2" in the visit's second study).

    The identity covers what the report says and its status. The version is left out: it counts how
    often something else was said before, and so depends on the order in which studies arrived.
    """
    return uid_of(report.identity, report.status.value, role)


def series_instance_uid_of(object_uid: str) -> UID:
    """Series Instance UID of the one-object series that a result object of ours lies in.

    Derived from the SOP Instance UID, so that a superseding SR can name its predecessor's series.
    """
    return uid_of(object_uid, "series")


def device_uid(model: ModelIdentity) -> UID:
    """Device UID of a model (IHE AIR): another UID whenever the weights, or a version without any, change."""
    weights = model.weights_sha256 or ""
    return uid_of("device", model.name, model.version, weights.lower())
