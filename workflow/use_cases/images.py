"""Image files for the commands: a DICOM folder, NIfTI, NRRD or MHA as a `Volume`, and masks written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.bootstrap import read_folder
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume, mask_on_grid

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def read_image(path: Path) -> Volume:
    """Read a DICOM folder (its best series) or a NIfTI, NRRD or MetaImage file.

    ITK's physical space is DICOM's (LPS, mm) whatever the file's own convention, NIfTI's RAS included.

    Raises
    ------
    UnsuitableInputError
        If there is nothing at the path, or it is no three-dimensional scalar image; the message says which.
    """
    if path.is_dir():
        return read_folder(path)
    return _read_file(path)


def read_labels(path: Path, volume: Volume) -> dict[int, Mask]:
    """Read a label map and bring each label to a volume's grid.

    Returns
    -------
    dict
        Mask by label (whole numbers above 0), ascending.

    Raises
    ------
    UnsuitableInputError
        If the file can't be read, holds fractions, holds no label, or a label lies outside the volume.
    """
    labels = _read_file(path)
    found = np.unique(labels.array)
    if not np.allclose(found, np.round(found)) or found.min() < 0:
        raise UnsuitableInputError(
            f"{path}: a label map holds whole numbers from 0, not {found[:4].tolist()}"
        )
    masks: dict[int, Mask] = {}
    for label in (int(value) for value in found if value > 0):
        mask = mask_on_grid(labels.with_array(labels.array == label), volume)
        if mask.is_empty:
            raise UnsuitableInputError(
                f"{path}: label {label} has no voxel in the image; check that both are of the same scan"
            )
        masks[label] = mask
    if not masks:
        raise UnsuitableInputError(f"{path}: no voxel is set; give a mask with at least one lesion")
    return masks


def label_map(masks: dict[int, Mask], shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    """One array of labels, 0 elsewhere; where masks overlap the lower label stays."""
    array = np.zeros(shape, dtype=np.uint16)
    for label in sorted(masks, reverse=True):
        mask = masks[label]
        if not mask.is_empty:
            array[mask.box][mask.voxels] = label
    return array


def check_output(path: Path) -> None:
    """Refuse a name that `write_image` can't write, before any work is done.

    Raises
    ------
    UnsuitableInputError
        If the suffix is not that of an image format.
    """
    if not path.name.endswith(SUFFIXES):
        raise UnsuitableInputError(f"{path}: the name ends in none of {', '.join(SUFFIXES)}; choose one")


def write_image(path: Path, array: NDArray[Any], grid: Volume) -> None:
    """Write an array on a volume's grid, shape (slices, rows, columns); the suffix chooses the format."""
    import SimpleITK as sitk  # noqa: N813

    check_output(path)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in grid.spacing_mm[::-1]])
    image.SetOrigin([float(o) for o in grid.affine[:3, 3]])
    # ITK's axes are (column, row, slice).
    image.SetDirection([float(d) for d in grid.directions[:, ::-1].ravel()])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)


def _read_file(path: Path) -> Volume:
    import SimpleITK as sitk  # noqa: N813

    if not path.is_file():
        raise UnsuitableInputError(f"{path}: there is no such file or folder")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UnsuitableInputError(
            f"{path}: no image that can be read ({reason}); give a DICOM folder, NIfTI, NRRD or MHA"
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UnsuitableInputError(
            f"{path}: has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} "
            "values per voxel; give a three-dimensional image with one"
        )
    return Volume(array=sitk.GetArrayFromImage(image), affine=_affine_of(image))


def _affine_of(image: Any) -> FloatArray:
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = (direction * np.asarray(image.GetSpacing()))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine
