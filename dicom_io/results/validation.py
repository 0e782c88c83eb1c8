"""The gate before the PACS: an object that fails here is kept with the report and not sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydicom import Dataset

from dicom_io.results.checks_common import check_identity, check_uids
from dicom_io.results.checks_seg import check_seg
from dicom_io.results.checks_sr import check_sr
from dicom_io.results.dciodvfy import iod_errors
from dicom_io.results.objects import ResultObjects
from dicom_io.results.source import SourceImages


class Check(StrEnum):
    """What was looked at."""

    IDENTITY = "patient and study are the source's"
    UIDS = "UIDs are well formed"
    SEGMENTATION = "the SEG holds the masks on the source's geometry"
    MEASUREMENTS = "the SR's references, end points and identities hold"
    IOD = "dciodvfy finds no error"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong with one object, for a person to read."""

    check: Check
    sop_instance_uid: str
    message: str


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What the gate found.

    `skipped` says which check was not made, what could not be written, and what the source has wrong itself.
    """

    findings: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether every object may leave."""
        return not self.findings

    def failing(self) -> frozenset[str]:
        """SOP Instance UIDs of the objects that must stay."""
        return frozenset(finding.sop_instance_uid for finding in self.findings)

    def __str__(self) -> str:
        """One line per finding."""
        return (
            "\n".join(
                f"{f.sop_instance_uid}: not so that {f.check.value}: {f.message}" for f in self.findings
            )
            or "valid"
        )


def validate(results: ResultObjects) -> ValidationReport:
    """Check result objects against the images and the report that they were made from.

    Each object is held against its own study and volume. The SEGs are decoded and compared with the masks
    voxel by voxel; every reference, end point and tracking UID of the SRs is followed; in the OHIF form,
    that viewer's conditions are checked. dciodvfy (dicom3tools) runs on every object if it is installed.
    """
    visit = results.visit
    findings: list[Finding] = []
    skipped: list[str] = [*results.remarks]

    def note(check: Check, result: Dataset, messages: list[str]) -> None:
        uid = str(result.SOPInstanceUID)
        findings.extend(Finding(check=check, sop_instance_uid=uid, message=m) for m in messages)

    for result, images in _with_images(results):
        note(Check.IDENTITY, result, check_identity(result, images.header))
        note(Check.UIDS, result, check_uids(result))
        errors, remarks = iod_errors(result, images.source.slices[0].path)
        note(Check.IOD, result, errors)
        skipped.extend(remark for remark in remarks if remark not in skipped)
    segs = {
        volume.key: seg for volume, seg in zip(visit.volumes, results.segs, strict=True) if seg is not None
    }
    for volume in visit.volumes:
        if volume.key in segs:
            note(Check.SEGMENTATION, segs[volume.key], check_seg(segs[volume.key], volume))
    for study, sr in zip(visit.studies, results.srs, strict=True):
        note(Check.MEASUREMENTS, sr, check_sr(sr, visit, study, segs, results.settings))
    return ValidationReport(findings=tuple(findings), skipped=tuple(skipped))


def _with_images(results: ResultObjects) -> Iterator[tuple[Dataset, SourceImages]]:
    """Every object with the images that its patient and study come from."""
    studies = results.visit.studies
    for volume, seg in zip(results.visit.volumes, results.segs, strict=True):
        if seg is not None:
            yield seg, volume.images
    for study, sr in zip(studies, results.srs, strict=True):
        yield sr, study.images
    if results.pdf is not None:
        yield results.pdf, studies[0].images
    for further in (results.key_images, results.presentation_states):
        for study, those in zip(studies, further, strict=bool(further)):
            for one in those:
                yield one, study.images
