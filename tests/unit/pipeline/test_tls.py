"""DICOM over TLS: who is let in, and whom we trust. Certificates are made by the openssl program."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hospital import rows
from sqlalchemy import func, select
from test_course_of_a_patient import BASELINE

from db.tables import InstanceRow
from dicom_io.scu import RemoteNode
from dicom_io.tls import listener_context, node_context
from workflow.bootstrap import build
from workflow.domain.errors import ConfigurationError, TransientError
from workflow.engine.services import serve_listener
from workflow.settings import load_settings
from workflow.use_cases.demo import free_port

pytestmark = [
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not here"
    ),
    # pynetdicom leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]


class Pair:
    """A self-signed certificate and its key."""

    def __init__(self, folder: Path, name: str, subject_alt_name: str, passphrase: str = "") -> None:
        self.certificate, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-days", "1", *(["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]),
             "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject_alt_name}",
             "-keyout", str(self.key), "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ours(folder) -> Pair:
    return Pair(folder, "ours", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def scanner(folder) -> Pair:
    return Pair(folder, "scanner", "DNS:scanner.example")


@contextmanager
def _listening(home: Path, **listener: Any) -> Iterator[RemoteNode]:
    """The listener as a service with these settings; gives a node that calls it without TLS."""
    settings = load_settings(
        None,
        home=home,
        listener={
            "port": free_port(), "allowed_calling_ae_titles": ["CT1"], "minimum_free_mb": 1, **listener
        },
    )  # fmt: skip
    stop = threading.Event()
    service = threading.Thread(target=serve_listener, args=(settings, stop))
    service.start()
    try:
        _wait_for(settings.listener.port)
        yield RemoteNode(
            ae_title="TUMORLINE",
            host="127.0.0.1",
            port=settings.listener.port,
            calling_ae_title="CT1",
            timeout_s=5,
        )
    finally:
        stop.set()
        service.join()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture(scope="module")
def listener(tmp_path_factory, ours) -> Iterator[RemoteNode]:
    home = tmp_path_factory.mktemp("listener")
    with _listening(home, tls_certificate=ours.certificate, tls_key=ours.key) as node:
        yield node


@pytest.fixture(scope="module")
def strict_listener(tmp_path_factory, ours, scanner) -> Iterator[RemoteNode]:
    home = tmp_path_factory.mktemp("strict")
    with _listening(
        home, tls_certificate=ours.certificate, tls_key=ours.key, tls_ca=scanner.certificate
    ) as node:
        yield node


def test_a_study_is_sent_over_tls(tmp_path, ours):
    BASELINE.write(tmp_path / "study")
    files = sorted((tmp_path / "study").glob("*.dcm"))
    home = tmp_path / "home"
    with _listening(home, tls_certificate=ours.certificate, tls_key=ours.key) as node:
        replace(node, tls=node_context(ours.certificate)).store(files)
    with rows(build(load_settings(None, home=home))) as session:
        assert session.scalar(select(func.count(InstanceRow.id))) == len(files)


def test_a_caller_without_tls_is_not_answered(listener):
    with pytest.raises(TransientError, match="is not there"):
        replace(listener, timeout_s=2).echo()


def test_a_certificate_of_someone_else_is_not_trusted(listener, scanner):
    with pytest.raises(TransientError, match="TLS with it failed"):
        replace(listener, tls=node_context(scanner.certificate)).echo()


def test_whom_this_machine_does_not_trust_is_not_called(listener):
    with pytest.raises(TransientError, match="TLS with it failed"):
        replace(listener, tls=node_context()).echo()


def test_a_certificate_must_name_the_host_or_the_name_that_is_set(listener, ours, tmp_path):
    trusted = node_context(ours.certificate)
    replace(listener, tls=trusted).echo()
    with pytest.raises(TransientError, match="TLS with it failed"):
        replace(listener, tls=trusted, server_name="pacs.example").echo()


def test_where_certificates_are_asked_for_a_caller_without_one_is_refused(strict_listener, ours, scanner):
    nobody = node_context(ours.certificate)
    stranger = node_context(ours.certificate, ours.certificate, ours.key)
    known = node_context(ours.certificate, scanner.certificate, scanner.key)
    for refused in (nobody, stranger):
        with pytest.raises(TransientError, match="TLS with it failed"):
            replace(strict_listener, tls=refused).echo()
    replace(strict_listener, tls=known).echo()


def test_a_caller_that_says_nothing_keeps_nobody_out(listener, ours):
    with socket.create_connection(("127.0.0.1", listener.port)):
        time.sleep(0.2)
        replace(listener, tls=node_context(ours.certificate)).echo()


def test_results_go_over_tls_and_the_pacs_is_asked_over_tls_if_the_settings_say_so(tmp_path, ours, scanner):
    tls = {
        "ca": ours.certificate,
        "certificate": scanner.certificate,
        "key": scanner.key,
        "server_name": "pacs",
    }
    node = {"ae_title": "PACS", "port": 104, "tls": tls}
    context = build(load_settings(None, home=tmp_path, destination=node, pacs=node))
    for remote in (context.destination, context.pacs_instance_count.__self__):
        assert len(remote.tls.get_ca_certs()) == 1
        assert remote.server_name == "pacs"
    plain = build(load_settings(None, home=tmp_path, destination={"ae_title": "PACS", "port": 104}))
    assert plain.destination.tls is None


@pytest.mark.parametrize("alone", ["tls_key", "tls_ca"])
def test_half_a_tls_setting_is_refused_and_does_not_mean_plain_dicom(alone, tmp_path):
    with pytest.raises(ConfigurationError, match="without tls_certificate"):
        load_settings(None, listener={alone: tmp_path / "x.pem"})


def test_files_that_cannot_be_used_are_named(folder, ours, scanner, tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    locked = Pair(folder, "locked", "IP:127.0.0.1", passphrase="secret")
    for make, named in (
        (lambda: listener_context(tmp_path / "missing.pem"), "missing.pem"),
        (lambda: listener_context(ours.certificate), "must hold the key too"),
        (lambda: listener_context(ours.certificate, scanner.key), "scanner.key can't be used"),
        (lambda: listener_context(ours.certificate, ours.key, tmp_path / "no.pem"), "no.pem can't be used"),
        (lambda: node_context(tmp_path / "missing.pem"), "missing.pem"),
        (lambda: listener_context(locked.certificate, locked.key), "locked.key has a passphrase"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            make()
