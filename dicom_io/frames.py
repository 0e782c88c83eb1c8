"""Image planes: where each one lies, how its numbers become values, what tells it from its neighbours.

A classic instance is one plane; an enhanced one holds many, described by functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_io.headers import InstanceHeader, header_of
from dicom_io.parsing import Attributes, parse, quiet, reading
from dicom_io.suv import PetAttributes, pet_attributes
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Point
from workflow.domain.series_choice import contrast_phase

MEASURED_MODALITIES = ("CT", "MR", "PT")

Orientation = tuple[float, float, float, float, float, float]

# RescaleType (PS3.3 C.11.1.1.2) of CT images whose values are attenuation: absent is HU (C.8.2.1), US is
# "unspecified"; the others are what writers of other tongues mean by HU.
_HU_TYPES = {"", "HU", "US", "UNSPECIFIED", "HOUNSFIELD", "HOUNSFIELDUNIT", "HOUNSFIELDUNITS", "[HNSF'U]"}
# JPEG baseline and extended, JPEG-LS near-lossless: lossy whatever the header says.
_LOSSY = {f"1.2.840.10008.1.2.4.{end}" for end in ("50", "51", "81")}
_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)
# UCUM codes of PET values (PS3.16 CID 84, 85) and the words of the classic attribute Units.
_PET_UNITS = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML", "g/ml{SUVbw}": "GML", "{counts}": "CNTS"}
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """How one instance's pixels are stored; `offset` is the pixel data element's place in the file."""

    rows: int
    columns: int
    frames: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric_interpretation: str
    transfer_syntax_uid: str
    padding: tuple[int, int] | None
    is_lossy: bool
    offset: int
    file_size: int


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image plane.

    Attributes
    ----------
    number
        Frame number from 1 in a multi-frame instance; None in a classic one.
    position_lps
        Centre of the first pixel, LPS mm; None if the image says nothing.
    orientation
        Direction along a row (x, y, z), then down a column, as ImageOrientationPatient.
    pixel_spacing_mm
        Between rows, then between columns, as PixelSpacing.
    kinds
        ImageType from value 3 on, SeriesType, ComplexImageComponent: what names the kind of image.
    slope, intercept
        From stored numbers to HU, Bq/ml or the maker's units.
    value_doubt
        Why a CT's values may be no HU although they can be read, else None.
    unusable
        Why the values are not what the modality promises, else None.
    marks
        What can tell planes at one position apart, by name, in the order in which it is tried.
    """

    header: InstanceHeader
    pixels: PixelFormat
    index: int
    number: int | None
    position_lps: Point | None
    orientation: Orientation | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    image_type: tuple[str, ...]
    kinds: tuple[str, ...]
    slope: float
    intercept: float
    has_rescale: bool
    value_doubt: str | None
    unusable: str | None
    acquired_at: datetime | None
    kernel: str
    phase: str
    marks: tuple[tuple[str, str], ...]
    pet: PetAttributes | None

    @property
    def is_localizer(self) -> bool:
        """Whether the image says that it is a scout (PS3.3 C.8.2.1.1.1)."""
        return "LOCALIZER" in self.image_type

    @property
    def is_derived(self) -> bool:
        """Whether its pixels come from other images (PS3.3 C.7.6.1.1.2)."""
        return "DERIVED" in self.image_type[:1]

    @property
    def label(self) -> str:
        """How messages call it: the file, and the frame if there are several."""
        name = self.header.path.name
        return name if self.number is None else f"{name} frame {self.number}"


def read_frames(path: Path) -> tuple[InstanceHeader, tuple[Frame, ...]]:
    """Read an instance's identity and its planes, without pixels; no planes if it is no CT, MR or PET image.

    Raises
    ------
    UnsuitableInputError
        If the file is no DICOM file or damaged, or an attribute that places or scales the planes is
        malformed.
    """
    with quiet(), reading(path):
        dataset, offset = parse(path)
        header = header_of(dataset, path)
        if header.modality not in MEASURED_MODALITIES or not header.has_pixels:
            return header, ()
        image = Attributes(dataset, str(path))
        pixels = _pixel_format(image, header, offset)
        per_frame = image.items("PerFrameFunctionalGroupsSequence")
        if not per_frame:
            groups = (_Groups(image, None, None),)
            return header, _planes(header, pixels, groups, is_multi_frame=pixels.frames > 1)
        if len(per_frame) != pixels.frames:
            raise UnsuitableInputError(
                f"{path}: NumberOfFrames says {pixels.frames}, the functional groups describe "
                f"{len(per_frame)}; have it sent again"
            )
        shared = image.item("SharedFunctionalGroupsSequence")
        return header, _planes(
            header, pixels, tuple(_Groups(image, shared, item) for item in per_frame), is_multi_frame=True
        )


