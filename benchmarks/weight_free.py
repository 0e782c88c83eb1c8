"""The weight-free segmenter on real lesions and on lesions implanted into real images, by prompt.

    python -m benchmarks.weight_free CASES [--implanted COUNT] [--kinds box line ...] [--rows ROWS.json]

CASES is the folder of unpacked real cases (`fourd_lung_p4`, `ibsi_ct_phantom`, `ibsi_sts`, `pyradiomics`,
`qin_headneck`, `crlm_ct`). Each connected part of at least 30 voxels of a mask is one lesion. The prompts are
made from the mask: its tight box, its long axis as a RECIST line, the same with the short axis, its deepest
point, the outline of its largest slice, and the mask as a tracker hands it over: moved by 3 mm; and as people
draw them: a box a sixth too large and off by 2 mm, and a click somewhere within the lesion.

Printed: mean Dice by prompt beside that of the ellipsoid inscribed in the box, what the confidence says of
it, how many results below 0.6 carry a flag, and what became of the reader's own drawing on its slice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from models.weight_free import open_segmenter
from workflow.domain.geometry import FloatArray, Mask, Volume, dice, mask_on_grid
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
)
from workflow.domain.measurement import measure
from workflow.use_cases.images import read_image

_SMALLEST_VOXEL_COUNT = 30
KINDS = ("box", "line", "both axes", "outline", "mask", "point", "loose box", "any point")
# A result below this Dice has to be looked at, and a flag has to say so.
POOR_DICE = 0.6
DOUBT = frozenset({Flag.PROMPT_SENSITIVE, Flag.LOW_CONFIDENCE, Flag.SIZE_UNCERTAIN, Flag.EMPTY})


@dataclass(frozen=True, eq=False)
class Case:
    """A lesion, its image and its mask: drawn by a person, or known because it was implanted."""

    name: str
    patient: str
    modality: str
    volume: Volume
    mask: Mask


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the segmenter made of one prompt; lengths in mm, `drawn_dice` in the outline's own slice."""

    lesion: str
    patient: str
    modality: str
    kind: str
    dice: float
    confidence: float
    flags: tuple[str, ...]
    volume_ratio: float
    truth_mm: float
    long_axis_error_mm: float
    short_axis_error_mm: float
    drawn_dice: float | None
    seconds: float


# ---------------------------------------------------------------- lesions


def cases(folder: Path) -> Iterator[Case]:
    """Every lesion of the real cases."""
    for name, modality in (("lung1", "CT"), ("brain1", "MR"), ("breast1", "MR")):
        image = folder / "pyradiomics" / f"{name}_image.nrrd"
        label = folder / "pyradiomics" / f"{name}_label.nrrd"
        yield from _lesions(name, name, modality, image, label)
    for name in ("Tumor", "LN"):
        mask = folder / "fourd_lung_p4" / "derived_masks" / f"{name}_c40.nii.gz"
        yield from _lesions(f"4D-Lung {name}", "4D-Lung", "CT", folder / "fourd_lung_p4" / "ct", mask)
    phantom = folder / "ibsi_ct_phantom"
    mask = next((phantom / "nifti" / "mask").iterdir())
    yield from _lesions("IBSI lung", "IBSI", "CT", phantom / "dicom" / "image", mask)
    for patient in ("STS_002", "STS_008", "STS_025"):
        for name in ("CT", "MR_T1", "PET"):
            image = folder / "ibsi_sts" / "dicom" / patient / name / "image"
            mask = folder / "ibsi_sts" / "nifti_masks" / patient / f"{name}_mask.nii.gz"
            yield from _lesions(f"{patient} {name}", patient, name[:2].replace("PE", "PET"), image, mask)


