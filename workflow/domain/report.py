"""What a time point's result says: the one value that the SEG, SR, PDF, page and JSON are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from math import isfinite

from workflow.domain.geometry import Mask, Point
from workflow.domain.lesion import Flag, LesionMeasurement, LesionState, ModelIdentity
from workflow.domain.series import SeriesDescription, StackKey


def _forget_what_is_no_number(value: ReportedLesion | ReportedAssessment) -> None:
    """Turn NaN and infinities into None: neither JSON nor DICOM can write them, and they tell nothing."""
    for name, number in vars(value).items():
        if isinstance(number, float) and not isfinite(number):
            object.__setattr__(value, name, None)


class LesionRole(StrEnum):
    """A lesion's part in the response assessment."""

    TARGET = "target"
    NON_TARGET = "non_target"
    NEW = "new"


ROLE_WORDS = {LesionRole.TARGET: "target", LesionRole.NON_TARGET: "non-target", LesionRole.NEW: "new"}


class ReviewStatus(StrEnum):
    """Whether a radiologist stands behind the result."""

    DRAFT = "draft"
    SIGNED = "signed"


@dataclass(frozen=True, kw_only=True)
class ReportedDecision:
    """What a reader decided: `what` in words ("diameter"), from `old` to `new`, both for people, who and why.

    `lesion` is the label; "" where it is about the visit as a whole (an overall response).
    """

    what: str
    by: str
    at: datetime
    reason: str
    lesion: str = ""
    old: str = ""
    new: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportedLesion:
    """One lesion at one time point, ready to be written down.

    Attributes
    ----------
    tracking_uid, label
        Identity for life, and the readable name for life ("T01", "NT02", "N01").
    mask
        On the grid of the measured volume, None where there is none (not evaluable).
    diameter_mm
        What enters the sum: the long axis, the short axis of a node, 5 mm if too small, 0 if disappeared.
    measured_on
        The stack of images that the mask and the measurement are on; None: the report's first volume.
    response
        Of this lesion alone, in the words of CID 6143 ("target PR" ...), empty at baseline.
    decisions
        What readers decided about this lesion, oldest first.
    is_rejected
        A reader said that it is no lesion: it is shown struck through and counts nowhere.
    finding, finding_meaning
        SNOMED CT code and words of what kind of lesion it is, as its prompt said ("Neoplasm, Primary"); None:
        a lesion.
    model
        What outlined it; None where a person drew it, or nobody outlined it.
    prompt_source, marked_by
        What showed the lesion here, and whose mark that is (a user, or as its object names the observer).
    expected_lps
        Where the lesion should be, LPS mm, as tracking puts it: what to look at if nothing is left of it.
    """

    tracking_uid: str
    label: str
    role: LesionRole
    state: LesionState
    is_nodal: bool = False
    organ: str = ""
    finding_site: str | None = None
    finding_site_meaning: str | None = None
    laterality: str | None = None
    mask: Mask | None = None
    measurement: LesionMeasurement | None = None
    diameter_mm: float | None = None
    response: str = ""
    confidence: float | None = None
    model: ModelIdentity | None = None
    prompt_source: str = ""
    marked_by: str = ""
    reason: str = ""
    flags: frozenset[Flag] = frozenset()
    expected_lps: Point | None = None
    finding: str | None = None
    finding_meaning: str | None = None
    measured_on: StackKey | None = None
    decisions: tuple[ReportedDecision, ...] = ()
    is_rejected: bool = False

    def __post_init__(self) -> None:
        _forget_what_is_no_number(self)


@dataclass(frozen=True, kw_only=True)
class ReportedAssessment:
    """The response at a time point, as the response engine gave it; numbers for people to read.

    `computed_overall` is what the rules give where a reader said otherwise: both are shown. None if
    nobody did.
    """

    criteria: str
    overall: str
    reason: str
    target: str | None = None
    non_target: str | None = None
    new_lesion: str | None = None
    sum_mm: float | None = None
    baseline_sum_mm: float | None = None
    nadir_sum_mm: float | None = None
    nadir_date: date | None = None
    change_from_baseline_percent: float | None = None
    change_from_nadir_percent: float | None = None
    change_from_nadir_mm: float | None = None
    best_overall_response: str | None = None
    best_overall_response_reason: str | None = None
    warnings: tuple[str, ...] = ()
    computed_overall: str | None = None

    def __post_init__(self) -> None:
        _forget_what_is_no_number(self)


@dataclass(frozen=True, kw_only=True)
class MeasuredVolume:
    """A stack of images of the visit on which lesions are measured."""

    study_instance_uid: str
    study_date: date
    series: SeriesDescription


@dataclass(frozen=True, kw_only=True)
class PredecessorReport:
    """The SR of an earlier version, which the same study holds."""

    study_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TimePointReport:
    """Everything that is said about one patient at one time point.

    `order` counts from 1 at baseline; `version` from 1 and up with each correction, whose
    `predecessors` name the superseded SRs. `identity` is what deterministic
    UIDs derive from: a digest of inputs, lesions, models and pipeline version.
    `notes` are said to the reader (incomplete study, comparability, unsuitable series ...), `attention`
    is what a person has to look at before the numbers count. A visit can have several studies and
    several measured volumes: `volumes` are all of them, `study_instance_uid` and `series_instance_uid`
    are the first one's. `decisions` are those about the visit as a whole.
    """

    patient_key: str
    study_instance_uid: str
    series_instance_uid: str
    study_date: date
    time_point_id: str
    order: int
    is_baseline: bool
    is_nadir: bool
    identity: str
    lesions: tuple[ReportedLesion, ...]
    assessment: ReportedAssessment
    models: tuple[ModelIdentity, ...] = ()
    status: ReviewStatus = ReviewStatus.DRAFT
    signed_by: str | None = None
    signed_at: datetime | None = None
    version: int = 1
    created_at: datetime | None = None
    days_from_baseline: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)
    volumes: tuple[MeasuredVolume, ...] = ()
    predecessors: tuple[PredecessorReport, ...] = ()
    decisions: tuple[ReportedDecision, ...] = ()
    attention: tuple[str, ...] = ()
