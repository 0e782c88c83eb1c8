"""Key images as Secondary Captures (PS3.3 A.8.1): a fallback for PACS that show neither SEG nor SR.

Contour, axes and label are burnt in and nothing can be measured on them, so they come besides the SEG
and SR and never instead of them (IHE AIR).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from dicom_io import uids
from dicom_io.results import equipment
from dicom_io.results.common import Kind, finish, institution, series_description, series_number
from dicom_io.results.key_images import KeyImage, direction_letter
from dicom_io.results.settings import ResultSettings
from dicom_io.results.source import SourceImages, moment_of
from dicom_io.results.text import short
from dicom_io.results.visit import Visit, VisitStudy, VisitVolume, role_of


def build_secondary_captures(
    visit: Visit, study: VisitStudy, key_images: Mapping[str, KeyImage], settings: ResultSettings
) -> tuple[Dataset, ...]:
    """One RGB instance per key image of a study's lesions, all in one series, in the report's order."""
    from highdicom.sc import SCImage

    report = visit.report
    moment = moment_of(report, study.images.header)
    series_instance_uid = uids.sop_instance_uid(report, role_of("key images", study.number))
    made: list[Dataset] = []
    for lesion in report.lesions:
        image, measured = key_images.get(lesion.tracking_uid), visit.volume_of(lesion)
        if image is None or lesion.is_rejected or measured not in study.volumes:
            continue
        images = measured.images
        capture = SCImage.from_ref_dataset(
            images.header,
            pixel_array=image.pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=_orientation(images),
            pixel_spacing=(image.field_mm / image.pixels.shape[0],) * 2,
            series_instance_uid=series_instance_uid,
            series_number=series_number(Kind.KEY_IMAGES, report, settings),
            sop_instance_uid=uids.sop_instance_uid(report, f"key image {image.tracking_uid}"),
            instance_number=len(made) + 1,
            manufacturer=settings.manufacturer,
            manufacturer_model_name=settings.manufacturer_model_name,
            software_versions=settings.software_version,
            device_serial_number=settings.device_serial_number,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description=series_description(settings.key_images_description, report),
            content_date=moment.date(),
            content_time=moment.time(),
            contributing_equipment=equipment.contributing_equipment(
                equipment.models_of_lesions([lesion]), settings, moment
            ),
            **institution(images.header),
        )
        capture.BurnedInAnnotation = "YES"
        capture.ImageComments = short(f"{image.label}, {report.time_point_id}", 10240)
        capture.DerivationDescription = "Key image with contour and axes; not for measurement"
        capture.ImageType = ["DERIVED", "SECONDARY"]
        capture.Laterality = ""  # Type 2C
        capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = DA(moment.date()), TM(moment.time())
        capture.SourceImageSequence = _images_behind(measured, image)
        capture.ReferencedImageSequence = _images_behind(measured, image)
        finish(capture, report, images, moment)
        capture.pop("BodyPartExamined", None)  # decides whether Laterality may be there at all
        made.append(capture)
    return tuple(made)


def _images_behind(measured: VisitVolume, image: KeyImage) -> list[Dataset]:
    """The image that is shown, or for a slice that was filled in the two that it comes from."""
    index, slices = image.slice_index, measured.images.source.slices
    shown = [index] if measured.images.is_in_image(index) else [index - 1, index + 1]
    found = []
    for one in (slices[i] for i in shown):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
        if one.frame_number is not None:
            item.ReferencedFrameNumber = one.frame_number
        found.append(item)
    return found


def _orientation(images: SourceImages) -> tuple[str, str]:
    """Patient Orientation (0020,0020): where rows and columns run to."""
    directions = images.volume.directions
    return direction_letter(directions[:, 2]), direction_letter(directions[:, 1])
