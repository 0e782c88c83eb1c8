"""The palette as a style sheet: a lesion's label on the page has the colour that its pictures draw it in."""

from __future__ import annotations

from workflow.domain.palette import COLOURS, css, shade_of
from workflow.domain.report import LesionRole


def colour_class(role: LesionRole, label: str) -> str:
    """The CSS class of a lesion's colour: "target-0"."""
    return f"{role.value.replace('_', '-')}-{shade_of(role, label)}"


def palette_css() -> str:
    """Rules for labels, one per colour.

    Labels are written on black: the palette is made for the greys of a CT, and pale on the page's white.
    """
    labels = [
        f".label.{role.value.replace('_', '-')}-{shade} {{ background: #000; color: {css(colour)}; }}"
        for role, shades in COLOURS.items()
        for shade, colour in enumerate(shades)
    ]
    return "\n".join([*labels, ""])
