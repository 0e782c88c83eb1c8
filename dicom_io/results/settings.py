"""How a site wants its result objects written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from workflow import __version__


class SegmentationType(StrEnum):
    """Encoding of the SEG (PS3.3 C.8.20.2.3)."""

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


class TrackingIdentifierForm(StrEnum):
    """What stands in Tracking Identifier (112039, DCM); the Tracking UID is the lesion's in both."""

    OHIF = "ohif"  # "Cornerstone3DTools@^0.1.0:Bidirectional:T01": OHIF makes it editable again
    READABLE = "readable"  # "T01"


# cornerstone3D's adapters take a measurement for an annotation if its identifier starts like this.
OHIF_BIDIRECTIONAL = "Cornerstone3DTools@^0.1.0:Bidirectional"

# True wherever it runs: a reader signs on behalf of whoever runs the installation.
UNNAMED_ORGANIZATION = "Operator of this Tumorline installation"


@dataclass(frozen=True, kw_only=True)
class ResultSettings:
    """Settings of the result objects.

    Attributes
    ----------
    series_number
        First of the six Series Numbers in use: SEG, SR, PDF, key images, summary and presentation state, in
        this order. Each version of a report has the next hundred, each further SEG of a study the next ten.
    verifying_organization
        Whom a signing reader is accountable to (0040,A027). Unset: the institution that the source images
        name, or else `UNNAMED_ORGANIZATION`, as the attribute must not be empty.
    writes_pdf, writes_key_images, writes_presentation_state
        Whether the encapsulated PDF, the Secondary Captures and the Grayscale Softcopy Presentation State
        are made besides SEG and SR.
    """

    segmentation_type: SegmentationType = SegmentationType.BINARY
    tracking_identifier: TrackingIdentifierForm = TrackingIdentifierForm.OHIF
    series_number: int = 9100
    seg_description: str = "Tumorline lesions"
    sr_description: str = "Tumorline measurements"
    pdf_description: str = "Tumorline report"
    key_images_description: str = "Tumorline key images"
    summary_description: str = "Tumorline course"
    presentation_state_description: str = "Tumorline axes"
    manufacturer: str = "Tumorline"
    manufacturer_model_name: str = "Tumorline"
    software_version: str = __version__
    device_serial_number: str = "1"
    verifying_organization: str = ""
    writes_pdf: bool = True
    writes_key_images: bool = False
    writes_presentation_state: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.series_number <= 99_994:
            raise ValueError(f"series number {self.series_number} is not between 1 and 99994")
        for name in ("manufacturer", "manufacturer_model_name", "software_version", "device_serial_number"):
            value = getattr(self, name)
            if not 0 < len(value) <= 64:  # VR LO, Type 1 in Enhanced General Equipment (PS3.3 C.7.5.2)
                raise ValueError(f"{name} {value!r} must have 1 to 64 characters")

    def tracking_id(self, label: str) -> str:
        """The Tracking Identifier of a lesion, the same in SEG and SR: its label, or OHIF's form of it."""
        if self.tracking_identifier is TrackingIdentifierForm.READABLE:
            return label
        return f"{OHIF_BIDIRECTIONAL}:{label}"
