"""Prompts out of measurement reports: real ones of other people's software, and built ones for each rule."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from dicom_io.prompts import ProblemKind, read_prompts
from tests.unit.prompts.sr_builder import (
    axes,
    code,
    container,
    group,
    image,
    num,
    reference,
    report,
    scoord,
    scoord3d,
    text,
    uid,
)
from tests.unit.prompts.support import Images, Slice, load_series, on_grid, phantom_images
from tests.unit.prompts.test_seg import block, segmentation
from workflow.domain.lesion import BoxPrompt, LinePrompt, MaskPrompt, OutlinePrompt, PointPrompt, PromptSource

IMAGES = phantom_images()  # 0.5 mm columns, 0.8 mm rows, 3 mm slices, origin (-100, 40, -300)
SOURCE = IMAGES.slices[2].sop_instance_uid
ELLIPSOID = [-90, 50, -294, -80, 50, -294, -85, 48, -294, -85, 52, -294, -85, 50, -297, -85, 50, -291]


def lps(column: float, row: float, index: int = 2) -> tuple[float, float, float]:
    """Where an image coordinate lies: the centre of the first pixel is 0.5, 0.5."""
    return -100 + (column - 0.5) * 0.5, 40 + (row - 0.5) * 0.8, -300 + 3 * index


def read(document, images=IMAGES, **more):
    return read_prompts(document, [images], **more)


def only(document, images=IMAGES, **more):
    reading = read(document, images, **more)
    assert reading.problems == ()
    (prompt,) = reading.prompts
    return prompt


# ---------------------------------------------------------------- other people's reports


def images_named(*uids: str) -> Images:
    """512 x 512 images of these UIDs, because the report's own are not at hand."""
    images = phantom_images(shape=(len(uids), 512, 512))
    return Images(images.volume, tuple(Slice(one) for one in uids), images.series)


def test_a_report_of_cornerstone_tools_4_gives_arrow_ellipses_axes_and_lengths(real_cases):
    uids = [f"1.3.6.1.4.1.25403.52237031786.3872.20100510032220.{n}" for n in (11, 12)]
    reading = read(real_cases / "ref_objects" / "dcmjs" / "structured_report.dcm", images_named(*uids))
    assert reading.problems == ()
    arrow, ellipse, both, length, other_length, _ = (prompt.shapes[0] for prompt in reading.prompts)
    assert arrow == PointPrompt(position_lps=pytest.approx(lps(169.5, 360, 0)))
    assert both.start_lps == pytest.approx(lps(71.5, 329, 0))
    assert both.end_lps == pytest.approx(lps(139.5, 397, 0))
    assert both.short_axis_lps == (pytest.approx(lps(88.5, 380, 0)), pytest.approx(lps(122.5, 346, 0)))
    assert (length.start_lps, length.end_lps) == (
        pytest.approx(lps(237.5, 392, 0)), pytest.approx(lps(272.5, 372, 0))
    )  # fmt: skip
    assert other_length.start_lps == pytest.approx(lps(167.5, 288, 1))
    outline = np.array(ellipse.points_lps)
    np.testing.assert_allclose(outline.min(axis=0), lps(295.5, 285, 0), atol=1e-3)
    np.testing.assert_allclose(outline.max(axis=0), lps(388.5, 354, 0), atol=1e-3)
    assert reading.prompts[0].label == "ExampleText"
    assert reading.prompts[2].tracking_uid == "2.25.727123647032892115231673449406461991117"
    assert reading.prompts[2].tracking_id is None  # it was only the tool's name


def test_a_report_of_cornerstone3d_gives_the_axes(real_cases):
    images = images_named("1.3.6.1.4.1.14519.5.2.1.3098.5025.258689768683178195119522016250")
    images = Images(phantom_images(shape=(1, 2000, 2000)).volume, images.slices, images.series)
    prompt = only(real_cases / "ref_objects" / "dcmjs" / "sample-sr.dcm", images)
    (line,) = prompt.shapes
    assert line.start_lps == pytest.approx(lps(580.719177, 1090.83582, 0), abs=0.01)
    assert line.short_axis_lps is not None
    assert prompt.created_at == datetime(2023, 8, 24, 16, 1, 43)


