"""Body coordinates: the position head of a patch around each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from models.medlam.network import POSITION_RANGE_MM, LoadedNetwork
from models.medlam.view import BodyView, body_view, offset_lps
from models.recent import Recent
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Point, Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class MedLamLocalizer:
    """Says where in the body positions are, in a frame that all patients share.

    Two coordinates differ by about the distance in mm between the two places in one body: the network was
    trained so that the range times the tanh of the difference is that distance, and tanh is its argument to
    1 % up to a sixth of the range (250 mm in z). The frame's origin is the network's own and means nothing.
    """

    network: LoadedNetwork
    batch: int = 4
    _recent: Recent[BodyView] = field(default_factory=Recent, repr=False)

    def body_coordinates(self, volume: Volume, positions_lps: Sequence[Point]) -> list[Point]:
        """Body coordinates (x, y, z), mm, of positions in LPS mm; see `workflow.ports.Localizer`.

        Raises
        ------
        UnsuitableInputError
            If a position lies outside the volume; the message names which.
        """
        for index, position in enumerate(positions_lps):
            if not volume.contains(position):
                raise UnsuitableInputError(f"position {index} at {position} mm (LPS) lies outside the volume")
        if not positions_lps:
            return []
        view = self._recent.of(volume, lambda: body_view(volume))
        centres = np.rint(view.voxels(np.asarray(positions_lps, dtype=np.float64))).astype(np.int64)
        found = self.network.positions(view.patches(centres), self.batch)
        # The patch is centred on a voxel; what is left of the way is added as it is.
        rest = np.asarray(positions_lps) - view.positions(centres.astype(np.float64))
        coordinates = offset_lps(found * np.asarray(POSITION_RANGE_MM)) + rest
        return [(float(x), float(y), float(z)) for x, y, z in coordinates]
