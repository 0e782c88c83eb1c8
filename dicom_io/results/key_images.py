"""A lesion as a picture: its slice, windowed, cropped to a field in millimetres, with contour and axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.results.fonts import font_path
from workflow.domain.geometry import FloatArray, Point, Volume
from workflow.domain.palette import RGB, colour_of
from workflow.domain.report import ReportedLesion
from workflow.domain.states import LESION_WORDS

_BLACK: RGB = (0, 0, 0)
_WHITE: RGB = (255, 255, 255)
_SAID_IN_PNG = ("tracking_uid", "label", "slice_index", "field_mm", "time_point_id", "place")
_MINIMUM_FIELD_MM = 80.0
_LOCATOR_PIXELS = 240
_LESION_SHARE = 0.4  # of the field, at most: the rest shows where the lesion is

# Centre and width in HU; lung and bone are read in windows of their own.
_CT_WINDOWS: dict[str, tuple[float, float]] = {"lung": (-600.0, 1500.0), "bone": (400.0, 1800.0)}
_CT_SOFT_TISSUE = (50.0, 400.0)


@dataclass(frozen=True, eq=False)
class KeyImage:
    """One lesion's picture.

    Attributes
    ----------
    pixels
        RGB, uint8, shape (size, size, 3); rows and columns run as in the acquired image.
    slice_index
        The slice of the volume that is shown.
    field_mm
        Side of the shown square.
    time_point_id, place
        When and where it was taken, for people: "TP2", "series 3, image 87".
    """

    tracking_uid: str
    label: str
    slice_index: int
    field_mm: float
    pixels: NDArray[np.uint8]
    time_point_id: str = ""
    place: str = ""

    def png(self) -> bytes:
        """The picture as a PNG file, which `from_png` reads back."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        said = PngInfo()
        for name in _SAID_IN_PNG:
            said.add_itxt(name, str(getattr(self, name)))
        file = BytesIO()
        Image.fromarray(self.pixels).save(file, format="PNG", compress_level=6, pnginfo=said)
        return file.getvalue()

    @classmethod
    def from_png(cls, data: bytes) -> KeyImage | None:
        """A picture as `png` wrote it; None for any other file."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(BytesIO(data)) as image:
                said = dict(image.info)
                pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
            return cls(
                tracking_uid=said["tracking_uid"],
                label=said["label"],
                slice_index=int(said["slice_index"]),
                field_mm=float(said["field_mm"]),
                pixels=pixels,
                time_point_id=said["time_point_id"],
                place=said["place"],
            )
        except (UnidentifiedImageError, OSError, KeyError, ValueError):
            return None


def render_key_image(
    volume: Volume,
    lesion: ReportedLesion,
    *,
    modality: str = "CT",
    size: int = 384,
    field_mm: float | None = None,
    centre_lps: Point | None = None,
) -> KeyImage | None:
    """Draw a lesion on its measured slice.

    Parameters
    ----------
    volume
        The image; the lesion's mask and axes are on it.
    modality
        CT is windowed by organ, anything else by what the crop contains.
    size
        Rows and columns of the picture.
    field_mm
        Side of the shown square; by default 80 mm, more for a large lesion. Give the same value for
        all time points of a lesion to make its pictures comparable.
    centre_lps
        Where to look if the lesion has no voxels (disappeared): its expected place, LPS mm.

    Returns
    -------
    KeyImage or None
        None if there is neither a measurement, a mask nor a place to look at.
    """
    centre = _centre_ijk(volume, lesion, centre_lps)
    if centre is None:
        return None
    slice_index = int(np.clip(round(float(centre[0])), 0, volume.shape[0] - 1))
    field = field_mm or key_image_field_mm(lesion)
    grid = _SquareField(volume=volume, centre_ijk=centre, field_mm=field, size=size)
    grey = _window(grid.sample(volume.array[slice_index]), lesion, modality)
    pixels = _draw(grey, lesion, grid, slice_index)
    return KeyImage(lesion.tracking_uid, lesion.label, slice_index, field, pixels)


def render_locator(volume: Volume, image: KeyImage, lesion: ReportedLesion, *, modality: str) -> bytes:
    """The whole slice of a key image, small, with a square where the key image is; a PNG file."""
    from PIL import Image, ImageDraw

    _, row_mm, column_mm = volume.spacing_mm
    grey = _window(volume.array[image.slice_index].astype(np.float64), lesion, modality)
    height, width = grey.shape[0] * row_mm, grey.shape[1] * column_mm
    scale = _LOCATOR_PIXELS / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    centre = lesion_centre_ijk(volume, lesion)
    if centre is not None:
        x, y, half = centre[2] * column_mm * scale, centre[1] * row_mm * scale, image.field_mm * scale / 2
        pen = ImageDraw.Draw(picture)
        box = (x - half, y - half, x + half, y + half)
        pen.rectangle(box, outline=colour_of(lesion.role, lesion.label), width=3)
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


@dataclass(frozen=True, kw_only=True)
class _SquareField:
    """A square of millimetres around a point, in one slice."""

    volume: Volume
    centre_ijk: FloatArray
    field_mm: float
    size: int

    @property
    def mm_per_pixel(self) -> float:
        return self.field_mm / self.size

    def sample(self, image: NDArray[Any]) -> FloatArray:
        """Bilinear values of a slice, shape (size, size); the smallest value outside it."""
        from scipy.ndimage import map_coordinates

        _, row_mm, column_mm = self.volume.spacing_mm
        offsets = (np.arange(self.size) - (self.size - 1) / 2) * self.mm_per_pixel
        rows = self.centre_ijk[1] + offsets / row_mm
        columns = self.centre_ijk[2] + offsets / column_mm
        points = np.meshgrid(rows, columns, indexing="ij")
        outside = float(image.min())
        values: FloatArray = map_coordinates(
            image.astype(np.float64), points, order=1, mode="constant", cval=outside
        )
        return values

    def to_picture(self, row_column: FloatArray) -> FloatArray:
        """(x, y) in the picture of (row, column) indices of the slice, shape (n, 2)."""
        _, row_mm, column_mm = self.volume.spacing_mm
        y = (row_column[:, 0] - self.centre_ijk[1]) * row_mm / self.mm_per_pixel + (self.size - 1) / 2
        x = (row_column[:, 1] - self.centre_ijk[2]) * column_mm / self.mm_per_pixel + (self.size - 1) / 2
        return np.stack([x, y], axis=1)


def lesion_centre_ijk(volume: Volume, lesion: ReportedLesion) -> FloatArray | None:
    """Where a lesion lies on its volume, indices (slice, row, column): measured, outlined or expected."""
    return _centre_ijk(volume, lesion, lesion.expected_lps)


def _centre_ijk(volume: Volume, lesion: ReportedLesion, centre_lps: Point | None) -> FloatArray | None:
    measurement = lesion.measurement
    if measurement is not None:
        ends = np.array([measurement.long_axis.start_lps, measurement.long_axis.end_lps])
        centre = volume.ijk(ends.mean(axis=0))
        centre[0] = measurement.slice_index
        return centre
    if lesion.mask is not None and not lesion.mask.is_empty:
        return lesion.mask.centroid_ijk()
    return None if centre_lps is None else volume.ijk(np.asarray(centre_lps))


def key_image_field_mm(lesion: ReportedLesion) -> float:
    """Side of the square, mm, that shows a lesion with enough around it."""
    length = lesion.measurement.long_axis.length_mm if lesion.measurement is not None else 0.0
    return max(_MINIMUM_FIELD_MM, length / _LESION_SHARE)


def _window(values: FloatArray, lesion: ReportedLesion, modality: str) -> NDArray[np.uint8]:
    if modality == "CT":
        centre, width = _CT_WINDOWS.get(lesion.organ.lower(), _CT_SOFT_TISSUE)
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = (float(v) for v in np.percentile(values, (1, 99.5)))
    scaled = (values - low) / max(high - low, 1e-6)
    if modality == "PT":
        scaled = 1 - scaled  # PET is read dark on white
    grey: NDArray[np.uint8] = np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey


def _draw(
    grey: NDArray[np.uint8], lesion: ReportedLesion, grid: _SquareField, slice_index: int
) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    # Drawn at twice the size and scaled down: PIL draws no smooth lines itself.
    picture = Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).resize((grid.size * 2, grid.size * 2))
    pen = ImageDraw.Draw(picture)
    for outline in _contours(lesion, slice_index):
        pen.line(_flat(grid.to_picture(outline)), fill=colour_of(lesion.role, lesion.label), width=3)
    if lesion.measurement is not None:
        for axis in (lesion.measurement.long_axis, lesion.measurement.short_axis):
            ends = grid.volume.ijk(np.array([axis.start_lps, axis.end_lps]))[:, 1:]
            for colour, width in ((_BLACK, 5), (_WHITE, 2)):  # seen on dark and on bright tissue
                pen.line(_flat(grid.to_picture(ends)), fill=colour, width=width)
    _write(picture, lesion, grid)
    return np.asarray(picture.resize((grid.size, grid.size), Image.Resampling.BOX), dtype=np.uint8)


def _contours(lesion: ReportedLesion, slice_index: int) -> list[FloatArray]:
    """Outlines of the mask in a slice, (row, column) indices on the volume's grid."""
    from skimage.measure import find_contours

    mask = lesion.mask
    if mask is None or not mask.start_ijk[0] <= slice_index < mask.stop_ijk[0]:
        return []
    part = np.pad(mask.voxels[slice_index - mask.start_ijk[0]], 1).astype(np.float64)
    start = np.array(mask.start_ijk[1:]) - 1
    return [outline + start for outline in find_contours(part, 0.5)]


