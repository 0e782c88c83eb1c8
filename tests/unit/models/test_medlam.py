"""MedLAM: its checkpoint's names, its axes, its refinement on the grid, and the pipeline behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import a_mask, a_volume, at

from models import medlam, registry
from models.medlam import detector as detection
from models.medlam.localizer import MedLamLocalizer
from models.medlam.network import PATCH, LoadedNetwork, MedLam, load_network
from models.medlam.structures import MedLsam
from models.medlam.templates import Template, TemplateStore, build, extreme_points
from models.medlam.view import body_view
from models.weights import sha256_of
from workflow.domain.errors import ConfigurationError, UnsuitableInputError
from workflow.domain.geometry import Volume
from workflow.domain.lesion import BoxPrompt, DetectedLesion, ModelIdentity, SegmentedLesion
from workflow.ports import Detector, Localizer

# ---------------------------------------------------------------- the network


def test_the_networks_names_and_size_are_those_of_the_published_checkpoint():
    state = MedLam(classes=5).state_dict()
    units = [f"conv{level}_{part}" for level in range(9) for part in (1, 2)]
    wanted = {f"{unit}.model.conv1_1.Conv.{kind}" for unit in units for kind in ("weight", "bias")}
    wanted |= {
        f"{name}.{kind}" for name in ("classification.0", "fc1", "fc2", "fc3") for kind in ("weight", "bias")
    }
    assert set(state) == wanted
    assert len(wanted) == 44
    assert sum(tensor.numel() for tensor in state.values()) == pytest.approx(15.07e6, rel=1e-3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A half-precision checkpoint as data-parallel training leaves it."""
    torch.manual_seed(4)
    file = tmp_path_factory.mktemp("medlam") / "medlam.pth"
    torch.save(
        {f"module.{name}": tensor.half() for name, tensor in MedLam(classes=5).state_dict().items()}, file
    )
    return file


@pytest.fixture(scope="module")
def network(weights):
    """The same layers, 2 channels wide: everything but the numbers, in a tenth of a second."""
    torch.manual_seed(5)
    return LoadedNetwork(module=MedLam(base=2).eval(), device=torch.device("cpu"), weights=weights)


def test_a_half_precision_data_parallel_checkpoint_loads_on_the_cpu(weights):
    network = load_network(weights, "cpu")
    found = network.positions(np.zeros((1, PATCH, PATCH, PATCH), dtype=np.float32), batch=1)
    assert np.isfinite(found).all()


def test_a_patch_has_a_position_and_features_at_three_scales(network):
    patch = np.random.default_rng(0).random((1, PATCH, PATCH, PATCH), dtype=np.float32)
    places, features = network.positions_and_features(patch, batch=1)
    assert places.shape == (1, 3)
    assert [tuple(one.shape) for one in features] == [
        (1, 8, 16, 16, 16),
        (1, 8, 32, 32, 32),
        (1, 8, 64, 64, 64),
    ]
    assert features[2].norm(dim=1).max() == pytest.approx(1, abs=1e-4)
    assert np.allclose(network.positions(patch, batch=1), places)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save({"conv0_1.model.conv1_1.Conv.weight": torch.zeros(2)}, tmp_path / "medlam.pth")
    with pytest.raises(ConfigurationError, match=r"43 missing .*1 of another shape"):
        load_network(tmp_path / "medlam.pth", "cpu")


def test_the_registry_opens_it_where_the_licence_is_allowed(weights):
    opened = registry.open_localizer("medlam", weights, allowed_licences={"CC-BY-NC-4.0"}, device="cpu")
    assert isinstance(opened, Localizer)
    with pytest.raises(ConfigurationError, match="templates are not at"):
        registry.open_detector("medlam", weights, allowed_licences={"CC-BY-NC-4.0"}, device="cpu")


def test_it_is_converted_without_the_data_parallel_prefix(weights, tmp_path):
    medlam.convert(weights, tmp_path / "medlam.safetensors")
    assert load_network(tmp_path / "medlam.safetensors", "cpu").module.fc3.bias.shape == (3,)


# ---------------------------------------------------------------- axes


VOLUME = a_volume(shape=(20, 40, 50), spacing_mm=(3.0, 3.0, 3.0))


def test_hu_levels_are_the_trained_ones():
    values = np.array([-2000, -1000, -600, -200, 0, 200, 1500, 3000.0])
    array = np.broadcast_to(values, (2, 2, 8)).astype(np.float32)
    view = body_view(Volume(array=array, affine=VOLUME.affine))
    assert view.array[0, 0] == pytest.approx([0, 0, 0.1, 0.2, 0.5, 0.8, 1, 1])


