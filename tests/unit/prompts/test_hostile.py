"""Nothing that arrives may crash the reader: a bad object is refused, or its problems are said."""

from __future__ import annotations

import math

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_io.prompts import ProblemKind, PromptReading, read_prompts, read_study_prompts
from tests.unit.prompts import sr_builder as sr
from tests.unit.prompts.support import load_series, phantom_images
from tests.unit.prompts.test_gsps import graphic, presentation_state
from tests.unit.prompts.test_seg import block, segmentation
from workflow.domain.errors import UnsuitableInputError

IMAGES = phantom_images()
SOURCE = IMAGES.slices[2].sop_instance_uid

numbers = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True), st.integers(-5, 70).map(float), st.just(1e30)
)
graphics = st.sampled_from(
    ["POINT", "MULTIPOINT", "POLYLINE", "CIRCLE", "ELLIPSE", "ELLIPSOID", "POLYGON", "", "X"]
)
uids = st.sampled_from([SOURCE, "9.9", "", IMAGES.slices[0].sop_instance_uid])
frames = st.sampled_from([None, 1, 0, -3, 7])
concepts = st.sampled_from([*sr.CODES, None])


@st.composite
def items(draw, depth=3):
    """A content item of any kind with children of any kind, sensible or not."""
    children = draw(st.lists(items(depth - 1), max_size=3)) if depth else []
    kind = draw(
        st.sampled_from(["CONTAINER", "NUM", "CODE", "TEXT", "SCOORD", "SCOORD3D", "IMAGE", "UIDREF", "REF"])
    )
    if kind == "REF":
        return sr.reference(*draw(st.lists(st.integers(-1, 4), min_size=1, max_size=4)))
    if kind == "IMAGE":
        return sr.image(draw(uids), draw(frames), draw(st.sampled_from([None, 1, -1])))
    item = sr.content(kind, draw(concepts), *children)
    if kind in ("SCOORD", "SCOORD3D"):
        item.GraphicType, item.GraphicData = draw(graphics), draw(st.lists(numbers, max_size=13))
        item.ReferencedFrameOfReferenceUID = draw(st.sampled_from(["1.2.3.4", "9.9", ""]))
    if kind == "CODE":
        item.ConceptCodeSequence = [sr.coded(sr.CODES[draw(st.sampled_from(list(sr.CODES)))])]
    if kind == "TEXT":
        item.TextValue = draw(st.text(max_size=8))
    return item


