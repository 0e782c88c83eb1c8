"""SUV of PET: right, put right where only one reading is possible, or none with the reason; never wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement

from dicom_io.parsing import quiet
from dicom_io.series import describe_study
from dicom_io.suv import isotope_in
from dicom_io.volumes import SeriesVolume, read_volume

from .support import image, save, uid, write_slices

F18_S, ZR89_S = 6586.2, 282280.0
# What is left of 350 MBq of F-18 after an hour in 70 kg; 10 kBq/ml are so many times that per gram.
AN_HOUR_LATER = 10e3 * 70e3 / (350e6 * 2 ** (-3600 / F18_S))
TEN_KBQ = np.full((4, 5), 10000, dtype="<i2").tobytes()


def pet(**attributes: object) -> dict[str, object]:
    """10 kBq/ml, 70 kg, 350 MBq of F-18, injected at 10:00, scanned from 11:00."""
    injection = {
        "RadiopharmaceuticalStartTime": "100000",
        "RadionuclideTotalDose": 350e6,
        "RadionuclideHalfLife": F18_S,
        **{k: attributes.pop(k) for k in list(attributes) if k.startswith(("Radio", "_code"))},
    }
    tracer = Dataset()
    meaning = injection.pop("_code", None)
    if meaning is not None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99TEST", meaning
        tracer.RadionuclideCodeSequence = [code]
    for keyword, value in injection.items():
        if value is not None:
            setattr(tracer, keyword, value)
    defaults: dict[str, object] = {
        "Modality": "PT",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN"],
        "DecayCorrection": "START",
        "PatientWeight": 70.0,
        "SeriesDate": "20240102",
        "SeriesTime": "110000",
        "AcquisitionDate": "20240102",
        "AcquisitionTime": "110500",
        "RadiopharmaceuticalInformationSequence": [tracer],
        "PixelData": TEN_KBQ,
    }
    return {**defaults, **attributes}


def read(folder: Path, **attributes: object) -> SeriesVolume:
    with quiet():  # pydicom warns of lower case
        path = save(image(**pet(**attributes)), folder / "pet.dcm")
    return read_volume([path])


def suv_of(volume: SeriesVolume) -> float:
    assert volume.volume.array.dtype == np.float32
    assert volume.series.value_unit == "g/ml"
    return float(volume.volume.array[0, 0, 0])


def later(seconds: float, half_life_s: float = F18_S) -> float:
    """The SUV of 10 kBq/ml so long after the injection."""
    return 10e3 * 70e3 / (350e6 * 2 ** (-seconds / half_life_s))


ZR89 = {"RadionuclideHalfLife": ZR89_S, "RadiopharmaceuticalStartTime": "110000"}


@pytest.mark.parametrize(
    ("name", "attributes", "suv"),
    [
        ("an hour after the injection", {}, later(3600)),
        ("corrected to the injection: the whole dose counts", {"DecayCorrection": "ADMIN"}, later(0)),
        ("the same in lower case", {"DecayCorrection": "admin", "Units": "bqml"}, later(0)),
        ("a scale in the header", {"RescaleSlope": 0.5}, later(3600) / 2),
        (
            "over midnight",
            {"RadiopharmaceuticalStartTime": "233000", "SeriesTime": "003000", "AcquisitionTime": "003500"},
            later(3600),
        ),
        (
            "over midnight, with dates",
            {
                "RadiopharmaceuticalStartTime": "233000",
                "RadiopharmaceuticalStartDateTime": "20240101233000",
                "SeriesTime": "003000",
                "AcquisitionTime": "003500",
            },
            later(3600),
        ),
        ("a series made later", {"SeriesTime": "180000", "AcquisitionTime": "110000"}, later(3600)),
        (
            "a series made later, on another day",
            {"SeriesDate": "20240105", "AcquisitionTime": "110000"},
            later(3600),
        ),
        (
            "a series date of another year",
            {"SeriesDate": "20010102", "AcquisitionTime": "110000"},
            later(3600),
        ),
        (
            "a moment of its own that it is corrected to",
            {"DecayCorrectionDateTime": "20240102120000"},
            later(7200),
        ),
        (
            "injected as the scan starts, on a clock 20 s ahead",
            {"RadiopharmaceuticalStartTime": "110020"},
            later(0),
        ),
        (
            "not corrected for decay: each image's own time counts",
            {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]},
            later(3900),
        ),
        (
            "not corrected for decay, in the middle of ten minutes",
            {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": 600000},
            pytest.approx(later(3900 + 300), rel=1e-3),
        ),
        (
            "an injection in UTC, a scan in a zone that is known",
            {"RadiopharmaceuticalStartDateTime": "20240102090000+0000", "TimezoneOffsetFromUTC": "+0100"},
            later(3600),
        ),
        (
            "the same without the time beside it",
            {
                "RadiopharmaceuticalStartDateTime": "20240102050000-0400",
                "RadiopharmaceuticalStartTime": None,
                "TimezoneOffsetFromUTC": "+0100",
            },
            later(3600),
        ),
        (
            "an injection in UTC, its seconds cut off beside it",
            {
                "RadiopharmaceuticalStartDateTime": "20240102050012.7+0000",
                "RadiopharmaceuticalStartTime": "1000",
            },
            later(3600),
        ),
        (
            "an injection in UTC, and only the time beside it on the scan's clock",
            {"RadiopharmaceuticalStartDateTime": "20240102050000+0000"},
            later(3600),
        ),
        (
            "a date-time in UTC that does not say so",
            {"RadiopharmaceuticalStartDateTime": "20240102080000", "TimezoneOffsetFromUTC": "+0200"},
            later(3600),
        ),
        (
            "Zr-89 after five days",
            {**ZR89, "RadiopharmaceuticalStartDateTime": "20231228110000"},
            later(5 * 86400, ZR89_S),
        ),
        (
            "a half-life that is missing, of an isotope that is named",
            {"RadionuclideHalfLife": None, "_code": "^18^Fluorine"},
            later(3600),
        ),
    ],
)
def test_activity_becomes_suv_by_body_weight_with_the_decay_since_the_injection(
    tmp_path, name, attributes, suv
):
    expected = pytest.approx(suv, rel=1e-5) if isinstance(suv, float) else suv
    assert suv_of(read(tmp_path, **attributes)) == expected


@pytest.mark.parametrize(
    ("name", "attributes", "suv", "doubt"),
    [
        ("a dose in MBq", {"RadionuclideTotalDose": 350}, later(3600), "350 can only be MBq"),
        ("a dose in mCi", {"RadionuclideTotalDose": 3}, later(3600) * 350 / 111, "3 can only be mCi"),
        ("a weight in grams", {"PatientWeight": 70000}, later(3600), "70000 can only be grams"),
        ("a half-life in minutes", {"RadionuclideHalfLife": 109.77}, later(3600), "F-18 in minutes"),
        (
            "a half-life in hours",
            {**ZR89, "RadionuclideHalfLife": 78.41, "RadiopharmaceuticalStartDateTime": "20240101110000"},
            later(86400, ZR89_S),
            "Zr-89 in hours",
        ),
        (
            "a half-life in days",
            {**ZR89, "RadionuclideHalfLife": 3.267, "RadiopharmaceuticalStartDateTime": "20240101110000"},
            later(86400, ZR89_S),
            "Zr-89 in days",
        ),
        (
            "a date of injection in another year",
            {"RadiopharmaceuticalStartDateTime": "20010101100000"},
            later(3600),
            "days before the scan; the time of day is taken",
        ),
        (
            "a date of injection after the scan",
            {"RadiopharmaceuticalStartDateTime": "20240103100000"},
            later(3600),
            "23 hours after the scan; the time of day is taken",
        ),
    ],
)
def test_a_slip_that_leaves_one_reading_is_put_right_and_said(tmp_path, name, attributes, suv, doubt):
    volume = read(tmp_path, **attributes)
    assert suv_of(volume) == pytest.approx(suv, rel=1e-4)
    assert [doubt in one for one in volume.series.doubts] == [True]


NO_TIME = {"RadiopharmaceuticalStartTime": None}


@pytest.mark.parametrize(
    ("name", "attributes", "reason"),
    [
        ("no weight", {"PatientWeight": None}, "PatientWeight is missing"),
        ("a weight of nothing", {"PatientWeight": 0}, "PatientWeight is missing"),
        ("no weight of a person", {"PatientWeight": 700}, "PatientWeight 700 kg can't be right"),
        ("no dose", {"RadionuclideTotalDose": 0.0}, "RadionuclideTotalDose is missing"),
        ("a dose in MBq or mCi", {"RadionuclideTotalDose": 15}, "it may be MBq or mCi"),
        (
            "a dose of no unit",
            {"RadionuclideTotalDose": 5000},
            "RadionuclideTotalDose 5000 Bq can't be right",
        ),
        ("no half-life", {"RadionuclideHalfLife": None}, "RadionuclideHalfLife is missing"),
        ("a half-life of nothing known", {"RadionuclideHalfLife": 3000}, "is that of no isotope"),
        ("a half-life of another isotope", {"_code": "Gallium-68"}, "is not that of Ga-68"),
        ("SUVs by lean body mass", {"Units": "GML", "SUVType": "LBM"}, "normalised by LBM"),
        ("SUVs by body surface", {"Units": "GML", "SUVType": "BSA"}, "normalised by BSA"),
        ("SUVs by ideal weight", {"Units": "GML", "SUVType": "IBW"}, "normalised by IBW"),
        ("SUVs by body surface, by their unit", {"Units": "CM2ML"}, "normalised by body surface"),
        (
            "no decay correction, yet corrected",
            {"DecayCorrection": "NONE"},
            "DecayCorrection is NONE, although",
        ),
        (
            "nothing said of decay",
            {"DecayCorrection": None, "CorrectedImage": ["ATTN"]},
            "DecayCorrection is missing",
        ),
        ("no time of injection", NO_TIME, "time of injection is missing"),
        ("midnight for unknown", {"RadiopharmaceuticalStartTime": "000000"}, "time of injection is missing"),
        (
            "a day without a time",
            {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20240102"},
            "time of injection",
        ),
        (
            "injected after the scan",
            {"RadiopharmaceuticalStartTime": "110500"},
            "5 minutes after the scan: the clocks disagree",
        ),
        ("injected long before", {"RadiopharmaceuticalStartTime": "030000"}, "8 hours before the scan"),
        (
            "injected after the scan, with dates",
            {"RadiopharmaceuticalStartTime": "111500", "RadiopharmaceuticalStartDateTime": "20240102111500"},
            "15 minutes after the scan",
        ),
        (
            "injected years before, no other time",
            {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20201225100000"},
            "days before the scan, which can't be right",
        ),
        (
            "two times that contradict each other",
            {"RadiopharmaceuticalStartDateTime": "20240102092000"},
            "are 40 minutes apart",
        ),
        (
            "an offset from UTC against a clock in no known zone",
            {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20240102090000+0000"},
            "with an offset from UTC and the scan without one",
        ),
        ("a long half-life without a date", ZR89, "the day of the injection is not given"),
        (
            "a long half-life with an impossible date",
            {**ZR89, "RadiopharmaceuticalStartDateTime": "20011228110000"},
            "days before the scan",
        ),
        ("no attenuation correction", {"CorrectedImage": ["DECY"]}, "not corrected for attenuation"),
        (
            "more left than was ever given to a gram",
            {"RadionuclideTotalDose": 1.9e10, "PatientWeight": 3},
            "can't be right",
        ),
        ("SUVs that are none", {"Units": "GML"}, "the SUV of what has uptake would be 1e+04"),
        ("SUVs too small to be any", {"Units": "GML", "RescaleSlope": 1e-5}, "the highest SUV would be 0.1"),
        ("activity in another unit", {"RescaleSlope": 1000}, "the SUV of what has uptake would be"),
    ],
)
def test_without_a_sure_suv_the_values_stay_as_stored_and_a_person_is_told(
    tmp_path, name, attributes, reason
):
    volume = read(tmp_path, **attributes)
    stored = 10000 * float(attributes.get("RescaleSlope", 1))  # type: ignore[arg-type]
    assert volume.volume.array[0, 0, 0] == pytest.approx(stored)
    assert volume.series.value_unit == ""
    (doubt,) = [one for one in volume.series.doubts if "SUV" in one]
    assert reason in doubt
    assert "measured without SUV" in doubt


@pytest.mark.parametrize(
    ("written", "instead", "reason"),
    [
        (b"DS\x04\x0070.0", b"DS\x04\x0070kg", "PatientWeight is missing or no number"),
        (b"350000000.0 ", b"350 MBq     ", "RadionuclideTotalDose is missing or no number"),
    ],
)
def test_a_number_that_is_none_costs_the_suv_and_not_the_image(tmp_path, written, instead, reason):
    path = save(image(**pet()), tmp_path / "pet.dcm")
    assert path.read_bytes().count(written) == 1
    path.write_bytes(path.read_bytes().replace(written, instead))
    volume = read_volume([path])
    assert volume.series.value_unit == ""
    assert reason in volume.series.doubts[0]


@pytest.mark.parametrize("units", ["PROPCPS", "CNTS", "CPS", "PCNT", "MLMINML", "", None])
def test_values_that_are_no_uptake_are_refused_with_their_unit(tmp_path, units):
    (series,) = describe_study([save(image(**pet(Units=units)), tmp_path / "pet.dcm")])
    assert series.refusal is not None
    assert f"PET values in Units {units or '(none)'} give no SUV" in series.refusal


@pytest.mark.parametrize("suv_type", [None, "BW", "bw"])
def test_suvs_by_body_weight_are_taken_as_they_are(tmp_path, suv_type):
    volume = read(tmp_path, Units="GML", SUVType=suv_type, RescaleSlope=0.0003, PatientWeight=None)
    assert suv_of(volume) == pytest.approx(3.0)
    assert volume.series.doubts == ()


def test_several_injections_are_not_added_up_in_silence(tmp_path):
    attributes = pet()
    (first,) = attributes["RadiopharmaceuticalInformationSequence"]
    second = Dataset()
    second.RadionuclideTotalDose, second.RadionuclideHalfLife = 100e6, F18_S
    second.RadiopharmaceuticalStartTime = "103000"
    attributes["RadiopharmaceuticalInformationSequence"] = [first, second]
    volume = read_volume([save(image(**attributes), tmp_path / "pet.dcm")])
    assert "lists several injections" in volume.series.doubts[0]


def test_a_series_without_attenuation_correction_is_left_out_beside_one_with_it(tmp_path):
    (series,) = describe_study([save(image(**pet(CorrectedImage=["DECY"])), tmp_path / "pet.dcm")])
    assert series.left_out == "not corrected for attenuation"


def test_images_that_say_nothing_of_attenuation_have_an_suv_and_a_note(tmp_path):
    volume = read(tmp_path, CorrectedImage=None)
    assert suv_of(volume) == pytest.approx(AN_HOUR_LATER)
    assert "PET: not said to be corrected for attenuation" in volume.notes


@pytest.mark.parametrize(("element", "value", "suv"), [(0x00, "0.0004", 4.0), (0x09, "0.5", later(3600) / 2)])
@pytest.mark.parametrize("vr", ["DS", "UN"])
def test_philips_counts_use_the_makers_own_factors(tmp_path, element, value, suv, vr):
    dataset = image(**pet(Units="CNTS"))
    block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    dataset.add(DataElement(block.get_tag(element), vr, value if vr == "DS" else f"{value} ".encode()))
    assert suv_of(read_volume([save(dataset, tmp_path / "p.dcm")])) == pytest.approx(suv)


def test_a_philips_factor_that_is_absurd_gives_no_suv(tmp_path):
    dataset = image(**pet(Units="CNTS"))
    block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", "4")
    volume = read_volume([save(dataset, tmp_path / "p.dcm")])
    assert volume.series.value_unit == ""
    assert volume.volume.array[0, 0, 0] == 10000


def test_a_ge_series_made_later_uses_the_makers_scan_time(tmp_path):
    dataset = image(**pet(SeriesTime="180000", AcquisitionTime="113000"))
    dataset.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240102110000.00")
    assert suv_of(read_volume([save(dataset, tmp_path / "p.dcm")])) == pytest.approx(AN_HOUR_LATER)


def test_a_series_made_later_uses_the_frame_reference_time(tmp_path):
    # Average activity of a short frame is in its middle: 11:10:30 less 630 s is 11:00.
    volume = read(
        tmp_path,
        SeriesTime="180000",
        AcquisitionTime="111000",
        FrameReferenceTime=630000,
        ActualFrameDuration=60000,
    )
    assert suv_of(volume) == pytest.approx(AN_HOUR_LATER, rel=1e-4)


def test_the_earliest_acquisition_of_the_series_decides_which_clock_is_trusted(tmp_path):
    # Bed positions five minutes apart, all corrected to the series time before the first of them.
    stored = np.full((4, 2, 2), 10000, dtype="<i2")
    per_slice = [{"AcquisitionTime": f"11{5 * k:02d}00"} for k in range(4)]
    attributes = pet()
    del attributes["PixelData"]
    volume = read_volume(write_slices(tmp_path, stored, per_slice=per_slice, **attributes))
    np.testing.assert_allclose(volume.volume.array, AN_HOUR_LATER, rtol=1e-6)
    assert uid("series") == volume.series.series_instance_uid


def test_a_series_date_that_is_not_of_the_scan_casts_no_doubt_on_the_injection(tmp_path):
    volume = read(
        tmp_path,
        SeriesDate="20010102",
        AcquisitionTime="110000",
        RadiopharmaceuticalStartDateTime="20240102100000",
    )
    assert suv_of(volume) == pytest.approx(AN_HOUR_LATER)
    assert volume.series.doubts == ()


def test_hot_spots_in_a_body_are_no_reason_to_doubt_an_suv(tmp_path):
    stored = np.full((4, 10, 10), 300, dtype="<i2")  # an SUV of 1.25
    stored[1:3, 4:6, 4:6] = 30000  # a full bladder
    attributes = pet()
    del attributes["PixelData"]
    volume = read_volume(write_slices(tmp_path, stored, **attributes, RescaleSlope=10.0))
    assert (volume.series.value_unit, volume.series.doubts) == ("g/ml", ())
    assert volume.volume.array.max() > 80


@pytest.mark.parametrize(
    ("words", "isotope"),
    [
        ("^18^Fluorine", "F-18"),
        ("F-18", "F-18"),
        ("18F-PSMA-1007", "F-18"),
        ("Fluorodeoxyglucose F^18^", "F-18"),
        ("FDG", "F-18"),
        ("Ga-68 DOTATATE", "Ga-68"),
        ("Gallium 68", "Ga-68"),
        ("[89Zr]Trastuzumab", "Zr-89"),
        ("^82^Rubidium", "Rb-82"),
        ("C-11 Choline", "C-11"),
        ("Solution", ""),
        ("", ""),
    ],
)
def test_isotopes_are_known_by_the_names_that_headers_give_them(words, isotope):
    assert isotope_in(words) == isotope