def _flat(points: FloatArray) -> list[tuple[float, float]]:
    return [(float(x) * 2 + 0.5, float(y) * 2 + 0.5) for x, y in points]


def _write(picture: Any, lesion: ReportedLesion, grid: _SquareField) -> None:
    """Label, lengths, a scale of 10 mm and the patient's directions, in the picture's margins."""
    from PIL import ImageDraw

    pen, size = ImageDraw.Draw(picture), grid.size * 2
    small, large = label_font(size // 26), label_font(size // 18)
    margin = size // 40

    def say(x: float, y: float, words: str, anchor: str, font: Any = small, fill: RGB = _WHITE) -> None:
        pen.text((x, y), words, font=font, anchor=anchor, fill=fill, stroke_width=2, stroke_fill=_BLACK)

    say(margin, margin, lesion.label, "lt", large, colour_of(lesion.role, lesion.label))
    measurement = lesion.measurement
    words = LESION_WORDS[lesion.state]
    if measurement is not None:
        words = f"{measurement.long_axis.length_mm:.1f} x {measurement.short_axis.length_mm:.1f} mm"
    end = size - margin
    say(margin, end, words, "lb")
    bar = 2 * 10 / grid.mm_per_pixel
    for width, colour in ((8, _BLACK), (4, _WHITE)):
        pen.line([(end - bar, end), (end, end)], fill=colour, width=width)
    say(end, end - 10, "10 mm", "rb")
    right, down = grid.volume.directions[:, 2], grid.volume.directions[:, 1]
    say(margin, size / 2, direction_letter(-right), "lm")
    say(end, size / 2, direction_letter(right), "rm")
    say(size / 2, margin, direction_letter(-down), "mt")


def direction_letter(direction_lps: FloatArray) -> str:
    """The patient's side that a direction mostly points to: L, R, A, P, H (head) or F (foot)."""
    axis = int(np.argmax(np.abs(direction_lps)))
    return ("LR", "PA", "HF")[axis][0 if direction_lps[axis] > 0 else 1]


@lru_cache(maxsize=8)
def label_font(size: int) -> Any:
    """The font of what is written into pictures, `size` pixels high."""
    from PIL import ImageFont

    return ImageFont.truetype(str(font_path()), size)
