"""Text that every reader can show: signs spelled out, the source's character set kept."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.charset import convert_encodings

_PLAIN = str.maketrans(
    {
        "≥": ">=", "≤": "<=", "≈": "~", "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "→": "->",
        "Δ": "change ", "µ": "u", "μ": "u", "’": "'", "‘": "'", "“": '"', "”": '"', "±": "+/-",
        "²": "2", "³": "3", "\u00a0": " ", "\u202f": " ", "·": "-", "•": "-",
    }
)  # fmt: skip

UTF_8 = "ISO_IR 192"


def plain(text: str) -> str:
    """The text with the typographic signs that ISO 8859 lacks written in ASCII; letters stay."""
    return text.translate(_PLAIN)


def short(text: str, length: int) -> str:
    """The text in at most `length` characters, without backslashes and control characters (VR LO, SH)."""
    clean = " ".join(plain(text).replace("\\", "/").split())
    return clean if len(clean) <= length else clean[: length - 3].rstrip() + "..."


def character_set_for(texts: Iterable[str], source: str | list[str] | None) -> str | list[str] | None:
    """The source's Specific Character Set if it can hold the texts, else UTF-8.

    Parameters
    ----------
    texts
        What we are going to write, after `plain`.
    source
        (0008,0005) of the source images; None is the default repertoire (ASCII).
    """
    encodings = convert_encodings(source or "ISO_IR 6")
    for text in texts:
        if not any(_fits(text, encoding) for encoding in encodings):
            return UTF_8
    return source


def _fits(text: str, encoding: str) -> bool:
    # pydicom calls the default repertoire iso8859, which would let Latin-1 letters through.
    try:
        text.encode("ascii" if encoding == "iso8859" else encoding)
    except UnicodeEncodeError:
        return False
    return True
