"""Which series of a study to measure on, and whether two series can be compared; with the reasons."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf

from workflow.domain.regions import regions_in
from workflow.domain.series import ScoredSeries, SeriesDescription


@dataclass(frozen=True, kw_only=True)
class SeriesRules:
    """What a site wants measured.

    Attributes
    ----------
    modalities
        In order of preference; a series of any other modality is never chosen.
    contrast_phases
        In order of preference; one not listed gets no points.
    thinnest_mm, thickest_mm
        Slice spacings in between get full points. RECIST 1.1 (appendix II) asks for 5 mm or less;
        far below 1 mm noise and time grow without the diameters getting better.
    minimum_coverage_mm
        Less than this can't be a study of a body region (bolus tracking, a single slice).
    body_parts
        Preferred values of BodyPartExamined, matched as words anywhere in it or the description.
    """

    modalities: tuple[str, ...] = ("CT", "MR", "PT")
    contrast_phases: tuple[str, ...] = ("portal venous", "contrast", "delayed", "arterial", "non-contrast")
    thinnest_mm: float = 0.9
    thickest_mm: float = 5.0
    minimum_coverage_mm: float = 0.0
    body_parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeriesChoice:
    """The series to measure on, or None, why, and how all series of the study scored, best first."""

    chosen: SeriesDescription | None
    reason: str
    scores: tuple[ScoredSeries, ...]


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One way in which baseline and follow-up were acquired differently, in words for the worksheet."""

    aspect: str  # "modality", "orientation", "contrast phase", "kernel", "slice spacing"
    baseline: str
    follow_up: str

    def __str__(self) -> str:
        return f"{self.aspect}: baseline {self.baseline}, follow-up {self.follow_up}"


# ---------------------------------------------------------------- choice


def score_series(series: Sequence[SeriesDescription], rules: SeriesRules | None = None) -> list[ScoredSeries]:
    """Score the series of a study, best first; equal ones by series number, UID and stack."""
    rules = rules or SeriesRules()
    scored = [_score(one, rules) for one in series]
    return sorted(scored, key=lambda one: (-one.score, *_order(one.series)))


def choose_series(series: Sequence[SeriesDescription], rules: SeriesRules | None = None) -> SeriesChoice:
    """Choose the series to measure on.

    Reformats and derived series are left out, unless nothing else is there: then the best of them is
    chosen, and the reason and a doubt say so.
    """
    rules = rules or SeriesRules()
    scores = score_series(series, rules)
    if not scores:
        return SeriesChoice(chosen=None, reason="the study holds no images", scores=())
    if scores[0].score > -inf:
        return SeriesChoice(chosen=scores[0].series, reason=_praise(scores), scores=tuple(scores))
    spare = _spare(series, rules)
    if spare:
        chosen = _in_doubt(spare[0].series, series)
        reason = f"{_praise(spare)}; {chosen.doubts[-1]}"
        return SeriesChoice(chosen=chosen, reason=reason, scores=tuple(scores))
    reasons = "; ".join(f"{one.series.name}: {one.reasons[0]}" for one in scores)
    return SeriesChoice(chosen=None, reason=f"no series can be measured on ({reasons})", scores=tuple(scores))


def _spare(series: Sequence[SeriesDescription], rules: SeriesRules) -> list[ScoredSeries]:
    """The left out ones that could be measured on all the same, best first."""
    scored = score_series([replace(one, left_out=None) for one in series if one.left_out], rules)
    return [one for one in scored if one.score > -inf]


def _in_doubt(spare: SeriesDescription, series: Sequence[SeriesDescription]) -> SeriesDescription:
    """A left out series as described, with the doubt that it was taken."""
    described = next(one for one in series if _identity(one) == _identity(spare))
    doubt = f"no original series can be read, so one is taken that is {described.left_out}"
    return replace(described, doubts=(*described.doubts, doubt))


# ---------------------------------------------------------------- all that a visit shows

# A further stack is measured on if it shows so much of the patient that the others don't, or half of itself.
_NEW_MM = 40.0
_NEW_SHARE = 0.5
# Without a shared frame of reference two places only differ if the tables say nearly nothing in common.
_ELSEWHERE_SHARE = 0.8
# The edge of a field of view is air: only its middle says what a stack shows.
_MIDDLE = (0.3, 0.5, 0.7)
_LEVELS = 64


