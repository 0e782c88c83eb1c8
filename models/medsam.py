"""MedSAM: a box on each slice, through `transformers`' SAM with the published weights.

Facts: models are those of bowang-lab/MedSAM d71e8a1 (`MedSAM_Inference.py`); the walk from marker to marker
is that of its `seg_3dnii_sparse_marker`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import sam_names
from models.builtin import MEDSAM
from models.devices import pick_device
from models.display import Display, upright
from models.postprocess import CleanUp, clean, separate
from models.prompt_geometry import Box2D, SlicePlan, centre_ijk, named, require_inside, slice_plan
from models.recent import Recent
from models.weights import load_state_dict, save_safetensors, sha256_of, single_file
from models.windows import Window, choose_window, to_uint8
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import BoolArray, Mask, Volume
from workflow.domain.lesion import Flag, LesionPrompt, ModelIdentity, PointPrompt, SegmentedLesion
from workflow.ports import Progress, no_progress

INPUT_SIZE = 1024
# How far the box of the next slice may leave the mask of the last one, pixels (upstream's value).
_MARGIN_PX = 5
_CACHED_SLICES = 64


def open_segmenter(
    weights: Path,
    *,
    device: str = "auto",
    window: str | Window = "auto",
    clean_up: bool = True,
) -> MedSam:
    """Open MedSAM.

    Parameters
    ----------
    weights
        `medsam_vit_b.pth` (flat), a training checkpoint (`{"model": {"module...": ...}}`), the safetensors
        that `convert` writes, or a folder with one of them.
    window
        See `models.windows.choose_window`.
    clean_up
        False leaves the masks as the network gives them: no holes filled, no component chosen.
    """
    file = single_file(Path(weights), [one.path for one in MEDSAM.weights])
    return MedSam(network=load_network(file, device), weights=file, window=window, clean_up=clean_up)


def load_network(weights: Path, device: str = "auto") -> MedSamNetwork:
    """Build the network and load a checkpoint strictly: every name and shape has to fit."""
    import torch
    from transformers import SamConfig, SamModel

    picked = pick_device(device)
    with torch.device("meta"):
        model = SamModel(SamConfig())
    state = sam_names.rename(load_state_dict(weights), sam_names.SAM)
    sam_names.load_strictly(model, state, what=str(weights))
    return MedSamNetwork(model.to(picked).eval(), picked)


def convert(source: Path, target: Path) -> None:
    """Rewrite a published checkpoint as safetensors under the names that are loaded."""
    state = sam_names.rename(load_state_dict(source), sam_names.SAM)
    save_safetensors(state, target, source=source)


class MedSamNetwork:
    """The network on one slice: image to embedding, embedding and box to logits."""

    def __init__(self, model: Any, device: Any) -> None:
        """Take a `transformers.SamModel` in evaluation mode that is on `device`."""
        self._model, self._device = model, device
        self._size = int(model.config.vision_config.image_size)

    def embed(self, image: NDArray[np.uint8]) -> Any:
        """Embed a slice.

        Parameters
        ----------
        image
            Shape (rows, columns), windowed to 0 .. 255. It is squashed to 1024 x 1024, whatever its aspect
            ratio, and stretched from its own smallest to its own largest value, as in training.

        Returns
        -------
        torch.Tensor
            Shape (1, 256, 64, 64), on the network's device.
        """
        import torch

        pixels = torch.from_numpy(_network_input(image, self._size))[None, None].expand(1, 3, -1, -1)
        with torch.inference_mode():
            return self._model.get_image_embeddings(pixels.to(self._device))

    def low_res_logits(self, embedding: Any, box: Box2D, shape: tuple[int, int]) -> tuple[Any, float]:
        """Logits of one box, tensor of shape (256, 256), and the network's own estimate of its IoU.

        Parameters
        ----------
        box
            (first column, first row, last column, last row) in pixels of a slice of `shape` (rows, columns).
        """
        import torch

        rows, columns = shape
        scale = torch.tensor([columns, rows, columns, rows], dtype=torch.float32)
        boxes = (torch.tensor(box, dtype=torch.float32) / scale * self._size)[None, None]
        with torch.inference_mode():
            found = self._model(
                image_embeddings=embedding, input_boxes=boxes.to(self._device), multimask_output=False
            )
        return found.pred_masks[0, 0, 0].float(), float(found.iou_scores[0, 0, 0])

    def mask(self, logits: Any, shape: tuple[int, int]) -> BoolArray:
        """The mask on the slice's own pixels, bool, `shape` (rows, columns)."""
        import torch

        with torch.inference_mode():
            probability = torch.nn.functional.interpolate(
                torch.sigmoid(logits)[None, None], size=shape, mode="bilinear", align_corners=False
            )
        found: BoolArray = (probability[0, 0] > 0.5).cpu().numpy()
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class MedSam:
    """Segments slice by slice, from the largest marker outwards.

    On a marker's slice the box is the marker's; between two markers it is interpolated; beyond them it is
    the last mask's bounding box and 5 pixels, within the nearest marker's box. A slice without any voxel
    ends that direction. `confidence` is the mean over the slices of the network's own estimate of the IoU
    (0 to 1); wrap it in `models.confidence.PromptSensitivity` for the Dice under a moved prompt.
    """

    network: MedSamNetwork
    weights: Path
    window: str | Window = "auto"
    clean_up: bool = True
    _recent: Recent[_Embeddings] = field(default_factory=Recent, repr=False)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Name, version, digest of the weights and the parameters."""
        return ModelIdentity(
            name=MEDSAM.name,
            version=MEDSAM.version,
            weights_sha256=sha256_of(self.weights),
            licence=MEDSAM.licence,
            parameters=MappingProxyType(
                {
                    "window": self.window if isinstance(self.window, str) else str(self.window),
                    "clean_up": CleanUp().describe() if self.clean_up else "none",
                }
            ),
        )

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """Segment each prompt; see `workflow.ports.Segmenter`.

        Raises
        ------
        UnsuitableInputError
            If a prompt lies outside the volume, or has a point (MedSAM was trained on boxes only).
        """
        require_inside(volume, prompts)
        embeddings = self._recent.of(volume, lambda: _Embeddings(self.network, upright(volume)))
        shown = embeddings.display
        plans = [_plan(shown.volume, index, prompt) for index, prompt in enumerate(prompts)]
        found = []
        for index, (prompt, plan) in enumerate(zip(prompts, plans, strict=True)):
            progress(index / len(prompts), f"MedSAM: lesion {index + 1} of {len(prompts)}")
            found.append(self._one(shown.volume, index, prompt, plan, embeddings))
        progress(1.0, "MedSAM: done")
        return [replace(one, mask=shown.back(one.mask)) for one in self._apart(found, shown.volume, prompts)]

    def _one(
        self, volume: Volume, index: int, prompt: LesionPrompt, plan: SlicePlan, embeddings: _Embeddings
    ) -> SegmentedLesion:
        window_name, window = choose_window(self.window, volume, prompt, plan)
        masks, estimates = self._walk(plan, volume.shape, window, embeddings)
        first = min(masks)
        array = np.stack([masks[slice_] for slice_ in range(first, max(masks) + 1)])
        mask = Mask.from_array(array, (first, 0, 0), volume.shape)
        flags: frozenset[Flag] = frozenset()
        if self.clean_up:
            mask, flags = clean(mask, volume, seeds_ijk=centre_ijk(volume, prompt)[None])
        parameters = MappingProxyType({**self.identity.parameters, "window": window_name})
        return SegmentedLesion(
            index=index,
            mask=mask,
            confidence=float(np.clip(np.mean(estimates), 0, 1)),
            model=replace(self.identity, parameters=parameters),
            flags=flags,
        )

    def _walk(
        self, plan: SlicePlan, shape: tuple[int, int, int], window: Window, embeddings: _Embeddings
    ) -> tuple[dict[int, BoolArray], list[float]]:
        masks: dict[int, BoolArray] = {}
        estimates: list[float] = []

        def look(slice_: int, box: Box2D) -> BoolArray:
            logits, estimate = self.network.low_res_logits(embeddings.of(slice_, window), box, shape[1:])
            masks[slice_] = self.network.mask(logits, shape[1:])
            estimates.append(estimate)
            return masks[slice_]

        key_mask = look(plan.key_slice, plan.markers[plan.key_slice])
        for way in (range(plan.key_slice + 1, plan.last + 1), range(plan.key_slice - 1, plan.first - 1, -1)):
            previous = key_mask
            for slice_ in way:
                box = plan.box_between(slice_) or _next_box(previous, plan.nearest(slice_))
                if box is None:
                    break
                previous = look(slice_, box)
        return masks, estimates

    def _apart(
        self, found: list[SegmentedLesion], volume: Volume, prompts: Sequence[LesionPrompt]
    ) -> list[SegmentedLesion]:
        if not self.clean_up:
            return found
        centres = [centre_ijk(volume, prompt) for prompt in prompts]
        divided = separate([one.mask for one in found], volume, centres)
        return [
            replace(one, mask=mask, flags=one.flags | flags)
            for one, (mask, flags) in zip(found, divided, strict=True)
        ]


class _Embeddings:
    """Embeddings of slices, each computed once for all lesions on it; 4 MB apiece."""

    def __init__(self, network: MedSamNetwork, display: Display) -> None:
        self.display = display
        self._network, self._array = network, display.volume.array
        self._range = (float(self._array.min()), float(self._array.max()))
        self._kept: OrderedDict[tuple[int, Window], Any] = OrderedDict()

    def of(self, slice_: int, window: Window) -> Any:
        key = (slice_, window)
        if key not in self._kept:
            image = to_uint8(self._array[slice_], window, self._range)
            self._kept[key] = self._network.embed(image)
            if len(self._kept) > _CACHED_SLICES:
                self._kept.popitem(last=False)
        return self._kept[key]


def _plan(volume: Volume, index: int, prompt: LesionPrompt) -> SlicePlan:
    plan = slice_plan(volume, prompt)
    if plan is None or any(isinstance(shape, PointPrompt) for shape in prompt.shapes):
        raise UnsuitableInputError(
            f"{named(index, prompt)} has a point, and MedSAM takes none: give a line, a box, an outline or a "
            "mask, or use a model that takes points (`tumorline models list`)"
        )
    return plan


def _next_box(previous: BoolArray, limit: Box2D) -> Box2D | None:
    if not previous.any():
        return None
    rows, columns = (np.flatnonzero(previous.any(axis=axis)) for axis in (1, 0))
    x0, y0 = max(columns[0] - _MARGIN_PX, limit[0]), max(rows[0] - _MARGIN_PX, limit[1])
    x1, y1 = min(columns[-1] + _MARGIN_PX, limit[2]), min(rows[-1] + _MARGIN_PX, limit[3])
    return (float(x0), float(y0), float(x1), float(y1)) if x1 >= x0 and y1 >= y0 else None


def _network_input(image: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.float32]:
    """A slice as MedSAM sees it: float32, shape (size, size), 0 .. 1."""
    from skimage.transform import resize

    squashed = resize(image, (size, size), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    low, high = int(squashed.min()), int(squashed.max())
    stretched: NDArray[np.float32] = ((squashed - low) / max(high - low, 1e-8)).astype(np.float32)
    return stretched
