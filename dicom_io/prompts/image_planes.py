"""Images as planes in the patient: what drawings on them need to know, from volumes and from headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_io.parsing import Attributes, parse, quiet
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Point, Volume, affine_from_axes, lps_from_ijk
from workflow.domain.series import SeriesDescription

# A drawing may leave the image by this much: viewers let a handle be dropped on the very border.
BORDER_TOLERANCE_PIXELS = 1.0


class SourceSlice(Protocol):
    """Where one slice of a volume came from."""

    @property
    def sop_instance_uid(self) -> str:
        """The image."""
        ...

    @property
    def frame_number(self) -> int | None:
        """Its frame, counted from 1, of a multi-frame image."""
        ...

    @property
    def path(self) -> Path | None:
        """Its file, if it is at hand."""
        ...


class ReferencedImages(Protocol):
    """A stack as a volume, with the image behind each slice: what a `SeriesVolume` offers."""

    @property
    def volume(self) -> Volume:
        """The voxels and their affine."""
        ...

    @property
    def slices(self) -> Sequence[SourceSlice]:
        """The images, in the volume's slice order."""
        ...

    @property
    def series(self) -> SeriesDescription:
        """Which stack it is."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class LooseImage:
    """An image at hand that belongs to no volume; `affine` and `size` are None where it has no place.

    Attributes
    ----------
    affine
        Shape (4, 4); (0, row, column) of a pixel centre to LPS mm.
    size
        (rows, columns).
    """

    sop_instance_uid: str
    series: SeriesDescription
    frame_number: int | None = None
    affine: FloatArray | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePlane:
    """One image as a plane in the patient.

    Attributes
    ----------
    series
        The stack that the image belongs to.
    affine
        Shape (4, 4); takes (0, row, column) of a pixel centre to LPS mm. It is the image's own: a volume
        made of tilted images is resampled, so that its slices are not where the images are.
    """

    sop_instance_uid: str
    series: SeriesDescription
    affine: FloatArray
    rows: int
    columns: int

    def lps(self, column_row: NDArray[Any]) -> FloatArray:
        """Positions in mm of image-relative coordinates.

        Parameters
        ----------
        column_row
            Shape (n, 2), (column, row) as SCOORD and GSPS have them: 0\\0 is the top left corner of the
            top left pixel and 0.5\\0.5 its centre (PS3.3 C.18.6.1.2, C.10.5.1.2).

        Returns
        -------
        numpy.ndarray
            LPS mm, shape (n, 3).
        """
        coordinates = np.asarray(column_row, dtype=np.float64) - 0.5
        index = np.column_stack([np.zeros(len(coordinates)), coordinates[:, 1], coordinates[:, 0]])
        return lps_from_ijk(index, self.affine)

    def require_inside(self, column_row: NDArray[Any]) -> None:
        """Refuse coordinates that lie outside the image.

        Raises
        ------
        UnsuitableInputError
            If one does, by more than the border's tolerance.
        """
        limit = np.array([self.columns, self.rows]) + BORDER_TOLERANCE_PIXELS
        outside = (column_row < -BORDER_TOLERANCE_PIXELS) | (column_row > limit)
        if outside.any():
            column, row = column_row[np.argmax(outside.any(axis=1))]
            raise UnsuitableInputError(
                f"the coordinates column {column:.1f}, row {row:.1f} are outside the image of "
                f"{self.columns} x {self.rows} pixels"
            )


# ---------------------------------------------------------------- planes out of headers


@lru_cache(maxsize=512)
def header_plane(path: Path | None, frame_number: int) -> tuple[FloatArray, int, int] | None:
    """The plane that the image's own header gives, None if there is no file or it gives none."""
    if path is None or not Path(path).is_file():
        return None
    with quiet():
        attributes = Attributes(parse(Path(path))[0], str(path))
        rows, columns = attributes.integer("Rows"), attributes.integer("Columns")
        position, orientation, spacing = _plane_attributes(attributes, frame_number)
    if position is None or orientation is None or spacing is None or not rows or not columns:
        return None
    return plane_affine(position, orientation, spacing), rows, columns


def _plane_attributes(
    attributes: Attributes, frame_number: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    frames = attributes.items("PerFrameFunctionalGroupsSequence")
    places = [attributes]
    if frames and frame_number <= len(frames):
        places = [frames[frame_number - 1], *attributes.items("SharedFunctionalGroupsSequence")]
    return (
        first_numbers(places, "PlanePositionSequence", "ImagePositionPatient", 3),
        first_numbers(places, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
        first_numbers(places, "PixelMeasuresSequence", "PixelSpacing", 2),
    )


def first_numbers(
    places: Sequence[Attributes], macro: str, keyword: str, count: int
) -> tuple[float, ...] | None:
    """Numbers from the first place that has them, in a functional group macro or directly."""
    for place in places:
        item = place.item(macro)
        numbers = (item or place).numbers(keyword, count)
        if numbers is not None:
            return numbers
    return None


def plane_affine(
    position: Sequence[float], orientation: Sequence[float], spacing: Sequence[float], slice_mm: float = 1.0
) -> FloatArray:
    """The affine of a plane from ImagePositionPatient, ImageOrientationPatient and PixelSpacing.

    The slice axis is the plane's normal, `slice_mm` long. PixelSpacing is (between rows, between columns).

    Raises
    ------
    UnsuitableInputError
        If the orientation is not two perpendicular unit vectors or the spacing is not above 0.
    """
    along_row, along_column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    norms = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if abs(along_row @ along_column) > 1e-2 or any(abs(norm - 1) > 1e-2 for norm in norms):
        raise UnsuitableInputError(
            "ImageOrientationPatient is not two perpendicular unit vectors (PS3.3 C.7.6.2)"
        )
    if min(*spacing, slice_mm) <= 0:
        raise UnsuitableInputError("PixelSpacing is not above 0")
    return affine_from_axes(
        origin_lps=as_point(position),
        slice_step=as_point(np.cross(along_row, along_column) * slice_mm),
        row_step=as_point(along_column * spacing[0]),
        column_step=as_point(along_row * spacing[1]),
    )


def as_point(values: Sequence[float] | NDArray[Any]) -> Point:
    """Three numbers as a point of plain floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z
