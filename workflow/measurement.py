"""Measurement: findings become measured observations with an identity, a role and a label for life.

Pure: a record, a visit and what was found go in, an analysis and the lesions seen first here come out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from workflow.domain.anatomy import site_of
from workflow.domain.findings import Finding, Grid, similarity
from workflow.domain.lesion import Flag, LesionState
from workflow.domain.lesion_life import Override
from workflow.domain.marks import own_tracking_uid
from workflow.domain.record import Analysis, LesionIdentity, Observation, PatientRecord, Visit, labels_in_use
from workflow.domain.report import LesionRole
from workflow.domain.response import Lesion, Policies, micrometres
from workflow.domain.response.eligibility import Candidate, measurability
from workflow.domain.response.selection import choose_targets
from workflow.domain.series import SeriesDescription, StackKey, slice_interval
from workflow.domain.states import VisitState
from workflow.domain.visit import earlier_visits, roster_of, was_looked_at, why_no_prior

LABEL_PREFIX = {LesionRole.TARGET: "T", LesionRole.NON_TARGET: "NT", LesionRole.NEW: "N"}
# What makes an outline hard to measure again.
_DOUBTFUL = frozenset(
    {Flag.TRUNCATED_AT_VOLUME_END, Flag.TOUCHES_PATCH_BORDER, Flag.LOW_CONFIDENCE, Flag.EMPTY}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A visit's analysis, the lesions seen first in it, and what readers decided by drawing."""

    analysis: Analysis
    new_lesions: tuple[LesionIdentity, ...]
    decisions: tuple[Override, ...] = ()