def test_highdicoms_groups_give_the_nodule_and_leave_the_aorta(real_cases):
    images = load_series(real_cases / "ref_objects" / "highdicom", "ct_image.dcm")
    path = real_cases / "ref_objects" / "highdicom" / "sr_document_with_multiple_groups.dcm"
    reading = read(path, images)
    (nodule,) = reading.prompts
    assert (nodule.label, nodule.organ, nodule.finding_site, nodule.created_by) == (
        "LungNodule0001", "lung", "39607008", "Doe^John"
    )  # fmt: skip
    centre = np.array(nodule.shapes[0].points_lps).mean(axis=0)
    expected = images.volume.lps(np.array([0, 55 - 0.5, 45 - 0.5]))
    np.testing.assert_allclose(centre, expected, atol=0.01)
    assert [problem.kind for problem in reading.problems] == [
        ProblemKind.UNSUPPORTED, ProblemKind.NOT_A_LESION, ProblemKind.NOT_A_LESION
    ]  # fmt: skip


def test_dcmqis_report_asks_for_its_segmentation(real_cases):
    images = load_series(real_cases / "qin_headneck" / "0024" / "pet")
    reading = read(real_cases / "ref_objects" / "qin_0003_sr_example" / "sr.dcm", images)
    (problem,) = reading.problems
    assert problem.kind is ProblemKind.MISSING_OBJECT
    assert "1.2.276.0.7230010.3.1.4.8323329.18591.1440001312.777033" in problem.reason


def test_dcmqis_report_with_its_segmentation_gives_the_primary_tumour(real_cases):
    folder = real_cases / "ref_objects" / "qin_0003_sr_example"
    frame = "1.3.6.1.4.1.14519.5.2.1.2744.7002.251810428873134458890815509055"
    images = phantom_images(
        shape=(400, 128, 128), spacing=(5, 5.3, 5.3), origin=(-343, -514, -1500), frame_of_reference_uid=frame
    )
    reading = read_prompts(folder / "sr.dcm", [images], related=[folder / "seg.dcm"])
    (prompt,) = reading.prompts
    assert reading.problems == ()
    assert (prompt.label, prompt.organ, prompt.created_by) == ("primary tumor", "pharynx", "User2")
    assert (prompt.finding_site, prompt.finding_site_meaning) == ("55940004", "pharyngeal tonsil (adenoid)")
    volume = prompt.shapes[0].volume
    # The report itself says 33.5824 ml.
    assert np.count_nonzero(volume.array) * volume.voxel_volume_mm3 / 1000 == pytest.approx(33.58, abs=0.05)


# ---------------------------------------------------------------- what a group holds


@pytest.mark.parametrize("old", [False, True], ids=["SNOMED CT", "SNOMED RT"])
def test_long_and_short_axis_are_one_line_prompt(old):
    prompt = only(report(group(*axes(IMAGES, old=old), identifier="T01")))
    (line,) = prompt.shapes
    assert line == LinePrompt(
        start_lps=pytest.approx(lps(10.5, 20.5)), end_lps=pytest.approx(lps(30.5, 20.5)),
        short_axis_lps=(pytest.approx(lps(20.5, 15.5)), pytest.approx(lps(20.5, 25.5))),
    )  # fmt: skip
    assert (prompt.source, prompt.tracking_uid, prompt.tracking_id) == (
        PromptSource.MEASUREMENT_REPORT, "2.25.1", "T01"
    )  # fmt: skip
    assert (prompt.created_by, prompt.created_at) == ("Maker Station", datetime(2024, 1, 2, 10, 11, 12))


def test_the_observer_of_a_group_goes_before_the_documents():
    document = report(group(text("person", "Curie^Marie"), *axes(IMAGES)))
    assert only(document).created_by == "Curie^Marie"


def test_groups_of_one_tracking_uid_are_one_lesion():
    seg = segmentation([(1, (-100.0, 40.0, -294.0), block(slice(10, 30), slice(10, 30)))])
    document = report(group(*axes(IMAGES)), group(image("1.2.3.99", segment=1)))
    prompt = only(document, related=[seg])
    line, mask = prompt.shapes
    assert isinstance(line, LinePrompt)
    assert isinstance(mask, MaskPrompt)
    assert np.argwhere(on_grid(mask.volume, IMAGES.volume)).min(axis=0).tolist() == [2, 10, 10]


