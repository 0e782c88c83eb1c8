"""Our measurements and segments come back from a viewer: as they were, changed, or not all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hospital import LEFT, RIGHT, Hospital, Sphere, Study

from dicom_io.simulated.ct import WrittenSeries
from dicom_io.simulated.prompts import MeasuredLesion, write_measurements
from workflow.domain.lesion_life import Decision
from workflow.domain.users import User, UserRole
from workflow.review import decide
from workflow.use_cases.marks import Taken, TakenObject, take_in

READER = User(name="dr.reader", roles=frozenset({UserRole.READER}))
DAY = date(2026, 3, 2)
# Seen, but marked by nobody.
UNMARKED = (30.0, 36.0, 8.0)
SPHERES = (
    Sphere(centre_lps=UNMARKED, diameter_mm=12),
    Sphere(centre_lps=LEFT, diameter_mm=14, is_prompted=True, label="left"),
    Sphere(centre_lps=RIGHT, diameter_mm=16, is_prompted=True, label="right"),
)


@dataclass
class Reading:
    """A baseline that was told (T01 of 16 mm, T02 of 14 mm), and what is stored about it."""

    hospital: Hospital
    series: WrittenSeries
    folder: Path
    number: int = 0

    @property
    def point(self) -> dict[str, Any]:
        (point,) = self.hospital.time_points()
        return point

    @property
    def lesions(self) -> dict[str, dict[str, Any]]:
        return {lesion["label"]: lesion for lesion in self.point["report"]["lesions"]}

    def loaded(self, of: str, **changed: Any) -> MeasuredLesion:
        """One of our measurements as OHIF stores it: our label and axes, a tracking UID of its own."""
        size = self.lesions[of]["measurement"]
        self.number += 1
        loaded = MeasuredLesion(
            label=of,
            tracking_uid=f"2.25.{self.number}",
            slice_index=size["slice_index"],
            long_axis_lps=tuple(tuple(size["long_axis"][end]) for end in ("start_lps", "end_lps")),
            short_axis_lps=tuple(tuple(size["short_axis"][end]) for end in ("start_lps", "end_lps")),
        )
        return replace(loaded, **changed)

    def store(self, *drawn: MeasuredLesion) -> TakenObject:
        """The reader stores measurements, and the pipeline does its work."""
        path = self.folder / f"stored-{self.number}.dcm"
        write_measurements(self.series, drawn, path, description="Create SR")
        stored = pydicom.dcmread(path)
        stored.ContentDate = "20260303"
        return self.store_object(stored)

    def store_object(self, stored: pydicom.Dataset) -> TakenObject:
        self.number += 1
        stored.SOPInstanceUID = stored.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{self.number}"
        out = BytesIO()
        stored.save_as(out, enforce_file_format=True)
        (taken,) = take_in(self.hospital.context, [out.getvalue()], READER, "STOW-RS").objects
        assert taken.outcome is Taken.MARKS
        self.hospital.work()
        return taken


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    hospital = Hospital(tmp_path)
    (series,) = hospital.receive(Study(day=DAY, spheres=SPHERES))
    hospital.work()
    return Reading(hospital, series, tmp_path)


def longer(line: Sequence[Sequence[float]], by_mm: float) -> Any:
    """A line that goes on at both ends."""
    start, end = np.array(line[0]), np.array(line[1])
    step = (end - start) / np.linalg.norm(end - start) * by_mm / 2
    return tuple((start - step).tolist()), tuple((end + step).tolist())


def told(reading: Reading) -> dict[str, tuple[Any, ...]]:
    return {
        label: (lesion["tracking_uid"], lesion["diameter_mm"], lesion["measurement"], lesion["decisions"])
        for label, lesion in reading.lesions.items()
    }


def test_what_comes_back_as_it_was_changes_nothing(reading):
    before = told(reading)
    taken = reading.store(reading.loaded("T01"), reading.loaded("T02"))
    assert "2 as we told them" in taken.said
    assert told(reading) == before
    assert sum("is as it was told" in note for note in reading.point["notes"]) == 2
    assert reading.point["attention"] == []


@pytest.mark.parametrize(
    ("changed", "by"),
    [
        (lambda uid: {}, "its label"),
        (lambda uid: {"tracking_uid": uid, "label": "renamed"}, "its tracking UID"),
        (lambda uid: {"label": "mine"}, "its place"),
    ],
)
def test_a_changed_measurement_is_the_readers_correction_of_that_lesion(
    reading, changed: Callable[[str], dict[str, str]], by
):
    before = reading.lesions["T01"]
    drawn = reading.loaded("T01", **changed(before["tracking_uid"]))
    taken = reading.store(
        replace(drawn, long_axis_lps=longer(drawn.long_axis_lps, 3.0)), reading.loaded("T02")
    )
    assert "a correction of T01 and 1 as we told it" in taken.said
    assert taken.lesions == ("T01",)
    after = reading.lesions["T01"]
    assert set(reading.lesions) == {"T01", "T02"}
    assert after["tracking_uid"] == before["tracking_uid"]
    assert after["diameter_mm"] == pytest.approx(before["diameter_mm"] + 3.0, abs=0.01)
    (decision,) = after["decisions"]
    assert decision["by"] == "dr.reader"
    assert f"recognised by {by}" in decision["reason"]
    assert f"was {before['diameter_mm']:.1f}" in decision["reason"]
    assert reading.lesions["T02"]["decisions"] == []


def test_a_correction_that_was_withdrawn_stays_so(reading):
    before = reading.lesions["T01"]["diameter_mm"]
    drawn = reading.loaded("T01")
    reading.store(replace(drawn, long_axis_lps=longer(drawn.long_axis_lps, 3.0)), reading.loaded("T02"))
    record = reading.hospital.context.records.load(1)
    decide(
        reading.hospital.context, patient_id="P-1", decision=Decision.WITHDRAW, by="dr.reader",
        reason="a slip", other=record.decisions[0].id,
    )  # fmt: skip
    reading.hospital.work()
    assert reading.lesions["T01"]["diameter_mm"] == pytest.approx(before, abs=0.01)
    reading.store(reading.loaded("T02"), reading.loaded("T01"))
    assert reading.lesions["T01"]["diameter_mm"] == pytest.approx(before, abs=0.01)
    assert len(reading.hospital.context.records.load(1).decisions) == 2


def test_what_is_missing_is_asked_for_and_stays(reading):
    reading.store(reading.loaded("T01"))
    assert set(reading.lesions) == {"T01", "T02"}
    (question,) = reading.point["attention"]
    assert "T02 is missing" in question
    assert "dr.reader" in question


def test_what_was_rejected_is_not_asked_for(reading):
    decide(
        reading.hospital.context, patient_id="P-1", decision=Decision.NOT_A_LESION, by="dr.reader",
        reason="a vessel", lesion="T02",
    )  # fmt: skip
    reading.hospital.work()
    reading.store(reading.loaded("T01"))
    assert reading.point["attention"] == []


def test_what_is_drawn_beside_ours_is_a_new_lesion(reading):
    x, y, z = UNMARKED
    drawn = reading.loaded(
        "T01", label="seen too", slice_index=round(z / 4),
        long_axis_lps=((x - 6, y, z), (x + 6, y, z)), short_axis_lps=((x, y - 6, z), (x, y + 6, z)),
    )  # fmt: skip
    before = told(reading)
    taken = reading.store(reading.loaded("T01"), reading.loaded("T02"), drawn)
    assert "1 new mark and 2 as we told them" in taken.said
    after = told(reading)
    assert {label: after[label] for label in before} == before
    assert reading.lesions["NT01"]["marked_by"] == "dr.reader"
    assert set(after) == {"T01", "T02", "NT01"}


def test_a_lesion_that_was_drawn_far_off_is_asked_about(reading):
    x, y, z = UNMARKED
    drawn = reading.loaded(
        "T01", slice_index=round(z / 4),
        long_axis_lps=((x - 6, y, z), (x + 6, y, z)), short_axis_lps=((x, y - 6, z), (x, y + 6, z)),
    )  # fmt: skip
    reading.store(drawn, reading.loaded("T02"))
    (question,) = [text for text in reading.point["attention"] if "T01 was drawn" in text]
    assert "is it the same?" in question


# ---------------------------------------------------------------- segmentations


@pytest.fixture
def segmented(tmp_path: Path) -> Reading:
    """The same with a real SEG in the archive."""
    hospital = Hospital(tmp_path, writes_real_results=True)
    (series,) = hospital.receive(Study(day=DAY, spheres=SPHERES))
    hospital.work()
    return Reading(hospital, series, tmp_path)


def exported(reading: Reading, label: str = "", cut: int = 0) -> pydicom.Dataset:
    """Our SEG as OHIF exports it: no tracking UIDs, "Tissue", and some columns of one segment erased."""
    (made,) = [o for o in reading.point["objects"] if o["role"] == "seg"]
    stored = pydicom.dcmread(made["path"])
    pixels = stored.pixel_array.copy()
    for segment in stored.SegmentSequence:
        del segment.TrackingUID, segment.TrackingID
        tissue = pydicom.Dataset()
        tissue.CodeValue, tissue.CodingSchemeDesignator, tissue.CodeMeaning = "85756007", "SCT", "Tissue"
        segment.SegmentedPropertyCategoryCodeSequence = [tissue]
        segment.SegmentedPropertyTypeCodeSequence = [tissue]
        if segment.SegmentLabel != label:
            continue
        for frame, groups in zip(pixels, stored.PerFrameFunctionalGroupsSequence, strict=True):
            identified = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            if identified == segment.SegmentNumber:
                columns = np.flatnonzero(frame.any(axis=0))
                frame[:, columns[-cut:]] = 0
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    stored.PixelData = packed + b"\0" * (len(packed) % 2)
    return stored


def test_a_segmentation_that_comes_back_as_it_was_changes_nothing(segmented):
    before = told(segmented)
    segmented.store_object(exported(segmented))
    assert told(segmented) == before


def test_an_edited_segment_becomes_the_lesions_mask(segmented):
    before = segmented.lesions
    segmented.store_object(exported(segmented, "T01", cut=4))
    after = segmented.lesions
    assert set(after) == {"T01", "T02"}
    assert after["T01"]["tracking_uid"] == before["T01"]["tracking_uid"]
    assert after["T01"]["measurement"]["volume_mm3"] < before["T01"]["measurement"]["volume_mm3"]
    assert (after["T01"]["model"], after["T01"]["marked_by"]) == (None, "dr.reader")
    assert after["T02"]["measurement"] == before["T02"]["measurement"]