def measure_visit(
    record: PatientRecord,
    visit: Visit,
    findings: Sequence[Finding],
    grids: dict[StackKey, Grid],
    *,
    identity: str,
    policies: Policies,
    now: datetime,
    seconds: float = 0.0,
    notes: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> Measured:
    """Give findings identity, role and label, and judge what the visit as a whole is.

    Parameters
    ----------
    grids
        The grids that the findings' masks are on.
    doubts, notes
        What inference wants a person to look at, and what it only says; what is found here is added.
    """
    earlier = earlier_visits(record, visit)
    is_baseline = not any(v.observations for v in earlier)
    findings = _with_former_identity(record, visit, findings, grids)
    known_before = {o.tracking_uid for v in earlier for o in v.observations}
    stacks = record.stacks_of(visit)
    uids: dict[int, str] = {}
    new: list[int] = []
    for index, finding in enumerate(findings):
        uid = finding.known.tracking_uid if finding.known else _uid(finding)
        if uid in known_before and uid is not None:
            uids[index] = uid
        elif finding.prompt is not None:
            new.append(index)
    roles = _roles([findings[i] for i in new], stacks, policies, is_baseline=is_baseline)
    used = labels_in_use(earlier, record.lesions)
    chosen = {
        _tracking_uid(record, visit, findings[index], number): role
        for number, (index, (role, _)) in enumerate(zip(new, roles, strict=True))
        if role is not None
    }
    kept = _kept_labels(record, visit, chosen, used)
    used |= set(kept.values())
    lesions: dict[str, LesionIdentity] = {}
    equivocal: dict[int, str] = {}
    said, asked = list(notes), list(doubts)
    for number, (index, (role, reason)) in enumerate(zip(new, roles, strict=True)):
        prompt = findings[index].prompt
        assert prompt is not None  # what is new was prompted
        if role is None:
            said.append(f"{prompt.label or f'prompt {number + 1}'}: {reason}")
            continue
        uid = _tracking_uid(record, visit, findings[index], number)
        label = kept.get(uid) or next(
            text for n in range(1, 1000) if (text := f"{LABEL_PREFIX[role]}{n:02d}") not in used
        )
        used.add(label)
        lesion = _new_lesion(record, visit, findings[index], uid, label, role, reason)
        lesions[lesion.tracking_uid] = lesion
        uids[index] = lesion.tracking_uid
        doubt = "" if role is not LesionRole.NEW else _why_equivocal(record, visit, findings[index], stacks)
        if doubt:
            equivocal[index] = doubt
            asked.append(f"{lesion.label} is held for equivocal: {doubt}; a reader has to decide")
    observations = tuple(
        _observation(finding, uids[index], index, equivocal.get(index, ""))
        for index, finding in enumerate(findings)
        if index in uids
    )
    state, why = _verdict(record, visit, observations)
    asked += _doubts_of_comparison(record, visit, is_baseline=is_baseline and bool(observations))
    return Measured(
        analysis=Analysis(
            identity=identity,
            created_at=now,
            state=state,
            reason=why,
            is_baseline=is_baseline,
            observations=observations,
            notes=tuple(said),
            doubts=tuple(dict.fromkeys(asked)),
            seconds=seconds,
        ),
        new_lesions=tuple(lesions.values()),
    )


def _doubts_of_comparison(record: PatientRecord, visit: Visit, *, is_baseline: bool) -> list[str]:
    """What a person should know of the visits that this one is, or is not, compared with."""
    earlier = earlier_visits(record, visit)
    doubts = [
        f"the visit of {record.day_of(v)} could not be analysed, and nothing is compared with it"
        for v in earlier
        if v.analysis is None and v.failed_identity
    ]
    shown = [v for v in earlier if v.analysis is not None and why_no_prior(record, visit, v) is None]
    if is_baseline and shown:
        doubts.append(
            f"taken for the baseline, because the visit of {record.day_of(shown[-1])} shows no lesion yet: "
            "were there none, or are its marks missing?"
        )
    return doubts


def compared_with(record: PatientRecord, visit: Visit) -> str:
    """What a visit is compared with, in words."""
    earlier = earlier_visits(record, visit)
    if not earlier:
        return "first visit of this patient"
    before = [v for v in earlier if v.observations]
    if not before:
        return "no earlier visit shows a lesion"
    reasons = [why_no_prior(record, visit, v) for v in before]
    if None in reasons:
        return f"compared with {record.day_of(before[reasons.index(None)]).isoformat()}"
    return f"no comparable prior: {reasons[0]} ({record.day_of(before[0]).isoformat()})"


def _verdict(
    record: PatientRecord, visit: Visit, observations: Sequence[Observation]
) -> tuple[VisitState, str]:
    against = compared_with(record, visit)
    if not observations:
        return VisitState.AWAITING_PROMPTS, f"{against}; nothing here shows a lesion yet"
    lost = [o for o in observations if o.state is LesionState.TRACKING_FAILED]
    # What was looked for nowhere was not lost.
    unseen = [o for o in observations if o.state is LesionState.NOT_EVALUABLE and o.measured_on is None]
    if lost and len(lost) + len(unseen) == len(observations):
        return VisitState.NO_MATCH, f"no lesion of the prior could be found again: {lost[0].reason}"
    return VisitState.ANALYSED, against


# ---------------------------------------------------------------- identity


def _uid(finding: Finding) -> str | None:
    return finding.prompt.tracking_uid if finding.prompt else None


def _with_former_identity(
    record: PatientRecord, visit: Visit, findings: Sequence[Finding], grids: dict[StackKey, Grid]
) -> list[Finding]:
    """Findings that redraw what an earlier analysis of these very images showed keep its tracking UID.

    A corrected structure set or SR comes as a new object; the lesion, and what readers decided about
    it, stay the same. So they do where the images belong to another visit by now.
    """
    claimed = {_uid(finding) for finding in findings}
    # A lesion of a study that went to another patient is not in the record any more.
    known = record.lesions
    former = [
        seen
        for seen in _seen_before(record, visit)
        if seen.mask is not None
        and seen.tracking_uid not in claimed
        and seen.tracking_uid in known
        and known[seen.tracking_uid].first_study_instance_uid in visit.studies
        and seen.measured_on in grids
        and seen.mask.shape == grids[seen.measured_on].shape
    ]
    # A new object has a tracking UID of its own making; the one that is known already counts.
    pairs = sorted(
        (-score, i, j)
        for i, finding in enumerate(findings)
        if finding.known is None and finding.mask is not None and finding.measured_on is not None
        for j, seen in enumerate(former)
        if seen.mask is not None
        and seen.measured_on is not None
        and (
            score := similarity(finding.mask, grids[finding.measured_on], seen.mask, grids[seen.measured_on])
        )
        > 0
    )
    settled, taken = list(findings), set[int]()
    redrawn = set[int]()
    for _, i, j in pairs:
        finding = settled[i]
        if i in redrawn or j in taken or finding.prompt is None:
            continue
        redrawn.add(i)
        taken.add(j)
        settled[i] = replace(finding, prompt=replace(finding.prompt, tracking_uid=former[j].tracking_uid))
    return settled


def _seen_before(record: PatientRecord, visit: Visit) -> list[Observation]:
    """What the latest analyses saw on a visit's stacks, whichever visit those belonged to."""
    own = record.stacks_of(visit)
    latest = [v.analysis or v.analyses[-1] for v in record.visits if v.analyses]
    latest.sort(key=lambda analysis: analysis.created_at, reverse=True)
    seen = [o for analysis in latest for o in analysis.observations if o.measured_on in own]
    return list({o.tracking_uid: o for o in reversed(seen)}.values())


def _tracking_uid(record: PatientRecord, visit: Visit, finding: Finding, number: int) -> str:
    """The tracking UID of a lesion that is seen for the first time."""
    prompt = finding.prompt
    if prompt is None:
        raise ValueError("a lesion without a prompt and without a prior has no identity")
    # Another patient's UID: whoever made it copied it.
    if prompt.tracking_uid and prompt.tracking_uid not in record.foreign_tracking_uids:
        return prompt.tracking_uid
    return own_tracking_uid(_study_of(record, visit, finding), prompt, number)


def _kept_labels(
    record: PatientRecord, visit: Visit, roles: Mapping[str, LesionRole], used: Collection[str]
) -> dict[str, str]:
    """The labels of lesions that an earlier analysis of this visit showed: a new mark renames none of them.

    Unless a lesion's role is another now, which its label says, or an earlier visit has come in between.
    """
    former = [o for analysis in visit.analyses for o in analysis.observations]
    stacks = record.stacks_of(visit)
    looked_at = {stacks[o.measured_on].study_instance_uid for o in former if o.measured_on in stacks}
    if not looked_at.issuperset(visit.studies):
        return {}  # studies of one visit give the same labels in whatever order they arrive
    seen = {o.tracking_uid for o in former}
    return {
        uid: label
        for uid, role in roles.items()
        if uid in seen
        and uid in record.lesions
        and (label := record.lesions[uid].label) not in used
        and label.rstrip("0123456789") == LABEL_PREFIX[role]
    }


def _new_lesion(
    record: PatientRecord,
    visit: Visit,
    finding: Finding,
    uid: str,
    label: str,
    role: LesionRole,
    reason: str,
) -> LesionIdentity:
    """A lesion that is seen for the first time."""
    prompt = finding.prompt
    assert prompt is not None  # what is new was prompted
    study_uid = _study_of(record, visit, finding)
    site = site_of(prompt.finding_site, prompt.finding_site_meaning or prompt.label)
    return LesionIdentity(
        tracking_uid=uid,
        label=label,
        role=role,
        role_reason=reason,
        organ=prompt.organ or (site.organ if site else ""),
        finding_site=prompt.finding_site or (site.code if site else None),
        finding_site_meaning=prompt.finding_site_meaning or (site.meaning if site else None),
        laterality=prompt.laterality,
        is_nodal=prompt.is_nodal or bool(site and site.is_nodal),
        finding=prompt.finding,
        finding_meaning=prompt.finding_meaning,
        first_study_instance_uid=study_uid,
        prompt_label=prompt.label,
    )


def _study_of(record: PatientRecord, visit: Visit, finding: Finding) -> str:
    """The study that holds the stack of a finding."""
    stack = record.stacks_of(visit).get(finding.measured_on) if finding.measured_on else None
    return stack.study_instance_uid if stack else visit.anchor


def _observation(finding: Finding, tracking_uid: str, number: int, doubt: str) -> Observation:
    has_mask = finding.mask is not None and not finding.mask.is_empty
    return Observation(
        tracking_uid=tracking_uid,
        number=number,
        state=finding.state,
        measured_on=finding.measured_on,
        mask=finding.mask if has_mask else None,
        measurement=finding.measurement,
        expected_lps=finding.expected_lps,
        is_equivocal=bool(doubt),
        confidence=finding.confidence,
        flags=finding.flags,
        model=finding.model,
        prompt_source=finding.prompt.source.value if finding.prompt else "",
        marked_by=(finding.prompt.created_by or "") if finding.prompt else "",
        reason=f"{finding.reason}; {doubt}" if doubt else finding.reason,
    )


# ---------------------------------------------------------------- roles


def _roles(
    found: Sequence[Finding],
    stacks: dict[StackKey, SeriesDescription],
    policies: Policies,
    *,
    is_baseline: bool,
) -> list[tuple[LesionRole | None, str]]:
    """Roles of lesions seen for the first time; none for what RECIST does not record (a normal node).

    At baseline the targets are chosen over the whole visit (RECIST 1.1, 4.2); later, what no earlier visit
    showed is new, also where nothing was imaged before (4.3.5).
    """
    candidates = [_candidate(index, finding, stacks) for index, finding in enumerate(found)]
    if is_baseline:
        return [(choice.role, choice.reason) for choice in choose_targets(candidates, policies).choices]
    roles: list[tuple[LesionRole | None, str]] = []
    for candidate in candidates:
        judged = measurability(candidate, policies)
        if judged.role is None:
            roles.append((None, f"not recorded: {judged.reason}"))
        else:
            roles.append((LesionRole.NEW, "not there at the earlier visits"))
    return roles


def _candidate(index: int, finding: Finding, stacks: dict[StackKey, SeriesDescription]) -> Candidate:
    prompt, size = finding.prompt, finding.measurement
    assert prompt is not None  # what is new was prompted
    site = site_of(prompt.finding_site, prompt.finding_site_meaning or prompt.label)
    stack = stacks.get(finding.measured_on) if finding.measured_on else None
    interval_mm, source = slice_interval(stack) if stack else (None, "")
    return Candidate(
        lesion=Lesion(
            id=f"{index:04d}",
            organ=prompt.organ or (site.organ if site else ""),
            is_nodal=prompt.is_nodal or bool(site and site.is_nodal),
        ),
        long_axis_um=micrometres(size.long_axis.length_mm) if size else None,
        short_axis_um=micrometres(size.short_axis.length_mm) if size else None,
        slice_interval_um=micrometres(interval_mm) if interval_mm else None,
        interval_source=source,
        is_reproducible=not finding.flags & _DOUBTFUL,
    )


def _why_equivocal(
    record: PatientRecord, visit: Visit, finding: Finding, stacks: dict[StackKey, SeriesDescription]
) -> str:
    """Why a lesion that looks new here may be an old one, or "" if there is no such doubt."""
    earlier = earlier_visits(record, visit)
    stack = stacks.get(finding.measured_on) if finding.measured_on else None
    if stack is not None and not was_looked_at(record, visit, stack):
        before = {
            former.modality
            for v in earlier
            for o in v.observations
            if o.measured_on is not None and (former := record.stacks_of(v).get(o.measured_on)) is not None
        }
        if before and stack.modality not in before:
            return f"the lesions before were seen on {', '.join(sorted(before))} only"
    lost = [known.label for known in roster_of(record, visit) if known.mask is None]
    return f"it may be {', '.join(lost)}, never outlined before" if lost else ""