def test_a_planar_region_takes_only_the_frame_of_the_segment_that_it_refers_to():
    frames = [(1, (-100.0, 40.0, z), block(slice(10, 20), slice(10, 20))) for z in (-297.0, -294.0, -291.0)]
    prompt = only(report(group(image("1.2.3.99", 2, segment=1))), related=[segmentation(frames)])
    voxels = np.argwhere(on_grid(prompt.shapes[0].volume, IMAGES.volume))
    assert (np.unique(voxels[:, 0]).tolist(), len(voxels)) == ([2], 100)


def test_groups_without_a_tracking_uid_stay_apart():
    document = report(group(*axes(IMAGES), tracking_uid=None), group(*axes(IMAGES, 5), tracking_uid=None))
    assert len(read(document).prompts) == 2


@pytest.mark.parametrize(
    ("identifier", "tracking_id"),
    [
        ("Cornerstone3DTools@^0.1.0:Bidirectional:T01", "T01"),
        ("Cornerstone3DTools@^0.1.0:Bidirectional", None),
        ("cornerstoneTools@^4.0.0:Bidirectional", None),
        ("Lesion 3", "Lesion 3"),
    ],
)
def test_a_tools_name_is_no_tracking_identifier(identifier, tracking_id):
    assert only(report(group(*axes(IMAGES), identifier=identifier))).tracking_id == tracking_id


@pytest.mark.parametrize(
    ("site", "organ", "is_nodal", "laterality"),
    [
        (("39607008", "SCT", "Lung"), "lung", False, "left"),
        (("T-28000", "SRT", "Lung"), "lung", False, "left"),
        (("62683002", "SCT", "Mediastinal lymph node"), "lymph node", True, "left"),
        (("1234", "99LOCAL", "right adrenal"), "adrenal gland", False, "left"),
    ],
)
def test_the_finding_site_names_the_organ(site, organ, is_nodal, laterality):
    left = code("laterality", ("7771000", "SCT", "Left"))
    prompt = only(report(group(code("site", site, left), *axes(IMAGES))))
    assert (prompt.organ, prompt.is_nodal, prompt.laterality) == (organ, is_nodal, laterality)
    assert prompt.finding_site_meaning == site[2]


@pytest.mark.filterwarnings("ignore:The value length")  # OHIF's code value is longer than DICOM allows
def test_what_a_reader_typed_into_ohif_is_the_label_and_may_name_the_organ():
    finding = code("finding", ("CORNERSTONEFREETEXT", "CORNERSTONEJS", "liver lesion seg 7"))
    prompt = only(report(group(finding, *axes(IMAGES))))
    assert (prompt.label, prompt.organ) == ("liver lesion seg 7", "liver")


@pytest.mark.parametrize(
    ("kind", "data", "lowest", "highest"),
    [
        ("CIRCLE", [20, 30, 26, 30], (14, 24), (26, 36)),
        ("ELLIPSE", [10, 30, 30, 30, 20, 26, 20, 34], (10, 26), (30, 34)),
        ("POLYLINE", [10, 10, 20, 10, 20, 30, 10, 30, 10, 10], (10, 10), (20, 30)),
        ("POLYLINE", [10, 10, 20, 10, 20, 30, 10, 30], (10, 10), (20, 30)),
    ],
    ids=["circle", "ellipse", "closed polyline", "open polyline of a region"],
)
def test_a_planar_region_is_an_outline(kind, data, lowest, highest):
    prompt = only(report(group(scoord(kind, data, image(SOURCE), concept="region"))))
    (outline,) = prompt.shapes
    assert isinstance(outline, OutlinePrompt)
    points = np.array(outline.points_lps)
    np.testing.assert_allclose(points.min(axis=0), lps(*lowest), atol=1e-6)
    np.testing.assert_allclose(points.max(axis=0), lps(*highest), atol=1e-6)
    assert np.linalg.norm(points[0] - points[-1]) > 0.1