def measurable_stacks(
    series: Sequence[SeriesDescription], rules: SeriesRules | None = None
) -> tuple[SeriesDescription, ...]:
    """Which stacks of a visit together show everything once, best first.

    The best-scoring stack of each modality, then each next best that shows a part of the body which the
    chosen ones of its modality don't: by extent where they share a frame of reference, else by the regions
    that their headers name. So chest and abdomen are two, two kernels or phases of one liver are one, and a
    PET/CT is a CT and a PET. A study's reformats take part only where it holds no original of the modality,
    and then with a doubt.

    Parameters
    ----------
    series
        All stacks of one or several studies.
    """
    rules = rules or SeriesRules()
    originals = [one.series for one in score_series(series, rules) if one.score > -inf]
    served = {(one.study_instance_uid, one.modality) for one in originals}
    spare = [
        _in_doubt(one.series, series)
        for one in _spare(series, rules)
        if (one.series.study_instance_uid, one.series.modality) not in served
    ]
    chosen: list[SeriesDescription] = []
    for candidate in (*originals, *spare):
        if _shows_more(candidate, [one for one in chosen if one.modality == candidate.modality]):
            chosen.append(candidate)
    return tuple(chosen)


def _shows_more(candidate: SeriesDescription, chosen: Sequence[SeriesDescription]) -> bool:
    if not chosen:
        return True
    frame = candidate.frame_of_reference_uid
    shared = [one for one in chosen if frame is not None and one.frame_of_reference_uid == frame]
    uncovered = _uncovered_share(candidate, shared)
    if uncovered is not None and not _is_much(uncovered, candidate):
        return False
    elsewhere = [one for one in chosen if one not in shared]
    return not any(_is_same_region(candidate, one) for one in elsewhere)


def _is_much(share: float, candidate: SeriesDescription) -> bool:
    return share > _NEW_SHARE or share * _height_mm(candidate) >= _NEW_MM


def _is_same_region(candidate: SeriesDescription, other: SeriesDescription) -> bool:
    """Whether a stack in another frame of reference shows the same, as far as words and tables tell.

    Where they tell nothing it does not: a lesion that is measured on neither is worse than a stack too many.
    """
    is_one_study = candidate.study_instance_uid == other.study_instance_uid
    regions = [_regions(one, is_one_study) for one in (candidate, other)]
    if all(regions) and not regions[0] <= regions[1]:
        return False
    # Positions in two frames of one study often count from one table, after the patient has moved a little.
    uncovered = _uncovered_share(candidate, [other]) if is_one_study else None
    if uncovered is None:
        return all(regions)
    return uncovered <= _ELSEWHERE_SHARE if all(regions) else not _is_much(uncovered, candidate)


def _regions(one: SeriesDescription, is_one_study: bool) -> frozenset[str]:
    own = regions_in(f"{one.body_part} {one.description} {one.protocol}")
    # What the study is called holds for each of its series and tells none from another.
    return own or (frozenset() if is_one_study else regions_in(one.study_description))


def _height_mm(one: SeriesDescription) -> float:
    return 0.0 if one.extent_lps is None else one.extent_lps[1][2] - one.extent_lps[0][2]


def _uncovered_share(candidate: SeriesDescription, others: Sequence[SeriesDescription]) -> float | None:
    """Share of a stack's height, at the middle of its planes, that lies in none of others' boxes."""
    boxes = [one.extent_lps for one in others if one.extent_lps is not None]
    if candidate.extent_lps is None or not boxes:
        return None
    low, high = candidate.extent_lps
    middle = [[low[axis] + share * (high[axis] - low[axis]) for share in _MIDDLE] for axis in (0, 1)]
    levels = [low[2] + (k + 0.5) / _LEVELS * (high[2] - low[2]) for k in range(_LEVELS)]
    points = list(product(*middle, levels))
    outside = sum(
        not any(all(box[0][axis] <= point[axis] <= box[1][axis] for axis in range(3)) for box in boxes)
        for point in points
    )
    return outside / len(points)