def test_the_view_runs_upwards_forwards_and_to_the_left_however_the_volume_is_stored():
    array = np.random.default_rng(1).normal(0, 100, VOLUME.shape).astype(np.float32)
    plain = body_view(VOLUME.with_array(array))
    # The same patient, stored from head to foot and as sagittal slices.
    turned = VOLUME.affine[:, [2, 0, 1, 3]].copy()
    turned[:3, 3] += turned[:3, 1] * (VOLUME.shape[0] - 1)
    turned[:3, 1] *= -1
    stored = Volume(array=array.transpose(2, 0, 1)[:, ::-1], affine=turned)
    assert np.allclose(body_view(stored).array, plain.array, atol=1e-5)
    assert plain.array[0, -1, 0] == pytest.approx(
        np.interp(array[0, 0, 0], [-200, 200], [0.2, 0.8]), abs=1e-4
    )


def test_positions_and_voxels_are_each_others_inverse():
    view = body_view(VOLUME)
    places = np.array([at(VOLUME, 3, 4, 5), at(VOLUME, 0, 39, 49)])
    assert np.allclose(view.positions(view.voxels(places)), places)
    assert view.voxels(places)[1] == pytest.approx([0, 0, 49])


def test_a_spacing_that_makes_a_giant_is_refused():
    with pytest.raises(UnsuitableInputError, match="more than any body"):
        body_view(a_volume(shape=(2, 2, 60), spacing_mm=(3.0, 1.0, 100.0)))


# ---------------------------------------------------------------- body coordinates


@dataclass
class LinearHead:
    """A network whose position head is the place that is written into each patch's middle voxel."""

    weights: Path = Path("none")
    seen: list[int] = field(default_factory=list)

    def positions(self, patches, batch):
        self.seen.append(len(patches))
        return np.array(
            [np.argwhere(patch > 0.9)[0] - 32 if (patch > 0.9).any() else [0, 0, 0] for patch in patches]
        ) * [
            -3 / 1500,
            -3 / 600,
            -3 / 600,
        ]


def test_coordinates_differ_by_the_way_between_two_places_in_lps():
    # One bright voxel: the head says how far the patch is from it.
    array = VOLUME.array.copy()
    array[10, 20, 25] = 1500
    volume = VOLUME.with_array(array)
    places = [at(volume, 8, 22, 21), at(volume, 12, 17, 30)]
    one, other = MedLamLocalizer(network=LinearHead()).body_coordinates(volume, places)
    assert np.subtract(other, one) == pytest.approx(np.subtract(places[1], places[0]), abs=1e-6)


def test_a_position_outside_is_named_and_none_is_fine():
    localizer = MedLamLocalizer(network=LinearHead())
    with pytest.raises(UnsuitableInputError, match="position 1 at"):
        localizer.body_coordinates(VOLUME, [at(VOLUME, 1, 1, 1), (0.0, 0.0, 9000.0)])
    assert localizer.body_coordinates(VOLUME, []) == []


# ---------------------------------------------------------------- templates


def test_extreme_points_lie_in_the_structure_at_its_ends():
    mask = a_mask(VOLUME.shape, (slice(5, 9), slice(10, 21), slice(30, 33)))
    points = VOLUME.ijk(extreme_points(VOLUME, mask))
    low_z, low_y, low_x, high_z, high_y, high_x = points
    assert (low_z[0], high_z[0]) == pytest.approx((5, 8))
    assert (low_y[1], high_y[1]) == pytest.approx((20, 10))  # forwards is against the rows
    assert (low_x[2], high_x[2]) == pytest.approx((30, 32))
    assert all(mask.array()[tuple(np.rint(point).astype(int))] for point in points)


@pytest.mark.parametrize("count", [2, 11])
def test_three_to_ten_template_scans_are_needed(network, count):
    mask = a_mask(VOLUME.shape, (slice(5, 9), slice(10, 21), slice(30, 33)))
    with pytest.raises(UnsuitableInputError, match=f"'liver' has {count} template scans; 3 to 10"):
        build(network, "liver", [(VOLUME, mask)] * count)


def a_template(seed: int = 0) -> Template:
    random = np.random.default_rng(seed)
    features = tuple(random.normal(size=(6, 4, k, k, k)).astype(np.float32) for k in (2, 4, 8))
    return Template(positions=np.zeros((6, 3)), features=features, scans=3)


def test_a_store_reads_what_it_wrote(tmp_path):
    store = TemplateStore(templates={"liver": a_template()}, weights_sha256="ab" * 32)
    store.save(tmp_path / "templates.npz")
    read = TemplateStore.load(tmp_path / "templates.npz")
    assert read.weights_sha256 == store.weights_sha256
    assert np.array_equal(read.templates["liver"].features[2], store.templates["liver"].features[2])
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ConfigurationError, match="is no template store"):
        TemplateStore.load(tmp_path / "other.npz")


def test_templates_of_other_weights_are_refused(network):
    store = TemplateStore(templates={"liver": a_template()}, weights_sha256="ab" * 32)
    with pytest.raises(ConfigurationError, match="make the templates again"):
        detection.MedLamDetector(network=network, templates=store)


