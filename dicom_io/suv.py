"""Standardized uptake values of PET images, normalised by body weight, or the reason why there are none.

Follows the vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance's FDG-PET profile
(QIBA, "SUV calculation", appendix G), which says what the makers' headers mean. Each number that goes in has
limits; a slip of units is put right where only one reading of the number is possible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from math import exp, log

from dicom_io.parsing import Attributes
from workflow.domain.errors import UnsuitableInputError

SUV_UNIT = "g/ml"

_GE_PET_CREATOR = "GEMS_PETD_01"
_PHILIPS_PET_CREATOR = "Philips PET Private Group"

# Half-lives in seconds (Laboratoire National Henri Becquerel, Nucleide-Lara) of what PET is done with.
_ISOTOPES: dict[tuple[str, str, str], float] = {
    ("C", "carbon", "11"): 1221.7,
    ("N", "nitrogen", "13"): 597.9,
    ("O", "oxygen", "15"): 122.2,
    ("F", "fluorine", "18"): 6586.2,
    ("Sc", "scandium", "44"): 14551.0,
    ("Cu", "copper", "61"): 12014.0,
    ("Cu", "copper", "62"): 580.2,
    ("Cu", "copper", "64"): 45724.0,
    ("Ga", "gallium", "68"): 4062.6,
    ("Br", "bromine", "76"): 58300.0,
    ("Rb", "rubidium", "82"): 76.4,
    ("Y", "yttrium", "86"): 53060.0,
    ("Zr", "zirconium", "89"): 282280.0,
    ("Y", "yttrium", "90"): 230600.0,
    ("I", "iodine", "124"): 360800.0,
}
_SAME_HALF_LIFE = 0.02
_HALF_LIFE_UNITS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
# What people are given: below it a dose in Bq is none, and within it a slip of units must land.
_LEAST_DOSE_BQ, _MOST_DOSE_BQ = 1e6, 2e10
_USUAL_DOSE_BQ = (5e6, 2e9)
_DOSE_UNITS = {"MBq": 1e6, "mCi": 3.7e7, "GBq": 1e9}
_WEIGHT_KG = (1.0, 400.0)
# Activity left in a gram of the patient: below what a late Zr-89 scan has, above what Rb-82 starts with.
_BQ_PER_GRAM = (5.0, 3e5)
# After so many half-lives (2 % left) nobody scans; without a date, the clock alone is believed for fewer.
_MOST_HALF_LIVES, _MOST_HALF_LIVES_BY_CLOCK = 6.0, 3.0
# With longer half-lives scans on the next days are usual, so a time of day does not tell the injection.
_LONG_HALF_LIFE_S = 6 * 3600.0
# Clocks that differ by this share of a half-life change an SUV by less than 1 %.
_CLOCK_SHARE = 0.01
_SAME_MOMENT_S = 60.0
_QUARTER_HOUR_S = 900.0
_DAY_S = 86400.0
# A whole-body series is done in this time after its start; an earlier "series time" is not of the scan.
_LONGEST_SERIES = timedelta(hours=4)


@dataclass(frozen=True, kw_only=True)
class Tracer:
    """What was injected, as written: units and clocks are not believed yet.

    Attributes
    ----------
    isotope
        Element and mass ("F-18"), "" where the header does not name it.
    started_at
        RadiopharmaceuticalStartDateTime on the image's clock.
    is_zone_unknown
        Whether `started_at` bears an offset from UTC, and the image's own clock is in no known zone.
    started_time
        RadiopharmaceuticalStartTime since midnight; None also where it is 00:00:00, which stands for unknown.
    """

    isotope: str = ""
    dose: float | None = None
    half_life: float | None = None
    started_at: datetime | None = None
    is_zone_unknown: bool = False
    started_time: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class PetAttributes:
    """What the SUV depends on, of one PET image; all times are on the image's own clock."""

    units: str
    suv_type: str
    decay_correction: str
    is_decay_corrected: bool
    is_attenuation_corrected: bool | None
    patient_weight: float | None
    tracers: tuple[Tracer, ...]
    zone: timedelta | None
    series_at: datetime | None
    acquired_at: datetime | None
    decay_corrected_to: datetime | None
    ge_scan_at: datetime | None
    frame_reference_s: float | None
    frame_duration_s: float | None
    philips_suv_scale: float | None
    philips_activity_scale: float | None


