"""Downloading weights from a server that breaks off, lies, forgets and refuses."""

from __future__ import annotations

import pytest
from weight_server import CONTENT, SHA256

from models.fetch import fetch
from workflow.domain.errors import ConfigurationError, TransientError


def test_a_file_arrives_whole_and_nothing_else_is_left(server, tmp_path):
    assert fetch(server.url, tmp_path / "net.pth", sha256=SHA256) == SHA256
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.breaks = 2
    fetch(server.url, tmp_path / "net.pth", sha256=SHA256, wait_s=0)
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_what_has_come_is_kept_for_the_next_call(server, tmp_path):
    server.breaks = 1
    with pytest.raises(TransientError, match="300000 bytes are kept, fetch again to go on"):
        fetch(server.url, tmp_path / "net.pth", sha256=SHA256, attempts=1)
    assert not (tmp_path / "net.pth").exists()
    fetch(server.url, tmp_path / "net.pth", sha256=SHA256)
    assert server.asked[-1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server, tmp_path):
    server.breaks = 1
    with pytest.raises(TransientError):
        fetch(server.url, tmp_path / "net.pth", sha256=None, attempts=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    fetch(server.url, tmp_path / "net.pth", sha256=None)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_is_fetched_from_the_start(server, tmp_path):
    server.takes_ranges, server.breaks = False, 1
    fetch(server.url, tmp_path / "net.pth", sha256=SHA256, wait_s=0)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_complete_part_is_verified_and_put_in_place(server, tmp_path):
    (tmp_path / "net.pth.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "net.pth", sha256=SHA256) == SHA256


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "net.pth.part").write_bytes(CONTENT + b"more")
    fetch(server.url, tmp_path / "net.pth", sha256=SHA256, wait_s=0)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_download_and_keeps_the_old_file(server, tmp_path):
    target = tmp_path / "net.pth"
    target.write_bytes(b"old")
    with pytest.raises(ConfigurationError, match=f"has the SHA-256 {SHA256} and not {'0' * 64}"):
        fetch(server.url, target, sha256="0" * 64)
    assert target.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize(
    ("status", "error"), [(404, ConfigurationError), (403, ConfigurationError), (503, TransientError)]
)
def test_a_refusal_is_named_and_a_busy_server_is_transient(server, tmp_path, status, error):
    server.status = status
    with pytest.raises(error, match=f"answers {status}"):
        fetch(server.url, tmp_path / "net.pth", sha256=None, wait_s=0)
    assert len(server.asked) == (4 if error is TransientError else 1)


def test_no_server_at_all_is_transient(server, tmp_path):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(TransientError, match="broke off"):
        fetch(url, tmp_path / "net.pth", sha256=None, attempts=1)


def test_other_addresses_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no http or https address"):
        fetch("file:///etc/passwd", tmp_path / "net.pth", sha256=None)
    with pytest.raises(ConfigurationError, match="anyone on the way could change it"):
        fetch("http://example.org/net.pth", tmp_path / "net.pth", sha256=None)


def test_progress_ends_at_the_whole(server, tmp_path):
    told: list[float] = []
    fetch(server.url, tmp_path / "net.pth", sha256=SHA256, progress=lambda share, what: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
