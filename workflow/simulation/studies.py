"""Simulated courses as DICOM studies on disk, each with its truth beside it.

    demo = demo_studies(Path("out"))             # two patients, ready to be sent
    write_lung_pair(Path("out"), seed=3)         # <out>/lung-pair/{baseline,follow-up}/*.dcm, truth.json
    write_breathing(Path("out"), seed=3)

A folder of a patient holds one folder per time point (`baseline`, `follow-up`, `follow-up-2` ...) with
the images and, where a reader would have stored one, a prompt: `sr.dcm` (TID 1500, long and short
axes) or `rtstruct.dcm` (contours). `truth.json` says what is in them; `truth_<time point>.npz` holds the
masks of the lesions. The same arguments give the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np

from dicom_io.prompts.contours import drawn_planes, planar_contour
from dicom_io.prompts.planes import region_of
from dicom_io.simulated.ct import WrittenSeries, read_ct, write_ct
from dicom_io.simulated.header import SimulatedPatient, SimulatedStudy
from dicom_io.simulated.prompts import (
    ContouredLesion,
    MeasuredLesion,
    read_contours,
    write_measurements,
    write_structure_set,
)
from dicom_io.uids import uid_of
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.geometry import FloatArray, Mask, Volume
from workflow.ports import Progress, no_progress
from workflow.simulation.course import (
    DEMO_PLAN,
    LARGEST_RIM_HU,
    QUIET_HEALED_HU,
    QUIET_RIM_HU,
    RESPONSE_PLAN,
    LesionPlan,
    SimulatedCase,
    SimulatedLesion,
    lung_case,
    random_plan,
)
from workflow.simulation.follow_up import simulate_follow_up
from workflow.simulation.nodules import outline_in_slice
from workflow.simulation.sources import EXAMPLES
from workflow.simulation.truth import truth_of_case

_BASELINE_DAY = date(2024, 3, 4)
_WEEKS_BETWEEN = 8
# Of a nodule's outline, every n-th point is drawn: a person's contour has some ninety.
_OUTLINE_STEP = 4
_TUMOUR = "Tumor_c40"
_NODES = "LN_c40"
_LUNG_PAIR = "Real CT of one person at two dates (elastix, Apache-2.0) with IMPLANTED NODULES of known size."
_LUNG_LATER = (
    "Simulated follow-up: real CT (elastix, Apache-2.0) after a simulated breath, IMPLANTED NODULES."
)
_FOUR_D_REAL = (
    "Real CT: TCIA 4D-Lung, patient 113_HM10395, phase 40 %, CC BY 3.0; pixels unchanged, new identity."
)
_FOUR_D_LATER = (
    "SIMULATED FOLLOW-UP of one real CT (TCIA 4D-Lung, 113_HM10395, CC BY 3.0): lesion changed by a known "
    "factor, simulated breath, noise."
)


class PromptKind(StrEnum):
    """The object that shows the lesions of a baseline, and new lesions later."""

    SR = "sr"
    RTSTRUCT = "rtstruct"
    BOTH = "both"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class SimulatedPatientFolder:
    """A patient on disk: one folder per time point in order of date, and the truth file."""

    patient_id: str
    description: str
    folder: Path
    time_points: tuple[Path, ...]
    study_instance_uids: tuple[str, ...]
    truth: Path

    @property
    def baseline(self) -> Path:
        """Folder of the first study."""
        return self.time_points[0]

    @property
    def follow_up(self) -> Path:
        """Folder of the second study."""
        return self.time_points[1]


@dataclass(frozen=True, kw_only=True)
class DemoSet:
    """The demo's patients."""

    patients: tuple[SimulatedPatientFolder, ...]


def demo_studies(out: Path, *, seed: int = 1, progress: Progress = no_progress) -> DemoSet:
    """Write the demo's two patients, a baseline and a follow-up each, under `out`.

    One is the real lung pair with implanted nodules (shrunk, grown, vanished, new: progression by a new
    lesion), the other the 4D-Lung cancer with its structure set and a simulated follow-up (response).
    """
    pair = write_lung_pair(out, seed=seed, progress=_part_of(progress, 0.0, 0.3))
    breathing = write_breathing(out, seed=seed, progress=_part_of(progress, 0.3, 1.0))
    return DemoSet(patients=(pair, breathing))


# ---------------------------------------------------------------- the lung pair


