"""Which parts of the body a study or series shows, by what its headers say."""

from __future__ import annotations

import re

# Words in BodyPartExamined (PS3.16 annex L) and descriptions, English and German, that tell the region.
# Whole words only: "Beurteilung" is no lung. A study can show several regions; an unknown one is compared
# with everything, because a wrong "not comparable" makes old lesions look new.
_REGION_WORDS: dict[str, str] = {
    "head": "brain head skull cranium cerebrum kopf schaedel schädel hirn ccthirn neurocranium nnh",
    "neck": "neck hals larynx thyroid headneck",
    "chest": "chest thorax lung lungs pulmonary mediastinum breast heart thx lunge brust cap tap tabd "
    "chestabdpelvis chestabdomen thoraxabdomen",
    "abdomen": "abdomen abdominal abd liver kidney pancreas spleen leber oberbauch bauch cap tap ap tabd "
    "chestabdpelvis chestabdomen thoraxabdomen abdomenpelvis",
    "pelvis": "pelvis pelvic prostate bladder rectum uterus becken cap tap ap chestabdpelvis abdomenpelvis",
    "limb": "leg arm thigh knee hand foot ankle shoulder extremity femur bein oberschenkel",
}
_REGIONS_OF: dict[str, frozenset[str]] = {
    word: frozenset(region for region, words in _REGION_WORDS.items() if word in words.split())
    for words in _REGION_WORDS.values()
    for word in words.split()
}
_WHOLE_BODY = ("whole body", "wholebody", "ganzkoerper", "ganzkörper", "skullbase to thigh", "wb")


def regions_of(text: str) -> frozenset[str]:
    """Regions that a text names; empty if it names none."""
    words = re.findall(r"[a-zäöüß]+", text.lower())
    whole = f" {' '.join(words)} "
    if any(f" {name} " in whole for name in _WHOLE_BODY):
        return frozenset(_REGION_WORDS)
    return frozenset(region for word in words for region in _REGIONS_OF.get(word, ()))
