"""One lesion in the SR: a TID 1501 group with its axes and a TID 1411 group with its segment and volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.valuerep import DT

from dicom_io import codes
from dicom_io.results import equipment
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import SourceImages
from dicom_io.results.sr_items import (
    code_item,
    container,
    extend,
    image_item,
    num_item,
    optional_num,
    text_item,
    uid_item,
)
from dicom_io.results.visit import VisitVolume
from dicom_io.results.words import said_of
from workflow.domain.lesion import Axis, ModelIdentity
from workflow.domain.report import LesionRole, ReportedDecision, ReportedLesion, TimePointReport

# PS3.3 C.10.5.1.2: (0.5, 0.5) is the centre of the first pixel, index (0, 0).
_PIXEL_CENTRE = 0.5


def has_axes(lesion: ReportedLesion) -> bool:
    """Whether the lesion has a long axis that can be drawn; the others go among the conclusions."""
    return lesion.measurement is not None and lesion.measurement.long_axis.length_mm > 0


def measured_slices(measured: VisitVolume) -> list[int]:
    """Slices that carry an axis as image coordinates, ascending."""
    return sorted({index for axis, index in _axes(measured) if _is_in_image(axis, index, measured.images)})


def is_drawn_in_space(measured: VisitVolume) -> bool:
    """Whether an axis lies in no image, so that it needs coordinates in the frame of reference."""
    return not all(_is_in_image(axis, index, measured.images) for axis, index in _axes(measured))


def _axes(measured: VisitVolume) -> list[tuple[Axis, int]]:
    """Every axis that is drawn, with its slice."""
    found = [one.measurement for one in measured.lesions if one.measurement is not None and has_axes(one)]
    return [(axis, size.slice_index) for size in found for axis in (size.long_axis, size.short_axis)]


def _is_in_image(axis: Axis, slice_index: int, images: SourceImages) -> bool:
    return image_polyline(axis, slice_index, images) is not None


def image_polyline(axis: Axis, slice_index: int, images: SourceImages) -> np.ndarray | None:
    """An axis in image coordinates of its slice's image.

    Returns
    -------
    numpy.ndarray or None
        (column, row) of both ends, shape (2, 2), in pixels with the centre of the first pixel at
        (0.5, 0.5); None if the ends don't lie in that image. Where the volume is straightened (gantry tilt)
        they are found on the tilted image, as far apart as they were measured.
    """
    if not images.is_in_image(slice_index):
        return None
    plane = images.plane(slice_index)
    ends = plane.column_row_distance(np.array([axis.start_lps, axis.end_lps]))[:, :2] + _PIXEL_CENTRE
    is_inside = (ends >= 0).all() and (ends <= (plane.columns, plane.rows)).all()
    return ends if is_inside else None


def lesion_groups(
    report: TimePointReport, measured: VisitVolume, seg: Dataset | None, settings: ResultSettings
) -> list[Dataset]:
    """Measurement groups of a volume's lesions with axes, two per lesion where there is a segment.

    A lesion without axes gets no group here: OHIF can't load a report with a tracking UID that
    has no coordinates. It is said among the qualitative evaluations.
    """
    numbers = {lesion.tracking_uid: n for n, lesion in enumerate(measured.segmented, start=1)}
    images = measured.images
    groups = []
    for lesion in measured.lesions:
        if not has_axes(lesion):
            continue
        groups.append(_axes_group(lesion, report, images, settings))
        if seg is not None and lesion.tracking_uid in numbers:
            groups.append(_volume_group(lesion, report, images, seg, numbers[lesion.tracking_uid], settings))
    return groups


def identity_items(
    lesion: ReportedLesion, identifier: str, relationship: str = "HAS OBS CONTEXT"
) -> list[Any]:
    """Tracking Identifier and Tracking Unique Identifier (TID 4108)."""
    return [
        text_item(codes.TRACKING_IDENTIFIER, identifier, relationship),
        uid_item(codes.TRACKING_UNIQUE_IDENTIFIER, lesion.tracking_uid, relationship),
    ]


def site_items(lesion: ReportedLesion, relationship: str = "HAS CONCEPT MOD") -> list[Any]:
    """Finding Sites, the first with its laterality."""
    items = [code_item(codes.FINDING_SITE, region, relationship) for region in codes.anatomic_regions(lesion)]
    side = codes.LATERALITIES.get((lesion.laterality or "").lower())
    if items and side is not None:
        extend(items[0], [code_item(codes.LATERALITY, side, "HAS CONCEPT MOD")])
    return items


def judgement_items(lesion: ReportedLesion, relationship: str = "CONTAINS") -> list[Any]:
    """What was decided of a lesion: part in the assessment, state, response, reason and flags."""
    items = [
        code_item(codes.BASELINE_CATEGORY, codes.BASELINE_CATEGORIES[lesion.role.value], relationship),
        code_item(codes.LESION_STATE, codes.LESION_STATES[lesion.state.value], relationship),
    ]
    response = codes.LESION_RESPONSES.get(lesion.response.strip().lower())
    if response is not None:
        items.append(code_item(codes.CURRENT_RESPONSE, response, relationship))
    elif lesion.response:
        items.append(text_item(codes.CURRENT_RESPONSE, lesion.response, relationship))
    if lesion.prompt_source:
        items.append(_prompt_item(lesion, relationship))
    if lesion.reason:
        items.append(text_item(codes.LESION_REASON, lesion.reason, relationship))
    items += [text_item(codes.QUALITY_FLAG, flag.value, relationship) for flag in sorted(lesion.flags)]
    items += [decision_item(decision, relationship) for decision in lesion.decisions]
    return items


def _prompt_item(lesion: ReportedLesion, relationship: str) -> Any:
    """What showed the lesion here, with whose mark it is."""
    item = text_item(codes.PROMPT_SOURCE, lesion.prompt_source, relationship)
    return extend(item, [_person_item(lesion.marked_by)]) if lesion.marked_by else item


def _person_item(name: str) -> Any:
    from highdicom.sr import PnameContentItem

    return PnameContentItem(codes.PERSON_OBSERVER_NAME, name, "HAS PROPERTIES")


def decision_item(decision: ReportedDecision, relationship: str = "CONTAINS") -> Any:
    """What a reader decided, in one sentence, with the person and the time as a program reads them."""
    item = text_item(codes.READERS_DECISION, said_of(decision), relationship)
    item.ObservationDateTime = DT(decision.at)
    if decision.by:
        extend(item, [_person_item(decision.by)])
    return item


def diameter_items(lesion: ReportedLesion, relationship: str) -> list[Any]:
    """The diameter that counts, mm; only a target's is part of a sum."""
    name = codes.DIAMETER_IN_SUM if lesion.role is LesionRole.TARGET else codes.DIAMETER
    return optional_num(name, lesion.diameter_mm, codes.MILLIMETRE, relationship)


