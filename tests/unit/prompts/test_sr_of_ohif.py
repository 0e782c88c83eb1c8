"""What OHIF 3.13.2 really stored ("Create SR") after it had hydrated our measurements, read back.

tests/data/ohif_3_13_2_sr.dcm was drawn by tests/viewer/ohif/read.mjs on the phantom of tests/result_cases.py:
the long axis of T01 was dragged, T02 and N01 were left as they were, and one mark of each tool was drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phantoms import Phantom
from result_cases import SPHERES

from dicom_io.prompts import read_visit_prompts
from workflow.domain.lesion import LesionPrompt, LinePrompt, OutlinePrompt, PointPrompt, PromptsRead

STORED = Path(__file__).parents[2] / "data" / "ohif_3_13_2_sr.dcm"


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> PromptsRead:
    source = Phantom(spheres=SPHERES, shape=(24, 60, 68)).write(tmp_path_factory.mktemp("images"))
    return read_visit_prompts([STORED], [image.path for image in source.slices])


@pytest.fixture(scope="module")
def by_tool(read) -> dict[str, LesionPrompt]:
    """The marks in the order in which OHIF wrote them, by what they are."""
    names = ("T01", "T02", "bidirectional", "length", "ellipse", "rectangle", "circle", "probe", "arrow",
             "freehand", "N01")  # fmt: skip
    return dict(zip(names, (placed.prompt for placed in read.prompts), strict=True))


def area_mm2(outline: OutlinePrompt) -> float:
    x, y, _ = np.array(outline.points_lps).T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_every_tool_gives_a_mark_and_nothing_is_doubtful(read, by_tool):
    kinds = {name: type(prompt.shapes[0]) for name, prompt in by_tool.items()}
    lines = dict.fromkeys(("T01", "T02", "N01", "bidirectional", "length"), LinePrompt)
    outlines = dict.fromkeys(("ellipse", "rectangle", "circle", "freehand"), OutlinePrompt)
    assert kinds == {**lines, **outlines, "probe": PointPrompt, "arrow": PointPrompt}
    assert read.doubts == ()


@pytest.mark.parametrize(
    ("name", "shown_mm"), [("T01", 19.236), ("bidirectional", 12.827), ("length", 9.634)]
)
def test_a_line_is_as_long_as_ohif_showed_it(by_tool, name, shown_mm):
    (line,) = by_tool[name].shapes
    assert np.linalg.norm(np.subtract(line.end_lps, line.start_lps)) == pytest.approx(shown_mm, abs=0.01)


@pytest.mark.parametrize(
    ("name", "shown_mm2"), [("ellipse", 96.05), ("rectangle", 40.77), ("circle", 50.03), ("freehand", 49.59)]
)
def test_a_region_is_as_large_as_ohif_showed_it(by_tool, name, shown_mm2):
    (outline,) = by_tool[name].shapes
    assert area_mm2(outline) == pytest.approx(shown_mm2, rel=0.01)


def test_what_was_typed_is_the_label_and_nobody_is_the_observer(by_tool):
    assert (by_tool["length"].label, by_tool["arrow"].label) == ("lung nodule", "met here")
    assert "unknown" not in {str(prompt.created_by).split("^")[0] for prompt in by_tool.values()}


def test_an_arrow_points_with_its_tip(by_tool):
    (point,) = by_tool["arrow"].shapes
    assert point.position_lps == pytest.approx((10.0, -21.0, 130.0), abs=0.1)
