"""Whose study it is. Matched on PatientID and issuer, confirmed by the rest (design, decision 7)."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class PatientIdentity:
    """A patient as one instance names them. The name keeps its `^` and `=`."""

    patient_id: str
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    birth_date: date | None = None
    sex: str = ""


def readable_name(patient_name: str) -> str:
    """A person name as people write it: "Doe^Jane" is "Doe, Jane" (PS3.5 6.2.1)."""
    components = [part.strip() for part in patient_name.split("=")[0].split("^")]
    family, given = components[0], " ".join(part for part in components[1:3] if part)
    return f"{family}, {given}" if family and given else family or given


class Likeness(StrEnum):
    """Whether two identities are one person's."""

    SAME = "same"  # one PatientID and issuer, and nothing contradicts
    JOINED = "joined"  # the issuer is unknown on one side, and name and birth date or sex agree
    IN_DOUBT = "in doubt"  # a person has to say
    DIFFERENT = "different"  # another PatientID, or one that another issuer gave


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a comparison found, and why; the reason names attributes and never the patient: it is logged."""

    likeness: Likeness
    reason: str

    @property
    def is_one_person(self) -> bool:
        """Whether both may lie on one timeline without a person's word."""
        return self.likeness in (Likeness.SAME, Likeness.JOINED)


def compare(one: PatientIdentity, other: PatientIdentity) -> Match:
    """Whether two identities are one person's.

    A missing value, the issuer included, contradicts nothing; where the issuer is missing on one side only,
    the name and the birth date (or sex) have to agree. A name of which only a part is shared (marriage, a
    nickname) counts as agreeing where the birth date does.
    """
    if one.patient_id.strip() != other.patient_id.strip():
        return Match(likeness=Likeness.DIFFERENT, reason="PatientID differs")
    issuers = [_issuer(identity) for identity in (one, other)]
    if all(issuers) and not issuers[0] & issuers[1]:
        return Match(likeness=Likeness.DIFFERENT, reason="IssuerOfPatientID differs")
    is_issuer_known = all(issuers) or not any(issuers)
    name, birth_date, sex = _names(one, other), _birth_dates(one, other), _sexes(one, other)
    if contradiction := _contradiction(name, birth_date, sex):
        return Match(likeness=Likeness.IN_DOUBT, reason=f"the same PatientID comes with {contradiction}")
    if is_issuer_known:
        return Match(likeness=Likeness.SAME, reason="PatientID and its issuer agree, nothing contradicts")
    if name in (_Name.ALIKE, _Name.PARTLY_ALIKE) and (birth_date or sex):
        rest = "birth date" if birth_date else "sex"
        return Match(
            likeness=Likeness.JOINED,
            reason=f"IssuerOfPatientID is missing on one side; PatientID, name and {rest} agree",
        )
    return Match(
        likeness=Likeness.IN_DOUBT,
        reason="IssuerOfPatientID is missing on one side, and name, birth date and sex don't say enough "
        "to take both for one person",
    )


def why_not_same(one: PatientIdentity, other: PatientIdentity) -> str | None:
    """Why both can't be taken for one person without asking, or None if they can."""
    match = compare(one, other)
    return None if match.is_one_person else match.reason


def _contradiction(name: _Name, birth_date: bool | None, sex: bool | None) -> str | None:
    if birth_date is False:
        return "two birth dates"
    if sex is False:
        return "two sexes"
    if name is _Name.UNLIKE:
        return "two names that share no part"
    if birth_date:
        # A name change, a nickname or another alphabet: the birth date says that it is one person.
        return "names in two scripts that are unlike each other" if name is _Name.UNLIKE_ACROSS else None
    if name is _Name.PARTLY_ALIKE:
        return "two names that share only a part, and no birth date confirms them"
    if name is _Name.ALIKE_ACROSS:
        return "one name in two scripts (transliterated they are alike), and no birth date confirms it"
    if name in (_Name.INCOMPARABLE, _Name.UNLIKE_ACROSS):
        return "names in two scripts, and no birth date confirms that they are one person's"
    return None


def _issuer(identity: PatientIdentity) -> frozenset[str]:
    """The parts of an issuer that name it: HL7 writes namespace & universal identifier & its type."""
    parts = re.split(r"[&^]", unicodedata.normalize("NFKC", identity.issuer_of_patient_id).casefold())
    return frozenset(part.strip() for part in parts if part.strip()) - {"iso", "dns", "uuid", "hl7"}


def _birth_dates(one: PatientIdentity, other: PatientIdentity) -> bool | None:
    """Whether they agree; None where one is missing. 1900 is what systems write for "unknown"."""
    known = [identity.birth_date for identity in (one, other)]
    if any(day is None or (day.year <= 1900 and (day.month, day.day) == (1, 1)) for day in known):
        return None
    return known[0] == known[1]


def _sexes(one: PatientIdentity, other: PatientIdentity) -> bool | None:
    known = [identity.sex.strip().upper() for identity in (one, other)]
    return known[0] == known[1] if all(sex in ("M", "F") for sex in known) else None


# ---------------------------------------------------------------- names


class _Name(StrEnum):
    UNKNOWN = "one is missing"
    ALIKE = "alike"
    PARTLY_ALIKE = "family or given name alike, not both"
    UNLIKE = "no part alike"
    ALIKE_ACROSS = "no script in common, alike when transliterated"
    UNLIKE_ACROSS = "no script in common, unlike when transliterated"
    INCOMPARABLE = "no script in common, and no transliteration known"


