"""A study's protocol as a value: the criteria and the choices that the published rules leave open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Criteria(StrEnum):
    """The published criteria that this engine knows."""

    RECIST_1_1 = "recist-1.1"
    IRECIST = "irecist"
    MRECIST = "mrecist"
    PERCIST = "percist-1.0"
    LUGANO = "lugano-2014"
    RANO = "rano-2.0"
    CHOI = "choi"
    PCWG3 = "pcwg3"
    GCIG = "gcig-ca125"
    IMRECIST = "imrecist"
    LYRIC = "lyric"
    RECIST_1_0 = "recist-1.0"
    WHO = "who"


CRITERIA_WORDS: Mapping[Criteria, str] = {  # as their authors write them
    Criteria.RECIST_1_1: "RECIST 1.1",
    Criteria.IRECIST: "iRECIST",
    Criteria.MRECIST: "mRECIST",
    Criteria.PERCIST: "PERCIST 1.0",
    Criteria.LUGANO: "Lugano 2014",
    Criteria.RANO: "RANO 2.0",
    Criteria.CHOI: "Choi",
    Criteria.PCWG3: "PCWG3",
    Criteria.GCIG: "GCIG with CA-125",
    Criteria.IMRECIST: "imRECIST",
    Criteria.LYRIC: "LYRIC",
    Criteria.RECIST_1_0: "RECIST 1.0",
    Criteria.WHO: "WHO",
}


class CarryForward(StrEnum):
    """When a partial response stays one although the sum no longer is 30 % below baseline."""

    NEVER = "never"
    IMMEDIATELY = "immediately"
    AFTER_CONFIRMATION = "after_confirmation"
    AS_REQUIRED = "as_required"  # after confirmation if the protocol requires it, else immediately (EORTC)


class Reappearance(StrEnum):
    """What counts as progression once everything had disappeared."""

    ANY = "any"
    FIVE_MM = "5mm"


class VisitDate(StrEnum):
    """Which day a visit of several days, or of a date known in part, counts as."""

    BY_RESPONSE = "by_response"  # progression on the first day, everything else on the last
    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The choices on which sources differ, each with its default; `POLICY_TABLE` says what and why.

    Raises
    ------
    ValueError
        If a number is negative.
    """

    minimum_stable_days: int = 42
    confirmation_days: int = 28
    max_not_evaluable_between: int = 1
    accept_stable_between_partial_responses: bool = False
    confirmation_required: bool = False
    missing_as_not_evaluable: bool = False
    carry_partial_response_forward: CarryForward = CarryForward.AS_REQUIRED
    reappearance_after_complete_response: Reappearance = Reappearance.ANY
    backdate_equivocal_new_lesions: bool = True
    progression_is_final: bool = False
    progression_minimum_mm: int = 5
    iupd_confirmation_days: int = 28
    maximum_targets: int = 5
    maximum_targets_per_organ: int = 2
    node_double_slice_rule: bool = False
    too_small_mm: int = 5
    reappearance_needs_confirmed_complete_response: bool = False
    visit_date: VisitDate = VisitDate.BY_RESPONSE
    missed_visits_before_censoring: int = 2
    pseudoprogression_days: int = 84
    confirm_every_progression: bool = False
    bone_flare_days: int = 84
    bone_confirmation_days: int = 42

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 0:
                raise ValueError(f"policy {item.name} is {value}; it is 0 or more")

    @property
    def progression_minimum_um(self) -> int:
        """`progression_minimum_mm` in µm."""
        return 1000 * self.progression_minimum_mm

    @property
    def carry_forward(self) -> CarryForward:
        """The carry-forward rule with `as_required` resolved."""
        if self.carry_partial_response_forward is not CarryForward.AS_REQUIRED:
            return self.carry_partial_response_forward
        return CarryForward.AFTER_CONFIRMATION if self.confirmation_required else CarryForward.IMMEDIATELY

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Policies:
        """Policies from names and values as a file or a command line gives them; the rest are defaults.

        Raises
        ------
        ValueError
            If a name is unknown or a value does not fit; the message lists what does.
        """
        known = {item.name: item for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            key = name.strip().lower().replace("-", "_")
            if key not in known:
                raise ValueError(f"policy {name!r} is unknown; one of: {', '.join(known)}")
            values[key] = _read(key, value, known[key].default)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Every policy by name, JSON-ready."""
        return {
            item.name: value.value if isinstance(value := getattr(self, item.name), StrEnum) else value
            for item in fields(self)
        }


POLICY_TABLE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "minimum_stable_days": (
            "days from the reference date before SD or Non-CR/Non-PD counts as a best response",
            "RECIST 1.1 leaves 6-8 weeks to the protocol; admiralonco: 42",
        ),
        "confirmation_days": (
            "least days between a response and the assessment that confirms it",
            "RECIST 1.1, 4.4.3: 4 weeks",
        ),
        "max_not_evaluable_between": (
            "how many NE may lie between a response and its confirmation",
            "admiralonco",
        ),
        "accept_stable_between_partial_responses": (
            "whether one SD may lie between a PR and its confirmation",
            "RECIST 1.1, 4.6 (text, not Table 3); admiralonco: no",
        ),
        "confirmation_required": (
            "whether the study requires confirmation; makes the confirmed best response the headline",
            "RECIST 1.1, 4.6: non-randomised trials with response as primary endpoint",
        ),
        "missing_as_not_evaluable": (
            "whether a patient without an assessment is NE instead of MISSING",
            "admiralonco: no",
        ),
        "carry_partial_response_forward": (
            "when a PR stays PR until progression: never, immediately, after_confirmation, or as_required: "
            "after confirmation where confirmation_required, else immediately",
            "EORTC FAQ: as_required; pyrecist, RECIST-tracker: immediately; pharmaverse: never",
        ),
        "reappearance_after_complete_response": (
            "what is progression after an overall CR: any disease seen (a node at 10 mm), "
            "or a sum 5mm above the nadir",
            "RECIST 1.1, Table 3 note a, and EORTC FAQ: any; pharmaverse: 5mm",
        ),
        "backdate_equivocal_new_lesions": (
            "whether progression is dated to the first sight of a lesion that later proves to be new",
            "RECIST 1.1, 4.3.5",
        ),
        "progression_is_final": (
            "whether every time point after the first PD is PD",
            "RECIST 1.1 is silent; some reading charters",
        ),
        "progression_minimum_mm": (
            "least absolute increase of the target sum for PD, beside the 20 %",
            "RECIST 1.1, 4.3.1; mRECIST has none and takes 0 whatever is set",
        ),
        "iupd_confirmation_days": (
            "least days between iUPD and the assessment that confirms it",
            "iRECIST: 4-8 weeks",
        ),
        "maximum_targets": ("target lesions in all", "RECIST 1.1, 4.2"),
        "maximum_targets_per_organ": ("target lesions in one organ", "RECIST 1.1, 4.2"),
        "node_double_slice_rule": (
            "whether a target node must also be twice the slice interval",
            "EORTC Q&A; its answer is uncertain",
        ),
        "too_small_mm": (
            "what a lesion too small to measure puts into the sum, where no diameter is given",
            "RECIST 1.1, 4.3.2: 5 mm",
        ),
        "reappearance_needs_confirmed_complete_response": (
            "whether disease seen after an overall CR is progression only if that CR was confirmed; "
            "else the sums decide, and PR or SD may follow an unconfirmed CR",
            "RECIST 1.1, Table 3 read literally (CR, then PR or SD); note a: no",
        ),
        "visit_date": (
            "the day that a visit of several days counts as: by_response (progression on its first day, "
            "everything else on its last), earliest or latest; so too where only month or year is known",
            "FDA, Clinical Trial Endpoints (2018): progression on the first scan that shows it",
        ),
        "missed_visits_before_censoring": (
            "how many assessments missed (NE, ND) in a row before progression or death censor "
            "progression-free survival at the last evaluable one; 0: none do",
            "FDA, Clinical Trial Endpoints (2018), appendix: more than one",
        ),
        "pseudoprogression_days": (
            "days after radiotherapy in which RANO 2.0 wants progression confirmed",
            "Wen 2023: 12 weeks",
        ),
        "confirm_every_progression": (
            "whether RANO 2.0 wants every progression confirmed, whatever the time since radiotherapy",
            "Wen 2023: for treatments with a high likelihood of pseudoprogression",
        ),
        "bone_flare_days": (
            "days from the start in which a first bone scan may show a flare (PCWG3, 2+2 rule)",
            "Scher 2016: the first scan, 8 to 12 weeks",
        ),
        "bone_confirmation_days": (
            "least days between bone scans of which one confirms the other",
            "Scher 2016: 6 weeks",
        ),
    }
)
"""Meaning and source of each policy, by name."""

_TRUE = frozenset({"true", "yes", "y", "1", "on"})
_FALSE = frozenset({"false", "no", "n", "0", "off"})


def _read(name: str, value: Any, default: Any) -> Any:
    """A policy's value in the type of its default."""
    text = str(value).strip().lower()
    if isinstance(default, bool):
        if text not in _TRUE | _FALSE:
            raise ValueError(f"policy {name} is {value!r}; it is true or false")
        return text in _TRUE
    if isinstance(default, StrEnum):
        kind = type(default)
        found = {m.value: m for m in kind}.get(text.replace(" ", "").replace("-", "_"))
        if found is None:
            raise ValueError(f"policy {name} is {value!r}; one of: {', '.join(m.value for m in kind)}")
        return found
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"policy {name} is {value!r}; it is a whole number") from None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Criteria and policies: stored with every assessment; another protocol makes another assessment."""

    criteria: Criteria = Criteria.RECIST_1_1
    policies: Policies = field(default_factory=Policies)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"criteria": self.criteria.value, "policy": self.policies.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Protocol:
        """The protocol that `to_dict` wrote.

        Raises
        ------
        ValueError
            If the criteria or a policy are unknown.
        """
        return cls(
            criteria=criteria_of(str(stored.get("criteria", Criteria.RECIST_1_1))),
            policies=Policies.from_mapping(stored.get("policy") or {}),
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the protocol: the same protocol has the same digest on every machine."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


_CRITERIA = {
    "recist": Criteria.RECIST_1_1,
    "recist11": Criteria.RECIST_1_1,
    "recist1.1": Criteria.RECIST_1_1,
    "irecist": Criteria.IRECIST,
    "irecist1.1": Criteria.IRECIST,
    "mrecist": Criteria.MRECIST,
    "percist": Criteria.PERCIST,
    "percist1.0": Criteria.PERCIST,
    "lugano": Criteria.LUGANO,
    "lugano2014": Criteria.LUGANO,
    "rano": Criteria.RANO,
    "rano2.0": Criteria.RANO,
    "rano2": Criteria.RANO,
    "choi": Criteria.CHOI,
    "choi2007": Criteria.CHOI,
    "pcwg3": Criteria.PCWG3,
    "gcig": Criteria.GCIG,
    "gcigca125": Criteria.GCIG,
    "imrecist": Criteria.IMRECIST,
    "lyric": Criteria.LYRIC,
    "recist1.0": Criteria.RECIST_1_0,
    "recist10": Criteria.RECIST_1_0,
    "who": Criteria.WHO,
    "who1981": Criteria.WHO,
}


def criteria_of(name: str) -> Criteria:
    """The criteria of a name; case, spaces and hyphens make no difference.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists them.
    """
    key = "".join(c for c in name.strip().lower() if c not in " -_")
    if key not in _CRITERIA:
        raise ValueError(f"criteria {name!r} are unknown; one of: {', '.join(c.value for c in Criteria)}")
    return _CRITERIA[key]
