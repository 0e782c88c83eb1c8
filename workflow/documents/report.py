"""report.json: a visit's report as people's scripts read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from math import isfinite
from typing import Any

from workflow.domain.geometry import Mask
from workflow.domain.report import MeasuredVolume, TimePointReport


def report_to_json(report: TimePointReport) -> dict[str, Any]:
    """A report as people's scripts read it (report.json); masks are in the SEG.

    A number that is not known is null, also where a computation gave NaN.
    """

    def plain(value: Any) -> Any:
        match value:
            case float():
                return value if isfinite(value) else None
            case None | bool() | int() | str() if not isinstance(value, Enum):
                return value
            case Enum():
                return value.value
            case date():
                return value.isoformat() if not isinstance(value, datetime) else str(value)
            case MeasuredVolume():
                return _volume_to_json(value)
            case Mapping():
                return {name: plain(part) for name, part in value.items()}
            case frozenset():
                return sorted(plain(part) for part in value)
            case tuple() | list():
                return [plain(part) for part in value]
            case _ if is_dataclass(value):
                parts = {f.name: getattr(value, f.name) for f in fields(value)}
                return {name: plain(part) for name, part in parts.items() if not isinstance(part, Mask)}
        raise TypeError(f"a report holds no {type(value).__name__}")

    value: dict[str, Any] = plain(report)
    return value


def _volume_to_json(volume: MeasuredVolume) -> dict[str, Any]:
    series = volume.series
    return {
        "study_instance_uid": volume.study_instance_uid,
        "study_date": volume.study_date.isoformat(),
        "series_instance_uid": series.series_instance_uid,
        "stack": series.stack,
        "series": series.name,
        "modality": series.modality,
        "value_unit": series.value_unit,
    }
