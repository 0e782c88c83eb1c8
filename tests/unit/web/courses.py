"""Courses as `Overview.course` gives them, of any size, and an overview that has only them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from workflow.domain.lesion import LesionState

START = date(2024, 1, 15)


def lesion(label: str, diameter_mm: float | None, **said: Any) -> dict[str, Any]:
    """A lesion of a report; without a diameter it is not evaluable, at 0 mm it disappeared."""
    is_seen = bool(diameter_mm)
    absent = LesionState.NOT_EVALUABLE if diameter_mm is None else LesionState.DISAPPEARED
    axis = {"length_mm": diameter_mm, "start_lps": [0, 0, 0], "end_lps": [diameter_mm, 0, 0]}
    role = {"T": "target", "NT": "non_target", "N": "new"}[label.rstrip("0123456789")]
    return {
        "tracking_uid": f"2.25.{sum(map(ord, label))}{label[-2:]}", "label": label, "role": role,
        "state": "present" if is_seen else absent.value, "is_nodal": False, "organ": "liver",
        "finding_site_meaning": "Liver", "laterality": None, "diameter_mm": diameter_mm, "confidence": 1.0,
        "measurement": {"long_axis": axis, "short_axis": axis, "volume_mm3": 500.0 * (diameter_mm or 0)}
        if is_seen else None,
        "model": {"name": "tracker", "version": "1"}, "reason": "found at its place", "flags": [],
        "decisions": [], "is_rejected": False, **said,
    }  # fmt: skip


def point(number: int, lesions: list[dict[str, Any]], *, days: int = 56, **said: Any) -> dict[str, Any]:
    """A visit, the `number`th from 1, `days` after the one before."""
    day = (START + timedelta(days * (number - 1))).isoformat()
    known = [one["diameter_mm"] for one in lesions if one["role"] == "target"]
    sum_mm = None if None in known else round(sum(known), 1)
    uid = f"1.2.{number}"
    line = {"series_instance_uid": f"{uid}.1", "stack": 0, "study_instance_uid": uid, "modality": "CT",
            "description": "CT abdomen", "score": 7.5, "reasons": ["axial"], "refusal": None}  # fmt: skip
    refused = {**line, "series_instance_uid": f"{uid}.2", "description": "Scout", "score": None,
               "refusal": "a localizer is not measured"}  # fmt: skip
    report = {
        "time_point_id": f"TP{number}", "study_date": day, "is_baseline": number == 1, "status": "draft",
        "signed_by": None, "signed_at": None, "lesions": lesions, "models": [], "decisions": [],
        "volumes": [{"series_instance_uid": f"{uid}.1", "stack": 0}],
        "assessment": {
            "criteria": "RECIST 1.1", "overall": "baseline" if number == 1 else "SD",
            "reason": f"reason {number}", "target": None, "non_target": None, "new_lesion": None,
            "sum_mm": sum_mm, "baseline_sum_mm": sum_mm, "nadir_sum_mm": sum_mm,
            "nadir_date": None, "change_from_baseline_percent": None,
            "change_from_nadir_percent": None, "change_from_nadir_mm": None, "best_overall_response": None,
            "computed_overall": None, "warnings": [],
        },
    }  # fmt: skip
    report |= said.pop("report", {})
    study = {"study_instance_uid": uid, "study_date": day, "dated_by": "StudyDate",
             "study_description": "CT abdomen", "accession_number": "", "series_choice": [line, refused],
             "notes": [], "is_complete": True}  # fmt: skip
    return {
        "id": f"TP{number}", "key": number, "order": number, "study_instance_uid": uid, "study_date": day,
        "study_description": "CT abdomen", "accession_number": "", "state": "DRAFT", "reason": "",
        "attention": [], "prior_study_instance_uid": None, "studies": [study],
        "series_choice": [line, refused], "notes": [], "is_complete": True, "seconds": 1.0, "report": report,
        "report_version": 1, "objects": [], **said,
    }  # fmt: skip


def course(points: list[dict[str, Any]], **said: Any) -> dict[str, Any]:
    """A patient's course."""
    return {"patient_key": 1, "patient_id": "P-1", "issuer_of_patient_id": "", "patient_name": "Doe, Jane",
            "time_points": points, "studies_on_no_visit": [], "priors": [], "events": [], **said}  # fmt: skip


def wide_course(visits: int = 12, lesions: int = 40) -> dict[str, Any]:
    """Five targets, then non-targets; each has a size of its own at each visit."""
    labels = [f"T{i + 1:02d}" if i < 5 else f"NT{i - 4:02d}" for i in range(lesions)]
    return course(
        [
            point(v, [lesion(label, 10 + i + v / 10) for i, label in enumerate(labels)])
            for v in range(1, visits + 1)
        ]
    )


@dataclass(frozen=True, kw_only=True)
class CourseOnly:
    """An overview of patients whose courses are given, by key."""

    courses: Mapping[int, dict[str, Any]]
    folders: Mapping[int, Path] = field(default_factory=dict)

    def course(self, patient_key: int) -> dict[str, Any] | None:
        """See `workflow.ports.Overview.course`."""
        return self.courses.get(patient_key)

    def key_image_folders(self, patient_key: int) -> Mapping[int, Path]:
        """See `workflow.ports.Overview.key_image_folders`."""
        return self.folders or {p["key"]: Path("nowhere") for p in self.courses[patient_key]["time_points"]}
