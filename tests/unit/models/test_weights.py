"""Reading, converting, verifying and pinning weight files."""

from __future__ import annotations

import hashlib
import pickle

import pytest
import torch

from models import weights
from models.catalogue import CatalogueEntry, Kind, WeightFile
from models.weights import WeightState
from workflow.domain.errors import ConfigurationError

TENSORS = {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.bias": torch.ones(2)}


def entry(sha256: str | None = None) -> CatalogueEntry:
    return CatalogueEntry(
        name="net",
        version="1",
        title="A network",
        licence="MIT",
        factories={Kind.SEGMENTER: "builtins:object"},
        weights=(WeightFile(path="net.pth", sha256=sha256),),
    )


@pytest.mark.parametrize(
    "stored",
    [
        TENSORS,
        {"model": TENSORS},
        {"state_dict": TENSORS, "epoch": 7},
        {"model": {f"module.{name}": tensor for name, tensor in TENSORS.items()}},
        {f"module.{name}": tensor for name, tensor in TENSORS.items()},
    ],
    ids=["flat", "model", "state_dict with epoch", "model with module.", "module."],
)
def test_every_published_layout_reads_to_the_same_tensors(tmp_path, stored):
    file = tmp_path / "net.pth"
    torch.save(stored, file)
    read = weights.load_state_dict(file)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


def test_a_checkpoint_that_needs_code_to_be_read_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("this must never run",))

    file = tmp_path / "net.pth"
    torch.save({"model": Payload()}, file, pickle_module=pickle)
    with pytest.raises(ConfigurationError, match=r"damaged or holds more than tensors"):
        weights.load_state_dict(file)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    file = tmp_path / "net.pth"
    torch.save(TENSORS, file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ConfigurationError, match="check its SHA-256 and fetch it again"):
        weights.load_state_dict(file)


def test_a_file_without_tensors_is_refused(tmp_path):
    file = tmp_path / "net.pth"
    torch.save({"epoch": 3}, file)
    with pytest.raises(ConfigurationError, match="holds no state dict"):
        weights.load_state_dict(file)


def test_a_conversion_keeps_the_tensors_and_says_where_they_came_from(tmp_path):
    from safetensors import safe_open

    source, target = tmp_path / "net.pth", tmp_path / "out" / "net.safetensors"
    shared = {**TENSORS, "alias.weight": TENSORS["encoder.weight"]}
    torch.save(shared, source)
    weights.save_safetensors(weights.load_state_dict(source), target, source=source)
    read = weights.load_state_dict(target)
    assert all(torch.equal(read[name], tensor) for name, tensor in shared.items())
    with safe_open(target, "pt") as opened:
        assert opened.metadata()["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_digest_follows_the_files_content(tmp_path):
    file = tmp_path / "net.pth"
    file.write_bytes(b"one")
    assert weights.sha256_of(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"other")
    assert weights.sha256_of(file) == hashlib.sha256(b"other").hexdigest()


def test_a_folders_digest_changes_with_any_file_and_any_name(tmp_path):
    (tmp_path / "fold_0").mkdir()
    file = tmp_path / "fold_0" / "net.pth"
    file.write_bytes(b"one")
    first = weights.sha256_of(tmp_path)
    file.write_bytes(b"two")
    second = weights.sha256_of(tmp_path)
    file.rename(tmp_path / "net.pth")
    assert len({first, second, weights.sha256_of(tmp_path)}) == 3


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="no weight file"):
        weights.sha256_of(tmp_path)


def states(path, known):
    return [check.state for check in weights.verify(path, known)]


def test_the_publishers_digest_decides(tmp_path):
    file = tmp_path / "net.pth"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert states(tmp_path, entry(digest)) == [WeightState.PUBLISHED]
    assert states(file, entry("0" * 64)) == [WeightState.DIFFERS]


def test_without_a_published_digest_the_site_pins_its_own(tmp_path):
    file = tmp_path / "net.pth"
    file.write_bytes(b"weights")
    assert states(tmp_path, entry()) == [WeightState.UNKNOWN]
    pins = weights.pin(tmp_path)
    assert pins.read_text() == f"{hashlib.sha256(b'weights').hexdigest()}  net.pth\n"
    assert states(tmp_path, entry()) == states(file, entry()) == [WeightState.PINNED]


def test_a_pinned_file_that_changed_or_vanished_is_found_and_refused(tmp_path):
    file = tmp_path / "net.pth"
    file.write_bytes(b"weights")
    (tmp_path / "second.pt").write_bytes(b"more")
    weights.pin(tmp_path)
    file.write_bytes(b"changed")
    (tmp_path / "second.pt").unlink()
    assert states(tmp_path, entry()) == [WeightState.DIFFERS, WeightState.MISSING]
    with pytest.raises(ConfigurationError, match=r"net\.pth of 'net' differs from the recorded digest"):
        weights.require_verified(tmp_path, entry())


def test_pinning_one_file_keeps_the_pins_of_the_others(tmp_path):
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(name.encode())
    weights.pin(tmp_path / "a.pt")
    weights.pin(tmp_path / "b.pt")
    assert set(weights.read_pins(tmp_path)) == {"a.pt", "b.pt"}


def test_a_broken_line_of_pins_is_named(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("no digest\n")
    with pytest.raises(ConfigurationError, match=r"line 1 of .*SHA256SUMS"):
        weights.read_pins(tmp_path)


def test_a_folder_gives_its_one_weight_file_and_prefers_safetensors(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"1")
    assert weights.single_file(tmp_path, ["net.pth"]).name == "net.pth"
    (tmp_path / "net.safetensors").write_bytes(b"1")
    assert weights.single_file(tmp_path, ["net.pth"]).name == "net.safetensors"
    (tmp_path / "other.safetensors").write_bytes(b"1")
    with pytest.raises(ConfigurationError, match=r"it holds net\.safetensors, other\.safetensors; name"):
        weights.single_file(tmp_path, ["net.pth"])
