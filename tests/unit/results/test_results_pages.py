"""The pages and pictures that people see."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from phantoms import LESION_CENTRES, Phantom, reported_lesion, sphere, three_lesions, time_point_report
from PIL import Image
from result_cases import SPHERES, Case, program

from dicom_io.parsing import quiet
from dicom_io.results import KeyImage, ResultObjects, ResultSettings, build_results, to_bytes, validate
from dicom_io.results.fonts import can_show, visual_order
from dicom_io.results.key_images import direction_letter, render_key_image
from dicom_io.results.plots import sum_plot_png
from dicom_io.results.words import patient_name
from workflow.domain.palette import colour_of
from workflow.domain.report import LesionRole, ReportedDecision, ReviewStatus, TimePointReport

EVERYTHING = ResultSettings(writes_pdf=True, writes_key_images=True)


def baseline_of(report: TimePointReport) -> TimePointReport:
    said = replace(
        report.assessment, overall="baseline", sum_mm=36.5, change_from_baseline_percent=None,
        change_from_nadir_percent=None,
    )  # fmt: skip
    return replace(
        report, order=1, time_point_id="TP1", study_date=date(2026, 1, 5), days_from_baseline=0,
        is_baseline=True, assessment=said, lesions=report.lesions[:2],
    )  # fmt: skip


@pytest.fixture(scope="module")
def everything(make_case: Callable[[str], Case]) -> ResultObjects:
    case = make_case("axial")
    return build_results(
        case.report, [case.source], settings=EVERYTHING, course=[baseline_of(case.report), case.report]
    )


def pages(results: ResultObjects, folder) -> str:
    assert results.pdf is not None
    (folder / "report.pdf").write_bytes(
        results.pdf.EncapsulatedDocument[: results.pdf.EncapsulatedDocumentLength]
    )
    done = subprocess.run(
        [program("pdftotext"), "-layout", folder / "report.pdf", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_pages_can_be_searched(everything: ResultObjects, tmp_path):
    text = pages(everything, tmp_path)
    for words in (
        "Phantom, Ada", "1960-01-02", "PH-1", "CT thorax", "UNVERIFIED", "RECIST 1.1", "ACC-7",
        everything.report.assessment.reason, "touches another lesion", "Phantom segmenter 2.1",
    ):  # fmt: skip
        assert words in text, words


def test_the_table_has_a_column_for_each_time_point_up_to_this_one(everything: ResultObjects, tmp_path):
    lines = pages(everything, tmp_path).splitlines()
    (head,) = [line.split() for line in lines if line.lstrip().startswith("Lesion ")]
    assert head == ["Lesion", "Site", "Part", "TP1", "TP2"]
    row, *_ = [line.split() for line in lines if line.lstrip().startswith("T01 ")]
    assert row[-2:] == ["13.8", "13.8"]
    new, *_ = [line.split() for line in lines if line.lstrip().startswith("N01 ")]
    assert new[-2] == "-"


def test_many_time_points_keep_the_baseline_and_the_latest(make_case: Callable[[str], Case], tmp_path):
    case = make_case("axial")
    report = replace(case.report, order=9, time_point_id="TP9")
    course = [
        replace(baseline_of(report), order=n, time_point_id=f"TP{n}", days_from_baseline=50 * n)
        for n in range(1, 9)
    ]
    text = pages(build_results(report, [case.source], course=course), tmp_path)
    (head,) = [line.split() for line in text.splitlines() if line.lstrip().startswith("Lesion ")]
    assert head[3:] == ["TP1", "TP5", "TP6", "TP7", "TP8", "TP9"]
    assert "3 time points are not shown" in text


def test_a_signed_report_says_by_whom_and_loses_its_banner(make_case: Callable[[str], Case], tmp_path):
    case = make_case("axial")
    signed = replace(
        case.report, status=ReviewStatus.SIGNED, signed_by="Rosa Reader", signed_at=datetime(2026, 3, 3, 9, 5)
    )
    text = pages(build_results(signed, [case.source]), tmp_path)
    assert "Signed by Rosa Reader on 2026-03-03 09:05" in text
    assert "UNVERIFIED" not in text


def test_markup_in_a_reason_is_text(make_case: Callable[[str], Case], tmp_path):
    case = make_case("axial")
    said = replace(case.report.assessment, reason="sum < 10 mm & <b>nothing</b> new")
    text = pages(build_results(replace(case.report, assessment=said), [case.source]), tmp_path)
    assert "sum < 10 mm & <b>nothing</b> new" in text


def test_pdf_and_captures_pass_the_gate_and_are_the_same_every_time(
    everything: ResultObjects, make_case: Callable[[str], Case]
):
    case = make_case("axial")
    checked = validate(everything)
    assert checked.is_valid, str(checked)
    again = build_results(case.report, [case.source], settings=EVERYTHING, course=[baseline_of(case.report)])
    assert [to_bytes(a) for a in again.all] == [to_bytes(b) for b in everything.all]
    assert [o.Modality for o in again.all] == ["SEG", "SR", "DOC", "OT", "OT", "OT"]


def test_the_pdf_names_the_sr_that_it_shows(everything: ResultObjects):
    pdf = everything.pdf
    assert pdf.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert len(pdf.EncapsulatedDocument) % 2 == 0
    assert pdf.SourceInstanceSequence[0].ReferencedSOPInstanceUID == everything.sr.SOPInstanceUID
    assert (pdf.VerificationFlag, pdf.SeriesNumber) == ("UNVERIFIED", 9102)


def test_captures_share_a_series_and_have_instances_of_their_own(everything: ResultObjects):
    assert len({c.SeriesInstanceUID for c in everything.key_images[0]}) == 1
    assert len({c.SOPInstanceUID for c in everything.key_images[0]}) == 3
    assert [c.ImageComments for c in everything.key_images[0]] == ["T01, TP2", "T02, TP2", "N01, TP2"]
    assert list(everything.key_images[0][0].PatientOrientation) == ["L", "P"]


def test_captures_name_the_image_that_they_show(everything: ResultObjects):
    source = everything.visit.volumes[0].images.source
    shown = [o.measurement.slice_index for o in everything.report.lesions if o.measurement is not None]
    for keyword in ("SourceImageSequence", "ReferencedImageSequence"):
        named = [[i.ReferencedSOPInstanceUID for i in c[keyword]] for c in everything.key_images[0]]
        assert named == [[source.slices[index].sop_instance_uid] for index in shown]


# ---------------------------------------------------------------- key images


def test_the_contour_is_drawn_where_the_lesion_is(make_case: Callable[[str], Case]):
    case = make_case("axial")
    volume, lesion = case.source.volume, case.report.lesions[0]
    shown = render_key_image(volume, lesion, size=400, field_mm=80.0)
    orange = np.array(colour_of(LesionRole.TARGET, "T01"))
    found = np.argwhere(np.abs(shown.pixels.astype(int) - orange).sum(axis=2) < 60)
    found = found[(found > 60).all(axis=1)]  # the label in the corner has the same colour
    # A sphere of 7 mm radius, 0.2 mm per pixel of the picture: a ring of 35 pixels around its middle.
    middle = (found.max(axis=0) + found.min(axis=0)) / 2
    extent = found.max(axis=0) - found.min(axis=0)
    assert np.allclose(middle, 200, atol=6)
    assert np.allclose(extent, 70, atol=6)


def test_pixels_that_are_not_square_are_shown_as_squares_of_millimetres():
    phantom = Phantom(
        shape=(8, 120, 60), spacing_mm=(5.0, 0.5, 1.0), origin_lps=(-30.0, -30.0, 0.0),
        spheres=(((0.0, 0.0, 20.0), 12.0, 300),),
    )  # fmt: skip
    volume = phantom.volume()
    lesion = reported_lesion(volume, sphere(volume, (0.0, 0.0, 20.0), 12.0), organ="liver")
    pixels = render_key_image(volume, replace(lesion, mask=None), size=200, field_mm=50.0).pixels
    bright = np.argwhere(pixels[:, :, 0] > 240)
    bright = bright[(np.abs(bright - 100) < 70).all(axis=1)]
    rows, columns = bright.max(axis=0) - bright.min(axis=0)
    assert rows == pytest.approx(columns, abs=8)


def test_a_lesion_that_is_gone_is_shown_where_it_was_expected():
    volume = Phantom().volume()
    gone = reported_lesion(volume, None, "T01")
    assert render_key_image(volume, gone) is None
    shown = render_key_image(volume, gone, centre_lps=LESION_CENTRES[0])
    assert shown.slice_index == 8


def test_a_picture_is_a_png_of_the_asked_size():
    volume = Phantom().volume()
    lesion = reported_lesion(volume, sphere(volume, LESION_CENTRES[0], 6.0))
    picture = Image.open(BytesIO(render_key_image(volume, lesion, size=256).png()))
    assert (picture.format, picture.size) == ("PNG", (256, 256))


@pytest.mark.parametrize(
    ("direction", "letter"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0.2, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0.5), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -1), "F"),
    ],
)
def test_directions_have_the_patients_letters(direction, letter):
    assert direction_letter(np.array(direction, dtype=float)) == letter


def test_a_course_without_sums_has_no_plot(make_case: Callable[[str], Case]):
    case = make_case("axial")
    unknown = replace(case.report, assessment=replace(case.report.assessment, sum_mm=None))
    assert sum_plot_png([unknown]) is None


def test_a_report_on_one_time_point_plots(tmp_path):
    source = Phantom().write(tmp_path)
    png = sum_plot_png([time_point_report(source, [])])
    assert Image.open(BytesIO(png)).size[0] > 1000


def test_what_readers_decided_stands_on_the_page(make_case: Callable[[str], Case], tmp_path):
    case = make_case("axial")
    decided = ReportedDecision(
        what="overall response", by="Reader^Rosa", at=datetime(2026, 3, 3, 9, 5), reason="clinical course",
        old="SD", new="PD",
    )  # fmt: skip
    vessel = replace(decided, what="rejected", reason="it is a vessel", old="", new="")
    rejected = replace(case.report.lesions[0], is_rejected=True, decisions=(vessel,))
    report = replace(
        case.report,
        lesions=(rejected, *case.report.lesions[1:]),
        decisions=(decided,),
        attention=("T02 grew by 80 %",),
        assessment=replace(case.report.assessment, overall="PD", computed_overall="SD"),
    )
    text = pages(build_results(report, [case.source]), tmp_path)
    assert "a reader decided on PD; the rules give SD" in text
    assert "overall response SD to PD, by Rosa Reader, 2026-03-03 09:05: clinical course" in text
    assert "T01: rejected, by Rosa Reader, 2026-03-03 09:05: it is a vessel" in text
    assert "T02 grew by 80 %" in text
    row, *_ = [line for line in text.splitlines() if line.strip().startswith("T01 ")]
    assert row.rstrip().endswith("rejected")


# ---------------------------------------------------------------- the page as a document


def run(name: str, *arguments: object) -> str:
    return subprocess.run([program(name), *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def page_of(tmp_path) -> Callable[..., Path]:
    """The PDF of a report on a patient with a name, as a file."""

    def made(name: str, **said) -> Path:
        attributes = {"PatientName": name, "SpecificCharacterSet": "ISO_IR 192"}
        source = Phantom(spheres=SPHERES, attributes=attributes).write(tmp_path / "images")
        report = time_point_report(source, three_lesions(source.volume))
        report = replace(report, assessment=replace(report.assessment, **said))
        pdf = build_results(report, [source]).pdf
        (tmp_path / "page.pdf").write_bytes(pdf.EncapsulatedDocument)
        return tmp_path / "page.pdf"

    return made


def test_every_font_is_embedded_and_the_structure_is_tagged(page_of):
    path = page_of("Phantom^Ada")
    fonts = [line.split() for line in run("pdffonts", path).splitlines()[2:]]
    assert fonts
    assert all("yes" in font[-5:-4] for font in fonts), fonts  # the column "emb"
    assert "Tagged:          yes" in run("pdfinfo", path)
    structure = run("pdfinfo", "-struct-text", path)
    assert structure.index("H1") < structure.index('"Tumour response report"') < structure.index("T01")
    assert "Figure" in structure


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Люксембург^Анна", "Люксембург, Анна"),
        ("Wang^XiaoDong=王^小東", "Wang, XiaoDong (王小東)"),
        ("王^小東", "王小東"),
    ],
)
def test_names_in_other_scripts_are_shown_and_can_be_searched(page_of, name: str, shown: str):
    if not can_show(shown):
        pytest.skip("no TrueType font with Chinese letters is installed: fonts-wqy-microhei has them")
    assert shown in run("pdftotext", "-layout", page_of(name), "-")


def test_a_script_without_a_font_leaves_the_alphabetic_name(monkeypatch):
    monkeypatch.setattr("dicom_io.results.words.can_show", lambda words: words.isascii())
    assert patient_name("Wang^XiaoDong=王^小東") == "Wang, XiaoDong"


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Ada 12 mm", "Ada 12 mm"),
        ("\u0645\u062d\u0645\u062f", "\ufeaa\ufee4\ufea4\ufee3"),  # four letters: initial, 2 medial, final
        ("\u0644\u0627", "\ufefb"),  # lam and alef are one sign
        ("by \u05d0\u05d1, \u05d2 now", "by \u05d2 ,\u05d1\u05d0 now"),  # Hebrew, turned with its comma
    ],
)
def test_what_runs_from_right_to_left_is_joined_and_turned(text: str, drawn: str):
    assert visual_order(text) == drawn


def test_a_long_response_stays_on_one_line(page_of):
    text = run("pdftotext", "-layout", page_of("Phantom^Ada", overall="NON-CR/NON-PD"), "-")
    assert "NON-CR/NON-PD" in text


def test_criteria_have_their_names(page_of):
    text = run("pdftotext", "-layout", page_of("Phantom^Ada", criteria="irecist"), "-")
    assert "Overall response (iRECIST)" in text


def test_a_picture_comes_back_from_its_file_with_what_it_shows(everything: ResultObjects):
    for image in everything.pictures.values():
        back = KeyImage.from_png(image.png())
        assert back is not None
        assert np.array_equal(back.pixels, image.pixels)
        for name in ("tracking_uid", "label", "slice_index", "field_mm", "time_point_id", "place"):
            assert getattr(back, name) == getattr(image, name)
    assert KeyImage.from_png(b"no picture") is None


def test_baseline_and_now_stand_side_by_side_at_one_scale(make_case: Callable[[str], Case], tmp_path):
    case = make_case("axial")
    before = baseline_of(case.report)
    earlier = build_results(before, [case.source], settings=EVERYTHING).pictures
    results = build_results(
        case.report, [case.source], settings=EVERYTHING, course=[before],
        earlier_pictures=tuple(earlier.values()),
    )  # fmt: skip
    text = pages(results, tmp_path)
    (line,) = [line for line in text.splitlines() if "baseline, 2026-01-05: 13.8" in line]
    assert "now, 2026-03-02: 13.8" in line
    assert "series 2, image 9" in text
    assert {i.field_mm for i in (*earlier.values(), *results.pictures.values())} == {80.0}


def test_the_axis_of_days_begins_at_the_first_time_point(make_case: Callable[[str], Case], monkeypatch):
    from matplotlib.axes import Axes

    ticks: list[list[float]] = []
    set_xticks = Axes.set_xticks
    monkeypatch.setattr(Axes, "set_xticks", lambda axes, at: (ticks.append(at), set_xticks(axes, at))[1])
    report = make_case("axial").report
    assert sum_plot_png([baseline_of(report), report])
    assert min(ticks[-1]) == 0


def test_what_is_long_wraps_and_goes_over_to_the_next_page(tmp_path):
    said = {"AccessionNumber": "A" * 200, "PatientID": "P" * 500, "PatientName": "N" * 300}
    with quiet():
        source = Phantom(spheres=SPHERES, attributes=said).write(tmp_path / "images")
        report = time_point_report(source, three_lesions(source.volume), notes=("x" * 5000, "note " * 2000))
        reason = replace(report.assessment, reason="because " * 2000)
        results = build_results(replace(report, assessment=reason), [source])
        words = "".join(pages(results, tmp_path).split())
    assert results.remarks == ()
    assert words.count("because") == 2000
    assert words.count("note") == 2000
    assert [words.count(letter * 30) > 0 for letter in "ANPx"] == [True] * 4


def test_seg_and_sr_leave_where_the_page_cannot_be_made(make_case: Callable[[str], Case], monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError("a picture of 9 TB")

    monkeypatch.setattr("dicom_io.results.objects.build_pdf", fail)
    case = make_case("axial")
    results = build_results(case.report, [case.source], settings=EVERYTHING)
    assert {"seg", "sr", "key01"} <= set(results.by_role)
    assert "pdf" not in results.by_role
    checked = validate(results)
    assert checked.is_valid
    assert "the PDF could not be made (MemoryError); SEG and SR say all of it" in checked.skipped
