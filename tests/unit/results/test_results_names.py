"""Codes, UIDs and texts: what names things in every object."""

from __future__ import annotations

from dataclasses import replace

import pytest
from phantoms import Phantom, reported_lesion
from pydicom.sr.coding import Code

from dicom_io import codes, uids
from dicom_io.results import ResultSettings, TrackingIdentifierForm
from dicom_io.results.text import character_set_for, plain, short
from workflow.domain.response import values


def all_codes() -> list[Code]:
    found = [value for value in vars(codes).values() if isinstance(value, Code)]
    for value in vars(codes).values():
        if isinstance(value, dict):
            found += [code for code in value.values() if isinstance(code, Code)]
    return found


def test_every_code_fits_its_value_representation():
    for code in all_codes():
        assert 0 < len(code.value) <= 16, code
        assert 0 < len(code.meaning) <= 64, code


def test_private_code_values_are_unique():
    ours = {c for c in all_codes() if c.scheme_designator == codes.PRIVATE_CODING_SCHEME}
    assert len({code.value for code in ours}) == len(ours)


def test_a_private_value_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="17 characters; 16 fit"):
        codes.private("X" * 17, "too long")


@pytest.mark.parametrize("response", list(values.Response), ids=str)
def test_every_response_of_the_engine_has_a_code_of_its_own(response: values.Response):
    others = [codes.response_code(r.value) for r in values.Response if r is not response]
    assert codes.response_code(response.value).value not in {code.value for code in others}


@pytest.mark.parametrize("written", ["RECIST 1.1", "recist-1.1"])
def test_recist_has_the_standards_code_however_it_is_written(written: str):
    assert codes.criteria_code(written).value == "126081"


def test_other_criteria_have_a_private_code():
    code = codes.criteria_code("irecist")
    assert (code.value, code.scheme_designator) == ("IRECIST", "99TUMORLINE")


def test_the_axes_have_the_letters_that_viewers_compare():
    assert (codes.LONG_AXIS.meaning, codes.SHORT_AXIS.meaning) == ("Long Axis", "Short Axis")


def test_a_node_is_said_first_unless_its_site_is_one():
    lesion = reported_lesion(Phantom().volume(), None, is_nodal=True)
    assert [code.meaning for code in codes.anatomic_regions(lesion)] == ["Lymph Node", "Lung"]
    axillary = replace(lesion, finding_site="59441001", finding_site_meaning="Lymph node")
    assert [code.value for code in codes.anatomic_regions(axillary)] == ["59441001"]


def test_an_organ_without_a_code_gets_the_tables():
    lesion = reported_lesion(Phantom().volume(), None, organ="liver", finding_site=None)
    assert [code.value for code in codes.anatomic_regions(lesion)] == ["10200004"]


def test_uids_follow_from_their_parts_and_keep_them_apart():
    assert uids.uid_of("ab", "c") == uids.uid_of("ab", "c")
    assert uids.uid_of("ab", "c") != uids.uid_of("a", "bc")
    assert uids.uid_of("ab", "c").is_valid


def test_the_tracking_identifier_has_both_forms():
    readable = ResultSettings(tracking_identifier=TrackingIdentifierForm.READABLE)
    assert readable.tracking_id("T01") == "T01"
    assert ResultSettings().tracking_id("T01") == "Cornerstone3DTools@^0.1.0:Bidirectional:T01"


@pytest.mark.parametrize(
    "setting", [{"series_number": 0}, {"manufacturer": ""}, {"software_version": "x" * 65}]
)
def test_settings_that_no_object_can_hold_are_refused(setting: dict):
    with pytest.raises(ValueError, match=next(iter(setting)).replace("_", "[_ ]")):
        ResultSettings(**setting)


def test_signs_that_few_character_sets_have_are_spelled_out():
    assert plain("Δ ≥ 20 % – 5 µm…") == "change  >= 20 % - 5 um..."


def test_long_text_is_cut_and_says_so():
    assert short("a\\b  c", 64) == "a/b c"
    assert short("x" * 70, 64) == "x" * 61 + "..."


@pytest.mark.parametrize(
    ("source", "text", "chosen"),
    [
        ("ISO_IR 100", "Ärztin", "ISO_IR 100"),
        ("ISO_IR 100", "Łódź", "ISO_IR 192"),
        ("ISO_IR 101", "Łódź", "ISO_IR 101"),
        (None, "plain", None),
        (None, "Ärztin", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "山田", ["", "ISO 2022 IR 87"]),
    ],
)
def test_the_sources_character_set_stays_if_it_can_hold_the_text(source, text, chosen):
    assert character_set_for([text], source) == chosen


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("CR", ("C4870", "NCIt", "Complete Response")),
        ("PR", ("C18058", "NCIt", "Partial Response")),
        ("SD", ("C18213", "NCIt", "Stable Disease")),
        ("PD", ("C35571", "NCIt", "Progressive Disease")),
        ("NE", ("C62222", "NCIt", "Not Evaluable")),
        ("NA", ("C48660", "NCIt", "Not Applicable")),
        ("iUPD", ("IUPD", "99TUMORLINE", "Immune Unconfirmed Progressive Disease")),
        ("NON-CR/NON-PD", ("NONCRNONPD", "99TUMORLINE", "Non-CR/Non-PD")),
        ("minor response", ("MINORRESPONSE", "99TUMORLINE", "minor response")),
    ],
)
def test_a_response_has_its_code_of_the_nci_thesaurus_or_one_of_ours(response, code):
    found = codes.response_code(response)
    assert (found.value, found.scheme_designator, found.meaning) == code
