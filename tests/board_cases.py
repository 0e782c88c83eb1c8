"""Frozen patients for board tests: courses as timeline.json has them, with pictures.

The sums and responses come from `workflow.domain.response.assess`, so that the numbers hang together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dicom_io.results.key_images import KeyImage
from workflow.documents.report import report_to_json
from workflow.domain.lesion import Axis, Flag, LesionMeasurement, LesionState, ModelIdentity
from workflow.domain.report import (
    LesionRole,
    ReportedAssessment,
    ReportedDecision,
    ReportedLesion,
    ReviewStatus,
    TimePointReport,
)
from workflow.domain.response import (
    Assessment,
    Lesion,
    Observation,
    Protocol,
    Timeline,
    TimePoint,
    assess,
    micrometres,
)
from workflow.ports.board import FrozenPacket, FrozenPatient

MODEL = ModelIdentity(name="open-lesion", version="1.2")
SITES = (
    ("lung", "39607008", "Lung", "left"),
    ("liver", "10200004", "Liver", None),
    ("lung", "39607008", "Lung", "right"),
    ("lymph node", "59441001", "Lymph node", None),
)
MADE_AT = datetime(2026, 11, 25, 16, 30, tzinfo=UTC)


def course_of(
    sizes: Sequence[Sequence[float | None]],
    *,
    key: int = 1,
    patient_id: str = "P-1",
    name: str = "Test, Person",
    targets: int = 5,
    signed: Sequence[int] = (),
    first: date = date(2026, 1, 7),
) -> dict[str, Any]:
    """A course as timeline.json.

    Parameters
    ----------
    sizes
        By lesion, its long axis at each visit, mm: 0 is gone, None is not there yet (a new lesion).
    targets
        How many of the first lesions are targets; those that begin later are new, the rest non-targets.
    signed
        The places of the visits that were signed.
    """
    visits = len(sizes[0])
    days = [first + timedelta(days=63 * number) for number in range(visits)]
    labels, counts = [], dict.fromkeys(LesionRole, 0)
    for number, own in enumerate(sizes):
        role = (
            LesionRole.NEW
            if own[0] is None
            else LesionRole.TARGET
            if number < targets
            else LesionRole.NON_TARGET
        )
        counts[role] += 1
        prefix = {LesionRole.TARGET: "T", LesionRole.NON_TARGET: "NT", LesionRole.NEW: "N"}[role]
        labels.append((role, f"{prefix}{counts[role]:02d}"))
    # Each lesion in an organ of its own: how many targets an organ may have is not what is tested here.
    timeline = Timeline(
        lesions=tuple(Lesion(id=label, role=role, organ=f"organ {label}") for role, label in labels),
        time_points=tuple(
            TimePoint(
                id=f"TP{place + 1}",
                date=days[place],
                observations=tuple(
                    Observation(
                        lesion=label,
                        state=LesionState.PRESENT if own[place] else LesionState.DISAPPEARED,
                        diameter_um=micrometres(own[place]),
                    )
                    for (_, label), own in zip(labels, sizes, strict=True)
                    if own[place] is not None
                ),
            )
            for place in range(visits)
        ),
    )
    points = []
    for place, day in enumerate(days):
        # As it stood on its day, as the response stage judges.
        course = assess(replace(timeline, time_points=timeline.time_points[: place + 1]), Protocol())
        a = course.assessments[-1]
        lesions = tuple(
            _lesion(number, role, label, own[place])
            for number, ((role, label), own) in enumerate(zip(labels, sizes, strict=True))
            if own[place] is not None
        )
        is_signed = place in signed
        study = f"1.2.3.{key}.{place}"
        report = TimePointReport(
            patient_key=str(key),
            study_instance_uid=study,
            series_instance_uid=f"{study}.1",
            study_date=day,
            time_point_id=f"TP{place + 1}",
            order=place + 1,
            is_baseline=a.is_baseline,
            is_nadir=False,
            identity=f"{key:032x}{place:032x}",
            lesions=lesions,
            assessment=_assessment(a, course.headline.value.value),
            models=(MODEL,),
            status=ReviewStatus.SIGNED if is_signed else ReviewStatus.DRAFT,
            signed_by="Roe^Jane" if is_signed else None,
            signed_at=datetime(2026, 11, 20, 9, 30, tzinfo=UTC) if is_signed else None,
            days_from_baseline=(day - days[0]).days,
        )
        document = report_to_json(report)
        document["volumes"] = [
            {"study_instance_uid": study, "study_date": day.isoformat(), "series_instance_uid": f"{study}.1",
             "stack": 0, "series": "series 2 (CT)", "modality": "CT", "value_unit": "HU"}
        ]  # fmt: skip
        points.append(
            {
                "id": f"TP{place + 1}",
                "key": 100 * key + place,
                "order": place + 1,
                "study_instance_uid": study,
                "study_date": day.isoformat(),
                "state": "SIGNED" if is_signed else "DRAFT",
                "reason": "",
                "attention": ["slices of 5.0 mm, 2.5 mm at baseline"] if place == visits - 1 else [],
                "studies": [
                    {
                        "study_instance_uid": study,
                        "study_date": day.isoformat(),
                        "study_description": "CT chest",
                    }
                ],
                "report": document,
                "report_version": 1,
                "objects": [],
            }
        )
    return {
        "patient_key": key,
        "patient_id": patient_id,
        "issuer_of_patient_id": "HOSPITAL",
        "patient_name": name,
        "time_points": points,
    }


def _lesion(number: int, role: LesionRole, label: str, size: float | None) -> ReportedLesion:
    organ, code, meaning, side = SITES[number % len(SITES)]
    measured = None
    if size:
        measured = LesionMeasurement(
            long_axis=Axis(start_lps=(0, 0, 0), end_lps=(size, 0, 0), length_mm=size),
            short_axis=Axis(start_lps=(0, 0, 0), end_lps=(0, size * 0.75, 0), length_mm=size * 0.75),
            slice_index=10,
            volume_mm3=0.5 * size**3,
            mean_hu=40.0,
        )
    decided = ReportedDecision(
        what="diameter",
        by="Roe^Jane",
        at=MADE_AT,
        reason="vessel included",
        lesion=label,
        old="12.0 mm",
        new="14.0 mm",
    )
    return ReportedLesion(
        tracking_uid=f"2.25.{1000 + number}",
        label=label,
        role=role,
        state=LesionState.PRESENT if size else LesionState.DISAPPEARED,
        organ=organ,
        finding_site=code,
        finding_site_meaning=meaning,
        laterality=side,
        measurement=measured,
        diameter_mm=size,
        response="",
        confidence=0.87,
        model=MODEL,
        reason="found at its place" if size else "nothing is left",
        flags=frozenset({Flag.TOUCHES_NEIGHBOUR}) if number == 1 else frozenset(),
        decisions=(decided,) if number == 2 else (),
    )


def _assessment(a: Assessment, best: str) -> ReportedAssessment:
    def mm(um: int | None) -> float | None:
        return None if um is None else um / 1000

    return ReportedAssessment(
        criteria="recist-1.1",
        overall="baseline" if a.overall is None else a.overall.value,
        reason=a.reason,
        target=a.target.value if a.target else None,
        non_target=a.non_target.value if a.non_target else None,
        new_lesion=a.new_lesion.value if a.new_lesion else None,
        sum_mm=mm(a.sum_um),
        baseline_sum_mm=mm(a.baseline_sum_um),
        nadir_sum_mm=mm(a.nadir_um),
        nadir_date=a.nadir_date,
        change_from_baseline_percent=a.change_from_baseline_percent,
        change_from_nadir_percent=a.change_from_nadir_percent,
        change_from_nadir_mm=mm(a.change_from_nadir_um),
        best_overall_response=None if a.is_baseline else best,
    )


def pictures_of(course: Mapping[str, Any], folder: Path) -> dict[int, Path]:
    """A key image of every lesion at every visit that shows it, as the report stage leaves them."""
    found = {}
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[-40:40:192j, -40:40:192j]
    for point in course["time_points"]:
        own = folder / str(point["key"])
        own.mkdir(parents=True)
        found[point["key"]] = own
        for lesion in point["report"]["lesions"]:
            grey = rng.integers(30, 60, (192, 192))
            size = lesion["diameter_mm"] or 0.0
            grey[(rows**2 + columns**2) < (size / 2) ** 2] = 190
            image = KeyImage(
                tracking_uid=lesion["tracking_uid"],
                label=lesion["label"],
                slice_index=10,
                field_mm=80.0,
                pixels=np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8),
                time_point_id=point["id"],
                place="series 2, image 11",
            )
            (own / f"{lesion['tracking_uid']}.png").write_bytes(image.png())
    return found


def frozen(course: Mapping[str, Any], folder: Path | None = None, **said: Any) -> FrozenPatient:
    """A course as a packet froze it."""
    pictures = pictures_of(course, folder / f"pictures-{course['patient_key']}") if folder else {}
    values: dict[str, Any] = {
        "priority": "urgent",
        "question": "Switch to second line?",
        "missing": ("not signed: 2026-03-11",),
        "birth_date": "1960-01-02",
        "sex": "F",
    }
    return FrozenPatient(course=course, pictures=pictures, **(values | said))


def packet_of(*patients: FrozenPatient, is_list: bool = False) -> FrozenPacket:
    """A packet of a patient, or a list of several."""
    return FrozenPacket(
        day=date(2026, 12, 1),
        version=2,
        made_by="roe",
        made_at=MADE_AT,
        sha256="ab" * 32,
        is_list=is_list,
        patients=patients,
    )


def large_course(visits: int = 12, lesions: int = 40, **said: Any) -> dict[str, Any]:
    """Many lesions over many visits: shrinking, then growing."""
    rng = np.random.default_rng(3)
    start = rng.uniform(11, 48, lesions)
    waves = [1 - 0.09 * v if v < 6 else 0.5 + 0.06 * (v - 5) for v in range(visits)]
    sizes = [[round(float(s * w * rng.uniform(0.97, 1.03)), 1) for w in waves] for s in start]
    return course_of(sizes, **said)


RESPONDING = ((30.0, 20.0, 14.5), (22.0, 14.0, 10.2), (11.0, 10.0, 9.0), (None, None, 8.5))
"""A response, then a new lesion: PR, PD."""
