"""Who may see the pages: people who log in, while they are there, and scripts that say who they are."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from browser import PASSWORD, csrf_token, log_in, open_as, open_browser
from fastapi import Depends, FastAPI, Form
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from hospital import rows
from sqlalchemy import select
from typer.testing import CliRunner

import db.users
from db.passwords import NOBODYS_HASH, hash_of, is_outdated, matches
from db.tables import AuditRow, FailedLoginsRow, LoginSessionRow
from workflow import cli
from workflow.bootstrap import build, utc_now
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.users import AttemptsOf, User, UserRole, wait_after, why_no_name
from workflow.engine.context import Context
from workflow.engine.first_account import first_password, how_to_log_in
from workflow.ports import LoginRefusedError
from workflow.settings import load_settings
from workflow.web.access import COOKIE, DEMO_USER, Access, csrf_token_of
from workflow.web.gate import Gate, allowed_hosts
from workflow.web.login import local_path

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """The database of an installation that nobody has used."""
    home = tmp_path_factory.mktemp("empty")
    build(load_settings(None, home=home))
    return home / "tumorline.db"


@pytest.fixture
def context(tmp_path, empty, clock, hashing) -> Context:
    (tmp_path / "home").mkdir()
    shutil.copy(empty, tmp_path / "home")
    context = build(load_settings(None, home=tmp_path / "home"))
    context = replace(context, users=replace(context.users, clock=clock))
    user = User(name="roe", full_name="Dr. Roe", roles=frozenset({UserRole.READER}))
    context.users.add(user, PASSWORD, by="test")
    return context


@pytest.fixture
def attempts(monkeypatch) -> list[str]:
    """The hashes that passwords are tried on from now on: what an attempt costs."""
    tried: list[str] = []

    def counted(password_hash: str, password: str) -> bool:
        tried.append(password_hash)
        return matches(password_hash, password)

    monkeypatch.setattr(db.users, "matches", counted)
    return tried


@pytest.fixture
def quick(monkeypatch) -> None:
    """Hashes that cost nothing, for tests of many attempts."""
    monkeypatch.setattr(db.users, "matches", lambda kept, given: given == PASSWORD and kept != NOBODYS_HASH)


def audit(context: Context) -> list[tuple[str, str, str]]:
    with rows(context) as session:
        found = session.scalars(select(AuditRow).order_by(AuditRow.id))
        return [(row.actor, row.action, row.object) for row in found]


def is_inside(browser: TestClient) -> bool:
    return browser.get("/account").status_code == 200


# ---------------------------------------------------------------- coming in and going out


def test_who_asks_for_a_page_is_sent_to_the_login_and_from_there_to_the_page(context):
    browser = open_browser(context)
    sent = browser.get("/patients/7?tab=plots")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/login?next=/patients/7%3Ftab%3Dplots")
    form = browser.get(sent.headers["Location"]).text
    wanted = re.search(r'name="next" value="([^"]+)"', form)[1]
    came = browser.post("/login", data={"name": "roe", "password": PASSWORD, "next": wanted})
    assert (came.status_code, came.headers["Location"]) == (303, "/patients/7?tab=plots")
    assert "Dr. Roe" in browser.get("/").text


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "javascript:alert(1)",
     "", "x", "/\n/evil.example", " //evil.example"],
)  # fmt: skip
def test_the_login_leads_to_no_other_site(path):
    assert local_path(path) == "/"


def test_the_cookie_is_kept_from_scripts_and_from_other_sites_forms(context):
    for scheme, is_secure in (("http", False), ("https", True)):
        browser = open_browser(context, scheme=scheme)
        kept = browser.post("/login", data={"name": "roe", "password": PASSWORD}).headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(kept.split("; "))
        assert ("Secure" in kept) is is_secure


def test_who_reads_the_database_can_not_come_in_with_what_is_there(context):
    browser = open_as(context)
    token = browser.cookies[COOKIE]
    with rows(context) as session:
        (kept,) = session.scalars(select(LoginSessionRow.token_sha256))
    assert kept == hashlib.sha256(token.encode()).hexdigest()
    database = context.settings.home / "tumorline.db"
    with sqlite3.connect(database) as connection:
        everything = "\n".join(connection.iterdump())
    connection.close()
    assert "$argon2id$" in everything
    assert not any(secret in everything for secret in (token, PASSWORD, csrf_token(browser)))
    stranger = open_browser(context)
    stranger.cookies[COOKIE] = kept
    assert not is_inside(stranger)


def test_a_session_that_was_put_there_before_the_login_opens_nothing_after_it(context):
    attacker = open_as(context, name="attacker")
    planted = attacker.cookies[COOKIE]
    victim = open_browser(context)
    victim.cookies.set(COOKIE, planted, domain="localhost.local")
    log_in(victim, "roe")
    assert victim.cookies.get(COOKIE, domain="localhost.local") != planted
    assert not is_inside(attacker)


def test_logging_out_ends_the_session_and_not_the_cookie_alone(context):
    browser = open_as(context)
    token = browser.cookies[COOKIE]
    assert browser.post("/logout").headers["Location"] == "/login"
    browser.cookies[COOKIE] = token
    assert not is_inside(browser)


def test_a_session_ends_when_nobody_uses_it_and_after_a_day_in_any_case(context, clock):
    browser = open_as(context)
    clock.pass_by(minutes=59)
    assert is_inside(browser)
    clock.pass_by(minutes=59)
    assert is_inside(browser)
    clock.pass_by(minutes=61)
    assert not is_inside(browser)
    log_in(browser, "roe")
    for _ in range(23):
        clock.pass_by(minutes=30)
        assert is_inside(browser)
    clock.pass_by(minutes=31)
    assert not is_inside(browser)


def test_a_closed_account_is_outside_at_once_and_roles_hold_from_the_next_request(context):
    browser = open_as(context)
    assert "reader" in browser.get("/account").text
    context.users.set_roles("roe", [UserRole.OPERATOR], by="test")
    assert "operator" in browser.get("/account").text
    context.users.set_disabled("roe", is_disabled=True, by="test")
    assert not is_inside(browser)
    assert browser.post("/login", data={"name": "roe", "password": PASSWORD}).status_code == 401
    context.users.set_disabled("roe", is_disabled=False, by="test")
    assert not is_inside(browser)
    assert is_inside(log_in(browser, "roe"))


def test_a_new_password_ends_every_session_but_the_one_that_chose_it(context):
    here, elsewhere = open_as(context), open_as(context)
    new = {"new": "another password", "again": "another password"}
    assert here.post("/account", data={"former": "wrong", **new}).status_code == 403
    assert here.post("/account", data={"former": PASSWORD, **new, "again": "x"}).status_code == 422
    assert (
        here.post("/account", data={"former": PASSWORD, "new": "short", "again": "short"}).status_code == 422
    )
    assert is_inside(elsewhere)
    former_session = here.cookies[COOKIE]
    assert (
        here.post("/account", data={"former": PASSWORD, **new}).headers["Location"] == "/account?changed=yes"
    )
    assert is_inside(here)
    assert here.cookies[COOKIE] != former_session
    assert not is_inside(elsewhere)
    with pytest.raises(LoginRefusedError):
        context.users.log_in("roe", PASSWORD, HERE)
    context.users.log_in("roe", "another password", HERE)


def test_coming_in_and_going_out_is_audited_and_what_was_typed_is_not(context):
    open_as(context).post("/logout")
    browser = open_browser(context)
    browser.post("/login", data={"name": "roe", "password": "wrong"})
    browser.post("/login", data={"name": "my secret in the wrong field", "password": "wrong"})
    assert audit(context)[1:] == [
        ("roe", "logged in", "roe"),
        ("roe", "logged out", "roe"),
        ("roe", "login failed", "roe"),
        ("no such account", "login failed", "no such account"),
    ]
    with rows(context) as session:
        kept = [row.of for row in session.scalars(select(FailedLoginsRow))]
    assert not any("secret" in of for of in kept)


# ---------------------------------------------------------------- guessing


def test_a_name_without_an_account_gets_the_same_answer_at_the_same_cost(context, attempts):
    context.users.add(User(name="gone"), PASSWORD, by="test")
    context.users.set_disabled("gone", is_disabled=True, by="test")
    answers = set()
    for name, password in (
        ("roe", "wrong"),
        ("nobody", "wrong"),
        ("gone", PASSWORD),
        ("a:b", "x"),
        ("\0", "x"),
    ):
        attempts.clear()
        answered = open_browser(context).post("/login", data={"name": name, "password": password})
        shown = answered.text.replace(f'value="{name}"', 'value=""')
        answers.add((answered.status_code, shown, len(attempts), attempts[0].split("$")[3]))
    assert len(answers) == 1


def test_nobodys_hash_costs_what_others_do(attempts):
    assert not is_outdated(NOBODYS_HASH)
    assert not is_outdated(hash_of("x"))


@pytest.mark.parametrize(
    ("failures", "of", "wait_s"),
    [(4, AttemptsOf.NAME, 0), (5, AttemptsOf.NAME, 30), (6, AttemptsOf.NAME, 60), (9, AttemptsOf.NAME, 480),
     (10, AttemptsOf.NAME, 900), (10_000, AttemptsOf.NAME, 900), (30, AttemptsOf.ADDRESS, 0),
     (31, AttemptsOf.ADDRESS, 30)],
)  # fmt: skip
def test_each_failure_too_many_doubles_the_wait(failures, of, wait_s):
    assert wait_after(failures, of) == timedelta(seconds=wait_s)


@pytest.mark.parametrize("name", ["roe", "nobody"])
def test_after_five_wrong_passwords_a_name_waits_ever_longer(context, clock, quick, name):
    browser = open_browser(context)

    def try_(password: str = "wrong") -> tuple[int, str | None]:
        answered = browser.post("/login", data={"name": name, "password": password})
        return answered.status_code, answered.headers.get("Retry-After")

    assert [try_()[0] for _ in range(5)] == [401] * 5
    assert try_(PASSWORD) == (429, "30")
    clock.pass_by(seconds=29)
    assert try_(PASSWORD) == (429, "1")
    clock.pass_by(seconds=1)
    assert try_() == (401, None)
    assert try_(PASSWORD) == (429, "60")
    clock.pass_by(seconds=60)
    assert try_(PASSWORD)[0] == (303 if name == "roe" else 401)
    if name == "roe":  # and everything is forgotten
        browser.cookies.clear()
        assert [try_()[0] for _ in range(5)] == [401] * 5


def test_many_attempts_at_once_do_not_slip_past_the_limit(context, attempts, monkeypatch):
    monkeypatch.setattr(db.users, "matches", lambda *given: attempts.append(given[0]) or False)

    def try_(_: int) -> int:
        try:
            context.users.log_in("roe", "wrong", HERE)
        except LoginRefusedError as refused:
            return refused.wait_s
        return -1

    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(try_, range(24)))
    assert len(attempts) == waits.count(0) == 5


def test_who_tries_many_names_from_one_address_waits_and_others_do_not(context, quick):
    for number in range(31):
        with pytest.raises(LoginRefusedError, match="wrong"):
            context.users.log_in(f"name {number}", "wrong", HERE)
    with pytest.raises(LoginRefusedError, match="wait 30 s"):
        context.users.log_in("roe", PASSWORD, HERE)
    assert context.users.log_in("roe", PASSWORD, THERE)


def test_the_addresses_of_one_ipv6_network_are_one(context, quick):
    for number in range(31):
        with pytest.raises(LoginRefusedError, match="wrong"):
            context.users.log_in(f"name {number}", "wrong", f"2001:db8:1:2::{number:x}")
    with pytest.raises(LoginRefusedError, match="wait"):
        context.users.log_in("roe", PASSWORD, "2001:db8:1:2:3::1")
    assert context.users.log_in("roe", PASSWORD, "2001:db8:1:3::1")


def test_right_passwords_are_no_failures_of_their_address(context, quick):
    for _ in range(40):
        context.users.log_in("roe", PASSWORD, HERE)
    with rows(context) as session:
        assert [row.count for row in session.scalars(select(FailedLoginsRow))] == [0]


def test_an_administrator_unlocks_a_name(context, quick):
    for _ in range(5):
        with pytest.raises(LoginRefusedError):
            context.users.log_in("roe", "wrong", HERE)
    (account,) = context.users.accounts()
    assert account.failed_attempts == 5
    context.users.unlock("roe", by="test")
    assert context.users.log_in("roe", PASSWORD, HERE)


# ---------------------------------------------------------------- scripts


def test_a_script_sends_its_password_with_each_request_and_one_of_them_costs(context, attempts):
    script = open_browser(context)
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(lambda _: script.get("/api/status", auth=("roe", PASSWORD)).status_code, range(24))
        )
    assert (set(codes), len(attempts)) == ({200}, 1)


def test_a_script_is_outside_as_soon_as_its_password_is_another(context):
    script = open_browser(context)

    def code(password: str) -> int:
        return script.get("/api/status", auth=("roe", password)).status_code

    assert code(PASSWORD) == 200
    context.users.set_password("roe", "another password", by="test")
    assert (code(PASSWORD), code("another password")) == (401, 200)
    context.users.set_disabled("roe", is_disabled=True, by="test")
    assert code("another password") == 401


def test_pages_take_no_password_of_a_script(context):
    browser = open_browser(context)
    assert browser.get("/", auth=("roe", PASSWORD)).status_code == 303
    assert browser.post("/logout", auth=("roe", PASSWORD)).status_code == 401


def test_programs_are_answered_in_json_and_browsers_open_no_window_of_their_own(context):
    browser = open_browser(context)
    refused = browser.get("/api/status")
    assert (refused.status_code, refused.json()) == (401, {"detail": "log in first"})
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    for_a_page = browser.get("/api/status", headers={"Sec-Fetch-Mode": "cors"})
    assert for_a_page.status_code == 401
    assert "WWW-Authenticate" not in for_a_page.headers
    wrong = browser.get("/api/status", auth=("roe", "wrong"))
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "the name or the password is wrong"})


# ---------------------------------------------------------------- other sites


PATHS = ("/page", "/api/probe", "/dicom-web/studies")


@pytest.fixture
def probe(context) -> Callable[..., tuple[TestClient, str]]:
    """A small application behind the real access and gate, and the token of who uses it."""

    def made(*, login: bool) -> tuple[TestClient, str]:
        web = context.settings.web.model_copy(update={"login": login})
        access = Access(context.settings.model_copy(update={"web": web}), context.users)

        def write(user: User = Depends(access.user), said: str = Form("")) -> str:
            return f"{user.name} wrote {said}"

        app = FastAPI()
        app.add_middleware(Gate, hosts=allowed_hosts(web))
        for path in PATHS:
            app.get(path, dependencies=[Depends(access.user)])(lambda: "read")
            app.post(path)(write)
        client = TestClient(app, base_url="http://localhost:8080")
        if not login:
            return client, access._demo_token
        client.cookies[COOKIE] = context.users.log_in("roe", PASSWORD, HERE)
        return client, csrf_token_of(client.cookies[COOKIE])

    return made


@pytest.mark.parametrize(("login", "path"), list(product((True, False), PATHS)))
def test_what_changes_something_needs_the_pages_token_with_and_without_a_login(probe, login, path):
    client, token = probe(login=login)
    name = "roe" if login else DEMO_USER.name
    assert client.get(path).status_code == 200
    for wrong in ({}, {"csrf_token": ""}, {"csrf_token": "0" * 64}, {"csrf_token": "é"}):
        assert client.post(path, data={"said": "x", **wrong}).status_code == 403
        in_header = {"X-CSRF-Token": wrong.get("csrf_token", "").encode()}
        assert client.post(path, headers=in_header).status_code == 403
    by_form = client.post(path, data={"said": "x", "csrf_token": token})
    by_script = client.post(path, data={"said": "x"}, headers={"X-CSRF-Token": token})
    assert by_form.json() == by_script.json() == f"{name} wrote x"


def test_another_sessions_token_is_none(probe, context):
    client, token = probe(login=True)
    client.cookies[COOKIE] = context.users.log_in("roe", PASSWORD, HERE)
    assert client.post("/page", headers={"X-CSRF-Token": token}).status_code == 403


def test_a_script_with_a_password_needs_no_token(probe):
    client, _ = probe(login=True)
    client.cookies.clear()
    assert client.post("/api/probe", auth=("roe", PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost"},
     {"Origin": "http://localhost:8080.evil.example"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_another_sites_page_writes_nothing_even_with_the_token_or_a_password(probe, headers):
    client, token = probe(login=True)
    given = {"X-CSRF-Token": token}
    assert client.post("/page", headers={**headers, **given}).status_code == 403
    assert client.post("/api/probe", headers=headers, auth=("roe", PASSWORD)).status_code == 403
    own = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/page", headers={**own, **given}).status_code == 200


def test_a_viewer_of_our_own_origin_stores_without_the_token_and_pages_do_not(probe):
    client, _ = probe(login=True)
    own = {"Origin": "http://localhost:8080"}
    assert client.post("/dicom-web/studies", headers=own).status_code == 200
    assert client.post("/dicom-web/studies", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 403
    assert client.post("/api/probe", headers=own).status_code == 403


def test_another_site_logs_nobody_in(context):
    form = {"name": "roe", "password": PASSWORD}
    browser = open_browser(context)
    assert browser.post("/login", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert COOKIE not in browser.cookies


OURS = ("localhost", "127.0.0.1:8080", "[::1]:8080", "tumor.example", "TUMOR.example:443", "192.0.2.7")
NOT_OURS = (
    "evil.example",
    "tumor.example.evil.example",
    "localhost.evil.example:8080",
    "",
    "tumor.example:x",
)


@pytest.mark.parametrize("login", [True, False])
def test_only_names_that_were_set_are_answered(context, login):
    web = context.settings.web.model_copy(update={"allowed_hosts": ("Tumor.example",), "host": "192.0.2.7"})
    context = replace(context, settings=context.settings.model_copy(update={"web": web}))
    browser = open_browser(context, login=login)
    answers = {host: browser.get("/health", headers={"Host": host}).status_code for host in OURS + NOT_OURS}
    assert answers == dict.fromkeys(OURS, 200) | dict.fromkeys(NOT_OURS, 400)


def test_a_body_without_end_is_not_read_to_its_end(context):
    large = open_browser(context).post("/login", headers={"Content-Length": str(10**9)})
    assert large.status_code == 413
    taken = 0

    async def reads_all(scope, receive, send) -> None:
        nonlocal taken
        while (message := await receive())["type"] == "http.request":
            taken += len(message["body"])

    async def endless() -> dict:
        return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

    async def send(message: dict) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/login", "headers": [(b"host", b"localhost")]}
    asyncio.run(Gate(reads_all, ["localhost"])(scope, endless, send))
    assert taken == 4_000_000


# ---------------------------------------------------------------- every route


def _routes(browser: TestClient) -> list[tuple[str, str, list[str]]]:
    """Every method and path of the application, with the names of the parts of it that are keys of rows."""
    return [
        (method, route.path, [p.name for p in route.dependant.path_params if p.field_info.annotation is int])
        for route in iter_route_contexts(browser.app.routes)
        if isinstance(route.original_route, APIRoute)
        for method in sorted(route.methods)
    ]


def _with(path: str, keys: Sequence[str] = (), key: object = 1) -> str:
    return re.sub(r"\{(\w+)\}", lambda part: str(key if part[1] in keys else 1), path)


MACHINES = {("GET", path) for path in ("/health", "/healthz", "/readyz", "/metrics")}
PUBLIC = {("GET", "/login"), ("POST", "/login"), ("GET", "/palette.css")} | MACHINES


def test_no_route_but_the_login_answers_a_stranger(context):
    browser = open_browser(context)
    answered = {(m, p): browser.request(m, _with(p)).status_code for m, p, _ in _routes(browser)}
    assert len(answered) > 8
    inside = {route for route, code in answered.items() if code not in (303, 401)}
    assert inside == PUBLIC - {("POST", "/login")}


def test_no_route_writes_without_the_pages_token(context):
    browser = open_as(context, UserRole.ADMINISTRATOR, name="admin")
    del browser.headers["X-CSRF-Token"]
    writes = [(m, p) for m, p, _ in _routes(browser) if m not in ("GET", "HEAD") and (m, p) not in PUBLIC]
    assert writes
    assert {(m, p): browser.request(m, _with(p)).status_code for m, p in writes} == dict.fromkeys(writes, 403)


@pytest.mark.parametrize("key", [99999999999999999999, 2**31, 0, -1, "abc"])
def test_a_key_that_no_row_can_have_is_not_found(context, key):
    browser = open_as(context, UserRole.ADMINISTRATOR, name="admin")
    tried = [(method, _with(path, keys, key)) for method, path, keys in _routes(browser) if keys]
    assert len(tried) > 2
    assert {route: browser.request(*route).status_code for route in tried} == dict.fromkeys(tried, 404)


# ---------------------------------------------------------------- answers


def test_errors_are_pages_for_people_and_json_for_programs(context):
    browser = open_as(context)
    page = browser.get("/patients/99")
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    assert "Dr. Roe" in browser.get("/no/such/page").text
    assert browser.get("/api/patients/99").json() == {"detail": "there is no such patient"}
    assert browser.get("/api/nothing").json() == {"detail": "Not Found"}
    wrong = browser.post("/account", data={"former": "x" * 2000})
    assert wrong.status_code == 422
    assert "x" * 2000 not in wrong.text


@pytest.mark.parametrize("path", ["/", "/api/worklist"])
def test_a_defect_tells_nothing_of_itself(context, path):
    def broken(*_: object) -> None:
        raise ValueError("Doe^Jane in /srv/secret")

    worklist, overview = copy(context.worklist), copy(context.overview)
    object.__setattr__(worklist, "page", broken)
    object.__setattr__(overview, "worklist", broken)
    log_in(browser := open_browser(replace(context, worklist=worklist, overview=overview)), "roe")
    quiet = TestClient(browser.app, base_url=browser.base_url, raise_server_exceptions=False)
    quiet.cookies, quiet.headers = browser.cookies, browser.headers
    answered = quiet.get(path)
    assert answered.status_code == 500
    assert "Doe" not in answered.text
    assert "secret" not in answered.text
    assert "default-src 'none'" in answered.headers["Content-Security-Policy"]
    assert answered.headers["Content-Type"].startswith("application/json" if "api" in path else "text/html")


def test_a_part_of_a_page_is_sent_to_the_login_as_a_whole(context):
    answered = open_browser(context).get("/", headers={"HX-Request": "true"})
    assert (answered.status_code, answered.headers["HX-Redirect"]) == (401, "/login")


def test_the_demo_has_one_user_and_says_so(context):
    browser = open_browser(context, login=False)
    assert "no login" in browser.get("/").text
    assert browser.get("/login").headers["Location"] == "/"


# ---------------------------------------------------------------- accounts


def test_the_first_account_is_an_administrator_whose_password_stays_what_it_was_changed_to(tmp_path):
    settings = load_settings(None, home=tmp_path / "home", web={"username": "chief"})
    context = build(settings)
    browser = log_in(open_browser(context), "chief", first_password(settings))
    assert "administrator" in browser.get("/account").text
    assert (
        how_to_log_in(context.users, settings) == f"chief, password in {tmp_path / 'home' / 'web-password'}"
    )
    context.users.set_password("chief", "another password", by="test")
    assert "that was chosen" in how_to_log_in(context.users, settings)
    log_in(open_browser(context), "chief", "another password")
    assert len(context.users.accounts()) == 1


def test_where_there_are_accounts_no_first_one_is_opened(context):
    open_browser(context)
    assert [account.user.name for account in context.users.accounts()] == ["roe"]
    assert not (context.settings.home / "web-password").exists()
    assert "tumorline users list" in how_to_log_in(context.users, context.settings)


@pytest.mark.parametrize("name", ["", " roe", "a:b", "x" * 65, "a\0b", "a\nb"])
def test_a_name_that_could_not_log_in_or_sign_is_refused(name):
    assert why_no_name(name)
    assert not why_no_name("Dr. Röe")


def test_names_that_differ_in_case_alone_are_one(context):
    with pytest.raises(UnsuitableInputError, match="roe already"):
        context.users.add(User(name="ROE"), PASSWORD, by="test")


def test_accounts_are_managed_by_commands_and_each_is_audited(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORLINE_HOME", str(tmp_path))

    def run(*arguments: str, given: str = "") -> str:
        done = CliRunner().invoke(cli.app, ["users", *arguments], input=given, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    run(
        "add",
        "roe",
        "--role",
        "reader",
        "--full-name",
        "Dr. Roe",
        "--password-file",
        "-",
        given=f"{PASSWORD}\n",
    )
    run("roles", "roe", "--role", "operator", "--role", "reader")
    kept = tmp_path / "password"
    kept.write_text("from a file\n")
    run("password", "roe", "--password-file", str(kept))
    context = build(load_settings(None))
    assert context.users.check("roe", "from a file", HERE).roles == {UserRole.OPERATOR, UserRole.READER}
    run("disable", "roe")
    with pytest.raises(LoginRefusedError):
        context.users.log_in("roe", "from a file", HERE)
    run("disable", "roe", "--undo")
    run("unlock", "roe")
    (listed,) = json.loads(run("list", "--json"))
    assert (listed["name"], listed["roles"], listed["is_disabled"]) == ("roe", ["operator", "reader"], False)
    done = [(action, about) for actor, action, about in audit(context) if "command line" in actor]
    assert done == [
        ("account opened", "roe"),
        ("roles changed", "roe"),
        ("password changed", "roe"),
        ("account closed", "roe"),
        ("account opened again", "roe"),
        ("account unlocked", "roe"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["add", "roe"], "--password-file"),
     (["password", "nobody", "--password-file", "-"], "no account nobody"),
     (["add", "roe", "--password-file", "-"], "8 characters")],
)  # fmt: skip
def test_wrong_use_of_the_commands_says_what_is_wrong(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setenv("TUMORLINE_HOME", str(tmp_path))
    given = "long enough" if arguments[1] == "nobody" else "short"
    done = CliRunner().invoke(cli.app, ["users", *arguments], input=given)
    assert isinstance(done.exception, UnsuitableInputError)
    assert words in str(done.exception)
