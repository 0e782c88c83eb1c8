"""Inference: segment what has a prompt, track what has a prior, on every stack that a visit shows."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workflow.domain.errors import UnsuitableInputError
from workflow.domain.findings import AS_DRAWN, Grid, Prompted, Tracked, join
from workflow.domain.geometry import Mask, Volume, mask_on_grid, union
from workflow.domain.lesion import (
    Flag,
    LesionMeasurement,
    LesionPrompt,
    LesionState,
    MaskPrompt,
    PlacedPrompt,
    PriorLesion,
    PromptsRead,
    SegmentedLesion,
    TrackedLesion,
)
from workflow.domain.marks import Recogniser, new_among
from workflow.domain.measurement import measure
from workflow.domain.parts import separate
from workflow.domain.record import PatientRecord, PromptObject, Visit
from workflow.domain.response import Policies
from workflow.domain.series import PROMPT_MODALITIES, SeriesDescription, StackKey
from workflow.domain.series_choice import comparability, measurable_stacks
from workflow.domain.visit import (
    KnownLesion,
    homes_for,
    is_sure_home,
    prompt_objects_of,
    roster_of,
    speaks_of_others,
    stack_with_study,
)
from workflow.engine.context import Context
from workflow.measurement import Measured, measure_visit
from workflow.ports import (
    AuditEntry,
    Changed,
    ImageStack,
    Job,
    NewJob,
    Progress,
    ReceivedFile,
    no_progress,
)
from workflow.timeline import analysis_identity, settle

log = logging.getLogger(__name__)

# Hosts that disagree on what is wanted (an upgrade under way) ask each other no more often than this.
_PAUSE_S = 10.0


def infer(job: Job, context: Context) -> None:
    """Make the analysis of one visit, if it is still wanted; then look at the timeline again.

    Raises
    ------
    UnsuitableInputError
        If none of the images can be read or the model refuses them all; the visit shows the reason.
    """
    found = context.records.patient_of_visit(int(job.subject))
    if found is None:
        return
    patient_key, anchor = found
    record = context.records.load(patient_key)
    visit = next((v for v in record.standing if v.anchor == anchor), None)
    if visit is None:
        return
    identity = analysis_identity(record, visit, context.settings)
    if any(a.identity == identity for a in visit.analyses):
        # Done before; or the timeline, which has other settings or another version, asks for what is no
        # worker's to make. Asked again at once, the two would go round in circles.
        log.info("the analysis of visit %s is there already", anchor)
        context.records.change(patient_key, lambda now: Changed(record=now, jobs=_look_again_later))
        return
    try:
        measured = analyse(record, visit, identity, job.report_progress, context)
    except UnsuitableInputError as error:
        # Under what was tried: what came in the meantime has its own turn.
        reason = str(error)
        context.records.change(patient_key, lambda now: _with_failure(now, anchor, identity, reason))
        raise
    context.records.change(patient_key, lambda now: _with_analysis(now, anchor, measured, context))


def _with_analysis(record: PatientRecord, anchor: str, measured: Measured, context: Context) -> Changed:
    """Add an analysis to the record as it is by now, if it is still the one that is wanted."""
    analysis = measured.analysis
    visit = next((v for v in record.standing if v.anchor == anchor), None)
    is_wanted = visit is not None and analysis_identity(record, visit, context.settings) == analysis.identity
    if visit is None or not is_wanted or any(a.identity == analysis.identity for a in visit.analyses):
        return Changed(record=record, jobs=_look_again)
    lesions = {**record.lesions, **{one.tracking_uid: one for one in measured.new_lesions}}
    decided = new_among(measured.decisions, record.decisions)
    visit = replace(
        visit,
        analyses=(*visit.analyses, analysis),
        current_analysis=analysis.identity,
        failed_identity="",
        failure="",
    )
    record = replace(record, lesions=lesions, decisions=(*record.decisions, *decided))
    record = record.with_visit(settle(visit, record))
    audit = AuditEntry(
        actor="inference",
        action="analysis",
        about=anchor,
        detail={
            "identity": analysis.identity,
            "seconds": round(analysis.seconds, 1),
            "lesions": len(analysis.observations),
        },
    )
    drawn = [
        AuditEntry(actor=one.by, action=f"decision: {one.decision}", about=one.subject, detail=one.to_dict())
        for one in decided
    ]
    return Changed(record=record, jobs=_look_again, audit=(audit, *drawn))


def give_up(job: Job, reason: str, context: Context) -> None:
    """Show that a visit's analysis failed for good, and go on with the patient's others."""
    found = context.records.patient_of_visit(int(job.subject))
    if found is None:
        return
    patient_key, anchor = found

    def failed(record: PatientRecord) -> Changed | None:
        visit = next((v for v in record.standing if v.anchor == anchor), None)
        if visit is None or (visit.failed_identity and visit.failure == reason):
            return None
        identity = analysis_identity(record, visit, context.settings)
        return _with_failure(record, anchor, identity, reason)

    context.records.change(patient_key, failed)


def _with_failure(record: PatientRecord, anchor: str, identity: str, reason: str) -> Changed | None:
    """Show why an analysis failed for good; it is not tried again until something changes."""
    visit = next((v for v in record.standing if v.anchor == anchor), None)
    if visit is None:
        return None
    is_again = visit.failed_identity == identity
    # What was found in an earlier revision does not belong to this one.
    visit = replace(visit, failed_identity=identity, current_analysis=None, failure=reason)
    jobs = _look_again_later if is_again else _look_again
    return Changed(record=record.with_visit(settle(visit, record)), jobs=jobs)


def _look_again(record: PatientRecord) -> list[NewJob]:
    return [NewJob(stage="timeline", subject=str(record.key), lane=f"patient:{record.key}")]


def _look_again_later(record: PatientRecord) -> list[NewJob]:
    return [replace(job, delay_s=_PAUSE_S) for job in _look_again(record)]


# ---------------------------------------------------------------- one visit


def analyse(
    record: PatientRecord, visit: Visit, identity: str, progress: Progress, context: Context
) -> Measured:
    """Read a visit's marks and images, segment and track, and measure what was found.

    Raises
    ------
    UnsuitableInputError
        If no stack that is needed can be read.
    """
    started = time.monotonic()
    progress(0.05, "reading marks")
    images = _Images(record=record, context=context)
    recogniser = Recogniser(record, visit, prompt_objects_of(record, visit))
    read = _read_prompts(record, visit, images, recogniser, context)
    record = replace(
        record,
        foreign_tracking_uids=context.records.foreign_tracking_uids(
            record.key, [p.prompt.tracking_uid for p in read.prompts if p.prompt.tracking_uid]
        ),
    )
    roster = roster_of(record, visit)
    tracking = _Tracking(record=record, visit=visit, images=images, context=context)
    tracked = tracking.run(roster, [p.drawn_on for p in read.prompts], part_of(progress, 0.1, 0.7))
    prompted, doubts = _segment_all(read.prompts, visit, images, context, part_of(progress, 0.7, 0.95))
    if (images.unreadable or tracking.refused) and not (tracked or prompted):
        raise UnsuitableInputError("; ".join((*images.unreadable.values(), *tracking.refused)))
    progress(0.95, "measuring")
    notes, asked = images.remarks()
    people = {p.sop_instance_uid: p.stored_by for p in recogniser.objects}
    measured = measure_visit(
        record,
        visit,
        join(roster, tracked, prompted, tracking.unseen),
        images.grids,
        identity=identity,
        policies=Policies.from_mapping(context.settings.response.policy),
        now=context.clock(),
        seconds=time.monotonic() - started,
        notes=[*notes, *read.notes, *tracking.notes],
        doubts=[*asked, *read.doubts, *recogniser.doubts, *tracking.refused, *tracking.doubts, *doubts],
    )
    day = record.day_of(visit).isoformat()
    return replace(measured, decisions=recogniser.decisions(day, context.clock(), people))


class _Images:
    """The stacks of a patient's visits, read when they are needed; what can't be read is remembered."""

    def __init__(self, *, record: PatientRecord, context: Context) -> None:
        self._record, self._context = record, context
        self._files: dict[str, tuple[ReceivedFile, ...]] = {}
        self.grids: dict[StackKey, Grid] = {}
        self.unreadable: dict[StackKey, str] = {}
        self._notes: dict[StackKey, tuple[str, ...]] = {}
        self._doubts: dict[StackKey, tuple[str, ...]] = {}

    def files(self, study_instance_uids: Sequence[str]) -> list[ReceivedFile]:
        """The files of some studies."""
        for uid in study_instance_uids:
            if uid not in self._files:
                self._files[uid] = self._context.records.files([uid])
        return [file for uid in study_instance_uids for file in self._files[uid]]

    def stack(self, visit: Visit, key: StackKey) -> ImageStack | None:
        """One stack of a visit, None if it can't be read."""
        if key in self.unreadable:
            return None
        found = stack_with_study(self._record, visit, key)
        if found is None:
            self.unreadable[key] = f"series {key.series_instance_uid} is not in the visit any more"
            return None
        series, study = found
        wanted = set(series.sop_instance_uids)
        paths = stack_paths(self.files([study.study_instance_uid]), series)
        try:
            if len(paths) < len(wanted):
                raise UnsuitableInputError(
                    f"{series.name}: {len(wanted) - len(paths)} of {len(wanted)} images are gone"
                )
            image = self._context.images.read_volume(paths, series)
        except UnsuitableInputError as error:
            self.unreadable[key] = str(error)
            return None
        self.grids[key] = grid_of(image)
        self._notes[key], self._doubts[key] = image.notes, image.series.doubts
        return image

    def remarks(self) -> tuple[list[str], list[str]]:
        """What is said of the stacks that were read, and what a person should know of those that were not."""
        notes = list(dict.fromkeys(note for own in self._notes.values() for note in own))
        doubts = list(dict.fromkeys(doubt for own in self._doubts.values() for doubt in own))
        lost = [f"could not be read, and is left out: {reason}" for reason in self.unreadable.values()]
        return notes, [*doubts, *lost]


