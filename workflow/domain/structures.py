"""What readers measure beside lesions: vessels, organs, fluids, devices; named in the words of a label."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workflow.domain.anatomy import (
    folded,
    is_nodal_name,
    is_side,
    names_organ,
    site_of_words,
    without_organs,
    words_of,
)

# Organs whose own size is reported: a label that names one and nothing else is that size.
_SIZED_ORGANS = frozenset({
    "aorta", "bile ducts and gallbladder", "bladder", "heart", "kidney", "liver", "ovary", "pericardium",
    "prostate", "spinal cord", "spleen", "testis", "thymus", "thyroid", "trachea and bronchi", "ureter",
    "uterus",
})  # fmt: skip

# Vessels, ducts, chambers, devices and fluids, and findings that are no tumour, in the languages that
# readers label in.
_STRUCTURE_WORDS = """
    aorta aortic aorte аорта hauptschlagader artery arteries arterie artère arteria artéria slagader tętnica
    артерия vein veins vena vene veine veia ader żyła вена cava cavae ivc svc hohlvene pfortader carotid
    vessel gefäß vaisseau ventricle ventricular atrium atrial myocardium septum valve annulus airway duct
    ducts cbd choledochus lumen endometrium follicle appendix aneurysm aneurysma blood pool stent catheter
    katheter port tube drain pacemaker effusion erguss épanchement derrame versamento ascites aszites fluid
    cyst cysts zyste kyste quiste cisti cisto cyste torbiel киста hemangioma haemangioma hämangiom
    calcification stone calculus hernia thrombus embolus hematoma haematoma abscess normal healthy reference
    background control phantom artifact artefact calibration scale
"""
_STRUCTURES = frozenset(folded(word) for word in _STRUCTURE_WORDS.split())

_FILLERS = frozenset("x of the der die das des du de la le el il da do del della van".split())  # noqa: SIM905

# Words of size, which say nothing of what is measured.
_SIZE_WORDS = """
    length size diameter width height depth thickness span volume craniocaudal cc ap lr tr transverse axial
    coronal sagittal circumference axis dimension dimensions measurement long short max maximum min largest
    longest mm cm ml length längen länge durchmesser größe groesse breite dicke höhe umfang achse längs quer
    longueur diamètre taille largeur épaisseur hauteur longitud diámetro tamaño ancho grosor espesor altura
    eje lunghezza diametro dimensione dimensioni spessore larghezza asse comprimento tamanho espessura
    largura eixo lengte grootte dikte breedte długość średnica wymiar диаметр длина размер толщина ширина
"""
_SIZES = frozenset(folded(word) for word in _SIZE_WORDS.split())
_TYPED_SIZE = re.compile(
    r"\d+(?:[.,]\d+)?(?:\s*[x×*/]\s*\d+(?:[.,]\d+)?)*\s*(?:mm|cm|ml)(?![a-z])", re.IGNORECASE
)
_UNSPACED_STRUCTURES = ("动脉", "動脈", "静脉", "静脈", "静脈", "囊肿", "嚢胞", "血管", "气管", "気管")
_UNSPACED_SIZES = ("直径", "长度", "長さ", "長径", "短径", "大小", "厚", "径")
_UNSPACED_FILLERS = ("臓", "脏", "臟", "的", "の")


@dataclass(frozen=True, kw_only=True)
class NamedStructure:
    """What a label names beside lesions.

    `is_certain` where no lesion is called so (a vessel, the length of a spleen); False where the label is
    only the organ that a lesion may be in ("Lung"). `is_organ` where an organ is named and not its size.
    """

    words: str
    is_certain: bool
    is_organ: bool = False


def structure_named(label: str) -> NamedStructure | None:
    """The normal structure that a measurement's label names and nothing else; None if it may be a lesion's.

    A lymph node is none, and neither is a label that says more than an organ and its size: "Liver S7",
    "Lung RUL 2". Words for lesions are the caller's to look for first.
    """
    if is_nodal_name(label):
        return None
    unsized = _TYPED_SIZE.sub(" ", label)
    words = [part for word in words_of(unsized) for part in _parts_of(folded(word))]
    known = next((word for word in words if word in _STRUCTURES), None) or next(
        (term for term in _UNSPACED_STRUCTURES if term in label), None
    )
    if known is not None:
        return NamedStructure(words=known, is_certain=True)
    site = site_of_words(" ".join(words))
    if site is None or re.search(r"\d", unsized) or _says_more(words):
        return None
    is_size = (
        unsized != label
        or any(word in _SIZES for word in words)
        or any(term in label for term in _UNSPACED_SIZES)
    )
    return NamedStructure(
        words=site.meaning.lower(), is_certain=site.organ in _SIZED_ORGANS, is_organ=not is_size
    )


def _parts_of(word: str) -> list[str]:
    """A German or Dutch compound that ends in a size as its two words: "milzlange", "aortendurchmesser"."""
    size = next((size for size in _SIZES if len(size) > 4 and word.endswith(size) and word != size), None)
    if size is None:
        return [word]
    stem = word.removesuffix(size)
    stems = (stem, stem.removesuffix("n"), stem.removesuffix("en"), stem.removesuffix("en") + "a")
    known = next((one for one in stems if names_organ(one) or one in _STRUCTURES), stem)
    return [known, size]


def _says_more(words: list[str]) -> bool:
    """Whether there is a word beside an organ, a side and a size."""
    rest = [without_organs(word) for word in words if word not in _SIZES | _FILLERS and not is_side(word)]
    for term in (*_UNSPACED_SIZES, *_UNSPACED_FILLERS):
        rest = [word.replace(term, "") for word in rest]
    return any(rest)
