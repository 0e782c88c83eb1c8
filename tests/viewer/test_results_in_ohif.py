"""What a reader sees of our results in the real OHIF: panel, numbers, slices, and the pixels of the mask.

Needs Orthanc with DICOMweb, Chromium, and `npm ci && npm run viewer` in tests/viewer/ohif; skipped without.
`make test` looks at two dates of one patient, `make viewer-test` (TUMORLINE_OHIF=all) at every case:
phantoms of each kind, the demo's patients, and real series with a reader's marks, as the commands leave them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pacs import can_run, viewer
from phantoms import Phantom, PhantomSource, three_lesions, time_point_report
from pydicom import dcmread
from result_cases import CASES, PLAIN, SPHERES
from scipy.ndimage import binary_dilation, binary_erosion

from dicom_io.results import (
    ResultSettings,
    SummarizedTimePoint,
    build_results,
    build_summary,
    reference_to,
    to_bytes,
)
from workflow.domain.report import TimePointReport

OHIF = Path(__file__).parent / "ohif"
DIST = Path(os.environ.get("TUMORLINE_OHIF_DIST", OHIF / "node_modules" / ".cache" / "ohif"))
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PICTURES = os.environ.get("TUMORLINE_OHIF_PICTURES")  # a folder: how each case looked is kept there
IS_WHOLE = os.environ.get("TUMORLINE_OHIF") == "all"
TOLD = 12  # of 255: a mask changes the colour of a pixel by more


def missing() -> str:
    if not (DIST / "index.html").is_file():
        return "OHIF is not there: run `npm ci && npm run viewer` in tests/viewer/ohif"
    if shutil.which("node") is None or not Path(CHROMIUM).exists():
        return "Node or Chromium is not installed"
    return can_run()


pytestmark = [
    pytest.mark.xdist_group("ohif"),  # a case is drawn once for all that is asked of it
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
    pytest.mark.timeout(1200),  # the demo, and then two browsers' worth of drawing without a GPU
]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A lesion as it must be seen.

    `points` are voxel centres around it on the slice of its centre, LPS mm, shape (n, 3); `is_inside` says
    which are its own. Voxels beside its border are left out: a screen pixel there may be of either.
    """

    label: str
    voxels: int
    length_mm: float
    width_mm: float
    image: str
    points: np.ndarray
    is_inside: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A study with its results: Series Descriptions by kind, and what is on the images."""

    study: str
    series: dict[str, str]
    lesions: tuple[Expected, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is given to the PACS, and what is opened side by side, the latest first."""

    files: list[Path]
    visits: tuple[Visit, ...]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the viewer said of each visit, and what it was given."""

    shown: Shown
    answers: list[dict[str, Any]] = field(repr=False)

    @property
    def by_visit(self) -> list[tuple[Visit, dict[str, Any]]]:
        return list(zip(self.shown.visits, self.answers, strict=True))


def around(inside: np.ndarray, others: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of pixels in and around a mask but not beside a border, and which are in it.

    `others` are the pixels of other masks, which are shown and hidden with it.
    """
    far = binary_dilation(inside, iterations=4)
    drawn = inside if others is None else inside | others
    clear = binary_erosion(inside) | (far & ~binary_dilation(drawn, iterations=2))
    places = np.argwhere(clear)
    return places, inside[places[:, 0], places[:, 1]]


# ---------------------------------------------------------------- phantoms, whose truth is known