def stack_paths(files: Sequence[ReceivedFile], series: SeriesDescription) -> list[Path]:
    """Files of a stack, in the series description's order."""
    by_uid = {
        file.sop_instance_uid: file.path
        for file in files
        if file.series_instance_uid == series.series_instance_uid
    }
    return [by_uid[uid] for uid in series.sop_instance_uids if uid in by_uid]


def grid_of(image: ImageStack) -> Grid:
    """Where the voxels of an image lie."""
    volume = image.volume
    return Grid(
        key=image.series.key,
        modality=image.series.modality,
        frame_of_reference_uid=image.series.frame_of_reference_uid,
        affine=volume.affine,
        spacing_mm=volume.spacing_mm,
        shape=volume.shape,
    )


def part_of(report: Progress, start: float, stop: float) -> Progress:
    """Progress of a part as progress of the whole."""
    return lambda share, what: report(start + (stop - start) * share, what)


# ---------------------------------------------------------------- prompts


def _read_prompts(
    record: PatientRecord, visit: Visit, images: _Images, recogniser: Recogniser, context: Context
) -> PromptsRead:
    """The marks on a visit's images, without those that only repeat what we told.

    An object that speaks of other visits too is not asked why some of its marks are not here.
    """
    objects = prompt_objects_of(record, visit)
    if not objects:
        return PromptsRead()
    files = images.files(sorted({p.study_instance_uid for p in objects}))
    paths = {(f.study_instance_uid, f.sop_instance_uid): f.path for f in files}
    study_images = [f.path for f in images.files(visit.studies) if f.modality not in PROMPT_MODALITIES]
    read = context.prompts.read(
        [
            paths[p.study_instance_uid, p.sop_instance_uid]
            for p in objects
            if (p.study_instance_uid, p.sop_instance_uid) in paths
        ],
        study_images,
        recognise=recogniser,
        labels=recogniser.labels,
    )
    shared = [p for p in objects if _is_shared(record, visit, p)]
    elsewhere = [d for d in read.doubts if any(p.sop_instance_uid in d for p in shared)]
    people = {p.sop_instance_uid: p.stored_by for p in objects if p.stored_by}
    return replace(
        read,
        prompts=tuple(_marked_by(one, people, recogniser.outlined_by) for one in read.prompts),
        doubts=tuple(d for d in read.doubts if d not in elsewhere),
        notes=(*read.notes, *elsewhere, *recogniser.notes),
    )


