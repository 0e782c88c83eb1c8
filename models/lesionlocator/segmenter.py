"""Lesions from prompts: the `Segmenter` port on LesionLocator's segmentation networks. CT in HU only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.lesionlocator import LICENCE, NAME, VERSION
from models.lesionlocator.checkpoints import available_parts
from models.lesionlocator.inference import Compute, Ensemble
from models.lesionlocator.orientation import Orientation
from models.lesionlocator.prediction import PARTS, RegionLogits, certainty, open_ensemble, predict
from models.lesionlocator.preprocessing import NetworkImage, require_finite
from models.lesionlocator.prompts import Drawing
from models.lesionlocator.reading import choose_drawing, draw
from models.postprocess import clean, position_flags, separate, touches_border
from models.prompt_geometry import centre_ijk, require_inside
from workflow.domain.errors import ConfigurationError
from workflow.domain.geometry import Volume
from workflow.domain.lesion import Flag, LesionPrompt, ModelIdentity, SegmentedLesion
from workflow.ports import Progress, no_progress

_LESIONS_AT_ONCE = 16
"""Lesions whose logits are held in memory (64 MB each at full size)."""


class LesionLocatorSegmenter:
    """Segments lesions on CT (HU) from points, lines, boxes, outlines and masks.

    Prompts with an extent go to the box network, bare points to the point network, unless
    `prompt_kind` says otherwise. `confidence` is how far the network is from indifferent inside the
    mask: the mean over its voxels of 2 p - 1, p the probability of "lesion" (0 to 1; 0 if empty).
    Wrap it in `models.confidence.PromptSensitivity` for the Dice under a moved prompt. The caller
    checks that the series is a CT: a volume does not know its modality.
    """

    def __init__(
        self,
        ensembles: dict[Drawing, Ensemble],
        *,
        prompt_kind: Drawing | None = None,
        mirror: bool = False,
        clean_up: bool = True,
    ) -> None:
        self._ensembles = ensembles
        self._kind = prompt_kind
        self._mirror = mirror
        self._clean_up = clean_up

    @cached_property
    def identity(self) -> ModelIdentity:
        """Name, version, one digest of all networks that may be used, and the parameters.

        A lesion's own `model` names the network that it was found by.
        """
        ensembles = [ensemble for _, ensemble in sorted(self._ensembles.items())]
        digests = [ensemble.checkpoint.sha256 for ensemble in ensembles]
        parameters = _parameters(ensembles[0], self._mirror, self._clean_up)
        parameters["network"] = " ".join(ensemble.checkpoint.part.value for ensemble in ensembles)
        return ModelIdentity(
            name=NAME,
            version=VERSION,
            weights_sha256=digests[0]
            if len(digests) == 1
            else sha256(" ".join(digests).encode()).hexdigest(),
            licence=LICENCE,
            parameters=MappingProxyType(parameters),
        )

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Segment each prompt; see `workflow.ports.Segmenter`.

        Raises
        ------
        UnsuitableInputError
            If the volume is empty, or a prompt lies outside it or is of a kind that the weights
            at hand were not trained on (negative points; points without the point weights).
        """
        if not prompts:
            return []
        require_finite(volume)
        require_inside(volume, prompts)
        orientation = Orientation.of(volume)
        view = orientation.view(volume)
        chosen = [
            choose_drawing(i, prompt, self._kind, set(self._ensembles)) for i, prompt in enumerate(prompts)
        ]
        found: dict[int, SegmentedLesion] = {}
        for drawing in sorted(set(chosen)):
            indices = [i for i, kind in enumerate(chosen) if kind is drawing]
            share = len(found) / len(prompts)

            def report(part: float, what: str, share: float = share, n: int = len(indices)) -> None:
                progress(share + part * n / len(prompts), what)

            for lesion in self._segment(view, indices, prompts, drawing, report):
                found[lesion.index] = replace(lesion, mask=orientation.mask_from_view(lesion.mask))
        progress(1.0, "LesionLocator: done")
        return self._cleaned([found[i] for i in range(len(prompts))], volume, prompts)

    def _segment(
        self,
        view: Volume,
        indices: Sequence[int],
        prompts: Sequence[LesionPrompt],
        drawing: Drawing,
        progress: Progress,
    ) -> list[SegmentedLesion]:
        ensemble = self._ensembles[drawing]
        image = NetworkImage.of(view.array, view.spacing_mm, ensemble.checkpoint.plan)
        drawn = [draw(index, prompts[index], view, image, drawing) for index in indices]
        model = replace(
            self.identity,
            weights_sha256=ensemble.checkpoint.sha256,
            parameters=MappingProxyType(_parameters(ensemble, self._mirror, self._clean_up)),
        )
        found: list[SegmentedLesion] = []
        for first in range(0, len(indices), _LESIONS_AT_ONCE):
            group = slice(first, first + _LESIONS_AT_ONCE)
            share = first / len(indices)

            def report(part: float, what: str, share: float = share, n: int = len(indices[group])) -> None:
                progress(share + part * n / len(indices), what)

            regions = predict(image, drawn[group], ensemble, mirror=self._mirror, progress=report)
            found += [
                _lesion(index, image, region, model)
                for index, region in zip(indices[group], regions, strict=True)
            ]
        return found

    def _cleaned(
        self, found: list[SegmentedLesion], volume: Volume, prompts: Sequence[LesionPrompt]
    ) -> list[SegmentedLesion]:
        if not self._clean_up:
            return [replace(one, flags=one.flags | position_flags(one.mask)) for one in found]
        centres = [centre_ijk(volume, prompt) for prompt in prompts]
        cleaned = [
            clean(one.mask, volume, seeds_ijk=centre[None])
            for one, centre in zip(found, centres, strict=True)
        ]
        divided = separate([mask for mask, _ in cleaned], volume, centres)
        return [
            replace(one, mask=mask, flags=one.flags | flags | more)
            for one, (_, flags), (mask, more) in zip(found, cleaned, divided, strict=True)
        ]


