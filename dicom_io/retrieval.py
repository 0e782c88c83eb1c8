"""A PACS as the source of earlier studies: asked by C-FIND, retrieved from by C-MOVE or C-GET."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_io.scu import RemoteNode
from workflow.domain.priors import ListedStudy


@dataclass(frozen=True)
class PriorNode:
    """A node that lists studies; `retrieve` has one come, by its Study Instance UID, and counts instances."""

    node: RemoteNode
    retrieve: Callable[[str], int]

    @property
    def name(self) -> str:
        """For the worklist and the log."""
        return self.node.name

    def studies(self, patient_id: str) -> Sequence[ListedStudy]:
        """See `workflow.ports.priors.PriorSource.studies`."""
        return self.node.studies(patient_id)

    def fetch(self, study_instance_uid: str) -> int:
        """See `workflow.ports.priors.PriorSource.fetch`."""
        return self.retrieve(study_instance_uid)