def phantom_visit(
    folder: Path, source: Any, report: TimePointReport, settings: ResultSettings, *, has_course: bool = True
) -> Shown:
    """A phantom with its results; the masks are those that the report was made from."""
    results = build_results(report, [source], settings=settings)
    objects = dict(results.by_role)
    if has_course:
        summed = SummarizedTimePoint(report=report, srs=(reference_to(results.sr),))
        objects["course"] = build_summary([summed], [source], settings=PLAIN)
    files = list(dict.fromkeys(image.path for image in source.slices))
    for role, made in objects.items():
        files.append(folder / f"{role}.dcm")
        files[-1].write_bytes(to_bytes(made))
    lesions = []
    for lesion in results.visit.volumes[0].segmented:
        mask, size, (_, rows, columns) = lesion.mask, lesion.measurement, source.volume.shape
        index = round(float(mask.centroid_ijk()[0]))
        inside = np.zeros((rows, columns), dtype=bool)
        inside[mask.box[1], mask.box[2]] = mask.voxels[index - mask.start_ijk[0]]
        places, is_inside = around(inside)
        lesions.append(
            Expected(
                label=lesion.label,
                voxels=mask.voxel_count,
                length_mm=size.long_axis.length_mm,
                width_mm=size.short_axis.length_mm,
                image=source.slices[size.slice_index].sop_instance_uid,
                points=source.volume.lps(np.insert(places, 0, index, axis=1)),
                is_inside=is_inside,
            )
        )
    series = {role: str(made.SeriesDescription) for role, made in objects.items()}
    visit = Visit(study=report.study_instance_uid, series=series, lesions=tuple(lesions))
    return Shown(files=files, visits=(visit,))


def of_case(name: str, folder: Path) -> Shown:
    return phantom_visit(folder, *CASES[name](folder / "images"))


def two_dates(folder: Path) -> Shown:
    """A baseline and a follow-up whose packed masks would have an odd number of bytes."""
    shown = []
    for number, day in ((1, date(2026, 3, 2)), (2, date(2026, 1, 5))):
        place, is_baseline = folder / str(number), number == 2
        source = Phantom(spheres=SPHERES, shape=(24, 60, 68), study=str(number), study_date=day).write(place)
        said = {
            "study_date": day,
            "is_baseline": is_baseline,
            "order": 3 - number,
            "identity": f"date {number}",
        }
        report = time_point_report(source, three_lesions(source.volume), **said)
        shown.append(phantom_visit(place, source, report, PLAIN, has_course=not is_baseline))
    return Shown(files=[f for one in shown for f in one.files], visits=tuple(one.visits[0] for one in shown))


def pet(folder: Path) -> Shown:
    """Counts, as a PET without a known dose has them."""
    said = {
        "Units": "CNTS", "RescaleIntercept": 0, "SeriesType": ["STATIC", "IMAGE"], "NumberOfSlices": 24,
        "CorrectedImage": ["DECY", "ATTN"], "CountsSource": "EMISSION", "DecayCorrection": "START",
        "FrameReferenceTime": 0, "SeriesDate": "20260302", "SeriesTime": "101500",
        "AcquisitionDate": "20260302", "AcquisitionTime": "101500",
    }  # fmt: skip
    source: PhantomSource = Phantom(modality="PT", spheres=SPHERES, attributes=said).write(folder / "images")
    return phantom_visit(folder, source, time_point_report(source, three_lesions(source.volume)), PLAIN)


# ---------------------------------------------------------------- what the commands leave


def written_visit(folder: Path, images: Sequence[Path]) -> Visit:
    """A study's results in a folder, with report.json; masks are read from the SEG with pydicom alone."""
    report = json.loads((folder / "report.json").read_text())
    objects = {name: dcmread(path) for path in sorted(folder.glob("*.dcm")) for name in [kind_of(path)]}
    sizes = {one["label"]: one["measurement"] for one in report["lesions"] if one["measurement"]}
    headers = [dcmread(path, stop_before_pixels=True) for path in images]
    own = [h for h in headers if h.get("SeriesInstanceUID") == report["series_instance_uid"]]
    seg, lesions = objects["seg"], []
    for segment in seg.SegmentSequence:
        size = sizes[segment.SegmentLabel]
        frames = [
            (frame.PlanePositionSequence[0].ImagePositionPatient, pixels, number_of(frame, seg))
            for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True)
        ]
        points, is_inside = points_of(int(segment.SegmentNumber), frames, seg)
        lesions.append(
            Expected(
                label=segment.SegmentLabel,
                voxels=sum(int(pixels.sum()) for _, pixels, of in frames if of == segment.SegmentNumber),
                length_mm=size["long_axis"]["length_mm"],
                width_mm=size["short_axis"]["length_mm"],
                image=image_at(size["long_axis"]["start_lps"], own),
                points=points,
                is_inside=is_inside,
            )
        )
    assert {one.label for one in lesions} == set(sizes)
    series = {name: str(made.SeriesDescription) for name, made in objects.items()}
    return Visit(study=report["study_instance_uid"], series=series, lesions=tuple(lesions))


