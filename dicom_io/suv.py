"""Standardized uptake values of PET images, normalised by body weight.

Follows the vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance's FDG-PET profile
(QIBA, "SUV calculation", appendix G), which says what the makers' headers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from math import exp, log

from dicom_io.parsing import Attributes
from workflow.domain.errors import UnsuitableInputError

_GE_PET_CREATOR = "GEMS_PETD_01"
_PHILIPS_PET_CREATOR = "Philips PET Private Group"
_NEXT_STEP = "have it completed at the modality, or measure on CT or MR"


@dataclass(frozen=True, kw_only=True)
class PetAttributes:
    """What the SUV depends on, of one PET image; times without their offset from UTC."""

    units: str
    suv_type: str
    decay_correction: str
    is_attenuation_corrected: bool
    patient_weight_kg: float | None
    dose_bq: float | None
    half_life_s: float | None
    injected_at: datetime | None
    is_injection_day_known: bool
    series_at: datetime | None
    acquired_at: datetime | None
    decay_corrected_to: datetime | None
    ge_scan_at: datetime | None
    frame_reference_s: float | None
    frame_duration_s: float | None
    philips_suv_scale: float | None
    philips_activity_scale: float | None


def pet_attributes(image: Attributes, acquired_at: datetime | None, units: str) -> PetAttributes:
    """Read them from a PET image's dataset; `units` (BQML, GML, CNTS) is that of the rescaled values."""
    tracer = image.item("RadiopharmaceuticalInformationSequence")
    injected_at = tracer.datetime("RadiopharmaceuticalStartDateTime") if tracer else None
    is_day_known = injected_at is not None
    series_at = image.moment("SeriesDate", "SeriesTime")
    scan_day = acquired_at or series_at
    if tracer and injected_at is None and scan_day is not None:
        injected_at = _on_day(tracer, scan_day)
    corrections = image.values("CorrectedImage")
    # Enhanced PET says YES in an attribute of its own (PS3.3 C.8.22.4).
    is_decay_corrected = "DECY" in corrections or image.text("DecayCorrected") == "YES"
    frame_ms = image.number("FrameReferenceTime")
    duration_ms = image.number("ActualFrameDuration")
    return PetAttributes(
        units=units,
        suv_type=image.text("SUVType") or "BW",
        decay_correction=image.text("DecayCorrection") or ("START" if is_decay_corrected else "NONE"),
        is_attenuation_corrected="ATTN" in corrections or image.text("AttenuationCorrected") == "YES",
        patient_weight_kg=image.number("PatientWeight"),
        dose_bq=tracer.number("RadionuclideTotalDose") if tracer else None,
        half_life_s=tracer.number("RadionuclideHalfLife") if tracer else None,
        injected_at=injected_at,
        is_injection_day_known=is_day_known,
        series_at=series_at,
        acquired_at=acquired_at,
        decay_corrected_to=image.datetime("DecayCorrectionDateTime"),
        ge_scan_at=_private_moment(image, 0x0009, _GE_PET_CREATOR, 0x0D),
        frame_reference_s=None if frame_ms is None else frame_ms / 1000.0,
        frame_duration_s=None if duration_ms is None else duration_ms / 1000.0,
        philips_suv_scale=_private_number(image, 0x7053, _PHILIPS_PET_CREATOR, 0x00),
        philips_activity_scale=_private_number(image, 0x7053, _PHILIPS_PET_CREATOR, 0x09),
    )


def suv_factors(images: Sequence[PetAttributes]) -> tuple[list[float], tuple[str, ...]]:
    """What to multiply each image's rescaled values with to get SUV by body weight (g/ml).

    Parameters
    ----------
    images
        All images of the series, as the time of its earliest acquisition tells which clock to trust.

    Returns
    -------
    tuple
        One factor per image, and notes on what was assumed.

    Raises
    ------
    UnsuitableInputError
        If the header does not hold what the SUV needs; the message says what is missing.
    """
    times = [image.acquired_at for image in images if image.acquired_at is not None]
    earliest = min(times) if times else None
    notes: dict[str, None] = {}
    factors = [_factor(image, earliest, notes) for image in images]
    return factors, tuple(notes)


