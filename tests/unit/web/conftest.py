"""Pages of a hospital that has no patient yet, and quick logins: tests log in often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from argon2 import PasswordHasher
from browser import csrf_token, open_browser
from courses import CourseOnly
from fastapi.testclient import TestClient
from hospital import Hospital

import db.passwords
from workflow.engine.context import Context


@pytest.fixture(autouse=True)
def hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash at the least cost that argon2 takes, but where attempts are counted: there the cost is tested."""
    if "attempts" not in request.fixturenames:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr(db.passwords, "_HASHER", cheap)


@pytest.fixture(scope="module")
def empty_context(tmp_path_factory) -> Context:
    """An installation whose database nobody writes to."""
    return Hospital(tmp_path_factory.mktemp("pages")).context


@pytest.fixture
def open_pages() -> Callable[[Context], TestClient]:
    """Open the pages of an installation, without a login; forms carry the page's token, as in a browser."""

    def pages(context: Context) -> TestClient:
        browser = open_browser(context, login=False)
        browser.headers["X-CSRF-Token"] = csrf_token(browser, "/api")
        return browser

    return pages


@pytest.fixture
def pages_of(empty_context, open_pages) -> Callable[..., TestClient]:
    """Open the pages of an installation with one patient, whose course is given."""

    def pages(course: dict[str, Any], **said: Any) -> TestClient:
        shown = CourseOnly(courses={1: course}, **said)
        return open_pages(replace(empty_context, overview=shown))

    return pages
