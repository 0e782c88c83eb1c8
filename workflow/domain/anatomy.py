"""Where a lesion is: SNOMED CT codes and free words to the organs that RECIST counts.

RECIST 1.1 (4.1) takes at most two target lesions per organ; paired organs (lungs, kidneys, adrenal
glands, ovaries, breasts) count as one organ, and all lymph nodes together as one. A node is measured
on its short axis, so whether a site is nodal decides what is summed.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass

LYMPH_NODE = "lymph node"


@dataclass(frozen=True, kw_only=True)
class AnatomicSite:
    """A place in the body.

    Attributes
    ----------
    organ
        The organ that RECIST counts, lower case, without side: "lung", "liver", "lymph node" ...
    code, meaning
        SNOMED CT code and its words.
    is_nodal
        Whether it is a lymph node.
    """

    organ: str
    code: str
    meaning: str
    is_nodal: bool = False


# organ, SNOMED CT code (PS3.16 CID 4 and its context groups), meaning, words that name it.
_ORGAN_TABLE: tuple[tuple[str, str, str, str], ...] = (
    ("lung", "39607008", "Lung", "lung lungs pulmonary lunge rul rml rll lul lll lingula bronchopulmonary"),
    ("lung", "31094006", "Lobe of lung", "lobe_of_lung"),
    ("lung", "46750007", "Hilum of lung", "hilum_of_lung"),
    ("pleura", "3120008", "Pleura", "pleura pleural"),
    ("mediastinum", "72410000", "Mediastinum", "mediastinum mediastinal"),
    ("thymus", "9875009", "Thymus", "thymus thymic"),
    ("chest wall", "78904004", "Chest wall", "chest_wall"),
    ("trachea and bronchi", "44567001", "Trachea", "trachea tracheal"),
    ("trachea and bronchi", "955009", "Bronchus", "bronchus bronchi"),
    ("heart", "80891009", "Heart", "heart cardiac herz"),
    ("pericardium", "76848001", "Pericardium", "pericardium pericardial"),
    ("aorta", "15825003", "Aorta", "aorta"),
    ("liver", "10200004", "Liver", "liver hepatic leber hepar"),
    ("bile ducts and gallbladder", "28231008", "Gallbladder", "gallbladder"),
    ("bile ducts and gallbladder", "28273000", "Bile duct", "bile_duct biliary"),
    ("pancreas", "15776009", "Pancreas", "pancreas pancreatic pankreas"),
    ("spleen", "78961009", "Spleen", "spleen splenic milz"),
    ("kidney", "64033007", "Kidney", "kidney kidneys renal niere"),
    ("adrenal gland", "23451007", "Adrenal gland", "adrenal adrenals suprarenal nebenniere"),
    ("ureter", "87953007", "Ureter", "ureter"),
    ("bladder", "89837001", "Urinary bladder", "bladder blase"),
    ("stomach", "69695003", "Stomach", "stomach gastric magen"),
    ("esophagus", "32849002", "Esophagus", "esophagus oesophagus esophageal oesophageal"),
    ("small bowel", "30315005", "Small intestine", "small_bowel small_intestine ileal"),
    ("small bowel", "38848004", "Duodenum", "duodenum duodenal"),
    ("small bowel", "21306003", "Jejunum", "jejunum"),
    ("small bowel", "34516001", "Ileum", "ileum"),
    ("colon and rectum", "71854001", "Colon", "colon colonic bowel cecum caecum sigmoid"),
    ("colon and rectum", "34402009", "Rectum", "rectum rectal"),
    ("peritoneum", "15425007", "Peritoneum", "peritoneum peritoneal"),
    ("peritoneum", "83670000", "Peritoneal cavity", "peritoneal_cavity"),
    ("peritoneum", "27398004", "Omentum", "omentum omental"),
    ("retroperitoneum", "82849001", "Retroperitoneum", "retroperitoneum retroperitoneal"),
    ("brain", "12738006", "Brain", "brain cerebral cerebellar intracranial gehirn hirn"),
    ("meninges", "1231004", "Meninges", "meninges meningeal dural"),
    ("spinal cord", "2748008", "Spinal cord", "spinal_cord myelon"),
    ("bone", "272673000", "Bone", "bone bones osseous skeletal knochen"),
    ("bone", "51282000", "Vertebra", "vertebra vertebrae vertebral"),
    ("bone", "421060004", "Spine", "spine"),
    ("bone", "1217257000", "Cervicothoracic spine", "cervicothoracic_spine"),
    ("bone", "113197003", "Rib", "rib ribs"),
    ("bone", "118645006", "Bony pelvis", "bony_pelvis"),
    ("bone", "71341001", "Femur", "femur"),
    ("breast", "76752008", "Breast", "breast mamma"),
    ("prostate", "41216001", "Prostate", "prostate prostatic"),
    ("testis", "40689003", "Testis", "testis testicular"),
    ("ovary", "15497006", "Ovary", "ovary ovaries ovarian"),
    ("uterus", "35039007", "Uterus", "uterus uterine"),
    ("uterus", "71252005", "Cervix uteri", "cervix"),
    ("vagina", "76784001", "Vagina", "vagina"),
    ("thyroid", "69748006", "Thyroid", "thyroid"),
    ("salivary gland", "385294005", "Salivary gland", "salivary"),
    ("salivary gland", "45289007", "Parotid gland", "parotid parotis"),
    ("salivary gland", "54019009", "Submandibular gland", "submandibular"),
    ("pharynx", "54066008", "Pharynx", "pharynx pharyngeal"),
    ("pharynx", "55940004", "Pharyngeal tonsil", "adenoid"),
    ("pharynx", "75573002", "Palatine tonsil", "tonsil"),
    ("pharynx", "360955006", "Nasopharynx", "nasopharynx nasopharyngeal"),
    ("pharynx", "31389004", "Oropharynx", "oropharynx oropharyngeal"),
    ("pharynx", "81502006", "Hypopharynx", "hypopharynx"),
    ("larynx", "4596009", "Larynx", "larynx laryngeal"),
    ("oral cavity", "21974007", "Tongue", "tongue"),
    ("oral cavity", "47975008", "Base of tongue", "base_of_tongue"),
    ("paranasal sinus", "2095001", "Paranasal sinus", "paranasal_sinus"),
    ("orbit", "363654007", "Orbit", "orbit orbital"),
    ("skin", "39937001", "Skin", "skin cutaneous subcutaneous"),
    ("soft tissue", "87784001", "Soft tissue", "soft_tissue"),
    ("soft tissue", "71616004", "Muscle", "muscle muscular"),
)

# The same in French, Spanish, Italian, Portuguese, Dutch, Polish and Russian, and more German.
_ORGAN_WORDS_ABROAD = {
    "39607008": "poumon poumons pulmón pulmones polmone polmoni pulmão pulmões płuco лёгкое лёгкие",
    "72410000": "médiastin mediastino средостение",
    "80891009": "cœur coeur corazón cuore coração hart serce сердце",
    "15825003": "hauptschlagader aorte аорта аорты",
    "10200004": "foie hépatique hígado hepático fegato epatico fígado lever wątroba печень печени",
    "28231008": "gallenblase vesícula colecisti galblaas желчный_пузырь",
    "15776009": "pancréas páncreas pâncreas alvleesklier trzustka поджелудочная",
    "78961009": "rate splénique bazo milza baço milt śledziona селезёнка селезёнки",
    "64033007": "rein reins rénal riñón riñones renale reni rins nier nieren nerka nerki почка почки",
    "23451007": "surrénale surrénales suprarrenal surrene surreni bijnier nadnercze надпочечник",
    "89837001": "harnblase vessie vejiga vescica bexiga blaas pęcherz пузырь",
    "69695003": "estomac estómago stomaco estômago maag żołądek желудок",
    "12738006": "cerveau cerebro cervello cérebro hersenen mózg мозг",
    "272673000": "os hueso osso ossa bot kość кость",
    "41216001": "prostata prostate próstata простата",
    "76752008": "sein mamella borst",
    "35039007": "gebärmutter utérus útero utero baarmoeder macica матка",
    "15497006": "eierstock ovaire ovario ovário eierstok jajnik яичник",
    "69748006": "schilddrüse thyroïde tiroides tiroide tireoide schildklier tarczyca щитовидная",
}

# SNOMED CT code, meaning, words that name the region beside "lymph node".
_NODE_TABLE: tuple[tuple[str, str, str], ...] = (
    ("59441001", "Lymph node", ""),
    ("62683002", "Mediastinal lymph node", "mediastinal mediastinum"),
    ("53074004", "Hilar lymph node", "hilar"),
    ("65690001", "Paratracheal lymph node", "paratracheal"),
    ("47109002", "Lymph node of thorax", "thoracic"),
    ("68171009", "Axillary lymph node", "axillary axilla"),
    ("81105003", "Cervical lymph node", "cervical neck"),
    ("58130000", "Jugular lymph node", "jugular"),
    ("59503006", "Submandibular lymph node", "submandibular"),
    ("818991007", "Abdominal lymph node", "abdominal"),
    ("91394001", "Retroperitoneal lymph node", "retroperitoneal"),
    ("35783009", "Aortic lymph node", "paraaortic aortic"),
    ("279795009", "Lymph node of mesentery", "mesenteric"),
    ("54268001", "Pelvic lymph node", "pelvic"),
    ("84219008", "Iliac lymph node", "iliac"),
    ("8928004", "Inguinal lymph node", "inguinal groin"),
)

_NODAL_WORDS = frozenset({
    "ln", "lns", "lnn", "lk", "node", "nodes", "nodal", "lymph", "lymphnode", "lymphnodes", "lymphknoten",
    "lymphadenopathy", "adenopathy", "gtvn", "gtvnd", "gtvln", "ganglion", "ganglions", "ganglio",
    "ganglios", "adenopathie", "adenopathies", "adenopatia", "adenopatias", "linfonodo", "linfonodi",
    "linfadenopatia", "lymfeklier", "lymfklier", "лимфоузел", "лимфоузлы", "лимфатическии",
})  # fmt: skip
_CONDUCTION_NODES = frozenset({"sa", "av", "sinoatrial", "atrioventricular", "cardiac"})

_LATERALITY = {
    "left": "left", "lt": "left", "li": "left", "links": "left", "l": "left", "lul": "left", "lll": "left",
    "lingula": "left",
    "right": "right", "rt": "right", "re": "right", "rechts": "right", "r": "right", "rul": "right",
    "rml": "right", "rll": "right",
    "bilateral": "bilateral", "both": "bilateral",
    "gauche": "left", "izquierdo": "left", "izquierda": "left", "sinistro": "left", "sinistra": "left",
    "esquerdo": "left", "esquerda": "left", "лево": "left", "левыи": "left", "левая": "left",
    "droit": "right", "droite": "right", "derecho": "right", "derecha": "right", "destro": "right",
    "destra": "right", "direito": "right", "direita": "right", "правыи": "right", "правая": "right",
}  # fmt: skip

_BY_CODE = {
    **{code: AnatomicSite(organ=o, code=code, meaning=m) for o, code, m, _ in _ORGAN_TABLE},
    **{
        code: AnatomicSite(organ=LYMPH_NODE, code=code, meaning=m, is_nodal=True)
        for code, m, _ in _NODE_TABLE
    },
}


def folded(word: str) -> str:
    """A word without case, accents and compatibility forms: what words are compared by.

    >>> folded("Größe"), folded("Rate splénique")
    ('grosse', 'rate splenique')
    """
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


_BY_WORD = {
    folded(word): _BY_CODE[code]
    for code, words in (*((row[1], row[3]) for row in _ORGAN_TABLE), *_ORGAN_WORDS_ABROAD.items())
    for word in words.split()
}
_NODE_BY_WORD = {folded(word): _BY_CODE[code] for code, _, words in _NODE_TABLE for word in words.split()}

_LOBES = frozenset({"rul", "rml", "rll", "lul", "lll", "lingula", "lobe", "hilum"})
_ORGAN_PARTS = frozenset(part for phrase in _BY_WORD for part in phrase.split("_")) - _LOBES

# Chinese and Japanese write words without spaces between them: looked for anywhere, the longest first.
_UNSPACED = {
    "主动脉": "15825003", "主動脈": "15825003", "大動脈": "15825003", "脾": "78961009", "肝": "10200004",
    "肾上腺": "23451007", "腎上腺": "23451007", "副腎": "23451007", "肾": "64033007", "腎": "64033007",
    "肺": "39607008", "心脏": "80891009", "心臓": "80891009", "心臟": "80891009", "胰": "15776009",
    "膵": "15776009", "前列腺": "41216001", "子宫": "35039007", "子宮": "35039007", "卵巢": "15497006",
    "卵巣": "15497006", "甲状腺": "69748006", "膀胱": "89837001", "胆囊": "28231008", "胆嚢": "28231008",
    "胃": "69695003", "脑": "12738006", "脳": "12738006", "骨": "272673000", "纵隔": "72410000",
    "縦隔": "72410000",
}  # fmt: skip
_UNSPACED_NODES = ("淋巴结", "淋巴結", "リンパ節")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name that people or programs wrote, lower case, in any script.

    >>> words_of("GTV_Mass-CT2"), words_of("LeftLung")
    (('gtv', 'mass', 'ct'), ('left', 'lung'))
    """
    spaced = re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])", " ", unicodedata.normalize("NFKC", name))
    return tuple(re.findall(r"[^\W\d_]+", spaced.lower()))


def site_of_code(code: str) -> AnatomicSite | None:
    """The site of a SNOMED CT code, None if this table doesn't hold it."""
    return _BY_CODE.get(code)


def site_of_words(text: str) -> AnatomicSite | None:
    """The site that free words name ("Tumor liver seg. IV", "LN_mediastinal"), None if they name none.

    Lymph nodes go first, with the region if it is said: "mediastinal LN" is a node, not the mediastinum.
    """
    words = [folded(word) for word in words_of(text)]
    if is_nodal_name(text):
        regions = [_NODE_BY_WORD[word] for word in words if word in _NODE_BY_WORD]
        return regions[0] if regions else _BY_CODE["59441001"]
    pairs = [f"{a}_{b}" for a, b in itertools.pairwise(words)]
    triples = [f"{a}_{b}_{c}" for a, b, c in zip(words, words[1:], words[2:], strict=False)]
    for phrase in (*triples, *pairs, *words):
        if phrase in _BY_WORD:
            return _BY_WORD[phrase]
    unspaced = [term for term in _UNSPACED if term in text]
    return _BY_CODE[_UNSPACED[max(unspaced, key=len)]] if unspaced else None


def site_of(code: str | None, words: str) -> AnatomicSite | None:
    """The site of a code if the table holds it, else of the words beside it."""
    known = site_of_code(code) if code else None
    return known or site_of_words(words)


