"""Segmenters on the same lesions and prompts: overlap, surfaces, diameters, confidence, by what matters."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.training.backgrounds import Scan
from models.training.config import SynthesisConfig
from models.training.prompting import PromptKind, prompt_of
from models.training.synthesis import make_sample
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume, dice
from workflow.domain.lesion import Flag
from workflow.domain.measurement import measure
from workflow.ports import Segmenter

POOR = 0.6  # a result with a lower Dice should be flagged
MEASURABLE_MM = 10.0  # RECIST 1.1, 3.1.1: the long axis of a measurable lesion, at least
_LEAST_VOXELS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A lesion whose true mask is known. Cases of one patient are never taken for independent."""

    name: str
    patient: str
    modality: str
    volume: Volume
    mask: Mask
    site: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One segmenter on one lesion with one prompt.

    Attributes
    ----------
    surface_mm, surface_95_mm
        Mean and 95th percentile of the distances between the surfaces, both ways; nan if nothing was found.
    long_axis_mm, long_axis_error_mm, long_axis_error_percent
        The true one, and found minus true (-100 % if nothing was found).
    volume_ratio
        Found to true.
    is_measurable_agreed
        Whether both or neither have a long axis of at least 10 mm.
    is_flagged
        Whether it carries a flag that sends it to a reader.
    seconds
        Of the processor, all threads.
    """

    model: str
    case: str
    patient: str
    modality: str
    site: str
    prompt: str
    jitter: float
    slice_mm: float
    dice: float
    surface_mm: float
    surface_95_mm: float
    long_axis_mm: float
    long_axis_error_mm: float
    long_axis_error_percent: float
    volume_ratio: float
    is_measurable_agreed: bool
    confidence: float
    is_flagged: bool
    seconds: float

    @property
    def size(self) -> str:
        """The true long axis in words."""
        return next(word for limit, word in _SIZES if self.long_axis_mm < limit)

    @property
    def thickness(self) -> str:
        """The distance of slices in words."""
        return next(word for limit, word in _THICKNESSES if self.slice_mm < limit)


_SIZES = ((10, "< 10 mm"), (20, "10 to 20 mm"), (50, "20 to 50 mm"), (float("inf"), "50 mm and more"))
_THICKNESSES = ((2.0, "< 2 mm"), (4.0, "2 to 4 mm"), (float("inf"), "4 mm and more"))
_TELLING = frozenset({Flag.LOW_CONFIDENCE, Flag.PROMPT_SENSITIVE, Flag.EMPTY, Flag.TOUCHES_PATCH_BORDER})

# ---------------------------------------------------------------- cases


def read_cases(table: Path, read_image: Callable[[Path], Volume]) -> Iterator[Case]:
    """Lesions from a CSV file with the columns name, patient, modality, image, mask and, if wanted, site.

    Paths are relative to the table. Each connected part of at least 30 voxels of each label is a lesion.

    Raises
    ------
    UnsuitableInputError
        If a column is missing or a mask has no lesion; the message names the row.
    """
    from workflow.domain.geometry import mask_on_grid

    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        missing = [name for name in ("name", "patient", "modality", "image", "mask") if not row.get(name)]
        if missing:
            raise UnsuitableInputError(f"{table}: a row lacks {', '.join(missing)}: {row}")
        volume = read_image(table.parent / row["image"])
        drawn = read_image(table.parent / row["mask"])
        parts = [
            part
            for label in np.unique(drawn.array[drawn.array > 0])
            for part in _parts(mask_on_grid(drawn.with_array(drawn.array == label), volume))
        ]
        if not parts:
            raise UnsuitableInputError(f"{table}: {row['name']} has no lesion of {_LEAST_VOXELS} voxels")
        for number, mask in enumerate(parts, start=1):
            yield Case(
                name=f"{row['name']} {number}" if len(parts) > 1 else row["name"],
                patient=row["patient"],
                modality=row["modality"],
                volume=volume,
                mask=mask,
                site=row.get("site") or "",
            )


def synthetic_cases(config: SynthesisConfig, scans: Sequence[Scan], seed: int, count: int) -> Iterator[Case]:
    """Synthetic lesions of a seed, each on the patch that a box would give, as a volume of its own.

    `seed` must not be one that was trained with.
    """
    box = tuple(float(code == 3) for code in range(len(config.prompt_shares)))
    boxed = SynthesisConfig(prompt_shares=box, share_real=config.share_real, diameters_mm=config.diameters_mm)
    for number in range(count):
        made = make_sample(boxed, scans, seed, number)
        affine = np.zeros((4, 4))
        # Slices to z, rows to y, columns to x, as an axial scan has them.
        for axis, spacing in enumerate(made.spacing_mm):
            affine[2 - axis, axis] = spacing
        affine[3, 3] = 1
        yield Case(
            name=f"synthetic {number}",
            patient=f"synthetic {number}",
            modality=made.look.value,
            volume=Volume(array=made.image, affine=affine),
            mask=Mask.from_array(made.label > 0.5),
            site=made.family.value,
        )


def _parts(mask: Mask) -> list[Mask]:
    if mask.is_empty:
        return []
    parts, count = ndimage.label(mask.voxels, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    return [
        Mask.from_array(parts == part, mask.start_ijk, mask.shape)
        for part in range(1, count + 1)
        if sizes[part] >= _LEAST_VOXELS
    ]


# ---------------------------------------------------------------- one result


def evaluate(
    segmenters: Mapping[str, Segmenter],
    cases: Iterable[Case],
    kinds: Sequence[PromptKind] = tuple(PromptKind),
    jitters: Sequence[float] = (0.0,),
    told: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Every segmenter on every lesion with every prompt, jittered alike for all of them."""
    rows = []
    for case in cases:
        told(case.name)
        for kind in kinds:
            for jitter in jitters:
                # Seeded by the case, so that adding one leaves the others' prompts as they were.
                rng = np.random.default_rng([*case.name.encode(), *kind.encode()])
                prompt = prompt_of(kind, case.volume, case.mask, jitter, rng)
                for name, segmenter in segmenters.items():
                    # The processor's time: what else runs on the machine says nothing about a model.
                    began = time.process_time()
                    (found,) = segmenter.segment(case.volume, [prompt])
                    seconds = time.process_time() - began
                    rows.append(
                        _row(name, case, kind, jitter, found.mask, found.confidence, found.flags, seconds)
                    )
    return rows


