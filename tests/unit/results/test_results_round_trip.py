"""What we wrote, given back as prompts: the same lesions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from result_cases import Case

from dicom_io.prompts import read_prompts
from dicom_io.results.sr_lesions import has_axes
from workflow.domain.lesion import LesionPrompt, LinePrompt, MaskPrompt

GIVEN_BACK = ["axial", "readable identifiers", "multi-frame", "sagittal MR", "gantry tilt"]


def shape_of(prompt: LesionPrompt, kind: type) -> object:
    (found,) = [shape for shape in prompt.shapes if isinstance(shape, kind)]
    return found


def masks_agree(prompt: LesionPrompt, expected_lps: np.ndarray) -> bool:
    volume = shape_of(prompt, MaskPrompt).volume
    found = volume.lps(np.argwhere(volume.array))
    if found.shape != expected_lps.shape:
        return False
    order, wanted = (np.lexsort(np.round(p, 1).T) for p in (found, expected_lps))
    return bool(np.allclose(found[order], expected_lps[wanted], atol=0.02))


@pytest.mark.reads("Tumorline's prompts", "SR")
@pytest.mark.parametrize("name", GIVEN_BACK)
def test_the_sr_gives_back_every_measured_lesion(name: str, make_case: Callable[[str], Case]):
    case = make_case(name)
    read = read_prompts(case.sr_path, [case.source], related=[case.seg_path])
    assert read.problems == ()
    by_uid: dict[str | None, list[LesionPrompt]] = {}
    for prompt in read.prompts:
        by_uid.setdefault(prompt.tracking_uid, []).append(prompt)
    measured = [lesion for lesion in case.report.lesions if has_axes(lesion)]
    assert set(by_uid) == {lesion.tracking_uid for lesion in measured}
    for lesion in measured:
        (prompt,) = by_uid[lesion.tracking_uid]
        line, axes = shape_of(prompt, LinePrompt), lesion.measurement
        assert np.allclose(line.start_lps, axes.long_axis.start_lps, atol=0.01)
        assert np.allclose(line.end_lps, axes.long_axis.end_lps, atol=0.01)
        assert np.allclose(
            line.short_axis_lps, [axes.short_axis.start_lps, axes.short_axis.end_lps], atol=0.01
        )
        assert masks_agree(prompt, case.source.volume.lps(lesion.mask.indices()))
        assert (prompt.label, prompt.is_nodal) == (lesion.label, lesion.is_nodal)


@pytest.mark.reads("Tumorline's prompts", "SEG")
@pytest.mark.parametrize("name", [*GIVEN_BACK, "labelmap", "overlapping lesions", "anisotropic oblique"])
def test_the_seg_gives_back_every_mask(name: str, make_case: Callable[[str], Case]):
    case = make_case(name)
    read = read_prompts(case.seg_path, [case.source])
    assert [p.item for p in read.problems if p.item != "segment 0 Background"] == []
    found = {prompt.tracking_uid: prompt for prompt in read.prompts}
    lesions = case.results.visit.volumes[0].segmented
    assert set(found) == {lesion.tracking_uid for lesion in lesions}
    for lesion in lesions:
        prompt = found[lesion.tracking_uid]
        assert masks_agree(prompt, case.source.volume.lps(lesion.mask.indices()))
        assert (prompt.label, prompt.is_nodal) == (lesion.label, lesion.is_nodal)
