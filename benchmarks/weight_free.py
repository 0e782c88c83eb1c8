"""Dice of the weight-free segmenter on real lesions, beside the ellipsoid inscribed in the prompt's box.

    python -m benchmarks.weight_free CASES

CASES is the folder of unpacked real cases (`fourd_lung_p4`, `ibsi_ct_phantom`, `ibsi_sts`, `pyradiomics`).
Each connected part of at least 30 voxels of a mask is one lesion. The prompts are made from the mask: its
tight box, its long axis as a RECIST line, the same with the short axis, its deepest point, the outline of its
largest slice, and the mask as a tracker hands it over: moved by 3 mm.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from models.weight_free import open_segmenter
from workflow.domain.geometry import FloatArray, Mask, Volume, dice, mask_on_grid
from workflow.domain.lesion import (
    BoxPrompt,
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
KINDS = ("box", "line", "both axes", "outline", "mask", "point")


@dataclass(frozen=True, eq=False)
class Case:
    """A real lesion: its image and the mask that a person drew."""

    name: str
    volume: Volume
    mask: Mask


def cases(folder: Path) -> Iterator[Case]:
    """Every lesion of the real cases."""
    for name in ("lung1", "brain1", "breast1"):
        image = folder / "pyradiomics" / f"{name}_image.nrrd"
        yield from _lesions(name, image, folder / "pyradiomics" / f"{name}_label.nrrd")
    for name in ("Tumor", "LN"):
        mask = folder / "fourd_lung_p4" / "derived_masks" / f"{name}_c40.nii.gz"
        yield from _lesions(f"4D-Lung {name}", folder / "fourd_lung_p4" / "ct", mask)
    phantom = folder / "ibsi_ct_phantom"
    yield from _lesions(
        "IBSI lung", phantom / "dicom" / "image", next((phantom / "nifti" / "mask").iterdir())
    )
    for patient in ("STS_002", "STS_008", "STS_025"):
        for modality in ("CT", "MR_T1", "PET"):
            image = folder / "ibsi_sts" / "dicom" / patient / modality / "image"
            mask = folder / "ibsi_sts" / "nifti_masks" / patient / f"{modality}_mask.nii.gz"
            yield from _lesions(f"{patient} {modality}", image, mask)


def _lesions(name: str, image: Path, label: Path) -> Iterator[Case]:
    volume, drawn = read_image(image), read_image(label)
    mask = mask_on_grid(drawn.with_array(drawn.array > 0), volume)
    parts, count = ndimage.label(mask.array(), structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    kept = [part for part in range(1, count + 1) if sizes[part] >= _SMALLEST_VOXEL_COUNT]
    for number, part in enumerate(kept, start=1):
        yield Case(f"{name} {number}" if len(kept) > 1 else name, volume, Mask.from_array(parts == part))


def inscribed_ellipsoid(mask: Mask) -> Mask:
    """The ellipsoid that fills the mask's bounding box."""
    radii = np.asarray(mask.voxels.shape) / 2
    offsets = (np.indices(mask.voxels.shape).reshape(3, -1).T + 0.5 - radii) / radii
    inside = ((offsets**2).sum(axis=1) <= 1).reshape(mask.voxels.shape)
    return Mask.from_array(inside, mask.start_ijk, mask.shape)


def prompt_of(kind: str, case: Case) -> LesionPrompt:
    """The prompt that a person (or, for a mask, the tracker) would give."""
    source = PromptSource.PRIOR if kind == "mask" else PromptSource.READER
    return LesionPrompt(shapes=(_shape(kind, case.volume, case.mask),), source=source)


def _shape(kind: str, volume: Volume, mask: Mask) -> PromptShape:
    if kind == "box":
        positions = volume.lps(mask.indices())
        half_voxel = np.abs(volume.affine[:3, :3]).sum(axis=1) / 2
        low, high = positions.min(axis=0) - half_voxel, positions.max(axis=0) + half_voxel
        return BoxPrompt(minimum_lps=_point(low), maximum_lps=_point(high))
    if kind in ("line", "both axes"):
        size = measure(volume, mask)
        short = (size.short_axis.start_lps, size.short_axis.end_lps) if kind == "both axes" else None
        ends = size.long_axis
        return LinePrompt(start_lps=ends.start_lps, end_lps=ends.end_lps, short_axis_lps=short)
    if kind == "point":
        depth = ndimage.distance_transform_edt(np.pad(mask.voxels, 1), sampling=volume.spacing_mm)
        deepest = np.array(np.unravel_index(int(depth.argmax()), depth.shape)) - 1 + mask.start_ijk
        return PointPrompt(position_lps=_point(volume.lps(deepest)))
    if kind == "outline":
        return _outline(volume, mask)
    return _moved(volume, mask)


def _outline(volume: Volume, mask: Mask) -> OutlinePrompt:
    from skimage.measure import find_contours

    largest = int(mask.voxels.sum(axis=(1, 2)).argmax())
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


def dice_table(folder: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, dict[str, float]]:
    """Dice by lesion and prompt kind, with that of the "ellipsoid" beside it."""
    segmenter = open_segmenter()
    table: dict[str, dict[str, float]] = {}
    for case in cases(folder):
        row = {"ellipsoid": dice(inscribed_ellipsoid(case.mask), case.mask)}
        for kind in kinds:
            found = segmenter.segment(case.volume, [prompt_of(kind, case)])[0]
            row[kind] = dice(found.mask, case.mask)
        table[case.name] = row
    return table


def main() -> None:
    """Print the table."""
    table = dice_table(Path(sys.argv[1]))
    columns = ("ellipsoid", *KINDS)
    print(f"| {'lesion':<17} | " + " | ".join(f"{column:>9}" for column in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name, row in table.items():
        print(f"| {name:<17} | " + " | ".join(f"{row[column]:9.2f}" for column in columns) + " |")
    means = [np.mean([row[column] for row in table.values()]) for column in columns]
    print(f"| {'mean':<17} | " + " | ".join(f"{mean:9.3f}" for mean in means) + " |")
    better = sum(row["box"] > row["ellipsoid"] for row in table.values())
    print(f"\nbox prompt better than the inscribed ellipsoid on {better} of {len(table)} lesions")


if __name__ == "__main__":
    main()
