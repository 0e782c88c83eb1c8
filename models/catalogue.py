"""What a model is before it is opened: name, weights, licence, what it takes, and how to open it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """The ports a backend can fill (`workflow.ports`)."""

    SEGMENTER = "segmenter"
    TRACKER = "tracker"
    LOCALIZER = "localizer"
    DETECTOR = "detector"


class PromptKind(StrEnum):
    """What a segmenter can be shown (`workflow.domain.lesion`)."""

    POINT = "point"
    NEGATIVE_POINT = "negative point"
    LINE = "line"
    BOX = "box"
    OUTLINE = "outline"
    MASK = "mask"


ALL_POSITIVE_PROMPTS = (
    PromptKind.POINT,
    PromptKind.LINE,
    PromptKind.BOX,
    PromptKind.OUTLINE,
    PromptKind.MASK,
)


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file of a model's weights.

    Attributes
    ----------
    path
        File or folder name inside the model's weight folder.
    url
        Where `fetch` gets it; None if a person has to download it from the entry's `weights_page`.
    sha256
        Lower-case hex digest as the publisher gives it; None if the publisher gives none. Then the site
        pins the digest of its own copy in `SHA256SUMS` (see `models.weights`).
    size_bytes
        Size if the publisher states it.
    """

    path: str
    url: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and (
            len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef")
        ):
            raise ValueError(f"the SHA-256 of {self.path} is not 64 lower-case hex digits: {self.sha256}")
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError(f"the weight path {self.path} leaves the weight folder")


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A model that this site could use.

    Attributes
    ----------
    factories
        Kind to "module:function". With weights the function is called as
        `function(weights=weights, device=device, **parameters)`, without as `function(**parameters)`.
    licence
        SPDX identifier that rules the use: of the weights, or of the code where there are none.
    prompts
        What its segmenter takes.
    limits
        Sentences for a person, shown wherever the model's results are.
    bundled
        "package:file" of weights that are installed with the package and used where none are named, or None.
    extra
        The optional dependency group that it needs, or None.
    requires
        Import names that must be there; all of them come with `extra`.
    origin
        The package that brings it.
    converter
        "module:function" of `(source: Path, target: Path) -> None` that rewrites a published
        checkpoint as safetensors, or None where nothing can be converted.
    """

    name: str
    version: str
    title: str
    licence: str
    factories: Mapping[Kind, str]
    prompts: tuple[PromptKind, ...] = ()
    modalities: tuple[str, ...] = ("CT",)
    limits: tuple[str, ...] = ()
    weights: tuple[WeightFile, ...] = ()
    weights_page: str = ""
    bundled: str | None = None
    extra: str | None = None
    requires: tuple[str, ...] = ()
    converter: str | None = None
    origin: str = "tumorline"

    def __post_init__(self) -> None:
        if not self.factories:
            raise ValueError(f"the catalogue entry {self.name} opens nothing: give at least one factory")
        for kind, factory in self.factories.items():
            if factory.count(":") != 1:
                raise ValueError(f"the {kind} factory of {self.name} is not 'module:function': {factory}")
        object.__setattr__(self, "factories", MappingProxyType(dict(self.factories)))

    @property
    def needs_weights(self) -> bool:
        """Whether it can't be opened without a weight file or folder."""
        return bool(self.weights)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The ports it fills."""
        return tuple(self.factories)
