"""What result objects are made of in tests: a phantom, a report on it and settings, by name."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from phantoms import (
    LESION_CENTRES,
    Phantom,
    PhantomSource,
    reported_lesion,
    sphere,
    three_lesions,
    time_point_report,
)

from dicom_io.results import (
    ResultObjects,
    ResultSettings,
    ResultSource,
    SegmentationType,
    TrackingIdentifierForm,
)
from dicom_io.volumes import SeriesVolume, read_folder
from workflow.domain.lesion import LesionState
from workflow.domain.report import LesionRole, PredecessorReport, ReviewStatus, TimePointReport

SPHERES = tuple((c, r, 80) for c, r in zip(LESION_CENTRES, (7.0, 5.0, 3.5), strict=True))
PLAIN = ResultSettings(writes_pdf=False)


def program(name: str) -> str:
    """Path of a program that the test runs; the test is skipped where it is not installed."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"{name} is not installed; .ci/run lists the Debian package")
    return found


@dataclass(frozen=True, eq=False)
class Case:
    """A source, what is said of it, and the objects that come out, also as files."""

    source: ResultSource
    results: ResultObjects
    folder: Path

    @property
    def report(self) -> TimePointReport:
        return self.results.report

    @property
    def seg_path(self) -> Path:
        return self.folder / "seg.dcm"

    @property
    def sr_path(self) -> Path:
        return self.folder / "sr.dcm"

    @property
    def image_paths(self) -> list[Path]:
        return list(dict.fromkeys(s.path for s in self.source.slices))


def _axial(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source = Phantom(spheres=SPHERES).write(folder)
    return source, time_point_report(source, three_lesions(source.volume)), PLAIN


def _signed(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source, report, settings = _axial(folder)
    signed = replace(
        report,
        status=ReviewStatus.SIGNED,
        signed_by="Reader^Rosa",
        signed_at=datetime(2026, 3, 3, 9, 5),
        version=2,
        predecessors=(
            PredecessorReport(study_instance_uid=report.study_instance_uid, sop_instance_uid="2.25.77"),
        ),
    )
    return source, signed, settings


def _multi_frame(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source = Phantom(spheres=SPHERES).write_multi_frame(folder)
    return source, time_point_report(source, three_lesions(source.volume)), PLAIN


def _labelmap(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source, report, settings = _axial(folder)
    return source, report, replace(settings, segmentation_type=SegmentationType.LABELMAP)


def _readable(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source, report, settings = _axial(folder)
    return source, report, replace(settings, tracking_identifier=TrackingIdentifierForm.READABLE)


def _overlapping(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source = Phantom(spheres=SPHERES).write(folder)
    masks = [sphere(source.volume, (-14.0 + shift, -10.0, 120.0), 6.0) for shift in (0.0, 5.0)]
    lesions = [reported_lesion(source.volume, m, f"T0{n}") for n, m in enumerate(masks, start=1)]
    return source, time_point_report(source, lesions), PLAIN


def _nothing_left(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    source = Phantom().write(folder)
    lesions = [
        reported_lesion(source.volume, None, "T01", response="target CR", reason="no voxel is left"),
        reported_lesion(source.volume, None, "NT01", role=LesionRole.NON_TARGET, diameter_mm=None,
                        state=LesionState.NOT_EVALUABLE, reason="lies outside the images"),
    ]  # fmt: skip
    return source, time_point_report(source, lesions, overall="CR"), PLAIN


def _sagittal_mr(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    phantom = Phantom(
        modality="MR", shape=(20, 64, 56), spacing_mm=(3.0, 0.9, 0.9), origin_lps=(-30.0, -20.0, 150.0),
        directions=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
        spheres=(((-6.0, 2.0, 122.0), 8.0, 300),),
        attributes={"RescaleIntercept": None, "RescaleSlope": None, "ScanningSequence": "SE",
                    "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "2D", "EchoTime": 10,
                    "EchoTrainLength": 1, "RepetitionTime": 500},
    )  # fmt: skip
    source = phantom.write(folder)
    lesion = reported_lesion(source.volume, sphere(source.volume, (-6.0, 2.0, 122.0), 8.0), is_nodal=True)
    return source, time_point_report(source, [lesion], is_baseline=True, order=1), PLAIN


def _anisotropic_oblique(folder: Path) -> tuple[PhantomSource, TimePointReport, ResultSettings]:
    c, s = float(np.cos(0.3)), float(np.sin(0.3))
    phantom = Phantom(
        spacing_mm=(4.0, 0.7, 1.1), directions=((s, 0.0, c), (0.0, 1.0, 0.0), (c, 0.0, -s)),
        shape=(16, 80, 50), origin_lps=(-30.0, -25.0, 100.0), spheres=(((5.0, 0.0, 125.0), 9.0, 90),),
    )  # fmt: skip
    source = phantom.write(folder)
    lesion = reported_lesion(source.volume, sphere(source.volume, (5.0, 0.0, 125.0), 9.0))
    return source, time_point_report(source, [lesion]), PLAIN


def _tilted(folder: Path) -> tuple[SeriesVolume, TimePointReport, ResultSettings]:
    """A tilted gantry: the images lie 15 degrees off the axis that they are stacked along."""
    c, s = float(np.cos(0.26)), float(np.sin(0.26))
    Phantom(directions=((0.0, 0.0, 1.0), (0.0, c, s), (1.0, 0.0, 0.0)), spheres=SPHERES).write(folder)
    return _as_read(folder)


def _filled_in(folder: Path) -> tuple[SeriesVolume, TimePointReport, ResultSettings]:
    """An image is missing, and the second lesion is measured right there."""
    Phantom(spheres=SPHERES).write(folder)
    (folder / "0012.dcm").unlink()
    return _as_read(folder)


def _as_read(folder: Path) -> tuple[SeriesVolume, TimePointReport, ResultSettings]:
    """What reading the images makes of them, with a lesion in each sphere."""
    source = read_folder(folder)
    lesions = [
        reported_lesion(source.volume, sphere(source.volume, centre, radius), f"T0{number}")
        for number, (centre, radius, _) in enumerate(SPHERES, start=1)
    ]
    return source, time_point_report(source, lesions, notes=source.notes), PLAIN


CASES: dict[str, Callable[[Path], tuple[ResultSource, TimePointReport, ResultSettings]]] = {
    "axial": _axial,
    "signed": _signed,
    "multi-frame": _multi_frame,
    "labelmap": _labelmap,
    "readable identifiers": _readable,
    "overlapping lesions": _overlapping,
    "nothing left": _nothing_left,
    "sagittal MR": _sagittal_mr,
    "anisotropic oblique": _anisotropic_oblique,
    "gantry tilt": _tilted,
    "slice filled in": _filled_in,
}