def _factor(image: PetAttributes, earliest: datetime | None, notes: dict[str, None]) -> float:
    if not image.is_attenuation_corrected:
        notes["PET: not said to be corrected for attenuation"] = None
    if image.units == "GML":
        if image.suv_type != "BW":
            raise UnsuitableInputError(
                f"PET: SUVs are normalised by {image.suv_type}, not body weight; {_NEXT_STEP}"
            )
        return 1.0
    if image.units == "CNTS" and image.philips_suv_scale:
        return image.philips_suv_scale
    if image.units == "CNTS" and image.philips_activity_scale:
        return image.philips_activity_scale * _from_activity(image, earliest, notes)
    if image.units != "BQML":
        raise UnsuitableInputError(
            f"PET: no SUV can be computed from Units {image.units or '(none)'}; {_NEXT_STEP}"
        )
    return _from_activity(image, earliest, notes)


def _from_activity(image: PetAttributes, earliest: datetime | None, notes: dict[str, None]) -> float:
    needed = {
        "PatientWeight": image.patient_weight_kg,
        "RadionuclideTotalDose": image.dose_bq,
        "RadionuclideHalfLife": image.half_life_s,
    }
    for keyword, value in needed.items():
        if value is None or value <= 0:
            raise UnsuitableInputError(f"PET: no SUV without {keyword}; {_NEXT_STEP}")
    weight_kg, dose_bq, half_life_s = (value for value in needed.values() if value is not None)
    decay_s = _decay_time_s(image, half_life_s, earliest, notes)
    decayed_dose_bq: float = dose_bq * 2.0 ** (-decay_s / half_life_s)
    return weight_kg * 1000.0 / decayed_dose_bq


def _decay_time_s(
    image: PetAttributes, half_life_s: float, earliest: datetime | None, notes: dict[str, None]
) -> float:
    """Seconds from the injection to the moment that the images are corrected to."""
    if image.decay_correction == "ADMIN":
        return 0.0
    if image.decay_correction != "START":
        raise UnsuitableInputError(
            f"PET: DecayCorrection is {image.decay_correction or 'missing'}; {_NEXT_STEP}"
        )
    scan_at = _scan_start(image, half_life_s, earliest, notes)
    if image.injected_at is None or scan_at is None:
        raise UnsuitableInputError(f"PET: no SUV without the times of injection and scan; {_NEXT_STEP}")
    decay = scan_at - image.injected_at
    if decay < timedelta() and not image.is_injection_day_known:
        decay += timedelta(days=1)
        notes["PET: injected on the day before the scan, as its time is later"] = None
    if not timedelta() <= decay <= timedelta(days=1):
        raise UnsuitableInputError(f"PET: {decay} between injection and scan can't be right; {_NEXT_STEP}")
    return decay.total_seconds()


def _scan_start(
    image: PetAttributes, half_life_s: float, earliest: datetime | None, notes: dict[str, None]
) -> datetime | None:
    if image.decay_corrected_to is not None:
        return image.decay_corrected_to
    if earliest is None or (image.series_at is not None and image.series_at <= earliest):
        return image.series_at
    # The series time is later than an acquisition: a post-processed series has the time of its making.
    if image.ge_scan_at is not None:
        return image.ge_scan_at
    if image.acquired_at and image.frame_reference_s and image.frame_duration_s:
        decay = log(2.0) / half_life_s
        during = decay * image.frame_duration_s
        average_s = log(during / (1.0 - exp(-during))) / decay
        return image.acquired_at + timedelta(seconds=average_s - image.frame_reference_s)
    notes["PET: decay corrected to the earliest acquisition, as the series time is later"] = None
    return earliest


def _on_day(tracer: Attributes, day: datetime) -> datetime | None:
    after_midnight = tracer.time_of_day("RadiopharmaceuticalStartTime")
    return None if after_midnight is None else datetime.combine(day, time.min) + after_midnight


def _private(image: Attributes, group: int, creator: str, element: int) -> str:
    for block in range(0x10, 0x20):
        named = image.dataset.get((group, block))
        if named is not None and str(named.value).strip() == creator:
            found = image.dataset.get((group, (block << 8) + element))
            value = None if found is None else found.value
            return (
                value.decode("ascii", "ignore").strip("\0 ") if isinstance(value, bytes) else str(value or "")
            )
    return ""


def _private_number(image: Attributes, group: int, creator: str, element: int) -> float | None:
    try:
        return float(_private(image, group, creator, element)) or None
    except ValueError:
        return None


def _private_moment(image: Attributes, group: int, creator: str, element: int) -> datetime | None:
    value = _private(image, group, creator, element)
    try:
        return datetime.strptime(value[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None