def kind_of(path: Path) -> str:
    return path.stem.split("-")[0]


def number_of(frame: Any, seg: Any) -> int:
    groups = frame if "SegmentIdentificationSequence" in frame else seg.SharedFunctionalGroupsSequence[0]
    return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def points_of(
    number: int, frames: Sequence[tuple[Any, np.ndarray, int]], seg: Any
) -> tuple[np.ndarray, np.ndarray]:
    """See `Expected`: on the frame nearest to the middle of a segment's voxels."""
    own = [(origin, pixels) for origin, pixels, of in frames if of == number]
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    heights = [float(np.cross(*cosines) @ np.array(origin, float)) for origin, _ in own]
    middle = np.average(heights, weights=[pixels.sum() for _, pixels in own])
    origin, pixels = own[int(np.argmin(np.abs(np.array(heights) - middle)))]
    beside = [other.astype(bool) for at, other, of in frames if of != number and at == origin]
    places, is_inside = around(pixels.astype(bool), np.any(beside, axis=0) if beside else None)
    steps = np.stack([cosines[1] * row_mm, cosines[0] * column_mm])
    return np.array(origin, float) + places @ steps, is_inside


def image_at(point_lps: Sequence[float], images: Sequence[Any]) -> str:
    """The image whose plane a point lies in."""

    def off(image: Any) -> float:
        normal = np.cross(*np.array(image.ImageOrientationPatient, float).reshape(2, 3))
        return abs(float(normal @ (np.array(point_lps) - np.array(image.ImagePositionPatient, float))))

    return str(min(images, key=off).SOPInstanceUID)


