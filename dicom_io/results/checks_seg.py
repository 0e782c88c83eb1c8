"""Checks on a SEG: its frames lie on the source's grid and hold the report's masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from dicom_io.prompts.seg_frames import iterate_frames
from dicom_io.results.source import SourceImages
from dicom_io.results.visit import VisitVolume
from workflow.domain.report import ReportedLesion

# A frame may lie this far (in voxels) from where the volume has its slice: positions are rounded in headers.
_TOLERANCE_VOXELS = (0.25, 0.1, 0.1)


def check_seg(seg: Dataset, measured: VisitVolume) -> list[str]:
    """Whether segments, geometry, references and every voxel are as the report says of the volume."""
    images, lesions = measured.images, measured.segmented
    problems = _check_segments(seg, lesions) + _check_references(seg, images)
    if (seg.Rows, seg.Columns) != images.volume.shape[1:]:
        return [*problems, f"frames of {seg.Rows} x {seg.Columns}, the source has {images.volume.shape[1:]}"]
    indices, off_grid = _slice_indices(seg, images)
    problems += off_grid
    return problems if problems else _check_voxels(seg, indices, lesions)


def _check_segments(seg: Dataset, lesions: Sequence[ReportedLesion]) -> list[str]:
    segments = [s for s in seg.SegmentSequence if s.SegmentNumber != 0]  # 0: LABELMAP's background
    problems = []
    if [s.SegmentNumber for s in segments] != list(range(1, len(lesions) + 1)):
        problems.append(f"{len(segments)} segments for {len(lesions)} lesions, or not numbered from 1")
    uids = [s.get("TrackingUID") for s in segments]
    if uids != [lesion.tracking_uid for lesion in lesions]:
        problems.append("the segments' Tracking UIDs are not the lesions'")
    if len(set(uids)) != len(uids):
        problems.append("two segments have the same Tracking UID")
    return problems


def _check_references(seg: Dataset, images: SourceImages) -> list[str]:
    known = {reference.sop_instance_uid for reference in images.references()}
    series = seg.ReferencedSeriesSequence
    problems = []
    if [s.SeriesInstanceUID for s in series] != [images.source.series.series_instance_uid]:
        problems.append("it does not refer to the source series alone")
    referenced = {str(i.ReferencedSOPInstanceUID) for s in series for i in s.ReferencedInstanceSequence}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        for derivation in frame.get("DerivationImageSequence", []):
            referenced |= {str(i.ReferencedSOPInstanceUID) for i in derivation.get("SourceImageSequence", [])}
    problems += [f"it refers to {uid}, which is no image of the source" for uid in sorted(referenced - known)]
    if seg.get("FrameOfReferenceUID") != images.frame_of_reference_uid:
        problems.append("its frame of reference is not the source's")
    return problems


def _slice_indices(seg: Dataset, images: SourceImages) -> tuple[list[int], list[str]]:
    """Which slice of the volume each frame lies on, and which frames lie on none."""
    volume = images.volume
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.asarray(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    last = np.array([seg.Rows - 1, seg.Columns - 1])
    across = last[0] * row_mm * cosines[3:] + last[1] * column_mm * cosines[:3]
    origins = np.array(
        [f.PlanePositionSequence[0].ImagePositionPatient for f in seg.PerFrameFunctionalGroupsSequence],
        dtype=float,
    )
    firsts, lasts = volume.ijk(origins), volume.ijk(origins + across)
    nearest = np.rint(firsts[:, 0])
    expected_first = np.stack([nearest, np.zeros_like(nearest), np.zeros_like(nearest)], axis=1)
    expected_last = expected_first + np.array([0.0, *last])
    error = np.maximum(abs(firsts - expected_first), abs(lasts - expected_last))
    is_off = (error > _TOLERANCE_VOXELS).any(axis=1) | (nearest < 0) | (nearest >= volume.shape[0])
    problems = [f"frame {i + 1} does not lie on a slice of the source" for i in np.flatnonzero(is_off)[:5]]
    return nearest.astype(int).tolist(), problems


def _check_voxels(seg: Dataset, indices: list[int], lesions: Sequence[ReportedLesion]) -> list[str]:
    """Compare every frame with the masks; whatever a mask holds must be in some frame."""
    is_labelmap = seg.SegmentationType == "LABELMAP"
    seen = [0] * len(lesions)
    problems = []
    for number, frame in enumerate(iterate_frames(seg)):
        if is_labelmap:
            segments = [int(n) for n in np.unique(frame) if n]
        else:
            groups = seg.PerFrameFunctionalGroupsSequence[number]
            if "SegmentIdentificationSequence" not in groups:
                groups = seg.SharedFunctionalGroupsSequence[0]
            segments = [int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        for segment in segments:
            found = frame == (segment if is_labelmap else 1)
            seen[segment - 1] += int(np.count_nonzero(found))
            if not _is_slice_of(found, lesions[segment - 1], indices[number]):
                problems.append(f"frame {number + 1} is not the mask of {lesions[segment - 1].label}")
    counts = [
        f"{lesion.label} has {count} voxels, its mask {lesion.mask.voxel_count}"
        for lesion, count in zip(lesions, seen, strict=True)
        if lesion.mask is not None and count != lesion.mask.voxel_count
    ]
    return (counts + problems)[:10]


def _is_slice_of(found: np.ndarray, lesion: ReportedLesion, index: int) -> bool:
    mask = lesion.mask
    if mask is None or not mask.start_ijk[0] <= index < mask.stop_ijk[0]:
        return not found.any()
    inside = found[mask.box[1], mask.box[2]]
    same = np.array_equal(inside, mask.voxels[index - mask.start_ijk[0]])
    return bool(same and np.count_nonzero(inside) == np.count_nonzero(found))
