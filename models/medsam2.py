"""MedSAM2: a prompt on the key slice carried through the volume, through `transformers`' SAM 2.

Facts: models are those of bowang-lab/MedSAM2 332f30d (SAM2.1-tiny at 512 pixels); the order of calls is that
of its `medsam2_infer_3D_CT.py`: forward from the key slice, then, from a fresh start, backward, then both
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import sam_names
from models.builtin import MEDSAM2
from models.devices import pick_device
from models.display import Display, upright
from models.postprocess import CleanUp, clean, separate
from models.prompt_geometry import (
    Box2D,
    SlicePlan,
    centre_ijk,
    named,
    negative_points,
    positive_points,
    require_inside,
    resample_mask,
    slice_plan,
)
from models.recent import Recent
from models.weights import load_state_dict, save_safetensors, sha256_of, single_file
from models.windows import Window, choose_window, to_uint8
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import BoolArray, Mask, Volume
from workflow.domain.lesion import Flag, LesionPrompt, MaskPrompt, ModelIdentity, SegmentedLesion
from workflow.ports import Progress, no_progress

INPUT_SIZE = 512
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, as in training
_CACHED_SLICES = 24  # 27 MB apiece
_LESION = 1  # the only object of a session


def open_segmenter(
    weights: Path,
    *,
    device: str = "auto",
    window: str | Window = "auto",
    clean_up: bool = True,
    reach_factor: float = 2.0,
    reach_mm: float = 60.0,
    precision: str = "float32",
) -> MedSam2:
    """Open MedSAM2.

    Parameters
    ----------
    weights
        `MedSAM2_*.pt` (`{"model": state dict}`), a flat or `module.` checkpoint, the safetensors that
        `convert` writes, or a folder with one of them.
    window
        See `models.windows.choose_window`.
    clean_up
        False leaves the masks as the network gives them: no holes filled, no component chosen.
    reach_factor, reach_mm
        How far from the key slice it looks at most: so many half diameters for a line, a flat box or an
        outline, so many mm for a point. A box with depth is its own limit.
    precision
        "float32", or "bfloat16" on a GPU (as upstream runs it).
    """
    file = single_file(Path(weights), [one.path for one in MEDSAM2.weights])
    return MedSam2(
        network=load_network(file, device, precision),
        weights=file,
        window=window,
        clean_up=clean_up,
        reach_factor=reach_factor,
        reach_mm=reach_mm,
    )


def load_network(weights: Path, device: str = "auto", precision: str = "float32") -> MedSam2Network:
    """Build the network and load a checkpoint strictly: every name and shape has to fit."""
    import torch
    from transformers import Sam2VideoModel

    if precision not in ("float32", "bfloat16"):
        raise ConfigurationError(f"the precision '{precision}' is neither float32 nor bfloat16")
    picked = pick_device(device)
    # Not on the meta device: some of its buffers are computed, not loaded.
    model = Sam2VideoModel(configuration())
    state = sam_names.stack_point_embeddings(sam_names.rename(load_state_dict(weights), sam_names.SAM2))
    sam_names.load_strictly(model, state, what=str(weights))
    is_half = precision == "bfloat16" and picked.type == "cuda"
    return MedSam2Network(model.to(picked).eval(), picked, torch.bfloat16 if is_half else None)


def configuration() -> Any:
    """The `transformers` configuration of SAM2.1-tiny at 512 pixels (`sam2.1_hiera_t512.yaml`)."""
    from transformers import Sam2VideoConfig

    config = Sam2VideoConfig(image_size=INPUT_SIZE, memory_attention_rope_feat_sizes=[32, 32])
    config.vision_config.backbone_config.image_size = [INPUT_SIZE, INPUT_SIZE]
    config.vision_config.backbone_feature_sizes = [[128, 128], [64, 64], [32, 32]]
    config.prompt_encoder_config.image_size = INPUT_SIZE
    return config


def convert(source: Path, target: Path) -> None:
    """Rewrite a published checkpoint as safetensors under the names that are loaded."""
    state = sam_names.stack_point_embeddings(sam_names.rename(load_state_dict(source), sam_names.SAM2))
    save_safetensors(state, target, source=source)


# ---------------------------------------------------------------- the network


@dataclass(frozen=True, kw_only=True)
class SliceHint:
    """What is shown on one slice: a box and points, or a mask, in the slice's own pixels.

    `points` are (column, row, is in the lesion); `mask` is bool, shape (rows, columns).
    """

    box: Box2D | None = None
    points: tuple[tuple[float, float, bool], ...] = ()
    mask: BoolArray | None = field(default=None, compare=False)


class Frames:
    """The slices of a volume as SAM 2's video: made when they are looked at, as long as the whole volume.

    Its length is part of the computation (object pointers are dated by it when there are fewer than 16
    slices), so the range is limited by where propagation stops, never by cutting the volume.
    """

    def __init__(self, array: NDArray[Any], window: Window, size: int = INPUT_SIZE) -> None:
        """Take an array of shape (slices, rows, columns), the window in its units, the network's size."""
        self._array, self._window, self._size = array, window, size
        self._range = (float(array.min()), float(array.max()))

    def __len__(self) -> int:
        """How many slices there are."""
        return len(self._array)

    def __getitem__(self, index: int) -> Any:
        """One slice: float32 tensor of shape (3, size, size), normalised as in training."""
        import torch
        from PIL import Image

        grey = Image.fromarray(to_uint8(self._array[index], self._window, self._range))
        resized = np.asarray(grey.resize((self._size, self._size), Image.Resampling.BICUBIC))
        pixels = torch.from_numpy(resized.astype(np.float32) / 255).expand(3, -1, -1)
        mean, std = (torch.tensor(value)[:, None, None] for value in (_MEAN, _STD))
        return (pixels - mean) / std


