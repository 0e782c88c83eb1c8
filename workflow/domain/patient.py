"""Whose study it is. Matched on PatientID and issuer, confirmed by the rest (design, decision 7)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, kw_only=True)
class PatientIdentity:
    """A patient as one instance names them. The name keeps its `^` and `=`."""

    patient_id: str
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    birth_date: date | None = None
    sex: str = ""


def comparable_name(name: str) -> str:
    """A name without what differs between systems: case, accents, empty components, other scripts."""
    alphabetic = name.split("=")[0]
    plain = unicodedata.normalize("NFKD", alphabetic).encode("ascii", "ignore").decode()
    return " ".join(part for part in plain.upper().replace("^", " ").replace(",", " ").split() if part)


def why_not_same(one: PatientIdentity, other: PatientIdentity) -> str | None:
    """What contradicts that both are one person, without saying who: the reason is logged.

    A missing value contradicts nothing. Family names change and given names are shortened, so a name
    contradicts only if no component is shared.
    """
    if (one.patient_id, one.issuer_of_patient_id) != (other.patient_id, other.issuer_of_patient_id):
        return "PatientID or IssuerOfPatientID differs"
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return "the same PatientID comes with two birth dates"
    if one.sex in ("M", "F") and other.sex in ("M", "F") and one.sex != other.sex:
        return "the same PatientID comes with two sexes"
    names = [set(comparable_name(identity.patient_name).split()) for identity in (one, other)]
    if names[0] and names[1] and not names[0] & names[1]:
        return "the same PatientID comes with two names that share no part"
    return None
