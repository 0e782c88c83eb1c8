"""Opens a model by its name; finds the ones that a site adds.

A site's package adds a model without touching this code: it declares an entry point of the group
`tumorline.models` that loads to a `models.catalogue.CatalogueEntry`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from models.builtin import BUILTIN, DEFAULT_SEGMENTER, DEFAULT_TRACKER
from models.catalogue import CatalogueEntry, Kind
from models.weights import read_pins, require_verified
from workflow.domain.errors import ConfigurationError
from workflow.domain.licences import DEFAULT_ALLOWED_LICENCES
from workflow.ports import Detector, Localizer, Segmenter, Tracker

__all__ = [
    "DEFAULT_ALLOWED_LICENCES",
    "DEFAULT_SEGMENTER",
    "DEFAULT_TRACKER",
    "bundled_weights",
    "check_licence",
    "entries",
    "entry",
    "is_installed",
    "limits_of",
    "names",
    "open_detector",
    "open_localizer",
    "open_segmenter",
    "open_tracker",
    "resolve",
]

ENTRY_POINT_GROUP = "tumorline.models"

PORTS: dict[Kind, type[Any]] = {
    Kind.SEGMENTER: Segmenter,
    Kind.TRACKER: Tracker,
    Kind.LOCALIZER: Localizer,
    Kind.DETECTOR: Detector,
}


def entries() -> dict[str, CatalogueEntry]:
    """Every model by name: the built-in ones, then those of installed packages.

    Raises
    ------
    ConfigurationError
        If a package's entry can't be loaded, is no `CatalogueEntry` or takes a name that is in use.
    """
    found = {known.name: known for known in BUILTIN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        added = _load(point)
        if added.name in found:
            raise ConfigurationError(
                f"the model '{added.name}' of {_origin(point)} has the name of one that is already there; "
                "rename it or uninstall that package"
            )
        found[added.name] = added
    return found


def entry(name: str) -> CatalogueEntry:
    """The model of that name.

    Raises
    ------
    ConfigurationError
        If there is none; the message lists those that are.
    """
    known = entries()
    if name not in known:
        raise ConfigurationError(
            f"there is no model '{name}'; known are {', '.join(known)} (see `tumorline models list`)"
        )
    return known[name]


def names(kind: Kind | str) -> tuple[str, ...]:
    """Names of the models that fill a port ("segmenter", "tracker", "localizer", "detector")."""
    wanted = Kind(kind)
    return tuple(name for name, known in entries().items() if wanted in known.factories)


def limits_of(name: str) -> tuple[str, ...]:
    """What to show beside a result whose `ModelIdentity` has this name; nothing if the model is gone.

    A model that fills two ports may call itself by both ("weight-free segmenter"): the first word counts.
    """
    known = entries().get(name) or entries().get(name.partition(" ")[0])
    return known.limits if known else ()


def is_installed(known: CatalogueEntry) -> bool:
    """Whether the libraries that it needs can be imported here (nothing is imported to find out)."""
    return all(importlib.util.find_spec(name) is not None for name in known.requires)


def bundled_weights(known: CatalogueEntry) -> Path | None:
    """The weights that are installed with the model's package, or None."""
    if known.bundled is None:
        return None
    package, _, file = known.bundled.partition(":")
    path = Path(str(files(package) / file))
    return path if path.is_file() else None


def check_licence(
    known: CatalogueEntry, allowed_licences: Collection[str] = DEFAULT_ALLOWED_LICENCES
) -> None:
    """Refuse a model whose licence the site has not allowed.

    Raises
    ------
    ConfigurationError
        If `known.licence` is not among `allowed_licences` (SPDX identifiers).
    """
    if known.licence not in allowed_licences:
        raise ConfigurationError(
            f"the model '{known.name}' is under {known.licence}, which this site has not allowed; "
            f"if your use keeps that licence's terms, add {known.licence} to allowed_licences"
        )


