"""A time point's report as a TID 1500 Imaging Measurement Report (PS3.16), one per study of its visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_io import codes, uids
from dicom_io.results import equipment
from dicom_io.results.common import Kind, series_description, series_number
from dicom_io.results.document import Place
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import InstanceReference, moment_of
from dicom_io.results.sr_conclusions import derived_measurements, qualitative_evaluations
from dicom_io.results.sr_document import assemble, reference_to
from dicom_io.results.sr_items import code_item, container, extend, image_item, num_item, text_item, uid_item
from dicom_io.results.sr_lesions import is_drawn_in_space, lesion_groups, measured_slices
from dicom_io.results.visit import Visit, VisitStudy, VisitVolume, role_of
from workflow.domain.report import PredecessorReport, ReviewStatus, TimePointReport
from workflow.domain.series import StackKey


def build_sr(
    visit: Visit,
    study: VisitStudy,
    segs: Mapping[StackKey, Dataset],
    settings: ResultSettings,
    prior: Sequence[InstanceReference] = (),
) -> Dataset:
    """Write what is said of the visit as the SR of one of its studies.

    Its measurement groups are the lesions measured in that study; sums, response and the other studies'
    lesions are among its conclusions. Measurements on images are SCOORD in a Comprehensive SR; those on a
    slice that was filled in between two images are SCOORD3D in a Comprehensive 3D SR.

    Parameters
    ----------
    segs
        The visit's SEGs by volume; the lesions' volumes refer to their segments.
    prior
        Earlier time points' reports, SEGs and measured images, which sums and nadir come from.
    """
    report, images = visit.report, study.images
    moment = moment_of(report, images.header)
    groups = [
        group
        for volume in study.volumes
        for group in lesion_groups(report, volume, segs.get(volume.key), settings)
    ]
    others = [(other, report_of(visit, other)) for other in visit.studies if other is not study]
    root = container(codes.IMAGING_MEASUREMENT_REPORT, template="1500")
    children: list[Any] = [
        code_item(codes.LANGUAGE, codes.ENGLISH, "HAS CONCEPT MOD"),
        *observers(report, settings),
        *procedures(images.header, images.source.series.modality),
    ]
    library = [group for volume in study.volumes for group in _image_library_groups(volume)]
    if library:
        children.append(extend(container(codes.IMAGE_LIBRARY, "CONTAINS"), library))
    if groups:
        children.append(extend(container(codes.IMAGING_MEASUREMENTS, "CONTAINS"), groups))
    children += [derived_measurements(report), qualitative_evaluations(visit, study, others)]
    extend(root, children)

    evidence = [
        *(image for volume in study.volumes for image in volume.images.references()),
        *(reference_to(seg) for seg in segs.values()),
        *(reference for _, reference in others),
        *prior,
    ]
    own = report_of(visit, study)
    place = Place(
        sop_class_uid=UID(own.sop_class_uid),
        sop_instance_uid=UID(own.sop_instance_uid),
        modality="SR",
        series_number=series_number(Kind.SR, report, settings),
        series_description=series_description(settings.sr_description, report),
    )
    return assemble(
        root,
        report,
        images,
        evidence,
        settings,
        place=place,
        moment=moment,
        predecessors=_predecessors(visit, study),
    )


def report_of(visit: Visit, study: VisitStudy) -> InstanceReference:
    """The SR of a study of the visit, written or about to be: the visit's SRs name each other."""
    is_3d = any(is_drawn_in_space(volume) for volume in study.volumes)
    uid = uids.sop_instance_uid(visit.report, role_of("sr", study.number))
    return InstanceReference(
        study.study_instance_uid,
        uids.series_instance_uid_of(uid),
        Comprehensive3DSRStorage if is_3d else ComprehensiveSRStorage,
        uid,
    )


