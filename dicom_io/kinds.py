"""What a stack of planes is: slices of a patient, or a localizer, a projection, a map, a capture, a reformat.

Told from ImageType and its kin, from the words of the description, and from geometry. ImageType is believed;
words are believed where a second witness agrees, and else only set the stack aside: "thin slices for MIP" is
no MIP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dicom_io.frames import Frame

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Why a stack is not measured on, or only if nothing else is there; both None for plain slices."""

    refusal: str | None = None
    left_out: str | None = None


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What the places of a stack's planes tell of its kind.

    Attributes
    ----------
    planes
        How many there are.
    plane
        "axial", "coronal", "sagittal", "oblique" or "".
    directions
        How many orientations the stack's series holds.
    spacing_mm, thickness_mm
        Between planes, and of each; None if unknown.
    """

    planes: int
    plane: str
    directions: int
    spacing_mm: float | None
    thickness_mm: float | None


@dataclass(frozen=True)
class _Pattern:
    """A kind of image: what ImageType (upper case, words) and the description (lower case) say of it.

    The description alone is enough for a refusal of up to `few` planes.
    """

    name: str
    values: str
    words: str
    is_refused: bool = True
    few: int = 0
    modalities: tuple[str, ...] = ("CT", "MR", "PT")


_PATTERNS: tuple[_Pattern, ...] = (
    _Pattern(
        "a localizer",
        r"LOCALI[SZ]ERS?|SCOUT|TOPOGRAM|SURVIEW|SURVEY|SCANOGRAM",
        r"locali[sz]er|scout|topogram|surview|survey|scanogram|plane?\s*loc|\b3[- ]?plane?\b|\btopo\b|"
        r"\bloc\b|übersicht|rep[eé]rage|localizador",
        few=30,  # more planes are a scan, whatever it is called ("skeletal survey")
    ),
    _Pattern(
        "a projection",
        r"MIPS?|MINIP|MIP THICK|MAX IP|MIN IP|MEAN IP|VRT?|SSD|VOLREN|VOLUME RENDER\w*|PROJECTION( IMAGE)?|"
        r"REPROJECTION|3D RENDER\w*",
        r"\bmips?\b|\bmin[-_ ]?ip\b|(max|min)(imum)?[ -]?i(ntensity|p\b)|\bvrt?\b|\bssd\b|volume[ -]?render|"
        r"3d[ -]?render|rotat(ing|ion) (mip|view)",
    ),
    _Pattern(
        "a screen capture or report",
        r"SCREEN ?(SAVE|SHOT|CAPTURE)|SAVE|CAPTURE|DOSE ?(REPORT|INFO|RECORD)|PATIENT ?PROTOCOL",
        r"screen[ -]?(save|shot|capture|grab)|dose[ -]?(report|info|record|summary)|"
        r"patient protocol|key ?images?\b",
        few=5,
    ),
    _Pattern("a curved reformat", r"CPR|CURVED( MPR)?|STRAIGHTENED", r"\bcpr\b|curved|straightened"),
    _Pattern("a mosaic of many slices", r"MOSAIC", r"\bmosaic\b"),
    _Pattern(
        "phase, imaginary or velocity images",
        r"P|PHASE|PHASE MAP|I|IMAGINARY|VELOCITY|VELOCITY MAP",
        r"phase[ -]?(map|diff)|\bpha\b|velocity|flow map",
        modalities=("MR",),
    ),
    _Pattern(
        "a parameter map",
        r"E?ADC|FA|COLFA|TENSOR|R?CB[FV]|MTT|TTP|TMAX|PBP|PBV|BLOOD (FLOW|VOLUME)|K ?TRANS|KEP|I?AUC|"
        r"\w* ?ANISO|[\w ]*\bMAP|FAT FRACTION|PDFF|R2( ?STAR)?|STIFFNESS|TEMPERATURE|PERFUSION PARAM\w*",
        r"\be?adc\b|apparent diff|\b(col)?fa\b(?! ?\d)|fractional aniso|\br?cb[fv]\b|\bmtt\b|\bttp\b|"
        r"\btmax\b|\bpbv\b|k ?trans|\bkep\b|\bi?auc\b|\bpdff\b|fat[ -]?fraction|stiffness|elastogra|"
        r"\b(t1|t2|t2\*|r2\*?|b0|b1|field|perfusion) ?map",
        # Its voxels are places in the patient, and readers do draw on ADC maps: better than nothing.
        is_refused=False,
    ),
    _Pattern(
        "a material map",
        r"Z ?EFF|EFF ATOMIC NUM|EFFECTIVE Z|RHO|ELECTRON DENSITY|MAT (SPECIFIC|FRACTIONAL|VALUE BASED)|"
        r"IODINE|URIC ACID|FAT|WATER|MATERIAL DENSITY",
        r"z[ -]?eff|effective z|electron density|material density|\bmd\b|iodine (map|dens|conc|over|no|\()|"
        r"(water|iodine|fat|calcium) ?\((water|iodine|fat|calcium)\)|uric acid",
        modalities=("CT",),
    ),
    _Pattern(
        "a subtraction",
        r"SUB|SUBTRACT(ION|ED)?",
        r"\bsub(s|tr\w*)?\b(?!-)|subtract|subtrak",
        is_refused=False,
    ),
    _Pattern("fat images", r"F|FAT", r"(?!)", is_refused=False, modalities=("MR",)),
    _Pattern("real parts", r"R|REAL", r"(?!)", is_refused=False, modalities=("MR",)),
    _Pattern(
        "a reformat",
        r"(CSA )?(MPR|RESAMPLED)|REFORMATTED|MPR THICK",
        r"\bmprs?\b|reformat|multi-?planar",
        is_refused=False,
    ),
)
# Words before or after which a name means what is to be made of these slices.
_SOURCE = re.compile(r"(\b(for|f(ü|ue?)r|zu[rm])\b|source|\braw\b|quell)", re.I)
# "OPP_PHASE" is no phase image, "IODINE_REMOVED" no iodine map.
_NEGATED = re.compile(r"PHASE$|REMOVED|SUBTRACTED|SUPPRESSED|VIRTUAL")
_FEW_PLANES = 5
# Slabs this many times thicker than their distance, and this thick, are computed from thinner slices.
_SLAB_OVERLAP, _SLAB_MM = 3.0, 5.0


def kind_of(first: Frame, geometry: Geometry) -> Kind:
    """Tell the kind of a stack by its first plane and the geometry of all."""
    header = first.header
    if f"{header.sop_class_uid}.".startswith(f"{_SECONDARY_CAPTURE}."):
        return Kind(refusal="a secondary capture (SOP class), not for measuring")
    for pattern in _PATTERNS:
        if header.modality in pattern.modalities and (found := _value(first, pattern)):
            return _kind(f"{pattern.name} (ImageType {found})", is_refused=pattern.is_refused)
    if geometry.plane in ("coronal", "sagittal") and geometry.planes == 1 and header.modality == "CT":
        return Kind(refusal="a localizer (one plane along the body), not for measuring")
    return _by_words(first, geometry) or Kind(left_out=_by_geometry(geometry) or _derived(first))


def _kind(what: str, *, is_refused: bool) -> Kind:
    return Kind(refusal=f"{what}, not for measuring") if is_refused else Kind(left_out=what)


def _value(first: Frame, pattern: _Pattern) -> str | None:
    """The value of ImageType, or of what else names the kind, that the pattern fits, whole or in a word."""
    for value in first.kinds:
        plain = re.sub(r"[\W_]+", " ", value).strip()
        # Letters and pairs of them mean something only alone.
        words = [] if _NEGATED.search(plain) else [word for word in plain.split() if len(word) >= 3]
        if any(re.fullmatch(pattern.values, candidate) for candidate in (plain, *words)):
            return value
    return None


def _by_words(first: Frame, geometry: Geometry) -> Kind | None:
    header = first.header
    words = re.sub(r"[_^.\s]+", " ", (header.series_description or header.protocol_name).lower())
    if _SOURCE.search(words):
        return None
    for pattern in _PATTERNS:
        if header.modality in pattern.modalities and re.search(pattern.words, words):
            is_sure = geometry.planes <= pattern.few or first.is_derived or bool(_by_geometry(geometry))
            is_refused = pattern.is_refused and is_sure
            return _kind(f"{pattern.name} (SeriesDescription)", is_refused=is_refused)
    return None


def _by_geometry(geometry: Geometry) -> str | None:
    spacing, thickness = geometry.spacing_mm, geometry.thickness_mm
    if spacing and thickness and thickness >= max(_SLAB_MM, _SLAB_OVERLAP * spacing):
        return (
            f"thick slabs that overlap ({thickness:g} mm every {spacing:.2f} mm): a projection or an average"
        )
    if geometry.directions >= 3 and geometry.planes <= _FEW_PLANES:
        return "a few planes in three directions: a localizer by its geometry"
    return None


def _derived(first: Frame) -> str | None:
    if first.pet is not None and first.pet.is_attenuation_corrected is False:
        return "not corrected for attenuation"
    # PET values are always computed; only of CT and MR does DERIVED say that pixels came from other images.
    return "derived from other images (ImageType DERIVED)" if first.is_derived and first.pet is None else None
