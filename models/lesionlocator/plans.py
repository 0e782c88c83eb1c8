"""What a checkpoint's `plans.json` says: topology, spacing, patch, normalisation and resampling.

The schema is nnU-Net v2's. Nothing of it is assumed: two releases of the same weights may differ in
the resampling keys alone, and the topology of the tracking network is published nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from workflow.domain.errors import ConfigurationError

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


class Resampling(StrEnum):
    """Which family of functions resamples images, labels and logits."""

    SPLINE = "default"  # scipy/skimage: splines, the coarse axis apart where the grid is anisotropic
    TRILINEAR = "torch"  # torch.nn.functional.interpolate on all axes


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Topology of a residual-encoder U-Net; one entry per stage, the finest first."""

    features: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    blocks: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]
    bias: bool
    norm_eps: float
    negative_slope: float


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Clip to [low, high] HU, subtract `mean`, divide by `std`."""

    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class ResamplingPlan:
    """How grids are changed. `separate_z` None decides by anisotropy; orders apply to SPLINE only."""

    family: Resampling
    image_order: int
    separate_z: bool | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One configuration of a `plans.json`; axes are (z, y, x), spacing in mm, patch in voxels."""

    configuration: str
    spacing: Spacing
    patch: Triple
    normalisation: Normalisation
    resampling: ResamplingPlan
    architecture: Architecture


def read_plan(path: Path, configuration: str) -> Plan:
    """Read one configuration of a `plans.json`, following `inherits_from`.

    Raises
    ------
    ConfigurationError
        If the file is absent, is no plans file, lacks the configuration, or asks for something
        that this implementation does not have; the message names the key.
    """
    try:
        plans = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} is missing; a checkpoint folder holds plans.json beside its fold_* folders"
        ) from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path} is not JSON ({error}); download the checkpoint again") from error
    try:
        return _plan(plans, configuration)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigurationError(
            f"{path} is not a plans file that can be used: configuration {configuration!r}, "
            f"{type(error).__name__}: {error}"
        ) from error


def _plan(plans: Mapping[str, Any], name: str) -> Plan:
    configuration = _inherited(plans["configurations"], name)
    if list(plans.get("transpose_forward", (0, 1, 2))) != [0, 1, 2]:
        raise ValueError("transpose_forward is not the identity")
    if configuration["normalization_schemes"] != ["CTNormalization"]:
        raise ValueError(f"normalization_schemes {configuration['normalization_schemes']}, expected CT only")
    channels = plans["foreground_intensity_properties_per_channel"]["0"]
    return Plan(
        configuration=name,
        spacing=_spacing(configuration["spacing"]),
        patch=_triple(configuration["patch_size"]),
        normalisation=Normalisation(
            low=float(channels["percentile_00_5"]),
            high=float(channels["percentile_99_5"]),
            mean=float(channels["mean"]),
            std=float(channels["std"]),
        ),
        resampling=_resampling(configuration),
        architecture=_architecture(configuration["architecture"]),
    )


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits, the nearest definition winning."""
    merged: dict[str, Any] = {}
    seen: set[str] = set()
    while name:
        if name in seen:
            raise ValueError(f"inherits_from goes round in a circle at {name!r}")
        seen.add(name)
        if name not in configurations:
            raise ValueError(f"no configuration {name!r}; there are {sorted(configurations)}")
        merged = {**configurations[name], **merged}
        name = configurations[name].get("inherits_from", "")
    return merged


def _resampling(configuration: Mapping[str, Any]) -> ResamplingPlan:
    families = {
        "resample_data_or_seg_to_shape": Resampling.SPLINE,
        "resample_torch_fornnunet": Resampling.TRILINEAR,
    }
    names = {configuration[f"resampling_fn_{what}"] for what in ("data", "seg", "probabilities")}
    if len(names) != 1 or not names <= families.keys():
        raise ValueError(f"resampling_fn_* {sorted(names)}, expected one of {sorted(families)} for all three")
    family = families[names.pop()]
    image = configuration["resampling_fn_data_kwargs"]
    separate_z = image.get("force_separate_z")
    if family is Resampling.TRILINEAR:
        if separate_z:
            raise ValueError("force_separate_z is true for the torch functions")
        return ResamplingPlan(family=family, image_order=1, separate_z=False)
    for what, orders in (("data", (1, 3)), ("seg", (1,)), ("probabilities", (1,))):
        given = configuration[f"resampling_fn_{what}_kwargs"]
        if given["order"] not in orders or given.get("order_z", 0) != 0:
            raise ValueError(f"resampling_fn_{what}_kwargs {given}, expected order {orders} and order_z 0")
        if given.get("force_separate_z") != separate_z:
            raise ValueError("force_separate_z differs between image, labels and logits")
    return ResamplingPlan(family=family, image_order=int(image["order"]), separate_z=separate_z)


def _architecture(described: Mapping[str, Any]) -> Architecture:
    given = described["arch_kwargs"]
    expected = {
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "nonlin": "torch.nn.LeakyReLU",
        "dropout_op": None,
    }
    if not described["network_class_name"].endswith(".ResidualEncoderUNet"):
        raise ValueError(
            f"network_class_name {described['network_class_name']}, expected ResidualEncoderUNet"
        )
    for key, value in expected.items():
        if given[key] != value and not str(given[key]).endswith(str(value).rpartition(".")[2]):
            raise ValueError(f"{key} {given[key]}, expected {value}")
    if not given["norm_op_kwargs"].get("affine", False):
        raise ValueError("norm_op_kwargs without affine parameters")
    stages = int(given["n_stages"])
    return Architecture(
        features=tuple(int(n) for n in _per_stage(given["features_per_stage"], stages)),
        kernels=tuple(_triple(k) for k in _per_stage(given["kernel_sizes"], stages)),
        strides=tuple(_triple(s) for s in _per_stage(given["strides"], stages)),
        blocks=tuple(int(n) for n in _per_stage(given["n_blocks_per_stage"], stages)),
        decoder_convolutions=tuple(int(n) for n in _per_stage(given["n_conv_per_stage_decoder"], stages - 1)),
        bias=bool(given["conv_bias"]),
        norm_eps=float(given["norm_op_kwargs"].get("eps", 1e-5)),
        negative_slope=float((given["nonlin_kwargs"] or {}).get("negative_slope", 0.01)),
    )


def _per_stage(values: Any, stages: int) -> list[Any]:
    listed = list(values) if isinstance(values, (list, tuple)) else [values] * stages
    if len(listed) != stages:
        raise ValueError(f"{len(listed)} entries for {stages} stages: {listed}")
    return listed


def _triple(values: Any) -> Triple:
    z, y, x = (values,) * 3 if isinstance(values, int) else values
    return int(z), int(y), int(x)


def _spacing(values: Any) -> Spacing:
    z, y, x = values
    return float(z), float(y), float(x)