def _row(
    name: str,
    case: Case,
    kind: PromptKind,
    jitter: float,
    found: Mask,
    confidence: float,
    flags: frozenset[Flag],
    seconds: float,
) -> Row:
    true_mm = measure(case.volume, case.mask).long_axis.length_mm
    found_mm = 0.0 if found.is_empty else measure(case.volume, found).long_axis.length_mm
    mean, far = surface_distances(case.mask, found, case.volume.spacing_mm)
    return Row(
        model=name,
        case=case.name,
        patient=case.patient,
        modality=case.modality,
        site=case.site,
        prompt=kind.value,
        jitter=jitter,
        slice_mm=case.volume.spacing_mm[0],
        dice=dice(found, case.mask),
        surface_mm=mean,
        surface_95_mm=far,
        long_axis_mm=true_mm,
        long_axis_error_mm=found_mm - true_mm,
        long_axis_error_percent=100 * (found_mm - true_mm) / max(true_mm, 1e-6),
        volume_ratio=found.voxel_count / case.mask.voxel_count,
        is_measurable_agreed=(found_mm >= MEASURABLE_MM) == (true_mm >= MEASURABLE_MM),
        confidence=confidence,
        is_flagged=bool(flags & _TELLING),
        seconds=seconds,
    )


def surface_distances(one: Mask, other: Mask, spacing_mm: Sequence[float]) -> tuple[float, float]:
    """Mean and 95th percentile, mm, of the distances from each mask's surface voxels to the other's surface.

    Surface voxels are those with a neighbour (6) outside; nan, nan if a mask is empty.
    """
    if one.is_empty or other.is_empty:
        return float("nan"), float("nan")
    start = np.minimum(one.start_ijk, other.start_ijk) - 1
    stop = np.maximum(one.stop_ijk, other.stop_ijk) + 1
    surfaces = []
    for mask in (one, other):
        array = np.zeros(stop - start, dtype=bool)
        low = np.asarray(mask.start_ijk) - start
        array[tuple(slice(a, a + n) for a, n in zip(low, mask.voxels.shape, strict=True))] = mask.voxels
        surfaces.append(array & ~ndimage.binary_erosion(array))
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    both: NDArray[np.float64] = np.concatenate([away[0][surfaces[1]], away[1][surfaces[0]]])
    return float(both.mean()), float(np.percentile(both, 95))