@dataclass(frozen=True, kw_only=True)
class SuvScale:
    """From a stack's rescaled values to SUV.

    Attributes
    ----------
    factors
        What to multiply each image's values with; 1 where there is no SUV.
    unit
        "g/ml" (SUV by body weight), or "" where the values stay as stored.
    refusal
        Why the values are not even in proportion to an uptake that is known, else None.
    """

    factors: tuple[float, ...]
    unit: str
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    refusal: str | None = None


class _NoSuvError(Exception):
    """The header does not hold, or contradicts, what an SUV needs; the message says what."""


def pet_attributes(image: Attributes, acquired_at: datetime | None, units: str) -> PetAttributes:
    """Read them from a PET image's dataset; `units` (BQML, GML, CNTS) is that of the rescaled values."""
    # Where the image does not say in which zone its clock is, its own date-times may.
    zones = [
        image.offset(k) for k in ("TimezoneOffsetFromUTC", "AcquisitionDateTime", "DecayCorrectionDateTime")
    ]
    zone = next((offset for offset in zones if offset is not None), None)
    corrections = image.values("CorrectedImage")
    attenuation = image.text(
        "AttenuationCorrected"
    )  # Enhanced PET has attributes of its own (PS3.3 C.8.22.4)
    frame_ms = _number(image, "FrameReferenceTime")
    duration_ms = _number(image, "ActualFrameDuration")
    return PetAttributes(
        units=units.upper(),
        suv_type=image.text("SUVType").upper(),
        decay_correction=image.text("DecayCorrection").upper(),
        is_decay_corrected="DECY" in corrections or image.text("DecayCorrected") == "YES",
        is_attenuation_corrected=(
            "ATTN" in corrections or attenuation == "YES" if any(corrections) or attenuation else None
        ),
        patient_weight=_number(image, "PatientWeight"),
        tracers=tuple(
            dict.fromkeys(
                _tracer(item, zone) for item in image.items("RadiopharmaceuticalInformationSequence")
            )
        ),
        zone=zone,
        series_at=image.moment("SeriesDate", "SeriesTime"),
        acquired_at=acquired_at,
        decay_corrected_to=image.datetime("DecayCorrectionDateTime", zone),
        ge_scan_at=_moment(image.private(0x0009, _GE_PET_CREATOR, 0x0D)),
        frame_reference_s=None if frame_ms is None else frame_ms / 1000.0,
        frame_duration_s=None if duration_ms is None else duration_ms / 1000.0,
        philips_suv_scale=_positive(image, 0x7053, _PHILIPS_PET_CREATOR, 0x00),
        philips_activity_scale=_positive(image, 0x7053, _PHILIPS_PET_CREATOR, 0x09),
    )


def _number(place: Attributes, keyword: str) -> float | None:
    """A number, or None where it is missing or none ("70 kg"): that must not cost the whole image."""
    try:
        return place.number(keyword)
    except UnsuitableInputError:
        return None


def _positive(image: Attributes, group: int, creator: str, element: int) -> float | None:
    number = image.private_number(group, creator, element)
    return number if number is not None and number > 0 else None


