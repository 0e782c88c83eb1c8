"""Series of a study: what each one is, and which one to measure on, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# Modalities of objects that may carry prompts; everything else that is no image is only kept.
PROMPT_MODALITIES = frozenset({"RTSTRUCT", "SEG", "SR", "PR", "KO"})


@dataclass(frozen=True, kw_only=True, order=True)
class StackKey:
    """Names one stack of images: a series, or one phase of a series."""

    series_instance_uid: str
    stack: int = 0


@dataclass(frozen=True, kw_only=True)
class SeriesDescription:
    """One stack of images that can become one volume: a series, or one phase of a series.

    Attributes
    ----------
    study_description
        StudyDescription: the only place where some sites say which region was scanned.
    stack
        Number of the stack within the series, 0 unless the series holds several (phases, positions).
    orientation
        "axial", "coronal", "sagittal" or "oblique", from ImageOrientationPatient.
    spacing_mm
        (slice, row, column); the slice spacing is measured between positions (PS3.3 C.7.6.2.1.1),
        not SliceThickness.
    extent_lps
        Smallest and largest corner of the stack's bounding box, LPS mm.
    stack_label
        What tells this stack from the others of its series ("temporal position 2", "coronal"); "" if alone.
    contrast_phase
        "non-contrast", "arterial", "portal venous", "delayed", "contrast" or "" (not said).
    kernel
        ConvolutionKernel as it stands.
    refusal
        Why no volume can be made of it (localizer, gaps, no positions ...), else None.
    left_out
        Why it is not chosen while an original series is there (reformat, derived), else None; it can be read.
    value_unit
        What a mean of its values may be told in: "HU", "g/ml" (SUV by body weight), "" if in nothing.
    notes
        What was found and handled (duplicates dropped, tilt resampled ...), for the worksheet.
    doubts
        What a person has to look at before its numbers count (no SUV and why, a guessed kind of image ...).
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    modality: str
    frame_of_reference_uid: str | None = None
    stack: int = 0
    stack_label: str = ""
    series_number: int | None = None
    description: str = ""
    body_part: str = ""
    protocol: str = ""
    study_description: str = ""
    orientation: str = ""
    spacing_mm: tuple[float, float, float] | None = None
    slice_thickness_mm: float | None = None
    shape: tuple[int, int, int] | None = None
    extent_lps: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    contrast_phase: str = ""
    kernel: str = ""
    acquired_at: datetime | None = None
    is_original: bool = True
    refusal: str | None = None
    left_out: str | None = None
    value_unit: str = ""
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def key(self) -> StackKey:
        """Which stack it is, among all of a patient's."""
        return StackKey(series_instance_uid=self.series_instance_uid, stack=self.stack)

    @property
    def coverage_mm(self) -> float:
        """How much of the patient the slices cover, first to last and one spacing, mm; 0 if unknown."""
        return 0.0 if self.shape is None or self.spacing_mm is None else self.shape[0] * self.spacing_mm[0]

    @property
    def name(self) -> str:
        """How messages call it: series number, description and stack; no patient's data."""
        number = "series" if self.series_number is None else f"series {self.series_number}"
        described = f"{number} ({self.description})" if self.description else number
        return f"{described}, {self.stack_label}" if self.stack_label else described


@dataclass(frozen=True, kw_only=True)
class ScoredSeries:
    """A series with its points: `reasons` explain each part ("axial +3", "slice 1.5 mm +2").

    One that can't or shall not be measured on has minus infinity and the reason why.
    """

    series: SeriesDescription
    score: float
    reasons: tuple[str, ...]


def slice_interval(series: SeriesDescription) -> tuple[float | None, str]:
    """The larger of slice thickness and slice spacing, mm, and which it is: what measurability asks for.

    RECIST 1.1 (3.1.1) speaks of thickness; slices that are further apart than thick hide as much.
    """
    spacing = series.spacing_mm[0] if series.spacing_mm else None
    if series.slice_thickness_mm is not None and series.slice_thickness_mm >= (spacing or 0):
        return series.slice_thickness_mm, "slice thickness"
    return spacing, "slice interval"