def _marked_by(
    placed: PlacedPrompt, people: Mapping[str, str], outlined_by: Mapping[str, str]
) -> PlacedPrompt:
    """The mark as that of the user who stored it here, or its lesion's outline, whoever the object names."""
    prompt = placed.prompt
    user = outlined_by.get(prompt.tracking_uid or "") or people.get(prompt.sop_instance_uid or "")
    return replace(placed, prompt=replace(placed.prompt, created_by=user)) if user else placed


def _is_shared(record: PatientRecord, visit: Visit, prompt: PromptObject) -> bool:
    return prompt.study_instance_uid not in visit.studies or speaks_of_others(record, visit, prompt)


def _segment_all(
    placed: Sequence[PlacedPrompt], visit: Visit, images: _Images, context: Context, progress: Progress
) -> tuple[list[Prompted], list[str]]:
    """Segment each prompt on its own stack; one that can't be segmented is a doubt and stops no other."""
    by_stack: dict[StackKey, list[LesionPrompt]] = defaultdict(list)
    for one in placed:
        by_stack[one.drawn_on].append(one.prompt)
    found: list[Prompted] = []
    doubts: list[str] = []
    for done, (key, prompts) in enumerate(by_stack.items()):
        share = part_of(progress, done / len(by_stack), (done + 1) / len(by_stack))
        image = images.stack(visit, key)
        if image is None:
            doubts += [f"{_name(p)} could not be measured: {images.unreadable[key]}" for p in prompts]
            continue
        segmented, refused = _segment(image, prompts, context, share)
        doubts += refused
        grid = images.grids[key]
        found += [
            Prompted(prompt=prompt, grid=grid, lesion=lesion, measurement=_size(image, lesion.mask))
            for prompt, lesion in segmented
        ]
    return _in_order(found, placed), doubts