def time_point_items(report: TimePointReport) -> list[Any]:
    """TID 1502 without its numbers: a NUM before the axes keeps viewers from finding them."""
    items = [text_item(codes.TIME_POINT, report.time_point_id, "HAS OBS CONTEXT")]
    if report.is_baseline:
        items.append(code_item(codes.TIME_POINT_TYPE, codes.TIME_POINT_TYPE_BASELINE, "HAS OBS CONTEXT"))
    elif report.is_nadir:
        items.append(code_item(codes.TIME_POINT_TYPE, codes.TIME_POINT_TYPE_NADIR, "HAS OBS CONTEXT"))
    return items


# ---------------------------------------------------------------- groups


def _axes_group(
    lesion: ReportedLesion, report: TimePointReport, images: SourceImages, settings: ResultSettings
) -> Any:
    measurement = lesion.measurement
    assert measurement is not None  # has_axes
    items = _head(lesion, report, settings)
    for name, axis in ((codes.LONG_AXIS, measurement.long_axis), (codes.SHORT_AXIS, measurement.short_axis)):
        number = num_item(name, axis.length_mm, codes.MILLIMETRE)
        items.append(extend(number, [_coordinates(axis, measurement.slice_index, images)]))
    items += diameter_items(lesion, "CONTAINS")
    items += judgement_items(lesion)
    items.append(text_item(codes.COMMENT, lesion.label))
    return extend(container(codes.MEASUREMENT_GROUP, "CONTAINS", template="1501"), items)


