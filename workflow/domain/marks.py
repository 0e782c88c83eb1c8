"""What a reader's marks mean beside what we told before: repeated, corrected, or new.

A viewer loads our measurements and stores all of them again with what the reader changed and added. OHIF
gives every one a new tracking UID and keeps our label; so a mark is recognised by its tracking UID, else by
lying exactly where we told it, else by its label, else by its place; and it is said which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import numpy as np

from workflow.domain.geometry import Point, Volume
from workflow.domain.lesion import Axis, LesionMeasurement, LesionPrompt, LinePrompt, MaskPrompt, PlacedPrompt
from workflow.domain.lesion_life import Decision, Override, in_force
from workflow.domain.record import PatientRecord, PromptObject, Visit
from workflow.domain.series import StackKey

# Where marks come from that were drawn on our own page.
CANVAS = "CANVAS"
# Viewers keep coordinates to a few thousandths of a pixel, and ours are pixel centres.
SAME_END_MM = 0.1


class Matched(StrEnum):
    """What a mark was recognised by."""

    TRACKING_UID = "its tracking UID"
    PLACE = "its place"
    LABEL = "its label"


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """A lesion as an analysis of the visit told it."""

    tracking_uid: str
    label: str
    is_nodal: bool
    measured_on: StackKey | None
    measurement: LesionMeasurement


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A lesion of ours that a reader measured anew; mm, the short axis None where none was drawn."""

    told: Told
    long_axis_mm: float
    short_axis_mm: float | None
    matched: Matched

    @property
    def diameter_mm(self) -> float | None:
        """What RECIST takes of it; None for a node of which one line was drawn: nobody knows which axis."""
        return self.short_axis_mm if self.told.is_nodal else self.long_axis_mm

    @property
    def words(self) -> str:
        """What was measured, for the decision's reason."""
        size, short = self.told.measurement, self.short_axis_mm
        now = f"{self.long_axis_mm:.1f} mm" if short is None else f"{self.long_axis_mm:.1f} × {short:.1f} mm"
        former = f"{size.long_axis.length_mm:.1f} × {size.short_axis.length_mm:.1f} mm"
        return f"measured anew in the viewer: {now}, was {former}; recognised by {self.matched}"


