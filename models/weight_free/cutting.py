"""From a probability on a patch to one solid mask on the volume's grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from models.weight_free.edges import at_half_height
from models.weight_free.hints import Fields
from models.weight_free.patch import Patch
from workflow.domain.geometry import Mask, Volume, dice


def detached(body: np.ndarray, patch: Patch, fields: Fields) -> np.ndarray:
    """The part of a body around the hint, without what hangs on it by less than 0.4 of its thickness."""
    if not body.any():
        return body
    padded = np.pad(body, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=patch.spacing_mm)[1:-1, 1:-1, 1:-1]
    core = np.where(fields.inside, depth, 0).max()
    reach = 0.4 * float(core or depth.max())
    if reach < 0.75 * max(patch.spacing_mm):
        reach = 0.0
    opened = depth > reach
    parts, count = ndimage.label(opened)
    if count == 0:
        return body
    votes = np.bincount(parts.ravel(), weights=(fields.inside * (1 + depth)).ravel(), minlength=count + 1)
    if votes[1:].max() == 0:
        votes = np.bincount(parts.ravel(), minlength=count + 1).astype(float)
    kept = parts == 1 + int(votes[1:].argmax())
    away = ndimage.distance_transform_edt(~kept, sampling=patch.spacing_mm)
    return np.asarray(body & (away <= reach + 0.5 * max(patch.spacing_mm)))


def mask_of(soft: np.ndarray, patch: Patch, volume: Volume, fields: Fields, threshold: float | None) -> Mask:
    """The lesion on the volume's grid, cut at a threshold or (None) at half height."""
    if threshold is None:
        body = detached(soft > 0.5, patch, fields)
        soft = at_half_height(soft, body, patch, fields)
    else:
        # Brings the threshold to 0.5 and keeps 0 and 1, so that interpolation cuts in the same place.
        soft = np.where(soft < threshold, 0.5 * soft / threshold, 1 - 0.5 * (1 - soft) / (1 - threshold))
    body = detached(soft > 0.5, patch, fields)
    # Keeps the soft edge: what was cut off lies further than a voxel from the kept body.
    kept = np.where(ndimage.binary_dilation(body, iterations=1), soft, 0)
    part, start = patch.to_volume(kept, volume)
    found = part > 0.5
    found = _largest(found)
    found = ndimage.binary_fill_holes(found)
    # A click beside the lesion holds even where the lesion closes around it.
    found &= patch.to_volume(fields.outside.astype(np.float32), volume)[0] < 0.5
    return Mask.from_array(found, start, volume.shape)


def _largest(found: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(found, structure=np.ones((3, 3, 3)))
    if count <= 1:
        return found
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))


def touch(one: Mask, other: Mask) -> bool:
    """Whether two masks of one grid share a voxel or have neighbouring ones."""
    if one.is_empty or other.is_empty:
        return False
    start = np.maximum(one.start_ijk, other.start_ijk) - 1
    stop = np.minimum(one.stop_ijk, other.stop_ijk) + 1
    if np.any(stop <= start):
        return False
    near = ndimage.binary_dilation(np.pad(one.voxels, 1), structure=np.ones((3, 3, 3)))
    grown = Mask(voxels=near, start_ijk=tuple(s - 1 for s in one.start_ijk), shape=one.shape)  # type: ignore[arg-type]
    return dice(grown, other) > 0
