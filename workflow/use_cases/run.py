"""The whole pipeline in one process over folders of DICOM: the same stages and job table, no servers."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.bootstrap import build, folder_archive
from workflow.domain.errors import UnsuitableInputError
from workflow.engine.context import Context
from workflow.engine.reconciler import work_until_idle
from workflow.listener import ImportResult, dicom_files, import_files
from workflow.settings import Settings
from workflow.use_cases.attention import needs_a_person

OnJob = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run did: the imported files, each patient's course and folder, and what needs a person."""

    imported: ImportResult
    patients: tuple[dict[str, Any], ...]
    folders: tuple[Path, ...]
    needs_attention: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "imported": {
                "new": self.imported.new,
                "known": self.imported.known,
                "rejected": [{"file": f, "reason": r} for f, r in self.imported.rejected],
            },
            "patients": list(self.patients),
            "folders": [str(folder) for folder in self.folders],
            "needs_attention": list(self.needs_attention),
        }


def run(
    inputs: Sequence[Path],
    out: Path,
    settings: Settings,
    *,
    on_file: Callable[[int, int], None] = lambda done, of: None,
    on_job: OnJob = lambda stage, subject: None,
) -> RunResult:
    """Process all DICOM below `inputs`; write each patient's results below `out`.

    The state lies in `out`/.tumorline: running again into the same folder adds studies to the
    same timelines and does nothing twice.

    Raises
    ------
    UnsuitableInputError
        If there is no DICOM file below the inputs.
    """
    files = list(dicom_files(list(inputs)))
    if not files:
        raise UnsuitableInputError(f"no DICOM file below {', '.join(map(str, inputs))}")
    context = local_context(out, settings)
    imported = import_files(files, context, on_file)
    work_until_idle(context, on_job)
    return export(context, out, imported)


def local_context(out: Path, settings: Settings) -> Context:
    """A context whose state and archive are inside a folder, and which waits for nobody."""
    home = out / ".tumorline"
    readiness = settings.readiness.model_copy(update={"quiet_s": 0.01})
    local = settings.model_copy(
        update={"home": home, "database_url": "", "pacs": None, "readiness": readiness}
    )
    return build(local, destination=folder_archive(home / "archive"))


def export(context: Context, out: Path, imported: ImportResult) -> RunResult:
    """Lay the results out by patient and study."""
    courses, status = context.overview.courses(), context.overview.status()
    folders = []
    for course, name in zip(courses, folder_names(courses), strict=True):
        folder = out / name
        for point in course["time_points"]:
            if point["report"] is None:
                continue
            target = folder / f"{point['study_date']}_{point['study_instance_uid']}"
            target.mkdir(parents=True, exist_ok=True)
            for result in point["objects"]:
                path = Path(result["path"])
                shutil.copyfile(path, target / path.name)
                result["path"] = str(target / path.name)
            (target / "report.json").write_text(
                json.dumps(point["report"], indent=1, allow_nan=False), encoding="utf-8"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "timeline.json").write_text(json.dumps(course, indent=1, allow_nan=False), encoding="utf-8")
        folders.append(folder)
    attention = needs_a_person(status)
    attention += [f"{file}: {reason}" for file, reason in imported.rejected]
    return RunResult(
        imported=imported,
        patients=tuple(courses),
        folders=tuple(folders),
        needs_attention=tuple(attention),
    )


def folder_names(courses: Sequence[Mapping[str, Any]]) -> list[str]:
    """A folder name per patient, no two the same: a PatientID may hold anything, also a path.

    A digest of PatientID and issuer is added where the ID can't be a name as it is ("A/B" and "A_B" are
    two patients), and where the same ID of another issuer came before it.
    """
    names: list[str] = []
    for course in courses:
        patient_id = str(course["patient_id"])
        name = re.sub(r"[^A-Za-z0-9._-]", "_", patient_id).strip(".") or "_"
        if name != patient_id or name in names:
            whole = json.dumps([patient_id, course["issuer_of_patient_id"]])
            name = f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
        names.append(name)
    return names