@pytest.mark.parametrize("suffix", ["", ":Series", ":Point"])
def test_a_key_image_of_cornerstone3d_is_no_lesion_in_the_images_corner(suffix):
    marker = num("center", scoord("POINT", [0, 0], image(SOURCE)))
    (problem,) = read(
        report(group(marker, identifier=f"Cornerstone3DTools@^0.1.0:KeyImage{suffix}"))
    ).problems
    assert (problem.kind, "key image" in problem.reason) == (ProblemKind.UNSUPPORTED, True)


def test_an_arrow_is_a_point_at_its_tip():
    measurement = num("length", scoord("POLYLINE", [12, 14, 40, 44], image(SOURCE)))
    document = report(group(measurement, identifier="Cornerstone3DTools@^0.1.0:ArrowAnnotate"))
    assert only(document).shapes == (PointPrompt(position_lps=pytest.approx(lps(12, 14))),)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (num("angle", scoord("POLYLINE", [1, 1, 9, 9, 20, 3], image(SOURCE))), "angle"),
        (num("length", scoord("POLYLINE", [1, 1, 9, 9, 20, 3, 30, 30], image(SOURCE))), "open path"),
        (scoord("POLYLINE", [1, 1, 9, 9, 20, 3], image(SOURCE), concept="region"), "open path of 3"),
        (num("length"), "no coordinates"),
    ],
    ids=["angle", "open path", "three points of dwv's protractor", "bare number"],
)
def test_what_shows_no_lesion_is_said(item, words):
    (problem,) = read(report(group(item))).problems
    assert problem.kind is ProblemKind.UNSUPPORTED
    assert words in problem.reason


@pytest.mark.parametrize(
    ("kind", "data", "shape"),
    [
        ("POINT", [-90, 50, -294], PointPrompt),
        ("POLYLINE", [-90, 50, -294, -80, 50, -294], LinePrompt),
        ("POLYGON", [-90, 50, -294, -80, 50, -294, -80, 60, -294, -90, 50, -294], OutlinePrompt),
        ("ELLIPSE", [-90, 50, -294, -80, 50, -294, -85, 48, -294, -85, 52, -294], OutlinePrompt),
        ("ELLIPSOID", ELLIPSOID, BoxPrompt),
    ],
)  # fmt: skip
def test_coordinates_in_space_need_only_the_frame_of_reference(kind, data, shape):
    reading = read(report(group(scoord3d(kind, data))))
    assert isinstance(reading.prompts[0].shapes[0], shape)
    assert reading.placements[0].by == "frame of reference and geometry"


def test_a_circle_in_space_lies_in_the_plane_of_the_images():
    (outline,) = only(report(group(scoord3d("CIRCLE", [-85, 50, -294, -80, 50, -294])))).shapes
    points = np.array(outline.points_lps)
    np.testing.assert_allclose(points.min(axis=0), (-90, 45, -294), atol=1e-6)
    np.testing.assert_allclose(points.max(axis=0), (-80, 55, -294), atol=1e-6)


def test_a_circle_across_the_images_has_no_plane():
    (problem,) = read(report(group(scoord3d("CIRCLE", [-85, 50, -294, -85, 50, -290])))).problems
    assert problem.kind is ProblemKind.UNSUPPORTED


def test_an_ellipsoid_is_its_box():
    (box,) = only(report(group(scoord3d("ELLIPSOID", ELLIPSOID)))).shapes
    assert box == BoxPrompt(minimum_lps=(-90, 48, -297), maximum_lps=(-80, 52, -291))


# ---------------------------------------------------------------- dwv


def test_where_dwv_puts_a_label_is_no_lesion():
    label_place = scoord("POINT", [50, 50], image(SOURCE), concept="reference points")
    ruler = scoord("POLYLINE", [10, 20, 30, 20], image(SOURCE), concept="region")
    document = report(group(ruler, text("short label", "{length}", label_place), identifier="clvovj8vyt5"))
    prompt = only(document)
    assert [type(shape) for shape in prompt.shapes] == [LinePrompt]
    assert prompt.label == "clvovj8vyt5"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # dwv 0.34 wrote identifiers as UIDs