def names_organ(word: str) -> bool:
    """Whether a single word, `folded`, is an organ's name."""
    return word in _BY_WORD


def is_side(word: str) -> bool:
    """Whether a word, `folded`, is that of a side; lobes say more."""
    return word in _LATERALITY and word not in _LOBES


def without_organs(word: str) -> str:
    """What a word, `folded`, says beside an organ; lobes are places in one and stay."""
    if word in _ORGAN_PARTS:
        return ""
    for term in sorted(_UNSPACED, key=len, reverse=True):
        word = word.replace(term, "")
    return word


def is_nodal_name(text: str) -> bool:
    """Whether free words name a lymph node: "LN_c40", "GTVn1", "GTV-N", "node 4R".

    The heart's sinoatrial and atrioventricular nodes are none.
    """
    words = [folded(word) for word in words_of(text)]
    if ("gtv", "n") in itertools.pairwise(words) or any(term in text for term in _UNSPACED_NODES):
        return True
    return bool(_NODAL_WORDS & set(words)) and not _CONDUCTION_NODES & set(words)


def laterality_of_words(text: str) -> str | None:
    """Give "left", "right" or "bilateral" if the words say so, None otherwise or if they say both sides."""
    words = [folded(word) for word in words_of(text)]
    sides = {_LATERALITY[word] for word in words if word in _LATERALITY}
    return sides.pop() if len(sides) == 1 else None
