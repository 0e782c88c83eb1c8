"""What other people's software makes of every SEG and SR of every case."""

from __future__ import annotations

import json
import re
import subprocess
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from result_cases import Case, program

from dicom_io import codes
from dicom_io.results.sr_lesions import has_axes


def run(*command: str | Path) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@pytest.mark.reads("dciodvfy", "SEG", "SR")
def test_dciodvfy_finds_no_error(case: Case):
    said = run(program("dciodvfy"), case.sr_path)
    assert "SR" in said
    if case.results.settings.segmentation_type == "LABELMAP":
        pytest.skip("dciodvfy of 2022 knows no Label Map Segmentation, so neither a reference to one")
    assert "Error" not in said
    if case.results.seg is not None:
        said = run(program("dciodvfy"), case.seg_path)
        assert "Segmentation" in said
        assert "Error" not in said


# JAXP's limits are for documents from strangers; PixelMed's own rules go beyond them.
_WITHOUT_LIMITS = [f"-Djdk.xml.xpath{kind}Limit=0" for kind in ("ExprGrp", "ExprOp", "TotalOp")]
_PIXELMED = Path("/usr/share/java/pixelmed.jar")
# 20220618 holds a group of TID 1501 also against TID 1411 where both are in a report: these rows are only the
# latter's. And a body part that isn't said has no side (Type 2C of PS3.3 C.7.3.1).
_OF_ANOTHER_TEMPLATE = re.compile(
    r"Error: Template 1411 .*\((?:111030|121191|121231),DCM,.*\): within 1\.10\.(\d+):"
)
_SIDE_OF_NOTHING = re.compile(r"Error: GeneralSeriesModule/Laterality/")


def pixelmed(validator: str, path: Path) -> list[str]:
    """What a validator of PixelMed says of a file, line by line."""
    java = program("java")
    if not _PIXELMED.is_file():
        pytest.skip("PixelMed is not installed; .ci/run lists the Debian package")
    command = [java, "-Xmx2g", *_WITHOUT_LIMITS, "-cp", _PIXELMED, f"com.pixelmed.validate.{validator}", path]
    return run(*command).splitlines()


@pytest.mark.reads("PixelMed's validators", "SR")
def test_pixelmed_finds_no_error_in_the_report_by_its_template(axial: Case):
    said = pixelmed("DicomSRValidator", axial.sr_path)
    assert "Found Root Template TID_1500 (MeasurementReport)" in said
    assert "Root Template Validation Complete" in said
    groups = dcmread(axial.sr_path).ContentSequence[9].ContentSequence
    with_axes = {
        number
        for number, group in enumerate(groups, start=1)
        if group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    }
    errors = [line for line in said if line.startswith("Error")]
    mistaken = [line for line in errors if (m := _OF_ANOTHER_TEMPLATE.match(line)) and int(m[1]) in with_axes]
    assert errors == mistaken


@pytest.mark.reads("PixelMed's validators", "SEG")
def test_pixelmed_finds_no_error_in_the_segmentation(axial: Case):
    said = pixelmed("DicomInstanceValidator", axial.seg_path)
    assert "Found Segmentation IOD" in said
    assert "IOD validation complete" in said
    assert [line for line in said if line.startswith("Error") and not _SIDE_OF_NOTHING.match(line)] == []


@pytest.mark.reads("dcentvfy", "SEG", "SR")
def test_dcentvfy_finds_images_and_results_to_be_one_study(case: Case):
    files = [*case.image_paths, case.sr_path, *([case.seg_path] if case.results.seg is not None else [])]
    assert "Error" not in run(program("dcentvfy"), *files)


@pytest.mark.reads("dcmqi", "SEG")
def test_dcmqi_reads_back_the_same_masks_and_tracking_identities(case: Case, tmp_path):
    if case.results.seg is None:
        pytest.skip("there is no SEG in this case")
    run(
        program("segimage2itkimage"),
        "--inputDICOM",
        case.seg_path,
        "--outputDirectory",
        tmp_path,
        "-t",
        "nrrd",
    )
    attributes = json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"]
    found = {segment["labelID"]: segment for group in attributes for segment in group}
    lesions = case.results.visit.volumes[0].segmented
    assert len(found) == len(lesions)
    images = [SimpleITK.ReadImage(str(path)) for path in sorted(tmp_path.glob("*.nrrd"))]
    for number, lesion in enumerate(lesions, start=1):
        assert found[number]["TrackingUniqueIdentifier"] == lesion.tracking_uid
        voxels = np.concatenate([_positions(image, number) for image in images])
        expected = case.source.volume.lps(lesion.mask.indices())
        assert voxels.shape == expected.shape
        if not _is_tilted(case):  # ITK's images have no shear: of tilted ones it gets the first slice right
            assert np.allclose(_sorted(voxels), _sorted(expected), atol=0.02)


def _is_tilted(case: Case) -> bool:
    return any("gantry tilt" in note for note in case.source.notes)


def _positions(image: SimpleITK.Image, label: int) -> np.ndarray:
    """LPS mm of the voxels with a label."""
    indices = np.argwhere(SimpleITK.GetArrayFromImage(image) == label)[:, ::-1]
    return np.array([image.TransformContinuousIndexToPhysicalPoint(i.tolist()) for i in indices]).reshape(
        -1, 3
    )


def _sorted(points: np.ndarray) -> np.ndarray:
    rounded = np.round(points, 1)
    return points[np.lexsort(rounded.T)]