@dataclass(frozen=True)
class _Groups:
    """Where a plane's attributes are: its own functional groups, the shared ones, or the dataset itself."""

    image: Attributes
    shared: Attributes | None
    own: Attributes | None

    def group(self, keyword: str) -> Attributes:
        for place in (self.own, self.shared):
            found = place.item(keyword) if place is not None else None
            if found is not None:
                return found
        return self.image


def _planes(
    header: InstanceHeader, pixels: PixelFormat, groups: tuple[_Groups, ...], *, is_multi_frame: bool
) -> tuple[Frame, ...]:
    if len(groups) == 1 and pixels.frames > 1:
        # A multi-frame object without functional groups (ultrasound, old secondary capture) has no positions.
        raise UnsuitableInputError(
            f"{header.path}: {pixels.frames} frames without a position each; only enhanced multi-frame "
            "images can be measured on"
        )
    return tuple(
        _plane(header, pixels, places, index, index + 1 if is_multi_frame else None)
        for index, places in enumerate(groups)
    )


def _plane(
    header: InstanceHeader, pixels: PixelFormat, places: _Groups, index: int, number: int | None
) -> Frame:
    measures = places.group("PixelMeasuresSequence")
    rescale = places.group("PixelValueTransformationSequence")
    reconstruction = places.group("CTReconstructionSequence")
    slope, intercept = rescale.number("RescaleSlope"), rescale.number("RescaleIntercept")
    units = places.image.text("Units") or rescale.text("RescaleType")
    if header.modality == "PT" and places.own is not None and units not in _PET_UNITS.values():
        slope, intercept, units = _mapped(places, slope, intercept)
    acquired_at = _acquired_at(places)
    image_type = _image_type(places)
    return Frame(
        header=header,
        pixels=pixels,
        index=index,
        number=number,
        position_lps=_three(places.group("PlanePositionSequence").numbers("ImagePositionPatient", 3)),
        orientation=_six(places.group("PlaneOrientationSequence").numbers("ImageOrientationPatient", 6)),
        pixel_spacing_mm=_two(measures.numbers("PixelSpacing", 2)),
        slice_thickness_mm=measures.number("SliceThickness") or None,
        image_type=image_type,
        kinds=_kinds(header, places, image_type),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        has_rescale=slope is not None,
        value_doubt=_value_doubt(header, places, rescale, image_type),
        unusable=_unusable(header, pixels, places, rescale, slope),
        acquired_at=acquired_at,
        kernel=reconstruction.text("ConvolutionKernel"),
        phase=_phase(header, places),
        marks=_marks(places, image_type, acquired_at),
        pet=pet_attributes(places.image, acquired_at, units) if header.modality == "PT" else None,
    )


def _mapped(
    places: _Groups, slope: float | None, intercept: float | None
) -> tuple[float | None, float | None, str]:
    """Slope, intercept and units of an enhanced PET frame from its real world values (PS3.3 C.7.6.16.2.11).

    Maps of other units than activity or SUV by body weight leave the rescaling as it is, without units.
    """
    for place in (places.own, places.shared):
        for mapping in place.items("RealWorldValueMappingSequence") if place is not None else ():
            code = mapping.item("MeasurementUnitsCodeSequence")
            units = _PET_UNITS.get(code.text("CodeValue")) if code is not None else None
            mapped = mapping.number("RealWorldValueSlope")
            if units and mapped is not None:
                return mapped, mapping.number("RealWorldValueIntercept"), units
    return slope, intercept, ""


