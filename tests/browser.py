"""A browser on the pages, for tests: it keeps cookies and reads HTML, as people's do."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from workflow.domain.users import User, UserRole
from workflow.engine.context import Context
from workflow.web import make_app

PASSWORD = "a password for tests"
_TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')


def open_browser(
    context: Context, *, login: bool = True, host: str = "localhost:8080", scheme: str = "http"
) -> TestClient:
    """A browser that has visited nothing; `login` False is the demo, with its one user."""
    web = context.settings.web.model_copy(update={"login": login})
    app = make_app(context, context.settings.model_copy(update={"web": web}))
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    return TestClient(app, base_url=f"{scheme}://{host}", follow_redirects=False, headers=headers)


def csrf_token(browser: TestClient, path: str = "/account") -> str:
    """The token that a page gives to its forms and scripts."""
    found = _TOKEN.search(browser.get(path).text)
    assert found, f"{path} gives no token"
    return found[1]


def log_in(browser: TestClient, name: str, password: str = PASSWORD) -> TestClient:
    """Come in, and send the page's token from now on, as the pages' scripts do."""
    answered = browser.post("/login", data={"name": name, "password": password})
    assert answered.status_code == 303, answered.text
    browser.headers["X-CSRF-Token"] = csrf_token(browser)
    return browser


def open_as(context: Context, *roles: UserRole, name: str = "roe") -> TestClient:
    """A browser of somebody who has these roles, logged in; the account is opened if it is not there."""
    if not any(account.user.name == name for account in context.users.accounts()):
        user = User(name=name, full_name=f"Dr. {name.title()}", roles=frozenset(roles))
        context.users.add(user, PASSWORD, by="test")
    return log_in(open_browser(context), name)
