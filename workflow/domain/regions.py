"""Regions of the body, out of what sites write into headers."""

from __future__ import annotations

import re

# Words in BodyPartExamined (PS3.16 annex L) and descriptions, in several languages, that tell the region.
# Whole words only: "Beurteilung" is no lung. A series can show several regions.
_REGION_WORDS: dict[str, str] = {
    "head": "brain head skull cranium cerebrum kopf schaedel schädel hirn ccthirn neurocranium nnh "
    "crane cerveau craneo cerebro cranio encefalo hoofd",
    "neck": "neck hals larynx thyroid headneck cou cuello collo nek",
    "chest": "chest ch chst thor thorax thoracic lung lungs pulmonary mediastinum breast heart thx lunge "
    "brust torax torace thorac poumon pulmon polmone cap tap tabd chestabdpelvis chestabdomen thoraxabdomen",
    "abdomen": "abdomen abdominal abd abdo liver hepatic kidney pancreas spleen leber oberbauch bauch addome "
    "buik foie higado fegato cap tap ap tabd chestabdpelvis chestabdomen thoraxabdomen abdomenpelvis",
    "pelvis": "pelvis pelvic pel pelv prostate bladder rectum uterus becken bassin bacino bekken cap tap ap "
    "chestabdpelvis abdomenpelvis",
    "limb": "leg arm thigh knee hand foot ankle shoulder extremity femur bein oberschenkel",
}
_REGIONS_OF: dict[str, frozenset[str]] = {
    word: frozenset(region for region, words in _REGION_WORDS.items() if word in words.split())
    for words in _REGION_WORDS.values()
    for word in words.split()
}
_WHOLE_BODY = ("whole body", "wholebody", "ganzkoerper", "ganzkörper", "skullbase to thigh", "wb")


def regions_in(text: str) -> frozenset[str]:
    """Regions that a text names; empty if it names none, all of them for a whole body."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    spaced = f" {' '.join(words)} "
    if any(f" {name} " in spaced for name in _WHOLE_BODY):
        return frozenset(_REGION_WORDS)
    return frozenset(region for word in words for region in _REGIONS_OF.get(word, ()))
