"""Opening models by name, refusing those a site may not use, and finding those that it adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import registry
from models.catalogue import CatalogueEntry, Kind, WeightFile
from workflow.domain.errors import ConfigurationError
from workflow.use_cases.segment import parameters_from_text


class FakePoint:
    """An entry point that loads what it was given."""

    dist = None
    name = value = "site.models:ENTRY"

    def __init__(self, loaded: object) -> None:
        self.loaded = loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.fixture
def installed(monkeypatch):
    """Call with what the entry points of the site's packages load to."""

    def install(*loaded: object) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: [FakePoint(one) for one in loaded])

    return install


def an_entry(**changes: object) -> CatalogueEntry:
    given: dict[str, object] = {
        "name": "vista",
        "version": "3",
        "title": "A site's own",
        "licence": "Apache-2.0",
        "factories": {Kind.SEGMENTER: "builtins:object"},
        "origin": "site-models",
    }
    return CatalogueEntry(**{**given, **changes})


def test_the_default_models_are_in_the_catalogue_and_need_no_weights():
    assert registry.DEFAULT_SEGMENTER in registry.names("segmenter")
    assert registry.DEFAULT_TRACKER in registry.names("tracker")
    assert not registry.entry(registry.DEFAULT_SEGMENTER).needs_weights


def test_every_default_model_says_its_limits():
    assert registry.entry(registry.DEFAULT_SEGMENTER).limits


def test_names_are_given_by_port():
    assert "medlam" in registry.names(Kind.LOCALIZER)
    assert "medlam" not in registry.names(Kind.SEGMENTER)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"no model 'unet'.*medsam2"):
        registry.open_segmenter("unet")


def test_a_model_is_not_opened_as_what_it_is_not():
    with pytest.raises(ConfigurationError, match="'medsam' is no tracker; those that are: weight-free"):
        registry.open_tracker("medsam", Path("weights"))


@pytest.mark.parametrize("name", ["medlam", "nninteractive"])
def test_non_commercial_weights_are_refused_until_the_site_allows_them(name):
    known = registry.entry(name)
    with pytest.raises(ConfigurationError, match=f"{known.licence}, which this site has not allowed"):
        registry.check_licence(known)
    registry.check_licence(known, {*registry.DEFAULT_ALLOWED_LICENCES, known.licence})


def test_the_licence_is_checked_before_anything_is_opened(tmp_path):
    with pytest.raises(ConfigurationError, match=r"add CC-BY-NC-4\.0 to allowed_licences"):
        registry.open_localizer("medlam", tmp_path)


def test_a_site_may_also_allow_less():
    with pytest.raises(ConfigurationError, match=r"CC-BY-SA-4\.0"):
        registry.open_segmenter("medsam2", Path("w"), allowed_licences={"Apache-2.0"})


def test_missing_weights_are_named_with_where_to_get_them():
    with pytest.raises(ConfigurationError, match="got none; `tumorline models show lesionlocator`"):
        registry.open_segmenter("lesionlocator")
    with pytest.raises(ConfigurationError, match="not at nowhere"):
        registry.open_segmenter("lesionlocator", Path("nowhere"))


def test_a_missing_library_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"needs transformers.*pip install 'tumorline\[sam\]'"):
        registry.open_segmenter("medsam", tmp_path)


def test_a_sites_model_is_listed_beside_ours(installed):
    installed(an_entry())
    assert "vista" in registry.names("segmenter")
    assert registry.entry("vista").origin == "site-models"


def test_a_sites_model_may_not_take_a_name_that_is_in_use(installed):
    installed(an_entry(name="medsam"))
    with pytest.raises(ConfigurationError, match="has the name of one that is already there"):
        registry.entries()


def test_a_sites_package_that_does_not_import_is_named(installed):
    installed(ImportError("No module named 'vista3d'"))
    with pytest.raises(ConfigurationError, match=r"site\.models:ENTRY can't be loaded \(No module named"):
        registry.entries()


def test_a_sites_entry_point_that_is_no_entry_is_named(installed):
    installed("vista")
    with pytest.raises(
        ConfigurationError, match=r"is a str; it has to be a models\.catalogue\.CatalogueEntry"
    ):
        registry.entries()


def test_a_factory_that_returns_something_else_is_named(installed):
    installed(an_entry())
    with pytest.raises(ConfigurationError, match="returned object, which is no segmenter"):
        registry.open_segmenter("vista")


def test_an_entry_is_valid_from_birth():
    with pytest.raises(ValueError, match="not 'module:function'"):
        an_entry(factories={Kind.SEGMENTER: "models.medsam"})
    with pytest.raises(ValueError, match="opens nothing"):
        an_entry(factories={})
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        WeightFile(path="a.pth", sha256="ABC")
    with pytest.raises(ValueError, match="leaves the weight folder"):
        WeightFile(path="../a.pth")


def test_parameters_are_read_from_text_as_json_or_words():
    read = parameters_from_text(["window=lung", "clean_up=false", "folds=[0,1]", "reach_mm=40"])
    assert read == {"window": "lung", "clean_up": False, "folds": [0, 1], "reach_mm": 40}
    with pytest.raises(ConfigurationError, match="'lung' is not NAME=VALUE"):
        parameters_from_text(["lung"])


def test_a_parameter_that_the_model_does_not_have_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"can't be opened like this: .*'colour'"):
        registry.open_segmenter("medsam", tmp_path, colour="red")


def test_confidence_from_moved_prompts_can_be_asked_for_with_any_model():
    opened = registry.open_segmenter("weight-free", perturb_mm=3.0)
    assert opened.identity.parameters["confidence"] == "mean Dice with the prompt moved by 3 mm"
    assert "confidence" not in registry.open_segmenter("weight-free").identity.parameters
