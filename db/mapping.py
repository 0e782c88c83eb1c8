"""Rows and JSON columns to domain values and back, once for all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from db.masks import pack_mask, unpack_mask
from db.tables import (
    AnalysisRow,
    InstanceRow,
    LesionRow,
    ObservationRow,
    OverrideRow,
    PatientRow,
    ReportRow,
    ResultObjectRow,
    RevisionRow,
    SignatureRow,
    StudyRow,
    TimePointRow,
)
from workflow.domain.lesion import Axis, Flag, LesionMeasurement, LesionState, ModelIdentity
from workflow.domain.lesion_life import Override
from workflow.domain.marks import CANVAS
from workflow.domain.patient import PatientIdentity
from workflow.domain.record import (
    Analysis,
    LesionIdentity,
    Observation,
    PromptObject,
    ReportVersion,
    Revision,
    Signature,
    StoredObject,
    Study,
    Visit,
)
from workflow.domain.report import LesionRole
from workflow.domain.series import SeriesDescription, StackKey
from workflow.domain.states import ResultState, StudyState, VisitState
from workflow.ports import ReceivedFile

# ---------------------------------------------------------------- JSON columns


def series_to_json(series: SeriesDescription) -> dict[str, Any]:
    """A series description as a JSON value; `series_from_json` is the inverse."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(series), default=lambda moment: moment.isoformat()))
    return value


def series_from_json(value: Mapping[str, Any]) -> SeriesDescription:
    """The series description that `series_to_json` wrote."""

    def tuples(part: Any) -> Any:
        return tuple(tuples(p) for p in part) if isinstance(part, list) else part

    fields = {name: tuples(part) for name, part in value.items()}
    if fields.get("acquired_at"):
        fields["acquired_at"] = datetime.fromisoformat(fields["acquired_at"])
    return SeriesDescription(**fields)


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


# ---------------------------------------------------------------- rows to values


def identity_of(row: PatientRow) -> PatientIdentity:
    """Whose record it is."""
    return PatientIdentity(
        patient_id=row.patient_id,
        issuer_of_patient_id=row.issuer_of_patient_id,
        patient_name=row.patient_name,
        birth_date=row.birth_date,
        sex=row.sex,
    )


def study_of(row: StudyRow) -> Study:
    """A study with its newest revision."""
    return Study(
        key=row.id,
        study_instance_uid=row.study_instance_uid,
        state=StudyState(row.state),
        study_date=row.study_date,
        study_time=row.study_time,
        dated_by=row.dated_by,
        description=row.description,
        accession_number=row.accession_number,
        reason=row.reason,
        copy_of=row.copy_of,
        revision=revision_of(row.revisions[-1]) if row.revisions else None,
    )


def revision_of(row: RevisionRow) -> Revision:
    """A revision; one that an earlier release wrote knows its one measured series only."""
    described = row.described
    if described is None:
        described = [{"series": row.series, "sha256": row.series_sha256}] if row.series else []
    series = [(series_from_json(entry["series"]), entry["sha256"]) for entry in described]
    return Revision(
        number=row.number,
        content_sha256=row.content_sha256,
        is_complete=row.is_complete,
        created_at=row.created_at,
        series=tuple(one for one, _ in series),
        choice=tuple(row.series_choice),
        digests={one.key: sha256 for one, sha256 in series if sha256 is not None},
        notes=tuple(row.notes),
        doubts=tuple(row.doubts or ()),
    )


def file_of(row: InstanceRow) -> ReceivedFile:
    """A received instance and the file that holds it."""
    return ReceivedFile(
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        modality=row.modality,
        sha256=row.sha256,
        path=Path(row.path),
        stored_by=row.stored_by,
    )


def prompt_object_of(row: InstanceRow) -> PromptObject:
    """A received object that may show lesions."""
    return PromptObject(
        sop_instance_uid=row.sop_instance_uid,
        study_instance_uid=row.study_instance_uid,
        modality=row.modality,
        sha256=row.sha256,
        refers_to=frozenset(row.refers_to or ()),
        stored_by=row.stored_by,
        drawn_here=row.source == CANVAS,
        received_at=row.received_at,
    )


def lesion_of(row: LesionRow) -> LesionIdentity:
    """A lesion's identity."""
    return LesionIdentity(
        tracking_uid=row.tracking_uid,
        label=row.label,
        role=LesionRole(row.role),
        role_reason=row.role_reason,
        organ=row.organ,
        finding_site=row.finding_site,
        finding_site_meaning=row.finding_site_meaning,
        laterality=row.laterality,
        is_nodal=row.is_nodal,
        finding=row.finding,
        finding_meaning=row.finding_meaning,
        first_study_instance_uid=row.first_study_instance_uid,
        prompt_label=row.prompt_label,
    )


def observation_of(row: ObservationRow) -> Observation:
    """A lesion at a visit."""
    expected = row.expected_lps
    return Observation(
        tracking_uid=row.tracking_uid,
        number=row.number,
        state=LesionState(row.state),
        measured_on=StackKey(series_instance_uid=row.series_instance_uid, stack=row.series_stack)
        if row.series_instance_uid
        else None,
        mask=unpack_mask(row.mask) if row.mask else None,
        measurement=measurement_from_json(row.measurement),
        expected_lps=(expected[0], expected[1], expected[2]) if expected else None,
        is_equivocal=row.is_equivocal,
        confidence=row.confidence,
        flags=frozenset(Flag[name] for name in row.flags),
        model=ModelIdentity(**row.model),
        prompt_source=row.prompt_source,
        marked_by=row.marked_by,
        reason=row.reason,
    )


def analysis_of(row: AnalysisRow) -> Analysis:
    """One run of inference and measurement."""
    return Analysis(
        identity=row.identity,
        created_at=row.created_at,
        state=VisitState(row.state),
        reason=row.reason,
        is_baseline=row.is_baseline,
        observations=tuple(observation_of(o) for o in row.observations),
        notes=tuple(row.notes),
        doubts=tuple(row.doubts or ()),
        seconds=row.seconds,
    )


def object_of(row: ResultObjectRow) -> StoredObject:
    """A result object in the outbox."""
    return StoredObject(
        role=row.role,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        path=row.path,
        sha256=row.sha256,
        state=ResultState(row.state),
        error=row.error,
    )


def report_of(row: ReportRow, identities: Mapping[int, str]) -> ReportVersion:
    """A version of a report, without what it says; `identities` are those of all versions, by row id."""
    return ReportVersion(
        identity=row.identity,
        content_identity=row.content_identity,
        draft_identity=row.draft_identity,
        version=row.version,
        status=row.status,
        folder=row.folder,
        created_at=row.created_at,
        predecessor=identities.get(row.predecessor_id) if row.predecessor_id else None,
        objects=tuple(object_of(o) for o in row.objects),
    )


def signature_of(row: SignatureRow) -> Signature:
    """A signature."""
    return Signature(draft_identity=row.report_identity, signed_by=row.signed_by, signed_at=row.signed_at)


def decision_of(row: OverrideRow) -> Override:
    """A reader's decision."""
    return Override.from_dict(row.decision)


def visit_of(
    row: TimePointRow,
    analyses: list[AnalysisRow],
    reports: list[ReportRow],
    anchors: Mapping[int, str],
) -> Visit:
    """A visit with all that was ever made of it, oldest first; `anchors` are the visits' names by row id."""
    identities = {report.id: report.identity for report in reports}
    return Visit(
        anchor=row.study.study_instance_uid,
        key=row.id,
        studies=tuple(s.study_instance_uid for s in row.studies if s.patient_key == row.patient_key),
        order=row.order,
        state=VisitState(row.state),
        reason=row.reason,
        prior=anchors.get(row.prior_id) if row.prior_id else None,
        analyses=tuple(analysis_of(a) for a in analyses),
        current_analysis=next((a.identity for a in analyses if a.id == row.analysis_id), None),
        failed_identity=row.failed_identity,
        failure=row.failure,
        reports=tuple(report_of(r, identities) for r in reports),
        current_report=identities.get(row.report_id) if row.report_id else None,
        attention=tuple(row.attention or ()),
    )


# ---------------------------------------------------------------- values to rows


def write_observation(observation: Observation) -> ObservationRow:
    """The row of a new observation."""
    place = observation.measured_on
    return ObservationRow(
        tracking_uid=observation.tracking_uid,
        number=observation.number,
        state=observation.state.value,
        series_instance_uid=place.series_instance_uid if place else None,
        series_stack=place.stack if place else 0,
        mask=pack_mask(observation.mask) if observation.mask is not None else None,
        measurement=measurement_to_json(observation.measurement),
        expected_lps=list(observation.expected_lps) if observation.expected_lps else None,
        is_equivocal=observation.is_equivocal,
        confidence=observation.confidence,
        flags=sorted(flag.name for flag in observation.flags),
        model=model_to_json(observation.model),
        prompt_source=observation.prompt_source,
        marked_by=observation.marked_by[:64],
        reason=observation.reason,
    )


def write_analysis(analysis: Analysis, time_point_id: int) -> AnalysisRow:
    """The row of a new analysis with its observations."""
    return AnalysisRow(
        time_point_id=time_point_id,
        identity=analysis.identity,
        created_at=analysis.created_at,
        seconds=analysis.seconds,
        state=analysis.state.value,
        reason=analysis.reason,
        is_baseline=analysis.is_baseline,
        notes=list(analysis.notes),
        doubts=list(analysis.doubts),
        observations=[write_observation(o) for o in analysis.observations],
    )


def write_lesion(lesion: LesionIdentity, patient_key: int, row: LesionRow) -> None:
    """Put a lesion's identity into its row."""
    row.patient_key, row.label, row.role = patient_key, lesion.label, lesion.role.value
    row.role_reason, row.organ, row.is_nodal = lesion.role_reason, lesion.organ, lesion.is_nodal
    row.finding_site, row.finding_site_meaning = lesion.finding_site, lesion.finding_site_meaning
    row.laterality, row.prompt_label = lesion.laterality, lesion.prompt_label
    row.finding, row.finding_meaning = lesion.finding, lesion.finding_meaning
    row.first_study_instance_uid = lesion.first_study_instance_uid


def write_object(made: StoredObject) -> ResultObjectRow:
    """The outbox's row of a new result object."""
    return ResultObjectRow(
        role=made.role,
        sop_instance_uid=made.sop_instance_uid,
        sop_class_uid=made.sop_class_uid,
        series_instance_uid=made.series_instance_uid,
        study_instance_uid=made.study_instance_uid,
        path=made.path,
        sha256=made.sha256,
        state=made.state.value,
        error=made.error,
    )