_WORD = re.compile(r"\S+")
_TITLES = frozenset(_WORD.findall("dr prof med phd mr mrs ms miss herr frau jr sr ii iii mme mlle sig"))
_NOBODY = frozenset(
    _WORD.findall(
        "anonymous anonymized anonymised anonym anonymus anon unknown unbekannt noname none nn patient name "
        "no xxx xxxx removed deidentified test"
    )
)
# Scripts written without spaces, in which one letter can be a whole name.
_SYLLABIC = frozenset({"CJK", "KANA", "HANGUL"})
_APOSTROPHES = re.compile("['`\u2019\u02bc]")
_BETWEEN_WORDS = re.compile(r"[\s\-.,;_/\u00b7\u30fb\u2010-\u2015]+")
# Written by one system and not by another: Latin, Greek and Cyrillic accents, Hebrew and Arabic vowels.
_MARKS = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0640]")
_SAME_LETTER = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "þ": "th", "œ": "oe", "æ": "ae"}
    | {"ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ґ": "г"}
)
_LATIN_OF = str.maketrans(
    dict(
        zip(
            "абвгдезийклмнопрстуфхцчшщыэюяіїєўј" + "αβγδεζηθικλμνξοπρστυφχψω",
            _WORD.findall(
                "a b v g d e z i i k l m n o p r s t u f kh ts ch sh shch y e yu ya i yi ye u j "
                "a v g d e z i th i k l m n x o p r s t i f ch ps o"
            ),
            strict=True,
        )
    )
    | {"ъ": "", "ь": "", "ж": "zh", "ћ": "c", "ђ": "dj", "љ": "lj", "њ": "nj", "џ": "dz"}
)


def _names(one: PatientIdentity, other: PatientIdentity) -> _Name:
    """Compare two names in every script that both are written in; the least alike script counts.

    Two Chinese persons can have one name in Latin letters, so agreement there proves less than the
    contradiction of the ideographic groups.
    """
    written = [_written(identity.patient_name) for identity in (one, other)]
    if not all(written):
        return _Name.UNKNOWN
    shared = [script for script in written[0] if script in written[1]]
    if not shared:
        return _across(written[0], written[1])
    found = [_in_script(script, written[0][script], written[1][script]) for script in shared]
    return max(found, key=[_Name.ALIKE, _Name.PARTLY_ALIKE, _Name.UNLIKE].index)


def _written(name: str) -> dict[str, tuple[str, ...]]:
    """A name's words by script, from all its component groups (PS3.5 6.2.1): systems mix them up."""
    words: dict[str, dict[str, None]] = defaultdict(dict)
    for group in name.split("="):
        # Prefix and suffix are left out: two people may both be "Dr".
        for component in group.split("^")[:3]:
            for word in _words(component):
                words[_script(word)][word] = None
    return {script: tuple(of_script) for script, of_script in words.items() if not set(of_script) <= _NOBODY}


def _words(component: str) -> list[str]:
    text = unicodedata.normalize("NFKC", component).casefold()
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text).translate(_SAME_LETTER))
    text = _APOSTROPHES.sub("", unicodedata.normalize("NFC", text))
    # Katakana as hiragana: both spell the phonetic group.
    text = "".join(chr(ord(c) - 0x60) if "\u30a1" <= c <= "\u30f6" else c for c in text)
    # Müller, Mueller and Muller are one name.
    text = re.sub(r"([aou])e", r"\1", text)
    return [word for word in _BETWEEN_WORDS.split(text) if word and word not in _TITLES]


def _script(word: str) -> str:
    script = unicodedata.name(word[0], "UNKNOWN").split()[0].split("-")[0]
    return "KANA" if script in ("HIRAGANA", "KATAKANA") else script


def _in_script(script: str, one: Sequence[str], other: Sequence[str]) -> _Name:
    first, second = "".join(one), "".join(other)
    if first == second or sorted(one) == sorted(other):
        return _Name.ALIKE  # other order, or words broken elsewhere
    if script in _SYLLABIC:
        shares = first[0] == second[0] or first[-1] == second[-1]
        return _Name.PARTLY_ALIKE if shares else _Name.UNLIKE
    shared = {word for word in one if word in other and len(word) > 1}
    if not shared:
        return _Name.UNLIKE
    left = [[word for word in words if word not in shared] for words in (one, other)]
    # What is left over on both sides must fit: an initial for a name, or words broken elsewhere.
    fits = not all(left) or "".join(left[0]) == "".join(left[1]) or _abbreviates(*left)
    return _Name.ALIKE if fits else _Name.PARTLY_ALIKE


def _abbreviates(one: Sequence[str], other: Sequence[str]) -> bool:
    return any(first[0] == second[0] and 1 in (len(first), len(second)) for first in one for second in other)


def _across(one: dict[str, tuple[str, ...]], other: dict[str, tuple[str, ...]]) -> _Name:
    """Compare names that have no script in common: Cyrillic and Greek by letters, others not at all."""
    sides = [
        {
            _sound(word)
            for script in ("LATIN", "CYRILLIC", "GREEK")
            for word in (written.get(script, ()))
            if len(word) > 1
        }
        for written in (one, other)
    ]
    if not all(sides):
        return _Name.INCOMPARABLE
    alike = any(SequenceMatcher(None, a, b).ratio() >= 0.75 for a in sides[0] for b in sides[1])
    return _Name.ALIKE_ACROSS if alike else _Name.UNLIKE_ACROSS


def _sound(word: str) -> str:
    """A word in Latin letters, without what countries transliterate differently (Iwanow, Ivanov)."""
    latin = word.translate(_LATIN_OF)
    return re.sub(r"kh|ch", "h", latin.replace("w", "v").replace("j", "i").replace("y", "i"))
