"""From a radiologist's prompt in the patient (LPS, mm) to the drawing a network was trained on."""

from __future__ import annotations

import numpy as np

from models.lesionlocator.preprocessing import NetworkImage
from models.lesionlocator.prompts import (
    Drawing,
    box_to_network,
    draw_box,
    draw_mask,
    draw_point,
    mask_to_network,
    point_to_network,
)
from models.prompt_geometry import centre_ijk, named, negative_points, resample_mask, slice_plan
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume
from workflow.domain.lesion import BoxPrompt, LesionPrompt, MaskPrompt, PointPrompt, PromptShape

# Positions in mm come back to voxels with rounding errors, and nothing may move by a voxel for them.
_SNAP_DECIMALS = 6


def choose_drawing(
    index: int, prompt: LesionPrompt, wanted: Drawing | None, available: set[Drawing]
) -> Drawing:
    """Which network a prompt goes to: the box network if it has an extent, else the point network.

    Raises
    ------
    UnsuitableInputError
        If the prompt has negative points, or is a bare point and only the box network is there.
    """
    if negative_points(prompt):
        raise UnsuitableInputError(
            f"{named(index, prompt)} has a negative point, which LesionLocator was not trained on; leave it "
            "out or refine the result with a model that takes it (`tumorline models list`)"
        )
    has_extent = any(not isinstance(shape, PointPrompt) for shape in prompt.shapes)
    drawing = wanted or (Drawing.BOX if has_extent else Drawing.POINT)
    if drawing not in available and has_extent:
        return Drawing.POINT
    if drawing not in available or (drawing is Drawing.BOX and not has_extent):
        raise UnsuitableInputError(
            f"{named(index, prompt)} is a bare point, and the network that is opened takes boxes; give a "
            "line, box, outline or mask, or open the point_optimized weights"
        )
    return drawing


def draw(index: int, prompt: LesionPrompt, view: Volume, image: NetworkImage, drawing: Drawing) -> Mask:
    """Draw a prompt on the network's grid.

    Parameters
    ----------
    view
        The scan with axes (z, y, x), see `models.lesionlocator.orientation`; `image` is made from it.

    Raises
    ------
    UnsuitableInputError
        If nothing of the prompt is on the network's grid: it lies in the zero border of the scan.
    """
    mask = _mask(prompt, view, image)
    if mask is not None and not mask.is_empty:
        drawn = draw_mask(mask, drawing)
    elif drawing is Drawing.POINT:
        centre = np.round(centre_ijk(view, prompt), _SNAP_DECIMALS)
        drawn = draw_point(point_to_network(centre, image), image.shape)
    else:
        drawn = draw_box(*box_to_network(*box_of(prompt, view), image), image.shape)
    if drawn.is_empty:
        raise UnsuitableInputError(
            f"{named(index, prompt)} lies where the volume holds no image (0 HU up to its border)"
        )
    return drawn


def box_of(prompt: LesionPrompt, view: Volume) -> tuple[FloatArray, FloatArray]:
    """The half-open box of voxels, in fractions of `view`'s grid, that a prompt with an extent shows.

    A box is taken as drawn, up to the faces of its voxels. Lines and outlines reach from pixel
    centre to pixel centre and, across the slices they are not drawn on, half their size up and down
    (`models.prompt_geometry.slice_plan`); so does a box thinner than a slice.
    """
    boxes = [_faces(shape, view) for shape in prompt.shapes]
    if all(box is not None for box in boxes):
        start = np.min([box[0] for box in boxes if box is not None], axis=0)
        stop = np.max([box[1] for box in boxes if box is not None], axis=0)
        return np.round(start, _SNAP_DECIMALS), np.round(stop, _SNAP_DECIMALS)
    plan = slice_plan(view, prompt)
    assert plan is not None  # a prompt with an extent has a slice
    markers = np.array(list(plan.markers.values()))
    low, high = markers.min(axis=0), markers.max(axis=0)
    return (
        np.array([plan.first, low[1], low[0]], dtype=np.float64),
        np.array([plan.last + 1, high[3] + 1, high[2] + 1], dtype=np.float64),
    )


def _faces(shape: PromptShape, view: Volume) -> tuple[FloatArray, FloatArray] | None:
    """A deep box's faces as half-open voxel indices; None for any other shape."""
    if not isinstance(shape, BoxPrompt):
        return None
    ends = np.array([shape.minimum_lps, shape.maximum_lps])
    corners = np.array(np.meshgrid(*ends.T)).reshape(3, -1).T
    indices = view.ijk(corners) + 0.5
    start, stop = indices.min(axis=0), indices.max(axis=0)
    return (start, stop) if np.all(stop - start >= 1 - 1e-6) else None


def _mask(prompt: LesionPrompt, view: Volume, image: NetworkImage) -> Mask | None:
    """All masks of a prompt on the network's grid, None if it has none."""
    volumes = [shape.volume for shape in prompt.shapes if isinstance(shape, MaskPrompt)]
    if not volumes:
        return None
    voxels = np.logical_or.reduce([resample_mask(volume, view) for volume in volumes])
    return mask_to_network(Mask.from_array(voxels), image)
