"""A lesion, what shows it to a model, and what a model finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from workflow.domain.geometry import Mask, Point, Volume
from workflow.domain.series import StackKey

# ---------------------------------------------------------------- prompts


@dataclass(frozen=True, kw_only=True)
class PointPrompt:
    """A click in the lesion (or, negative, beside it), LPS mm."""

    position_lps: Point
    is_positive: bool = True


@dataclass(frozen=True, kw_only=True)
class LinePrompt:
    """A RECIST line: the end points of the long axis and, if drawn, of the short axis, LPS mm."""

    start_lps: Point
    end_lps: Point
    short_axis_lps: tuple[Point, Point] | None = None


@dataclass(frozen=True, kw_only=True)
class BoxPrompt:
    """A box along the patient's axes: its smallest and largest corner, LPS mm."""

    minimum_lps: Point
    maximum_lps: Point

    def __post_init__(self) -> None:
        if any(a > b for a, b in zip(self.minimum_lps, self.maximum_lps, strict=True)):
            raise ValueError(f"box corner {self.minimum_lps} is not below {self.maximum_lps} on every axis")


@dataclass(frozen=True, kw_only=True)
class OutlinePrompt:
    """A closed outline in one plane (ellipse, polyline): points in order, LPS mm, the first not repeated."""

    points_lps: tuple[Point, ...]

    def __post_init__(self) -> None:
        if len(self.points_lps) < 3:
            raise ValueError(f"an outline has at least 3 points, not {len(self.points_lps)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskPrompt:
    """The lesion's voxels, on a grid of their own (bool volume), e.g. from a SEG, an RTSTRUCT or a file."""

    volume: Volume


PromptShape = PointPrompt | LinePrompt | BoxPrompt | OutlinePrompt | MaskPrompt


class PromptSource(StrEnum):
    """Where a prompt comes from, in no order of preference."""

    MEASUREMENT_REPORT = "measurement report (SR)"
    SEGMENTATION = "segmentation (SEG)"
    STRUCTURE_SET = "structure set (RTSTRUCT)"
    PRESENTATION_STATE = "presentation state (GSPS)"
    READER = "reader"
    DETECTOR = "detector"
    PRIOR = "prior time point"


@dataclass(frozen=True, kw_only=True, eq=False)
class LesionPrompt:
    """Shows one lesion on one study.

    Attributes
    ----------
    shapes
        At least one; several are hints on one lesion (positive and negative points, a contour per slice).
    tracking_uid, tracking_id
        The lesion's DICOM tracking identity if the prompt carried one, else None: the timeline gives it one.
    finding_site
        SNOMED CT code of the anatomical site, if said; `finding_site_meaning` its words.
    finding, finding_meaning
        SNOMED CT code and words of what kind of lesion it is ("Neoplasm, Primary"), if said.
    is_nodal
        Whether the prompt says that this is a lymph node.
    created_by, created_at
        Person or device, and when (timezone may be unknown), as the prompt's object has it.
    sop_instance_uid
        The object that the prompt came in, if any; `item` names the place in it (ROI number, group, segment).
    """

    shapes: tuple[PromptShape, ...]
    source: PromptSource
    label: str = ""
    tracking_uid: str | None = None
    tracking_id: str | None = None
    finding_site: str | None = None
    finding_site_meaning: str | None = None
    laterality: str | None = None  # "left", "right", "bilateral"
    finding: str | None = None
    finding_meaning: str | None = None
    organ: str = ""
    is_nodal: bool = False
    created_by: str | None = None
    created_at: datetime | None = None
    sop_instance_uid: str | None = None
    item: str | None = None

    def __post_init__(self) -> None:
        if not self.shapes:
            raise ValueError("a prompt has at least one shape")


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedPrompt:
    """A prompt and the stack of images that it was drawn on.

    `by` is the evidence for that, for the worksheet: "frame of reference and geometry" and the like.
    """

    prompt: LesionPrompt
    drawn_on: StackKey
    by: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptsRead:
    """All prompts of a visit, each on its own stack of images.

    Attributes
    ----------
    doubts
        What a person has to look at before the numbers count (an item that could not be placed, a label that
        is no lesion's, a length that its own end points contradict); each names its object and item.
    notes
        What was decided on the way, where nothing is in doubt.
    """

    prompts: tuple[PlacedPrompt, ...] = ()
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- what models say


class LesionState(StrEnum):
    """What is known of a lesion at a time point (design, decision 11)."""

    PRESENT = "present"
    TOO_SMALL = "too_small"  # seen, not measurable: 5 mm in the sum (RECIST 1.1, 4.3.2)
    DISAPPEARED = "disappeared"
    MERGED = "merged"
    SPLIT = "split"
    NOT_EVALUABLE = "not_evaluable"
    TRACKING_FAILED = "tracking_failed"


class Flag(StrEnum):
    """Why a result wants a second look; travels into the database, the SR and the page."""

    TOUCHES_PATCH_BORDER = "touches the border of the model's field of view"
    TRUNCATED_AT_VOLUME_END = "cut off at the end of the volume"
    SKIPPED_SLICES = "slices are missing in between"
    OUTSIDE_BODY = "lies partly outside the body"
    EMPTY = "no voxel found"
    TOUCHES_NEIGHBOUR = "touches another lesion; the boundary between them is an estimate"
    PROMPT_SENSITIVE = "changes much when the prompt moves by a few millimetres"
    LOW_CONFIDENCE = "low confidence"
    REGISTRATION_FOLDING = "the registration folds the tissue here"
    DIFFERENT_ACQUISITION = "acquired differently from the prior"
    OTHER_PATIENT = "the images may show another patient than the prior's"
    SIZE_UNCERTAIN = "the image shows several sizes; the click does not tell which"


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which algorithm made a result (IHE AIR; TID 4019): enough to make it again."""

    name: str
    version: str
    weights_sha256: str | None = None
    licence: str = "Apache-2.0"
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedLesion:
    """One prompt's lesion on a volume. `mask` is on the volume's own grid and may be empty.

    `confidence` is 0 to 1: for a segmentation, the Dice between results of a perturbed prompt
    unless the backend says otherwise in its docstring. `index` is the prompt's place in the call.
    """

    index: int
    mask: Mask
    confidence: float
    model: ModelIdentity
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, kw_only=True, eq=False)
class PriorLesion:
    """A lesion at the prior time point: its identity for life, and its mask on the prior's grid."""

    tracking_uid: str
    mask: Mask


@dataclass(frozen=True, kw_only=True)
class RegistrationQuality:
    """How far a registration can be trusted around one lesion.

    `similarity` is the local normalised cross-correlation (-1 to 1), `folding_fraction` the share of
    voxels with a Jacobian determinant <= 0, `warped_voxel_count` the prior mask's size on the new grid.
    """

    similarity: float
    folding_fraction: float
    warped_voxel_count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedLesion:
    """A prior lesion found again (or not). Same tracking UID, `mask` on the new volume's grid.

    `state` is PRESENT, TOO_SMALL, DISAPPEARED or TRACKING_FAILED; `expected_lps` is where the
    registration puts its centre, mm, given whenever registration worked; `reason` is for a person.
    """

    tracking_uid: str
    mask: Mask
    state: LesionState
    confidence: float
    model: ModelIdentity
    reason: str
    registration: RegistrationQuality | None = None
    expected_lps: Point | None = None
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectedLesion:
    """A detector's proposal: a box, a score 0 to 1, and a label of the site if the detector names one."""

    box: BoxPrompt
    score: float
    label: str = ""


# ---------------------------------------------------------------- measurement


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A diameter: two pixel centres in LPS mm and the distance between them, mm."""

    start_lps: Point
    end_lps: Point
    length_mm: float


@dataclass(frozen=True, kw_only=True)
class LesionMeasurement:
    """Size of one lesion at one time point.

    `long_axis` is the longest distance between two pixel centres of the mask in one acquisition
    plane, `short_axis` the longest one perpendicular to it in the same plane (RECIST 1.1, 4.2);
    `slice_index` is that plane's index in the volume. `mean_hu` is in the series' `value_unit` (HU, or SUV
    in g/ml for PET), None where its values have no unit that a mean could be told in.
    """

    long_axis: Axis
    short_axis: Axis
    slice_index: int
    volume_mm3: float
    mean_hu: float | None

    def __post_init__(self) -> None:
        if not 0 <= self.short_axis.length_mm <= self.long_axis.length_mm + 1e-6:
            raise ValueError(
                f"short axis {self.short_axis.length_mm} mm is not between 0 and "
                f"the long axis {self.long_axis.length_mm} mm"
            )