def open_segmenter(
    name: str = DEFAULT_SEGMENTER,
    weights: Path | None = None,
    *,
    device: str = "auto",
    allowed_licences: Collection[str] = DEFAULT_ALLOWED_LICENCES,
    perturb_mm: float | None = None,
    **parameters: Any,
) -> Segmenter:
    """Open a model that turns prompts into lesions.

    Parameters
    ----------
    name
        As `names("segmenter")` has it.
    weights
        File or folder of the trained weights; None for a model without any, or for those that come with it.
    device
        "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:<n>".
    allowed_licences
        SPDX identifiers; a model under any other licence is refused.
    perturb_mm
        If set, confidence is the mean Dice with results of prompts moved that far (`models.confidence`), at
        five times the decoding; else it is the model's own.
    **parameters
        The model's own, see `docs/models.md`.

    Raises
    ------
    ConfigurationError
        If the model is unknown, not installed, not allowed, not a segmenter, or its weights are not there.
    """
    opened: Segmenter = _open(Kind.SEGMENTER, name, weights, device, allowed_licences, parameters)
    if perturb_mm is None:
        return opened
    from models.confidence import PromptSensitivity

    return PromptSensitivity(inner=opened, shift_mm=perturb_mm)


def open_tracker(
    name: str = DEFAULT_TRACKER,
    weights: Path | None = None,
    *,
    device: str = "auto",
    allowed_licences: Collection[str] = DEFAULT_ALLOWED_LICENCES,
    **parameters: Any,
) -> Tracker:
    """Open a model that finds prior lesions again; parameters and errors as `open_segmenter`."""
    opened: Tracker = _open(Kind.TRACKER, name, weights, device, allowed_licences, parameters)
    return opened


def open_localizer(
    name: str,
    weights: Path | None = None,
    *,
    device: str = "auto",
    allowed_licences: Collection[str] = DEFAULT_ALLOWED_LICENCES,
    **parameters: Any,
) -> Localizer:
    """Open a model that says where in the body a position is; parameters and errors as `open_segmenter`."""
    opened: Localizer = _open(Kind.LOCALIZER, name, weights, device, allowed_licences, parameters)
    return opened


def open_detector(
    name: str,
    weights: Path | None = None,
    *,
    device: str = "auto",
    allowed_licences: Collection[str] = DEFAULT_ALLOWED_LICENCES,
    **parameters: Any,
) -> Detector:
    """Open a model that proposes lesions or structures; parameters and errors as `open_segmenter`."""
    opened: Detector = _open(Kind.DETECTOR, name, weights, device, allowed_licences, parameters)
    return opened


def resolve(reference: str) -> Any:
    """The object that "module:function" names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _open(
    kind: Kind,
    name: str,
    weights: Path | None,
    device: str,
    allowed_licences: Collection[str],
    parameters: dict[str, Any],
) -> Any:
    known = entry(name)
    if kind not in known.factories:
        raise ConfigurationError(
            f"the model '{name}' is no {kind}; those that are: {', '.join(names(kind)) or 'none'}"
        )
    check_licence(known, allowed_licences)
    _check_installed(known)
    given: dict[str, Any] = parameters
    if known.needs_weights:
        file = _present(known, weights)
        # Digests take a second per 400 MB: only where there is something to compare them with.
        if read_pins(file) or any(one.sha256 for one in known.weights):
            require_verified(file, known)
        given = {"weights": file, "device": device, **parameters}
    factory = resolve(known.factories[kind])
    try:
        inspect.signature(factory).bind(**given)
    except TypeError as error:
        raise ConfigurationError(
            f"the model '{name}' can't be opened like this: {error}; docs/models.md lists its parameters"
        ) from error
    opened = factory(**given)
    if not isinstance(opened, PORTS[kind]):
        raise ConfigurationError(
            f"{known.factories[kind]} of {known.origin} returned {type(opened).__name__}, which is no {kind}"
        )
    return opened


def _check_installed(known: CatalogueEntry) -> None:
    if not is_installed(known):
        how = f"pip install 'tumorline[{known.extra}]'" if known.extra else f"install {known.origin} again"
        raise ConfigurationError(
            f"the model '{known.name}' needs {', '.join(known.requires)}, which is not installed: {how}"
        )


def _present(known: CatalogueEntry, weights: Path | None) -> Path:
    where = f"`tumorline models show {known.name}` says where to get them"
    weights = weights or bundled_weights(known)
    if weights is None:
        raise ConfigurationError(f"the model '{known.name}' needs its weights and got none; {where}")
    if not weights.exists():
        raise ConfigurationError(f"the weights of '{known.name}' are not at {weights}; {where}")
    return weights


def _load(point: EntryPoint) -> CatalogueEntry:
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the model '{point.name}' of {_origin(point)} can't be loaded ({error}); "
            "repair or uninstall that package"
        ) from error
    if not isinstance(loaded, CatalogueEntry):
        raise ConfigurationError(
            f"the entry point '{point.name}' of {_origin(point)} is a {type(loaded).__name__}; "
            "it has to be a models.catalogue.CatalogueEntry"
        )
    return loaded


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