class MedSam2Network:
    """The network on a stack of slices."""

    def __init__(self, model: Any, device: Any, autocast: Any = None) -> None:
        """Take a `transformers.Sam2VideoModel` on `device`, and a dtype to compute in or None for its own."""
        self._model, self._device, self._autocast = model, device, autocast
        self._size = int(model.config.image_size)

    def session(self, array: NDArray[Any], window: Window) -> Any:
        """State of one volume, shape (slices, rows, columns), in a window in its units.

        Embeddings of its slices are kept from lesion to lesion.
        """
        import torch
        from transformers import Sam2VideoInferenceSession

        session = Sam2VideoInferenceSession(
            video_height=array.shape[1],
            video_width=array.shape[2],
            inference_device=self._device,
            inference_state_device=self._device,
            dtype=torch.float32,
            max_vision_features_cache_size=_CACHED_SLICES,
        )
        session.processed_frames = Frames(array, window, self._size)
        return session

    def propagate(
        self, session: Any, hints: Mapping[int, SliceHint], start: int, last: int
    ) -> Iterator[tuple[int, Any, float]]:
        """Carry the hints from a slice to another one, upwards or downwards, from a fresh start.

        Yields
        ------
        tuple
            Slice index, logits on the slice's own pixels (tensor, float32, shape (rows, columns)), and the
            probability (0 to 1) that the lesion is on the slice at all. The start comes first.
        """
        session.reset_tracking_data()
        for slice_, hint in hints.items():
            self._show(session, slice_, hint)
            self._look(session, slice_)
        step = 1 if last >= start else -1
        for slice_ in range(start, last + step, step):
            logits, presence = self._look(session, slice_, downwards=step < 0)
            yield slice_, logits, presence

    def _look(self, session: Any, slice_: int, *, downwards: bool = False) -> tuple[Any, float]:
        import torch

        with torch.inference_mode(), self._precision():
            found = self._model(session, frame_idx=slice_, reverse=downwards)
            logits = torch.nn.functional.interpolate(
                found.pred_masks.float(),
                size=(session.video_height, session.video_width),
                mode="bilinear",
                align_corners=False,
            )
        return logits[0, 0], float(torch.sigmoid(found.object_score_logits.float()).max())

    def _show(self, session: Any, slice_: int, hint: SliceHint) -> None:
        import torch

        lesion = session.obj_id_to_idx(_LESION)
        if hint.mask is not None:
            resized = torch.nn.functional.interpolate(
                torch.from_numpy(hint.mask.astype(np.float32))[None, None],
                size=(self._size, self._size),
                mode="bilinear",
                antialias=True,
            )
            session.add_mask_inputs(lesion, slice_, (resized >= 0.5).float())
        else:
            places, labels = _points_of(hint, (session.video_height, session.video_width), self._size)
            session.add_point_inputs(lesion, slice_, {"point_coords": places, "point_labels": labels})
        session.obj_with_new_inputs = [_LESION]

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        import torch

        return torch.autocast(self._device.type, dtype=self._autocast)


