"""Who made a result: our device and the models, the same in every place that names them (IHE AIR 6.5.3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from dicom_io import codes, uids
from dicom_io.results.settings import ResultSettings
from dicom_io.results.text import short
from workflow.domain.lesion import ModelIdentity, PromptSource
from workflow.domain.report import ReportedLesion, TimePointReport

# A tracked lesion has no prompt of its own time point.
_UNAIDED = ("", PromptSource.PRIOR.value, PromptSource.DETECTOR.value)


def models_of(report: TimePointReport) -> tuple[ModelIdentity, ...]:
    """The report's models and those of its lesions, each once, in order of appearance."""
    return _each_once((*report.models, *(lesion.model for lesion in report.lesions)))


def models_of_lesions(lesions: Sequence[ReportedLesion]) -> tuple[ModelIdentity, ...]:
    """What outlined these lesions, each once; what a person drew was made by no device."""
    return _each_once([lesion.model for lesion in lesions])


def _each_once(models: Iterable[ModelIdentity | None]) -> tuple[ModelIdentity, ...]:
    return tuple({uids.device_uid(model): model for model in models if model is not None}.values())


def application(settings: ResultSettings) -> ModelIdentity:
    """The application itself as a device."""
    return ModelIdentity(name=settings.manufacturer_model_name, version=settings.software_version)


def name_of(model: ModelIdentity) -> str:
    """The model's name as every place has it (VR LO)."""
    return short(model.name, 64)


def version_of(model: ModelIdentity) -> str:
    """The model's version as every place has it (VR LO)."""
    return short(model.version, 64)


def contributing_equipment(
    models: Sequence[ModelIdentity], settings: ResultSettings, moment: datetime
) -> list[Any]:
    """One item per algorithm and one for the application: purpose, names, version and Device UID.

    Returns
    -------
    list
        `highdicom.ContributingEquipment` items, Device UID (0018,1002) as `uids.device_uid` has it.
    """
    from highdicom import ContributingEquipment

    items = []
    for model in (application(settings), *models):
        item = ContributingEquipment(
            settings.manufacturer,
            codes.PROCESSING_EQUIPMENT,
            manufacturer_model_name=name_of(model),
            software_versions=version_of(model),
            contribution_datetime=moment,
            contribution_description=short(f"licence {model.licence}", 1024),
        )
        item.DeviceUID = uids.device_uid(model)
        items.append(item)
    return items


def parameters_of(model: ModelIdentity) -> list[str]:
    """What TID 4019 and the SEG say of a model beside name and version: Device UID, weights, settings."""
    said = [f"device_uid={uids.device_uid(model)}"]
    if model.weights_sha256:
        said.append(f"weights_sha256={model.weights_sha256}")
    return said + [f"{key}={value}" for key, value in sorted(model.parameters.items())]


def family_of(model: ModelIdentity) -> Any:
    """Algorithm family (CID 7162): artificial intelligence if it has weights, else neighbourhood analysis."""
    return codes.ARTIFICIAL_INTELLIGENCE if model.weights_sha256 else codes.NEIGHBORHOOD_ANALYSIS


def algorithm_type(lesion: ReportedLesion) -> str:
    """Segment Algorithm Type (0062,0008): did a person draw, show, or do nothing."""
    if lesion.model is None:
        return "MANUAL"
    return "AUTOMATIC" if lesion.prompt_source in _UNAIDED else "SEMIAUTOMATIC"