def _lesions(name: str, patient: str, modality: str, image: Path, label: Path) -> Iterator[Case]:
    volume, drawn = read_image(image), read_image(label)
    mask = mask_on_grid(drawn.with_array(drawn.array > 0), volume)
    parts, count = ndimage.label(mask.array(), structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    kept = [part for part in range(1, count + 1) if sizes[part] >= _SMALLEST_VOXEL_COUNT]
    for number, part in enumerate(kept, start=1):
        title = f"{name} {number}" if len(kept) > 1 else name
        yield Case(title, patient, modality, volume, Mask.from_array(parts == part))


_BACKGROUNDS = (
    ("4D-Lung", "CT", "fourd_lung_p4/ct"),
    ("lung1", "CT", "pyradiomics/lung1_image.nrrd"),
    ("CRLM", "CT", "crlm_ct/CRLM-CT-1004/ct"),
    ("brain1", "MR", "pyradiomics/brain1_image.nrrd"),
    ("CMB-CRC", "MR", "cmb_crc_06489_mr_pair/SCAN_001/adc_image"),
    ("STS_002", "MR", "ibsi_sts/dicom/STS_002/MR_T1/image"),
    ("QIN-0024", "PET", "qin_headneck/0024/pet"),
    ("STS_025", "PET", "ibsi_sts/dicom/STS_025/PET/image"),
)


def implanted(folder: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """Lesions of known shape in real images: warped ellipsoids of 6 to 60 mm, lighter or darker, blurred.

    The contrast is 2 to 10 times the noise of its surroundings, the texture that of the place. Every image
    gets as many. The same seed gives the same lesions.
    """
    for index, (patient, modality, path) in enumerate(_BACKGROUNDS):
        volume = read_image(folder / path)
        source = np.random.default_rng([seed, index])
        for number in range(-(-count // len(_BACKGROUNDS))):
            yield _implant(volume, source, f"{patient} {modality} implant {number}", patient, modality)


def _implant(volume: Volume, source: np.random.Generator, name: str, patient: str, modality: str) -> Case:
    spacing = np.asarray(volume.spacing_mm)
    inside = np.asarray(volume.array[::2, ::4, ::4], dtype=np.float32)
    tissue = np.argwhere(inside > np.quantile(inside, 0.6)) * (2, 4, 4)
    while True:
        centre = tissue[source.integers(len(tissue))]
        radii = np.exp(source.uniform(np.log(3), np.log(30))) * source.uniform(0.6, 1.0, 3)
        room = np.minimum(centre, np.asarray(volume.shape) - 1 - centre) * spacing
        if np.all(room > radii + 1.5 * spacing) and np.all(radii > 1.5 * spacing):
            break
    reach = np.ceil((2.5 * radii + 15) / spacing).astype(int)
    start, stop = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, volume.shape)
    part = volume.crop(tuple(start), tuple(stop))
    offsets = (np.moveaxis(np.indices(part.shape), 0, -1) + start - centre) * spacing
    turn = np.linalg.qr(source.normal(size=(3, 3)))[0]
    warp = ndimage.gaussian_filter(source.normal(size=part.shape), radii.mean() / 2.5 / spacing)
    warp *= source.uniform(0, 0.3) / max(float(warp.std()), 1e-9)
    radius = np.linalg.norm(offsets @ turn / radii, axis=-1) + warp
    body = radius < 1
    image = part.array.astype(np.float32)
    near = (radius > 1.1) & (radius < 1.6)
    noise = float(np.median(np.abs(np.diff(image, axis=2)[near[:, :, 1:]]))) * 1.05 + 1e-3
    level = float(np.median(image[near])) if near.any() else float(image.mean())
    sign = 1.0 if modality == "PET" or source.random() < 0.6 else -1.0
    contrast = sign * noise * np.exp(source.uniform(np.log(4), np.log(20)))
    edge = ndimage.gaussian_filter(body.astype(np.float32), source.uniform(0.4, 0.9), mode="nearest")
    # The place keeps half of its own texture.
    filled = level + contrast + 0.5 * (image - ndimage.gaussian_filter(image, 2.0))
    image = (1 - edge) * image + edge * filled
    parts, _ = ndimage.label(body)
    body = parts == parts[tuple(centre - start)] if body[tuple(centre - start)] else parts == 1
    return Case(name, patient, modality, part.with_array(image), Mask.from_array(body))


def inscribed_ellipsoid(mask: Mask) -> Mask:
    """The ellipsoid that fills the mask's bounding box."""
    radii = np.asarray(mask.voxels.shape) / 2
    offsets = (np.indices(mask.voxels.shape).reshape(3, -1).T + 0.5 - radii) / radii
    inside = ((offsets**2).sum(axis=1) <= 1).reshape(mask.voxels.shape)
    return Mask.from_array(inside, mask.start_ijk, mask.shape)


# ---------------------------------------------------------------- prompts


def prompt_of(kind: str, case: Case) -> LesionPrompt:
    """The prompt that a person (or, for a mask, the tracker) would give."""
    source = PromptSource.PRIOR if kind == "mask" else PromptSource.READER
    return LesionPrompt(shapes=(_shape(kind, case.volume, case.mask),), source=source)


def _shape(kind: str, volume: Volume, mask: Mask) -> PromptShape:
    if kind in ("box", "loose box"):
        return _box(volume, mask, is_loose=kind == "loose box")
    if kind in ("line", "both axes"):
        size = measure(volume, mask)
        short = (size.short_axis.start_lps, size.short_axis.end_lps) if kind == "both axes" else None
        ends = size.long_axis
        return LinePrompt(start_lps=ends.start_lps, end_lps=ends.end_lps, short_axis_lps=short)
    if kind in ("point", "any point"):
        depth = ndimage.distance_transform_edt(np.pad(mask.voxels, 1), sampling=volume.spacing_mm)
        depth = depth[1:-1, 1:-1, 1:-1]
        deepest = np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + mask.start_ijk
        if kind == "any point":
            inner = np.argwhere(depth >= 0.4 * depth.max())
            # Somewhere, and always the same place.
            deepest = inner[mask.voxel_count * 7919 % len(inner)] + mask.start_ijk
        return PointPrompt(position_lps=_point(volume.lps(deepest)))
    if kind == "outline":
        return _outline(volume, mask)
    return _moved(volume, mask)


def _box(volume: Volume, mask: Mask, *, is_loose: bool) -> BoxPrompt:
    positions = volume.lps(mask.indices())
    half_voxel = np.abs(volume.affine[:3, :3]).sum(axis=1) / 2
    low, high = positions.min(axis=0) - half_voxel, positions.max(axis=0) + half_voxel
    if is_loose:
        shift, grow = 2.0 * np.array([1, -1, 1]) / np.sqrt(3), (high - low) / 12
        low, high = low - grow + shift, high + grow + shift
    return BoxPrompt(minimum_lps=_point(low), maximum_lps=_point(high))


def drawn_slice(mask: Mask) -> int:
    """Index of the slice that a reader draws on: where the lesion is largest."""
    return mask.start_ijk[0] + int(mask.voxels.sum(axis=(1, 2)).argmax())


def _outline(volume: Volume, mask: Mask) -> OutlinePrompt:
    from skimage.measure import find_contours

    largest = drawn_slice(mask) - mask.start_ijk[0]
    padded = np.pad(mask.voxels[largest], 1).astype(float)
    contour = max(find_contours(padded, 0.5), key=len)[:-1] - 1
    indices = np.column_stack([np.full(len(contour), largest), contour]) + mask.start_ijk
    return OutlinePrompt(points_lps=tuple(_point(position) for position in volume.lps(indices)))


def _moved(volume: Volume, mask: Mask) -> MaskPrompt:
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(np.asarray(mask.start_ijk)) + 3 / np.sqrt(3)
    return MaskPrompt(volume=Volume(array=mask.voxels, affine=affine))


def _point(position: FloatArray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in position)
    return x, y, z


# ---------------------------------------------------------------- results


def rows(lesions: Iterable[Case], kinds: Sequence[str] = KINDS) -> Iterator[Row]:
    """Segment every lesion from every kind of prompt; first of each lesion, the inscribed ellipsoid."""
    segmenter = open_segmenter()
    for case in lesions:
        yield _row(case, "ellipsoid", inscribed_ellipsoid(case.mask), 1.0, frozenset(), 0.0)
        for kind in kinds:
            started = time.process_time()
            found = segmenter.segment(case.volume, [prompt_of(kind, case)])[0]
            seconds = time.process_time() - started
            yield _row(case, kind, found.mask, found.confidence, found.flags, seconds)


def _row(
    case: Case, kind: str, found: Mask, confidence: float, flags: frozenset[Flag], seconds: float
) -> Row:
    truth = measure(case.volume, case.mask)
    size = None if found.is_empty else measure(case.volume, found)
    drawn = None
    if kind == "outline":
        index = drawn_slice(case.mask)
        one, other = found.array()[index], case.mask.array()[index]
        drawn = 2 * float((one & other).sum()) / float(one.sum() + other.sum())
    return Row(
        lesion=case.name,
        patient=case.patient,
        modality=case.modality,
        kind=kind,
        dice=dice(found, case.mask),
        confidence=confidence,
        flags=tuple(sorted(flag.name for flag in flags)),
        volume_ratio=found.voxel_count / case.mask.voxel_count,
        truth_mm=truth.long_axis.length_mm,
        long_axis_error_mm=(size.long_axis.length_mm if size else 0.0) - truth.long_axis.length_mm,
        short_axis_error_mm=(size.short_axis.length_mm if size else 0.0) - truth.short_axis.length_mm,
        drawn_dice=drawn,
        seconds=seconds,
    )


def dice_table(folder: Path, kinds: Sequence[str] = KINDS) -> dict[str, dict[str, float]]:
    """Dice by lesion and prompt kind, with that of the "ellipsoid" beside it."""
    table: dict[str, dict[str, float]] = {}
    for row in rows(cases(folder), kinds):
        table.setdefault(row.lesion, {})[row.kind] = row.dice
    return table


def summary(found: Sequence[Row]) -> list[str]:
    """Lines of the two tables: Dice by lesion, and what confidence and flags say by prompt."""
    kinds = list(dict.fromkeys(row.kind for row in found))
    lesions = list(dict.fromkeys(row.lesion for row in found))
    by = {(row.lesion, row.kind): row for row in found}
    lines = ["| lesion | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    for lesion in lesions:
        lines.append(f"| {lesion} | " + " | ".join(f"{by[lesion, kind].dice:.2f}" for kind in kinds) + " |")
    means = [np.mean([by[lesion, kind].dice for lesion in lesions]) for kind in kinds]
    lines.append("| mean | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    lines += [
        "",
        "| prompt | n | Dice | confidence | off by | poor | of them flagged | false alarms | seconds |",
    ]
    lines.append("|---|" + "---:|" * 8)
    for kind in [*kinds[1:], "all"]:
        lines.append(
            _confidence_line(kind, [r for r in found if kind in (r.kind, "all") and r.kind != "ellipsoid"])
        )
    return lines


def _confidence_line(kind: str, found: Sequence[Row]) -> str:
    poor = [row for row in found if row.dice < POOR_DICE]
    good = [row for row in found if row.dice >= POOR_DICE]

    def flagged(some: Sequence[Row]) -> int:
        return sum(bool({flag.name for flag in DOUBT} & set(row.flags)) for row in some)

    scores = np.array([row.dice for row in found])
    sureness = np.array([row.confidence for row in found])
    return (
        f"| {kind} | {len(found)} | {scores.mean():.3f} | {sureness.mean():.3f} "
        f"| {np.abs(scores - sureness).mean():.3f} | {len(poor)} | {flagged(poor)} "
        f"| {flagged(good)} of {len(good)} | {np.mean([row.seconds for row in found]):.2f} |"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--implanted", type=int, default=0, metavar="COUNT", help="instead of the real lesions"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the implanted lesions")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rows", type=Path, help="write every result here, JSON")
    asked = parser.parse_args()
    lesions = implanted(asked.folder, asked.implanted, asked.seed) if asked.implanted else cases(asked.folder)
    found = list(rows(lesions, asked.kinds))
    print("\n".join(summary(found)))
    if asked.rows:
        asked.rows.write_text(json.dumps([asdict(row) for row in found], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
