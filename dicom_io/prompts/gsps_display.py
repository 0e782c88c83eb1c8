"""From a presentation state's coordinates to the image's pixels (PS3.3 C.10.4, C.10.5.1.2, C.10.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.parsing import Attributes
from dicom_io.prompts.collector import UnsupportedItemError
from dicom_io.prompts.image_planes import ImagePlane
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray


@dataclass(frozen=True, kw_only=True)
class DisplayedArea:
    """Which part of an image is displayed, and how it is turned.

    Attributes
    ----------
    top_left, bottom_right
        (column, row), counted from 1, of the pixels that appear in these corners of the display once the
        image is turned and flipped. None where no area is selected for the image.
    is_transposed
        Whether the display's horizontal runs along image columns (turned by 90 or 270 degrees).
    """

    top_left: tuple[float, float] | None
    bottom_right: tuple[float, float] | None
    is_transposed: bool = False

    def pixels(self, points: NDArray[Any], units: str) -> FloatArray:
        """Image coordinates (column, row), 0\\0 at the image's top left corner, shape (n, 2).

        Parameters
        ----------
        points
            Shape (n, 2), in PIXEL units as they are, in DISPLAY units as fractions of the displayed area.

        Raises
        ------
        UnsuitableInputError
            If DISPLAY units come without a displayed area.
        UnsupportedItemError
            If the units are others (MATRIX, of a microscopy slide).
        """
        kind = units.strip().upper()
        if kind in ("PIXEL", ""):
            return np.asarray(points, dtype=np.float64)
        if kind != "DISPLAY":
            raise UnsupportedItemError(f"graphics in units of {kind} are not read")
        if self.top_left is None or self.bottom_right is None:
            raise UnsuitableInputError(
                "it is given as fractions of the display, and no displayed area is selected for its image"
            )
        share = np.asarray(points, dtype=np.float64)
        if self.is_transposed:
            share = share[:, ::-1]
        # Each axis runs from the outer edge of the first pixel to the outer edge of the last.
        start, end = np.array(self.top_left), np.array(self.bottom_right)
        ascending = start <= end
        first, last = np.where(ascending, start - 1, start), np.where(ascending, end, end - 1)
        pixels: FloatArray = first + share * (last - first)
        return pixels


def displayed_area(attributes: Attributes, plane: ImagePlane) -> DisplayedArea:
    """The area selected for an image: the item that names it, else the one that names none."""
    turned = (attributes.integer("ImageRotation") or 0) % 180 == 90
    general = None
    for selection in attributes.items("DisplayedAreaSelectionSequence"):
        named = {i.text("ReferencedSOPInstanceUID") for i in selection.items("ReferencedImageSequence")}
        if plane.sop_instance_uid in named:
            return _area(selection, turned)
        if not named:
            general = general or selection
    return _area(general, turned) if general else DisplayedArea(top_left=None, bottom_right=None)


def _area(selection: Attributes, turned: bool) -> DisplayedArea:
    top_left = selection.numbers("DisplayedAreaTopLeftHandCorner", 2)
    bottom_right = selection.numbers("DisplayedAreaBottomRightHandCorner", 2)
    return DisplayedArea(
        top_left=None if top_left is None else (top_left[0], top_left[1]),
        bottom_right=None if bottom_right is None else (bottom_right[0], bottom_right[1]),
        is_transposed=turned,
    )
