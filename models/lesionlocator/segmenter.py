"""Lesions from prompts: the `Segmenter` port on LesionLocator's segmentation networks. CT in HU only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.lesionlocator import LICENCE, NAME, VERSION
from models.lesionlocator.checkpoints import Checkpoint, Part, available_parts, open_checkpoint
from models.lesionlocator.inference import Compute, Ensemble, predict_logits
from models.lesionlocator.networks import ResidualEncoderUNet
from models.lesionlocator.orientation import Orientation
from models.lesionlocator.plans import Triple
from models.lesionlocator.preprocessing import NetworkImage, require_finite
from models.lesionlocator.prompts import Drawing
from models.lesionlocator.reading import choose_drawing, draw
from models.lesionlocator.windows import Window, gaussian, padding_before, windows_for
from models.postprocess import clean, position_flags, separate, touches_border
from models.prompt_geometry import centre_ijk, require_inside
from workflow.domain.errors import ConfigurationError
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import Flag, LesionPrompt, ModelIdentity, SegmentedLesion
from workflow.ports import Progress, no_progress

_PART = {Drawing.BOX: Part.BOX, Drawing.POINT: Part.POINT}
_WINDOWS_AT_ONCE = 8
"""Windows whose input is held in memory (64 MB each) while the folds take turns."""


@dataclass(frozen=True, eq=False)
class RegionLogits:
    """Logits where a lesion was looked for.

    `logits` is float32, (2, z, y, x): background and lesion, from voxel `start` of the network's grid.
    Elsewhere there are none. `windows` are those predicted, in the padded volume.
    """

    start: Triple
    logits: NDArray[np.float32]
    windows: tuple[Window, ...]


@dataclass(frozen=True, eq=False)
class _Job:
    lesion: int
    window: Window


class _Sum:
    """Weighted sum of overlapping windows of one lesion; a single window needs no weights."""

    def __init__(self, windows: Sequence[Window], shape: Triple, before: Triple, patch: Triple) -> None:
        self.windows = tuple(windows)
        self._before = before
        starts = np.array([w.start for w in windows]) - before
        stops = np.array([w.stop for w in windows]) - before
        low = np.maximum(starts.min(axis=0), 0)
        high = np.minimum(stops.max(axis=0), shape)
        self.start: Triple = (int(low[0]), int(low[1]), int(low[2]))
        size = tuple(int(n) for n in high - low)
        self._logits = np.zeros((2, *size), dtype=np.float32)
        self._weights = np.zeros(size, dtype=np.float32) if len(windows) > 1 else None
        self._gaussian = gaussian(patch) if len(windows) > 1 else None
        self._added = 0

    def add(self, window: Window, logits: NDArray[np.float32]) -> None:
        """Add a window's logits, shape (2, *patch)."""
        to, of = [], []
        for axis in range(3):
            first = window.start[axis] - self._before[axis] - self.start[axis]
            size = self._logits.shape[axis + 1]
            low, high = max(0, first), min(size, first + logits.shape[axis + 1])
            to.append(slice(low, high))
            of.append(slice(low - first, high - first))
        if self._weights is None or self._gaussian is None:
            self._logits[:, *to] += logits[:, *of]
            self._added += 1
        else:
            weight = self._gaussian[*of]
            self._logits[:, *to] += logits[:, *of] * weight
            self._weights[*to] += weight

    def mean(self) -> RegionLogits:
        """What was added, averaged."""
        divisor = self._added if self._weights is None else self._weights
        return RegionLogits(self.start, self._logits / np.float32(divisor), self.windows)