class Recogniser:
    """Compares the marks of a visit's objects with what was told of the visit before each came.

    Called for one object at a time, it says what to read of it; what it found is in its attributes then.

    Attributes
    ----------
    corrections
        By SOP Instance UID of the object.
    outlined_by
        Who drew a lesion of ours anew, voxel by voxel, by its tracking UID.
    notes
        What is only said: what repeats ours, one for each.
    """

    def __init__(self, record: PatientRecord, visit: Visit, objects: Iterable[PromptObject]) -> None:
        self._record, self._visit = record, visit
        self._objects = {one.sop_instance_uid: one for one in objects}
        self.corrections: dict[str, list[Correction]] = {}
        self.outlined_by: dict[str, str] = {}
        self._questions: list[str] = []
        self.notes: list[str] = []
        self._recognised: dict[str, set[str]] = {}

    @property
    def objects(self) -> tuple[PromptObject, ...]:
        """What it was made for."""
        return tuple(self._objects.values())

    @property
    def labels(self) -> frozenset[str]:
        """What our lesions are called here: a segment of that name is one, whatever a viewer codes it as."""
        return frozenset(t.label for t in self._told(None))

    def __call__(self, sop_instance_uid: str, placed: Sequence[PlacedPrompt]) -> list[LesionPrompt | None]:
        """What to read of an object's marks: each with the identity that it has, None if it repeats ours."""
        made = self._objects.get(sop_instance_uid)
        if made is not None and made.drawn_here:
            return [one.prompt for one in placed]
        told = self._told(made.received_at if made else None)
        if made is None or not told:
            return [self._with_known_uid(one) for one in placed]
        matches = _matches(told, placed, by_place=bool(made.stored_by))
        read: list[LesionPrompt | None] = []
        for number, one in enumerate(placed):
            if number not in matches:
                read.append(self._with_known_uid(one))
                continue
            lesion, matched = matches[number]
            self._recognised.setdefault(sop_instance_uid, set()).add(lesion.tracking_uid)
            if any(_repeats(one.prompt, t) for t in told if t.tracking_uid == lesion.tracking_uid):
                self.notes.append(f"{lesion.label} of {sop_instance_uid} is as it was told")
                read.append(None)
                continue
            read.append(replace(one.prompt, tracking_uid=lesion.tracking_uid))
            self._note_change(sop_instance_uid, one.prompt, lesion, matched)
        return read

    def _with_known_uid(self, one: PlacedPrompt) -> LesionPrompt:
        """A mark that gave a lesion which a reader drew anew has that lesion's tracking UID: it is replaced.

        The newest objects come first, and marks without a tracking UID were given one of ours.
        """
        stack = self._record.stacks_of(self._visit).get(one.drawn_on)
        if one.prompt.tracking_uid or stack is None:
            return one.prompt
        uid = own_tracking_uid(stack.study_instance_uid, one.prompt)
        is_replaced = any(uid in uids for uids in self._recognised.values())
        return replace(one.prompt, tracking_uid=uid) if is_replaced else one.prompt

    def _note_change(self, uid: str, prompt: LesionPrompt, lesion: Told, matched: Matched) -> None:
        line = next((shape for shape in prompt.shapes if isinstance(shape, LinePrompt)), None)
        if line is None:
            self.notes.append(f"{lesion.label} was drawn anew ({uid}, recognised by {matched})")
            if user := self._objects[uid].stored_by:
                self.outlined_by.setdefault(lesion.tracking_uid, user)
            return
        axis = lesion.measurement.long_axis
        apart = _length(_middle(line.start_lps, line.end_lps), _middle(axis.start_lps, axis.end_lps))
        if apart > max(axis.length_mm, _length(line.start_lps, line.end_lps)):
            self._questions.append(
                f"{lesion.label} was drawn {apart:.0f} mm from where it was told: is it the same? ({uid})"
            )
        short = line.short_axis_lps
        lengths = sorted(
            [_length(line.start_lps, line.end_lps), *([_length(*short)] if short is not None else [])]
        )
        self.corrections.setdefault(uid, []).append(
            Correction(
                told=lesion,
                long_axis_mm=lengths[-1],
                short_axis_mm=lengths[0] if short is not None else None,
                matched=matched,
            )
        )

    def _told(self, before: datetime | None) -> list[Told]:
        """What the visit's analyses told before an object came, the newest first."""
        found = []
        for analysis in reversed(self._visit.analyses):
            if before is not None and analysis.created_at > before:
                continue
            for seen in analysis.observations:
                lesion = self._record.lesions.get(seen.tracking_uid)
                if lesion is not None and seen.measurement is not None:
                    found.append(
                        Told(
                            tracking_uid=seen.tracking_uid,
                            label=lesion.label,
                            is_nodal=lesion.is_nodal,
                            measured_on=seen.measured_on,
                            measurement=seen.measurement,
                        )
                    )
        return found

    @property
    def doubts(self) -> list[str]:
        """What a reader has to be asked, nothing of it a deletion."""
        return [*self._questions, *self._missing()]

    def _missing(self) -> list[str]:
        """Which of our measurements are not in what a reader stored last."""
        told_again = [
            one
            for uid in self._recognised
            if (one := self._objects[uid]).modality == "SR" and one.received_at
        ]
        if not told_again:
            return []
        last = max(told_again, key=lambda one: (one.received_at or datetime.min, one.sop_instance_uid))
        analyses = [a for a in self._visit.analyses if last.received_at and a.created_at <= last.received_at]
        shown = {o.tracking_uid for o in analyses[-1].observations if o.measurement} if analyses else set()
        rejected = {d.lesion for d in self._record.decisions if d.decision is Decision.NOT_A_LESION}
        missing = shown - self._recognised[last.sop_instance_uid] - rejected
        labels = sorted(self._record.lesions[uid].label for uid in missing if uid in self._record.lesions)
        who = last.stored_by or "a reader"
        return [
            f"{', '.join(labels)} {'is' if len(labels) == 1 else 'are'} missing among the measurements that "
            f"{who} stored: left out on purpose? (SR {last.sop_instance_uid})"
        ] if labels else []  # fmt: skip

    def decisions(self, day: str, now: datetime, people: Mapping[str, str]) -> tuple[Override, ...]:
        """The corrections as decisions of who made them, at a time point named by its day.

        `people` has who marked, by SOP Instance UID. The same correction is always the same decision, and one
        that is stored again with everything else decides nothing new.
        """
        standing = {
            (one.lesion, one.by, one.diameter_um)
            for one in in_force(self._record.decisions)
            if one.decision is Decision.SET_DIAMETER and one.time_point == day
        }
        made = (
            Override(
                id=hashlib.sha256(f"{uid}|{one.told.tracking_uid}".encode()).hexdigest()[:32],
                decision=Decision.SET_DIAMETER,
                lesion=one.told.tracking_uid,
                time_point=day,
                by=people.get(uid) or "a reader whose name the object does not say",
                at=self._objects[uid].received_at or now,
                reason=one.words,
                diameter_um=round(one.diameter_mm * 1000),
            )
            for uid, found in self.corrections.items()
            for one in found
            if one.diameter_mm is not None
        )
        return tuple(one for one in made if (one.lesion, one.by, one.diameter_um) not in standing)


