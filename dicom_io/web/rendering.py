"""Frames as pictures for people: rendered and thumbnails (PS3.18 8.3.5, 10.4.1.1.3)."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io.parsing import quiet, reading
from dicom_io.web.frames import FrameSource, decoded_array
from workflow.domain.errors import UnsuitableInputError

PICTURES = ("image/jpeg", "image/png")
_LARGEST_SIDE = 4096


@dataclass(frozen=True, kw_only=True)
class View:
    """How a frame is to be drawn: window in the image's own units, and the box that the picture fits into."""

    window_centre: float | None = None
    window_width: float | None = None
    box: tuple[int, int] | None = None
    quality: int = 90


def view_of(window: str | None, viewport: str | None, quality: str | None) -> View:
    """The view that query parameters ask for (PS3.18 8.3.5.1).

    Raises
    ------
    ValueError
        If one is malformed; the message is for the client.
    """
    view = View()
    if window:
        parts = window.split(",")
        if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("linear", "linear-exact")):
            raise ValueError("window is CENTER,WIDTH,linear or linear-exact")
        centre, width = _number(parts[0], "window"), _number(parts[1], "window")
        if width <= 0:
            raise ValueError("the window's width is above 0")
        view = View(window_centre=centre, window_width=width)
    box = None
    if viewport:
        sides = [_number(part, "viewport") for part in viewport.split(",")[:2]]
        if len(sides) != 2 or not all(1 <= side <= _LARGEST_SIDE for side in sides):
            raise ValueError(f"viewport is WIDTH,HEIGHT, each from 1 to {_LARGEST_SIDE}")
        if viewport.count(",") > 1:
            raise ValueError("a part of the image can't be asked for; viewport is WIDTH,HEIGHT")
        box = (int(sides[0]), int(sides[1]))
    best = int(_number(quality, "quality")) if quality else view.quality
    if not 1 <= best <= 100:
        raise ValueError("quality is from 1 to 100")
    return View(window_centre=view.window_centre, window_width=view.window_width, box=box, quality=best)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{what}: {text!r} is no number") from None
    if not np.isfinite(value):
        raise ValueError(f"{what}: {text!r} is no number")
    return value


def rendered(source: FrameSource, number: int, media_type: str, view: View) -> bytes:
    """A frame as JPEG or PNG; `number` counts from 1.

    Raises
    ------
    NoPixelsError
        If there is no such frame.
    UnsuitableInputError
        If it can't be decoded.
    """
    from PIL import Image

    with quiet(), reading(source.path):
        grey_or_rgb = _eight_bits(source, number, view)
    picture = Image.fromarray(grey_or_rgb)
    if view.box is not None:
        scale = min(view.box[0] / picture.width, view.box[1] / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size)
    out = BytesIO()
    if media_type == "image/png":
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=view.quality)
    return out.getvalue()


def _eight_bits(source: FrameSource, number: int, view: View) -> NDArray[np.uint8]:
    header, stored = source.header, decoded_array(source, number)
    interpretation = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if interpretation == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        stored = apply_color_lut(stored, header)
        return _scaled(stored, 0.0, float(np.iinfo(stored.dtype).max))
    if stored.ndim == 3:
        return _rgb(stored, interpretation)
    if int(header.BitsAllocated) == 1:
        return np.where(stored > 0, np.uint8(255), np.uint8(0)).astype(np.uint8)
    slope, intercept = _rescale(header, number)
    values = stored.astype(np.float64) * slope + intercept
    centre, width = view.window_centre, view.window_width
    if centre is None or width is None:
        centre, width = _window(header, number) or (None, None)
    if centre is None or width is None:
        low, high = float(values.min()), float(values.max())
    else:  # PS3.3 C.11.2.1.2.1
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    picture = _scaled(values, low, max(high, low + 1e-9))
    return 255 - picture if interpretation == "MONOCHROME1" else picture


def _rgb(stored: NDArray[Any], interpretation: str) -> NDArray[np.uint8]:
    from pydicom.pixels import convert_color_space

    if stored.dtype != np.uint8:
        raise UnsuitableInputError("colours of more than 8 bits are not drawn")
    if interpretation.startswith("YBR_FULL"):
        stored = convert_color_space(stored, "YBR_FULL", "RGB")
    return np.ascontiguousarray(stored[..., :3])


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    return np.clip(np.rint((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _rescale(header: Dataset, number: int) -> tuple[float, float]:
    place = _group(header, number, "PixelValueTransformationSequence")
    slope, intercept = place.get("RescaleSlope"), place.get("RescaleIntercept")
    return float(1 if slope is None else slope), float(intercept or 0)


def _window(header: Dataset, number: int) -> tuple[float, float] | None:
    place = _group(header, number, "FrameVOILUTSequence")
    centre, width = (_first(place.get(name)) for name in ("WindowCenter", "WindowWidth"))
    return None if centre is None or not width or width <= 0 else (centre, width)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


def _group(header: Dataset, number: int, sequence: str) -> Dataset:
    """Where a frame's attributes stand: in its own functional group, the shared one, or the image itself."""
    own = header.get("PerFrameFunctionalGroupsSequence")
    places = [own[number - 1]] if own and number <= len(own) else []
    places += list(header.get("SharedFunctionalGroupsSequence") or [])
    for place in places:
        found = place.get(sequence)
        if found:
            item: Dataset = found[0]
            return item
    return header
