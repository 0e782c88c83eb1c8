"""A volume and its prompts as the network's patches know them: millimetres along the image axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.open_lesion.encoding import (
    FILL,
    SIDE,
    Drawing,
    Floats,
    Window,
    cube,
    draw_box,
    draw_filled,
    draw_line,
    window_of_box,
)
from models.open_lesion.sampling import paint, sample
from workflow.domain.geometry import FloatArray, Mask, Volume, mask_on_grid, union
from workflow.domain.lesion import BoxPrompt, LesionPrompt, LinePrompt, MaskPrompt, OutlinePrompt


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A volume in millimetres along its own axes, from the middle of its first voxel.

    Its slices should be upright (`models.display.upright`), so that storage order changes nothing.
    """

    volume: Volume
    spacing_mm: FloatArray

    @classmethod
    def of(cls, volume: Volume) -> Frame:
        """The frame of a volume."""
        return cls(volume=volume, spacing_mm=np.asarray(volume.spacing_mm))

    @property
    def extent_mm(self) -> FloatArray:
        """Length of the volume along each axis, mm, shape (3,)."""
        extent: FloatArray = self.spacing_mm * np.asarray(self.volume.shape)
        return extent

    def values(self, window: Window) -> Floats:
        """The volume's values on a patch, shape (SIDE, SIDE, SIDE)."""
        return sample(self.volume.array, np.zeros(3), self.spacing_mm, window)

    def points(self, positions_lps: Sequence[Sequence[float]]) -> FloatArray:
        """Positions (LPS mm) in the frame, shape (n, 3)."""
        if not positions_lps:
            return np.zeros((0, 3))
        return self.volume.ijk(np.asarray(positions_lps, dtype=np.float64)) * self.spacing_mm

    def corners(self, mask: Mask) -> tuple[FloatArray, FloatArray]:
        """The tight box of a mask, voxel faces, mm."""
        start, stop = np.asarray(mask.start_ijk), np.asarray(mask.stop_ijk)
        return (start - 0.5) * self.spacing_mm, (stop - 0.5) * self.spacing_mm

    def mask(self, log_odds: Floats, window: Window) -> Mask:
        """The voxels of the volume that are more likely lesion than not."""
        values, start = paint(log_odds, window, np.zeros(3), self.spacing_mm, self.volume.shape)
        if values.size == 0:
            return Mask.empty(self.volume.shape)
        return Mask.from_array(values > 0, start, self.volume.shape)

    # ------------------------------------------------------------ what was drawn

    def drawn(
        self, prompt: LesionPrompt, inside: FloatArray, beside: FloatArray
    ) -> tuple[Window, Drawing] | None:
        """Patch and drawing of the most telling shape: mask, outline, line, box; None for clicks only."""
        outlines = [shape for shape in prompt.shapes if isinstance(shape, OutlinePrompt)]
        lines = [shape for shape in prompt.shapes if isinstance(shape, LinePrompt)]
        boxes = [shape for shape in prompt.shapes if isinstance(shape, BoxPrompt)]
        masks = [mask_on_grid(s.volume, self.volume) for s in prompt.shapes if isinstance(s, MaskPrompt)]
        if masks:
            return self._of_mask(union(masks), inside, beside)
        if outlines:
            return self._of_outlines(outlines, inside, beside)
        if lines:
            return self._of_line(max(lines, key=length_mm), inside, beside)
        if boxes:
            return self._of_box(boxes[0], inside, beside)
        return None

    def _of_box(self, box: BoxPrompt, inside: FloatArray, beside: FloatArray) -> tuple[Window, Drawing]:
        sides = zip(box.minimum_lps, box.maximum_lps, strict=True)
        corners = self.points(np.array(np.meshgrid(*sides)).reshape(3, -1).T.tolist())
        low, high = self._at_least_a_voxel(corners.min(axis=0), corners.max(axis=0))
        window = window_of_box(low, high)
        return window, draw_box(window, low, high, inside, beside)

    def _of_line(self, line: LinePrompt, inside: FloatArray, beside: FloatArray) -> tuple[Window, Drawing]:
        start, end = self.points([line.start_lps, line.end_lps])
        short = None
        if line.short_axis_lps is not None:
            one, other = self.points(line.short_axis_lps)
            short = (one, other)
        # A line runs between pixel centres; the lesion reaches half a pixel further on either side.
        length = float(np.linalg.norm(end - start)) + float(self.spacing_mm[1:].mean())
        window = cube((start + end) / 2, length / FILL)
        return window, draw_line(window, start, end, short, inside, beside)

    def _of_outlines(
        self, outlines: list[OutlinePrompt], inside: FloatArray, beside: FloatArray
    ) -> tuple[Window, Drawing]:
        from skimage.draw import polygon2mask

        from models.weight_free.outlines import filled

        points = self.points(outlines[0].points_lps)
        if len(outlines) > 1 or np.ptp(points[:, 0]) > 0.5 * self.spacing_mm[0]:
            return self._of_mask(mask_on_grid(filled(outlines, self.volume), self.volume), inside, beside)
        low, high = points.min(axis=0), points.max(axis=0)
        window = cube(
            (low + high) / 2, max(float((high - low).max()), 2 * float(self.spacing_mm[1:].max())) / FILL
        )
        first = np.array([at[0] for at in window.axes_mm()])
        flat = polygon2mask((SIDE, SIDE), ((points - first) / window.spacing_mm)[:, 1:])
        plane = float(points[:, 0].mean())
        return window, draw_filled(window, flat, plane_mm=plane, inside=inside, beside=beside)

    def _of_mask(self, mask: Mask, inside: FloatArray, beside: FloatArray) -> tuple[Window, Drawing]:
        window = window_of_box(*self._at_least_a_voxel(*self.corners(mask)))
        share = sample(mask.array(), np.zeros(3), self.spacing_mm, window)
        return window, draw_filled(window, share > 0.5, inside=inside, beside=beside)

    def _at_least_a_voxel(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        half = np.maximum((high - low) / 2, self.spacing_mm / 2)
        middle = (low + high) / 2
        return middle - half, middle + half


def length_mm(line: LinePrompt) -> float:
    """Length of the long axis as it was drawn, mm."""
    return float(np.linalg.norm(np.subtract(line.end_lps, line.start_lps)))