def write_lung_pair(
    out: Path,
    *,
    seed: int = 1,
    name: str = "lung-pair",
    plan: Sequence[LesionPlan] | None = None,
    time_points: int = 2,
    prompts: PromptKind = PromptKind.SR,
    slice_mm: float | None = None,
    tilt_deg: float = 0.0,
    progress: Progress = no_progress,
) -> SimulatedPatientFolder:
    """Write the real lung pair with implanted nodules as studies of one patient.

    Parameters
    ----------
    out
        The patient's folder is made in it; files of the same name are replaced.
    seed
        Of everything that is drawn; also part of the patient's identity and of every UID.
    plan
        The lesions. By default `DEMO_PLAN`, and with three time points `RESPONSE_PLAN` (partial
        response, then progression), each in quiet lung, where its size is beyond dispute.
    prompts
        What shows the lesions at baseline, and a new lesion at the time point where it appears.
    slice_mm, tilt_deg
        Thicker slices, or turned planes; see `acquisition.reslice`.
    """
    chosen = plan if plan is not None else (DEMO_PLAN if time_points == 2 else RESPONSE_PLAN)
    protocol = f" ({slice_mm or 2.5:g} mm, planes turned {tilt_deg:g} deg)" if slice_mm or tilt_deg else ""
    progress(0.0, "implanting nodules")
    case = lung_case(
        seed,
        plan=chosen,
        time_points=time_points,
        slice_mm=slice_mm,
        tilt_deg=tilt_deg,
        largest_rim_hu=QUIET_RIM_HU if plan is None else LARGEST_RIM_HU,
        largest_healed_hu=QUIET_HEALED_HU if plan is None else 0.0,
    )
    patient = SimulatedPatient(
        patient_id=f"SIM-LUNG-{seed:04d}",
        name=f"Simulated^Lung Pair {seed}",
        birth_date=date(1950, 1, 1),
    )
    what = ["baseline", "follow-up", *[f"follow-up {n}" for n in range(2, time_points)]]
    studies = [
        SimulatedStudy(
            patient=patient,
            key=("lung-pair", name, str(seed), f"{slice_mm or 0:g}", f"{tilt_deg:g}", str(i)),
            taken_at=_moment(seed, i),
            study_description=f"Chest CT {what[i]}, implanted nodules",
            series_description="Real CT + implanted nodules"
            if i < 2
            else "Simulated breath + implanted nodules",
            derivation=(_LUNG_PAIR if i < 2 else _LUNG_LATER) + protocol,
        )
        for i in range(time_points)
    ]
    return _write_patient(
        out / name,
        case,
        studies,
        prompts=prompts,
        description="real lung pair with implanted nodules",
        sources=["examples/data/lung_pair: elastix, Apache-2.0"],
        progress=progress,
    )


def write_random_lung_pairs(
    out: Path,
    *,
    seed: int,
    count: int,
    prompts: PromptKind = PromptKind.SR,
    slice_mm: float | None = None,
    tilt_deg: float = 0.0,
    progress: Progress = no_progress,
) -> list[SimulatedPatientFolder]:
    """Write `count` patients with random lesions, `lung-pair-001` on; the seeds follow each other."""
    return [
        write_lung_pair(
            out,
            seed=seed + number,
            name=f"lung-pair-{number + 1:03d}",
            plan=random_plan(seed + number),
            prompts=prompts,
            slice_mm=slice_mm,
            tilt_deg=tilt_deg,
            progress=_part_of(progress, number / count, (number + 1) / count),
        )
        for number in range(count)
    ]


# ---------------------------------------------------------------- the 4D-Lung case


def write_breathing(
    out: Path,
    *,
    seed: int = 1,
    name: str = "breathing",
    factors: Sequence[float] = (0.6,),
    prompts: PromptKind = PromptKind.RTSTRUCT,
    progress: Progress = no_progress,
) -> SimulatedPatientFolder:
    """Write the 4D-Lung cancer case: the real CT with its structure set, and simulated follow-ups.

    The structure set's tumour and lymph nodes are taken contour by contour; each lymph node becomes a
    region of its own, as the original draws three into one. Carina and vertebra are left out: no lesions.

    Parameters
    ----------
    out
        The patient's folder is made in it; files of the same name are replaced.
    seed
        Of donors, breath and noise; also part of the patient's identity and of every UID.
    factors
        The tumour's size at each follow-up over its size at baseline, 0 to 1. Nodes stay as they are.
    prompts
        What shows the lesions at baseline.
    """
    progress(0.0, "reading the 4D-Lung case")
    volume, _ = read_ct(EXAMPLES / "fourd_lung" / "ct")
    contours = _lesion_contours(volume)
    masks = {label: _mask_of(drawn, volume, label) for label, drawn in contours.items()}
    progress(0.1, "simulating breath and lesion change")
    case = simulate_follow_up(
        volume,
        masks,
        {_TUMOUR: tuple(factors)},
        seed=seed,
        nodal=frozenset(label for label in masks if label.startswith(_NODES)),
    )
    patient = SimulatedPatient(
        patient_id=f"SIM-4DLUNG-{seed:04d}", name=f"Simulated^FourD Lung {seed}", sex="M"
    )
    studies = [
        SimulatedStudy(
            patient=patient,
            key=("breathing", name, str(seed), str(i)),
            taken_at=_moment(seed, i),
            study_description="Chest CT baseline, real (4D-Lung)"
            if i == 0
            else "Chest CT, SIMULATED FOLLOW-UP",
            series_description="4D-Lung 113_HM10395 40 %"
            if i == 0
            else "Simulated follow-up: breath, lesion change",
            derivation=_FOUR_D_REAL if i == 0 else _FOUR_D_LATER,
            is_original=i == 0,
        )
        for i in range(len(case.volumes))
    ]
    return _write_patient(
        out / name,
        case,
        studies,
        prompts=prompts,
        contours=contours,
        description="4D-Lung cancer case with a simulated follow-up",
        sources=["examples/data/fourd_lung: TCIA 4D-Lung, CC BY 3.0"],
        progress=_part_of(progress, 0.4, 1.0),
    )


