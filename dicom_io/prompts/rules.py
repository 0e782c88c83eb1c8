"""Which regions of interest and segments are lesions: by a site's rules on names, types and codes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.prompts.origin import is_one_of
from workflow.domain.anatomy import folded, is_nodal_name, site_of, site_of_code, site_of_words, words_of
from workflow.domain.structures import NamedStructure, structure_named

# RT ROI Interpreted Type (PS3.3 C.8.8.8.1) that no tumour has. ORGAN is not among them: some planning
# systems write it for every ROI, so that a name decides.
_OTHER_TYPES = frozenset({
    "AVOIDANCE", "BOLUS", "BRACHY_ACCESSORY", "BRACHY_CHNL_SHLD", "BRACHY_CHANNEL", "BRACHY_SRC_APP",
    "CAVITY", "CONTRAST_AGENT", "CONTROL", "CTV", "DOSE_REGION", "EXTERNAL", "FIDUCIAL", "FIXATION",
    "IRRAD_VOLUME", "ISOCENTER", "MARKER", "PATIENT", "PTV", "REGISTRATION", "SUPPORT", "TREATED_VOLUME",
})  # fmt: skip

_LESION_NAMES = (
    r"i?gtv\w*", r"tumou?rs?", r"tu", r"lesions?", r"l(ae|a)sion(en)?", r"nodules?", r"mets?",
    r"metastas[ei]s", r"metastatic", r"metastasen?", r"mass(es)?", r"neoplasms?", r"neoplastic",
    r"carcinomas?", r"cancers?", r"sarcomas?", r"lymphomas?", r"recist\w*", r"target", r"rundherde?",
    r"raumforderung", r"hcc", r"nsclc", r"malignan\w+", r"herde?", r"filiae?", r"tumeurs?", r"tumor[ei]s?",
    r"lesion[ei]s?", r"lesao", r"lesoes", r"nodul[oi]s?", r"masses?", r"mas(a|sa)s?", r"metastas[ei]s?",
    r"metastaz\w*", r"guz(ek)?", r"ognisko", r"zmiana", r"опухол\w*", r"очаг\w*", r"метастаз\w*", r"узел",
    r"узлы", r"\w*образование", r"поражени\w*",
    r".*(病灶|病变|病変|肿瘤|腫瘍|腫瘤|肿块|结节|結節|转移|転移|轉移|癌).*",
)  # fmt: skip

_OTHER_NAMES = (
    r"\w*ctv\w*", r"\w*ptv\w*", r"i?itv\w*", r"prv\w*", r"external", r"body", r"couch\w*", r"ring\w*",
    r"shell\w*", r"avoid\w*", r"minus", r"sub", r"excl\w*", r"without", r"iso\w*", r"carina",
    r"marker\w*", r"fiducial\w*", r"clips?", r"poi", r"bolus", r"dose", r"artifacts?", r"cavity", r"bed",
    r"o?edema", r"levels?", r"elective", r"background", r"phantom", r"normal", r"healthy", r"reference",
)  # fmt: skip


# Words that take back what stands beside them: "normal liver lesion reference".
_NORMAL = frozenset({"normal", "healthy", "reference", "background"})


@dataclass(frozen=True, kw_only=True)
class LesionChoice:
    """Whether an ROI, segment or measurement is taken as a lesion, and why.

    `doubt` says why a person has to look at the choice; "" where it is certain.
    """

    is_lesion: bool
    reason: str
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class LesionRules:
    """A site's rules; the defaults know the usual English and German names.

    Names are compared word by word, without case; digits and punctuation separate words. In order: `always`
    and `never` (whole names), types and names that are something else, then what makes a lesion. What no
    rule knows is not taken.

    Attributes
    ----------
    always, never
        Whole names that are, or are not, a lesion here, whatever the other rules say.
    lesion_words, other_words
        Regular expressions; one that matches a whole word of the name is enough.
    lesion_types, other_types
        RT ROI Interpreted Types (PS3.3 C.8.8.8.1).
    nodes_are_lesions
        Whether a name of a lymph node ("LN_c40") is a lesion.
    fraction
        A voxel of a FRACTIONAL segment belongs to the lesion from this share of MaximumFractionalValue on.
    """

    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    lesion_words: tuple[str, ...] = _LESION_NAMES
    other_words: tuple[str, ...] = _OTHER_NAMES
    lesion_types: frozenset[str] = frozenset({"GTV"})
    other_types: frozenset[str] = _OTHER_TYPES
    nodes_are_lesions: bool = True
    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction {self.fraction} is not above 0 and up to 1")
        for pattern in (*self.lesion_words, *self.other_words):
            re.compile(pattern)

    def choose(self, name: str, interpreted_type: str = "") -> LesionChoice:
        """Decide on an ROI by its name and its RT ROI Interpreted Type."""
        kind = interpreted_type.strip().upper()
        listed = self._listed(name)
        if listed is not None:
            return listed
        if kind in self.other_types:
            return LesionChoice(is_lesion=False, reason=f"its type is {kind}")
        otherwise = self.named_otherwise(name)
        if otherwise is not None:
            return LesionChoice(is_lesion=False, reason=otherwise)
        return self._choose_lesion(name, kind)

    def named_otherwise(self, name: str) -> str | None:
        """Why a name is that of something else than a lesion; None if it isn't."""
        listed = self._listed(name)
        if listed is not None:
            return None if listed.is_lesion else listed.reason
        other = _matching_word(name, self.other_words) or _subtracted_target(name)
        return f"its name has {other!r}" if other else None

    def choose_coded(self, label: str, category: Code | None, kind: Code | None) -> LesionChoice:
        """Decide on a segment or finding by its label, its property category and its property type.

        An abnormal structure is a lesion unless its type is something beside the tumour (oedema ...); an
        organ is none. Where the codes say neither ("Tissue"), the label decides.
        """
        listed = self._listed(label)
        if listed is not None:
            return listed
        said = f"it is coded as {_meaning(category)}: {_meaning(kind)}"
        if is_one_of(kind, *codes.BESIDE_THE_TUMOUR):
            return LesionChoice(is_lesion=False, reason=said)
        if is_one_of(category, codes.MORPHOLOGICALLY_ABNORMAL) or is_one_of(kind, *codes.LESION_TYPES):
            return self._taken_by_code(label, said)
        site = site_of(kind.value, kind.meaning) if kind is not None else None
        if site is not None:
            return LesionChoice(is_lesion=site.is_nodal and self.nodes_are_lesions, reason=said)
        by_name = self.choose(label)
        reason = by_name.reason if by_name.is_lesion else f"{said}, and {by_name.reason}"
        return LesionChoice(is_lesion=by_name.is_lesion, reason=reason)

    def choose_measured(
        self, label: str, category: Code | None = None, finding: Code | None = None
    ) -> LesionChoice:
        """Decide on a measurement: somebody measured it, so only what is coded or named as none is none.

        `label` is all that people wrote of it. What only its words speak against is in doubt either way.
        """
        listed = self._listed(label)
        if listed is not None:
            return listed
        said = f"it is coded as {_meaning(category)}: {_meaning(finding)}"
        site = site_of_code(finding.value) if finding is not None else None
        if is_one_of(finding, *codes.BESIDE_THE_TUMOUR):
            return LesionChoice(is_lesion=False, reason=said)
        is_abnormal = is_one_of(category, codes.MORPHOLOGICALLY_ABNORMAL)
        if is_abnormal or is_one_of(finding, *codes.LESION_TYPES) or (site is not None and site.is_nodal):
            return self._taken_by_code(label, said)
        is_organ = site is not None or is_one_of(finding, *codes.ANATOMICAL_STRUCTURES)
        if is_organ or is_one_of(category, codes.ANATOMICAL_STRUCTURE):
            return LesionChoice(is_lesion=False, reason=said)
        words = " ".join([label, finding.meaning if finding is not None else ""])
        structure = self._structure(words)
        if structure is None:
            return LesionChoice(is_lesion=True, reason="somebody measured it")
        reason = f"its label {label!r} names {structure.words}"
        if structure.is_certain:
            return LesionChoice(is_lesion=False, reason=reason, doubt=reason)
        return LesionChoice(
            is_lesion=True, reason="somebody measured it", doubt=f"{reason} and no lesion; say if it is one"
        )

    def _taken_by_code(self, label: str, said: str) -> LesionChoice:
        structure = self._structure(label)
        if structure is None or structure.is_organ or not structure.is_certain:
            return LesionChoice(is_lesion=True, reason=said)
        doubt = f"{said}, and its label {label!r} names {structure.words}; say if it is a lesion"
        return LesionChoice(is_lesion=True, reason=said, doubt=doubt)

    def _structure(self, label: str) -> NamedStructure | None:
        """The normal structure that a label names, unless a word for a lesion is in it."""
        structure = structure_named(label)
        is_normal = structure is not None and structure.words in _NORMAL
        return None if _matching_word(label, self.lesion_words) and not is_normal else structure

    def _listed(self, name: str) -> LesionChoice | None:
        whole = name.strip().casefold()
        if whole in {entry.casefold() for entry in self.always}:
            return LesionChoice(is_lesion=True, reason=f"the rules always take {name!r}")
        if whole in {entry.casefold() for entry in self.never}:
            return LesionChoice(is_lesion=False, reason=f"the rules never take {name!r}")
        return None

    def _choose_lesion(self, name: str, kind: str) -> LesionChoice:
        if kind in self.lesion_types:
            return LesionChoice(is_lesion=True, reason=f"its type is {kind}")
        word = _matching_word(name, self.lesion_words)
        if word:
            return LesionChoice(is_lesion=True, reason=f"its name has {word!r}")
        if self.nodes_are_lesions and is_nodal_name(name):
            return LesionChoice(is_lesion=True, reason="its name is that of a lymph node")
        return LesionChoice(
            is_lesion=False,
            reason="neither its name nor its type says that it is a lesion; "
            "add the name to the rules' `always` if it is one",
        )


def _meaning(code: Code | None) -> str:
    return code.meaning or code.value if code is not None else "(nothing)"


def _matching_word(name: str, patterns: tuple[str, ...]) -> str | None:
    expression = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None
    words = [folded(word) for word in words_of(name)]
    return next((word for word in words if expression is not None and expression.fullmatch(word)), None)


def _subtracted_target(name: str) -> str | None:
    """The name's part that takes a tumour away: "Lung-GTV", but not "Lung GTV" or "Lung_GTV"."""
    found = re.search(r"([A-Za-z ]+)\s*[-–]\s*(i?gtv\w*|tumou?r)", name, re.IGNORECASE)
    return found.group(0) if found and site_of_words(found.group(1)) else None