def _predecessors(visit: Visit, study: VisitStudy) -> list[PredecessorReport]:
    """The earlier SRs of this study; of a study that the visit no longer has, the first one's SR tells."""
    studies = {one.study_instance_uid for one in visit.studies}
    return [
        earlier
        for earlier in visit.report.predecessors
        if earlier.study_instance_uid == study.study_instance_uid
        or (study.number == 1 and earlier.study_instance_uid not in studies)
    ]


# ---------------------------------------------------------------- content


def observers(report: TimePointReport, settings: ResultSettings) -> list[Dataset]:
    """TID 1001: the application as device, and the reader once the report is signed."""
    device = equipment.application(settings)
    items = [
        code_item(codes.OBSERVER_TYPE, codes.DEVICE, "HAS OBS CONTEXT"),
        uid_item(codes.DEVICE_OBSERVER_UID, uids.device_uid(device), "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_NAME, device.name, "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_MANUFACTURER, settings.manufacturer, "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_MODEL_NAME, device.name, "HAS OBS CONTEXT"),
        text_item(codes.DEVICE_OBSERVER_SERIAL_NUMBER, settings.device_serial_number, "HAS OBS CONTEXT"),
    ]
    if report.status is ReviewStatus.SIGNED and report.signed_by:
        from highdicom.sr import PnameContentItem

        items += [
            code_item(codes.OBSERVER_TYPE, codes.PERSON, "HAS OBS CONTEXT"),
            PnameContentItem(codes.PERSON_OBSERVER_NAME, report.signed_by, "HAS OBS CONTEXT"),
        ]
    return items


def procedures(header: Dataset, modality: str) -> list[Dataset]:
    """The imaging procedure (not its analysis: IHE AIR), as the study codes it, else by modality."""
    from highdicom.sr import CodedConcept

    coded = [
        c for c in header.get("ProcedureCodeSequence", []) if c.get("CodeValue") and c.get("CodeMeaning")
    ]
    if coded:
        return [
            code_item(codes.PROCEDURE_REPORTED, CodedConcept.from_dataset(c), "HAS CONCEPT MOD")
            for c in coded
        ]
    procedure = codes.PROCEDURES.get(modality, codes.IMAGING_PROCEDURE)
    return [code_item(codes.PROCEDURE_REPORTED, procedure, "HAS CONCEPT MOD")]


def _image_library_groups(measured: VisitVolume) -> list[Any]:
    """TID 1600 with a volume's measured slices only; nothing if nothing is measured on an image."""
    images = measured.images
    indices = measured_slices(measured)
    if not indices:
        return []
    series = images.source.series
    entries = []
    for index in indices:
        plane = images.plane(index)
        row_mm, column_mm = (float((step**2).sum() ** 0.5) for step in (plane.row_step, plane.column_step))
        entry = image_item(codes.SOURCE, images.source.slices[index], "CONTAINS")
        descriptors = [
            num_item(codes.PIXEL_DATA_ROWS, plane.rows, codes.PIXELS, "HAS ACQ CONTEXT"),
            num_item(codes.PIXEL_DATA_COLUMNS, plane.columns, codes.PIXELS, "HAS ACQ CONTEXT"),
            num_item(codes.HORIZONTAL_PIXEL_SPACING, column_mm, codes.MILLIMETRE, "HAS ACQ CONTEXT"),
            num_item(codes.VERTICAL_PIXEL_SPACING, row_mm, codes.MILLIMETRE, "HAS ACQ CONTEXT"),
        ]
        entries.append(extend(entry, descriptors))
    shared = []
    if series.modality in codes.MODALITIES:
        shared.append(code_item(codes.MODALITY, codes.MODALITIES[series.modality], "HAS ACQ CONTEXT"))
    if series.frame_of_reference_uid:
        shared.append(
            uid_item(codes.FRAME_OF_REFERENCE_UID, series.frame_of_reference_uid, "HAS ACQ CONTEXT")
        )
    return [extend(container(codes.IMAGE_LIBRARY_GROUP, "CONTAINS"), [*shared, *entries])]
