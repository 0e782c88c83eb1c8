"""Earlier studies out of a PACS, by C-MOVE to our listener or by C-GET."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_io.scu import RemoteNode
from workflow.domain.priors import ListedStudy


@dataclass(frozen=True)
class MovingNode:
    """A node that sends studies to our listener when it is asked (C-MOVE): it has to know us."""

    node: RemoteNode
    to_ae_title: str

    @property
    def name(self) -> str:
        """For the worklist and the log."""
        return self.node.name

    def studies(self, patient_id: str) -> Sequence[ListedStudy]:
        """See `workflow.ports.priors.PriorSource.studies`."""
        return self.node.studies(patient_id)

    def fetch(self, study_instance_uid: str) -> int:
        """See `workflow.ports.priors.PriorSource.fetch`."""
        return self.node.move(study_instance_uid, self.to_ae_title)


@dataclass(frozen=True)
class GettingNode:
    """A node that gives studies over the association that asks (C-GET); `take` keeps each instance."""

    node: RemoteNode
    take: Callable[[bytes, str], object]

    @property
    def name(self) -> str:
        """For the worklist and the log."""
        return self.node.name

    def studies(self, patient_id: str) -> Sequence[ListedStudy]:
        """See `workflow.ports.priors.PriorSource.studies`."""
        return self.node.studies(patient_id)

    def fetch(self, study_instance_uid: str) -> int:
        """See `workflow.ports.priors.PriorSource.fetch`."""
        return self.node.get(study_instance_uid, self.take)
