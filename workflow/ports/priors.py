"""What the stages ask about earlier studies: of the PACS that has them, and of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workflow.domain.priors import Arrived, ListedStudy, PriorChoice, PriorState


class PriorSource(Protocol):
    """Somebody who has a patient's earlier studies."""

    @property
    def name(self) -> str:
        """For the worklist and the log."""
        ...

    def studies(self, patient_id: str) -> Sequence[ListedStudy]:
        """The studies that it lists for a PatientID, whoever issued it.

        Raises
        ------
        TransientError
            If it is not there or does not answer to the end.
        """
        ...

    def fetch(self, study_instance_uid: str) -> int:
        """Have a whole study received by us; return how many instances it says came.

        Raises
        ------
        TransientError
            If it is not there, or not everything came.
        UnsuitableInputError
            If it will not give the study; the message has its status.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class WantedPrior:
    """An earlier study that is to be fetched."""

    key: int
    study_instance_uid: str
    state: PriorState


class Priors(Protocol):
    """What was asked for, and how far it is."""

    def ask(self, study_key: int) -> None:
        """Have the priors of a study looked for, once; nothing is looked for from a fetched prior."""
        ...

    def arrived(self, study_key: int) -> Arrived | None:
        """What a search starts from; None if the study was taken from its patient meanwhile."""
        ...

    def held(self, patient_id: str) -> frozenset[str]:
        """Study Instance UIDs that are here already or were wanted before, of all who have the PatientID."""
        ...

    def want(self, study_key: int, source: str, choices: Sequence[PriorChoice]) -> None:
        """Write a search's outcome down, and have what was chosen fetched, in its order."""
        ...

    def wanted(self, prior_key: int) -> WantedPrior | None:
        """An earlier study that is to be fetched, None if it is not there (any more)."""
        ...

    def received(self, study_instance_uid: str) -> int:
        """How many instances of a study are here."""
        ...

    def mark(self, prior_key: int, state: PriorState, error: str = "") -> None:
        """Write down how far an earlier study is."""
        ...

    def again(self, patient_key: int) -> int:
        """Look for a patient's priors again, and fetch what failed; return how many searches were begun."""
        ...
