"""The same anatomy as another scanner protocol would have it: thicker slices, turned planes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from workflow.domain.geometry import Volume

_AIR_HU = -1000.0


def reslice(volume: Volume, *, slice_mm: float | None = None, tilt_deg: float = 0.0) -> Volume:
    """Cut a volume into thicker slices, or into planes turned about the patient's left-right axis.

    Parameters
    ----------
    volume
        CT in HU.
    slice_mm
        New distance and thickness of the slices, mm; each is the mean over its thickness. Not below the
        volume's own, which is the default.
    tilt_deg
        Angle that the planes turn by, degrees; positive leans the front of the plane to the feet.

    Returns
    -------
    Volume
        Large enough for all of the old one; what it didn't hold is air.

    Raises
    ------
    ValueError
        If the slices would become thinner.
    """
    own_mm = volume.spacing_mm[0]
    new_mm = slice_mm or own_mm
    if new_mm < own_mm - 1e-6:
        raise ValueError(
            f"slices of {new_mm} mm can't be had from slices of {own_mm} mm: ask for thicker ones"
        )
    angle = np.deg2rad(tilt_deg)
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    spacing = np.array([new_mm, volume.spacing_mm[1], volume.spacing_mm[2]])
    old_mm = np.asarray(volume.shape) * volume.spacing_mm
    new_extent = np.array(
        [
            old_mm[0] * cosine + old_mm[1] * abs(sine),
            old_mm[1] * cosine + old_mm[0] * abs(sine),
            old_mm[2],
        ]
    )
    shape = np.ceil(new_extent / spacing - 1e-6).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = turn @ volume.directions * spacing
    middle = volume.lps((np.asarray(volume.shape) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    to_old = np.linalg.inv(volume.affine) @ affine
    parts = max(1, round(new_mm / own_mm))
    total = np.zeros(tuple(shape), dtype=np.float64)
    for part in range(parts):
        within = np.array([(part + 0.5) / parts - 0.5, 0.0, 0.0])
        total += ndimage.affine_transform(
            volume.array.astype(np.float64),
            to_old[:3, :3],
            offset=to_old[:3, :3] @ within + to_old[:3, 3],
            output_shape=tuple(shape),
            order=1,
            cval=_AIR_HU,
        )
    array = total / parts
    if np.issubdtype(volume.array.dtype, np.integer):
        array = np.rint(array)
    return Volume(array=array.astype(volume.array.dtype), affine=affine)
