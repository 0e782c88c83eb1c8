"""A packet as FHIR R4 (4.0.1): a Bundle of Patient, ImagingStudy, Device, BodyStructure, Observation and
DiagnosticReport.

A DiagnosticReport stands for a visit (as IHE's Interactive Multimedia Report has it: the pages are the latest
one's `presentedForm`), an Observation for a lesion at a visit or for a response; lesions are BodyStructures
with their tracking UID, as HL7's guide "DICOM SR to FHIR" has them. What nobody signed is `preliminary`.
Codes are those of the DICOM objects (dicom_io/codes.py), tumour size and response also mCODE's LOINC ones.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from pydicom.sr.coding import Code

from dicom_io import codes, uids
from dicom_io.board.content import PatientPages
from workflow.domain.lesion import LesionState
from workflow.domain.sheet import UNVERIFIED, SheetCell, SheetLesion, SheetVisit
from workflow.domain.states import LESION_WORDS
from workflow.ports.board import FrozenPacket

Resource = dict[str, Any]

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
}
_UCUM = "http://unitsofmeasure.org"
_DICOM_UID = "urn:dicom:uid"
_NAMESPACE = uuid.UUID("0d1f6c41-2b7b-5b3f-8f0e-6f6d3f1f9a52")

_GENDERS = {"M": "male", "F": "female", "O": "other"}
TUMOUR_SIZE = Code("21889-1", "LN", "Size Tumor")
RESPONSE = Code("88040-1", "LN", "Response to cancer treatment")


def bundle_of(packet: FrozenPacket, pages: Sequence[PatientPages], pdf: bytes) -> Resource:
    """The packet as a Bundle (a collection).

    Parameters
    ----------
    pdf
        The packet's pages: the `presentedForm` of the patient's latest report.
    """
    entries: list[Resource] = []
    for one in pages:
        entries += _Patient(packet, one, pdf).resources()
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid5(_NAMESPACE, packet.sha256)),
        "type": "collection",
        "timestamp": _instant(packet),
        "identifier": {
            "system": "urn:ietf:rfc:3986",
            "value": f"urn:uuid:{uuid.uuid5(_NAMESPACE, packet.sha256)}",
        },
        "entry": [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in entries],
    }


def _instant(packet: FrozenPacket) -> str:
    return packet.made_at.astimezone(UTC).isoformat(timespec="seconds")


class _Patient:
    """The resources of one patient, by what they are about."""

    def __init__(self, packet: FrozenPacket, pages: PatientPages, pdf: bytes) -> None:
        self._packet, self._pages, self._pdf = packet, pages, pdf
        self._sheet = pages.sheet
        self._points = {p["key"]: p for p in pages.frozen.course["time_points"] if p["report"]}
        self._salt = f"{packet.sha256}/{pages.sheet.patient_key}"

    def resources(self) -> list[Resource]:
        """Every resource, what is referred to before what refers to it."""
        found = [self._patient()]
        found += self._studies() + self._devices() + [self._body(lesion) for lesion in self._sheet.lesions]
        for place, visit in enumerate(self._sheet.visits):
            sizes = [
                self._size(lesion, cell, visit)
                for lesion in self._sheet.lesions
                if (cell := lesion.cells[place]) is not None
            ]
            response = self._response(visit, sizes)
            found += [*sizes, response, self._report(visit, [*sizes, response], place)]
        return found

    # ------------------------------------------------------------ references

    def _id(self, *parts: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, "/".join((self._salt, *parts))))

    def _to(self, kind: str, *parts: str) -> Resource:
        return {"reference": f"urn:uuid:{self._id(kind, *parts)}", "type": kind}

    def _new(self, kind: str, *parts: str) -> Resource:
        return {"resourceType": kind, "id": self._id(kind, *parts)}

    # ------------------------------------------------------------ resources

    def _patient(self) -> Resource:
        identifier = {"value": self._sheet.patient_id}
        if self._sheet.issuer_of_patient_id:
            identifier["assigner"] = {"display": self._sheet.issuer_of_patient_id}  # type: ignore[assignment]
        name = [{"text": self._sheet.patient_name}] if self._sheet.patient_name else []
        frozen = self._pages.frozen
        resource = self._new("Patient") | {
            "identifier": [identifier],
            "name": name,
            "birthDate": frozen.birth_date,
            "gender": _GENDERS.get(frozen.sex),
        }
        return _without_nothing(resource)

    def _studies(self) -> list[Resource]:
        found = []
        for point in self._points.values():
            volumes = point["report"]["volumes"]
            for study in point["studies"]:
                uid = study["study_instance_uid"]
                series = {
                    volume["series_instance_uid"]: {
                        "uid": volume["series_instance_uid"],
                        "modality": _coding(Code(volume["modality"], "DCM", volume["modality"])),
                    }
                    for volume in volumes
                    if volume["study_instance_uid"] == uid
                }
                resource = self._new("ImagingStudy", uid) | {
                    "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{uid}"}],
                    "status": "available",
                    "subject": self._to("Patient"),
                    "started": study["study_date"],
                    "description": study["study_description"],
                    "series": list(series.values()),
                }
                found.append(_without_nothing(resource))
        return found

    def _devices(self) -> list[Resource]:
        models = {(m["name"], m["version"]): m for p in self._points.values() for m in p["report"]["models"]}
        return [
            self._new("Device", name, version)
            | {
                "deviceName": [{"name": name, "type": "model-name"}],
                "version": [{"value": version}],
                "type": _concept(codes.ARTIFICIAL_INTELLIGENCE),
            }
            for name, version in models
        ]

    def _body(self, lesion: SheetLesion) -> Resource:
        site, side = _site(lesion), codes.LATERALITIES.get(lesion.laterality or "")
        resource = self._new("BodyStructure", lesion.tracking_uid) | {
            "identifier": [
                {"system": _DICOM_UID, "value": f"urn:oid:{lesion.tracking_uid}"},
                {"value": lesion.label},
            ],
            "morphology": _concept(codes.LESION),
            "location": site,
            "locationQualifier": [_concept(side)] if side else [],
            "description": f"{lesion.label}, {lesion.role_words}",
            "patient": self._to("Patient"),
        }
        return _without_nothing(resource)

    def _size(self, lesion: SheetLesion, cell: SheetCell, visit: SheetVisit) -> Resource:
        """A lesion at a visit: the diameter that counts, its axes, its volume and its state."""
        seen = next(
            one
            for one in self._points[visit.key]["report"]["lesions"]
            if one["tracking_uid"] == lesion.tracking_uid
        )
        components = [
            _component(codes.LONG_AXIS, _length(cell.long_axis_mm)),
            _component(codes.SHORT_AXIS, _length(cell.short_axis_mm)),
            _component(codes.VOLUME, _quantity(_volume_mm3(seen), codes.CUBIC_MILLIMETRE)),
            _component(
                codes.LESION_STATE, {"valueCodeableConcept": _concept(codes.LESION_STATES[cell.state.value])}
            ),
        ]
        value = {} if cell.is_rejected else _length(cell.diameter_mm)
        model = seen["model"]
        resource = self._observation(visit, TUMOUR_SIZE, lesion.tracking_uid) | {
            "focus": [self._to("BodyStructure", lesion.tracking_uid)],
            "bodySite": _site(lesion),
            "device": self._to("Device", model["name"], model["version"])
            if model and self._is_known(model)
            else None,
            "derivedFrom": [self._to("ImagingStudy", uid) for uid in self._studies_of(visit, seen)],
            "component": [part for part in components if part is not None],
            **(value or {"dataAbsentReason": _absent(cell)}),
        }
        if cell.is_rejected:
            resource["status"] = "cancelled"
        notes = [f"{lesion.label}, {lesion.role_words}", cell.reason, *cell.flags, *cell.decisions]
        resource["note"] = [{"text": text} for text in notes if text] + resource.get("note", [])
        return _without_nothing(resource)

    def _is_known(self, model: Mapping[str, Any]) -> bool:
        named = (model["name"], model["version"])
        return any(
            (m["name"], m["version"]) == named for p in self._points.values() for m in p["report"]["models"]
        )

    def _response(self, visit: SheetVisit, sizes: Sequence[Resource]) -> Resource:
        parts = (
            (codes.TARGET_RESPONSE, _code_value(visit.target)),
            (codes.NON_TARGET_RESPONSE, _code_value(visit.non_target)),
            (codes.NEW_LESIONS, {"valueString": visit.new_lesion} if visit.new_lesion else {}),
            (codes.SUM_OF_DIAMETERS, _length(visit.sum_mm)),
            (codes.BASELINE_SUM, _length(visit.baseline_sum_mm)),
            (codes.EARLIER_NADIR_SUM, _length(visit.nadir_sum_mm)),
            (codes.EARLIER_NADIR_DATE, {"valueDateTime": visit.nadir_date} if visit.nadir_date else {}),
            (codes.CHANGE_FROM_BASELINE, _quantity(visit.change_from_baseline_percent, codes.PERCENT)),
            (codes.CHANGE_FROM_NADIR, _quantity(visit.change_from_nadir_percent, codes.PERCENT)),
            (codes.ABSOLUTE_CHANGE_FROM_NADIR, _length(visit.change_from_nadir_mm)),
            (codes.BEST_OVERALL_RESPONSE, _code_value(visit.best_overall_response)),
            (codes.COMPUTED_RESPONSE, _code_value(visit.computed_overall)),
        )
        notes = [visit.reason, *visit.decisions, *visit.attention, *visit.warnings]
        resource = self._observation(visit, RESPONSE, "response") | {
            "valueCodeableConcept": _concept(codes.response_code(visit.overall)),
            "method": _concept(codes.criteria_code(visit.criteria)),
            "hasMember": [{"reference": f"urn:uuid:{one['id']}", "type": "Observation"} for one in sizes],
            "component": [part for code, value in parts if (part := _component(code, value)) is not None],
        }
        resource["note"] = [{"text": text} for text in notes if text] + resource.get("note", [])
        return _without_nothing(resource)

    def _observation(self, visit: SheetVisit, code: Code, about: str) -> Resource:
        category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}
        return self._new("Observation", str(visit.key), about) | {
            "status": "final" if visit.signed_by else "preliminary",
            "category": [{"coding": [category]}],
            "code": _concept(code),
            "subject": self._to("Patient"),
            "effectiveDateTime": visit.day.isoformat(),
            "performer": [{"display": visit.signed_by}] if visit.signed_by else [],
            "note": [] if visit.signed_by else [{"text": UNVERIFIED}],
        }

    def _report(self, visit: SheetVisit, results: Sequence[Resource], place: int) -> Resource:
        radiology = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}
        standing = "" if visit.signed_by else f"{UNVERIFIED}. "
        resource = self._new("DiagnosticReport", str(visit.key)) | {
            "identifier": [{"value": f"{self._points[visit.key]['report']['identity'][:32]}"}],
            "status": "final" if visit.signed_by else "preliminary",
            "category": [{"coding": [radiology]}],
            "code": _concept(codes.DIAGNOSTIC_IMAGING_REPORT),
            "subject": self._to("Patient"),
            "effectiveDateTime": visit.day.isoformat(),
            "issued": _instant(self._packet),
            "resultsInterpreter": [{"display": visit.signed_by}] if visit.signed_by else [],
            "result": [{"reference": f"urn:uuid:{one['id']}", "type": "Observation"} for one in results],
            "imagingStudy": [self._to("ImagingStudy", uid) for uid in visit.study_instance_uids],
            "conclusion": f"{standing}{visit.criteria}: {visit.overall}. {visit.reason}",
            "conclusionCode": [_concept(codes.response_code(visit.overall))],
        }
        # A list's pages show the other patients too: each patient's own packet has the form.
        if place == len(self._sheet.visits) - 1 and not self._packet.is_list:
            resource["presentedForm"] = [
                {
                    "contentType": "application/pdf",
                    "language": "en",
                    "title": f"Tumour board {self._packet.day}, version {self._packet.version}",
                    "creation": _instant(self._packet),
                    "size": len(self._pdf),
                    "hash": base64.b64encode(
                        hashlib.sha1(self._pdf, usedforsecurity=False).digest()
                    ).decode(),
                    "data": base64.b64encode(self._pdf).decode(),
                }
            ]
        return _without_nothing(resource)

    def _studies_of(self, visit: SheetVisit, seen: Mapping[str, Any]) -> Sequence[str]:
        """The study that a lesion is measured in, or all of its visit."""
        measured = seen.get("measured_on") or {}
        volumes = self._points[visit.key]["report"]["volumes"]
        found = [
            v["study_instance_uid"]
            for v in volumes
            if v["series_instance_uid"] == measured.get("series_instance_uid")
        ]
        return list(dict.fromkeys(found)) or visit.study_instance_uids


# ---------------------------------------------------------------- data types


def _coding(code: Code) -> Resource:
    scheme = str(code.scheme_designator)
    private = f"urn:oid:{uids.uid_of('coding scheme', codes.PRIVATE_CODING_SCHEME)}"
    return {"system": _SYSTEMS.get(scheme, private), "code": str(code.value), "display": str(code.meaning)}


def _concept(code: Code) -> Resource:
    return {"coding": [_coding(code)], "text": str(code.meaning)}


def _site(lesion: SheetLesion) -> Resource:
    if lesion.finding_site:
        return _concept(Code(lesion.finding_site, "SCT", lesion.finding_site_meaning or lesion.site))
    return {"text": lesion.site}


def _quantity(value: float | None, unit: Code) -> Resource:
    if value is None:
        return {}
    return {
        "valueQuantity": {"value": value, "unit": str(unit.meaning), "system": _UCUM, "code": str(unit.value)}
    }


def _length(value: float | None) -> Resource:
    return _quantity(value, codes.MILLIMETRE)


def _code_value(response: str | None) -> Resource:
    return {"valueCodeableConcept": _concept(codes.response_code(response))} if response else {}


def _component(code: Code, value: Resource) -> Resource | None:
    return {"code": _concept(code), **value} if value else None


def _volume_mm3(seen: Mapping[str, Any]) -> float | None:
    return seen["measurement"]["volume_mm3"] if seen["measurement"] else None


def _absent(cell: SheetCell) -> Resource:
    words = "rejected by a reader: no lesion" if cell.is_rejected else LESION_WORDS[cell.state]
    is_gone = cell.is_rejected or cell.state in (LesionState.MERGED, LesionState.SPLIT)
    system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
    return {"coding": [{"system": system, "code": "not-applicable" if is_gone else "unknown"}], "text": words}


def _without_nothing(resource: Resource) -> Resource:
    """FHIR knows no empty list, text or null (R4, 2.6.2.2)."""
    return {name: value for name, value in resource.items() if value not in (None, [], "", {})}
