"""What a reader draws on our canvas is an object that is read like any other viewer's."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, time
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_io.adapters import DicomImages, DicomMarks, DicomPrompts
from dicom_io.results.dciodvfy import iod_errors
from dicom_io.simulated.ct import write_ct
from dicom_io.simulated.header import SimulatedPatient, SimulatedStudy
from workflow.domain.drawing import Mark, MarkedLesion, MarkKind
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Volume, affine_from_axes
from workflow.domain.lesion import LinePrompt, OutlinePrompt, PlacedPrompt, PointPrompt
from workflow.settings import load_settings

AT = datetime(2024, 5, 6, 14, 30, 5, tzinfo=UTC)
LONG, SHORT = ((10.0, 8.0), (10.0, 24.0)), ((6.0, 16.0), (15.0, 16.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT of 0.7 x 0.9 mm pixels whose slices run downwards."""
    affine = affine_from_axes(
        origin_lps=(-20.0, 30.0, 50.0),
        slice_step=(0.0, 0.0, -2.5),
        row_step=(0.0, 0.9, 0.0),
        column_step=(0.7, 0.0, 0.0),
    )
    volume = Volume(array=np.full((8, 32, 40), 40, dtype=np.int16), affine=affine)
    study = SimulatedStudy(
        patient=SimulatedPatient(patient_id="P-1", name="Müller^Jörg", birth_date=date(1960, 1, 2)),
        key=("marks",),
        taken_at=datetime.combine(date(2024, 5, 6), time(9)),
        study_description="CT",
        series_description="CT",
        derivation="a phantom",
        is_original=True,
        slice_thickness_mm=2.5,
    )
    made = tmp_path_factory.mktemp("marks")
    write_ct(volume, study, made, transfer_syntax_uid="1.2.840.10008.1.2.1")
    return made


@pytest.fixture(scope="module")
def image(folder: Path):
    images = DicomImages()
    paths = sorted(folder.glob("*.dcm"))
    (series,) = images.describe_study(paths)
    return images.read_volume(paths, series)


def _lesion(*marks: Mark, tracking_uid: str | None = None, label: str = "liver segment 6") -> MarkedLesion:
    return MarkedLesion(id="a", marks=marks, by="Roe^Jané", at=AT, tracking_uid=tracking_uid, label=label)


def _read(content: bytes, folder: Path, tmp_path: Path) -> PlacedPrompt:
    (path := tmp_path / "marks.dcm").write_bytes(content)
    prompts = DicomPrompts(load_settings(None, home=tmp_path))
    read = prompts.read([path], sorted(folder.glob("*.dcm")))
    assert read.doubts == ()
    (placed,) = read.prompts
    return placed


def _lps(image, slice_index: int, point: tuple[float, float]):
    return pytest.approx(tuple(image.volume.lps(np.array([slice_index, *point]))), abs=0.01)


def test_both_axes_come_back_where_they_were_drawn_with_who_drew_and_what_it_is_called(
    folder, image, tmp_path
):
    mark = Mark(kind=MarkKind.AXES, slice_index=3, points=(*LONG, *SHORT))
    placed = _read(DicomMarks().write(_lesion(mark), image), folder, tmp_path)
    (line,) = placed.prompt.shapes
    assert isinstance(line, LinePrompt)
    assert line.short_axis_lps is not None
    ends = {line.start_lps, line.end_lps}
    assert all(any(end == _lps(image, 3, point) for end in ends) for point in LONG)
    assert line.short_axis_lps[0] == _lps(image, 3, SHORT[0])
    assert (placed.prompt.label, placed.prompt.organ) == ("liver segment 6", "liver")
    assert placed.prompt.created_by == "Roe^Jané"
    assert placed.prompt.created_at == AT.replace(tzinfo=None)
    assert placed.prompt.tracking_uid
    assert placed.drawn_on == image.series.key