def _lesion_contours(volume: Volume) -> dict[str, list[FloatArray]]:
    """Contours of the tumour, and of each lymph node on its own, by label."""
    drawn = read_contours(EXAMPLES / "fourd_lung" / "rtstruct.dcm")
    missing = {_TUMOUR, _NODES} - set(drawn)
    if missing:
        raise UnsuitableInputError(
            f"examples/data/fourd_lung/rtstruct.dcm lacks {', '.join(sorted(missing))}"
        )
    nodes = _mask_of(drawn[_NODES], volume, _NODES)
    from scipy import ndimage

    parts, count = ndimage.label(nodes.voxels, structure=np.ones((3, 3, 3)))
    contours = {_TUMOUR: drawn[_TUMOUR]}
    for number in range(1, count + 1):
        contours[f"{_NODES}_{number}"] = []
    for points in drawn[_NODES]:
        index = np.rint(volume.ijk(points)).astype(int) - nodes.start_ijk
        inside = index[np.all((index >= 0) & (index < parts.shape), axis=1)]
        hits = np.bincount(parts[tuple(inside.T)], minlength=count + 1)[1:]
        contours[f"{_NODES}_{int(hits.argmax()) + 1}"].append(points)
    return contours


def _mask_of(drawn: Sequence[FloatArray], volume: Volume, label: str) -> Mask:
    planes = [planar_contour(points, volume) for points in drawn]
    if None in planes:
        raise UnsuitableInputError(f"contours of {label} are not on the slices of the 4D-Lung CT")
    drawn_on, _ = drawn_planes([plane for plane in planes if plane is not None], volume)
    filled = region_of(drawn_on, volume).volume
    start = np.rint(volume.ijk(filled.lps(np.zeros(3)))).astype(int)
    return Mask.from_array(filled.array, (int(start[0]), int(start[1]), int(start[2])), volume.shape)


# ---------------------------------------------------------------- writing a patient


def _write_patient(
    folder: Path,
    case: SimulatedCase,
    studies: Sequence[SimulatedStudy],
    *,
    prompts: PromptKind,
    description: str,
    sources: Sequence[str],
    contours: dict[str, list[FloatArray]] | None = None,
    progress: Progress = no_progress,
) -> SimulatedPatientFolder:
    case = _of_even_width(case)
    names = ["baseline", "follow-up", *[f"follow-up-{n}" for n in range(2, len(studies))]]
    uids = [uid_of("simulated", *studies[0].key[:-1], lesion.label) for lesion in case.lesions]
    for i, (name, study, volume) in enumerate(zip(names, studies, case.volumes, strict=True)):
        step = _part_of(progress, i / len(studies), (i + 1) / len(studies))
        series = write_ct(
            volume, study, folder / name, on_image=_counted(step, f"writing {folder.name} {name}")
        )
        _write_prompts(series, case, i, uids, prompts, contours or {}, folder / name)
        _write_masks(folder / f"truth_{name}.npz", case.lesions, i)
    truth = truth_of_case(case, tracking_uids=uids if prompts in (PromptKind.SR, PromptKind.BOTH) else None)
    truth |= {
        "patient_id": studies[0].patient.patient_id,
        "description": description,
        "sources": list(sources),
        "studies": [
            {
                "folder": name,
                "study_instance_uid": study.study_instance_uid,
                "study_date": study.taken_at.date().isoformat(),
                "what": study.derivation,
            }
            for name, study in zip(names, studies, strict=True)
        ],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(truth, indent=1) + "\n")
    return SimulatedPatientFolder(
        patient_id=studies[0].patient.patient_id,
        description=description,
        folder=folder,
        time_points=tuple(folder / name for name in names),
        study_instance_uids=tuple(str(study.study_instance_uid) for study in studies),
        truth=path,
    )


