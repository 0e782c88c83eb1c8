"""`tumorline models`: what a person and a script are told."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
import typer
from typer.testing import CliRunner
from weight_server import CONTENT, SHA256

from models import registry
from models.catalogue import CatalogueEntry, Kind, WeightFile
from workflow.commands.models import register
from workflow.domain.errors import ConfigurationError


def run(*arguments: str, fails: bool = False):
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)
    assert fails or result.exit_code == 0, result.output
    return result


def as_json(*arguments: str):
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def published(monkeypatch, server):
    """A model whose weights are on the server, with or without a published digest."""

    def publish(sha256: str | None = None, licence: str = "MIT", url: str | None = "server") -> None:
        weights = WeightFile(path="net.pth", url=server.url if url else None, sha256=sha256)
        known = CatalogueEntry(
            name="net",
            version="1",
            title="A network",
            licence=licence,
            factories={Kind.SEGMENTER: "builtins:object"},
            weights=(weights,),
            weights_page="https://example.org/net",
        )
        monkeypatch.setattr(registry, "BUILTIN", (known,))

    return publish


def test_the_list_names_every_model_with_licence_and_status():
    listed = {one["name"]: one for one in as_json("list")}
    assert listed["weight-free"]["status"] == "ready"
    assert listed["medsam"]["status"] == "needs its weights"
    assert listed["nninteractive"]["status"] == "CC-BY-NC-SA-4.0 is not in allowed_licences"


def test_a_site_opts_in_by_its_settings(monkeypatch):
    monkeypatch.setenv("TUMORLINE_MODELS__ALLOWED_LICENCES", '["CC-BY-NC-4.0"]')
    listed = {one["name"]: one["status"] for one in as_json("list")}
    assert listed["medlam"] == "needs its weights"
    assert listed["medsam"] == "Apache-2.0 is not in allowed_licences"


def test_the_list_can_be_of_one_kind():
    assert [one["name"] for one in as_json("list", "--kind", "localizer")] == ["medlam"]
    with pytest.raises(ConfigurationError, match="no kind 'oracle'"):
        run("list", "--kind", "oracle")


def test_a_model_is_shown_with_its_limits_and_where_its_weights_are():
    shown = as_json("show", "lesionlocator")
    assert shown["weights_page"].startswith("https://")
    assert any("No negative points" in limit for limit in shown["limits"])
    assert "weights_page" in run("show", "medsam").stdout


def test_an_interrupted_fetch_is_completed_and_its_digest_recorded(published, server, tmp_path):
    published()
    server.breaks = 1
    (fetched,) = as_json("fetch", "net", "--to", str(tmp_path), "--trust-first")
    assert fetched["sha256"] == SHA256
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    (checked,) = as_json("verify", "net", str(tmp_path))
    assert checked["state"] == "PINNED"


def test_a_fetch_without_a_known_digest_has_to_be_asked_for(published, tmp_path):
    published()
    with pytest.raises(ConfigurationError, match="give --sha256, or --trust-first"):
        run("fetch", "net", "--to", str(tmp_path))


def test_a_fetch_with_the_wrong_digest_leaves_nothing(published, tmp_path):
    published(sha256="0" * 64)
    with pytest.raises(ConfigurationError, match="the download was removed"):
        run("fetch", "net", "--to", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_from_a_mirror_still_has_to_have_the_published_digest(published, server, tmp_path):
    published(sha256=SHA256)
    server.content = CONTENT[::-1]
    with pytest.raises(ConfigurationError, match="the download was removed"):
        run("fetch", "net", "--to", str(tmp_path), "--url", server.url)


def test_weights_that_the_site_may_not_use_are_not_even_fetched(published, server, tmp_path):
    published(sha256=SHA256, licence="CC-BY-NC-4.0")
    with pytest.raises(ConfigurationError, match="which this site has not allowed"):
        run("fetch", "net", "--to", str(tmp_path))
    assert server.asked == []


def test_weights_without_a_download_say_where_a_person_gets_them(published, tmp_path):
    published(url=None)
    with pytest.raises(ConfigurationError, match=r"get net\.pth from https://example\.org/net"):
        run("fetch", "net", "--to", str(tmp_path))


def test_a_file_that_differs_is_exit_code_1(published, tmp_path):
    published(sha256=SHA256)
    (tmp_path / "net.pth").write_bytes(b"something else")
    result = run("verify", "net", str(tmp_path), "--json", fails=True)
    assert result.exit_code == 1
    (checked,) = json.loads(result.stdout)
    assert checked["state"] == "DIFFERS"
    assert checked["sha256"] == hashlib.sha256(b"something else").hexdigest()


def test_recorded_weights_are_refused_once_they_changed(published, tmp_path):
    published()
    (tmp_path / "net.pth").write_bytes(b"first")
    run("verify", "net", str(tmp_path), "--record")
    (tmp_path / "net.pth").write_bytes(b"second")
    with pytest.raises(ConfigurationError, match="differs from the recorded digest"):
        registry.open_segmenter("net", tmp_path / "net.pth")


def test_a_checkpoint_is_converted_to_safetensors(tmp_path):
    from models.weights import load_state_dict

    source, target = tmp_path / "medsam.pth", tmp_path / "medsam.safetensors"
    torch.save({"model": {"module.image_encoder.neck.0.weight": torch.ones(2)}}, source)
    done = as_json("convert", "medsam", str(source), str(target))
    assert list(load_state_dict(target)) == ["vision_encoder.neck.conv1.weight"]
    assert done["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()


def test_what_needs_no_conversion_says_so(tmp_path):
    source = tmp_path / "a.pth"
    source.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="nothing to convert for 'weight-free'"):
        run("convert", "weight-free", str(source), str(tmp_path / "b.safetensors"))
    with pytest.raises(ConfigurationError, match=r"has to end in \.safetensors"):
        run("convert", "medsam", str(source), str(tmp_path / "b.pth"))


def test_the_limits_of_a_result_are_found_by_its_models_name():
    assert registry.limits_of("weight-free segmenter") == registry.entry("weight-free").limits
    assert registry.limits_of("a model of last year") == ()
