"""What every segmenter keeps, whichever network is inside: order, grid, geometry, refusals, repeatability.

The networks have random weights, so nothing here is about accuracy.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_models import tiny_medsam, tiny_medsam2, tiny_open_lesion

from models import registry
from models.catalogue import Kind, PromptKind
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import Mask, Volume, affine_from_axes
from workflow.domain.lesion import (
    BoxPrompt,
    Flag,
    LesionPrompt,
    LinePrompt,
    MaskPrompt,
    OutlinePrompt,
    PointPrompt,
    PromptShape,
    PromptSource,
    SegmentedLesion,
)
from workflow.ports import Segmenter

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/site_model"


# ---------------------------------------------------------------- the backends


@dataclass(frozen=True)
class Backend:
    segmenter: Segmenter
    prompts: tuple[PromptKind, ...]
    needs_weights: bool


def _weight_free(folder: Path, shared: Callable[[], Path]) -> Segmenter:
    return registry.open_segmenter("weight-free")


def _medsam(folder: Path, shared: Callable[[], Path]) -> Segmenter:
    pytest.importorskip("transformers", reason="the extra 'sam' is not installed")
    return tiny_medsam(folder / "medsam.pth")


def _medsam2(folder: Path, shared: Callable[[], Path]) -> Segmenter:
    pytest.importorskip("transformers", reason="the extra 'sam' is not installed")
    return tiny_medsam2(folder / "medsam2.pt")


def _open_lesion(folder: Path, shared: Callable[[], Path]) -> Segmenter:
    return registry.open_segmenter("open-lesion", tiny_open_lesion(folder / "tiny.safetensors"), device="cpu")


def _lesionlocator(folder: Path, shared: Callable[[], Path]) -> Segmenter:
    fixtures = shared() / "fixtures"
    spec = importlib.util.spec_from_file_location("weights_recipe", fixtures / "weights_recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    root = recipe.write_lesionlocator_checkpoint(
        folder, fixtures / "lesionlocator", parts=("seg_box", "seg_point")
    )
    return registry.open_segmenter("lesionlocator", root, device="cpu")


def _example(folder: Path, shared: Callable[[], Path]) -> Segmenter:
    """Installed as a package is: its entry point is found by its metadata on the path."""
    metadata = folder / "site_model-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: site-model\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[tumorline.models]\nthreshold-ball = site_model:ENTRY\n")
    sys.path[:0] = [str(EXAMPLE), str(folder)]
    return registry.open_segmenter("threshold-ball")


BACKENDS: dict[str, Callable[[Path, Callable[[], Path]], Segmenter]] = {
    "weight-free": _weight_free,
    "open-lesion": _open_lesion,
    "lesionlocator": _lesionlocator,
    "medsam": _medsam,
    "medsam2": _medsam2,
    "threshold-ball": _example,
}


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request, tmp_path_factory):
    before = list(sys.path)
    opened = BACKENDS[request.param](
        tmp_path_factory.mktemp("weights"), lambda: request.getfixturevalue("shared_dir")
    )
    known = registry.entry(request.param)
    yield Backend(segmenter=opened, prompts=known.prompts, needs_weights=known.needs_weights)
    sys.path[:] = before


def test_every_installed_segmenter_is_in_this_suite():
    installed = {
        name for name in registry.names(Kind.SEGMENTER) if registry.is_installed(registry.entry(name))
    }
    # nnInteractive has an environment of its own (docs/decisions); where it is installed, so are its weights.
    assert installed - {"nninteractive"} <= set(BACKENDS)


# ---------------------------------------------------------------- the patients


def a_patient(shape: tuple[int, int, int] = (5, 32, 36)) -> Volume:
    """Soft tissue with noise and two bright balls, axial, 3 x 0.9 x 0.9 mm, float32 HU."""
    affine = affine_from_axes(
        origin_lps=(-15.0, -14.0, 200.0),
        slice_step=(0.0, 0.0, 3.0),
        row_step=(0.0, 0.9, 0.0),
        column_step=(0.9, 0.0, 0.0),
    )
    array = np.random.default_rng(5).normal(40, 8, shape).astype(np.float32)
    volume = Volume(array=array, affine=affine)
    places = volume.lps(np.argwhere(np.ones(shape, dtype=bool)))
    for centre in (LEFT, RIGHT):
        array[(np.linalg.norm(places - centre, axis=1) < 5.0).reshape(shape)] += 90
    return volume


# Away from voxel centres and faces: there, rounding would decide.
LEFT, RIGHT = np.array([-6.17, -2.31, 206.23]), np.array([8.11, 3.37, 206.23])


def prompt(*shapes: PromptShape, label: str = "") -> LesionPrompt:
    return LesionPrompt(shapes=shapes, source=PromptSource.READER, label=label)


def point(place: np.ndarray) -> tuple[float, float, float]:
    x, y, z = place
    return float(x), float(y), float(z)


def a_line(centre: np.ndarray, along: np.ndarray | None = None) -> LesionPrompt:
    along = np.array([5.0, 0.0, 0.0]) if along is None else along
    return prompt(LinePrompt(start_lps=point(centre - along), end_lps=point(centre + along)))


def a_shape(kind: PromptKind, volume: Volume) -> tuple[PromptShape, ...]:
    match kind:
        case PromptKind.POINT:
            return (PointPrompt(position_lps=point(LEFT)),)
        case PromptKind.NEGATIVE_POINT:
            return (
                PointPrompt(position_lps=point(LEFT)),
                PointPrompt(position_lps=point(RIGHT), is_positive=False),
            )
        case PromptKind.LINE:
            return a_line(LEFT).shapes
        case PromptKind.BOX:
            return (BoxPrompt(minimum_lps=point(LEFT - 5), maximum_lps=point(LEFT + 5)),)
        case PromptKind.OUTLINE:
            turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            ring = [LEFT + 5 * np.array([np.cos(t), np.sin(t), 0]) for t in turns]
            return (OutlinePrompt(points_lps=tuple(point(place) for place in ring)),)
        case PromptKind.MASK:
            drawn = np.zeros(volume.shape, dtype=bool)
            drawn[1:4, 10:17, 7:14] = True
            return (MaskPrompt(volume=volume.with_array(drawn)),)


def same(one: Mask, other: Mask) -> bool:
    return one.shape == other.shape and np.array_equal(one.array(), other.array())


def both(backend: Backend, volume: Volume) -> list[SegmentedLesion]:
    return backend.segmenter.segment(volume, [a_line(LEFT), a_line(RIGHT)])


@pytest.fixture(scope="module")
def patient():
    return a_patient()


@pytest.fixture(scope="module")
def found(backend, patient):
    return both(backend, patient)


# ---------------------------------------------------------------- the contract


def test_it_fits_the_port(backend):
    assert isinstance(backend.segmenter, Segmenter)


def test_there_is_one_result_per_prompt_in_their_order_on_the_volumes_own_grid(found, patient):
    assert [one.index for one in found] == [0, 1]
    assert all(one.mask.shape == patient.shape for one in found)
    assert all(0 <= one.confidence <= 1 for one in found)


def test_an_empty_mask_says_so_and_only_an_empty_one(found):
    assert all((Flag.EMPTY in one.flags) == one.mask.is_empty for one in found)


def test_two_lesions_never_share_a_voxel(found):
    assert not (found[0].mask.array() & found[1].mask.array()).any()


def test_a_lesion_at_the_volumes_end_is_flagged(found):
    for one in found:
        if not one.mask.is_empty:
            at_end = one.mask.start_ijk[0] == 0 or one.mask.stop_ijk[0] == one.mask.shape[0]
            assert not at_end or Flag.TRUNCATED_AT_VOLUME_END in one.flags


def test_every_result_says_which_model_made_it(found, backend):
    for one in found:
        assert one.model.name == backend.segmenter.identity.name
        assert one.model.version
        assert one.model.licence
        assert (one.model.weights_sha256 is not None) == backend.needs_weights


def test_the_same_question_has_the_same_answer(backend, found):
    again = both(backend, a_patient())
    assert all(same(one.mask, other.mask) for one, other in zip(found, again, strict=True))
    assert [one.confidence for one in again] == pytest.approx([one.confidence for one in found])


def test_every_prompt_that_the_catalogue_promises_is_taken(backend, patient):
    for kind in backend.prompts:
        (one,) = backend.segmenter.segment(patient, [prompt(*a_shape(kind, patient))])
        assert one.mask.shape == patient.shape, kind


def test_a_patient_who_lies_elsewhere_and_turned_has_the_same_lesion(backend, found, patient):
    turn = np.eye(4)
    angle = np.radians(20)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (30.0, -40.0, 500.0)
    moved = Volume(array=patient.array, affine=turn @ patient.affine)
    there = (turn @ [*LEFT, 1])[:3], (turn @ [*RIGHT, 1])[:3]
    along = turn[:3, :3] @ [5.0, 0.0, 0.0]
    again = backend.segmenter.segment(moved, [a_line(place, along) for place in there])
    assert all(same(one.mask, other.mask) for one, other in zip(found, again, strict=True))


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1, 2)], ids=["slices", "rows", "all"])
def test_a_volume_stored_the_other_way_round_has_its_lesion_in_the_same_place(backend, found, patient, axes):
    affine = patient.affine.copy()
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (patient.shape[axis] - 1)
        affine[:3, axis] *= -1
    stored = Volume(array=np.flip(patient.array, axes), affine=affine)
    again = both(backend, stored)
    for one, other in zip(found, again, strict=True):
        assert_same_place(one.mask.array(), np.flip(other.mask.array(), axes))


def test_rows_and_columns_exchanged_have_the_lesion_in_the_same_place(backend, found, patient):
    stored = Volume(array=patient.array.transpose(0, 2, 1), affine=patient.affine[:, [0, 2, 1, 3]])
    for one, other in zip(found, both(backend, stored), strict=True):
        assert_same_place(one.mask.array(), other.mask.array().transpose(0, 2, 1))


def assert_same_place(one: np.ndarray, other: np.ndarray) -> None:
    # Sums in another order may move a voxel on the boundary.
    total = int(one.sum()) + int(other.sum())
    assert total == 0 or 2 * int((one & other).sum()) / total > 0.98


def test_a_prompt_outside_the_volume_is_refused_by_its_place_in_the_call(backend, patient):
    outside = a_line(LEFT + np.array([0.0, 0.0, 500.0]))
    with pytest.raises(UnsuitableInputError, match=r"(?i)prompt"):
        backend.segmenter.segment(patient, [a_line(LEFT), outside])
    # One that is refused does not spoil what comes after.
    assert len(backend.segmenter.segment(patient, [a_line(LEFT)])) == 1


def test_no_prompts_give_no_results(backend, patient):
    assert backend.segmenter.segment(patient, []) == []


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 6, 5)], ids=["one slice", "a few voxels"])
def test_a_tiny_volume_is_no_reason_to_fail(backend, shape):
    volume = Volume(array=np.full(shape, 40, dtype=np.float32), affine=a_patient().affine)
    middle = volume.lps((np.array(shape) - 1) / 2)
    (one,) = backend.segmenter.segment(volume, [a_line(middle, np.array([1.5, 0.0, 0.0]))])
    assert one.mask.shape == shape


def test_progress_runs_from_0_to_1(backend, patient):
    told: list[float] = []
    backend.segmenter.segment(patient, [a_line(LEFT)], progress=lambda share, what: told.append(share))
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1
    assert told[-1] == pytest.approx(1.0)


def test_integer_voxels_are_taken_like_floats(backend):
    shorts = a_patient().array.round().astype(np.int16)
    floats = Volume(array=shorts.astype(np.float32), affine=a_patient().affine)
    (one,) = backend.segmenter.segment(floats, [a_line(LEFT)])
    (other,) = backend.segmenter.segment(Volume(array=shorts, affine=floats.affine), [a_line(LEFT)])
    assert same(one.mask, other.mask)
