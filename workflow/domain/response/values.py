"""The words of response assessment, and the one error that an input can earn."""

from __future__ import annotations

from enum import StrEnum

from workflow.domain.errors import UnsuitableInputError


class TimelineError(UnsuitableInputError, ValueError):
    """A timeline can't be assessed. The message names the row, the reason and what to change."""


class Response(StrEnum):
    """A response of target lesions, of non-target lesions, or overall (CDISC ONCRSR terms)."""

    CR = "CR"
    PR = "PR"
    SD = "SD"
    NON_CR_NON_PD = "NON-CR/NON-PD"
    PD = "PD"
    NE = "NE"
    NED = "NED"  # no evidence of disease: none at baseline, none now
    ND = "ND"  # not done; as NE wherever a rule asks
    NA = "NA"  # there are no lesions of this kind
    MISSING = "MISSING"  # best response of a patient without an assessment

    ICR = "iCR"
    IPR = "iPR"
    ISD = "iSD"
    NON_ICR_NON_IUPD = "NON-iCR/NON-iUPD"
    IUPD = "iUPD"
    ICPD = "iCPD"

    # PERCIST 1.0
    CMR = "CMR"
    PMR = "PMR"
    SMD = "SMD"
    PMD = "PMD"
    # Lugano 2014 by PET says NMR where PERCIST says SMD.
    NMR = "NMR"
    # Lugano by CT, as CDISC writes it beside CMR, PMR, NMR and PMD by PET
    CAR = "CAR"
    PAR = "PAR"
    SAD = "SAD"
    PAD = "PAD"

    IR1 = "IR1"  # LYRIC: indeterminate, by its first, second or third pattern
    IR2 = "IR2"
    IR3 = "IR3"
    MR = "MR"  # RANO 2.0: minor response of non-enhancing tumour
    PDU = "PDu"  # progression that is to be confirmed, or was taken back (PCWG3, RANO 2.0, imRECIST)


class NewLesion(StrEnum):
    """Whether a time point shows a lesion that was not there at baseline."""

    NO = "no"
    EQUIVOCAL = "equivocal"
    YES = "yes"
    NOT_EVALUABLE = "NE"


R = Response

_PLAIN_OF_I = {
    R.ICR: R.CR,
    R.IPR: R.PR,
    R.ISD: R.SD,
    R.NON_ICR_NON_IUPD: R.NON_CR_NON_PD,
    R.IUPD: R.PD,
    R.ICPD: R.PD,
}
_I_OF_PLAIN = {plain: immune for immune, plain in _PLAIN_OF_I.items() if immune is not R.ICPD}
_PLAIN_OF_MODALITY = {
    R.CMR: R.CR,
    R.PMR: R.PR,
    R.SMD: R.SD,
    R.NMR: R.SD,
    R.PMD: R.PD,
    R.CAR: R.CR,
    R.PAR: R.PR,
    R.SAD: R.SD,
    R.PAD: R.PD,
}
_PLAIN = {**_PLAIN_OF_I, **_PLAIN_OF_MODALITY}

PROGRESSION = frozenset({R.PD, R.IUPD, R.ICPD, R.PMD, R.PAD})
INDETERMINATE = frozenset({R.IR1, R.IR2, R.IR3, R.PDU})
NOT_EVALUABLE = frozenset({R.NE, R.ND})


def plain(response: Response) -> Response:
    """The RECIST 1.1 word for an iRECIST, metabolic or CT word (iUPD and iCPD are both PD); others stay."""
    return _PLAIN.get(response, response)


def immune(response: Response) -> Response:
    """The iRECIST word for a RECIST 1.1 word (PD is iUPD until it is confirmed); others stay."""
    return _I_OF_PLAIN.get(response, response)


