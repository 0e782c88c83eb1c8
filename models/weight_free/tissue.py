"""What a lesion of soft tissue on a CT never is: the air and lung around it, and the bone beside it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from models.weight_free.hints import Fields
from models.weight_free.patch import Patch
from workflow.domain.geometry import BoolArray

# Below it there is air, which only CT numbers can say.
_AIR_HU, _LUNG_HU = -500.0, -850.0
# A core below it is ground glass or a cavity: the lung's own values.
_SOFT_HU = -300.0
_BONE_HU, _ABOVE_CORE_HU = 250.0, 150.0


def other_tissue(patch: Patch, fields: Fields) -> BoolArray:
    """The voxels of a CT patch that can't belong to the lesion by their value; none on other images.

    It goes by the lesion's core: around soft tissue, what lies beyond half of the way to lung is air or lung,
    and what is denser than 250 HU and goes on beyond the lesion's reach is bone. A cavity, and calcium within
    the lesion, are closed in by it and stay.
    """
    nothing = np.zeros(patch.array.shape, dtype=bool)
    core = patch.array[fields.inside & ~fields.outside]
    if core.size == 0 or (float(patch.array.min()) > _AIR_HU and float(patch.array.max()) < 2 * _BONE_HU):
        return nothing
    middle = float(np.median(core))
    if not _SOFT_HU < middle < _BONE_HU or float(patch.array.min()) > _AIR_HU:
        return nothing
    other: BoolArray = patch.array < 0.5 * (middle + _LUNG_HU)
    smooth = ndimage.gaussian_filter(patch.array, 0.7)
    dense = ndimage.binary_opening(smooth > max(_BONE_HU, middle + _ABOVE_CORE_HU))
    parts, _ = ndimage.label(dense)
    beyond = np.unique(parts[fields.outside & dense])
    return np.asarray(other | np.isin(parts, beyond[beyond > 0]))
