"""Inference: segment what has a prompt, track what has a prior, measure what was found."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.masks import pack_mask, unpack_mask
from db.tables import AnalysisRow, InstanceRow, LesionRow, ObservationRow, TimePointRow
from workflow.context import Context, audit
from workflow.domain.anatomy import site_of
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask, Point, Volume, mask_on_grid, union
from workflow.domain.lesion import (
    Axis,
    Flag,
    LesionMeasurement,
    LesionPrompt,
    LesionState,
    MaskPrompt,
    ModelIdentity,
    PriorLesion,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.matching import likeness, match
from workflow.domain.measurement import measure
from workflow.domain.report import LesionRole
from workflow.domain.response import Policies
from workflow.domain.series_choice import comparability
from workflow.ingest import PROMPT_MODALITIES, series_from_json
from workflow.jobs import Job, enqueue
from workflow.parts import separate
from workflow.ports import ImageStack, Progress
from workflow.roles import roles_at_baseline, roles_of_new
from workflow.timeline import PlannedTimePoint, analysis_identity, plan_patient

log = logging.getLogger(__name__)

AS_DRAWN = ModelIdentity(name="as drawn by the reader", version="1", licence="n/a")
LABEL_PREFIX = {LesionRole.TARGET: "T", LesionRole.NON_TARGET: "NT", LesionRole.NEW: "N"}


@dataclass(frozen=True, kw_only=True)
class KnownLesion:
    """A lesion of the roster, with the earlier time point that shows it last (its mask is not empty)."""

    tracking_uid: str
    label: str
    role: LesionRole
    is_nodal: bool
    last_seen: TimePointRow | None
    mask: Mask | None
    last_state: LesionState


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What is known of one lesion on the new volume before it is measured and written down."""

    mask: Mask
    state: LesionState
    confidence: float | None
    model: ModelIdentity
    reason: str
    flags: frozenset[Flag] = frozenset()
    prompt: LesionPrompt | None = None
    known: KnownLesion | None = None
    expected_lps: Point | None = None


def infer(job: Job, context: Context) -> None:
    """Make the analysis of one time point, if it is still wanted; then look at the timeline again.

    Raises
    ------
    UnsuitableInputError
        If the images can't be read or the model refuses them; the time point shows the reason.
    """
    started = time.monotonic()
    with context.reading() as session:
        row = session.get_one(TimePointRow, int(job.subject))
        planned = plan_patient(session, row.patient_key)
        point = next((p for p in planned if p.row.id == row.id), None)
        if point is None:
            return
        identity = analysis_identity(point, context.settings)
        roster = _roster(point.prior_rows)
        paths = series_paths(session, point.row)
        study_images = _image_paths(session, point.row)
        prior_paths = {
            k.last_seen.id: (series_paths(session, k.last_seen), k.last_seen) for k in roster if k.last_seen
        }
    try:
        job.report_progress(0.05, "reading images")
        image = context.images.read_volume(paths, series_from_json(point.row.revision.series or {}))
        prompts, problems = context.prompts.read(
            [Path(p.path) for p in point.prompt_objects], image, study_images
        )
        tracked = _track_all(image, roster, prior_paths, context, _part(job.report_progress, 0.1, 0.7))
        prompted = _segment_all(image, prompts, context, _part(job.report_progress, 0.7, 0.9))
        findings = _join(image.volume, tracked, prompted)
    except UnsuitableInputError as error:
        with context.unit() as session:
            failed = session.get_one(TimePointRow, int(job.subject))
            failed.state, failed.reason, failed.failed_identity = "UNSUITABLE", str(error), identity
            _look_again(session, failed, context)
        raise
    job.report_progress(0.9, "measuring")
    notes = [*image.notes, *problems, *_comparability(point, roster)]
    with context.unit() as session:
        earlier = planned[: planned.index(point)]
        seconds = time.monotonic() - started
        _write(session, point, earlier, identity, image.volume, findings, notes, seconds, context)


