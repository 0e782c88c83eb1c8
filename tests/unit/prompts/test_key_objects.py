"""Key Object Selections are hints: where a person says to look."""

from __future__ import annotations

from dicom_io.prompts import ProblemKind, read_prompts
from tests.unit.prompts.sr_builder import image, report, text
from tests.unit.prompts.support import phantom_images

IMAGES = phantom_images()


def selection(*items):
    document = report(*items, wrapped=False)
    document.Modality = "KO"
    document.ConceptNameCodeSequence[0].CodeValue = "113000"
    document.ConceptNameCodeSequence[0].CodeMeaning = "Of Interest"
    return document


def described(words):
    item = text("comment", words)
    item.ConceptNameCodeSequence[0].CodeValue = "113012"
    return item


def test_a_marked_image_is_a_hint_with_its_slice_title_and_description():
    marked = IMAGES.slices[4].sop_instance_uid
    reading = read_prompts(selection(described("growing nodule"), image(marked)), [IMAGES])
    (hint,) = reading.hints
    assert (hint.sop_instance_uid, hint.slice_index, hint.title, hint.description) == (
        marked, 4, "Of Interest", "growing nodule"
    )  # fmt: skip
    assert (reading.prompts, reading.problems) == ((), ())


def test_a_marked_image_that_is_not_at_hand_is_said():
    (problem,) = read_prompts(selection(image("9.9")), [IMAGES]).problems
    assert (problem.kind, problem.is_doubt) == (ProblemKind.UNSUPPORTED, False)
