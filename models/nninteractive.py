"""nnInteractive: refinement with positive and negative clicks, through MIC-DKFZ's own session.

Needs the extra `nninteractive`. Beside a CPU build of torch its torchvision breaks every import of
`transformers`, so it gets an environment of its own there (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.builtin import NNINTERACTIVE
from models.devices import pick_device
from models.postprocess import CleanUp, clean, separate
from models.prompt_geometry import (
    centre_ijk,
    named,
    negative_points,
    positive_points,
    require_inside,
    resample_mask,
    slice_plan,
)
from models.weights import sha256_of
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import Mask, Volume
from workflow.domain.lesion import Flag, LesionPrompt, MaskPrompt, ModelIdentity, SegmentedLesion
from workflow.ports import Progress, no_progress


class Session(Protocol):
    """What is used of `nnInteractiveInferenceSession` (2.6)."""

    def set_image(self, image: NDArray[Any]) -> None:
        """Take an image, shape (1, slices, rows, columns)."""

    def set_target_buffer(self, target_buffer: NDArray[np.uint8]) -> None:
        """Where results are written, shape (slices, rows, columns)."""

    def reset_interactions(self) -> None:
        """Begin with another lesion."""

    def add_point_interaction(
        self, coordinates: tuple[int, ...], include_interaction: bool, run_prediction: bool = True
    ) -> Any:
        """A click at a voxel."""

    def add_bbox_interaction(
        self, bbox_coords: list[list[int]], include_interaction: bool, run_prediction: bool = True
    ) -> Any:
        """A flat box: half-open limits on (slice, row, column), one voxel thick on one of them."""

    def add_initial_seg_interaction(
        self, initial_seg: NDArray[np.uint8], run_prediction: bool = False
    ) -> Any:
        """A mask to begin with; forgets the other interactions."""


def open_segmenter(
    weights: Path, *, device: str = "auto", clean_up: bool = True, autozoom: bool = True
) -> NnInteractive:
    """Open nnInteractive.

    Parameters
    ----------
    weights
        The folder of the trained model (`nnInteractive_v1.0`, with `fold_0` and its LICENSE).
    clean_up
        False leaves the masks as the network gives them.
    autozoom
        Let it zoom out where a lesion reaches the border of its field of view.

    Raises
    ------
    ConfigurationError
        If the library is not installed or does not import here.
    """
    try:
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
    except (ImportError, RuntimeError) as error:
        # RuntimeError: a torchvision that was built for another torch.
        raise ConfigurationError(
            f"nnInteractive can't be imported ({error}): pip install 'tumorline[nninteractive]', in an "
            "environment of its own where torch is a CPU build (docs/models.md)"
        ) from error
    session = nnInteractiveInferenceSession(
        device=pick_device(device), use_torch_compile=False, do_autozoom=autozoom
    )
    session.initialize_from_trained_model_folder(str(weights))
    return NnInteractive(session=session, weights=Path(weights), clean_up=clean_up, autozoom=autozoom)


@dataclass(frozen=True, kw_only=True, eq=False)
class NnInteractive:
    """Refines with everything a prompt has: an initial mask, a flat box on each marked slice, clicks.

    One lesion at a time, all of its hints before one prediction. `confidence` is 0.5, because the model gives
    none: wrap it in `models.confidence.PromptSensitivity`.
    """

    session: Session
    weights: Path
    clean_up: bool = True
    autozoom: bool = True

    @cached_property
    def identity(self) -> ModelIdentity:
        """Name, version, digest, and the licence that the weight folder itself states, if it does."""
        licence = self.weights / "LICENSE"
        stated = licence.read_text(encoding="utf-8").strip().splitlines() if licence.is_file() else []
        return ModelIdentity(
            name=NNINTERACTIVE.name,
            version=NNINTERACTIVE.version,
            weights_sha256=sha256_of(self.weights),
            licence=stated[0].strip() if stated else NNINTERACTIVE.licence,
            parameters=MappingProxyType(
                {
                    "autozoom": "on" if self.autozoom else "off",
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
            If a hint lies outside the volume (it never reaches the session, which a stray click leaves
            unusable), or a prompt has negative points only.
        """
        require_inside(volume, prompts)
        for index, prompt in enumerate(prompts):
            if len(negative_points(prompt)) == len(prompt.shapes):
                raise UnsuitableInputError(
                    f"{named(index, prompt)} has negative points only; add one in the lesion"
                )
        if not prompts:
            return []
        # The library calls its axes x, y, z, and means an array as SimpleITK gives it: slices first.
        self.session.set_image(np.ascontiguousarray(volume.array, dtype=np.float32)[None])
        target = np.zeros(volume.shape, dtype=np.uint8)
        self.session.set_target_buffer(target)
        found = []
        for index, prompt in enumerate(prompts):
            progress(index / len(prompts), f"nnInteractive: lesion {index + 1} of {len(prompts)}")
            found.append(self._one(volume, index, prompt, target))
        progress(1.0, "nnInteractive: done")
        return self._apart(found, volume, prompts)

    def _one(
        self, volume: Volume, index: int, prompt: LesionPrompt, target: NDArray[np.uint8]
    ) -> SegmentedLesion:
        self.session.reset_interactions()
        target[:] = 0
        hints = self._hints(volume, prompt)
        for number, hint in enumerate(hints, 1):
            hint(number == len(hints))
        mask = Mask.from_array(target > 0)
        flags: frozenset[Flag] = frozenset()
        if self.clean_up:
            mask, flags = clean(mask, volume, seeds_ijk=centre_ijk(volume, prompt)[None])
        return SegmentedLesion(index=index, mask=mask, confidence=0.5, model=self.identity, flags=flags)

    def _hints(self, volume: Volume, prompt: LesionPrompt) -> list[Any]:
        """Calls that add one hint each, told whether to predict after it; the mask first, clicks last."""
        hints: list[Any] = []
        drawn = [shape for shape in prompt.shapes if isinstance(shape, MaskPrompt)]
        if drawn:
            voxels = np.logical_or.reduce([resample_mask(shape.volume, volume) for shape in drawn])
            initial = np.ascontiguousarray(voxels, dtype=np.uint8)
            hints.append(lambda last: self.session.add_initial_seg_interaction(initial, run_prediction=last))
        others = tuple(shape for shape in prompt.shapes if not isinstance(shape, MaskPrompt))
        plan = slice_plan(volume, replace(prompt, shapes=others)) if others else None
        for slice_, (x0, y0, x1, y1) in (plan.markers if plan else {}).items():
            box = [
                [slice_, slice_ + 1],
                [int(np.floor(y0)), int(np.ceil(y1)) + 1],
                [int(np.floor(x0)), int(np.ceil(x1)) + 1],
            ]
            hints.append(
                lambda last, box=box: self.session.add_bbox_interaction(box, True, run_prediction=last)
            )
        for click in (*positive_points(prompt), *negative_points(prompt)):
            index = np.rint(volume.ijk(np.asarray(click.position_lps))).astype(int)
            k, j, i = (int(v) for v in np.clip(index, 0, np.asarray(volume.shape) - 1))
            hints.append(
                lambda last, place=(k, j, i), include=click.is_positive: self.session.add_point_interaction(
                    place, include, run_prediction=last
                )
            )
        return hints

    def _apart(
        self, found: list[SegmentedLesion], volume: Volume, prompts: Sequence[LesionPrompt]
    ) -> list[SegmentedLesion]:
        if not self.clean_up:
            return found
        divided = separate([one.mask for one in found], volume, [centre_ijk(volume, one) for one in prompts])
        return [
            replace(one, mask=mask, flags=one.flags | flags)
            for one, (mask, flags) in zip(found, divided, strict=True)
        ]
