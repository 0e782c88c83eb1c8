"""Lengths in words."""

from __future__ import annotations

import pytest

from workflow.domain.response.quantities import mm_text


@pytest.mark.parametrize(
    ("length_um", "text"),
    [
        (72_000, "72 mm"),
        (9_800, "9.8 mm"),
        (82_087, "82.1 mm"),
        (9_998, "9.998 mm"),
        (10_040, "10.04 mm"),
        (0, "0 mm"),
    ],
)
def test_a_length_is_shown_to_a_tenth_but_never_rounded_onto_a_threshold(length_um, text):
    assert mm_text(length_um) == text
