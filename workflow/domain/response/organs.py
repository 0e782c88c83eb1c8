"""The organ that counts for two per organ: all nodes are one, paired organs are one (EORTC Q&A)."""

from __future__ import annotations

from functools import lru_cache

from workflow.domain.anatomy import LYMPH_NODE, site_of_words
from workflow.domain.response.timeline import Lesion


def rule_organ(lesion: Lesion) -> str:
    """The organ of a lesion as RECIST counts; "" where none is said."""
    return LYMPH_NODE if lesion.is_nodal else organ_of_words(lesion.organ)


@lru_cache(maxsize=1024)
def organ_of_words(words: str) -> str:
    """The organ that free words name, or the words themselves."""
    site = site_of_words(words)
    return site.organ if site else " ".join(words.lower().split())
