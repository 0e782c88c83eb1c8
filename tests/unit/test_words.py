"""Every state, role and criteria has words for people, written down once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicom_io import codes
from workflow.domain.lesion import LesionState
from workflow.domain.report import ROLE_WORDS, LesionRole
from workflow.domain.response.policy import CRITERIA_WORDS, Criteria
from workflow.domain.states import LESION_WORDS, RESULT_WORDS, VISIT_WORDS, ResultState, VisitState

ROOT = Path(__file__).resolve().parents[2]
TABLES = [
    (LESION_WORDS, LesionState),
    (VISIT_WORDS, VisitState),
    (RESULT_WORDS, ResultState),
    (ROLE_WORDS, LesionRole),
    (CRITERIA_WORDS, Criteria),
]


@pytest.mark.parametrize(("words", "values"), TABLES, ids=[values.__name__ for _, values in TABLES])
def test_each_value_has_words_of_its_own(words, values):
    assert set(words) == set(values)
    assert len(set(words.values())) == len(words)
    assert not [text for text in words.values() if "_" in text]


def test_an_sr_names_the_criteria_as_the_page_does():
    known = {codes._code_value(name) for name in codes.CRITERIA}
    for criteria, words in CRITERIA_WORDS.items():
        if codes._code_value(criteria) not in known:  # CID 6147 has words of its own
            assert codes.criteria_code(criteria).meaning == words


def test_nobody_makes_words_of_a_state_by_its_letters():
    for folder in ("workflow", "dicom_io"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".html"):
                assert not re.search(r"state\S*(?:\.replace\(|\|replace\()", path.read_text()), path
