"""How an object is placed on images: by SOP Instance UID and frame, or by frame of reference and geometry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    """A series as a volume, with the image behind each slice: what a `SeriesVolume` offers."""

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
        """Which series it is."""
        ...


class NotPlacedError(Exception):
    """Why an item can't be placed on the images; becomes a `PromptProblem`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePlane:
    """One image of a series as a plane in the patient.

    Attributes
    ----------
    affine
        Shape (4, 4); takes (0, row, column) of a pixel centre to LPS mm. It is the image's own: a volume
        made of tilted images is resampled, so that its slices are not where the images are.
    """

    images: ReferencedImages
    slice_index: int
    affine: FloatArray
    rows: int
    columns: int

    @property
    def sop_instance_uid(self) -> str:
        """The image."""
        return self.images.slices[self.slice_index].sop_instance_uid

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


@dataclass(frozen=True)
class ImageIndex:
    """The images of a study, found by UID."""

    images: tuple[ReferencedImages, ...]

    @cached_property
    def _by_sop_instance(self) -> dict[str, list[tuple[ReferencedImages, int]]]:
        found: dict[str, list[tuple[ReferencedImages, int]]] = {}
        for images in self.images:
            for index, source in enumerate(images.slices):
                # A slice that was filled in carries its neighbour's UID.
                if getattr(source, "is_interpolated", False):
                    continue
                found.setdefault(source.sop_instance_uid, []).append((images, index))
        return found

    def holds(self, sop_instance_uid: str) -> bool:
        """Whether the image is a slice of one of the volumes."""
        return sop_instance_uid in self._by_sop_instance

    def slice_of(self, sop_instance_uid: str, frame_number: int | None) -> tuple[ReferencedImages, int]:
        """The volume and slice index of an image's frame.

        Raises
        ------
        NotPlacedError
            If the image isn't here, has no such frame, or has several and none is named.
        """
        found = self._by_sop_instance.get(sop_instance_uid, [])
        if not found:
            raise NotPlacedError(
                f"it refers to image {sop_instance_uid}, which none of the series at hand has ({self.names})"
            )
        if len(found) == 1 and frame_number in (None, 1, found[0][0].slices[found[0][1]].frame_number):
            return found[0]
        for images, index in found:
            if frame_number is not None and images.slices[index].frame_number == frame_number:
                return images, index
        wanted = "no frame" if frame_number is None else f"frame {frame_number}"
        raise NotPlacedError(f"it names {wanted} of image {sop_instance_uid}, which has {len(found)} here")

    def plane_of(self, sop_instance_uid: str, frame_number: int | None) -> ImagePlane:
        """The plane of an image's frame; raises as `slice_of` does."""
        images, index = self.slice_of(sop_instance_uid, frame_number)
        volume = images.volume
        _, rows, columns = volume.shape
        header = _header_plane(images.slices[index])
        if header is not None:
            affine, rows, columns = header
        else:
            affine = volume.affine.copy()
            affine[:3, 3] = volume.lps(np.array([index, 0, 0]))
        return ImagePlane(images=images, slice_index=index, affine=affine, rows=rows, columns=columns)

    def in_frame_of_reference(self, frame_of_reference_uid: str) -> tuple[ReferencedImages, ...]:
        """The volumes in a frame of reference.

        Raises
        ------
        NotPlacedError
            If there is none.
        """
        found = tuple(
            images for images in self.images
            if frame_of_reference_uid and images.series.frame_of_reference_uid == frame_of_reference_uid
        )  # fmt: skip
        if not found:
            named = frame_of_reference_uid or "(none named)"
            raise NotPlacedError(
                f"it is in frame of reference {named}, unlike all series at hand ({self.names})"
            )
        return found

    def holding_most(self, sop_instance_uids: Iterable[str]) -> ReferencedImages | None:
        """The volume that has most of these images, None if none has any."""
        counts: dict[int, int] = {}
        for uid in sop_instance_uids:
            for images in {id(images): images for images, _ in self._by_sop_instance.get(uid, ())}.values():
                counts[id(images)] = counts.get(id(images), 0) + 1
        best = max(counts, key=lambda key: counts[key], default=None)
        return next((images for images in self.images if id(images) == best), None)

    @property
    def names(self) -> str:
        """The series at hand, for a message."""
        named = [
            f"{images.series.modality} series {images.series.series_instance_uid}"
            for images in self.images[:3]
        ]
        more = f" and {len(self.images) - 3} more" if len(self.images) > 3 else ""
        return ", ".join(named) + more if named else "no series"


def _header_plane(source: SourceSlice) -> tuple[FloatArray, int, int] | None:
    """The plane that the image's own header gives, None if there is no file or it gives none."""
    path = getattr(source, "path", None)
    if path is None or not Path(path).is_file():
        return None
    with quiet():
        attributes = Attributes(parse(Path(path))[0], str(path))
        rows, columns = attributes.integer("Rows"), attributes.integer("Columns")
        position, orientation, spacing = _plane_attributes(attributes, source.frame_number or 1)
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
