"""Tests of the pages log in often, and each of them hashes a password."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

import db.passwords


@pytest.fixture(autouse=True)
def hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash at the least cost that argon2 takes, but where attempts are counted: there the cost is tested."""
    if "attempts" not in request.fixturenames:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr(db.passwords, "_HASHER", cheap)
