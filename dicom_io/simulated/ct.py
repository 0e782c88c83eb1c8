"""A CT volume as a series of CT images (PS3.3 A.3), and a series of files as a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

from dicom_io.simulated.header import SimulatedStudy, clock, day, new_object, write
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Volume, affine_from_axes

# Stored values are HU + 2048: unsigned, as JPEG-LS codecs agree on, with room for metal and for air.
_INTERCEPT = -2048
_LARGEST = 2**16 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenSeries:
    """A CT series on disk.

    Attributes
    ----------
    images
        Headers without pixels, in the order of the volume's slices.
    paths
        Their files, in the same order.
    """

    study: SimulatedStudy
    volume: Volume
    images: tuple[Dataset, ...]
    paths: tuple[Path, ...]

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID."""
        return str(self.images[0].SeriesInstanceUID)


def write_ct(
    volume: Volume,
    study: SimulatedStudy,
    folder: Path,
    *,
    transfer_syntax_uid: str = JPEGLSLossless,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> WrittenSeries:
    """Write a volume as one series, one file per slice.

    Parameters
    ----------
    volume
        HU; stored as whole HU.
    folder
        Made if missing; files are `ct_0001.dcm` on, from the feet up as the volume has them.
    transfer_syntax_uid
        JPEG-LS lossless by default; JPEG 2000 lossless, RLE or an uncompressed one do as well.
    on_image
        Called with images done and images in all.

    Raises
    ------
    ValueError
        If values are beyond what a CT image can store.
    """
    stored = np.rint(volume.array).astype(np.int64) - _INTERCEPT
    if stored.min() < 0 or stored.max() > _LARGEST:
        raise ValueError(
            f"{volume.array.min()} to {volume.array.max()} HU can't be stored: {_INTERCEPT} HU is the least"
        )
    pixels = stored.astype(np.uint16)
    paths = tuple(folder / f"ct_{k + 1:04d}.dcm" for k in range(volume.shape[0]))

    def one(k: int) -> Dataset:
        image = _image(volume, study, k)
        header = pydicom.Dataset(image)
        image.PixelData = pixels[k].tobytes()
        image["PixelData"].VR = "OW"
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if transfer_syntax_uid != ExplicitVRLittleEndian:
            image.compress(transfer_syntax_uid, generate_instance_uid=False)
        write(image, paths[k])
        return header

    images = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for k, header in enumerate(pool.map(one, range(volume.shape[0]))):
            images.append(header)
            on_image(k + 1, volume.shape[0])
    return WrittenSeries(study=study, volume=volume, images=tuple(images), paths=paths)


def _image(volume: Volume, study: SimulatedStudy, k: int) -> Dataset:
    image = new_object(study, CTImageStorage, study.uid("ct", str(k)))
    kind = "ORIGINAL" if study.is_original else "DERIVED"
    image.ImageType = [kind, "PRIMARY", "AXIAL"]
    image.DerivationDescription = study.derivation
    acquired = study.taken_at + timedelta(minutes=5)
    image.SeriesDate, image.SeriesTime = day(acquired), clock(acquired)
    image.AcquisitionDate, image.AcquisitionTime = day(acquired), clock(acquired)
    image.ContentDate, image.ContentTime = day(acquired), clock(acquired)
    image.Modality = "CT"
    image.SeriesDescription = study.series_description
    image.BodyPartExamined = study.body_part
    image.SeriesInstanceUID = study.uid("series", "ct")
    image.SeriesNumber, image.AcquisitionNumber, image.InstanceNumber = 2, 1, k + 1
    image.PatientPosition = "HFS"
    image.FrameOfReferenceUID = study.frame_of_reference_uid
    image.PositionReferenceIndicator = ""
    image.KVP = None
    slice_mm, row_mm, column_mm = volume.spacing_mm
    image.SliceThickness = _decimal(study.slice_thickness_mm or slice_mm)
    image.SpacingBetweenSlices = _decimal(slice_mm)
    position = volume.lps(np.array([k, 0, 0]))
    image.ImagePositionPatient = [_decimal(v) for v in position]
    image.ImageOrientationPatient = [_decimal(v) for v in volume.directions[:, [2, 1]].T.ravel()]
    image.SliceLocation = _decimal(float(position @ volume.directions[:, 0]))
    image.PixelSpacing = [_decimal(row_mm), _decimal(column_mm)]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = volume.shape[1:]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = _INTERCEPT, 1, "HU"
    image.WindowCenter, image.WindowWidth = [-600, 40], [1500, 400]
    image.WindowCenterWidthExplanation = ["LUNG", "SOFT TISSUE"]
    image.LossyImageCompression = "00"
    return image


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters (VR DS) that is exact to a nanometre."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text[:16]


def read_ct(folder: Path) -> tuple[Volume, list[Dataset]]:
    """Read one axial series of the repository's own examples; general reading is `dicom_io.stacks`.

    Returns
    -------
    tuple
        HU, int16, slices from the feet up; and the headers in that order.

    Raises
    ------
    UnsuitableInputError
        If the folder holds no CT images, or they are not evenly spaced.
    """
    images = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    if not images or any(image.SOPClassUID != CTImageStorage for image in images):
        raise UnsuitableInputError(
            f"{folder} does not hold one CT series: the simulations need examples/data"
        )
    images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
    positions = np.array([image.ImagePositionPatient for image in images], dtype=np.float64)
    steps = np.diff(positions, axis=0)
    if len(steps) == 0 or np.abs(steps - steps[0]).max() > 0.01:
        raise UnsuitableInputError(f"the slices in {folder} are not evenly spaced: a file may be missing")
    array = np.stack([_hu(image) for image in images])
    row_mm, column_mm = (float(v) for v in images[0].PixelSpacing)
    along_row, along_column = np.array(images[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    for image in images:
        del image.PixelData
    affine = affine_from_axes(
        origin_lps=_point(positions[0]),
        slice_step=_point(steps.mean(axis=0)),
        row_step=_point(along_column * row_mm),
        column_step=_point(along_row * column_mm),
    )
    return Volume(array=array, affine=affine), images


def _hu(image: Dataset) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    slope, intercept = float(image.RescaleSlope), float(image.RescaleIntercept)
    hu: np.ndarray[tuple[int, int], np.dtype[np.int16]] = np.rint(
        image.pixel_array * slope + intercept
    ).astype(np.int16)
    return hu


def _point(vector: FloatArray | Sequence[float]) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])
