"""The received images and our results as one archive, looked up by UID."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select

from db.session import UnitOfWork
from db.tables import InstanceRow, PatientRow, ReportRow, ResultObjectRow, StudyRow, TimePointRow
from workflow.domain.states import ResultState
from workflow.ports import HeldInstance, StudyKeys

_STUDIES_AT_ONCE = 200
# What a result of ours is, by the beginning of its role: its modality stands in no row.
_KINDS = {"SEG": ("seg",), "SR": ("sr", "course"), "DOC": ("pdf",), "PR": ("presentation",), "OT": ("key",)}


@dataclass(frozen=True, kw_only=True)
class StoredHoldings:
    """The port `workflow.ports.Holdings` on the database."""

    reading: UnitOfWork

    def studies(self, keys: StudyKeys) -> Iterator[str]:
        """See `workflow.ports.Holdings.studies`."""
        wanted = _matching(keys)
        start = 0
        while True:
            with self.reading() as session:
                found = list(session.scalars(wanted.limit(_STUDIES_AT_ONCE).offset(start)))
            yield from found
            if len(found) < _STUDIES_AT_ONCE:
                return
            start += _STUDIES_AT_ONCE

    def instances(
        self,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> tuple[HeldInstance, ...]:
        """See `workflow.ports.Holdings.instances`."""
        received = select(InstanceRow).where(
            InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.is_own_result.is_(False)
        )
        results = select(ResultObjectRow).where(
            ResultObjectRow.study_instance_uid == study_instance_uid,
            ResultObjectRow.state != ResultState.HELD,
        )
        if series_instance_uid is not None:
            received = received.where(InstanceRow.series_instance_uid == series_instance_uid)
            results = results.where(ResultObjectRow.series_instance_uid == series_instance_uid)
        if sop_instance_uid is not None:
            received = received.where(InstanceRow.sop_instance_uid == sop_instance_uid)
            results = results.where(ResultObjectRow.sop_instance_uid == sop_instance_uid)
        else:
            results = results.join(ReportRow, ReportRow.id == ResultObjectRow.report_id).where(
                exists().where(TimePointRow.report_id == ReportRow.id)
            )
        with self.reading() as session:
            held = [_received(row) for row in session.scalars(received)]
            held += [_result(row) for row in session.scalars(results)]
        return tuple(sorted(held, key=lambda one: (one.series_instance_uid, one.sop_instance_uid)))


def _received(row: InstanceRow) -> HeldInstance:
    return HeldInstance(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        modality=row.modality,
        path=Path(row.path),
    )


def _result(row: ResultObjectRow) -> HeldInstance:
    return HeldInstance(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        modality="",
        path=Path(row.path),
    )


def _matching(keys: StudyKeys) -> Select[Any]:
    found = select(StudyRow.study_instance_uid).outerjoin(PatientRow, PatientRow.id == StudyRow.patient_key)
    if keys.study_instance_uids:
        found = found.where(StudyRow.study_instance_uid.in_(keys.study_instance_uids))
    for text, column in (
        (keys.patient_id, PatientRow.patient_id),
        (keys.accession_number, StudyRow.accession_number),
        (keys.study_description, StudyRow.description),
    ):
        if text:
            found = found.where(column.like(_like(text), escape="\\"))
    if keys.patient_name:
        found = found.where(
            func.lower(PatientRow.patient_name).like(_like(keys.patient_name.lower()), escape="\\")
        )
    if keys.first_day is not None:
        found = found.where(StudyRow.study_date >= keys.first_day)
    if keys.last_day is not None:
        found = found.where(StudyRow.study_date <= keys.last_day)
    if keys.modalities:
        found = found.where(_has_modality(keys.modalities))
    return found.order_by(StudyRow.study_date.desc().nulls_last(), StudyRow.id.desc())


def _has_modality(modalities: tuple[str, ...]) -> ColumnElement[bool]:
    received = exists().where(
        InstanceRow.study_instance_uid == StudyRow.study_instance_uid, InstanceRow.modality.in_(modalities)
    )
    kinds = [kind for modality in modalities for kind in _KINDS.get(modality, ())]
    if not kinds:
        return received
    results = (
        exists()
        .where(ResultObjectRow.study_instance_uid == StudyRow.study_instance_uid)
        .where(or_(*(ResultObjectRow.role.like(f"{kind}%") for kind in kinds)))
        .where(TimePointRow.report_id == ResultObjectRow.report_id)
    )
    return or_(received, results)


def _like(text: str) -> str:
    """DICOM's wild cards as SQL's."""
    plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%").replace("?", "_")