def predict(
    image: NetworkImage,
    prompts: Sequence[Mask],
    ensemble: Ensemble,
    *,
    mirror: bool = False,
    progress: Progress = no_progress,
) -> list[RegionLogits]:
    """Logits of each prompt, averaged over folds, mirrorings and overlapping windows.

    Parameters
    ----------
    prompts
        Drawn on the network's grid (`models.lesionlocator.prompts`), none empty.
    mirror
        Whether each window is also shown mirrored along the axes that the checkpoint allows.
    """
    patch = ensemble.checkpoint.plan.patch
    before = padding_before(image.shape, patch)
    sums = [_Sum(windows_for(prompt, patch), image.shape, before, patch) for prompt in prompts]
    jobs = [_Job(index, window) for index, total in enumerate(sums) for window in total.windows]
    done, passes = 0, len(jobs) * len(ensemble)
    for first in range(0, len(jobs), _WINDOWS_AT_ONCE):
        group = jobs[first : first + _WINDOWS_AT_ONCE]
        inputs = torch.stack([window_input(image, prompts[job.lesion], job.window) for job in group])
        for fold, network in ensemble.networks():
            axes = fold.mirroring_axes if mirror else ()
            for at in range(0, len(group), ensemble.compute.batch):
                batch = slice(at, at + ensemble.compute.batch)
                logits = predict_logits(network, inputs[batch], axes, ensemble.compute)
                for job, found in zip(group[batch], logits, strict=True):
                    sums[job.lesion].add(job.window, found)
                done += len(logits)
                progress(done / passes, f"LesionLocator: window {done} of {passes}")
    return [total.mean() for total in sums]


def window_input(image: NetworkImage, prompt: Mask, window: Window) -> torch.Tensor:
    """The network's input for one window: image and prompt, float32, (2, *patch), 0 outside the volume."""
    before = padding_before(image.shape, image.plan.patch)
    start = [max(0, a - b) for a, b in zip(window.start, before, strict=True)]
    stop = [min(n, e - b) for n, e, b in zip(image.shape, window.stop, before, strict=True)]
    first, last = (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
    inner = tuple(
        slice(a + b - w, e + b - w) for a, e, b, w in zip(start, stop, before, window.start, strict=True)
    )
    out = torch.zeros((2, *image.plan.patch))
    out[0][inner] = torch.from_numpy(image.window(first, last))
    out[1][inner] = torch.from_numpy(_block(prompt, first, last).astype(np.float32))
    return out


def _block(mask: Mask, start: Triple, stop: Triple) -> NDArray[np.bool_]:
    """A box of a mask's grid as an array."""
    out = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=bool)
    low = np.maximum(mask.start_ijk, start)
    high = np.minimum(mask.stop_ijk, stop)
    if np.all(high > low):
        to = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
        of = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, mask.start_ijk, strict=True))
        out[to] = mask.voxels[of]
    return out


def open_ensemble(
    weights: Path, drawing: Drawing, *, folds: Sequence[int] | None = None, compute: Compute
) -> Ensemble:
    """The network for one kind of prompt, with the folds of its checkpoint."""
    return Ensemble(open_checkpoint(weights, _PART[drawing], folds), _build, compute)


def _build(checkpoint: Checkpoint) -> ResidualEncoderUNet:
    return ResidualEncoderUNet(checkpoint.plan.architecture)


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
        regions = predict(image, drawn, ensemble, mirror=self._mirror, progress=progress)
        model = replace(
            self.identity,
            weights_sha256=ensemble.checkpoint.sha256,
            parameters=MappingProxyType(_parameters(ensemble, self._mirror, self._clean_up)),
        )
        return [_lesion(index, image, region, model) for index, region in zip(indices, regions, strict=True)]

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


def certainty(logits: NDArray[np.float32]) -> float:
    """Mean of 2 p - 1 over the voxels that lean towards the lesion, p its probability; 0 if none does."""
    lead = logits[1] - logits[0]
    leaning = lead[lead > 0].astype(np.float64)
    return float(np.mean(np.tanh(leaning / 2))) if leaning.size else 0.0


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
    usable = [drawing for drawing in drawings if _PART[drawing] in there]
    if not usable:
        wanted = " or ".join(_PART[drawing] for drawing in drawings)
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