@given(st.lists(items(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom, on values that the test makes invalid
def test_any_tree_of_content_is_read_without_a_crash(content, wrapped):
    reading = read_prompts(sr.report(*content, wrapped=wrapped), [IMAGES])
    assert isinstance(reading, PromptReading)
    for prompt in reading.prompts:
        assert all(map(math.isfinite, _coordinates(prompt.shapes)))


@given(
    graphics,
    st.lists(st.tuples(st.integers(-102, -66), st.integers(38, 92), st.integers(-302, -270)), max_size=7),
    st.sampled_from([2, 3]),
)
@settings(max_examples=80, deadline=None)
def test_any_graphic_at_a_likely_place_is_read_without_a_crash(kind, points, dimensions):
    if dimensions == 3:
        drawn = sr.scoord3d(kind, [float(value) for point in points for value in point])
    else:
        data = [float(value) for x, y, _ in points for value in (x + 102, y - 38)]
        drawn = sr.scoord(kind, data, sr.image(SOURCE), concept="region")
    assert isinstance(read_prompts(sr.report(sr.group(drawn)), [IMAGES]), PromptReading)


def _coordinates(shapes):
    for shape in shapes:
        for value in vars(shape).values():
            yield from _numbers(value)


def _numbers(value):
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _numbers(one)


@given(
    st.lists(
        st.tuples(graphics, st.lists(numbers, max_size=9), st.sampled_from(["PIXEL", "DISPLAY", ""])),
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_graphics_of_a_presentation_state_are_read_without_a_crash(drawn):
    state = presentation_state(*(graphic(kind, data, units) for kind, data, units in drawn))
    assert isinstance(read_prompts(state, [IMAGES]), PromptReading)


def structure_set(points, kind: str = "CLOSED_PLANAR") -> Dataset:
    roi, contours, contour, dataset = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "GTV", "1.2.3.4"
    contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points) // 3
    contour.ContourData = list(points)
    contours.ReferencedROINumber, contours.ContourSequence = 1, [contour]
    dataset.Modality, dataset.SOPInstanceUID = "RTSTRUCT", "1.2.3.66"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [contours]
    return dataset


@given(
    st.lists(st.one_of(st.integers(-400, 100).map(float), st.floats(-1e6, 1e6)), max_size=15),
    st.sampled_from(["CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "OPEN_PLANAR", "OPEN_NONPLANAR", "POINT", ""]),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom, on decimal strings that the test makes too long
def test_any_contour_is_read_without_a_crash(points, kind):
    assert isinstance(read_prompts(structure_set(points, kind), [IMAGES]), PromptReading)


def test_a_contour_of_two_points_is_a_problem_with_its_number():
    first, roi = read_prompts(structure_set([-90, 50, -294, -80, 50, -294]), [IMAGES]).problems
    assert (first.item, first.kind) == ("ROI 1 GTV, contour 1", ProblemKind.MALFORMED)
    assert "at least 3 points" in first.reason
    assert "no usable contour" in roi.reason


def test_a_contour_of_absurd_coordinates_is_refused():
    points = [-90, 50, -294, 1e300, 50, -294, -80, 60, -294]
    first, _ = read_prompts(structure_set(points), [IMAGES]).problems
    assert "beyond 1e+06" in first.reason


def test_a_content_tree_that_holds_itself_is_refused_with_the_reason():
    loop = sr.container("group")
    loop.ContentSequence = [loop]
    (problem,) = read_prompts(sr.report(loop), [IMAGES]).problems
    assert "deeper than 64 levels, or a loop" in problem.reason


def test_a_very_deep_content_tree_is_refused_with_the_reason():
    item = sr.container("group")
    for _ in range(100):
        item = sr.container("group", item)
    (problem,) = read_prompts(sr.report(item), [IMAGES]).problems
    assert "deeper" in problem.reason


def test_references_that_run_in_a_circle_end():
    document = sr.report(sr.group(sr.reference(1, 1, 1, 3), sr.reference(1, 1, 1, 2)))
    assert all(p.kind is ProblemKind.MALFORMED for p in read_prompts(document, [IMAGES]).problems)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 200, b"\0" * 128 + b"DICM" + b"\xff" * 50, b"not DICOM at all"]
)
def test_a_file_that_is_no_object_is_refused(tmp_path, content):
    path = tmp_path / "object.dcm"
    path.write_bytes(content)
    with pytest.raises(UnsuitableInputError, match=r"object\.dcm"):
        read_prompts(path, [IMAGES])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    "file",
    [
        "dcmqi/partial_overlaps.dcm",
        "highdicom/sr_document_with_multiple_groups.dcm",
        "rt_utils/mock_data/rt.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_truncated_object_is_refused_or_says_its_problems(real_cases, tmp_path, file, share):
    whole = (real_cases / "ref_objects" / file).read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: int(len(whole) * share)])
    images = load_series(real_cases / "ref_objects" / "dcmqi" / "ct-3slice")
    result = reading_or_refusal(path, images)
    if isinstance(result, str):
        assert "cut.dcm" in result
    else:
        assert result.problems or not result.prompts


def reading_or_refusal(path, images) -> PromptReading | str:
    try:
        return read_prompts(path, [images])
    except UnsuitableInputError as error:
        return str(error)


def test_unreadable_objects_of_a_study_are_problems_beside_what_the_others_show(tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"?")
    good = segmentation([(1, (-100.0, 40.0, -294.0), block(slice(5, 9), slice(5, 9)))])
    other = pydicom.Dataset()
    other.SOPInstanceUID, other.Modality = "1.2.3.55", "CT"
    reading = read_study_prompts([broken, other, good], [IMAGES])
    assert len(reading.prompts) == 1
    assert [problem.kind for problem in reading.problems] == [ProblemKind.MALFORMED, ProblemKind.UNSUPPORTED]


def test_an_object_is_refused_where_there_are_no_images_at_all():
    (problem,) = read_prompts(structure_set([-90, 50, -294, -80, 50, -294, -80, 60, -294]), []).problems
    assert (problem.kind, "no series" in problem.reason) == (ProblemKind.NOT_PLACED, True)
