"""What a reader sees of our results in the real OHIF: panel, numbers, slices, and the pixels of the mask.

Needs Orthanc with DICOMweb, Chromium, and `npm ci && npm run viewer` in tests/viewer/ohif; skipped without.
`make test` looks at one study, `make viewer-test` (TUMORLINE_VIEWER=all) at every one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pacs import can_run, viewer
from phantoms import Phantom, three_lesions, time_point_report
from result_cases import CASES, PLAIN, SPHERES

from dicom_io.results import (
    ResultSettings,
    SummarizedTimePoint,
    build_results,
    build_summary,
    reference_to,
    to_bytes,
)
from workflow.domain.report import ReportedLesion, TimePointReport

OHIF = Path(__file__).parent / "ohif"
DIST = Path(os.environ.get("TUMORLINE_OHIF_DIST", OHIF / "node_modules" / ".cache" / "ohif"))
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
TOLD = 12  # of 255: a mask changes the colour of a pixel by more


def missing() -> str:
    if not (DIST / "index.html").is_file():
        return "OHIF is not there: run `npm ci && npm run viewer` in tests/viewer/ohif"
    if shutil.which("node") is None or not Path(CHROMIUM).exists():
        return "Node or Chromium is not installed"
    return can_run()


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@dataclass(frozen=True)
class Seen:
    """What the viewer said, and what was written."""

    answer: dict[str, Any]
    lesions: tuple[ReportedLesion, ...]
    source: Any
    studies: set[str]


def points_around(source: Any, lesion: ReportedLesion) -> tuple[np.ndarray, np.ndarray]:
    """Voxel centres around a lesion on the slice of its centre (LPS mm), and which are its own.

    Voxels beside the lesion's border are left out: a screen pixel there may be of either.
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    mask, (_, rows, columns) = lesion.mask, source.volume.shape
    index = round(float(mask.centroid_ijk()[0]))
    inside = np.zeros((rows, columns), dtype=bool)
    inside[mask.box[1], mask.box[2]] = mask.voxels[index - mask.start_ijk[0]]
    far = binary_dilation(inside, iterations=4)
    clear = binary_erosion(inside) | (far & ~binary_dilation(inside, iterations=2))
    row, column = np.nonzero(clear)
    indices = np.stack([np.full_like(row, index), row, column], axis=1)
    return source.volume.lps(indices), inside[row, column]


def _odd_number_of_bytes(folder: Path) -> tuple[Any, TimePointReport, ResultSettings]:
    """The packed masks of its three lesions would have an odd number of bytes."""
    source = Phantom(spheres=SPHERES, shape=(24, 60, 68)).write(folder)
    return source, time_point_report(source, three_lesions(source.volume)), PLAIN


def _pet(folder: Path) -> tuple[Any, TimePointReport, ResultSettings]:
    """Counts, as a PET without a known dose has them."""
    said = {
        "Units": "CNTS", "RescaleIntercept": 0, "SeriesType": ["STATIC", "IMAGE"], "NumberOfSlices": 24,
        "CorrectedImage": ["DECY", "ATTN"], "CountsSource": "EMISSION", "DecayCorrection": "START",
        "FrameReferenceTime": 0, "SeriesDate": "20260302", "SeriesTime": "101500",
        "AcquisitionDate": "20260302", "AcquisitionTime": "101500",
    }  # fmt: skip
    source = Phantom(modality="PT", spheres=SPHERES, attributes=said).write(folder)
    return source, time_point_report(source, three_lesions(source.volume)), PLAIN


# The first is looked at by `make test`.
SEEN_CASES = {
    "CT, odd number of bytes": _odd_number_of_bytes,
    "multi-frame": CASES["multi-frame"],
    "labelmap": CASES["labelmap"],
    "sagittal MR": CASES["sagittal MR"],
    "PET": _pet,
}
LOOKED_AT = list(SEEN_CASES) if os.environ.get("TUMORLINE_VIEWER") == "all" else list(SEEN_CASES)[:1]


@pytest.fixture(scope="module", params=LOOKED_AT)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A study with SEG, SR and course, as the viewer shows it."""
    folder = tmp_path_factory.mktemp("ohif")
    source, report, settings = SEEN_CASES[request.param](folder / "images")
    results = build_results(report, [source], settings=settings)
    course = build_summary(
        [SummarizedTimePoint(report=report, srs=(reference_to(results.sr),))], [source], settings=PLAIN
    )
    files = list(dict.fromkeys(image.path for image in source.slices))
    for role, made in {**results.by_role, "course": course}.items():
        files.append(folder / f"{role}.dcm")
        files[-1].write_bytes(to_bytes(made))
    prior = Phantom(study="2", study_date=date(2026, 1, 5), shape=(24, 60, 68)).write(folder / "prior")
    files += [image.path for image in prior.slices]
    lesions = results.visit.volumes[0].segmented
    (folder / "pacs").mkdir()
    with viewer(DIST, folder / "pacs", files) as url:
        job = {
            "url": url,
            "study": report.study_instance_uid,
            "prior": prior.series.study_instance_uid,
            "series": {
                "seg": results.seg.SeriesDescription,
                "sr": results.sr.SeriesDescription,
                "course": course.SeriesDescription,
            },
            "lesions": [
                {"label": lesion.label, "points": points_around(source, lesion)[0].tolist()}
                for lesion in lesions
            ],
        }
        done = subprocess.run(
            ["node", OHIF / "look.mjs", json.dumps(job)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return Seen(answer, lesions, source, {report.study_instance_uid, prior.series.study_instance_uid})


@pytest.mark.reads("OHIF", "SEG")
def test_the_panel_lists_every_segment_with_its_voxels(seen: Seen):
    found = {segment["label"]: segment["voxels"] for segment in seen.answer["segments"]}
    found.pop("Background", None)  # of a label map, which must describe it (PS3.3 C.8.20.2.4)
    assert found == {lesion.label: lesion.mask.voxel_count for lesion in seen.lesions}


@pytest.mark.reads("OHIF", "SEG")
def test_the_mask_is_drawn_on_its_voxels_and_nowhere_else(seen: Seen):
    for lesion in seen.lesions:
        _, is_inside = points_around(seen.source, lesion)
        drawn = seen.answer["drawn"][lesion.label]
        change = np.abs(np.array(drawn["shown"], int) - np.array(drawn["hidden"], int)).max(axis=1)
        assert ((change > TOLD) == is_inside).mean() > 0.98, lesion.label


@pytest.mark.reads("OHIF", "SR")
def test_every_measurement_is_hydrated_with_its_lengths_on_its_image(seen: Seen):
    found = {one["label"]: one for one in seen.answer["measurements"]}
    assert set(found) == {lesion.label for lesion in seen.lesions}
    for lesion in seen.lesions:
        one, size = found[lesion.label], lesion.measurement
        assert one["length_mm"] == pytest.approx(size.long_axis.length_mm, abs=0.05)
        assert one["width_mm"] == pytest.approx(size.short_axis.length_mm, abs=0.05)
        image = seen.source.slices[size.slice_index].sop_instance_uid
        assert one["image"] == image
        assert f"/{image}/" in one["jumped_to"]


def test_both_dates_stand_side_by_side(seen: Seen):
    assert set(seen.answer["compared"]) == seen.studies


@pytest.mark.reads("OHIF", "course")
def test_the_course_can_be_read(seen: Seen):
    for words in ("Short label: T01, Lung, right, target", "Current Response: ", "Sum of Diameters: "):
        assert words in seen.answer["course"]
