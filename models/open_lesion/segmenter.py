"""The network behind the port: prompts to patches, masks back to the volume's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.display import upright
from models.open_lesion.encoding import (
    Drawing,
    Floats,
    PromptCode,
    Window,
    cube,
    draw_box,
    draw_click,
    encode,
    window_of_box,
)
from models.open_lesion.frame import Frame, length_mm
from models.postprocess import CleanUp, Keep, clean, keep_component, separate
from models.prompt_geometry import centre_ijk, negative_points, positive_points, require_inside
from workflow.domain.errors import ConfigurationError
from workflow.domain.geometry import FloatArray, Mask, Volume, dice, mask_on_grid, union
from workflow.domain.lesion import (
    Flag,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    ModelIdentity,
    PromptSource,
    SegmentedLesion,
)
from workflow.domain.measurement import measure
from workflow.ports import Progress, no_progress

if TYPE_CHECKING:
    from models.open_lesion.network import LesionNet

NAME = "open-lesion"
VERSION = "1"

# A contour that a person drew on this very image is what they mean, not a hint.
_DRAWN = frozenset(
    {
        PromptSource.SEGMENTATION,
        PromptSource.STRUCTURE_SET,
        PromptSource.READER,
        PromptSource.MEASUREMENT_REPORT,
    }
)
# Log odds to cut at, the network's own first: it stays unless another one fits a line clearly better.
_CUTS = (0.0, -0.5, 0.5, -1.0, 1.0, -1.5, 1.5, -2.0)
_SAME_LENGTH = 0.03  # as a logarithm
# A patch needs a few voxels of the scan to see anything.
_LEAST_VOXELS = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the segmenter can be told; each enters the model identity.

    Attributes
    ----------
    mirrored
        How many mirror images of a patch (1 to 8) a mask is the mean of; a click's first looks take one.
    click_sides_mm
        Sides of the cubes that are looked at around a click.
    low_below
        A lesion with a lower confidence is flagged LOW_CONFIDENCE.
    """

    mirrored: int = 4
    click_sides_mm: tuple[float, ...] = (14, 20, 28, 40, 56, 80, 112, 160)
    low_below: float = 0.6

    def __post_init__(self) -> None:
        if not 1 <= self.mirrored <= 8:
            raise ConfigurationError(f"mirrored is {self.mirrored}; a patch has 1 to 8 mirror images")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What the network says of one patch."""

    window: Window
    log_odds: Floats
    quality: float


class OpenLesionSegmenter:
    """Segments from points, lines, boxes, outlines and masks, on any grid and modality.

    The confidence is the Dice that the network's second head expects of its own mask; 1.0 for a mask that a
    reader drew, which is taken as it is.
    """

    def __init__(
        self,
        network: LesionNet,
        weights_sha256: str | None,
        *,
        device: str = "cpu",
        settings: Settings | None = None,
    ) -> None:
        """Take a trained network; `weights_sha256` names it in the provenance."""
        self._network = network.eval().to(device)
        self._device = device
        self._sha256 = weights_sha256
        self._settings = settings or Settings()

    @property
    def identity(self) -> ModelIdentity:
        """See `workflow.ports.Segmenter`."""
        parameters = {name: str(value) for name, value in asdict(self._settings).items()}
        return ModelIdentity(
            name=NAME,
            version=VERSION,
            weights_sha256=self._sha256,
            licence="Apache-2.0",
            parameters=parameters,
        )

    def segment(
        self, volume: Volume, prompts: Sequence[LesionPrompt], *, progress: Progress = no_progress
    ) -> list[SegmentedLesion]:
        """See `workflow.ports.Segmenter`."""
        require_inside(volume, prompts)
        centres = [centre_ijk(volume, prompt) for prompt in prompts]
        shown = upright(volume)
        frame = Frame.of(shown.volume)
        found: list[tuple[Mask, float]] = []
        flags: list[frozenset[Flag]] = []
        for index, (prompt, centre) in enumerate(zip(prompts, centres, strict=True)):
            progress(index / len(prompts), f"segmenting lesion {index + 1} of {len(prompts)}")
            drawn = [shape.volume for shape in prompt.shapes if isinstance(shape, MaskPrompt)]
            if drawn and prompt.source in _DRAWN:
                mask, flag = clean(
                    union([mask_on_grid(one, volume) for one in drawn]), volume, how=CleanUp(keep=Keep.ALL)
                )
                found.append((mask, 1.0))
            else:
                raw, quality = self._found(frame, prompt)
                mask, flag = clean(
                    shown.back(raw), volume, seeds_ijk=centre[None], how=CleanUp(clip_to_body=False)
                )
                found.append((mask, 0.0 if mask.is_empty else quality))
            flags.append(flag)
        progress(1.0, "segmented")
        parted = separate([mask for mask, _ in found], volume, centres)
        return [
            SegmentedLesion(
                index=index,
                mask=mask,
                confidence=quality,
                model=self.identity,
                flags=flag | touching | self._doubts(mask, quality),
            )
            for index, ((mask, touching), (_, quality), flag) in enumerate(
                zip(parted, found, flags, strict=True)
            )
        ]

    def _doubts(self, mask: Mask, quality: float) -> frozenset[Flag]:
        if mask.is_empty:
            return frozenset({Flag.EMPTY, Flag.LOW_CONFIDENCE})
        return frozenset({Flag.LOW_CONFIDENCE}) if quality < self._settings.low_below else frozenset()

    # ------------------------------------------------------------ one lesion

    def _found(self, frame: Frame, prompt: LesionPrompt) -> tuple[Mask, float]:
        inside = frame.points([one.position_lps for one in positive_points(prompt)])
        beside = frame.points([one.position_lps for one in negative_points(prompt)])
        shaped = frame.drawn(prompt, inside, beside)
        if shaped is None:
            return self._from_click(frame, inside, beside)
        (seen,) = self._look(frame, [shaped], self._settings.mirrored)
        lines = [shape for shape in prompt.shapes if isinstance(shape, LinePrompt)]
        if lines and shaped[1].code in (PromptCode.LINE, PromptCode.BOTH_AXES):
            return _as_long_as(frame, seen, max(map(length_mm, lines))), seen.quality
        return frame.mask(seen.log_odds, seen.window), seen.quality

    def _from_click(self, frame: Frame, inside: FloatArray, beside: FloatArray) -> tuple[Mask, float]:
        """Look at cubes of several sizes; the find that most is expected of is looked at again, as a box."""
        # From a few voxels, within which nothing shows, to the whole volume, beyond which nothing is.
        least = _LEAST_VOXELS * float(np.min(frame.spacing_mm))
        most = max(float(np.max(frame.extent_mm)), least)
        sides = sorted({min(max(side, least), most) for side in self._settings.click_sides_mm})
        windows = [cube(inside.mean(axis=0), side) for side in sides]
        looks = [(window, draw_click(window, inside, beside)) for window in windows]
        found: list[tuple[Mask, float]] = []
        for seen in self._look(frame, looks, mirrored=1):
            mask = keep_component(frame.mask(seen.log_odds, seen.window), inside / frame.spacing_mm)
            if not mask.is_empty:
                found.append((mask, seen.quality))
        if not found:
            return Mask.empty(frame.volume.shape), 0.0
        mask, quality = most_expected(found)
        low, high = frame.corners(mask)
        window = window_of_box(low, high)
        drawing = draw_box(window, low, high, inside, beside)
        (again,) = self._look(frame, [(window, drawing)], self._settings.mirrored)
        return frame.mask(again.log_odds, window), min(quality, again.quality)

    def _look(self, frame: Frame, looks: Sequence[tuple[Window, Drawing]], mirrored: int) -> list[_Seen]:
        """The network's word on some patches, each the mean of its mirror images, all in one batch.

        One by one they would take several times as long: torch computes batches of one without oneDNN.
        """
        import torch

        ways = _MIRRORS[:mirrored]
        batch = np.stack(
            [
                np.flip(patch, tuple(axis + 1 for axis in way))
                for window, drawing in looks
                for patch in [encode(frame.values(window), window, drawing)]
                for way in ways
            ]
        )
        codes = torch.tensor([int(drawing.code) for _, drawing in looks for _ in ways], device=self._device)
        with torch.inference_mode():
            log_odds, quality, _ = self._network(torch.from_numpy(batch).to(self._device), codes)
        found = []
        for index, (window, _) in enumerate(looks):
            part = slice(index * len(ways), (index + 1) * len(ways))
            straight = [
                np.flip(one, way) for one, way in zip(log_odds[part].cpu().numpy(), ways, strict=True)
            ]
            found.append(
                _Seen(
                    window=window,
                    log_odds=np.mean(straight, axis=0).astype(np.float32),
                    quality=float(torch.sigmoid(quality[part]).mean()),
                )
            )
        return found


def _as_long_as(frame: Frame, seen: _Seen, line_mm: float) -> Mask:
    """The lesion cut where its long axis is nearest to the line, which is meant to be just that."""
    middle = (seen.window.centre_mm / frame.spacing_mm)[None]
    best: tuple[float, Mask] | None = None
    for limit in _CUTS:
        mask = keep_component(frame.mask(seen.log_odds - np.float32(limit), seen.window), middle)
        if mask.is_empty:
            continue
        off = abs(np.log(max(measure(frame.volume, mask).long_axis.length_mm, 1e-3) / max(line_mm, 1e-3)))
        if best is None or off < best[0] - _SAME_LENGTH:
            best = (float(off), mask)
    return best[1] if best else Mask.empty(frame.volume.shape)


def most_expected(found: Sequence[tuple[Mask, float]]) -> tuple[Mask, float]:
    """The mask of which the largest Dice is to be expected, and its own quality.

    One of them is taken to be about right, with a chance in proportion to its quality; the mask that agrees
    best with what may be right is chosen, even if another one thinks better of itself.
    """
    chances = np.array([max(quality, 1e-3) for _, quality in found])
    agreement = np.array([[dice(one, other) for other, _ in found] for one, _ in found])
    return found[int((agreement @ chances).argmax())]


_MIRRORS = ((), (2,), (1,), (1, 2), (0,), (0, 2), (0, 1), (0, 1, 2))
