"""Series of a study: what each one is, and which one to measure on, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class SeriesDescription:
    """One stack of images that can become one volume: a series, or one phase of a series.

    Attributes
    ----------
    stack
        Number of the stack within the series, 0 unless the series holds several (phases, positions).
    orientation
        "axial", "coronal", "sagittal" or "oblique", from ImageOrientationPatient.
    spacing_mm
        (slice, row, column); the slice spacing is measured between positions (PS3.3 C.7.6.2.1.1), not SliceThickness.
    extent_lps
        Smallest and largest corner of the stack's bounding box, LPS mm.
    refusal
        Why no volume can be made of it (localizer, gaps, mixed orientations ...), else None.
    notes
        What was found and handled (duplicates dropped, tilt resampled ...), for the worksheet.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    modality: str
    frame_of_reference_uid: str | None = None
    stack: int = 0
    series_number: int | None = None
    description: str = ""
    body_part: str = ""
    protocol: str = ""
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
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoredSeries:
    """A series with its points: `reasons` explain each part ("axial +3", "slice 1.5 mm +2")."""

    series: SeriesDescription
    score: float
    reasons: tuple[str, ...]
