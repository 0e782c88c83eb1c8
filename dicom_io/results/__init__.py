"""What goes back into the PACS: SEG, SR and PDF of a time point, checked before they leave."""

from dicom_io.results.common import to_bytes
from dicom_io.results.key_images import KeyImage
from dicom_io.results.objects import ResultObjects, build_results
from dicom_io.results.overview_image import render_overview
from dicom_io.results.settings import ResultSettings, SegmentationType, TrackingIdentifierForm
from dicom_io.results.source import InstanceReference, ResultSource
from dicom_io.results.sr_document import evidence_of, reference_to
from dicom_io.results.summary import SummarizedTimePoint, build_summary, validate_summary
from dicom_io.results.validation import Finding, ValidationReport, validate
from dicom_io.results.visit import role_of

__all__ = [
    "Finding",
    "InstanceReference",
    "KeyImage",
    "ResultObjects",
    "ResultSettings",
    "ResultSource",
    "SegmentationType",
    "SummarizedTimePoint",
    "TrackingIdentifierForm",
    "ValidationReport",
    "build_results",
    "build_summary",
    "evidence_of",
    "reference_to",
    "render_overview",
    "role_of",
    "to_bytes",
    "validate",
    "validate_summary",
]
