"""Prompts out of presentation states, built as PS3.3 C.10.5 describes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_io.prompts import LesionRules, ProblemKind, read_prompts
from tests.unit.prompts.support import phantom_images
from workflow.domain.lesion import LinePrompt, OutlinePrompt, PointPrompt, PromptSource

IMAGES = phantom_images()  # 64 x 64 pixels, 0.5 mm columns, 0.8 mm rows
SOURCE = IMAGES.slices[2].sop_instance_uid


def lps(column: float, row: float, index: int = 2) -> tuple[float, float, float]:
    """Where an image coordinate lies: the top left corner of the first pixel is 0, 0."""
    return -100 + (column - 0.5) * 0.5, 40 + (row - 0.5) * 0.8, -300 + 3 * index


def graphic(kind: str, data: Sequence[float], units: str = "PIXEL", **said) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions = units, 2
    item.NumberOfGraphicPoints, item.GraphicData = len(data) // 2, list(data)
    item.GraphicType, item.GraphicFilled = kind, "N"
    for keyword, value in said.items():
        setattr(item, keyword, value)
    return item


def compound(kind: str, data: Sequence[float], **said) -> Dataset:
    item = graphic("", data, **said)
    del item.GraphicType
    item.CompoundGraphicType, item.CompoundGraphicUnits = kind, item.GraphicAnnotationUnits
    return item


def words(
    value: str, anchor: Sequence[float] | None = None, corner: Sequence[float] | None = None
) -> Dataset:
    item = Dataset()
    item.UnformattedTextValue = value
    if anchor is not None:
        item.AnchorPoint, item.AnchorPointAnnotationUnits = list(anchor), "PIXEL"
        item.AnchorPointVisibility = "Y"
    if corner is not None:
        item.BoundingBoxTopLeftHandCorner, item.BoundingBoxAnnotationUnits = list(corner), "PIXEL"
        item.BoundingBoxBottomRightHandCorner = [corner[0] + 5, corner[1] + 5]
    return item


def reference(*uids: str) -> list[Dataset]:
    found = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPInstanceUID = uid
        found.append(item)
    return found


def presentation_state(*items: Dataset, images: Sequence[str] = (SOURCE,), **said) -> Dataset:
    annotation = Dataset()
    annotation.ReferencedImageSequence = reference(*images)
    annotation.GraphicLayer = "LESIONS"
    annotation.GraphicObjectSequence = [item for item in items if "GraphicType" in item]
    annotation.CompoundGraphicSequence = [item for item in items if "CompoundGraphicType" in item]
    annotation.TextObjectSequence = [item for item in items if "UnformattedTextValue" in item]
    state = Dataset()
    state.Modality, state.SOPInstanceUID = "PR", "1.2.3.88"
    state.PresentationCreationDate, state.PresentationCreationTime = "20240203", "0911"
    state.ContentCreatorName = "Reader^Rita"
    state.GraphicAnnotationSequence = [annotation]
    for keyword, value in said.items():
        setattr(state, keyword, value)
    return state


def read(*items, **said):
    return read_prompts(presentation_state(*items, **said), [IMAGES])


def only(*items, **said):
    reading = read(*items, **said)
    assert reading.problems == ()
    (prompt,) = reading.prompts
    return prompt


def test_two_crossing_lines_are_the_axes_of_one_lesion():
    short, long = graphic("POLYLINE", [20, 10, 20, 20]), graphic("POLYLINE", [10, 15, 40, 15])
    prompt = only(short, long)
    assert prompt.shapes == (
        LinePrompt(
            start_lps=pytest.approx(lps(10, 15)), end_lps=pytest.approx(lps(40, 15)),
            short_axis_lps=(pytest.approx(lps(20, 10)), pytest.approx(lps(20, 20))),
        ),
    )  # fmt: skip
    assert (prompt.source, prompt.created_by, prompt.created_at) == (
        PromptSource.PRESENTATION_STATE, "Reader^Rita", datetime(2024, 2, 3, 9, 11)
    )  # fmt: skip


def test_lines_pair_each_with_the_one_it_crosses():
    a, b = graphic("POLYLINE", [5, 10, 25, 10]), graphic("POLYLINE", [15, 5, 15, 14])
    c, d = graphic("POLYLINE", [35, 40, 60, 40]), graphic("POLYLINE", [45, 35, 45, 44])
    prompts = read(a, d, c, b).prompts
    assert [prompt.shapes[0].start_lps[0] for prompt in prompts] == [lps(5, 0)[0], lps(35, 0)[0]]
    assert all(prompt.shapes[0].short_axis_lps for prompt in prompts)


@pytest.mark.parametrize(
    ("other", "lesions"),
    [
        ([20, 10, 20, 20], 1),  # crosses in the middle at a right angle
        ([20, 16, 20, 26], 1),  # misses by a tenth of its length: drawn by hand
        ([20, 20, 20, 30], 2),  # beside it
        ([10, 12, 40, 18], 2),  # crosses at a flat angle
    ],
    ids=["crosses", "just misses", "beside", "flat angle"],
)
def test_lines_are_axes_only_where_they_cross_at_about_a_right_angle(other, lesions):
    assert len(read(graphic("POLYLINE", [10, 15, 40, 15]), graphic("POLYLINE", other)).prompts) == lesions


@pytest.mark.parametrize(
    ("item", "lowest", "highest"),
    [
        (graphic("CIRCLE", [20, 30, 26, 30]), (14, 24), (26, 36)),
        (graphic("ELLIPSE", [10, 30, 30, 30, 20, 26, 20, 34]), (10, 26), (30, 34)),
        (graphic("POLYLINE", [10, 10, 20, 10, 20, 30, 10, 30, 10, 10]), (10, 10), (20, 30)),
        (graphic("INTERPOLATED", [10, 10, 20, 10, 20, 30, 10, 30, 10, 10]), (10, 10), (20, 30)),
        (graphic("POLYLINE", [10, 10, 20, 10, 20, 30, 10, 30], GraphicFilled="Y"), (10, 10), (20, 30)),
        (compound("RECTANGLE", [10, 12, 30, 20]), (10, 12), (30, 20)),
        (compound("ELLIPSE", [10, 12, 30, 20]), (10, 12), (30, 20)),
    ],
    ids=["circle", "ellipse", "closed polyline", "interpolated", "filled", "rectangle", "boxed ellipse"],
)
def test_closed_graphics_are_outlines(item, lowest, highest):
    (outline,) = only(item).shapes
    assert isinstance(outline, OutlinePrompt)
    points = np.array(outline.points_lps)
    np.testing.assert_allclose(points.min(axis=0), lps(*lowest), atol=1e-6)
    np.testing.assert_allclose(points.max(axis=0), lps(*highest), atol=1e-6)


def test_an_arrow_points_to_its_head():
    assert only(compound("ARROW", [50, 50, 20, 25])).shapes == (
        PointPrompt(position_lps=pytest.approx(lps(20, 25))),
    )


def test_a_multiline_of_two_crossing_lines_is_one_lesion():
    (line,) = only(compound("MULTILINE", [10, 15, 40, 15, 20, 10, 20, 20])).shapes
    assert line.short_axis_lps is not None


def test_a_text_beside_a_graphic_is_its_label_and_names_the_organ():
    prompt = only(graphic("POLYLINE", [10, 15, 40, 15]), words("Liver met 3.2 cm", corner=[42, 16]))
    assert (prompt.label, prompt.organ) == ("Liver met 3.2 cm", "liver")


def test_a_text_with_a_visible_anchor_and_no_graphic_is_a_point():
    prompt = only(words("nodule?", anchor=[20, 25]))
    assert prompt.shapes == (PointPrompt(position_lps=pytest.approx(lps(20, 25))),)


def test_a_text_without_an_anchor_shows_no_lesion():
    assert read(words("CT chest", corner=[2, 2])).prompts == ()


def test_a_region_that_its_label_calls_something_else_is_left_out():
    reading = read(graphic("CIRCLE", [20, 30, 26, 30]), words("normal liver", corner=[28, 30]))
    (problem,) = reading.problems
    assert problem.kind is ProblemKind.DOUBTFUL_LESION
    assert problem.reason == "its label 'normal liver' names normal"


def test_graphics_of_one_tracking_uid_are_one_lesion():
    a = graphic("POLYLINE", [5, 10, 25, 10], TrackingUID="2.25.9", TrackingID="T01")
    b = graphic("CIRCLE", [15, 10, 15, 16], TrackingUID="2.25.9", TrackingID="T01")
    prompt = only(a, b)
    assert (prompt.tracking_uid, prompt.tracking_id, len(prompt.shapes)) == ("2.25.9", "T01", 2)


def displayed(top_left: Sequence[int], bottom_right: Sequence[int]) -> Dataset:
    area = Dataset()
    area.ReferencedImageSequence = reference(SOURCE)
    area.DisplayedAreaTopLeftHandCorner = list(top_left)
    area.DisplayedAreaBottomRightHandCorner = list(bottom_right)
    return area


@pytest.mark.parametrize(
    ("top_left", "bottom_right", "rotation", "column_row"),
    [
        ((1, 1), (64, 64), 0, (16, 32)),
        ((33, 1), (64, 64), 0, (40, 32)),
        ((64, 1), (1, 64), 0, (48, 32)),  # flipped from left to right
        ((1, 64), (64, 1), 90, (32, 48)),  # turned by 90 degrees: across the display is up the column
        ((64, 64), (1, 1), 180, (48, 32)),
    ],
    ids=["whole image", "right half", "flipped", "turned 90", "turned 180"],
)
def test_display_units_are_shares_of_the_displayed_area(top_left, bottom_right, rotation, column_row):
    point = graphic("POINT", [0.25, 0.5], units="DISPLAY")
    prompt = only(
        point, DisplayedAreaSelectionSequence=[displayed(top_left, bottom_right)], ImageRotation=rotation
    )
    assert prompt.shapes == (PointPrompt(position_lps=pytest.approx(lps(*column_row))),)


@pytest.mark.parametrize(
    ("items", "said", "kind", "reason"),
    [
        ([graphic("POINT", [0.5, 0.5], units="DISPLAY")], {}, ProblemKind.MALFORMED, "no displayed area"),
        ([graphic("POINT", [5, 5], units="MATRIX")], {}, ProblemKind.UNSUPPORTED, "MATRIX"),
        ([graphic("POINT", [5, 500])], {}, ProblemKind.MALFORMED, "outside the image"),
        ([graphic("POLYLINE", [5])], {}, ProblemKind.MALFORMED, "1 numbers"),
        ([graphic("POLYLINE", [5, 5, 9, 9, 20, 7])], {}, ProblemKind.UNSUPPORTED, "open path"),
        ([graphic("POINT", [5, 5], GraphicDimensions=3)], {}, ProblemKind.MALFORMED, "GraphicDimensions"),
        ([graphic("CIRCLE", [5, float("nan"), 9, 9])], {}, ProblemKind.MALFORMED, "GraphicData"),
        ([compound("CROSSHAIR", [5, 5])], {}, ProblemKind.UNSUPPORTED, "CROSSHAIR"),
        ([compound("RECTANGLE", [5, 5, 9, 9], RotationAngle=30.0)], {}, ProblemKind.UNREAD, "turned"),
        ([graphic("POINT", [5, 5])], {"images": ("9.9",)}, ProblemKind.NOT_PLACED, "image 9.9"),
        ([graphic("POINT", [5, 5])], {"images": ()}, ProblemKind.NOT_PLACED, "no image"),
        ([graphic("POINT", [5, 5])], {"images": (SOURCE, IMAGES.slices[3].sop_instance_uid)},
         ProblemKind.NOT_PLACED, "2 images alike"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_graphic_is_said(items, said, kind, reason):
    reading = read(*items, **said)
    assert reading.prompts == ()
    assert [problem.kind for problem in reading.problems] == [kind]
    assert reason in reading.problems[0].reason


def test_a_presentation_state_with_a_thousand_lines_is_read_in_reasonable_time():
    lines = [graphic("POLYLINE", [k % 60, k // 60, k % 60 + 3, k // 60]) for k in range(1000)]
    assert len(read(*lines).prompts) == 1000


def test_a_sites_never_rule_holds_for_labels():
    state = presentation_state(graphic("POINT", [5, 5]), words("cyst", corner=[6, 6]))
    assert read_prompts(state, [IMAGES], rules=LesionRules(never=frozenset({"Cyst"}))).prompts == ()


# ---------------------------------------------------------------- calipers, rulers, compound graphics

LINE = [10, 15, 40, 15]  # 15 mm: columns of 0.5 mm


def tick(column: float, half: float = 3.0, row: float = 15.0) -> Dataset:
    return graphic("POLYLINE", [column, row - half, column, row + half])


def only_line(*items, **said) -> LinePrompt:
    (shape,) = only(*items, **said).shapes
    assert isinstance(shape, LinePrompt)
    return shape


@pytest.mark.parametrize(
    "marks",
    [
        [tick(10), tick(40)],
        [tick(10)],
        [tick(10.5), tick(39.5)],
        [tick(10, 8), tick(40, 8)],  # as long as the line is high, but one at each end
        [graphic("POLYLINE", [10, 15, 13, 13]), graphic("POLYLINE", [10, 15, 13, 17])],
        [tick(10 + 5 * n, 2 if n % 2 else 1) for n in range(7)],
    ],
    ids=["at both ends", "at one end", "drawn by hand", "large", "an arrow's head", "divisions of a ruler"],
)
@pytest.mark.parametrize("group", [None, 1], ids=["loose", "grouped"])
def test_ticks_on_a_line_belong_to_it(marks, group):
    items = [graphic("POLYLINE", LINE), *(copy.deepcopy(mark) for mark in marks)]
    for item in items if group is not None else []:
        item.GraphicGroupID = group
    line = only_line(*items)
    assert (line.start_lps, line.end_lps) == (pytest.approx(lps(10, 15)), pytest.approx(lps(40, 15)))
    assert line.short_axis_lps is None


def test_axes_with_ticks_keep_their_short_axis():
    short = graphic("POLYLINE", [25, 10, 25, 20])
    ends = [graphic("POLYLINE", [23, row, 27, row]) for row in (10, 20)]
    line = only_line(graphic("POLYLINE", LINE), short, tick(10), tick(40), *ends)
    assert line.short_axis_lps == (pytest.approx(lps(25, 10)), pytest.approx(lps(25, 20)))


def test_a_short_axis_near_the_end_of_a_long_one_is_no_tick():
    line = only_line(graphic("POLYLINE", LINE), graphic("POLYLINE", [14, 9, 14, 21]))
    assert line.short_axis_lps is not None


def test_a_caliper_in_one_stroke_is_its_line():
    stroke = [10, 13, 10, 17, 10, 15, 40, 15, 40, 13, 40, 17]
    line = only_line(graphic("POLYLINE", stroke))
    assert (line.start_lps, line.end_lps) == (pytest.approx(lps(10, 15)), pytest.approx(lps(40, 15)))


@pytest.mark.parametrize("kind", ["RULER", "RANGELINE"])
def test_a_compound_graphic_and_its_simple_equivalents_are_one_lesion(kind):
    whole = compound(kind, LINE, CompoundGraphicInstanceID=1)
    simple = [graphic("POLYLINE", LINE), tick(10), tick(40)]
    for item in simple:
        item.CompoundGraphicInstanceID = 1
    assert only_line(whole, *simple).short_axis_lps is None


def test_a_turned_compound_graphic_is_read_by_its_equivalents():
    box = [20, 20, 30, 25, 28, 30, 18, 25, 20, 20]
    turned = compound("RECTANGLE", [10, 12, 30, 20], RotationAngle=30.0, CompoundGraphicInstanceID=1)
    (outline,) = only(turned, graphic("POLYLINE", box, CompoundGraphicInstanceID=1)).shapes
    np.testing.assert_allclose(np.array(outline.points_lps).min(axis=0), lps(18, 20), atol=1e-6)


def test_a_cut_line_and_its_equivalents_are_no_lesion_and_a_person_is_asked():
    halves = [
        graphic("POLYLINE", ends, CompoundGraphicInstanceID=1) for ends in ([5, 5, 15, 5], [25, 5, 35, 5])
    ]
    reading = read(compound("CUTLINE", [5, 5, 35, 5], CompoundGraphicInstanceID=1), *halves)
    assert reading.prompts == ()
    assert [problem.is_doubt for problem in reading.problems] == [True]


@pytest.mark.parametrize(
    ("typed", "is_doubtful"),
    [
        ("15 mm", False),
        ("1,5cm", False),
        ("15 x 9 mm", False),
        ("24 mm", True),
        ("3.2 cm", True),
        ("T1", False),
    ],
)
def test_a_length_typed_beside_a_line_that_contradicts_it_is_a_doubt(typed, is_doubtful):
    reading = read(graphic("POLYLINE", LINE), words(f"lesion {typed}", corner=[42, 16]))
    assert len(reading.prompts) == 1
    assert bool(reading.doubts) is is_doubtful


@pytest.mark.parametrize("label", ["Aorta 32 mm", "Milz", "spleen length"])
def test_a_graphic_labelled_as_a_normal_structure_is_no_lesion_and_a_person_is_asked(label):
    reading = read(graphic("POLYLINE", [10, 15, 40, 15]), words(label, corner=[42, 16]))
    assert reading.prompts == ()
    assert [problem.kind for problem in reading.problems] == [ProblemKind.DOUBTFUL_LESION]


def test_annotations_on_images_of_two_series_lie_each_on_its_own():
    other = phantom_images(series_instance_uid="1.2.3.6", origin=(-100.0, 40.0, -200.0))
    state = presentation_state(graphic("POLYLINE", LINE))
    second = presentation_state(graphic("POLYLINE", LINE), images=(other.slices[4].sop_instance_uid,))
    state.GraphicAnnotationSequence.append(second.GraphicAnnotationSequence[0])
    reading = read_prompts(state, [IMAGES, other])
    assert [p.drawn_on.series_instance_uid for p in reading.placements] == ["1.2.3.5", "1.2.3.6"]
    assert [p.shapes[0].start_lps[2] for p in reading.prompts] == [-294, -188]
    assert reading.doubts == ()


def test_one_annotation_on_two_images_at_one_place_is_placed_and_a_person_asked():
    other = phantom_images(series_instance_uid="1.2.3.6")
    state = presentation_state(graphic("POLYLINE", LINE), images=(SOURCE, other.slices[2].sop_instance_uid))
    reading = read_prompts(state, [IMAGES, other])
    assert len(reading.prompts) == 1
    assert any("2 images at one place" in doubt for doubt in reading.doubts)
