"""Whether values can be what their header promises: HU, or SUV by body weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Enough voxels to know a share by, out of a regular grid.
_VOXELS = 1 << 20
_SOFT_TISSUE_HU = (-250.0, 350.0)
_LEAST_SOFT_TISSUE = 0.005
# Soft tissue as it is stored by most scanners, before the intercept of -1024 or -1000.
_UNSHIFTED = (900.0, 1250.0)
_LOWEST_UNSHIFTED, _LEAST_UNSHIFTED = -50.0, 0.1
# The body's mean SUV is 1 by definition where all of it is seen. Half of what has uptake is never above 25,
# and something is above 0.3.
_UPTAKE_SUV, _HOT_SUV, _HIGHEST_PLAIN_SUV = 0.5, 25.0, 0.3
_MOST_HOT = 0.5


def why_not_hounsfield(array: NDArray[Any]) -> str | None:
    """Why a CT's values, shape (slices, rows, columns), can't be HU; None if they can."""
    values = _sample(array)
    share = float(np.mean((values >= _SOFT_TISSUE_HU[0]) & (values <= _SOFT_TISSUE_HU[1])))
    unshifted = float(np.mean((values >= _UNSHIFTED[0]) & (values <= _UNSHIFTED[1])))
    if float(array.min()) >= _LOWEST_UNSHIFTED and unshifted >= _LEAST_UNSHIFTED:
        return (
            f"no value is below {_LOWEST_UNSHIFTED:g} and {100 * unshifted:.0f} % lie around 1000: "
            "RescaleIntercept looks lost"
        )
    if share < _LEAST_SOFT_TISSUE:
        return f"only {100 * share:.1f} % of the values are those of soft tissue"
    return None


def why_not_suv(array: NDArray[Any]) -> str | None:
    """Why a PET's values, shape (slices, rows, columns), can't be SUV by body weight; None if they can."""
    values = _sample(array)
    highest = float(array.max())
    if highest < _HIGHEST_PLAIN_SUV:
        return f"the highest SUV would be {highest:.2g}"
    uptake = values[values > _UPTAKE_SUV]
    if uptake.size and float(np.mean(uptake > _HOT_SUV)) > _MOST_HOT:
        return f"the SUV of what has uptake would be {float(np.median(uptake)):.3g}"
    return None


def _sample(array: NDArray[Any]) -> NDArray[Any]:
    step = max(1, round((array.size / _VOXELS) ** (1 / 3)))
    return array[::step, ::step, ::step]
