"""Checks on an SR: everything it refers to exists, and its axes are where and as long as it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydicom import Dataset

from dicom_io import codes
from dicom_io.results.content import children, descendants, measurement_groups, text_of
from dicom_io.results.hydration import hydration_problems, loading_problems
from dicom_io.results.settings import ResultSettings, TrackingIdentifierForm
from dicom_io.results.source import SourceImages
from dicom_io.results.sr import report_of
from dicom_io.results.sr_conclusions import has_group
from dicom_io.results.visit import Visit, VisitStudy
from workflow.domain.lesion import Axis
from workflow.domain.report import ReportedLesion, ReviewStatus
from workflow.domain.series import StackKey

# Image coordinates are stored as 32-bit floats and lengths to 0.001 mm; a viewer shows tenths.
_TOLERANCE_MM = 0.01
# An image may lie this share of the slice spacing off the volume's even steps.
_LARGEST_STEP = 0.25


def check_sr(
    sr: Dataset,
    visit: Visit,
    study: VisitStudy,
    segs: Mapping[StackKey, Dataset],
    settings: ResultSettings,
) -> list[str]:
    """Whether references, end points, lengths, identities and flags hold."""
    report = visit.report
    problems = _check_references(sr, visit, study, segs)
    by_uid = {lesion.tracking_uid: lesion for lesion in report.lesions}
    for group in measurement_groups(sr):
        lesion = by_uid.get(text_of(group, codes.TRACKING_UNIQUE_IDENTIFIER) or "")
        if lesion is not None:
            problems += _check_axes(group, lesion, visit.volume_of(lesion).images)
    problems += _check_identities(sr, visit, study, segs)
    expected = "VERIFIED" if report.status is ReviewStatus.SIGNED else "UNVERIFIED"
    if sr.VerificationFlag != expected:
        problems.append(f"it is {sr.VerificationFlag}, the report is {report.status.value}")
    is_for_ohif = settings.tracking_identifier is TrackingIdentifierForm.OHIF
    problems += [f"OHIF: {p}" for p in (hydration_problems if is_for_ohif else loading_problems)(sr)]
    return problems


def _check_references(
    sr: Dataset, visit: Visit, study: VisitStudy, segs: Mapping[StackKey, Dataset]
) -> list[str]:
    own_segs = [segs[volume.key] for volume in study.volumes if volume.key in segs]
    segments = {
        str(seg.SOPInstanceUID): {int(s.SegmentNumber) for s in seg.SegmentSequence} for seg in own_segs
    }
    known = {image.sop_instance_uid for volume in study.volumes for image in volume.images.references()}
    known |= {report_of(visit, other).sop_instance_uid for other in visit.studies if other is not study}
    evidence = {
        str(instance.ReferencedSOPInstanceUID)
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for referenced in sr.get(keyword, [])
        for series in referenced.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    problems = []
    for item in descendants(sr):
        for reference in item.get("ReferencedSOPSequence", []):
            uid = str(reference.ReferencedSOPInstanceUID)
            if uid not in known and uid not in segments:
                problems.append(f"it refers to {uid}, which is no image, SEG or report of the visit")
            if uid not in evidence:
                problems.append(f"it refers to {uid}, which is not among its evidence")
            number = reference.get("ReferencedSegmentNumber")
            if number is not None and int(number) not in segments.get(uid, ()):
                problems.append(f"it refers to segment {number}, which the SEG does not have")
    return problems


def _check_axes(group: Dataset, lesion: ReportedLesion, images: SourceImages) -> list[str]:
    """Each axis: ends within the image, where they were measured, and as far apart as the number says."""
    measurement = lesion.measurement
    if measurement is None:
        return []
    problems = []
    for name, axis in ((codes.LONG_AXIS, measurement.long_axis), (codes.SHORT_AXIS, measurement.short_axis)):
        for item in children(group, name, "NUM"):
            message = _axis_problem(item, axis, images)
            if message:
                problems.append(f"{lesion.label}, {name.meaning}: {message}")
    return problems


def _axis_problem(item: Dataset, axis: Axis, images: SourceImages) -> str:
    drawn = [child for child in item.get("ContentSequence", []) if child.ValueType in ("SCOORD", "SCOORD3D")]
    if not drawn:
        return "it has no coordinates"
    ends, message = _ends_lps(drawn[0], images)
    if ends is None:
        return message
    value = float(item.MeasuredValueSequence[0].NumericValue)
    length = float(np.linalg.norm(ends[1] - ends[0]))
    if abs(length - value) > _TOLERANCE_MM:
        return f"{value} mm, its end points are {length:.3f} mm apart"
    between = _LARGEST_STEP * images.volume.spacing_mm[0]
    aside = float(np.abs(ends - np.array([axis.start_lps, axis.end_lps])).max())
    return f"it is drawn {aside:.1f} mm from where it was measured" if aside > _TOLERANCE_MM + between else ""


def _ends_lps(drawn: Dataset, images: SourceImages) -> tuple[np.ndarray | None, str]:
    data = np.asarray(drawn.GraphicData, dtype=float)
    if drawn.ValueType == "SCOORD3D":
        ends = data.reshape(-1, 3)
        outside = [tuple(p) for p in ends if not images.volume.contains((p[0], p[1], p[2]))]
        return (None, f"end point {outside[0]} lies outside the volume") if outside else (ends, "")
    reference = children(drawn, value_type="IMAGE")[0].ReferencedSOPSequence[0]
    index = _slice_of(reference, images)
    if index is None:
        return None, f"its image {reference.ReferencedSOPInstanceUID} is not in the source"
    plane = images.plane(index)
    points = data.reshape(-1, 2)
    if (points < 0).any() or (points > (plane.columns, plane.rows)).any():
        return None, f"an end point lies outside its image of {plane.columns} x {plane.rows} pixels"
    centres = points - 0.5
    return plane.origin_lps + centres[:, :1] * plane.column_step + centres[:, 1:] * plane.row_step, ""


def _slice_of(reference: Dataset, images: SourceImages) -> int | None:
    frame = reference.get("ReferencedFrameNumber")
    for index, image in enumerate(images.source.slices):
        same_frame = image.frame_number is None or (frame is not None and int(frame) == image.frame_number)
        if image.sop_instance_uid == reference.ReferencedSOPInstanceUID and same_frame:
            return index
    return None


def _check_identities(
    sr: Dataset, visit: Visit, study: VisitStudy, segs: Mapping[StackKey, Dataset]
) -> list[str]:
    """Each lesion is there under its tracking UID, and each segment it refers to has the same."""
    problems = []
    by_segment = {
        (str(seg.SOPInstanceUID), int(s.SegmentNumber)): s.get("TrackingUID")
        for seg in segs.values()
        for s in seg.SegmentSequence
    }
    in_groups = set()
    for group in measurement_groups(sr):
        uid = text_of(group, codes.TRACKING_UNIQUE_IDENTIFIER)
        in_groups.add(uid)
        for item in children(group, codes.REFERENCED_SEGMENT):
            reference = item.ReferencedSOPSequence[0]
            number = int(reference.ReferencedSegmentNumber)
            found = by_segment.get((str(reference.ReferencedSOPInstanceUID), number))
            if found != uid:
                problems.append(f"lesion {uid} refers to segment {number}, which is {found}")
    elsewhere = {
        text_of(item, codes.TRACKING_UNIQUE_IDENTIFIER)
        for part in children(sr, codes.QUALITATIVE_EVALUATIONS)
        for item in descendants(part)
        if "ContentSequence" in item
    }
    for lesion in visit.report.lesions:
        is_measured = has_group(lesion, visit, study)
        if lesion.tracking_uid not in (in_groups if is_measured else elsewhere):
            problems.append(f"{lesion.label} ({lesion.tracking_uid}) is not in the report")
        if lesion.tracking_uid in in_groups and not is_measured:
            problems.append(f"{lesion.label} is measured in the report, and must not be")
    return problems