def _part(report: Progress, start: float, stop: float) -> Progress:
    return lambda share, what: report(start + (stop - start) * share, what)


# ------------------------------------------------------------------ what is known


def _roster(prior_rows: Sequence[TimePointRow]) -> list[KnownLesion]:
    """Lesions of the comparable priors. One that was lost is looked for again from where it was last seen."""
    roster: dict[str, KnownLesion] = {}
    for row in prior_rows:  # nearest first
        for seen in row.analysis.observations if row.analysis else []:
            known = roster.get(seen.tracking_uid)
            if known is not None and known.mask is not None:
                continue
            mask = unpack_mask(seen.mask) if seen.mask else None
            has_mask = mask is not None and not mask.is_empty
            roster[seen.tracking_uid] = KnownLesion(
                tracking_uid=seen.tracking_uid,
                label=seen.lesion.label,
                role=LesionRole(seen.lesion.role),
                is_nodal=seen.lesion.is_nodal,
                last_seen=row if has_mask else None,
                mask=mask if has_mask else None,
                last_state=known.last_state if known else LesionState(seen.state),
            )
    return sorted(roster.values(), key=lambda known: known.label)


def series_paths(session: Session, row: TimePointRow) -> list[Path]:
    """Files of the chosen series' stack, in the series description's order."""
    wanted = series_from_json(row.revision.series or {}).sop_instance_uids
    found = session.scalars(
        select(InstanceRow).where(
            InstanceRow.study_instance_uid == row.study.study_instance_uid,
            InstanceRow.series_instance_uid == row.revision.series_instance_uid,
        )
    )
    by_uid = {instance.sop_instance_uid: Path(instance.path) for instance in found}
    return [by_uid[uid] for uid in wanted if uid in by_uid]


def _image_paths(session: Session, row: TimePointRow) -> list[Path]:
    """Files of all images of the study."""
    found = session.scalars(
        select(InstanceRow.path).where(
            InstanceRow.study_instance_uid == row.study.study_instance_uid,
            InstanceRow.modality.not_in(PROMPT_MODALITIES),
            InstanceRow.is_own_result.is_(False),
        )
    )
    return [Path(path) for path in found]


def _comparability(point: PlannedTimePoint, roster: Sequence[KnownLesion]) -> list[str]:
    """How the acquisition differs from each prior that lesions are tracked from."""
    present = series_from_json(point.row.revision.series or {})
    notes = []
    for row in {k.last_seen.id: k.last_seen for k in roster if k.last_seen}.values():
        former = series_from_json(row.revision.series or {})
        notes += [f"compared with {row.study.study_date}: {m}" for m in comparability(former, present)]
    return notes


# ------------------------------------------------------------------ finding lesions


def _track_all(
    image: ImageStack,
    roster: Sequence[KnownLesion],
    prior_paths: Mapping[int, tuple[list[Path], TimePointRow]],
    context: Context,
    progress: Progress,
) -> list[tuple[KnownLesion, TrackedLesion]]:
    """Track each known lesion from where it was last seen; each pair of volumes is registered once."""
    tracked: list[tuple[KnownLesion, TrackedLesion]] = []
    for done, (paths, row) in enumerate(prior_paths.values()):
        lesions = [k for k in roster if k.last_seen is not None and k.last_seen.id == row.id and k.mask]
        prior = context.images.read_volume(paths, series_from_json(row.revision.series or {}))
        found = context.open_tracker().track(
            prior.volume,
            [PriorLesion(tracking_uid=k.tracking_uid, mask=k.mask) for k in lesions if k.mask is not None],
            image.volume,
            progress=_part(progress, done / len(prior_paths), (done + 1) / len(prior_paths)),
        )
        tracked += zip(lesions, found, strict=True)
    return tracked