@pytest.mark.reads("dcmqi", "SR")
def test_dcmqi_reads_back_the_same_measurements(case: Case, tmp_path):
    if not any(has_axes(lesion) for lesion in case.report.lesions):
        pytest.skip("nothing is measured in this case")
    run(program("tid1500reader"), "--inputDICOM", case.sr_path, "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    found: dict[str, dict[str, float]] = {}
    for group in groups:
        values = {item["quantity"]["CodeMeaning"]: float(item["value"]) for item in group["measurementItems"]}
        found.setdefault(group["TrackingUniqueIdentifier"], {}).update(values)
    measured = [lesion for lesion in case.report.lesions if has_axes(lesion)]
    assert set(found) == {lesion.tracking_uid for lesion in measured}
    for lesion in measured:
        values = found[lesion.tracking_uid]
        assert values["Long Axis"] == pytest.approx(lesion.measurement.long_axis.length_mm, abs=0.001)
        assert values["Short Axis"] == pytest.approx(lesion.measurement.short_axis.length_mm, abs=0.001)
        assert values["Volume"] == pytest.approx(lesion.measurement.volume_mm3, abs=0.001)


@pytest.mark.reads("highdicom", "SEG")
def test_highdicom_reads_the_segments_back(case: Case):
    if case.results.seg is None:
        pytest.skip("there is no SEG in this case")
    seg = highdicom.seg.segread(case.seg_path)
    for number, lesion in enumerate(case.results.visit.volumes[0].segmented, start=1):
        assert seg.get_segment_description(number).tracking_uid == lesion.tracking_uid
        assert int(_pixels_of(seg, number).sum()) == lesion.mask.voxel_count


def _pixels_of(seg: highdicom.seg.Segmentation, number: int) -> np.ndarray:
    """A segment's pixels as a volume, or image by image where images are not straight above each other."""
    try:
        return seg.get_volume(segment_numbers=[number], allow_missing_positions=True).array
    except RuntimeError:
        images = [uid for _, _, uid in seg.get_source_image_uids()]
        return seg.get_pixels_by_source_instance(images, segment_numbers=[number])


@pytest.mark.reads("highdicom", "SR")
def test_highdicom_reads_the_groups_back(case: Case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        sr = highdicom.sr.srread(case.sr_path)
    measured = [lesion for lesion in case.report.lesions if has_axes(lesion)]
    for lesion in measured:
        groups = sr.content.get_volumetric_roi_measurement_groups(tracking_uid=lesion.tracking_uid)
        assert len(groups) == 1
        assert groups[0].reference_type == highdicom.sr.CodedConcept("121191", "DCM", "Referenced Segment")
        (axes,) = sr.content.get_image_measurement_groups(tracking_uid=lesion.tracking_uid)
        names = [m.name.value for m in axes.get_measurements()]
        assert names[:2] == [codes.LONG_AXIS.value, codes.SHORT_AXIS.value]


@pytest.fixture(scope="session")
def viewer() -> Callable[..., dict]:
    """The viewer's adapters in Node, bundled; skipped where its packages are not installed."""
    folder = Path(__file__).parents[2] / "viewer"
    if not (folder / "node_modules").is_dir():
        pytest.skip(f"the viewer's packages are not installed: run `npm ci` in {folder.name}")
    node, bundle = program("node"), folder / "node_modules" / ".cache" / "read_results.cjs"
    subprocess.run([program("npm"), "run", "--silent", "build"], cwd=folder, check=True, timeout=120)

    @cache
    def show(case: Case) -> dict:
        job = {"images": [str(p) for p in case.image_paths], "sr": str(case.sr_path)}
        if case.results.seg is not None and case.seg_path.is_file():
            job["seg"] = str(case.seg_path)
        done = subprocess.run(
            [node, str(bundle), json.dumps(job)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return show


VIEWED = ["axial", "signed", "multi-frame", "labelmap", "overlapping lesions", "sagittal MR", "gantry tilt"]


@pytest.mark.reads("OHIF's adapters", "SR")
@pytest.mark.parametrize("name", VIEWED)
def test_the_viewer_hydrates_every_measured_lesion_where_it_is(name, make_case, viewer):
    case = make_case(name)
    shown = {found["tracking_uid"]: found for found in viewer(case)["measurements"]}
    measured = [lesion for lesion in case.report.lesions if has_axes(lesion)]
    assert set(shown) == {lesion.tracking_uid for lesion in measured}
    for lesion in measured:
        found, axes = shown[lesion.tracking_uid], lesion.measurement
        ends = [p for axis in (axes.long_axis, axes.short_axis) for p in (axis.start_lps, axis.end_lps)]
        assert np.abs(np.array(found["points_lps"]) - np.array(ends)).max() < 0.01
        assert found["length_mm"] == pytest.approx(axes.long_axis.length_mm, abs=0.001)
        assert found["width_mm"] == pytest.approx(axes.short_axis.length_mm, abs=0.001)
        assert (found["unit"], found["label"]) == ("mm", lesion.label)


@pytest.mark.reads("OHIF's adapters", "SEG")
@pytest.mark.parametrize("name", VIEWED)
def test_the_viewer_shows_every_segment_with_the_same_voxels(name, make_case, viewer):
    case = make_case(name)
    shown = {found["tracking_uid"]: found["voxels"] for found in viewer(case)["segments"]}
    assert shown == {
        lesion.tracking_uid: lesion.mask.voxel_count for lesion in case.results.visit.volumes[0].segmented
    }


def test_the_viewer_leaves_readable_identifiers_alone(make_case, viewer):
    assert viewer(make_case("readable identifiers"))["measurements"] == []