def _matches(
    told: Sequence[Told], placed: Sequence[PlacedPrompt], *, by_place: bool
) -> dict[int, tuple[Told, Matched]]:
    """Which mark is which lesion, each at most once; the surest way first."""
    found: dict[int, tuple[Told, Matched]] = {}
    for matched in (Matched.TRACKING_UID, None, Matched.LABEL, Matched.PLACE):
        if matched is Matched.PLACE and not by_place:
            continue
        for number, one in enumerate(placed):
            taken = {lesion.tracking_uid for lesion, _ in found.values()}
            if number in found:
                continue
            for lesion in told:
                if lesion.tracking_uid not in taken and _is_match(matched, one, lesion):
                    found[number] = lesion, matched or Matched.PLACE
                    break
    return found


def _is_match(matched: Matched | None, one: PlacedPrompt, lesion: Told) -> bool:
    """`None` stands for lying exactly where it was told."""
    if matched is Matched.TRACKING_UID:
        return one.prompt.tracking_uid == lesion.tracking_uid
    if matched is None:
        return _repeats(one.prompt, lesion)
    is_same_stack = lesion.measured_on == one.drawn_on
    if matched is Matched.LABEL:
        return is_same_stack and one.prompt.label.strip() == lesion.label
    return is_same_stack and _lies_on(one.prompt, lesion.measurement)


def _repeats(prompt: LesionPrompt, lesion: Told) -> bool:
    """Whether a mark is our own measurement or our own segment, unchanged."""
    size = lesion.measurement
    for shape in prompt.shapes:
        if isinstance(shape, LinePrompt):
            lines = [(shape.start_lps, shape.end_lps)]
            lines += [shape.short_axis_lps] if shape.short_axis_lps is not None else []
            ours = [size.long_axis, size.short_axis]
            # Two axes of one length may be told in either order.
            return len(lines) == 2 and any(
                all(_is_same_line(line, axis) for line, axis in zip(lines, order, strict=True))
                for order in (ours, ours[::-1])
            )
        if isinstance(shape, MaskPrompt):
            return _is_our_segment(shape.volume, size)
    return False


def _is_our_segment(drawn: Volume, size: LesionMeasurement) -> bool:
    """Whether a mask has as many voxels as ours, and the ends of our axes in it."""
    ends = np.array(
        [end for axis in (size.long_axis, size.short_axis) for end in (axis.start_lps, axis.end_lps)]
    )
    index = np.rint(drawn.ijk(ends)).astype(int)
    if np.any(index < 0) or np.any(index >= drawn.shape) or not drawn.array[tuple(index.T)].all():
        return False
    volume_mm3 = np.count_nonzero(drawn.array) * drawn.voxel_volume_mm3
    return bool(abs(volume_mm3 - size.volume_mm3) < drawn.voxel_volume_mm3 / 2)


def _is_same_line(line: tuple[Point, Point], axis: Axis) -> bool:
    ends = np.array([axis.start_lps, axis.end_lps])
    drawn = np.array(line)
    return any(np.linalg.norm(drawn - way, axis=1).max() <= SAME_END_MM for way in (ends, ends[::-1]))


def _lies_on(prompt: LesionPrompt, size: LesionMeasurement) -> bool:
    """Whether the middle of a line lies within half a radius of the middle of ours."""
    line = next((shape for shape in prompt.shapes if isinstance(shape, LinePrompt)), None)
    if line is None:
        return False
    axis = size.long_axis
    apart = _length(_middle(line.start_lps, line.end_lps), _middle(axis.start_lps, axis.end_lps))
    return apart <= max(axis.length_mm, size.short_axis.length_mm) / 4


def _middle(one: Point, other: Point) -> Point:
    x, y, z = ((a + b) / 2 for a, b in zip(one, other, strict=True))
    return x, y, z


def _length(one: Point, other: Point) -> float:
    return float(np.linalg.norm(np.subtract(other, one)))


def own_tracking_uid(study_instance_uid: str, prompt: LesionPrompt, number: int = 0) -> str:
    """A UID that the same prompt always gets (PS3.5 B.2: 2.25 and a number of 128 bits)."""
    item = prompt.item if prompt.item is not None else number
    told = f"{study_instance_uid}|{prompt.sop_instance_uid}|{item}"
    return f"2.25.{int.from_bytes(hashlib.sha256(told.encode()).digest()[:16], 'big')}"


def new_among(decisions: Iterable[Override], known: Collection[Override]) -> tuple[Override, ...]:
    """Those that are not in the record yet; one that was withdrawn is, and stays so."""
    ids = {one.id for one in known}
    return tuple(one for one in decisions if one.id not in ids)
