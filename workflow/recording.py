"""Recording: findings become measured observations with an identity, a role and a label for life."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy.orm import Session

from db.masks import pack_mask, unpack_mask
from db.tables import AnalysisRow, LesionRow, ObservationRow
from workflow.domain.anatomy import site_of
from workflow.domain.geometry import Volume
from workflow.domain.lesion import (
    Axis,
    LesionMeasurement,
    LesionPrompt,
    LesionState,
    ModelIdentity,
)
from workflow.domain.matching import match
from workflow.domain.measurement import measure
from workflow.domain.report import LesionRole
from workflow.domain.response import Policies
from workflow.findings import Finding
from workflow.ingest import series_from_json
from workflow.roles import Found, Role, roles_at_baseline, roles_of_new
from workflow.timeline import PlannedTimePoint

LABEL_PREFIX = {LesionRole.TARGET: "T", LesionRole.NON_TARGET: "NT", LesionRole.NEW: "N"}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a time point shows is recorded with: the patient's earlier time points and the protocol."""

    point: PlannedTimePoint
    earlier: Sequence[PlannedTimePoint]
    policies: Policies
    baseline_window_days: int

    @property
    def earlier_observations(self) -> list[tuple[date, ObservationRow]]:
        """Every observation of the earlier time points with its day."""
        return [
            (point.study.study_date, seen)
            for point in self.earlier
            for seen in (point.row.analysis.observations if point.row.analysis else [])
        ]

    @property
    def is_baseline(self) -> bool:
        """Whether new lesions here belong to the baseline.

        They do if no earlier day shows lesions, and if nothing comparable was looked at before but the
        first lesions are not older than the baseline window: chest and abdomen are often two
        examinations (RECIST 1.1, 3.1: baseline within 4 weeks before treatment).
        """
        days = [day for day, _ in self.earlier_observations]
        today = self.point.study.study_date
        if not days or min(days) == today:
            return True
        was_looked_at = any(row.analysis and row.analysis.observations for row in self.point.prior_rows)
        return not was_looked_at and (today - min(days)).days <= self.baseline_window_days

    @property
    def why_equivocal(self) -> str:
        """Why a lesion that looks new here may be an old one, or "" if there is no such doubt."""
        if self.is_baseline:
            return ""
        if not self.point.prior_rows and any(p.row.analysis for p in self.earlier):
            modalities = {
                p.study.modality for p in self.earlier if p.row.analysis and p.row.analysis.observations
            }
            if modalities and self.point.study.modality not in modalities:
                return f"the lesions before were seen on {', '.join(sorted(modalities))} only"
        lost = [
            seen.lesion.label
            for row in self.point.prior_rows[:1]
            for seen in (row.analysis.observations if row.analysis else [])
            if seen.state == LesionState.NOT_EVALUABLE and not seen.mask
        ]
        return f"it may be {', '.join(lost)}, never outlined before" if lost else ""


def observations_of(
    session: Session, recorded: Recorded, volume: Volume, findings: Sequence[Finding]
) -> tuple[list[ObservationRow], list[str]]:
    """Measure findings and give the new ones identity, role and label; notes say what is not recorded."""
    findings = _with_former_identity(recorded, volume, findings)
    measured = [(f, None if f.mask.is_empty else measure(volume, f.mask)) for f in findings]
    known_before = {seen.tracking_uid: seen.lesion for _, seen in recorded.earlier_observations}
    new: list[tuple[int, Found]] = []
    lesions: dict[int, LesionRow] = {}
    for index, (finding, size) in enumerate(measured):
        known = finding.known.tracking_uid if finding.known else _uid(finding)
        if known in known_before:
            lesions[index] = known_before[known]
        elif finding.prompt is not None:
            new.append((index, (finding.prompt, size, finding.flags)))
    roles, notes = _roles(recorded, [found for _, found in new]), []
    used = {seen.lesion.label for _, seen in recorded.earlier_observations}
    doubt = recorded.why_equivocal
    equivocal: dict[int, str] = {}
    for number, ((index, (prompt, _, _)), (role, reason)) in enumerate(zip(new, roles, strict=True)):
        if role is None:
            notes.append(f"{prompt.label or f'prompt {number + 1}'}: {reason}")
            continue
        lesions[index] = _new_lesion(session, recorded.point, measured[index][0], number, role, reason, used)
        if role is LesionRole.NEW and doubt:
            equivocal[index] = doubt
            notes.append(f"{lesions[index].label} is held for equivocal: {doubt}; a reader has to decide")
    rows = [
        _observation(finding, size, lesions[index], index, equivocal.get(index, ""))
        for index, (finding, size) in enumerate(measured)
        if index in lesions
    ]
    return rows, notes


def _uid(finding: Finding) -> str | None:
    return finding.prompt.tracking_uid if finding.prompt else None


