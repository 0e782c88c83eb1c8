"""Passwords: hashed by argon2id, and checked one at a time."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106, section 4, second recommended option: 64 MiB, some 50 ms. Written down, so that an update of the
# library changes neither the cost of an attempt nor the hash below.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
# Of nobody's password: a name without an account costs as much as one with.
NOBODYS_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$qE7qiaQa3XLhqyF9vHO/tQ$nLhNPDRLqdpEee2K0OaSm2GJIqpWNBtlpCJIcb9/S1Q"
)


def hash_of(password: str) -> str:
    """A salted hash to be kept, with its parameters in it."""
    return _HASHER.hash(password)


def matches(password_hash: str, password: str) -> bool:
    """Whether a password is the one that was hashed, in constant time."""
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(password_hash: str) -> bool:
    """Whether a hash was made at another cost than today's."""
    return _HASHER.check_needs_rehash(password_hash)