def tumorline(*arguments: object) -> None:
    command = [sys.executable, "-m", "workflow", *map(str, arguments)]
    # As on a machine of its own: what this test is told by is no setting of the product.
    own = {name: value for name, value in os.environ.items() if not name.startswith("TUMORLINE_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=own)
    assert done.returncode in (0, 1), done.stderr  # 1: something is to be looked at


def real(name: str, folder: Path, request: pytest.FixtureRequest) -> Shown:
    """A real series with a reader's marks, through `tumorline run`."""
    given = request.getfixturevalue("real_cases") / name
    tumorline("run", given, "--out", folder / "results")
    images = [path for path in given.rglob("*") if path.is_file() and path.suffix in ("", ".dcm")]
    (report,) = (folder / "results").glob("*/*/report.json")
    visit = written_visit(report.parent, images)
    return Shown(files=[*images, *report.parent.glob("*.dcm")], visits=(visit,))


def demo(patient: str, folder: Path, request: pytest.FixtureRequest) -> Shown:
    """A patient of the demo, both dates."""
    home = request.getfixturevalue("demo_folder") / "home"
    files, visits = [], {}
    for report in home.glob("results/*/*/report.json"):
        said = json.loads(report.read_text())
        images = sorted((home / "received" / said["study_instance_uid"]).rglob("*.dcm"))
        if dcmread(images[0], stop_before_pixels=True).PatientID == patient:
            visits[said["study_date"]] = written_visit(report.parent, images)
            files += [*images, *report.parent.glob("*.dcm")]
    return Shown(files=files, visits=tuple(visits[day] for day in sorted(visits, reverse=True)))


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tumorline demo` leaves."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    tumorline("demo", "--out", folder)
    return folder


# The first is looked at by `make test`.
CASE_MAKERS: dict[str, Callable[..., Shown]] = {
    "CT, two dates": two_dates,
    "multi-frame": partial(of_case, "multi-frame"),
    "labelmap": partial(of_case, "labelmap"),
    "sagittal MR": partial(of_case, "sagittal MR"),
    "gantry tilt": partial(of_case, "gantry tilt"),
    "PET": pet,
    "demo: implanted nodules": partial(demo, "SIM-LUNG-0001"),
    "demo: lung cancer": partial(demo, "SIM-4DLUNG-0001"),
    "real CT": partial(real, "fourd_lung_p4"),
    "real PET": partial(real, "qin_headneck/0024"),
    "real MR": partial(real, "ibsi_sts/dicom/STS_002/MR_T1"),
}
OF_COMMANDS = ("demo", "real")


@pytest.fixture(scope="module", params=list(CASE_MAKERS) if IS_WHOLE else list(CASE_MAKERS)[:1])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Results as the viewer shows them."""
    folder, name = tmp_path_factory.mktemp("ohif"), request.param
    asked = (request,) if name.startswith(OF_COMMANDS) else ()
    shown = CASE_MAKERS[name](folder, *asked)
    job: dict[str, Any] = {"dates": [asked_of(visit) for visit in shown.visits]}
    if PICTURES:
        job["picture"] = str(Path(PICTURES) / f"{re.sub(r'[^a-zA-Z]+', '_', name)}.png")
    (folder / "pacs").mkdir()
    with viewer(DIST, folder / "pacs", shown.files) as url:
        done = subprocess.run(
            ["node", OHIF / "look.mjs"],
            input=json.dumps({"url": url, **job}),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return Seen(shown=shown, answers=json.loads(done.stdout.splitlines()[-1])["dates"])


def asked_of(visit: Visit) -> dict[str, Any]:
    return {
        "study": visit.study,
        "series": visit.series,
        "lesions": [{"label": one.label, "points": one.points.tolist()} for one in visit.lesions],
    }


@pytest.mark.reads("OHIF", "SEG")
def test_the_panel_lists_every_segment_with_its_voxels(seen: Seen):
    for visit, answer in seen.by_visit:
        found = {segment["label"]: segment["voxels"] for segment in answer["segments"]}
        found.pop("Background", None)  # of a label map, which must describe it (PS3.3 C.8.20.2.4)
        assert found == {lesion.label: lesion.voxels for lesion in visit.lesions}


@pytest.mark.reads("OHIF", "SEG")
def test_the_mask_is_drawn_on_its_voxels_and_nowhere_else(seen: Seen):
    for visit, answer in seen.by_visit:
        for lesion in visit.lesions:
            drawn = answer["drawn"][lesion.label]
            change = np.abs(np.array(drawn["shown"], int) - np.array(drawn["hidden"], int)).max(axis=1)
            assert ((change > TOLD) == lesion.is_inside).mean() > 0.98, lesion.label


@pytest.mark.reads("OHIF", "SR")
def test_every_measurement_is_written_beside_its_axes_on_its_image(seen: Seen):
    for number, (visit, answer) in enumerate(seen.by_visit):
        found = {one["lines"][0].rstrip(": "): one for one in answer["measurements"]}
        assert set(found) == {lesion.label for lesion in visit.lesions}
        for lesion in visit.lesions:
            one = found[lesion.label]
            assert length_in(one["lines"], "L") == pytest.approx(lesion.length_mm, abs=0.051), lesion.label
            assert length_in(one["lines"], "W") == pytest.approx(lesion.width_mm, abs=0.051), lesion.label
            assert f"/{lesion.image}/" in one["image"]
            assert one["is_editable"] == (number == 0)  # OHIF edits the measurements of one study at a time


def length_in(lines: Sequence[str], name: str) -> float:
    """The millimetres in "L: 13.7 mm", or in "L: : 13.66 mm" of a locked measurement."""
    return next(float(found[1]) for line in lines if (found := re.match(rf"{name}:[: ]*([\d.]+) mm", line)))


@pytest.mark.reads("OHIF", "course")
def test_the_course_can_be_read(seen: Seen):
    (text,) = [answer["course"] for answer in seen.answers if "course" in answer] or [None]
    if text is None:
        pytest.skip("a single time point has no course")
    assert "Sum of Diameters: " in text
    for lesion in seen.shown.visits[0].lesions:
        assert re.search(rf"Short label: {lesion.label}\b.*, (target|non-target|new)", text)