_SYNONYMS = {
    "COMPLETE RESPONSE": R.CR,
    "COMPLETE REMISSION": R.CR,
    "PARTIAL RESPONSE": R.PR,
    "PARTIAL REMISSION": R.PR,
    "STABLE DISEASE": R.SD,
    "STABLE": R.SD,
    "NO CHANGE": R.SD,
    "PROGRESSIVE DISEASE": R.PD,
    "PROGRESSION": R.PD,
    "PROGRESSIVE": R.PD,
    "UNEQUIVOCAL PROGRESSION": R.PD,
    "NON CR/NON PD": R.NON_CR_NON_PD,
    "NON-CR/NON PD": R.NON_CR_NON_PD,
    "NONCR/NONPD": R.NON_CR_NON_PD,
    "NON-CR / NON-PD": R.NON_CR_NON_PD,
    "NON-CR NON-PD": R.NON_CR_NON_PD,
    "NON-COMPLETE RESPONSE/NON-PROGRESSIVE DISEASE": R.NON_CR_NON_PD,
    "NN": R.NON_CR_NON_PD,
    "NCRNPD": R.NON_CR_NON_PD,
    "NON-CR": R.NON_CR_NON_PD,
    "NON-PD": R.NON_CR_NON_PD,
    "NOT EVALUABLE": R.NE,
    "INEVALUABLE": R.NE,
    "UNEVALUABLE": R.NE,
    "NOT ESTIMABLE": R.NE,
    "NOT EVALUATED": R.NE,
    "NOT ALL EVALUATED": R.NE,
    "NOT ASSESSED": R.NE,
    "NOT ASSESSABLE": R.NE,
    "UNKNOWN": R.NE,
    "UNK": R.NE,
    "NO EVIDENCE OF DISEASE": R.NED,
    "NO DISEASE": R.NED,
    "NOT DONE": R.ND,
    "NOT APPLICABLE": R.NA,
    "N/A": R.NA,
    "NONE": R.NA,
    "UCPD": R.IUPD,
    "IUPD (UNCONFIRMED)": R.IUPD,
    "NON-ICR/NON-IUPD": R.NON_ICR_NON_IUPD,
    "NON-ICR/NON-IPD": R.NON_ICR_NON_IUPD,
    "NON-ICR/NON-ICPD": R.NON_ICR_NON_IUPD,
    "INON-CR/NON-PD": R.NON_ICR_NON_IUPD,
    "INON-CR/NON-UPD": R.NON_ICR_NON_IUPD,
    "NON-ICR NON-IUPD": R.NON_ICR_NON_IUPD,
    "COMPLETE METABOLIC RESPONSE": R.CMR,
    "PARTIAL METABOLIC RESPONSE": R.PMR,
    "STABLE METABOLIC DISEASE": R.SMD,
    "NO METABOLIC RESPONSE": R.NMR,
    "PROGRESSIVE METABOLIC DISEASE": R.PMD,
    "MINOR RESPONSE": R.MR,
    "MINR": R.MR,
    "PRELIMINARY PD": R.PDU,
    "UNCONFIRMED PD": R.PDU,
    "UNCONFIRMED PROGRESSION": R.PDU,
    "IR(1)": R.IR1,
    "IR(2)": R.IR2,
    "IR2A": R.IR2,
    "IR2B": R.IR2,
    "IR(2A)": R.IR2,
    "IR(2B)": R.IR2,
    "IR(3)": R.IR3,
    "IMCR": R.CR,
    "IMPR": R.PR,
    "IMSD": R.SD,
    "IMPD": R.PD,
}


def _key(word: str) -> str:
    """Case, spacing and the kind of hyphen or underscore make no difference."""
    text = word.strip().upper().replace("_", " ").replace("–", "-").replace("‑", "-")
    return "".join(c for c in text if c not in " -")


_RESPONSES = {_key(r.value): r for r in R} | {_key(k): v for k, v in _SYNONYMS.items()}
_NEW_LESIONS = {
    **{_key(w): NewLesion.YES for w in ("yes", "y", "true", "1", "unequivocal", "present", "new", "PD")},
    **{_key(w): NewLesion.NO for w in ("no", "n", "false", "0", "absent", "none")},
    **{_key(w): NewLesion.EQUIVOCAL for w in ("equivocal", "uncertain", "possible", "suspected")},
    **{_key(w): NewLesion.NOT_EVALUABLE for w in ("NE", "not evaluable", "unknown", "ND", "not done")},
}


def response_of(word: str) -> Response:
    """The response that a word stands for; case, spaces, hyphens and common synonyms are accepted.

    Raises
    ------
    ValueError
        If the word stands for none; the message lists the values.
    """
    found = _RESPONSES.get(_key(word))
    if found is None:
        known = ", ".join(r.value for r in R)
        raise ValueError(f"{word!r} is not a response; one of: {known}")
    return found


def new_lesion_of(word: str | bool | int) -> NewLesion:
    """The finding that a word or a truth value stands for.

    Raises
    ------
    ValueError
        If it stands for none; the message lists the values.
    """
    found = _NEW_LESIONS.get(_key(str(word)))
    if found is None:
        raise ValueError(f"{word!r} is not yes, no, equivocal or NE")
    return found