def _segment_all(
    image: ImageStack, prompts: Sequence[LesionPrompt], context: Context, progress: Progress
) -> list[tuple[LesionPrompt, SegmentedLesion]]:
    """Segment each prompt; what a reader has drawn voxel by voxel stays as it was drawn."""
    asked = [prompt for prompt in prompts if not _has_mask(prompt)]
    segmented = context.open_segmenter().segment(image.volume, asked, progress=progress) if asked else []
    by_prompt = {id(prompt): lesion for prompt, lesion in zip(asked, segmented, strict=True)}
    found: list[tuple[LesionPrompt, SegmentedLesion]] = []
    for prompt in prompts:
        if id(prompt) in by_prompt:
            found.append((prompt, by_prompt[id(prompt)]))
            continue
        for part, mask in separate(prompt, _drawn_mask(prompt, image.volume), image.volume.spacing_mm):
            drawn = SegmentedLesion(index=len(found), mask=mask, confidence=1.0, model=AS_DRAWN)
            found.append((part, drawn))
    return found


def _has_mask(prompt: LesionPrompt) -> bool:
    """Whether the prompt has a mask: a line beside it says less."""
    return any(isinstance(shape, MaskPrompt) for shape in prompt.shapes)


def _drawn_mask(prompt: LesionPrompt, volume: Volume) -> Mask:
    """The union of a prompt's masks on the volume's grid."""
    return union([mask_on_grid(s.volume, volume) for s in prompt.shapes if isinstance(s, MaskPrompt)])


def _join(
    volume: Volume,
    tracked: Sequence[tuple[KnownLesion, TrackedLesion]],
    prompted: Sequence[tuple[LesionPrompt, SegmentedLesion]],
) -> list[Finding]:
    """One finding per lesion: what a reader points at here counts more than what was tracked to here."""
    spacing = volume.spacing_mm
    prompted = _without_twins(prompted, volume)
    masks = [segmented.mask for _, segmented in prompted]
    pairs = match(masks, [t.mask for _, t in tracked], spacing)
    for index, (prompt, _) in enumerate(prompted):  # an identity that the prompt carries wins over places
        for place, (known, _) in enumerate(tracked):
            if prompt.tracking_uid == known.tracking_uid:
                pairs = {f: k for f, k in pairs.items() if k != place} | {index: place}
    by_tracked = {place: index for index, place in pairs.items()}
    findings = []
    for place, (known, lesion) in enumerate(tracked):
        if place in by_tracked:
            prompt, segmented = prompted[by_tracked[place]]
            findings.append(replace(_prompted_finding(prompt, segmented), known=known))
        else:
            findings.append(
                Finding(
                    mask=lesion.mask,
                    state=lesion.state,
                    confidence=lesion.confidence,
                    model=lesion.model,
                    reason=lesion.reason,
                    flags=lesion.flags,
                    known=known,
                    expected_lps=lesion.expected_lps,
                )
            )
    findings += [_prompted_finding(*prompted[index]) for index in range(len(prompted)) if index not in pairs]
    return findings


def _without_twins(
    prompted: Sequence[tuple[LesionPrompt, SegmentedLesion]], volume: Volume
) -> list[tuple[LesionPrompt, SegmentedLesion]]:
    """Drop a prompt that shows the same lesion as one before it (an SR and the SEG it refers to)."""
    kept: list[tuple[LesionPrompt, SegmentedLesion]] = []
    for prompt, lesion in prompted:
        twin = any(
            likeness(lesion.mask, other.mask, volume.spacing_mm) >= 0.5
            or (prompt.tracking_uid is not None and prompt.tracking_uid == known.tracking_uid)
            for known, other in kept
        )
        if not twin:
            kept.append((prompt, lesion))
    return kept