def _in_order(found: Sequence[Prompted], placed: Sequence[PlacedPrompt]) -> list[Prompted]:
    """What was found, in the order in which the prompts were read: earlier ones say more."""
    places = {(p.prompt.sop_instance_uid, _root(p.prompt)): n for n, p in reversed(list(enumerate(placed)))}
    return sorted(found, key=lambda f: places.get((f.prompt.sop_instance_uid, _root(f.prompt)), len(placed)))


def _root(prompt: LesionPrompt) -> str:
    """The item that a prompt, or a part of it, came from."""
    return (prompt.item or "").split(" part ")[0]


def _name(prompt: LesionPrompt) -> str:
    named = prompt.label or prompt.item or "a mark"
    return f"{named} ({prompt.source})"


def _segment(
    image: ImageStack, prompts: Sequence[LesionPrompt], context: Context, progress: Progress
) -> tuple[list[tuple[LesionPrompt, SegmentedLesion]], list[str]]:
    """Segment prompts on one stack; what a reader has drawn voxel by voxel stays as it was drawn."""
    drawn = [p for p in prompts if _has_mask(p)]
    asked = [p for p in prompts if not _has_mask(p)]
    found: list[tuple[LesionPrompt, SegmentedLesion]] = []
    doubts: list[str] = []
    segmenter = context.open_segmenter() if asked else None
    if segmenter is not None:
        try:
            found += zip(asked, segmenter.segment(image.volume, asked, progress=progress), strict=True)
        except UnsuitableInputError:  # one of them is in its way: each on its own
            for prompt in asked:
                try:
                    found += [(prompt, segmenter.segment(image.volume, [prompt], progress=progress)[0])]
                except UnsuitableInputError as error:
                    doubts.append(f"{_name(prompt)} could not be segmented: {error}")
    for prompt in drawn:
        separated = separate(prompt, _drawn_mask(prompt, image.volume), image.volume)
        doubts += [separated.doubt] if separated.doubt else []
        for part, mask in separated.parts:
            lesion = SegmentedLesion(index=len(found), mask=mask, confidence=1.0, model=AS_DRAWN)
            found.append((part, lesion))
    return found, doubts


