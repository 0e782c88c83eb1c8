"""Fonts that are embedded into pages: DejaVu for most scripts, what is installed for the others.

DejaVu (it comes with matplotlib) has Latin, Greek, Cyrillic and Arabic letters. For Chinese, Japanese and
Korean names a TrueType font that the machine has is looked for (Debian: fonts-wqy-microhei). Where there is
none the caller shows the name's alphabetic form instead: a PDF must bring the letters that it uses.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from html import escape
from itertools import groupby
from pathlib import Path

REGULAR, BOLD = "DejaVu", "DejaVu-Bold"


def font_path(bold: bool = False) -> Path:
    """DejaVu Sans, as matplotlib brings it: the same letters on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def register_fonts() -> None:
    """Make DejaVu known to reportlab."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    if REGULAR in pdfmetrics.getRegisteredFontNames():
        return
    pdfmetrics.registerFont(TTFont(REGULAR, str(font_path())))
    pdfmetrics.registerFont(TTFont(BOLD, str(font_path(bold=True))))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD)


def can_show(text: str) -> bool:
    """Whether some font at hand has every letter of a text."""
    return all(_font_of(letter) is not None for letter in text)


def markup(text: str) -> str:
    """A text as reportlab's paragraphs take it: escaped, Arabic joined, with a font for every letter.

    Letters that no font has become "?": a box says no more and looks like a fault of the reader's program.
    """
    parts = []
    for font, letters in groupby(visual_order(text), key=_font_of):
        run = escape("".join(letters))
        if font is None:
            parts.append("?" * len(run))
        else:
            parts.append(run if font == REGULAR else f'<font name="{font}">{run}</font>')
    return "".join(parts)


@cache
def _font_of(letter: str) -> str | None:
    """The name of a registered font that has a letter."""
    if letter.isspace() or ord(letter) in _letters_of(font_path(), 0):
        return REGULAR
    for path in _installed():
        if ord(letter) in _letters_of(path, 0) and _register(path):
            return path.stem
    return None


@cache
def _register(path: Path) -> bool:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    try:
        pdfmetrics.registerFont(TTFont(path.stem, str(path), subfontIndex=0))
    except TTFError:  # outlines that reportlab can't embed
        return False
    return True


@cache
def _installed() -> tuple[Path, ...]:
    from matplotlib.font_manager import findSystemFonts

    found = (Path(name) for name in findSystemFonts())
    return tuple(sorted(path for path in found if path.suffix.lower() in (".ttf", ".ttc")))


@cache
def _letters_of(path: Path, number: int) -> frozenset[int]:
    """The code points that a font has."""
    from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]

    try:
        with TTFont(path, fontNumber=number, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except (TTLibError, OSError):
        return frozenset()


# ---------------------------------------------------------------- scripts from right to left


def visual_order(text: str) -> str:
    """The text in the order in which it is drawn from left to right: runs from right to left are turned.

    Enough for names and words within English sentences; digits inside such a run keep their order.
    """
    turned = []
    for is_rtl, letters in groupby(_with_direction(text), key=lambda pair: pair[1]):
        run = "".join(letter for letter, _ in letters)
        turned.append(_joined(run)[::-1] if is_rtl else run)
    return "".join(turned)


def _with_direction(text: str) -> list[tuple[str, bool]]:
    """Each letter, and whether it is part of a run from right to left (spaces and signs within one are)."""
    kinds = ["R" if unicodedata.bidirectional(c) in ("R", "AL", "NSM") else c.isalnum() and "L" for c in text]
    for at, kind in enumerate(kinds):
        if not kind:
            after = next((k for k in kinds[at:] if k), "L")
            kinds[at] = "R" if at > 0 and kinds[at - 1] == after == "R" else "L"
    return [(letter, kind == "R") for letter, kind in zip(text, kinds, strict=True)]


@cache
def _forms() -> dict[tuple[str, str], str]:
    """Presentation forms of Arabic letters, by form ("initial") and letters, as Unicode decomposes them."""
    found = {}
    for code in range(0xFE70, 0xFEFD):
        form, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        if form in ("<isolated>", "<initial>", "<medial>", "<final>"):
            found[form.strip("<>"), "".join(chr(int(letter, 16)) for letter in letters)] = chr(code)
    return found


def _joined(run: str) -> str:
    """Arabic letters in the forms that they have beside each other, lam and alef as one."""
    units: list[str] = []
    for letter in run:
        if units and ("isolated", units[-1] + letter) in _forms():
            units[-1] += letter
        else:
            units.append(letter)
    shaped = []
    for at, unit in enumerate(units):
        before = at > 0 and ("initial", units[at - 1]) in _forms() and ("final", unit) in _forms()
        after = at + 1 < len(units) and ("initial", unit) in _forms() and ("final", units[at + 1]) in _forms()
        form = {(0, 0): "isolated", (0, 1): "initial", (1, 0): "final", (1, 1): "medial"}[before, after]
        shaped.append(_forms().get((form, unit), unit))
    return "".join(shaped)
