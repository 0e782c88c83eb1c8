"""Pages of a hospital that has no patient yet; tests that need patients make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from browser import csrf_token, open_browser
from courses import CourseOnly
from fastapi.testclient import TestClient
from hospital import Hospital

from workflow.engine.context import Context


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
