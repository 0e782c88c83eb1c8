"""What criteria need beside diameters, so that a pipeline can refuse at its start what it can't supply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType

from workflow.domain.response.policy import Criteria
from workflow.domain.response.timeline import Observation, Timeline


class Input(StrEnum):
    """A kind of measurement or finding; the value is how a person reads it."""

    DIAMETER = "diameters"
    PERPENDICULAR_DIAMETERS = "both perpendicular diameters of each lesion"
    VIABLE_PART = "the diameter of the part that enhances in the arterial phase (viable_mm)"
    SUL_PEAK = "SULpeak from FDG PET (sul_peak)"
    DEAUVILLE = "a Deauville score from FDG PET (deauville)"
    ATTENUATION = "mean attenuation in the portal venous phase (attenuation_hu)"
    BONE_SCAN = "bone scans (new_bone_lesions, bone, or lesions of bone)"
    CA125 = "serum CA-125 (ca125)"


_REQUIRED: Mapping[Criteria, tuple[frozenset[Input], ...]] = MappingProxyType(
    {
        Criteria.RECIST_1_1: (frozenset({Input.DIAMETER}),),
        Criteria.IRECIST: (frozenset({Input.DIAMETER}),),
        Criteria.IMRECIST: (frozenset({Input.DIAMETER}),),
        Criteria.RECIST_1_0: (frozenset({Input.DIAMETER}),),
        Criteria.MRECIST: (frozenset({Input.VIABLE_PART}),),
        Criteria.PERCIST: (frozenset({Input.SUL_PEAK}),),
        Criteria.LUGANO: (frozenset({Input.PERPENDICULAR_DIAMETERS, Input.DEAUVILLE}),),
        Criteria.LYRIC: (frozenset({Input.PERPENDICULAR_DIAMETERS, Input.DEAUVILLE}),),
        Criteria.RANO: (frozenset({Input.PERPENDICULAR_DIAMETERS}),),
        Criteria.WHO: (frozenset({Input.PERPENDICULAR_DIAMETERS}),),
        Criteria.CHOI: (frozenset({Input.DIAMETER}), frozenset({Input.ATTENUATION})),
        Criteria.PCWG3: (frozenset({Input.DIAMETER}), frozenset({Input.BONE_SCAN})),
        Criteria.GCIG: (frozenset({Input.DIAMETER}), frozenset({Input.CA125})),
    }
)


def required_inputs(criteria: Criteria) -> tuple[frozenset[Input], ...]:
    """What criteria can't do without: every set is needed, any one member of a set will do."""
    return _REQUIRED[criteria]


def missing_inputs(criteria: Criteria, available: Collection[Input]) -> str:
    """Why criteria can't be applied with these inputs, ready to be shown; "" if they can.

    A pipeline asks at its start with what it measures itself and refuses where this is not empty.
    """
    lacking = [
        " or ".join(item.value for item in Input if item in needed)
        for needed in required_inputs(criteria)
        if not needed & set(available)
    ]
    return f"{criteria} needs {'; and '.join(lacking)}" if lacking else ""


def inputs_of(timeline: Timeline) -> frozenset[Input]:
    """The inputs that a timeline holds anywhere."""
    found = {kind for p in timeline.time_points for o in p.observations for kind in _of(o)}
    for point in timeline.time_points:
        if point.sum_um is not None:
            found.add(Input.DIAMETER)
        if point.deauville is not None or point.has_unrelated_uptake:
            found.add(Input.DEAUVILLE)
        if point.new_bone_lesions is not None or point.bone is not None:
            found.add(Input.BONE_SCAN)
        if point.ca125_milli is not None:
            found.add(Input.CA125)
    return frozenset(found)


def _of(seen: Observation) -> list[Input]:
    has_both = seen.long_axis_um is not None and seen.short_axis_um is not None
    has_one = seen.diameter_um is not None or seen.long_axis_um is not None or bool(seen.fragments_um)
    kinds = {
        Input.DIAMETER: has_one or seen.short_axis_um is not None,
        Input.PERPENDICULAR_DIAMETERS: has_both,
        Input.VIABLE_PART: seen.viable_um is not None,
        Input.SUL_PEAK: seen.sul_peak_milli is not None,
        Input.ATTENUATION: seen.attenuation_milli_hu is not None,
    }
    return [kind for kind, is_there in kinds.items() if is_there]
