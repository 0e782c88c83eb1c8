"""What goes back into the PACS: SEG, SR and PDF of a time point, checked before they leave."""

from dicom_io.results.common import to_bytes
from dicom_io.results.objects import ResultObjects, build_results
from dicom_io.results.settings import ResultSettings, SegmentationType, TrackingIdentifierForm
from dicom_io.results.source import InstanceReference, ResultSource
from dicom_io.results.validation import Finding, ValidationReport, validate

__all__ = [
    "Finding",
    "InstanceReference",
    "ResultObjects",
    "ResultSettings",
    "ResultSource",
    "SegmentationType",
    "TrackingIdentifierForm",
    "ValidationReport",
    "build_results",
    "to_bytes",
    "validate",
]