def _prompted_finding(prompt: LesionPrompt, segmented: SegmentedLesion) -> Finding:
    is_empty = segmented.mask.is_empty
    return Finding(
        mask=segmented.mask,
        state=LesionState.NOT_EVALUABLE if is_empty else LesionState.PRESENT,
        confidence=segmented.confidence,
        model=segmented.model,
        reason=f"no voxel found at the prompt ({prompt.source})" if is_empty else f"shown by {prompt.source}",
        flags=segmented.flags | ({Flag.EMPTY} if is_empty else set()),
        prompt=prompt,
    )


# ------------------------------------------------------------------ writing it down


def _write(
    session: Session,
    point: PlannedTimePoint,
    earlier: Sequence[PlannedTimePoint],
    identity: str,
    volume: Volume,
    findings: Sequence[Finding],
    notes: Sequence[str],
    seconds: float,
    context: Context,
) -> None:
    row = session.get_one(TimePointRow, point.row.id)
    known = session.scalar(
        select(AnalysisRow).where(AnalysisRow.time_point_id == row.id, AnalysisRow.identity == identity)
    )
    if known is None:
        known = AnalysisRow(
            time_point_id=row.id,
            identity=identity,
            created_at=context.clock(),
            notes=list(notes),
            seconds=seconds,
        )
        session.add(known)
        policies = Policies.from_mapping(context.settings.response.policy)
        _write_observations(session, row, earlier, known, volume, findings, policies)
        session.flush()
    row.analysis_id = known.id
    row.state, row.reason = _state(point, findings)
    audit(
        session,
        context.clock(),
        actor="inference",
        action="analysis",
        about=row.study.study_instance_uid,
        identity=identity,
        seconds=round(seconds, 1),
        lesions=len(findings),
    )
    _look_again(session, row, context)


def _look_again(session: Session, row: TimePointRow, context: Context) -> None:
    enqueue(
        session,
        stage="timeline",
        subject=str(row.patient_key),
        lane=f"patient:{row.patient_key}",
        due_at=context.clock(),
    )


def _state(point: PlannedTimePoint, findings: Sequence[Finding]) -> tuple[str, str]:
    """The time point's state on the worklist, and what a person should know of it."""
    if not findings:
        return "AWAITING_PROMPTS", f"{point.priors.reason}; nothing here shows a lesion yet"
    lost = [f for f in findings if f.state is LesionState.TRACKING_FAILED]
    if len(lost) == len(findings):
        return "NO_MATCH", f"no lesion of the prior could be found again: {lost[0].reason}"
    return "ANALYSED", point.priors.reason


def _write_observations(
    session: Session,
    row: TimePointRow,
    earlier: Sequence[PlannedTimePoint],
    analysis: AnalysisRow,
    volume: Volume,
    findings: Sequence[Finding],
    policies: Policies,
) -> None:
    measured = [(f, None if f.mask.is_empty else measure(volume, f.mask)) for f in findings]
    days = {
        seen.lesion.label: point.study.study_date
        for point in earlier
        for seen in (point.row.analysis.observations if point.row.analysis else [])
    }
    # Two studies of one day are one visit: the second one's lesions are baseline lesions too.
    is_baseline = not any(row.study.study_date and day < row.study.study_date for day in days.values())
    new = [(f, f.prompt, size) for f, size in measured if f.known is None and f.prompt is not None]
    decide = roles_at_baseline if is_baseline else roles_of_new
    series = series_from_json(row.revision.series or {})
    roles = decide([(prompt, size, f.flags) for f, prompt, size in new], series, policies)
    lesions: dict[int, LesionRow] = {}
    used = set(days)
    for index, ((finding, prompt, _), (role, reason)) in enumerate(zip(new, roles, strict=True)):
        if role is None:
            analysis.notes = [*analysis.notes, f"{prompt.label or f'prompt {index + 1}'}: {reason}"]
        else:
            lesions[id(finding)] = _new_lesion(session, row, prompt, index, role, reason, used)
    for number, (finding, size) in enumerate(measured):
        if finding.known is not None:
            lesion: LesionRow | None = session.get_one(LesionRow, finding.known.tracking_uid)
        else:
            lesion = lesions.get(id(finding))
        if lesion is None:  # not recorded
            continue
        analysis.observations.append(
            ObservationRow(
                tracking_uid=lesion.tracking_uid,
                lesion=lesion,
                number=number,
                state=finding.state.value,
                mask=None if finding.mask.is_empty else pack_mask(finding.mask),
                measurement=measurement_to_json(size),
                expected_lps=list(finding.expected_lps) if finding.expected_lps else None,
                confidence=finding.confidence,
                flags=sorted(flag.name for flag in finding.flags),
                model=model_to_json(finding.model),
                prompt_source=finding.prompt.source.value if finding.prompt else "",
                reason=finding.reason,
            )
        )


