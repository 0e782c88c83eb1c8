"""Storage commitment (PS3.4 annex J): somebody takes over the responsibility for keeping instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

# Failure reasons, PS3.4 table J.3.3-1 and PS3.3 C.14.1.1.
FAILURE_WORDS = {
    0x0110: "processing failure",
    0x0112: "no such object",
    0x0213: "resource limitation",
    0x0122: "its kind of object is not supported",
    0x0119: "its SOP Class is another there",
    0x0131: "the request was sent twice",
}
NO_SUCH_OBJECT, OTHER_CLASS = 0x0112, 0x0119


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """The answer to a request: SOP Instance UIDs that are kept for good, and those that are not with why."""

    transaction_uid: str
    held: frozenset[str]
    failed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class AskedCommitment:
    """A request that waits for its answer, which may come long after, on another association."""

    transaction_uid: str
    asked_at: datetime
    sop_instance_uids: frozenset[str]


def failure_words(reason: int) -> str:
    """Why an instance is not committed, e.g. "no such object (0x0112)"."""
    return f"{FAILURE_WORDS.get(reason, 'not committed')} (0x{reason:04X})"
