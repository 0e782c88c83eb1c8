"""Checks on a SEG: its frames lie on the source's grid and hold the report's masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from dicom_io.prompts.seg_frames import iterate_frames
from dicom_io.results.source import SourceImages
from dicom_io.results.visit import VisitVolume
from workflow.domain.geometry import Mask
from workflow.domain.report import ReportedLesion

# A frame may lie this far (in voxels) from where the volume has its slice: positions are rounded in headers.
_TOLERANCE_VOXELS = (0.25, 0.1, 0.1)


def check_seg(seg: Dataset, measured: VisitVolume) -> list[str]:
    """Whether segments, geometry, references and every voxel are as the report says of the volume."""
    images, lesions = measured.images, measured.segmented
    problems = _check_segments(seg, lesions) + _check_references(seg, images)
    image = images.plane(0)
    if (seg.Rows, seg.Columns) != (image.rows, image.columns):
        of_image = f"the source's images {image.rows} x {image.columns}"
        return [*problems, f"frames of {seg.Rows} x {seg.Columns}, {of_image}"]
    indices, aside = _slice_indices(seg, images)
    problems += aside
    return problems if problems else _check_voxels(seg, indices, lesions, images)


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
    """Which slice of the volume each frame lies on, and which frames don't lie where its image does."""
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
    nearest = np.rint(firsts[:, 0]).astype(int).clip(0, volume.shape[0] - 1)
    expected_first = volume.ijk(np.array([images.frame_origin_lps(int(index)) for index in nearest]))
    expected_last = expected_first + np.array([0.0, *last])
    error = np.maximum(abs(firsts - expected_first), abs(lasts - expected_last))
    is_off = (error > _TOLERANCE_VOXELS).any(axis=1)
    problems = [f"frame {i + 1} does not lie on a slice of the source" for i in np.flatnonzero(is_off)[:5]]
    return nearest.tolist(), problems


def _check_voxels(
    seg: Dataset, indices: list[int], lesions: Sequence[ReportedLesion], images: SourceImages
) -> list[str]:
    """Compare every frame with the masks; whatever a mask holds in the images must be in some frame."""
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
            first = images.first_pixel(indices[number])
            if not _is_slice_of(found, lesions[segment - 1].mask, indices[number], first):
                problems.append(f"frame {number + 1} is not the mask of {lesions[segment - 1].label}")
    wanted = [_voxels_in_images(lesion.mask, images) for lesion in lesions]
    counts = [
        f"{lesion.label} has {count} voxels, its mask {expected}"
        for lesion, count, expected in zip(lesions, seen, wanted, strict=True)
        if count != expected
    ]
    return (counts + problems)[:10]


def _is_slice_of(found: np.ndarray, mask: Mask | None, index: int, first: tuple[int, int]) -> bool:
    """Whether a frame that begins at this (row, column) of the volume holds what the mask has there."""
    if mask is None or not mask.start_ijk[0] <= index < mask.stop_ijk[0]:
        return not found.any()
    expected = np.argwhere(mask.voxels[index - mask.start_ijk[0]]) + mask.start_ijk[1:] - first
    is_inside = ((expected >= 0) & (expected < found.shape)).all(axis=1)
    return np.array_equal(np.argwhere(found), expected[is_inside])


def _voxels_in_images(mask: Mask | None, images: SourceImages) -> int:
    """How many voxels of a mask lie in the images: a straightened volume is larger than they are."""
    if mask is None:
        return 0
    plane = images.plane(0)
    firsts = np.array([images.first_pixel(index) for index in range(mask.start_ijk[0], mask.stop_ijk[0])])
    indices = mask.indices()
    pixels = indices[:, 1:] - firsts[indices[:, 0] - mask.start_ijk[0]]
    return int(((pixels >= 0) & (pixels < (plane.rows, plane.columns))).all(axis=1).sum())
