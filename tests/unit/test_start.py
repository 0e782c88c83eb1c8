"""What can't start, or is used wrongly, says why and what to do, and ends with the code of the table."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hospital import Hospital, Study, rows

from db.session import open_engine
from db.tables import JobRow
from dicom_io.scu import RemoteNode
from workflow import cli
from workflow.commands.up import addresses
from workflow.domain.errors import ConfigurationError, TransientError
from workflow.engine.start import alone, check_ports
from workflow.settings import load_settings
from workflow.use_cases.demo import free_port


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TUMORLINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def _ends(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    """How a command ends, and its one line; there is no traceback."""
    monkeypatch.setattr(sys, "argv", ["tumorline", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return int(ended.value.code or 0), said


# ---------------------------------------------------------------- up


@pytest.mark.parametrize("service", ["web", "listener", "archive"])
def test_up_with_a_taken_port_names_it_and_the_setting_and_ends(home, monkeypatch, capsys, taken, service):
    for name in ("web", "listener", "archive"):
        port = taken if name == service else free_port()
        monkeypatch.setenv(f"TUMORLINE_{name.upper()}__PORT", str(port))
    code, said = _ends(monkeypatch, capsys, "up")
    assert code == 3
    assert f"port {taken} of 127.0.0.1 is taken" in said
    assert f"set {service}.port" in said
    assert not list((home / "logs").glob("*"))  # nothing was started


def test_one_service_alone_looks_at_its_own_port_only(tmp_path, taken):
    settings = load_settings(None, home=tmp_path, web={"port": taken})
    check_ports(["worker", "reconciler"], settings)
    with pytest.raises(TransientError, match="taken"):
        check_ports(["web"], settings)


def test_a_port_of_a_run_that_ended_just_now_is_free(tmp_path):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services do
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # closed on our side first: TIME_WAIT stays here
    check_ports(["web"], load_settings(None, home=tmp_path, web={"port": port}))


@pytest.mark.parametrize(
    ("web", "words"),
    [
        ({"port": 11112}, "listener.port and web.port are both 11112"),
        ({"host": "203.0.113.9"}, "can't listen on"),
        ({"host": "no.such.host.invalid"}, "no address of this machine"),
    ],
)
def test_a_place_that_can_not_be_listened_on_is_wrong_use(tmp_path, web, words):
    listener = {"port": web.get("port", free_port())}
    settings = load_settings(None, home=tmp_path, web={"port": free_port(), **web}, listener=listener)
    names = ["listener", "web"] if "port" in web else ["web"]
    with pytest.raises(ConfigurationError, match=words):
        check_ports(names, settings)


_HOLDS = """
import sys, pathlib
from workflow.engine.start import alone
with alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_up_twice_on_one_home_names_the_first_and_ends(home, monkeypatch, capsys):
    first = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "held\n"
        code, said = _ends(monkeypatch, capsys, "up")
        assert code == 3
        assert f"{home} run already (process {first.pid})" in said
    finally:
        first.communicate("")
    with alone(home):  # it ended with its process
        pass