# ---------------------------------------------------------------- many results


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over patients' lesions with its 95 % interval from resampling patients."""

    mean: float
    low: float
    high: float
    lesions: int
    patients: int


def mean_by_patient(
    values: FloatArray, patients: Sequence[str], draws: int = 2000, seed: int = 0
) -> Estimate:
    """The mean over lesions, with an interval that knows that lesions of one patient are alike.

    Parameters
    ----------
    values
        One a lesion, shape (n,); nan is left out.
    patients
        Whose each is.
    """
    known = ~np.isnan(values)
    kept = values[known]
    names = np.asarray(patients)[known]
    if len(kept) == 0:
        return Estimate(mean=float("nan"), low=float("nan"), high=float("nan"), lesions=0, patients=0)
    groups = [kept[names == name] for name in np.unique(names)]
    sums, counts = np.array([group.sum() for group in groups]), np.array([len(group) for group in groups])
    chosen = np.random.default_rng(seed).integers(len(groups), size=(draws, len(groups)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(
        mean=float(kept.mean()), low=float(low), high=float(high), lesions=len(kept), patients=len(groups)
    )


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the values of some attributes, in order of first appearance."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(getattr(row, name)) for name in names), []).append(row)
    return groups


def difference(rows: Sequence[Row], model: str, reference: str) -> Estimate:
    """Dice of a model minus that of a reference on the same lesions and prompts."""
    theirs = {(row.case, row.prompt, row.jitter): row.dice for row in rows if row.model == reference}
    ours = [row for row in rows if row.model == model and (row.case, row.prompt, row.jitter) in theirs]
    apart = np.array([row.dice - theirs[row.case, row.prompt, row.jitter] for row in ours])
    return mean_by_patient(apart, [row.patient for row in ours])


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What confidence says about Dice.

    Attributes
    ----------
    error
        Mean distance between confidence and Dice in bins of a tenth of confidence, weighted by their size.
    correlation
        Spearman's.
    poor_flagged, good_flagged
        Share of results below Dice 0.6 that carry a telling flag, and of the others; nan without any.
    """

    error: float
    correlation: float
    poor_flagged: float
    good_flagged: float
    poor: int
    good: int


def calibration(rows: Sequence[Row]) -> Calibration:
    """Confidence against Dice over some results."""
    from scipy.stats import spearmanr

    said, reached = np.array([row.confidence for row in rows]), np.array([row.dice for row in rows])
    flagged = np.array([row.is_flagged for row in rows])
    bins = np.minimum((said * 10).astype(int), 9)
    error = sum(
        float(abs(said[bins == one].mean() - reached[bins == one].mean())) * int((bins == one).sum())
        for one in np.unique(bins)
    ) / len(rows)
    poor = reached < POOR
    varies = np.ptp(said) > 0 and np.ptp(reached) > 0
    return Calibration(
        error=error,
        correlation=float(spearmanr(said, reached).statistic) if varies else float("nan"),
        poor_flagged=float(flagged[poor].mean()) if poor.any() else float("nan"),
        good_flagged=float(flagged[~poor].mean()) if (~poor).any() else float("nan"),
        poor=int(poor.sum()),
        good=int((~poor).sum()),
    )


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """All rows as CSV, fractions to six digits."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        names = [one.name for one in fields(Row)]
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            values = [getattr(row, name) for name in names]
            writer.writerow([f"{one:.6g}" if isinstance(one, float) else one for one in values])
