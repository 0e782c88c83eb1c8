"""A DICOMweb server (PS3.18) as the home of results and the source of earlier studies.

The only module that imports dicomweb-client, lazily: it comes with the extra `dicomweb`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom

from dicom_io.listings import STUDY_KEYS, listed_study
from dicom_io.parsing import quiet
from workflow.domain.errors import ConfigurationError, TransientError, UnsuitableInputError
from workflow.domain.priors import ListedStudy

# Connecting, and waiting for the next bytes of an answer, in seconds.
_TIMEOUT_S = (5.0, 120.0)
# As it is stored there, whatever the transfer syntax.
_AS_STORED = (("application/dicom", "*"),)


@dataclass(frozen=True)
class DicomwebNode:
    """A server below one address; `take` is given each instance that is fetched, as a file's bytes.

    Raises
    ------
    ConfigurationError
        If the extra is not installed.
    """

    url: str
    username: str = ""
    password: str = ""
    take: Callable[[bytes, str], object] = lambda content, source: None

    def __post_init__(self) -> None:
        try:
            import dicomweb_client  # noqa: F401
        except ImportError as error:
            raise ConfigurationError("DICOMweb needs the extra: pip install 'tumorline[dicomweb]'") from error

    @property
    def name(self) -> str:
        """For the outbox, the worklist and the log."""
        return self.url

    @cached_property
    def _client(self) -> Any:
        from dicomweb_client.api import DICOMwebClient
        from dicomweb_client.session_utils import create_session, create_session_from_user_pass

        has_login = bool(self.username)
        session = (
            create_session_from_user_pass(self.username, self.password) if has_login else create_session()
        )
        return DICOMwebClient(self.url.rstrip("/"), session=session, timeout=_TIMEOUT_S)

    def store(self, paths: Sequence[Path]) -> None:
        """Store files one by one (STOW-RS), in this order.

        Raises
        ------
        TransientError
            If the server is not there, or out of resources (failure reason 0xA7xx).
        UnsuitableInputError
            If it refuses an object for good; the message has its failure reason (PS3.18 table I.2-2).
        """
        for path in paths:
            with quiet():
                dataset = pydicom.dcmread(path)
            with self._answers(f"STOW-RS of {dataset.SOPInstanceUID}"):
                answer = self._client.store_instances([dataset])
            # Orthanc writes an empty sequence where nothing failed: its length counts.
            for failed in answer.get("FailedSOPSequence") or ():
                reason = int(failed.get("FailureReason") or 0)
                words = f"{self.url} refused {dataset.SOPInstanceUID}: 0x{reason:04X}"
                if reason & 0xFF00 == 0xA700:
                    raise TransientError(words)
                raise UnsuitableInputError(words)

    def held(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """SOP Instance UIDs that the server lists for a series (QIDO-RS).

        Raises
        ------
        TransientError
            If it is not there.
        """
        with self._answers("QIDO-RS for instances"):
            found = self._client.search_for_instances(
                study_instance_uid, series_instance_uid, fields=["SOPInstanceUID"], get_remaining=True
            )
        return frozenset(str(match.SOPInstanceUID) for match in _datasets(found))

    def study_instance_count(self, study_instance_uid: str, without_series: Collection[str] = ()) -> int:
        """How many instances the server lists of a study, some series left out.

        Raises
        ------
        TransientError
            If it is not there.
        """
        with self._answers("QIDO-RS for instances"):
            found = self._client.search_for_instances(
                study_instance_uid, fields=["SOPInstanceUID", "SeriesInstanceUID"], get_remaining=True
            )
        return sum(str(match.SeriesInstanceUID) not in without_series for match in _datasets(found))

    def studies(self, patient_id: str) -> list[ListedStudy]:
        """The studies that the server lists for a PatientID (QIDO-RS).

        Raises
        ------
        TransientError
            If it is not there.
        """
        with self._answers("QIDO-RS for studies"):
            found = self._client.search_for_studies(
                search_filters={"PatientID": patient_id}, fields=list(STUDY_KEYS), get_remaining=True
            )
        return [listed_study(match) for match in _datasets(found)]

    def fetch(self, study_instance_uid: str) -> int:
        """Fetch a whole study (WADO-RS), one instance in memory at a time; how many came.

        Raises
        ------
        TransientError
            If the server is not there or an instance can't be kept for now.
        UnsuitableInputError
            If it will not give the study.
        """
        count = 0
        with self._answers(f"WADO-RS of study {study_instance_uid}"), quiet():
            for dataset in self._client.iter_study(study_instance_uid, media_types=_AS_STORED):
                content = io.BytesIO()
                dataset.save_as(content, enforce_file_format=True)
                self.take(content.getvalue(), self.url)
                count += 1
        return count

    @contextmanager
    def _answers(self, what: str) -> Iterator[None]:
        """Turn what goes wrong on the way into an error that says what happens next."""
        import requests

        try:
            yield
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise ConfigurationError(f"{self.url} refuses this user name or password") from error
            if status in (408, 429) or status >= 500 or status == 0:
                raise TransientError(f"{self.url} answers {status} to {what}") from error
            raise UnsuitableInputError(f"{self.url} answers {status} to {what}") from error
        except requests.RequestException as error:
            raise TransientError(f"{self.url} is not there: {type(error).__name__} at {what}") from error


def _datasets(found: Sequence[dict[str, Any]]) -> list[pydicom.Dataset]:
    return [pydicom.Dataset.from_json(match) for match in found]