def _pixel_format(image: Attributes, header: InstanceHeader, offset: int) -> PixelFormat:
    needed = {keyword: image.integer(keyword) for keyword in ("Rows", "Columns", "BitsAllocated")}
    for keyword, value in needed.items():
        if value is None or value <= 0:
            raise UnsuitableInputError(f"{image.where}: {keyword} is missing or 0; have it sent again")
    bits = needed["BitsAllocated"] or 0
    stored = image.integer("BitsStored") or bits
    high_bit = image.integer("HighBit")
    is_signed = image.integer("PixelRepresentation") == 1
    frames = image.integer("NumberOfFrames")
    if frames is not None and frames < 1:
        raise UnsuitableInputError(f"{image.where}: NumberOfFrames is {frames}; have it sent again")
    return PixelFormat(
        rows=needed["Rows"] or 0,
        columns=needed["Columns"] or 0,
        frames=1 if frames is None else frames,
        samples_per_pixel=image.integer("SamplesPerPixel") or 1,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        is_signed=is_signed,
        photometric_interpretation=image.text("PhotometricInterpretation"),
        transfer_syntax_uid=header.transfer_syntax_uid,
        padding=_padding(image, bits, is_signed=is_signed),
        is_lossy=image.text("LossyImageCompression") == "01" or header.transfer_syntax_uid in _LOSSY,
        offset=offset,
        file_size=header.path.stat().st_size,
    )


def _padding(image: Attributes, bits: int, *, is_signed: bool) -> tuple[int, int] | None:
    """PixelPaddingValue to PixelPaddingRangeLimit as stored numbers, whatever sign their VR gave them."""
    ends = [
        _as_stored(image, keyword, bits, is_signed)
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ]
    known = [end for end in ends if end is not None]
    return (min(known), max(known)) if ends[0] is not None else None


def _as_stored(image: Attributes, keyword: str, bits: int, is_signed: bool) -> int | None:
    raw = image.raw(keyword)
    if isinstance(raw, bytes):  # "US or SS" of an implicit VR file, always little endian
        if len(raw) != 2:
            return None
        value = int(struct.unpack("<H", raw)[0])
    else:
        number = image.integer(keyword)
        if number is None:
            return None
        value = number
    value &= (1 << bits) - 1
    return value - (1 << bits) if is_signed and value >> (bits - 1) else value


def _unusable(
    header: InstanceHeader, pixels: PixelFormat, places: _Groups, rescale: Attributes, slope: float | None
) -> str | None:
    if pixels.samples_per_pixel != 1 or not pixels.photometric_interpretation.startswith("MONOCHROME"):
        colour = pixels.photometric_interpretation or f"{pixels.samples_per_pixel} samples per pixel"
        return f"colour images ({colour}) hold no measurable values"
    if slope == 0:
        return "RescaleSlope is 0"
    if places.image.has("ModalityLUTSequence"):
        return "values go through a modality lookup table, which is not supported"
    if header.modality != "CT":
        return None
    if not _is_hu_type(rescale):
        return f"RescaleType is {rescale.text('RescaleType')}, not HU: the values are no attenuation"
    units = [
        mapping.item("MeasurementUnitsCodeSequence")
        for place in (places.own, places.shared, places.image)
        for mapping in (place.items("RealWorldValueMappingSequence") if place is not None else ())
    ]
    codes = [unit.text("CodeValue") for unit in units if unit is not None]
    if codes and not any(_plain(code) in _HU_TYPES for code in codes):
        return f"values are {codes[0]}, not HU (RealWorldValueMappingSequence)"
    return None


def _plain(text: str) -> str:
    return text.upper().replace(" ", "")


def _is_hu_type(rescale: Attributes) -> bool:
    return all(_plain(value) in _HU_TYPES for value in rescale.values("RescaleType"))


def _value_doubt(
    header: InstanceHeader, places: _Groups, rescale: Attributes, image_type: tuple[str, ...]
) -> str | None:
    if header.modality != "CT":
        return None
    if rescale.number("RescaleSlope") is None:
        return "no RescaleSlope: stored numbers are taken as HU"
    types = [_plain(value) for value in rescale.values("RescaleType")]
    if any(value in ("US", "UNSPECIFIED") for value in types) and "DERIVED" in image_type[:1]:
        return "RescaleType is unspecified, and the images are derived: the values may be no HU"
    # PS3.3 C.8.2.1: with several energies RescaleType is required, as not every image of it is HU.
    if places.image.text("MultienergyCTAcquisition").upper() == "YES" and not any(types):
        return "a multi-energy CT without RescaleType: the values may be no HU"
    return None