def _has_mask(prompt: LesionPrompt) -> bool:
    """Whether the prompt has a mask: a line beside it says less."""
    return any(isinstance(shape, MaskPrompt) for shape in prompt.shapes)


def _drawn_mask(prompt: LesionPrompt, volume: Volume) -> Mask:
    """The union of a prompt's masks on the volume's grid."""
    return union([mask_on_grid(s.volume, volume) for s in prompt.shapes if isinstance(s, MaskPrompt)])


def _size(image: ImageStack, mask: Mask) -> LesionMeasurement | None:
    return None if mask.is_empty else measure(image.volume, mask, value_unit=image.series.value_unit)


# ---------------------------------------------------------------- tracking


# What counts more of a lesion that was looked for on several stacks: found, then gone, then not told.
_SEEN_BEST = defaultdict(lambda: 2, {LesionState.DISAPPEARED: 1, LesionState.TRACKING_FAILED: 0})


@dataclass(kw_only=True)
class _Tracking:
    """Known lesions looked for on a visit's stacks; each pair of stacks is registered once."""

    record: PatientRecord
    visit: Visit
    images: _Images
    context: Context

    def __post_init__(self) -> None:
        self.notes: list[str] = []
        self.refused: list[str] = []
        self.doubts: list[str] = []
        self.unseen: dict[str, str] = {}

    def run(
        self, roster: Sequence[KnownLesion], drawn_on: Sequence[StackKey], progress: Progress
    ) -> list[Tracked]:
        """Track each lesion from where it was last seen, on the likest stack on which it can be found.

        One that is gone on a stack which nothing says to show its place is looked for on the others too.
        `drawn_on` are stacks that a reader drew on: they are looked at beside those that the rule chooses.
        """
        stacks = list(measurable_stacks(list(self.record.stacks_of(self.visit).values())))
        chosen = {s.key for s in stacks}
        own = self.record.stacks_of(self.visit)
        stacks += [own[key] for key in dict.fromkeys(drawn_on) if key in own and key not in chosen]
        open_ones = [k for k in roster if k.mask is not None]
        homes = {k.tracking_uid: homes_for(self.record, self.visit, k, stacks) for k in open_ones}
        for known in open_ones:
            if not homes[known.tracking_uid]:
                self.unseen[known.tracking_uid] = "no series here shows its place"
                self.notes.append(f"{known.label} was not looked for: no series here shows its place")
        best: dict[str, Tracked] = {}
        for turn in range(max((len(h) for h in homes.values()), default=0)):
            waiting: dict[tuple[str, StackKey, StackKey], list[KnownLesion]] = defaultdict(list)
            for known in open_ones:
                places = homes[known.tracking_uid]
                former = best.get(known.tracking_uid)
                is_lost = former is None or self._may_be_elsewhere(former)
                if turn < len(places) and is_lost and known.visit and known.stack:
                    waiting[known.visit, known.stack, places[turn].key].append(known)
            for done, ((anchor, there, here), lesions) in enumerate(waiting.items()):
                share = part_of(progress, done / len(waiting), (done + 1) / len(waiting))
                for tracked in self._track(anchor, there, here, lesions, share):
                    former = best.get(tracked.known.tracking_uid)
                    if former is None or _SEEN_BEST[tracked.lesion.state] > _SEEN_BEST[former.lesion.state]:
                        best[tracked.known.tracking_uid] = tracked
        found = [best[k.tracking_uid] for k in roster if k.tracking_uid in best]
        return [
            *found,
            *self._where_drawn(found, [own[key] for key in dict.fromkeys(drawn_on) if key in own]),
        ]

    def _where_drawn(self, found: Sequence[Tracked], drawn_on: Sequence[SeriesDescription]) -> list[Tracked]:
        """The same lesions on stacks that a reader drew on, where no frame of reference tells which is which.

        Else a known lesion that was drawn on another study of the day would be taken for a new one.
        """
        pairs: dict[tuple[str, StackKey, StackKey], list[KnownLesion]] = defaultdict(list)
        for tracked in found:
            known, frame = tracked.known, tracked.grid.frame_of_reference_uid
            for series in homes_for(self.record, self.visit, known, drawn_on):
                is_told = bool(frame) and frame == series.frame_of_reference_uid
                if series.key != tracked.grid.key and not is_told and known.visit and known.stack:
                    pairs[known.visit, known.stack, series.key].append(known)
        return [
            tracked
            for (anchor, there, here), lesions in pairs.items()
            for tracked in self._track(anchor, there, here, lesions, no_progress)
        ]

    def _may_be_elsewhere(self, tracked: Tracked) -> bool:
        """Whether a lesion that was not found may be shown by another stack."""
        if tracked.lesion.state is LesionState.TRACKING_FAILED:
            return True
        is_gone = tracked.lesion.state is LesionState.DISAPPEARED
        return is_gone and not is_sure_home(self.record, self.visit, tracked.known, tracked.grid.key)

    def _track(
        self,
        anchor: str,
        there: StackKey,
        here: StackKey,
        lesions: Sequence[KnownLesion],
        progress: Progress,
    ) -> list[Tracked]:
        former = self.record.visit(anchor)
        prior, image = self.images.stack(former, there), self.images.stack(self.visit, here)
        if prior is None or image is None:
            missing = here if image is None else there
            self.unseen |= dict.fromkeys((k.tracking_uid for k in lesions), self.images.unreadable[missing])
            return []
        day = self.record.day_of(former)
        differences = comparability(prior.series, image.series)
        self.notes += [note for m in differences if (note := f"compared with {day}: {m}") not in self.notes]
        try:
            found: list[TrackedLesion] = self.context.open_tracker().track(
                prior.volume,
                [
                    PriorLesion(tracking_uid=k.tracking_uid, mask=k.mask)
                    for k in lesions
                    if k.mask is not None
                ],
                image.volume,
                progress=progress,
            )
        except UnsuitableInputError as error:  # this pair stops no other
            reason = f"{prior.series.name} of {day} could not be compared with {image.series.name}: {error}"
            self.refused.append(reason)
            self.unseen |= dict.fromkeys((k.tracking_uid for k in lesions), reason)
            return []
        if any(Flag.OTHER_PATIENT in lesion.flags for lesion in found):
            self.doubts.append(
                f"{prior.series.name} of {day} and {image.series.name} may show two patients: whose are they?"
            )
        grid = self.images.grids[here]
        return [
            Tracked(known=known, grid=grid, lesion=lesion, measurement=_size(image, lesion.mask))
            for known, lesion in zip(lesions, found, strict=True)
        ]