def test_each_annotation_of_dwv_0_34_is_a_lesion_of_its_own():
    def annotation(identifier, data):
        tracked = uid("tracking identifier", identifier)
        item = scoord("POLYLINE", data, image(SOURCE), tracked, concept="region")
        item.RelationshipType = "CONTAINS"
        return item

    root = container(
        "group",
        annotation("a", [5, 5, 9, 5, 9, 9, 5, 9, 5, 5]),
        annotation("b", [15, 5, 19, 5, 19, 9, 15, 9, 15, 5]),
    )
    root.Modality, root.SOPInstanceUID = "SR", "1.2.3.78"
    assert [prompt.tracking_id for prompt in read(root).prompts] == ["a", "b"]


def test_an_annotation_on_a_reformatted_plane_is_not_placed_on_the_image_it_names():
    plane = scoord3d("MULTIPOINT", [0, 0, 0, -1, 0, 0, 0, 0, -1])
    plane.ConceptNameCodeSequence[0].CodeValue = "128773"
    drawn = scoord("POLYLINE", [5, 5, 9, 5, 9, 9, 5, 9, 5, 5], image(SOURCE), plane, concept="region")
    (problem,) = read(report(group(drawn))).problems
    assert "reformatted" in problem.reason


# ---------------------------------------------------------------- older reports, references


def test_measurements_outside_groups_pair_where_they_cross():
    document = report(*axes(IMAGES), *axes(IMAGES, 5), wrapped=False)
    lines = [prompt.shapes[0] for prompt in read(document).prompts]
    assert [line.start_lps[2] for line in lines] == [-294, -285]
    assert all(line.short_axis_lps is not None for line in lines)


def test_measurements_outside_groups_that_dont_cross_are_lesions_of_their_own():
    first = num("length", scoord("POLYLINE", [10, 20, 30, 20], image(SOURCE)))
    second = num("length", scoord("POLYLINE", [40, 10, 40, 50], image(SOURCE)))
    assert [p.shapes[0].short_axis_lps for p in read(report(first, second, wrapped=False)).prompts] == [
        None,
        None,
    ]


def test_a_cad_finding_keeps_its_center_and_outline_together():
    outline = scoord("POLYLINE", [5, 5, 9, 5, 9, 9, 5, 9, 5, 5], image(SOURCE))
    center = scoord("POINT", [7, 7], image(SOURCE), concept="center")
    finding = code("finding of CAD", ("27925004", "SCT", "Nodule"), center, outline)
    prompt = only(report(finding, wrapped=False))
    assert {type(shape) for shape in prompt.shapes} == {PointPrompt, OutlinePrompt}


def test_coordinates_given_by_reference_belong_to_the_measurement_that_refers_to_them():
    drawn = scoord("POLYLINE", [10.5, 20.5, 30.5, 20.5], image(SOURCE))
    document = report(
        container("measurements", drawn), group(num("length", reference(1, 1, 1))), wrapped=False
    )
    prompt = only(document)
    assert prompt.tracking_uid == "2.25.1"
    assert prompt.shapes[0].start_lps == pytest.approx(lps(10.5, 20.5))


