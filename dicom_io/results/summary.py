"""The course of a patient in one SR: every time point's sums, diameters and response, with where they stand.

It lies in the latest study, refers to each time point's own SR, and carries no coordinates: viewers
hydrate the single reports, a report system reads the course from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage

from dicom_io import codes, uids
from dicom_io.parsing import quiet
from dicom_io.results.checks_common import check_identity, check_uids
from dicom_io.results.common import Kind, series_description, series_number
from dicom_io.results.dciodvfy import iod_errors
from dicom_io.results.document import Place
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import InstanceReference, ResultSource, SourceImages, moment_of
from dicom_io.results.sr import observers, procedures
from dicom_io.results.sr_conclusions import derived_items, response_items
from dicom_io.results.sr_document import assemble
from dicom_io.results.sr_items import (
    code_item,
    composite_items,
    container,
    date_item,
    extend,
    text_item,
)
from dicom_io.results.sr_lesions import (
    decision_item,
    diameter_items,
    identity_items,
    judgement_items,
    site_items,
    time_point_items,
)
from dicom_io.results.visit import Visit, visit_of
from dicom_io.results.words import lesion_words, status_words
from workflow.domain.report import ReportedLesion, ReviewStatus, TimePointReport


@dataclass(frozen=True, kw_only=True, eq=False)
class SummarizedTimePoint:
    """A time point's report and the SRs that the PACS holds of it, one per study, if any."""

    report: TimePointReport
    srs: tuple[InstanceReference, ...] = ()


def build_summary(
    course: Sequence[SummarizedTimePoint],
    sources: Sequence[ResultSource],
    *,
    settings: ResultSettings | None = None,
) -> Dataset:
    """Write the course as an Oncology Measurement Report (126001, DCM; TID 1500).

    Verified only if every time point is signed. The same course gives the same bytes.

    Parameters
    ----------
    course
        All time points, in any order.
    sources
        The latest time point's volumes: the summary becomes part of the first one's study.

    Raises
    ------
    ValueError
        If the course is empty, or the sources are not the latest time point's.
    """
    points = sorted(course, key=lambda point: (point.report.order, point.report.study_date))
    if not points:
        raise ValueError("a course has at least one time point")
    visit = visit_of(points[-1].report, sources)
    with quiet():  # highdicom's warnings quote the patient's name
        return _build(points, visit, settings or ResultSettings())


def validate_summary(summary: Dataset, source: ResultSource) -> list[str]:
    """What is wrong with a summary: identity, UIDs and, where it is installed, dciodvfy."""
    header = SourceImages(source).header
    return [
        *check_identity(summary, header),
        *check_uids(summary),
        *iod_errors(summary, source.slices[0].path)[0],
    ]


def _build(points: Sequence[SummarizedTimePoint], visit: Visit, settings: ResultSettings) -> Dataset:
    images = visit.studies[0].images
    reports = [point.report for point in points]
    is_signed = all(report.status is ReviewStatus.SIGNED for report in reports)
    status = ReviewStatus.SIGNED if is_signed else ReviewStatus.DRAFT
    latest = replace(reports[-1], status=status)
    root = extend(
        container(codes.ONCOLOGY_MEASUREMENT_REPORT, template="1500"),
        [
            code_item(codes.LANGUAGE, codes.ENGLISH, "HAS CONCEPT MOD"),
            *observers(latest, settings),
            *procedures(images.header, images.source.series.modality),
            extend(
                container(codes.DERIVED_IMAGING_MEASUREMENTS, "CONTAINS"), [_time_point(p) for p in points]
            ),
            extend(container(codes.QUALITATIVE_EVALUATIONS, "CONTAINS"), response_items(latest)),
        ],
    )
    versions = [part for r in reports for part in (r.identity, str(r.version), r.status.value)]
    place = Place(
        sop_class_uid=ComprehensiveSRStorage,
        sop_instance_uid=uids.uid_of("summary", *versions),
        modality="SR",
        series_number=series_number(Kind.COURSE, latest, settings),
        series_description=series_description(settings.summary_description, latest),
    )
    evidence = [
        *(image for volume in visit.volumes for image in volume.images.references()),
        *(sr for point in points for sr in point.srs),
    ]
    moment = moment_of(latest, images.header)
    return assemble(root, latest, images, evidence, settings, place=place, moment=moment)


def _time_point(point: SummarizedTimePoint) -> Any:
    """One time point: its day, its response, its sums, where its reports are, and each lesion."""
    report = point.report
    items = [
        *time_point_items(report),
        date_item(codes.STUDY_DATE, report.study_date),
        *response_items(report),
        *derived_items(report),
    ]
    for sr in point.srs:
        items += composite_items(codes.SOURCE_REPORT, sr, f"{report.time_point_id}, {status_words(report)}")
    items += [_lesion(lesion) for lesion in report.lesions]
    return extend(container(codes.TIME_POINT, "CONTAINS"), items)


def _lesion(lesion: ReportedLesion) -> Any:
    """A lesion at a time point, headed by a line for people; children of a NUM are never drawn by viewers."""
    items = [
        *identity_items(lesion, lesion.label),
        *site_items(lesion),
        text_item(codes.SHORT_LABEL, lesion_words(lesion)),
    ]
    if lesion.is_rejected:
        items.append(code_item(codes.LESION_STATE, codes.REJECTED))
        items += [decision_item(decision) for decision in lesion.decisions]
    else:
        items += [*diameter_items(lesion, "CONTAINS"), *judgement_items(lesion)]
    return extend(container(codes.LESION, "CONTAINS"), items)
