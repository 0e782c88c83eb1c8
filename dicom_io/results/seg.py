"""Masks into a DICOM Segmentation (PS3.3 A.51): one segment per lesion, one SEG per source series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import Dataset

from dicom_io import codes, uids
from dicom_io.results import equipment
from dicom_io.results.common import Kind, finish, institution, series_description, series_number
from dicom_io.results.seg_frames import (
    Frame,
    frames_of,
    labels_of,
    markers,
    overlap,
    packed,
    with_even_bytes,
)
from dicom_io.results.settings import ResultSettings, SegmentationType
from dicom_io.results.source import SourceImages, moment_of
from dicom_io.results.text import short
from dicom_io.results.visit import VisitVolume
from workflow.domain.palette import colour_of
from workflow.domain.report import ReportedLesion, ReviewStatus, TimePointReport


def build_seg(report: TimePointReport, measured: VisitVolume, settings: ResultSettings) -> Dataset | None:
    """Encode the masks on one volume of the report.

    Frames lie on the images, with their positions, each with its source image: viewers draw on images. Where
    the volume is straightened (gantry tilt) masks are moved back onto the tilted images by whole pixels, so
    that each keeps its voxels and lies up to half a pixel aside. A slice that was filled in has a frame
    halfway between its neighbours and no source image.

    Returns
    -------
    pydicom.Dataset or None
        None if no lesion has a voxel: an all-empty SEG is never written.
    """
    from highdicom.seg import Segmentation

    images, lesions = measured.images, measured.segmented
    if not lesions:
        return None
    masks = [lesion.mask for lesion in lesions if lesion.mask is not None]
    plane, has_overlap = images.plane(0), overlap(masks)
    shape = (images.volume.shape[0], plane.rows, plane.columns)
    is_binary = has_overlap or settings.segmentation_type is SegmentationType.BINARY
    indices, labels = (
        markers(with_even_bytes(frames_of(masks), shape), shape)
        if is_binary
        else labels_of(masks, shape, images.first_pixel)
    )
    moment = moment_of(report, images.header)
    sop_instance_uid = uids.seg_sop_instance_uid(report, measured.key)
    models = equipment.models_of_lesions(lesions)
    seg = Segmentation(
        **_placement(images, indices),
        pixel_array=labels,
        segmentation_type=(SegmentationType.BINARY if is_binary else SegmentationType.LABELMAP).value,
        segment_descriptions=[_describe(n, lesion, settings) for n, lesion in enumerate(lesions, start=1)],
        series_instance_uid=uids.series_instance_uid_of(sop_instance_uid),
        series_number=series_number(Kind.SEG, report, settings, measured.place),
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        manufacturer=settings.manufacturer,
        manufacturer_model_name=settings.manufacturer_model_name,
        software_versions=settings.software_version,
        device_serial_number=settings.device_serial_number,
        content_label="LESIONS",
        content_description=short(f"Lesions at {report.time_point_id}", 64),
        content_creator_name=report.signed_by if report.status is ReviewStatus.SIGNED else "",
        content_date=moment.date(),
        content_time=moment.time(),
        series_description=series_description(settings.seg_description, report),
        contributing_equipment=equipment.contributing_equipment(models, settings, moment),
        **institution(images.header),
    )
    if is_binary:
        seg.PixelData = packed(_frames_in_order(seg, images), masks, shape, images.first_pixel)
        seg.SegmentsOverlap = "YES" if has_overlap else "NO"
    else:
        # The background (segment 0) last: OHIF 3.13 takes the n-th item for segment n, and would otherwise
        # give each lesion the colour of the one before (cornerstone3D #2882). Nothing orders the items.
        seg.SegmentSequence = sorted(seg.SegmentSequence, key=lambda segment: segment.SegmentNumber == 0)
    _name_source_images(seg, images)
    _settle_geometry(seg, images, indices)
    finish(seg, report, images, moment)
    return seg


def _slices_in_order(seg: Dataset, images: SourceImages) -> list[int]:
    """Which slice of the volume each frame is."""
    groups = seg.PerFrameFunctionalGroupsSequence
    origins = np.array([g.PlanePositionSequence[0].ImagePositionPatient for g in groups], dtype=float)
    slices: list[int] = np.rint(images.volume.ijk(origins)[:, 0]).astype(int).tolist()
    return slices


def _frames_in_order(seg: Dataset, images: SourceImages) -> list[Frame]:
    """Which segment and slice each frame of a BINARY SEG is."""
    groups = seg.PerFrameFunctionalGroupsSequence
    shared = seg.SharedFunctionalGroupsSequence[0]  # has what all frames have in common: a single segment
    identified = [g if "SegmentIdentificationSequence" in g else shared for g in groups]
    numbers = [int(g.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for g in identified]
    return list(zip(numbers, _slices_in_order(seg, images), strict=True))


def _name_source_images(seg: Dataset, images: SourceImages) -> None:
    """Name each frame's image where highdicom can't, because other frames lie on none.

    A frame between two images names neither: viewers would draw it on the first that it names.
    """
    for group, index in zip(seg.PerFrameFunctionalGroupsSequence, _slices_in_order(seg, images), strict=True):
        if not group.get("DerivationImageSequence") and images.is_in_image(index):
            one, source, derivation = images.source.slices[index], Dataset(), Dataset()
            source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = (
                one.sop_class_uid,
                one.sop_instance_uid,
            )
            if one.frame_number is not None:
                source.ReferencedFrameNumber = one.frame_number
            source.SpatialLocationsPreserved = "YES"
            source.PurposeOfReferenceCodeSequence = [codes.dataset_of(codes.SOURCE_IMAGE)]
            derivation.SourceImageSequence = [source]
            derivation.DerivationCodeSequence = [codes.dataset_of(codes.SEGMENTATION)]
            group.DerivationImageSequence = [derivation]


def _placement(images: SourceImages, indices: Sequence[int]) -> dict[str, Any]:
    """The arguments that say which images the frames are on."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    if not images.is_multi_frame and all(images.is_in_image(i) for i in indices):
        return {"source_images": _headers(images, indices)}
    unique = {s.sop_instance_uid: i for i, s in enumerate(images.source.slices)}
    volume = images.volume
    origins = [images.frame_origin_lps(i) for i in indices]
    slice_mm, row_mm, column_mm = volume.spacing_mm
    cosines = np.concatenate([volume.directions[:, 2], volume.directions[:, 1]])
    return {
        "source_images": _headers(images, sorted(unique.values())),
        "plane_positions": [PlanePositionSequence("PATIENT", origin) for origin in origins],
        "plane_orientation": PlaneOrientationSequence("PATIENT", cosines),
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=(row_mm, column_mm), slice_thickness=slice_mm, spacing_between_slices=slice_mm
        ),
    }


