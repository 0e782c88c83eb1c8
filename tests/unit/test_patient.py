"""Whose study it is: one person, two, or a question for somebody, in whatever alphabet."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest

from workflow.domain.patient import Likeness, PatientIdentity, compare, why_not_same

BORN = date(1960, 1, 2)
PERSON = PatientIdentity(
    patient_id="1", issuer_of_patient_id="HOSP", patient_name="Müller^Anna", birth_date=BORN, sex="F"
)
SAME, JOINED, IN_DOUBT, DIFFERENT = Likeness


def likeness(one: PatientIdentity, other: PatientIdentity) -> Likeness:
    """What a comparison finds; it depends on no order, and its reason tells nobody who it is."""
    match, reverse = compare(one, other), compare(other, one)
    assert match == reverse
    names = re.findall(r"[^\W_]+", f"{one.patient_name} {other.patient_name}")
    assert not set(names) & set(re.findall(r"[^\W_]+", match.reason))
    return match.likeness


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("the same", {}, SAME),
        ("nothing else said", {"patient_name": "", "birth_date": None, "sex": ""}, SAME),
        ("other case, no accent, middle name", {"patient_name": "MULLER^ANNA^B"}, SAME),
        ("umlaut written out", {"patient_name": "Mueller^Anna"}, SAME),
        ("married, birth date agrees", {"patient_name": "Schmidt^Anna"}, SAME),
        ("married, birth date unknown", {"patient_name": "Schmidt^Anna", "birth_date": None}, IN_DOUBT),
        ("another name altogether", {"patient_name": "Roe^Jane"}, IN_DOUBT),
        ("another birth date", {"birth_date": date(1961, 1, 2)}, IN_DOUBT),
        ("a birth date that stands for unknown", {"birth_date": date(1900, 1, 1)}, SAME),
        ("another sex", {"sex": "M"}, IN_DOUBT),
        ("sex other is no contradiction", {"sex": "O"}, SAME),
        ("another PatientID", {"patient_id": "2"}, DIFFERENT),
        ("another issuer", {"issuer_of_patient_id": "CLINIC"}, DIFFERENT),
        ("the issuer in HL7's long form", {"issuer_of_patient_id": "Hosp&1.2.3&ISO"}, SAME),
        ("no issuer, the rest agrees", {"issuer_of_patient_id": ""}, JOINED),
        ("no issuer, birth date unknown", {"issuer_of_patient_id": "", "birth_date": None}, JOINED),
        ("no issuer, sex unknown", {"issuer_of_patient_id": "", "sex": ""}, JOINED),
        (
            "no issuer, only the name agrees",
            {"issuer_of_patient_id": "", "birth_date": None, "sex": ""},
            IN_DOUBT,
        ),
        ("no issuer, no name", {"issuer_of_patient_id": "", "patient_name": ""}, IN_DOUBT),
        ("no issuer, another name", {"issuer_of_patient_id": "", "patient_name": "Roe^Jane"}, IN_DOUBT),
        (
            "no issuer, another birth date",
            {"issuer_of_patient_id": "", "birth_date": date(1961, 1, 2)},
            IN_DOUBT,
        ),
        ("no issuer, another sex", {"issuer_of_patient_id": "", "sex": "M"}, IN_DOUBT),
        ("no issuer, another PatientID", {"issuer_of_patient_id": "", "patient_id": "2"}, DIFFERENT),
    ],
)
def test_what_agrees_is_joined_what_contradicts_is_asked(name, change, expected):
    assert likeness(PERSON, replace(PERSON, **change)) is expected


def test_two_unknown_issuers_are_one_issuer():
    nameless = replace(PERSON, issuer_of_patient_id="", patient_name="", birth_date=None, sex="")
    assert likeness(nameless, nameless) is SAME


ALIKE = [
    ("Иванов^Иван", "ИВАНОВ^ИВАН^ИВАНОВИЧ"),
    ("Семёнов^Пётр", "Семенов^Петр"),
    ("Παπαδόπουλος^Γιώργος", "ΠΑΠΑΔΟΠΟΥΛΟΣ^ΓΙΩΡΓΟΣ"),
    ("王^小东", "王小东"),
    ("Wang^XiaoDong=王^小东", "王^小东"),
    ("Wang^XiaoDong", "WANG^XIAO DONG"),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=ヤマダ^タロウ"),
    ("김^철수", "김철수"),
    ("أحمد^محمد", "احمد^محمد"),
    ("O'Brien^Pat", "OBrien^Pat"),
    ("Müller, Anna", "Müller^Anna"),
    ("Smith^J", "Smith^John"),
    ("van der Berg^Jan", "Berg^Jan^van der"),
    ("Ｓｍｉｔｈ^Ｊｏｈｎ", "Smith^John"),
    ("Doe^John", "Anonymous^^^"),
]
UNLIKE = [
    ("Иванов^Иван", "Петрова^Анна"),
    ("Παπαδόπουλος^Γιώργος", "Δημητρίου^Ελένη"),
    ("王^小东", "李^大伟"),
    ("山田^太郎", "鈴木^花子"),
    ("김^철수", "이^영희"),
    ("أحمد^محمد", "حسن^علي"),
    ("כהן^דוד", "לוי^שרה"),
    ("राम^शर्मा", "गीता^वर्मा"),
    ("Müller^Anna^^Dr", "Roe^Jane^^Dr"),
    ("Müller^Anna^^Komtur^Ritter", "Roe^Jane^^Komtur^Ritter"),
    ("ANON^001", "ANON^002"),
    ("Rossi^Maria", "Rossi^Amira"),
    ("García López^María", "García López^José"),
    ("Wang^Wei=王^伟", "Wang^Wei=王^薇"),
    ("Иванов^Иван", "Smith^John"),
    ("Smith^J", "Jones^J"),
]


def _named(name: str, **known: object) -> PatientIdentity:
    return PatientIdentity(patient_id="1", patient_name=name, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_one_name_as_two_systems_write_it_is_one_person(one, other):
    assert likeness(_named(one), _named(other)) is SAME


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_two_persons_under_one_patient_id_are_asked_about_whatever_their_alphabet(one, other):
    assert likeness(_named(one), _named(other)) is IN_DOUBT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Иванов^Иван", "Ivanov^Ivan"),
        ("Иванов^Иван", "Iwanow^Iwan"),
        ("Шевченко^Жанна", "Shevchenko^Zhanna"),
        ("Παπαδόπουλος^Γιώργος", "Papadopoulos^Giorgos"),
        ("王^小东", "Wang^XiaoDong"),
    ],
)
def test_one_name_in_two_scripts_needs_the_birth_date(one, other):
    assert likeness(_named(one), _named(other)) is IN_DOUBT
    assert likeness(_named(one, birth_date=BORN), _named(other, birth_date=BORN)) is SAME


def test_transliteration_tells_a_person_what_to_look_for():
    assert "transliterated they are alike" in compare(_named("Иванов^Иван"), _named("Ivanov^Ivan")).reason


def test_a_birth_date_does_not_hide_two_names_in_two_scripts_that_are_unlike():
    one, other = (_named(name, birth_date=BORN) for name in ("Петрова^Анна", "Smith^John"))
    assert likeness(one, other) is IN_DOUBT


def test_a_title_is_no_part_of_a_name_that_two_persons_share():
    one, other = (_named(f"{name}^^Ritter", birth_date=BORN) for name in ("Müller^Anna", "Roe^Jane"))
    assert likeness(one, other) is IN_DOUBT


def test_whoever_asks_only_for_the_reason_gets_none_where_there_is_no_doubt():
    assert why_not_same(PERSON, replace(PERSON, issuer_of_patient_id="")) is None
    assert why_not_same(PERSON, replace(PERSON, sex="M")) == "the same PatientID comes with two sexes"


@pytest.mark.parametrize(
    ("name", "one", "other", "expected"),
    [
        ("another given name", "王^伟", "王^芳", SAME),
        ("another family name", "王^伟", "李^伟", SAME),
        ("no sign in common", "王^伟", "李^娜", IN_DOUBT),
        ("the same signs in the middle alone", "王^小明", "李^小红", IN_DOUBT),
    ],
)
def test_a_birth_date_joins_names_in_chinese_signs_only_if_first_or_last_agree(name, one, other, expected):
    assert likeness(_named(one, birth_date=BORN), _named(other, birth_date=BORN)) is expected, name
    assert likeness(_named(one, birth_date=None), _named(other, birth_date=None)) is IN_DOUBT


@pytest.mark.parametrize("born", [date(1960, 1, 1), date(1900, 5, 2), date(1901, 1, 1)])
def test_only_the_first_of_january_1900_and_before_stands_for_an_unknown_birth_date(born):
    person = replace(PERSON, birth_date=born)
    assert likeness(person, replace(person, birth_date=date(1970, 5, 5))) is IN_DOUBT


def test_a_name_of_a_nobody_says_nothing():
    assert likeness(PERSON, replace(PERSON, patient_name="^^^^")) is SAME
    without_issuer = replace(PERSON, issuer_of_patient_id="", patient_name="")
    assert likeness(PERSON, without_issuer) is IN_DOUBT
