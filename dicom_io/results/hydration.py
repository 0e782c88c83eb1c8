"""Whether OHIF will make editable measurements of an SR: its conditions, checked on the object.

Observed with @cornerstonejs/adapters 5.6.8 and 5.14.0 and in OHIF 3.13's SR extension; each condition
that is broken there loses the measurement, or the whole report.
"""

from __future__ import annotations

from pydicom import Dataset

from dicom_io import codes
from dicom_io.results.content import children, measurement_groups, text_of
from dicom_io.results.settings import OHIF_BIDIRECTIONAL


def loading_problems(document: Dataset) -> list[str]:
    """What keeps OHIF from loading the report at all, whatever its identifiers look like."""
    problems = []
    by_lesion: dict[str, bool] = {}
    for number, group in enumerate(measurement_groups(document), start=1):
        uid = text_of(group, codes.TRACKING_UNIQUE_IDENTIFIER)
        if uid is None:
            problems.append(f"measurement group {number} has no Tracking Unique Identifier")
            continue
        by_lesion[uid] = by_lesion.get(uid, False) or any(
            _coordinates(number_item) is not None for number_item in children(group, value_type="NUM")
        )
    problems += [f"lesion {uid} has no coordinates" for uid, has_some in by_lesion.items() if not has_some]
    return problems


def hydration_problems(document: Dataset) -> list[str]:
    """What keeps OHIF from making a bidirectional measurement of each lesion; empty if nothing does."""
    problems = loading_problems(document)
    groups = measurement_groups(document)
    if not groups:
        return problems
    title = document.ConceptNameCodeSequence[0]
    if title.CodeValue != codes.IMAGING_MEASUREMENT_REPORT.value:
        problems.append(
            f"the title is {title.CodeValue}, OHIF reads {codes.IMAGING_MEASUREMENT_REPORT.value}"
        )
    template = document.get("ContentTemplateSequence")
    if not template or template[0].TemplateIdentifier != "1500":
        problems.append("the root does not name template 1500")
    merged: dict[str, list[Dataset]] = {}
    for group in groups:
        merged.setdefault(text_of(group, codes.TRACKING_UNIQUE_IDENTIFIER) or "", []).append(group)
    for uid, parts in merged.items():
        problems += [f"lesion {uid}: {problem}" for problem in _lesion_problems(parts, document)]
    return problems


def _lesion_problems(groups: list[Dataset], document: Dataset) -> list[str]:
    """Groups of one tracking UID, which the viewer merges in their order."""
    problems = []
    for group in groups:
        identifier = text_of(group, codes.TRACKING_IDENTIFIER) or ""
        if not identifier.startswith(OHIF_BIDIRECTIONAL):
            problems.append(
                f"its Tracking Identifier {identifier!r} does not begin with {OHIF_BIDIRECTIONAL}"
            )
    numbers = [item for group in groups for item in children(group, value_type="NUM")]
    meanings = [item.ConceptNameCodeSequence[0].CodeMeaning for item in numbers]
    for wanted in (codes.LONG_AXIS.meaning, codes.SHORT_AXIS.meaning):
        if wanted not in meanings:
            problems.append(f"no measurement has the meaning {wanted!r}, letter by letter")
    if numbers and meanings[0] != codes.LONG_AXIS.meaning:
        problems.append(f"its first measurement is {meanings[0]!r}, not the long axis with its coordinates")
    for item, meaning in zip(numbers, meanings, strict=True):
        if meaning in (codes.LONG_AXIS.meaning, codes.SHORT_AXIS.meaning):
            problems += [f"{meaning}: {problem}" for problem in _axis_problems(item, document)]
    return problems


def _axis_problems(item: Dataset, document: Dataset) -> list[str]:
    value = item.get("MeasuredValueSequence")
    if not value or not value[0].get("MeasurementUnitsCodeSequence"):
        return ["it has no value with a unit"]
    drawn = _coordinates(item)
    if drawn is None:
        return ["it has no coordinates"]
    if drawn.ValueType == "SCOORD3D":
        return []
    images = children(drawn, value_type="IMAGE")
    if not images:
        return ["its coordinates name no image"]
    uid = images[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    if uid not in _evidence_of_own_study(document):
        return [f"its image {uid} is not evidence of the report's own study"]
    return []


def _coordinates(item: Dataset) -> Dataset | None:
    for child in item.get("ContentSequence", []):
        if child.ValueType in ("SCOORD", "SCOORD3D"):
            return child
    return None


def _evidence_of_own_study(document: Dataset) -> set[str]:
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in document.get("CurrentRequestedProcedureEvidenceSequence", [])
        if study.StudyInstanceUID == document.StudyInstanceUID
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