def _volume_group(
    lesion: ReportedLesion,
    report: TimePointReport,
    images: SourceImages,
    seg: Dataset,
    number: int,
    settings: ResultSettings,
) -> Any:
    from highdicom.sr import ImageContentItem

    measurement = lesion.measurement
    assert measurement is not None  # has_axes
    series = images.source.series
    items = _head(lesion, report, settings)
    items += [
        ImageContentItem(
            codes.REFERENCED_SEGMENT,
            seg.SOPClassUID,
            seg.SOPInstanceUID,
            referenced_segment_numbers=number,
            relationship_type="CONTAINS",
        ),
        uid_item(codes.SOURCE_SERIES_FOR_SEGMENTATION, series.series_instance_uid),
        extend(
            num_item(codes.VOLUME, measurement.volume_mm3, codes.CUBIC_MILLIMETRE),
            [code_item(codes.MEASUREMENT_METHOD, codes.SUM_OF_SEGMENTED_VOXELS, "HAS CONCEPT MOD")],
        ),
    ]
    if series.modality in codes.INTENSITIES:
        means = optional_num(
            codes.INTENSITIES[series.modality][0], measurement.mean_hu, codes.INTENSITIES[series.modality][1]
        )
        items += [
            extend(mean, [code_item(codes.DERIVATION, codes.MEAN, "HAS CONCEPT MOD")]) for mean in means
        ]
    if lesion.model is not None:  # a person's outline has no such number
        percent = None if lesion.confidence is None else 100 * lesion.confidence
        items += optional_num(codes.CONFIDENCE, percent, codes.PERCENT)
    return extend(container(codes.MEASUREMENT_GROUP, "CONTAINS", template="1411"), items)


def _head(lesion: ReportedLesion, report: TimePointReport, settings: ResultSettings) -> list[Any]:
    return [
        *identity_items(lesion, settings.tracking_id(lesion.label)),
        code_item(codes.FINDING_CATEGORY, codes.MORPHOLOGICALLY_ABNORMAL),
        code_item(codes.FINDING, codes.finding_of(lesion)),
        *site_items(lesion),
        *time_point_items(report),
        *(_algorithm(lesion.model) if lesion.model is not None else []),
    ]


def _algorithm(model: ModelIdentity) -> list[Any]:
    """TID 4019, with the values of the Contributing Equipment Sequence (IHE AIR, table 6.5.3.1-1)."""
    return [
        text_item(codes.ALGORITHM_NAME, equipment.name_of(model), "HAS CONCEPT MOD"),
        text_item(codes.ALGORITHM_VERSION, equipment.version_of(model), "HAS CONCEPT MOD"),
        *(
            text_item(codes.ALGORITHM_PARAMETERS, parameter, "HAS CONCEPT MOD")
            for parameter in equipment.parameters_of(model)
        ),
        code_item(codes.ALGORITHM_FAMILY, equipment.family_of(model), "HAS CONCEPT MOD"),
    ]


def _coordinates(axis: Axis, slice_index: int, images: SourceImages) -> Any:
    from highdicom.sr import Scoord3DContentItem, ScoordContentItem

    polyline = image_polyline(axis, slice_index, images)
    if polyline is not None:
        drawn = ScoordContentItem(codes.SOURCE, "POLYLINE", polyline, relationship_type="INFERRED FROM")
        return extend(drawn, [image_item(codes.SOURCE, images.source.slices[slice_index], "SELECTED FROM")])
    return Scoord3DContentItem(
        codes.SOURCE,
        "POLYLINE",
        np.array([axis.start_lps, axis.end_lps]),
        frame_of_reference_uid=images.frame_of_reference_uid,
        relationship_type="INFERRED FROM",
    )
