"""HU windows in front of networks that were trained on 8-bit images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prompt_geometry import SlicePlan
from workflow.domain.errors import ConfigurationError
from workflow.domain.geometry import Volume
from workflow.domain.lesion import LesionPrompt

Window = tuple[float, float]

SOFT_TISSUE: Window = (-160.0, 240.0)  # level 40, width 400
LUNG: Window = (-1500.0, 0.0)  # level -750, width 1500
BONE: Window = (-500.0, 1300.0)  # level 400, width 1800
PRESETS: dict[str, Window] = {"soft-tissue": SOFT_TISSUE, "lung": LUNG, "bone": BONE}

# SNOMED CT: lung, right lung, left lung, and the upper, middle and lower lobes.
LUNG_SITES = frozenset(
    {"39607008", "3341006", "44029006", "45653009", "72481006", "266005", "44714003", "41224006", "31094006"}
)
# Between lung (-950 to -700) and fat (-120): the surroundings of a nodule, or not.
_AIR_AND_TISSUE_HU = -500.0
_SURROUNDINGS_MM = 10.0


def choose_window(
    window: str | Window, volume: Volume, prompt: LesionPrompt, plan: SlicePlan
) -> tuple[str, Window]:
    """The window for one lesion, with the name that goes into the provenance.

    Parameters
    ----------
    window
        A preset's name; (lowest, highest) in the volume's units; "percentile" (0.5 to 99.5 % of the voxels
        that are not 0, for MR); or "auto": lung if the prompt's finding site is in the lung or most of what
        surrounds the lesion is lung, else soft tissue.
    volume
        In HU for the presets and "auto".

    Raises
    ------
    ConfigurationError
        If the name is unknown or the limits are not in order.
    """
    if not isinstance(window, str):
        low, high = float(window[0]), float(window[1])
        if low >= high:
            raise ConfigurationError(f"the window {window} has no width: give its lowest and highest value")
        return f"{low:g} to {high:g}", (low, high)
    if window == "percentile":
        limits = _percentiles(volume.array)
        return f"percentile ({limits[0]:g} to {limits[1]:g})", limits
    name = ("lung" if _is_in_lung(volume, prompt, plan) else "soft-tissue") if window == "auto" else window
    if name not in PRESETS:
        raise ConfigurationError(
            f"there is no window '{window}'; known are auto, percentile, {', '.join(PRESETS)}"
        )
    return name, PRESETS[name]


def to_uint8(array: NDArray[Any], window: Window, value_range: Window) -> NDArray[np.uint8]:
    """Clip to the window and stretch to 0 .. 255, truncated, as MedSAM's own preparation does.

    Parameters
    ----------
    array
        Any shape, in the volume's units.
    value_range
        Smallest and largest value of the whole volume: what is stretched is the part of the window it fills.
    """
    low, high = (float(np.clip(value, *window)) for value in value_range)
    if high <= low:
        return np.zeros(array.shape, dtype=np.uint8)
    shifted = np.clip(array, *window).astype(np.float64) - low
    stretched: NDArray[np.uint8] = (shifted / (high - low) * 255).astype(np.uint8)
    return stretched


def _percentiles(array: NDArray[Any]) -> Window:
    values = array[array != 0]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _is_in_lung(volume: Volume, prompt: LesionPrompt, plan: SlicePlan) -> bool:
    if prompt.finding_site is not None:
        return prompt.finding_site in LUNG_SITES
    x0, y0, x1, y1 = plan.markers[plan.key_slice]
    _, row_mm, column_mm = volume.spacing_mm
    rows, columns = volume.shape[1:]
    grow_y, grow_x = _SURROUNDINGS_MM / row_mm, _SURROUNDINGS_MM / column_mm
    outer = (
        slice(max(0, int(y0 - grow_y)), min(rows, int(np.ceil(y1 + grow_y)) + 1)),
        slice(max(0, int(x0 - grow_x)), min(columns, int(np.ceil(x1 + grow_x)) + 1)),
    )
    around = volume.array[plan.key_slice][outer].astype(np.float32)
    rows_inside = np.arange(outer[0].start, outer[0].stop)
    columns_inside = np.arange(outer[1].start, outer[1].stop)
    is_outside = ~(
        ((rows_inside >= y0) & (rows_inside <= y1))[:, None]
        & ((columns_inside >= x0) & (columns_inside <= x1))[None, :]
    )
    ring = around[is_outside]
    return bool(ring.size and np.median(ring) < _AIR_AND_TISSUE_HU)