# ---------------------------------------------------------------- points


def _score(one: SeriesDescription, rules: SeriesRules) -> ScoredSeries:
    obstacle = _obstacle(one, rules)
    if obstacle:
        return ScoredSeries(series=one, score=-inf, reasons=(obstacle,))
    parts = [
        _points(len(rules.modalities) - rules.modalities.index(one.modality), one.modality, weight=2.0),
        (3.0, "axial") if one.orientation == "axial" else (0.0, one.orientation or "orientation unknown"),
        _spacing_points(one, rules),
        _phase_points(one, rules),
        _kernel_points(one),
        _coverage_points(one),
        _body_part_points(one, rules),
    ]
    reasons = tuple(f"{what} {points:+.1f}" for points, what in parts if points)
    return ScoredSeries(series=one, score=round(sum(points for points, _ in parts), 3), reasons=reasons)


def _obstacle(one: SeriesDescription, rules: SeriesRules) -> str | None:
    if one.refusal:
        return one.refusal
    if one.modality not in rules.modalities:
        return f"modality {one.modality or 'unknown'} is not among {', '.join(rules.modalities)}"
    if one.left_out:
        return f"left out: {one.left_out}"
    if one.coverage_mm < rules.minimum_coverage_mm:
        return f"covers {one.coverage_mm:.0f} mm, less than {rules.minimum_coverage_mm:.0f} mm"
    return None


def _points(points: float, what: str, weight: float = 1.0) -> tuple[float, str]:
    return points * weight, what


def _spacing_points(one: SeriesDescription, rules: SeriesRules) -> tuple[float, str]:
    if one.spacing_mm is None:
        return 0.0, "slice spacing unknown"
    spacing, what = one.spacing_mm[0], f"slices every {one.spacing_mm[0]:.2f} mm"
    if spacing > rules.thickest_mm:
        return -3.0, f"{what}, more than {rules.thickest_mm:g} mm"
    if spacing < rules.thinnest_mm:
        return 2.0, what
    # 3 points at the thin end, 1 at the thick end.
    share = (spacing - rules.thinnest_mm) / max(rules.thickest_mm - rules.thinnest_mm, 1e-6)
    return 3.0 - 2.0 * share, what


def _phase_points(one: SeriesDescription, rules: SeriesRules) -> tuple[float, str]:
    if one.contrast_phase not in rules.contrast_phases:
        return 0.0, ""
    rank = rules.contrast_phases.index(one.contrast_phase)
    return 3.0 * (1 - rank / len(rules.contrast_phases)), one.contrast_phase


def _kernel_points(one: SeriesDescription) -> tuple[float, str]:
    points = {"soft": 1.5, "sharp": -1.5}.get(kernel_class(one.kernel), 0.0)
    return points, f"{kernel_class(one.kernel)} kernel {one.kernel}"


def _coverage_points(one: SeriesDescription) -> tuple[float, str]:
    return min(one.coverage_mm / 100.0, 6.0), f"covers {one.coverage_mm:.0f} mm"


def _body_part_points(one: SeriesDescription, rules: SeriesRules) -> tuple[float, str]:
    words = f"{one.body_part} {one.description}".upper()
    found = [part for part in rules.body_parts if part.upper() in words]
    return (2.0, f"shows {found[0]}") if found else (0.0, "")


def _praise(scores: Sequence[ScoredSeries]) -> str:
    best = scores[0]
    text = f"{best.series.name}: {', '.join(best.reasons)} = {best.score:.1f}"
    others = sum(one.score > -inf for one in scores) - 1
    return f"{text}; the best of {others + 1} that can be measured on" if others else f"{text}; the only one"


def _identity(one: SeriesDescription) -> tuple[str, int]:
    return one.series_instance_uid, one.stack


def _order(one: SeriesDescription) -> tuple[float, str, int]:
    return (inf if one.series_number is None else one.series_number, *_identity(one))


# ---------------------------------------------------------------- comparability

_ALIKE_SPACING_RATIO = 1.5
_ALIKE_SPACING_MM = 1.0