@pytest.mark.parametrize(
    ("drawn", "kind", "words"),
    [
        (scoord("POLYLINE", [1, 1, 9, 9], image("9.9.9")), ProblemKind.NOT_PLACED, "image 9.9.9"),
        (scoord("POLYLINE", [1, 1, 9, 9]), ProblemKind.NOT_PLACED, "name no image"),
        (scoord3d("POINT", [0, 0, 0], "9.9"), ProblemKind.NOT_PLACED, "frame of reference 9.9"),
        (scoord3d("POINT", [0, 0, 0]), ProblemKind.NOT_PLACED, "outside all series"),
        (scoord("POLYLINE", [1, 1, 9, 900], image(SOURCE)), ProblemKind.MALFORMED, "row 900.0 are outside"),
        (scoord("POLYLINE", [-5, 1, 9, 9], image(SOURCE)), ProblemKind.MALFORMED, "column -5.0"),
        (scoord("POLYLINE", [1, 1, 9], image(SOURCE)), ProblemKind.MALFORMED, "3 numbers"),
        (scoord("POLYLINE", [1, 1, 1, 1], image(SOURCE)), ProblemKind.MALFORMED, "2 different points"),
        (scoord("POLYLINE", [1, 1, float("nan"), 1], image(SOURCE)), ProblemKind.MALFORMED, "GraphicData"),
        (scoord("POLYLINE", [], image(SOURCE)), ProblemKind.MALFORMED, "0 numbers"),
        (scoord("POLYLINE", [1.0] * 400_004, image(SOURCE)), ProblemKind.MALFORMED, "more than 100000"),
        (scoord("ELLIPSE", [1, 1, 9, 9], image(SOURCE)), ProblemKind.MALFORMED, "ELLIPSE"),
        (scoord("SPIRAL", [1, 1], image(SOURCE)), ProblemKind.UNSUPPORTED, "SPIRAL"),
        (scoord("POLYLINE", [1, 1, 9, 9], image(SOURCE, frame=-1)), ProblemKind.MALFORMED, "FrameNumber"),
        (scoord("POLYLINE", [1, 1, 9, 9], image(SOURCE, frame=7)), ProblemKind.NOT_PLACED, "frame 7"),
        (image("1.2.3.99", segment=1), ProblemKind.MISSING_OBJECT, "segmentation 1.2.3.99"),
        (reference(1, 9, 9), ProblemKind.MALFORMED, "1.9.9"),
        (reference(1, 1, 1, 2), ProblemKind.MALFORMED, "not in the document"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_coordinates_is_said(drawn, kind, words):
    reading = read(report(group(drawn)))
    assert reading.prompts == ()
    assert [problem.kind for problem in reading.problems] == [kind]
    assert words in reading.problems[0].reason


def test_one_bad_measurement_does_not_take_the_others_along():
    bad = num("length", scoord("POLYLINE", [1, 1, 9], image(SOURCE)))
    reading = read(report(group(bad, tracking_uid="2.25.2"), group(*axes(IMAGES))))
    assert (len(reading.prompts), len(reading.problems)) == (1, 1)


def test_coordinates_on_a_multi_frame_image_need_its_frame():
    images = phantom_images()
    slices = tuple(Slice("1.2.3.6", frame + 1) for frame in range(10))
    images = Images(images.volume, slices, images.series)

    def lesion(frame):
        return report(group(num("length", scoord("POLYLINE", [1, 1, 9, 9], image("1.2.3.6", frame)))))

    assert only(lesion(4), images).shapes[0].start_lps == pytest.approx(lps(1, 1, 3))
    (problem,) = read(lesion(None), images).problems
    assert problem.kind is ProblemKind.NOT_PLACED


# ---------------------------------------------------------------- what contradicts itself, what is no lesion

# 20 columns of 0.5 mm: 10 mm.
ENDS = [10.5, 20.5, 30.5, 20.5]


@pytest.mark.parametrize(
    ("value", "unit", "is_doubtful"),
    [
        ("10.0", "mm", False),
        ("10", "mm", False),
        ("9.2", "mm", False),
        ("1.0", "cm", False),
        ("1", "cm", False),
        ("24.0", "mm", True),
        ("10.0", "cm", True),
        ("1.0", "mm", True),
        ("20", "{pixels}", False),
    ],
)
def test_a_length_that_contradicts_its_own_end_points_is_a_doubt(value, unit, is_doubtful):
    measured = num("length", scoord("POLYLINE", ENDS, image(SOURCE)), value=value, unit=unit)
    reading = read(report(group(measured)))
    assert len(reading.prompts) == 1
    assert any("its own end points are 10.0 mm apart" in doubt for doubt in reading.doubts) is is_doubtful
    assert all("item 1.1.1" in doubt and "1.2.3.77" in doubt for doubt in reading.doubts)


@pytest.mark.parametrize(("value", "is_doubtful"), [("10", False), ("24", True)])
def test_a_length_beside_its_coordinates_is_compared_too(value, is_doubtful):
    drawn = scoord("POLYLINE", ENDS, image(SOURCE))
    reading = read(report(group(drawn, num("long axis", value=value))))
    assert bool(reading.doubts) is is_doubtful


@pytest.mark.parametrize(("value", "is_doubtful"), [("80", False), ("85", False), ("300", True)])
def test_an_area_that_contradicts_its_own_outline_is_a_doubt(value, is_doubtful):
    box = [10, 10, 30, 10, 30, 20, 10, 20, 10, 10]  # 10 x 8 mm
    measured = num("area", scoord("POLYLINE", box, image(SOURCE)), value=value, unit="mm2")
    reading = read(report(group(measured)))
    assert len(reading.prompts) == 1
    assert bool(reading.doubts) is is_doubtful


@pytest.mark.parametrize(
    ("value", "unit", "is_doubtful"),
    [("480", "mm3", False), ("0.48", "cm3", False), ("0.5", "ml", False), ("4.8", "ml", True)],
)
def test_a_volume_that_contradicts_the_segment_is_a_doubt(value, unit, is_doubtful):
    seg = segmentation([(1, (-100.0, 40.0, -294.0), block(slice(10, 30), slice(10, 30)))])
    document = report(group(image("1.2.3.99", segment=1), num("volume", value=value, unit=unit)))
    reading = read(document, related=[seg])
    assert len(reading.prompts) == 1
    assert bool(reading.doubts) is is_doubtful


def labelled(name: str, *more):
    measured = num("length", scoord("POLYLINE", ENDS, image(SOURCE)))
    return group(measured, *more, identifier=name)


@pytest.mark.parametrize("label", ["Aorta diameter", "Spleen length", "Milz", "主动脉直径", "Portal vein"])
def test_a_measured_structure_that_is_no_lesion_is_left_out_and_a_person_asked(label):
    reading = read(report(labelled(label)))
    assert reading.prompts == ()
    (problem,) = reading.problems
    assert (problem.kind, problem.is_doubt) == (ProblemKind.DOUBTFUL_LESION, True)
    assert label in problem.reason


@pytest.mark.filterwarnings("ignore:The value length")
def test_what_was_typed_as_a_finding_is_a_label_and_no_code():
    typed = code("finding", ("CORNERSTONEFREETEXT", "CORNERSTONEJS", "Spleen length"))
    (problem,) = read(report(group(typed, num("length", scoord("POLYLINE", ENDS, image(SOURCE)))))).problems
    assert problem.kind is ProblemKind.DOUBTFUL_LESION


@pytest.mark.parametrize(
    "said",
    [
        code("site", ("15825003", "SCT", "Aorta")),
        num("diameter of aorta", value="31"),
    ],
    ids=["site", "concept"],
)
def test_a_vessel_named_by_site_or_concept_is_no_lesion(said):
    (problem,) = read(report(labelled("Measurement", said))).problems
    assert problem.kind is ProblemKind.DOUBTFUL_LESION


def test_a_lesion_in_an_organ_that_is_measured_itself_is_a_lesion():
    assert (
        only(report(labelled("Measurement 1", code("site", ("78961009", "SCT", "Spleen"))))).organ == "spleen"
    )
    assert only(report(labelled("Lesion 1", code("site", ("15825003", "SCT", "Aorta")))))


def test_a_label_of_the_organ_alone_is_taken_and_a_person_asked():
    reading = read(report(labelled("Lung")))
    assert len(reading.prompts) == 1
    assert any("names lung and no lesion" in doubt for doubt in reading.doubts)


def test_a_code_for_a_lesion_goes_before_an_organ_as_label():
    lesion = code("finding", ("52988006", "SCT", "Lesion"))
    reading = read(report(labelled("liver", lesion)))
    assert (len(reading.prompts), reading.doubts) == (1, ())
    assert read(report(labelled("Spleen length", lesion))).doubts


@pytest.mark.parametrize(("value", "is_doubt"), [("24", True), (None, False)])
def test_a_length_without_any_coordinates_is_said_to_a_person(value, is_doubt):
    (problem,) = read(report(group(num("length", value=value)))).problems
    assert "no coordinates" in problem.reason
    assert problem.is_doubt is is_doubt


def test_the_longer_axis_is_the_long_one_whatever_they_are_called():
    longer = num("short axis", scoord("POLYLINE", [10.5, 20.5, 30.5, 20.5], image(SOURCE)))
    shorter = num("long axis", scoord("POLYLINE", [20.5, 18.5, 20.5, 22.5], image(SOURCE)))
    (line,) = only(report(group(shorter, longer))).shapes
    assert line.start_lps == pytest.approx(lps(10.5, 20.5))
    assert line.short_axis_lps[0] == pytest.approx(lps(20.5, 18.5))
