"""What a browser is shown of written results: the PDF in its object, the scale of a key image."""

from __future__ import annotations

from pathlib import Path

import pydicom

# The chunk of a key image's PNG that `dicom_io.results.key_images` writes.
_FIELD = "field_mm"


def pages_of(path: Path) -> bytes | None:
    """The PDF in an encapsulated PDF; None if the object holds no PDF."""
    document = pydicom.dcmread(path)
    if document.get("MIMETypeOfEncapsulatedDocument") != "application/pdf":
        return None
    pages: bytes = document.EncapsulatedDocument
    # An odd number of bytes is padded (PS3.5 7.1.1); older objects do not say their length (PS3.3 C.24.2).
    length = document.get("EncapsulatedDocumentLength") or len(pages)
    return pages[:length]


def field_mm_of(path: Path) -> float | None:
    """The side, mm, of the square that a key image shows; None if it is not there or does not say."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return float(image.info[_FIELD])
    except (UnidentifiedImageError, OSError, KeyError, ValueError):
        return None