def comparability(baseline: SeriesDescription, follow_up: SeriesDescription) -> list[Mismatch]:
    """Name what differs between two acquisitions enough to change a diameter; empty if nothing does.

    An aspect that one side does not state is not a mismatch. Slice spacings count as alike within a
    factor of 1.5 or 1 mm.
    """
    pairs = [
        ("modality", baseline.modality, follow_up.modality),
        ("orientation", baseline.orientation, follow_up.orientation),
        ("contrast phase", baseline.contrast_phase, follow_up.contrast_phase),
    ]
    found = [
        Mismatch(aspect=aspect, baseline=one, follow_up=other)
        for aspect, one, other in pairs
        if one and other and one != other
    ]
    classes = kernel_class(baseline.kernel), kernel_class(follow_up.kernel)
    if all(classes) and classes[0] != classes[1]:
        sides = f"{baseline.kernel} ({classes[0]})", f"{follow_up.kernel} ({classes[1]})"
        found.append(Mismatch(aspect="kernel", baseline=sides[0], follow_up=sides[1]))
    if baseline.spacing_mm and follow_up.spacing_mm:
        one_mm, other_mm = baseline.spacing_mm[0], follow_up.spacing_mm[0]
        ratio = max(one_mm, other_mm) / min(one_mm, other_mm)
        if ratio > _ALIKE_SPACING_RATIO and abs(one_mm - other_mm) > _ALIKE_SPACING_MM:
            found.append(
                Mismatch(aspect="slice spacing", baseline=f"{one_mm:.2f} mm", follow_up=f"{other_mm:.2f} mm")
            )
    return found


# ---------------------------------------------------------------- words in headers

# First match wins. Sites write these into SeriesDescription and ProtocolName, in many languages.
_PHASES: tuple[tuple[str, str], ...] = (
    (
        "non-contrast",
        r"non[- ]?contrast|unenhanced|without|w/?o\b|nativ|sans|\bsin\b|\bplain\b|\bnc\b|\bpre\b",
    ),
    ("arterial", r"arter|\bart\b|\bhap\b"),
    ("portal venous", r"portal|porto|venous|venos|veneu|\bpv\b|\bpvp\b|\bven\b"),
    ("delayed", r"delay|\blate\b|equilib|tardi|spaet|spät|\bdel\b"),
    ("contrast", r"contrast|\bce\b|\bkm\b|\bc\+|\bpost\b|gad(o|ol)"),
)


def contrast_phase(words: str, has_contrast_agent: bool) -> str:
    """Name the contrast phase from what a site wrote: "" if neither words nor an agent say anything.

    Parameters
    ----------
    words
        Series description, protocol and the like, in any case.
    has_contrast_agent
        Whether ContrastBolusAgent is filled; a phase in words goes before it.
    """
    text = re.sub(r"[_^.]+", " ", words.lower())
    for phase, pattern in _PHASES:
        if re.search(pattern, text):
            return phase
    return "contrast" if has_contrast_agent else ""


_SHARP_WORDS = ("LUNG", "BONE", "EDGE", "SHARP", "DETAIL", "ULTRA")
_SOFT_WORDS = ("SOFT", "STANDARD", "STND", "SMOOTH", "BODY", "CHST")


def kernel_class(kernel: str) -> str:
    """Put a ConvolutionKernel into "soft" or "sharp"; "" where the name tells nothing.

    Siemens numbers its kernels by sharpness (B10 to B90, I and Br likewise; 50 and up enhance edges),
    Canon's FC01 to FC29 are for the body and FC30 and up for bone and lung, GE uses words, Philips letters.
    """
    name = kernel.upper().split("\\")[0].strip()
    if any(word in name for word in _SHARP_WORDS):
        return "sharp"
    if any(word in name for word in _SOFT_WORDS):
        return "soft"
    if canon := re.fullmatch(r"FC(\d\d).*", name):
        return "soft" if int(canon[1]) < 30 else "sharp"
    if siemens := re.fullmatch(r"[BIHDTUQ][A-Z]?(\d\d)[A-Z]?.*", name):
        return "soft" if int(siemens[1]) < 50 else "sharp"
    return {"A": "soft", "B": "soft", "C": "sharp", "D": "sharp", "YA": "sharp", "YB": "sharp"}.get(name, "")