def _new_lesion(
    session: Session,
    row: TimePointRow,
    prompt: LesionPrompt,
    index: int,
    role: LesionRole,
    reason: str,
    used: set[str],
) -> LesionRow:
    """A row, a tracking UID and a label for a lesion that is seen for the first time."""
    study_uid = row.study.study_instance_uid
    uid = prompt.tracking_uid or _tracking_uid(study_uid, prompt, index)
    site = site_of(prompt.finding_site, prompt.finding_site_meaning or prompt.label)
    label = next(text for n in range(1, 1000) if (text := f"{LABEL_PREFIX[role]}{n:02d}") not in used)
    used.add(label)
    lesion = session.get(LesionRow, uid)
    if lesion is None:
        lesion = LesionRow(tracking_uid=uid)
        session.add(lesion)
    lesion.patient_key, lesion.label, lesion.role, lesion.role_reason = (
        row.patient_key,
        label,
        role.value,
        reason,
    )
    lesion.organ = prompt.organ or (site.organ if site else "")
    lesion.finding_site = prompt.finding_site or (site.code if site else None)
    lesion.finding_site_meaning = prompt.finding_site_meaning or (site.meaning if site else None)
    lesion.laterality = prompt.laterality
    lesion.is_nodal = prompt.is_nodal or bool(site and site.is_nodal)
    lesion.first_study_instance_uid, lesion.prompt_label = study_uid, prompt.label
    session.flush()
    return lesion


def _tracking_uid(study_instance_uid: str, prompt: LesionPrompt, index: int) -> str:
    """A UID that the same prompt always gets (PS3.5 B.2: 2.25 and a number of 128 bits)."""
    told = (
        f"{study_instance_uid}|{prompt.sop_instance_uid}|{prompt.item if prompt.item is not None else index}"
    )
    return f"2.25.{int.from_bytes(hashlib.sha256(told.encode()).digest()[:16], 'big')}"


def measurement_to_json(measurement: LesionMeasurement | None) -> dict[str, Any] | None:
    """A measurement as a JSON value; `measurement_from_json` is the inverse."""
    return None if measurement is None else asdict(measurement)


def measurement_from_json(value: Mapping[str, Any] | None) -> LesionMeasurement | None:
    """The measurement that `measurement_to_json` wrote."""
    if value is None:
        return None

    def axis(part: Mapping[str, Any]) -> Axis:
        return Axis(
            start_lps=tuple(part["start_lps"]), end_lps=tuple(part["end_lps"]), length_mm=part["length_mm"]
        )

    rest = {k: v for k, v in value.items() if k not in ("long_axis", "short_axis")}
    return LesionMeasurement(long_axis=axis(value["long_axis"]), short_axis=axis(value["short_axis"]), **rest)


def model_to_json(model: ModelIdentity) -> dict[str, Any]:
    """A model's identity as a JSON value; `ModelIdentity(**value)` is the inverse."""
    return {
        "name": model.name,
        "version": model.version,
        "weights_sha256": model.weights_sha256,
        "licence": model.licence,
        "parameters": dict(model.parameters),
    }
