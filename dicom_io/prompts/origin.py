"""Who made an object, when, and what names it: kept with every prompt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.sr._snomed_dict import mapping as snomed_mapping
from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.parsing import Attributes
from workflow.domain.anatomy import AnatomicSite, laterality_of_words, site_of

# How SNOMED RT names itself; its codes are translated to SNOMED CT (PS3.16 8.1).
_SNOMED_RT = frozenset({"SRT", "SNM3", "99SDM"})
_SNOMED_CT = frozenset({"SCT", "SNOMED-CT", "2.16.840.1.113883.6.96"})


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who made an object and when, as the object has it."""

    sop_instance_uid: str
    created_by: str | None
    created_at: datetime | None


def origin_of(
    attributes: Attributes, person_keywords: tuple[str, ...], moments: tuple[tuple[str, str], ...]
) -> Origin:
    """The first person named by one of the keywords, else the equipment; the first date and time there is."""
    people = (attributes.text(keyword) for keyword in person_keywords)
    times = (attributes.moment(day, time) for day, time in moments)
    return Origin(
        sop_instance_uid=attributes.text("SOPInstanceUID"),
        created_by=next(filter(None, people), None) or equipment(attributes),
        created_at=next((moment for moment in times if moment is not None), None),
    )


def equipment(attributes: Attributes) -> str | None:
    """Manufacturer and model, None if neither is named."""
    names = (attributes.text("Manufacturer"), attributes.text("ManufacturerModelName"))
    return " ".join(name for name in names if name) or None


def code_of(attributes: Attributes, keyword: str) -> Code | None:
    """The first coded concept of a code sequence, None if there is none; SNOMED RT becomes SNOMED CT.

    The value may be a long one or a URN (PS3.3 8.2).
    """
    item = attributes.item(keyword)
    return None if item is None else code_of_item(item)


def code_of_item(item: Attributes) -> Code | None:
    """The coded concept in an item of a code sequence, None if it has no value."""
    value = item.text("CodeValue") or item.text("LongCodeValue") or item.text("URNCodeValue")
    scheme, meaning = item.text("CodingSchemeDesignator"), item.text("CodeMeaning")
    if not value:
        return None
    if scheme in _SNOMED_RT:
        translations: dict[str, Any] = snomed_mapping["SRT"]
        if value in translations:
            return Code(str(translations[value]), "SCT", meaning)
    if scheme in _SNOMED_CT:
        scheme = "SCT"
    return Code(value, scheme, meaning)


def kind_of_lesion(code: Code | None) -> tuple[str | None, str | None]:
    """SNOMED CT code and words of a kind of lesion, (None, None) if that is none, or just "lesion"."""
    if (
        code is None
        or code.scheme_designator != "SCT"
        or code == codes.LESION
        or code not in codes.LESION_TYPES
    ):
        return None, None
    return str(code.value), str(code.meaning)[:64]


def is_one_of(code: Code | None, *wanted: Code) -> bool:
    """Whether a code is there and one of these (pydicom's `Code` can't be compared with None)."""
    return code is not None and code in wanted


@dataclass(frozen=True, kw_only=True)
class Site:
    """What an item says of where it is, in the words of a `LesionPrompt`."""

    finding_site: str | None = None
    finding_site_meaning: str | None = None
    laterality: str | None = None
    organ: str = ""
    is_nodal: bool = False


def site_from(code: Code | None, words: str, laterality: str | None = None) -> Site:
    """The site that a code says, else that words name, with the organ RECIST counts.

    A code outside our table is kept as it is; its meaning may still name the organ.
    """
    known: AnatomicSite | None = None
    if code is not None:
        known = site_of(code.value if code.scheme_designator == "SCT" else None, code.meaning)
    by_words = site_of(None, words)
    # A node named in words ("LN 4R") is a node even where the code only says "mediastinum".
    if by_words is not None and (known is None or by_words.is_nodal):
        known = by_words if known is None or not known.is_nodal else known
    meaning = code.meaning if code is not None else (known.meaning if known else None)
    value = _snomed_value(code) if code is not None else (known.code if known else None)
    return Site(
        finding_site=value,
        finding_site_meaning=meaning,
        laterality=laterality or laterality_of_words(words),
        organ=known.organ if known else "",
        is_nodal=known.is_nodal if known else False,
    )


def _snomed_value(code: Code) -> str | None:
    return str(code.value) if code.scheme_designator == "SCT" else None