def _moment(value: str) -> datetime | None:
    try:
        return datetime.strptime(value[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _tracer(item: Attributes, zone: timedelta | None) -> Tracer:
    code = item.item("RadionuclideCodeSequence")
    started_at = item.datetime("RadiopharmaceuticalStartDateTime", zone)
    # Midnight is what systems write where they know the day only.
    started_time = item.time_of_day("RadiopharmaceuticalStartTime") or None
    if started_at is not None and started_at.time() == time.min:
        started_at = None if started_time is None else started_at + started_time
    words = " ".join((code.text("CodeMeaning") if code is not None else "", item.text("Radiopharmaceutical")))
    return Tracer(
        isotope=isotope_in(words),
        dose=_number(item, "RadionuclideTotalDose"),
        half_life=_number(item, "RadionuclideHalfLife"),
        started_at=started_at,
        is_zone_unknown=zone is None and item.offset("RadiopharmaceuticalStartDateTime") is not None,
        started_time=started_time,
    )


def isotope_in(words: str) -> str:
    """The PET isotope that a text names ("^18^Fluorine", "Ga-68 PSMA", "FDG"); "" if none."""
    for symbol, name, mass in _ISOTOPES:
        element = f"(?:{symbol}|{name})"
        pattern = rf"(?<![a-z]){element}[\s^\[\](-]*{mass}(?!\d)|(?<!\d){mass}[\s^\[\])-]*{element}(?![a-z])"
        if re.search(pattern, words, re.I):
            return f"{symbol}-{mass}"
    return "F-18" if re.search(r"\bfdg\b|fluoro-?d(e|es)oxy-?glucose", words, re.I) else ""


# ---------------------------------------------------------------- a stack's scale


def suv_scale(images: Sequence[PetAttributes]) -> SuvScale:
    """How a stack's values become SUV by body weight, or why they stay as stored, or are refused.

    Parameters
    ----------
    images
        All images of the stack, as the time of its earliest acquisition tells which clock to trust.
    """
    as_stored = (1.0,) * len(images)
    for image in images:
        if not _is_known_unit(image):
            return SuvScale(
                factors=as_stored,
                unit="",
                refusal=f"PET values in Units {image.units or '(none)'} give no SUV and no uptake that can "
                "be compared; have the series made in BQML, or measure on CT or MR",
            )
    times = [image.acquired_at for image in images if image.acquired_at is not None]
    remarks = _Remarks(notes={}, doubts={})
    try:
        factors = tuple(_factor(image, min(times, default=None), remarks) for image in images)
    except _NoSuvError as error:
        doubt = f"PET: measured without SUV, values as stored: {error}"
        return SuvScale(factors=as_stored, unit="", notes=tuple(remarks.notes), doubts=(doubt,))
    return SuvScale(factors=factors, unit=SUV_UNIT, notes=tuple(remarks.notes), doubts=tuple(remarks.doubts))


@dataclass(frozen=True)
class _Remarks:
    """What was noticed on the way, once each, in order."""

    notes: dict[str, None]
    doubts: dict[str, None]


def _is_known_unit(image: PetAttributes) -> bool:
    has_scale = image.philips_suv_scale or image.philips_activity_scale
    return image.units in ("BQML", "GML", "CM2ML") or (image.units == "CNTS" and bool(has_scale))


def _factor(image: PetAttributes, earliest: datetime | None, remarks: _Remarks) -> float:
    if image.is_attenuation_corrected is False:
        raise _NoSuvError("the images are not corrected for attenuation")
    if image.is_attenuation_corrected is None:
        remarks.notes["PET: not said to be corrected for attenuation"] = None
    if image.units == "CM2ML" or (image.units == "GML" and image.suv_type not in ("", "BW")):
        kind = image.suv_type or "body surface"
        raise _NoSuvError(f"the values are SUVs normalised by {kind}, not by body weight")
    if image.units == "GML":
        return 1.0  # without SUVType it is body weight (PS3.3 C.8.9.1)
    if image.units == "CNTS" and image.philips_suv_scale:
        return image.philips_suv_scale
    scale = image.philips_activity_scale if image.units == "CNTS" else None
    return (scale or 1.0) * _from_activity(image, earliest, remarks)


def _from_activity(image: PetAttributes, earliest: datetime | None, remarks: _Remarks) -> float:
    if len(image.tracers) > 1:
        raise _NoSuvError("the header lists several injections")
    tracer = image.tracers[0] if image.tracers else Tracer()
    weight_g = 1000.0 * _weight_kg(image.patient_weight, remarks)
    dose_bq = _dose_bq(tracer.dose, remarks)
    half_life_s = _half_life_s(tracer, remarks)
    decay_s = _decay_s(image, tracer, half_life_s, earliest, remarks)
    decayed_bq: float = dose_bq * 2.0 ** (-decay_s / half_life_s)
    low, high = _BQ_PER_GRAM
    if not low <= decayed_bq / weight_g <= high:
        raise _NoSuvError(
            f"{decayed_bq / 1e6:.3g} MBq left in {weight_g / 1000:.3g} kg when scanned can't be right"
        )
    return weight_g / decayed_bq


# ---------------------------------------------------------------- weight, dose, half-life


def _weight_kg(weight: float | None, remarks: _Remarks) -> float:
    if weight is None or weight <= 0:
        raise _NoSuvError("PatientWeight is missing or no number")
    low, high = _WEIGHT_KG
    if low <= weight <= high:
        return weight
    if low <= weight / 1000.0 <= high:
        remarks.doubts[f"PET: PatientWeight {weight:g} can only be grams; the SUV counts on that"] = None
        return weight / 1000.0
    raise _NoSuvError(f"PatientWeight {weight:g} kg can't be right")


def _dose_bq(dose: float | None, remarks: _Remarks) -> float:
    if dose is None or dose <= 0:
        raise _NoSuvError("RadionuclideTotalDose is missing or no number")
    if _LEAST_DOSE_BQ <= dose <= _MOST_DOSE_BQ:
        return dose
    low, high = _USUAL_DOSE_BQ
    units = [name for name, factor in _DOSE_UNITS.items() if low <= dose * factor <= high]
    if len(units) != 1:
        readings = f"; it may be {' or '.join(units)}" if units else ""
        raise _NoSuvError(f"RadionuclideTotalDose {dose:g} Bq can't be right{readings}")
    doubt = f"PET: RadionuclideTotalDose {dose:g} can only be {units[0]}; the SUV counts on that"
    remarks.doubts[doubt] = None
    return dose * _DOSE_UNITS[units[0]]


def _half_life_s(tracer: Tracer, remarks: _Remarks) -> float:
    """The half-life: a constant of nature that tells the unit in which it was written."""
    known = {f"{symbol}-{mass}": seconds for (symbol, _, mass), seconds in _ISOTOPES.items()}
    if tracer.isotope:
        known = {tracer.isotope: known[tracer.isotope]}
    written = tracer.half_life
    if written is None or written <= 0:
        if not tracer.isotope:
            raise _NoSuvError("RadionuclideHalfLife is missing or no number")
        remarks.notes[f"PET: RadionuclideHalfLife is missing; that of {tracer.isotope} is taken"] = None
        return known[tracer.isotope]
    for unit, factor in _HALF_LIFE_UNITS.items():
        for isotope, seconds in known.items():
            if abs(written * factor - seconds) > _SAME_HALF_LIFE * seconds:
                continue
            if unit != "seconds":
                doubt = (
                    f"PET: RadionuclideHalfLife {written:g} is that of {isotope} in {unit}, not in seconds"
                )
                remarks.doubts[f"{doubt}; the SUV counts on that"] = None
            return written * factor
    if tracer.isotope:
        raise _NoSuvError(f"RadionuclideHalfLife {written:g} s is not that of {tracer.isotope}")
    raise _NoSuvError(f"RadionuclideHalfLife {written:g} s is that of no isotope that PET is done with")


# ---------------------------------------------------------------- clocks


def _decay_s(
    image: PetAttributes, tracer: Tracer, half_life_s: float, earliest: datetime | None, remarks: _Remarks
) -> float:
    """Seconds from the injection to the moment that the image's values are of."""
    correction = image.decay_correction or ("START" if image.is_decay_corrected else "")
    if correction == "ADMIN":
        return 0.0
    if correction == "START":
        scan_at = _scan_start(image, half_life_s, earliest, remarks)
    elif correction == "NONE" and not image.is_decay_corrected:
        average_s = _average_s(image, half_life_s) or 0.0
        scan_at = image.acquired_at and image.acquired_at + timedelta(seconds=average_s)
    else:
        also = ", although the images are said to be corrected" if image.is_decay_corrected else ""
        raise _NoSuvError(f"DecayCorrection is {correction or 'missing'}{also}")
    if scan_at is None:
        raise _NoSuvError("the time of the scan is missing")
    return max(_since_injection_s(tracer, scan_at, half_life_s, image.zone, remarks), 0.0)


def _since_injection_s(
    tracer: Tracer, scan_at: datetime, half_life_s: float, zone: timedelta | None, remarks: _Remarks
) -> float:
    """Seconds from the injection to the scan, from two attributes that may contradict each other."""
    if tracer.started_at is None and tracer.started_time is None:
        raise _NoSuvError("the time of injection is missing")
    slack_s = _CLOCK_SHARE * half_life_s
    by_date = None if tracer.started_at is None else (scan_at - tracer.started_at).total_seconds()
    if by_date is None or not -slack_s <= by_date <= _MOST_HALF_LIVES * half_life_s:
        return _by_clock_s(tracer, scan_at, half_life_s, by_date, remarks)
    if tracer.started_time is None:
        if tracer.is_zone_unknown:
            raise _NoSuvError("the injection is timed with an offset from UTC and the scan without one")
        return by_date
    # Both are given: they must be one time of day, or the difference must be that of the time zones.
    apart_s = (by_date - _clock_difference_s(scan_at, tracer.started_time)) % _DAY_S
    apart_s = min(apart_s, _DAY_S - apart_s)
    if apart_s <= max(_SAME_MOMENT_S, slack_s):
        return by_date
    # A zone is a whole number of quarters of an hour from UTC.
    of_zone_s = (
        abs(zone.total_seconds()) if zone is not None else round(apart_s / _QUARTER_HOUR_S) * _QUARTER_HOUR_S
    )
    may_be_zone = zone is not None or tracer.is_zone_unknown
    if may_be_zone and abs(apart_s - of_zone_s) <= _SAME_MOMENT_S:
        return _by_clock_s(tracer, scan_at, half_life_s, by_date, remarks)
    raise _NoSuvError(
        "RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime are "
        f"{apart_s / 60:.0f} minutes apart"
    )


def _by_clock_s(
    tracer: Tracer, scan_at: datetime, half_life_s: float, by_date: float | None, remarks: _Remarks
) -> float:
    """The same from the time of day alone, where the date is missing or impossible."""
    problem = ""
    if by_date is not None:
        problem = f"RadiopharmaceuticalStartDateTime lies {_span(by_date)} the scan"
    if tracer.started_time is None:
        raise _NoSuvError(f"{problem}, which can't be right")
    if half_life_s > _LONG_HALF_LIFE_S:
        raise _NoSuvError(problem or "the day of the injection is not given")
    since_s = _clock_difference_s(scan_at, tracer.started_time)
    is_day_before = since_s < -_CLOCK_SHARE * half_life_s
    if is_day_before:
        since_s += _DAY_S
    if since_s > _MOST_HALF_LIVES_BY_CLOCK * half_life_s:
        span = _span(since_s - _DAY_S if is_day_before else since_s)
        raise _NoSuvError(f"RadiopharmaceuticalStartTime lies {span} the scan: the clocks disagree")
    if problem:
        remarks.doubts[f"PET: {problem}; the time of day is taken, on the day of the scan"] = None
    elif is_day_before:
        remarks.notes["PET: injected on the day before the scan, as its time is later"] = None
    return since_s


def _clock_difference_s(scan_at: datetime, started_time: timedelta) -> float:
    midnight = scan_at.replace(hour=0, minute=0, second=0, microsecond=0)
    return (scan_at - midnight - started_time).total_seconds()


def _span(seconds: float) -> str:
    size = abs(seconds)
    for unit, length in (("days", _DAY_S), ("hours", 3600.0), ("minutes", 60.0)):
        if size >= 2 * length:
            return f"{size / length:.0f} {unit} {'before' if seconds > 0 else 'after'}"
    return f"{size:.0f} seconds {'before' if seconds > 0 else 'after'}"


def _scan_start(
    image: PetAttributes, half_life_s: float, earliest: datetime | None, remarks: _Remarks
) -> datetime | None:
    """The moment that images with DecayCorrection START are corrected to."""
    if image.decay_corrected_to is not None:
        return image.decay_corrected_to
    if earliest is None:
        return image.series_at
    if image.series_at is not None and timedelta() <= earliest - image.series_at <= _LONGEST_SERIES:
        return image.series_at
    # The series time is later than an acquisition: a post-processed series has the time of its making.
    if image.ge_scan_at is not None:
        return image.ge_scan_at
    average_s = _average_s(image, half_life_s)
    if image.acquired_at and image.frame_reference_s and average_s is not None:
        return image.acquired_at + timedelta(seconds=average_s - image.frame_reference_s)
    remarks.notes[
        "PET: decay corrected to the earliest acquisition, as the series time is not of the scan"
    ] = None
    return earliest


def _average_s(image: PetAttributes, half_life_s: float) -> float | None:
    """When in its duration a frame has its average activity, seconds after its start."""
    if not image.frame_duration_s or image.frame_duration_s <= 0:
        return None
    decay = log(2.0) / half_life_s
    during = decay * image.frame_duration_s
    return log(during / (1.0 - exp(-during))) / decay