def _points_of(hint: SliceHint, shape: tuple[int, int], size: int) -> tuple[Any, Any]:
    """Points in the network's pixels, (1, 1, n, 2), and labels: 2, 3 a box; 1 in, 0 beside the lesion."""
    import torch

    places: list[tuple[float, float]] = []
    labels: list[int] = []
    if hint.box is not None:
        places += [(hint.box[0], hint.box[1]), (hint.box[2], hint.box[3])]
        labels += [2, 3]
    places += [(column, row) for column, row, _ in hint.points]
    labels += [int(is_positive) for _, _, is_positive in hint.points]
    rows, columns = shape
    scaled = torch.tensor(places, dtype=torch.float32) / torch.tensor([columns, rows]) * size
    return scaled[None, None], torch.tensor(labels, dtype=torch.int32)[None, None]


# ---------------------------------------------------------------- the segmenter


@dataclass(frozen=True, kw_only=True, eq=False)
class MedSam2:
    """Segments by propagation from the key slice, both ways, and joins the two.

    A slice without any voxel ends its direction: nothing behind it could be connected to the lesion.
    `confidence` is the mean over the slices with voxels of the network's own probability that the object is
    there (0 to 1); wrap it in `models.confidence.PromptSensitivity` for the Dice under a moved prompt.
    """

    network: MedSam2Network
    weights: Path
    window: str | Window = "auto"
    clean_up: bool = True
    reach_factor: float = 2.0
    reach_mm: float = 60.0
    _recent: Recent[tuple[Display, dict[Window, Any]]] = field(default_factory=Recent, repr=False)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Name, version, digest of the weights and the parameters."""
        return ModelIdentity(
            name=MEDSAM2.name,
            version=MEDSAM2.version,
            weights_sha256=sha256_of(self.weights),
            licence=MEDSAM2.licence,
            parameters=MappingProxyType(
                {
                    "window": self.window if isinstance(self.window, str) else str(self.window),
                    "clean_up": CleanUp().describe() if self.clean_up else "none",
                    "reach_factor": f"{self.reach_factor:g}",
                    "reach_mm": f"{self.reach_mm:g}",
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
            If a prompt lies outside the volume or shows nothing but negative points.
        """
        require_inside(volume, prompts)
        shown, sessions = self._recent.of(volume, lambda: (upright(volume), {}))
        plans = [self._plan(shown.volume, index, prompt) for index, prompt in enumerate(prompts)]
        found = []
        for index, (prompt, plan) in enumerate(zip(prompts, plans, strict=True)):
            progress(index / len(prompts), f"MedSAM2: lesion {index + 1} of {len(prompts)}")
            name, window = choose_window(self.window, shown.volume, prompt, plan)
            if window not in sessions:
                sessions[window] = self.network.session(shown.volume.array, window)
            found.append(self._one(shown.volume, index, prompt, plan, sessions[window], name))
        progress(1.0, "MedSAM2: done")
        return [replace(one, mask=shown.back(one.mask)) for one in self._apart(found, shown.volume, prompts)]

    def _one(
        self, volume: Volume, index: int, prompt: LesionPrompt, plan: SlicePlan, session: Any, window: str
    ) -> SegmentedLesion:
        hints = _hints(volume, prompt, plan)
        masks: dict[int, BoolArray] = {}
        presence: list[float] = []
        for end in (plan.last, plan.first):
            for slice_, logits, probability in self.network.propagate(session, hints, plan.key_slice, end):
                mask = (logits > 0).cpu().numpy()
                masks[slice_] = masks[slice_] | mask if slice_ in masks else mask
                if not mask.any():
                    break
                presence.append(probability)
        _erase_at_negative_points(volume, prompt, masks, set(hints))
        first = min(masks)
        joined = Mask.from_array(
            np.stack([masks[slice_] for slice_ in range(first, max(masks) + 1)]), (first, 0, 0), volume.shape
        )
        flags: frozenset[Flag] = frozenset()
        if self.clean_up:
            joined, flags = clean(joined, volume, seeds_ijk=_seeds(volume, prompt))
        return SegmentedLesion(
            index=index,
            mask=joined,
            confidence=float(np.mean(presence)) if presence else 0.0,
            model=replace(
                self.identity,
                parameters=MappingProxyType({**self.identity.parameters, "window": window}),
            ),
            flags=flags,
        )

    def _plan(self, volume: Volume, index: int, prompt: LesionPrompt) -> SlicePlan:
        plan = slice_plan(volume, prompt, reach_factor=self.reach_factor)
        if plan is not None:
            return plan
        clicks = positive_points(prompt)
        if not clicks:
            raise UnsuitableInputError(
                f"{named(index, prompt)} has negative points only; add a point, line or box in the lesion"
            )
        places = [volume.ijk(np.asarray(click.position_lps)) for click in clicks]
        markers: dict[int, Box2D] = {}
        for place in places:
            slice_ = int(np.clip(round(float(place[0])), 0, volume.shape[0] - 1))
            markers[slice_] = (float(place[2]), float(place[1]), float(place[2]), float(place[1]))
        slices = sorted(markers)
        reach = max(1, int(np.ceil(self.reach_mm / volume.spacing_mm[0])))
        return SlicePlan(
            markers=MappingProxyType({slice_: markers[slice_] for slice_ in slices}),
            key_slice=slices[len(slices) // 2],
            first=max(0, slices[0] - reach),
            last=min(volume.shape[0] - 1, slices[-1] + reach),
        )

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


def _hints(volume: Volume, prompt: LesionPrompt, plan: SlicePlan) -> dict[int, SliceHint]:
    """What to show on which slice: the key slice first. A mask is shown on the key slice only."""
    drawn = [shape for shape in prompt.shapes if isinstance(shape, MaskPrompt)]
    if drawn:
        voxels = np.logical_or.reduce(
            [resample_mask(shape.volume, volume)[plan.key_slice] for shape in drawn]
        )
        if voxels.any():
            return {plan.key_slice: SliceHint(mask=voxels)}
    points: dict[int, list[tuple[float, float, bool]]] = {}
    for click in (*positive_points(prompt), *negative_points(prompt)):
        slice_, row, column = volume.ijk(np.asarray(click.position_lps))
        index = int(np.clip(round(float(slice_)), 0, volume.shape[0] - 1))
        points.setdefault(index, []).append((float(column), float(row), click.is_positive))
    has_boxes = slice_plan(volume, prompt) is not None
    hints = {
        slice_: SliceHint(
            box=plan.markers[slice_] if has_boxes else None, points=tuple(points.get(slice_, ()))
        )
        for slice_ in plan.markers
    }
    return {plan.key_slice: hints.pop(plan.key_slice), **hints}


def _seeds(volume: Volume, prompt: LesionPrompt) -> NDArray[Any]:
    clicks = [volume.ijk(np.asarray(click.position_lps)) for click in positive_points(prompt)]
    return np.stack([centre_ijk(volume, prompt), *clicks])


def _erase_at_negative_points(
    volume: Volume, prompt: LesionPrompt, masks: dict[int, BoolArray], shown: set[int]
) -> None:
    """On a slice without another hint, a negative click takes away the part of the mask that it lies in."""
    from scipy.ndimage import label

    for click in negative_points(prompt):
        slice_, row, column = np.rint(volume.ijk(np.asarray(click.position_lps))).astype(int)
        if int(slice_) in shown or int(slice_) not in masks:
            continue
        labels, _ = label(masks[int(slice_)])
        here = labels[np.clip(row, 0, volume.shape[1] - 1), np.clip(column, 0, volume.shape[2] - 1)]
        masks[int(slice_)] = masks[int(slice_)] & ~((labels == here) & (here > 0))