def test_up_says_that_nobody_may_send_until_somebody_is_allowed(tmp_path):
    hospital = Hospital(tmp_path)

    def said(**listener: Any) -> str:
        settings = load_settings(None, home=tmp_path, listener=listener, web={"login": False})
        return dict(addresses(settings, hospital.context.users))["who may send"]

    assert "every sender is refused" in said()
    assert "listener.allowed_calling_ae_titles" in said()
    assert said(allowed_calling_ae_titles=["CT1", "MR1"]) == "CT1, MR1"


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://user:secret@host/name", "there is no postgres://"),
        ("mysql://user:secret@host/name", "there is no mysql://"),
        ("nonsense with a secret", "no database's URL"),
        ("postgresql+psycopg://user:secret@host:port/name", "no database's URL"),
        ("postgresql+nodriver://user:secret@host/name", "driver that is not installed"),
        ("sqlite:////proc/none/secret/tumorline.db", "can't be made"),
    ],
)
def test_a_databases_url_that_is_none_says_how_to_write_one(home, monkeypatch, capsys, url, words):
    monkeypatch.setenv("TUMORLINE_DATABASE_URL", url)
    code, said = _ends(monkeypatch, capsys, "status")
    assert code == 2
    assert words in said
    assert "secret" not in said.replace("/secret/", "")
    with pytest.raises(ConfigurationError):
        open_engine(url)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "TUMORLINE_LISTENER__ALLOWED_CALLING_AE_TITLES",
            "CT1",
            'ALLOWED_CALLING_AE_TITLES=\'["CT1", "CT2"]\'',
        ),
        ("TUMORLINE_WORKER", "four", "TUMORLINE_WORKER has to be JSON"),
        ("TUMORLINE_LISTNER__PORT", "104", "did you mean TUMORLINE_LISTENER__PORT?"),
        ("TUMORLINE_READINESS_QUIET_S", "5", "did you mean TUMORLINE_READINESS__QUIET_S?"),
        ("tumorline_web__prot", "80", "did you mean TUMORLINE_WEB__PORT?"),
        ("TUMORLINE_XYZZY", "1", "config --explain"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused_with_the_nearest_that_does(
    home, monkeypatch, capsys, variable, value, words
):
    monkeypatch.setenv(variable, value)
    code, said = _ends(monkeypatch, capsys, "config")
    assert (code, words in said) == (2, True), said


def test_variables_that_are_settings_or_made_by_a_cluster_are_taken(monkeypatch):
    for name, value in {
        "TUMORLINE_LISTENER__PORT": "104",
        "tumorline_web__port": "8081",
        "TUMORLINE_READINESS": '{"quiet_s": 7}',
        "TUMORLINE_DESTINATION__AE_TITLE": "PACS",
        "TUMORLINE_DESTINATION__PORT": "104",
        "TUMORLINE_DESTINATION__TLS__CA": "/ca.pem",
        "TUMORLINE_MODELS__SEGMENTER_PARAMETERS__ANYTHING": "1",
        "TUMORLINE_PORT": "tcp://10.0.0.1:8080",
        "TUMORLINE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "TUMORLINE_WEB_SERVICE_PORT_HTTP": "8080",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert (settings.listener.port, settings.web.port, settings.readiness.quiet_s) == (104, 8081, 7)


@pytest.mark.parametrize("out", ["file/out", "/proc/none/out"])
def test_an_output_folder_that_can_not_be_made_is_named(home, monkeypatch, capsys, tmp_path, out):
    Study(day=date(2024, 1, 2)).write(tmp_path / "study")
    (tmp_path / "file").touch()
    code, said = _ends(monkeypatch, capsys, "run", tmp_path / "study", "--out", tmp_path / out)
    assert (code, "can't be made" in said, "--out" in said) == (2, True, True)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, 3, "no room is left"),
        (errno.EACCES, 2, "Permission denied"),
        (errno.EROFS, 2, "Read-only"),
    ],
)
def test_a_full_or_closed_disk_is_no_defect(home, monkeypatch, capsys, number, code, words):
    def broken(*_: Any) -> None:
        raise OSError(number, errno.errorcode[number], "/data/seg.nii.gz") from None

    monkeypatch.setattr("workflow.settings.load_settings", broken)
    ended, said = _ends(monkeypatch, capsys, "status")
    assert ended == code
    assert "/data/seg.nii.gz" in said


def test_a_name_that_does_not_resolve_is_not_there_yet(home, monkeypatch, capsys, tmp_path):
    Study(day=date(2024, 1, 2)).write(tmp_path / "study")
    code, said = _ends(
        monkeypatch, capsys, "send", tmp_path / "study", "--to", "PACS@no.such.host.invalid:104"
    )
    assert code == 3
    assert "the name no.such.host.invalid is not known" in said
    with pytest.raises(TransientError):
        RemoteNode(ae_title="PACS", host="no.such.host.invalid", port=104).echo()


def test_a_job_that_is_not_there_is_not_replayed(home, monkeypatch, capsys):
    code, said = _ends(monkeypatch, capsys, "status", "--replay", "9999")
    assert (code, "there is no job 9999" in said) == (2, True)


def test_the_hint_to_replay_repeats_the_configuration(tmp_path, monkeypatch, capsys):
    config = tmp_path / "my site.toml"
    config.write_text(f'home = "{tmp_path / "home"}"\n')
    hospital = Hospital(tmp_path)
    with rows(hospital.context) as session:
        now = hospital.context.clock()
        row = {"stage": "infer", "subject": "7", "lane": "p", "state": "CANCELED", "outcome": "dead"}
        session.add(JobRow(**row, due_at=now, created_at=now))
    code, said = _ends(monkeypatch, capsys, "status", "--config", config)
    assert (code, f"tumorline status --config '{config}' --replay JOB" in said) == (1, True)