def _headers(images: SourceImages, indices: Sequence[int]) -> list[Dataset]:
    """The images' headers; highdicom takes patient and study from the first."""
    return [images.template(indices[0]), *(images.image(i) for i in indices[1:])]


def _settle_geometry(seg: Dataset, images: SourceImages, indices: Sequence[int]) -> None:
    """Say the volume's slice spacing, not what the encoded slices suggest, and fix the dimensions' UID."""
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = round(images.volume.spacing_mm[0], 6)
    if not measures.get("SliceThickness"):  # Type 1C here, often absent in de-identified sources
        measures.SliceThickness = measures.SpacingBetweenSlices
    if len(indices) != indices[-1] - indices[0] + 1 and "DimensionOrganizationType" in seg:
        del seg.DimensionOrganizationType  # "3D" would promise evenly spaced frames
    dimension_uid = uids.uid_of(seg.SOPInstanceUID, "dimensions")
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimension_uid
    for dimension in seg.DimensionIndexSequence:
        dimension.DimensionOrganizationUID = dimension_uid


def _describe(number: int, lesion: ReportedLesion, settings: ResultSettings) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    model = lesion.model
    algorithm = None
    if model is not None:
        algorithm = AlgorithmIdentificationSequence(
            name=equipment.name_of(model),
            family=equipment.family_of(model),
            version=equipment.version_of(model),
            parameters=dict(p.split("=", 1) for p in equipment.parameters_of(model)),
        )
    return SegmentDescription(
        segment_number=number,
        segment_label=short(lesion.label, 64),
        segmented_property_category=codes.MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=codes.finding_of(lesion),
        algorithm_type=equipment.algorithm_type(lesion),
        algorithm_identification=algorithm,
        tracking_uid=lesion.tracking_uid,
        tracking_id=short(settings.tracking_id(lesion.label), 64),
        anatomic_regions=codes.anatomic_regions(lesion)[:1] or None,
        display_color=CIELabColor.from_rgb(*colour_of(lesion.role, lesion.label)),
    )