# ---------------------------------------------------------------- refinement


@pytest.mark.parametrize("place", [(32, 32, 32), (20, 44, 36), (56, 8, 32), (12, 28, 52)])
def test_the_best_match_is_the_voxel_where_the_template_stands(place):
    # A field of random features, and the template cut out of it around one voxel, at all three scales.
    generator = torch.Generator().manual_seed(2)
    full = torch.randn(2, 8, 64, 64, 64, generator=generator)
    maps, features = [], []
    for scale, kernel in ((4, 2), (2, 4), (1, 8)):
        level = torch.nn.functional.normalize(torch.nn.functional.avg_pool3d(full, scale), dim=1)
        middle = [round(p / scale) for p in place]
        cut = [slice(max(0, m - kernel // 2), m + kernel // 2) for m in middle]
        part = level[(slice(None), slice(None), *cut)]
        missing = [(0, kernel - n) for n in part.shape[2:]]
        part = torch.nn.functional.pad(part, [v for pair in reversed(missing) for v in pair])
        maps.append(level)
        features.append(part.numpy())
    template = Template(positions=np.zeros((6, 3)), features=tuple(features), scans=3)
    steps, likeness = detection._best_match(maps, template)
    assert np.abs(steps - (np.array(place) - 32)).max() == 0
    assert likeness.min() > 0.5


class PatternNetwork(LinearHead):
    """The head of `LinearHead`; a voxel's features are the texture around it."""

    def positions_and_features(self, patches, batch):
        whole = torch.from_numpy(patches)[:, None]
        around = [whole] + [torch.roll(whole, step, dims=axis) for axis in (2, 3, 4) for step in (1, -1)]
        channels = torch.cat(around, dim=1) - 0.5
        scales = [
            torch.nn.functional.normalize(torch.nn.functional.avg_pool3d(channels, scale), dim=1)
            for scale in (4, 2, 1)
        ]
        return self.positions(patches, batch), scales


def a_textured_patient(way=(0, 0, 0)):
    """Noise with one bright voxel in the middle; the patient lies so many voxels further along each axis."""
    array = np.random.default_rng(3).normal(0, 120, (36, 44, 48)).astype(np.float32)
    array[18, 22, 24] = 1500
    return a_volume(array.shape, (3.0, 3.0, 3.0)).with_array(np.roll(array, way, axis=(0, 1, 2)))


def test_a_structure_is_found_where_the_patient_lies(tmp_path):
    weights = tmp_path / "medlam.pth"
    weights.write_bytes(b"none")
    network = PatternNetwork(weights=weights)
    volume = a_textured_patient()
    mask = a_mask(volume.shape, (slice(12, 21), slice(15, 30), slice(20, 33)))
    store = TemplateStore(
        templates={"liver": build(network, "liver", [(volume, mask)] * 3)}, weights_sha256=sha256_of(weights)
    )
    finder = detection.MedLamDetector(network=network, templates=store)
    assert isinstance(finder, Detector)
    (found,) = finder.detect(a_textured_patient(way=(2, -3, 4)))
    assert found.label == "liver"
    assert found.score > 0.9
    assert found.box.minimum_lps == pytest.approx(at(volume, 14, 12, 24))
    assert found.box.maximum_lps == pytest.approx(at(volume, 22, 26, 36))


def test_opposite_points_in_the_wrong_order_make_no_box():
    assert detection._box(np.zeros((6, 3))) is None


# ---------------------------------------------------------------- MedLSAM


class OneBox:
    def __init__(self, score):
        self.score = score

    def detect(self, volume):
        box = BoxPrompt(minimum_lps=at(volume, 2, 3, 4), maximum_lps=at(volume, 6, 9, 9))
        return [DetectedLesion(box=box, score=self.score, label="spleen")]


class BoxFiller:
    identity = ModelIdentity(name="filler", version="1")

    def segment(self, volume, prompts, *, progress=None):
        masks = [a_mask(volume.shape, (slice(2, 7), slice(3, 10), slice(4, 10))) for _ in prompts]
        return [
            SegmentedLesion(index=i, mask=mask, confidence=1.0, model=self.identity)
            for i, mask in enumerate(masks)
        ]


def test_a_detected_box_is_the_prompt_of_the_segmenter():
    found = MedLsam(detector=OneBox(0.8), segmenter=BoxFiller()).segment_structures(VOLUME)
    assert set(found) == {"spleen"}
    assert found["spleen"].mask.voxel_count == 5 * 7 * 6


def test_a_box_that_is_not_alike_enough_is_left_out():
    assert (
        MedLsam(detector=OneBox(0.2), segmenter=BoxFiller(), least_score=0.5).segment_structures(VOLUME) == {}
    )