def _lesion(index: int, image: NetworkImage, region: RegionLogits, model: ModelIdentity) -> SegmentedLesion:
    mask = image.restore(region.logits, region.start)
    stop = [s + n for s, n in zip(region.start, region.logits.shape[1:], strict=True)]
    flags = (
        {Flag.TOUCHES_PATCH_BORDER}
        if touches_border(mask, *image.to_scan(region.start, (stop[0], stop[1], stop[2])))
        else set()
    )
    return SegmentedLesion(
        index=index,
        mask=mask,
        confidence=certainty(region.logits) if not mask.is_empty else 0.0,
        model=model,
        flags=frozenset(flags),
    )


def _parameters(ensemble: Ensemble, mirror: bool, clean_up: bool) -> dict[str, str]:
    checkpoint = ensemble.checkpoint
    return {
        "network": checkpoint.part.value,
        "configuration": checkpoint.plan.configuration,
        "folds": " ".join(str(fold.number) for fold in checkpoint.folds),
        "resampling": checkpoint.plan.resampling.family.value,
        "mirroring": "on" if mirror else "off",
        "precision": ensemble.compute.precision,
        "clean_up": "on" if clean_up else "off",
    }


def open_segmenter(
    weights: Path,
    *,
    prompt_kind: str = "auto",
    folds: Sequence[int] | None = None,
    mirror: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch: int | None = None,
    clean_up: bool = True,
) -> LesionLocatorSegmenter:
    """See `models.lesionlocator.open_segmenter`."""
    compute = Compute.choose(device, precision, batch)
    drawings = [Drawing(prompt_kind)] if prompt_kind != "auto" else list(Drawing)
    there = available_parts(Path(weights))
    usable = [drawing for drawing in drawings if PARTS[drawing] in there]
    if not usable:
        wanted = " or ".join(PARTS[drawing] for drawing in drawings)
        raise ConfigurationError(
            f"{weights} holds no {wanted}; it has {', '.join(there)}. Unpack the complete release there"
        )
    ensembles: dict[Drawing, Any] = {
        drawing: open_ensemble(Path(weights), drawing, folds=folds, compute=compute) for drawing in usable
    }
    return LesionLocatorSegmenter(
        ensembles,
        prompt_kind=Drawing(prompt_kind) if prompt_kind != "auto" else None,
        mirror=mirror,
        clean_up=clean_up,
    )