def test_points_on_several_slices_are_hints_on_one_lesion_and_keep_their_sign(folder, image, tmp_path):
    marks = [
        Mark(kind=MarkKind.POINT, slice_index=2, points=((4.0, 5.0),)),
        Mark(kind=MarkKind.POINT, slice_index=5, points=((20.25, 30.5),)),
        Mark(kind=MarkKind.POINT, slice_index=2, points=((12.0, 30.0),), is_positive=False),
    ]
    placed = _read(DicomMarks().write(_lesion(*marks), image), folder, tmp_path)
    assert [type(shape) for shape in placed.prompt.shapes] == [PointPrompt] * 3
    assert [shape.is_positive for shape in placed.prompt.shapes] == [True, True, False]
    for shape, mark in zip(placed.prompt.shapes, marks, strict=True):
        assert shape.position_lps == _lps(image, mark.slice_index, mark.points[0])


def test_a_box_is_an_outline_with_its_corners(folder, image, tmp_path):
    mark = Mark(kind=MarkKind.BOX, slice_index=4, points=((5.0, 6.0), (15.0, 26.0)))
    placed = _read(DicomMarks().write(_lesion(mark), image), folder, tmp_path)
    (outline,) = placed.prompt.shapes
    assert isinstance(outline, OutlinePrompt)
    assert [*outline.points_lps] == [_lps(image, 4, p) for p in ((5, 6), (5, 26), (15, 26), (15, 6))]


def test_axes_and_a_point_of_a_known_lesion_are_one_prompt_with_its_identity(folder, image, tmp_path):
    marks = [
        Mark(kind=MarkKind.AXES, slice_index=3, points=(*LONG, *SHORT)),
        Mark(kind=MarkKind.POINT, slice_index=4, points=((9.0, 12.0),)),
    ]
    content = DicomMarks().write(_lesion(*marks, tracking_uid="2.25.77", label="T01"), image)
    placed = _read(content, folder, tmp_path)
    assert placed.prompt.tracking_uid == "2.25.77"
    assert [type(shape) for shape in placed.prompt.shapes] == [LinePrompt, PointPrompt]


def test_the_same_marks_are_the_same_object_and_others_another(image):
    mark = Mark(kind=MarkKind.LINE, slice_index=3, points=LONG)
    write = DicomMarks().write
    assert write(_lesion(mark), image) == write(_lesion(mark), image)
    one, other = _lesion(mark), MarkedLesion(id="b", marks=(mark,), by="Roe", at=AT)
    uids = {pydicom.dcmread(BytesIO(write(lesion, image))).SOPInstanceUID for lesion in (one, other)}
    assert len(uids) == 2


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (dicom3tools)")
def test_a_validator_finds_no_error(image):
    marks = [
        Mark(kind=MarkKind.AXES, slice_index=3, points=(*LONG, *SHORT)),
        Mark(kind=MarkKind.POINT, slice_index=4, points=((9.0, 12.0),)),
        Mark(kind=MarkKind.POINT, slice_index=4, points=((1.0, 2.0),), is_positive=False),
        Mark(kind=MarkKind.BOX, slice_index=4, points=((5.0, 6.0), (15.0, 26.0))),
    ]
    made = pydicom.dcmread(BytesIO(DicomMarks().write(_lesion(*marks), image)))
    errors, _ = iod_errors(made, image.slices[3].path)
    assert errors == []


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (Mark(kind=MarkKind.POINT, slice_index=8, points=((1.0, 1.0),)), "no slice 9"),
        (Mark(kind=MarkKind.POINT, slice_index=1, points=((1.0, 41.0),)), "outside the image"),
    ],
)
def test_a_mark_beside_the_images_is_refused(image, mark, message):
    with pytest.raises(UnsuitableInputError, match=message):
        DicomMarks().write(_lesion(mark), image)


def test_marks_that_show_no_place_are_refused():
    outside = Mark(kind=MarkKind.POINT, slice_index=1, points=((1.0, 1.0),), is_positive=False)
    with pytest.raises(ValueError, match="no mark shows"):
        _lesion(outside)
    with pytest.raises(ValueError, match="only a point"):
        Mark(kind=MarkKind.LINE, slice_index=1, points=LONG, is_positive=False)
    with pytest.raises(ValueError, match="4 points"):
        Mark(kind=MarkKind.AXES, slice_index=1, points=LONG)
