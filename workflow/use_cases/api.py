"""The verbs of the command line as functions.

    from pathlib import Path
    from workflow.use_cases import api

    done = api.run([Path("baseline"), Path("follow-up")], Path("results"), api.load_settings())
    sizes = api.segment_image(Path("ct.nii.gz"), ["point:-52,31,118"], Path("lesion.nii.gz"))
    course = api.assess(timeline, api.Protocol())

Importing this module imports no heavy library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from db.overview import patient_course, system_status, worklist
from workflow.bootstrap import build
from workflow.commands.segment import segment_image
from workflow.commands.track import track_images
from workflow.domain.response import Protocol, Timeline, assess
from workflow.listener import import_files
from workflow.review import decide, sign
from workflow.settings import Settings, load_settings
from workflow.use_cases.run import run

if TYPE_CHECKING:
    from workflow.simulation.studies import DemoSet


def send(paths: Sequence[Path], ae_title: str, host: str, port: int, calling: str = "TUMORLINE") -> None:
    """Send DICOM files to a node (C-STORE), in this order.

    Raises
    ------
    TransientError
        If the node is not there or refuses for now.
    UnsuitableInputError
        If it refuses an object for good.
    """
    from dicom_io.scu import RemoteNode

    RemoteNode(ae_title=ae_title, host=host, port=port, calling_ae_title=calling).store(paths)


def simulate(out: Path, *, seed: int = 1) -> DemoSet:
    """Write the two simulated patients of the demo below a folder, each with its truth beside it."""
    from workflow.simulation.studies import demo_studies

    return demo_studies(out, seed=seed)


__all__ = [
    "Protocol",
    "Settings",
    "Timeline",
    "assess",
    "build",
    "decide",
    "import_files",
    "load_settings",
    "patient_course",
    "run",
    "segment_image",
    "send",
    "sign",
    "simulate",
    "system_status",
    "track_images",
    "worklist",
]