def _kinds(header: InstanceHeader, places: _Groups, image_type: tuple[str, ...]) -> tuple[str, ...]:
    image = places.image
    found = [*image_type[2:]]
    if header.modality == "PT":
        found += image.values("SeriesType")
    if header.modality == "MR":
        found += places.group("MRImageFrameTypeSequence").values("ComplexImageComponent")
        # GE tells magnitude from phase by a number only.
        number = image.private_number(0x0043, "GEMS_PARM_01", 0x2F)
        found.append({1.0: "PHASE", 2.0: "REAL", 3.0: "IMAGINARY"}.get(number or 0.0, ""))
    return tuple(value.upper() for value in found if value)


def _image_type(places: _Groups) -> tuple[str, ...]:
    for keyword in _FRAME_TYPES:
        group = places.group(keyword)
        if group is not places.image:
            return tuple(value.upper() for value in group.values("FrameType"))
    return tuple(value.upper() for value in places.image.values("ImageType"))


def _acquired_at(places: _Groups) -> datetime | None:
    content, zone = places.group("FrameContentSequence"), places.image.offset("TimezoneOffsetFromUTC")
    return (
        content.datetime("FrameAcquisitionDateTime", zone)
        or places.image.datetime("AcquisitionDateTime", zone)
        or places.image.moment("AcquisitionDate", "AcquisitionTime")
    )


def _phase(header: InstanceHeader, places: _Groups) -> str:
    image = places.image
    agent = bool(image.text("ContrastBolusAgent")) or bool(image.items("ContrastBolusAgentSequence"))
    words = " ".join((header.series_description, header.protocol_name))
    return contrast_phase(words, agent)


def _marks(
    places: _Groups, image_type: tuple[str, ...], acquired_at: datetime | None
) -> tuple[tuple[str, str], ...]:
    image, content = places.image, places.group("FrameContentSequence")
    cardiac = places.group("CardiacSynchronizationSequence")
    respiratory = places.group("RespiratorySynchronizationSequence")
    diffusion = places.group("MRDiffusionSequence")
    marks = (
        ("stack", content.remark("StackID")),
        ("kernel", places.group("CTReconstructionSequence").remark("ConvolutionKernel")),
        (
            "temporal position",
            content.remark("TemporalPositionIndex") or image.remark("TemporalPositionIdentifier"),
        ),
        ("acquisition", content.remark("FrameAcquisitionNumber") or image.remark("AcquisitionNumber")),
        ("b-value", diffusion.remark("DiffusionBValue") or _private_b_value(image)),
        ("echo", places.group("MREchoSequence").remark("EffectiveEchoTime") or image.remark("EchoTime")),
        ("inversion time", image.remark("InversionTime")),
        ("flip angle", image.remark("FlipAngle")),
        ("kVp", image.remark("KVP")),
        ("cardiac phase", cardiac.remark("NominalPercentageOfCardiacPhase") or image.remark("TriggerTime")),
        ("respiratory phase", respiratory.remark("NominalPercentageOfRespiratoryPhase")),
        ("image type", "\\".join(image_type)),
        (
            "complex component",
            places.group("MRImageFrameTypeSequence").remark("ComplexImageComponent"),
        ),
        ("rescale type", places.group("PixelValueTransformationSequence").remark("RescaleType")),
        ("contrast agent", image.remark("ContrastBolusAgent")),
        ("diffusion direction", image.remark("DiffusionGradientOrientation")),
        ("description", image.remark("SeriesDescription")),
        ("acquisition time", acquired_at.isoformat() if acquired_at else ""),
        ("content time", image.remark("ContentTime")),
    )
    return tuple((name, value) for name, value in marks if value)


def _private_b_value(image: Attributes) -> str:
    """The b-value where Siemens, GE and Philips put it before the standard had an attribute."""
    if image.remark("Modality") != "MR":
        return ""
    for group, creator, element in _PRIVATE_B_VALUES:
        number = image.private_number(group, creator, element)
        if number is not None and number >= 0:
            return f"{number % 1e9:g}"  # GE adds 1e9
    return ""


def _two(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


def _three(values: tuple[float, ...] | None) -> Point | None:
    return None if values is None else (values[0], values[1], values[2])


def _six(values: tuple[float, ...] | None) -> Orientation | None:
    return None if values is None else (values[0], values[1], values[2], values[3], values[4], values[5])
