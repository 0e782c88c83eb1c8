"""The palette: seen on CT and told apart by every kind of colour vision, measured."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from pydicom import Dataset
from result_cases import Case
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from workflow.domain.palette import COLOURS, RGB, colour_of, css
from workflow.domain.report import LesionRole

# Machado, Oliveira, Fernandes 2009, severity 1.0: linear RGB as a person with that vision sees it.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
EASILY_TOLD_APART = 10  # CIEDE2000; about 2 is just noticeable side by side


def seen(colours: list[RGB], vision: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours, shape (n, 3), as seen."""
    values = np.array(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ vision.T, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("vision", VISIONS)
def test_every_colour_is_seen_on_every_grey(vision: str):
    greys = seen([(g, g, g) for g in range(256)], VISIONS[vision])
    for colour in (c for shades in COLOURS.values() for c in shades):
        assert deltaE_ciede2000(seen([colour], VISIONS[vision]), greys).min() > EASILY_TOLD_APART, colour


@pytest.mark.parametrize("vision", VISIONS)
def test_the_parts_are_told_from_each_other(vision: str):
    for one, other in combinations(COLOURS.values(), 2):
        pairs = [(a, b) for a in seen(list(one), VISIONS[vision]) for b in seen(list(other), VISIONS[vision])]
        assert min(float(deltaE_ciede2000(a, b)) for a, b in pairs) > EASILY_TOLD_APART


def test_the_grey_that_vanished_on_ct_fails_the_measure():
    grey = seen([(153, 153, 153)], VISIONS["normal"])
    greys = seen([(g, g, g) for g in range(256)], VISIONS["normal"])
    assert deltaE_ciede2000(grey, greys).min() < EASILY_TOLD_APART


@pytest.mark.parametrize(
    ("role", "label", "colour"),
    [
        (LesionRole.TARGET, "T01", "#ffb000"),
        (LesionRole.TARGET, "T02", "#f0e442"),
        (LesionRole.TARGET, "T03", "#ffb000"),
        (LesionRole.NON_TARGET, "NT02", "#82cdff"),
        (LesionRole.NEW, "left upper lobe", "#ff4400"),
    ],
)
def test_a_lesion_keeps_its_colour_by_its_number(role: LesionRole, label: str, colour: str):
    assert css(colour_of(role, label)) == colour


def test_the_seg_recommends_the_palettes_colours(axial: Case):
    """CIELab as DICOM stores it (PS3.3 C.10.7.1.1), back to sRGB within its rounding."""
    for segment, lesion in zip(axial.results.seg.SegmentSequence, axial.report.lesions, strict=False):
        shown = np.round(lab2rgb(lab_of(segment)) * 255)
        assert np.abs(shown - colour_of(lesion.role, lesion.label)).max() <= 2


def lab_of(segment: Dataset) -> np.ndarray:
    l, a, b = segment.RecommendedDisplayCIELabValue  # noqa: E741
    return np.array([l * 100 / 65535, a * 255 / 65535 - 128, b * 255 / 65535 - 128])