def _of_even_width(case: SimulatedCase) -> SimulatedCase:
    """The case without the last column of images of an odd width: OHIF 3.13 shreds masks on those.

    Positions in the patient stay as they are. The column is at the border of the body, where no lesion is.
    """
    volumes = tuple(
        volume.crop((0, 0, 0), (*volume.shape[:2], volume.shape[2] - volume.shape[2] % 2))
        for volume in case.volumes
    )
    lesions = tuple(
        replace(
            lesion,
            at=tuple(
                at and replace(at, mask=replace(at.mask, shape=volume.shape))
                for at, volume in zip(lesion.at, volumes, strict=True)
            ),
        )
        for lesion in case.lesions
    )
    return replace(case, volumes=volumes, lesions=lesions)


def _write_prompts(
    series: WrittenSeries,
    case: SimulatedCase,
    i: int,
    uids: Sequence[str],
    prompts: PromptKind,
    contours: dict[str, list[FloatArray]],
    folder: Path,
) -> None:
    """Show what a reader would: every lesion at baseline, a new one where it appears."""
    shown = [
        (lesion, uid)
        for lesion, uid in zip(case.lesions, uids, strict=True)
        if lesion.at[i] is not None and (i == 0 or lesion.at[i - 1] is None)
    ]
    for path in (folder / "sr.dcm", folder / "rtstruct.dcm"):
        path.unlink(missing_ok=True)
    if not shown:
        return
    if prompts in (PromptKind.SR, PromptKind.BOTH):
        measured = [_measured(lesion, uid, i) for lesion, uid in shown]
        write_measurements(series, measured, folder / "sr.dcm", description="Simulated reader: axes")
    if prompts in (PromptKind.RTSTRUCT, PromptKind.BOTH):
        drawn = [
            ContouredLesion(
                label=lesion.label,
                contours_lps=tuple(contours.get(lesion.label) or _outlines(lesion, series.volume, i)),
            )
            for lesion, _ in shown
        ]
        write_structure_set(
            series,
            drawn,
            folder / "rtstruct.dcm",
            label="Lesions",
            description=series.study.derivation,
        )


def _measured(lesion: SimulatedLesion, uid: str, i: int) -> MeasuredLesion:
    at = lesion.at[i]
    if at is None or at.truth is None:
        raise ValueError(f"lesion {lesion.label} has no size at time point {i}, so no reader can measure it")
    truth = at.truth
    return MeasuredLesion(
        label=lesion.label,
        tracking_uid=uid,
        slice_index=truth.slice_index,
        long_axis_lps=(truth.long_axis.start_lps, truth.long_axis.end_lps),
        short_axis_lps=(truth.short_axis.start_lps, truth.short_axis.end_lps),
    )


def _outlines(lesion: SimulatedLesion, volume: Volume, i: int) -> list[FloatArray]:
    at = lesion.at[i]
    if at is None or at.nodule is None:
        raise ValueError(f"lesion {lesion.label} has no outline at time point {i}")
    outlines = [
        outline_in_slice(at.nodule, volume, k) for k in range(at.mask.start_ijk[0], at.mask.stop_ijk[0])
    ]
    return [outline[::_OUTLINE_STEP] for outline in outlines if outline is not None]


def _write_masks(path: Path, lesions: Sequence[SimulatedLesion], i: int) -> None:
    """Each lesion's mask as a boolean array of the whole grid, by label; numpy's npz with fixed dates."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for lesion in lesions:
            at = lesion.at[i]
            if at is None:
                continue
            content = io.BytesIO()
            np.lib.format.write_array(content, at.mask.array(), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{lesion.label}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue())


def _part_of(progress: Progress, start: float, stop: float) -> Progress:
    """Report as a part of something larger, from `start` to `stop` of it."""

    def report(share: float, what: str) -> None:
        progress(start + (stop - start) * share, what)

    return report


def _counted(progress: Progress, what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        progress(done / total, what)

    return report


def _moment(seed: int, time_point: int) -> datetime:
    day = _BASELINE_DAY + timedelta(weeks=_WEEKS_BETWEEN * time_point, days=seed % 5)
    return datetime.combine(day, time(9, 15 + seed % 40))