def _with_former_identity(recorded: Recorded, volume: Volume, findings: Sequence[Finding]) -> list[Finding]:
    """Findings that redraw what an earlier analysis of this very study showed keep its tracking UID.

    A corrected structure set or SR comes as a new object; the lesion, and what readers decided about
    it, stay the same.
    """
    claimed = {_uid(finding) for finding in findings}
    former = [
        (seen.tracking_uid, unpack_mask(seen.mask))
        for seen in (recorded.point.row.analysis.observations if recorded.point.row.analysis else [])
        if seen.mask
        and seen.tracking_uid not in claimed
        and seen.lesion.first_study_instance_uid == recorded.point.study.study_instance_uid
    ]
    former = [(uid, mask) for uid, mask in former if mask.shape == volume.shape]
    # A new object has a tracking UID of its own making; the one that is known already counts.
    open_places = [i for i, f in enumerate(findings) if f.known is None]
    pairs = match([findings[i].mask for i in open_places], [mask for _, mask in former], volume.spacing_mm)
    settled = list(findings)
    for place, which in pairs.items():
        finding = findings[open_places[place]]
        if finding.prompt is not None:
            prompt = replace(finding.prompt, tracking_uid=former[which][0])
            settled[open_places[place]] = replace(finding, prompt=prompt)
    return settled


def _roles(recorded: Recorded, found: Sequence[Found]) -> list[Role]:
    series = series_from_json(recorded.point.row.revision.series or {})
    if not recorded.is_baseline:
        return roles_of_new(found, series, recorded.policies)
    # Targets of the baseline's other studies count towards five in all and two per organ.
    targets = {
        seen.tracking_uid: seen.lesion
        for _, seen in recorded.earlier_observations
        if seen.lesion.role == LesionRole.TARGET
    }
    taken = Counter((lesion.organ, lesion.is_nodal) for lesion in targets.values())
    return roles_at_baseline(found, series, recorded.policies, taken)


def _new_lesion(
    session: Session,
    point: PlannedTimePoint,
    finding: Finding,
    number: int,
    role: LesionRole,
    reason: str,
    used: set[str],
) -> LesionRow:
    """A row, a tracking UID and a label for a lesion that is seen for the first time."""
    prompt = finding.prompt
    if prompt is None:
        raise ValueError("a lesion without a prompt and without a prior has no identity")
    study_uid, patient_key = point.study.study_instance_uid, point.row.patient_key
    lesion = session.get(LesionRow, prompt.tracking_uid) if prompt.tracking_uid else None
    if lesion is not None and lesion.patient_key != patient_key:
        lesion = None  # another patient's UID: whoever made it copied it
        uid = _own_uid(study_uid, prompt, number)
    else:
        uid = prompt.tracking_uid or _own_uid(study_uid, prompt, number)
    if lesion is None:
        lesion = session.get(LesionRow, uid)
    if lesion is None:
        lesion = LesionRow(tracking_uid=uid)
        session.add(lesion)
    site = site_of(prompt.finding_site, prompt.finding_site_meaning or prompt.label)
    label = next(text for n in range(1, 1000) if (text := f"{LABEL_PREFIX[role]}{n:02d}") not in used)
    used.add(label)
    lesion.patient_key, lesion.label, lesion.role, lesion.role_reason = patient_key, label, role.value, reason
    lesion.organ = prompt.organ or (site.organ if site else "")
    lesion.finding_site = prompt.finding_site or (site.code if site else None)
    lesion.finding_site_meaning = prompt.finding_site_meaning or (site.meaning if site else None)
    lesion.laterality = prompt.laterality
    lesion.is_nodal = prompt.is_nodal or bool(site and site.is_nodal)
    lesion.first_study_instance_uid, lesion.prompt_label = study_uid, prompt.label
    session.flush()
    return lesion


def _own_uid(study_instance_uid: str, prompt: LesionPrompt, number: int) -> str:
    """A UID that the same prompt always gets (PS3.5 B.2: 2.25 and a number of 128 bits)."""
    item = prompt.item if prompt.item is not None else number
    told = f"{study_instance_uid}|{prompt.sop_instance_uid}|{item}"
    return f"2.25.{int.from_bytes(hashlib.sha256(told.encode()).digest()[:16], 'big')}"


def _observation(
    finding: Finding, size: LesionMeasurement | None, lesion: LesionRow, number: int, doubt: str
) -> ObservationRow:
    return ObservationRow(
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
        reason=f"{finding.reason}; {doubt}" if doubt else finding.reason,
        is_equivocal=bool(doubt),
    )


def analysis_of(
    recorded: Recorded, identity: str, rows: Sequence[ObservationRow], notes: Sequence[str], now: datetime
) -> AnalysisRow:
    """The analysis row with its verdict for the worklist."""
    state, reason = _verdict(recorded.point, rows)
    return AnalysisRow(
        time_point_id=recorded.point.row.id,
        identity=identity,
        created_at=now,
        notes=list(notes),
        is_baseline=recorded.is_baseline,
        state=state,
        reason=reason,
        observations=list(rows),
    )


def _verdict(point: PlannedTimePoint, rows: Sequence[ObservationRow]) -> tuple[str, str]:
    if not rows:
        return "AWAITING_PROMPTS", f"{point.priors.reason}; nothing here shows a lesion yet"
    lost = [row for row in rows if row.state == LesionState.TRACKING_FAILED]
    if len(lost) == len(rows):
        return "NO_MATCH", f"no lesion of the prior could be found again: {lost[0].reason}"
    return "ANALYSED", point.priors.reason


# ------------------------------------------------------------------ values in JSON columns


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
