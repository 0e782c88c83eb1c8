"""The verbs of the command line as functions.

    from pathlib import Path
    from workflow.use_cases import api

    done = api.run([Path("baseline"), Path("follow-up")], Path("results"), api.load_settings())
    sizes = api.segment_image(Path("ct.nii.gz"), ["point:-52,31,118"], Path("lesion.nii.gz"))
    course = api.assess(timeline, api.Protocol())
    context = api.build(api.load_settings())  # an installation
    patients = context.overview.worklist()
    packets = api.make_packets(context, day=date(2026, 12, 1), by="roe")

Importing this module imports no heavy library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workflow.board import add_to_board, ask_board, move_on_board, remove_from_board, store_packet
from workflow.bootstrap import build, open_node
from workflow.domain.board import BoardPriority
from workflow.domain.response import Protocol, Timeline, assess
from workflow.listener import import_files
from workflow.operations import complete_study, dismiss, plan_study, replay, take
from workflow.review import decide, sign
from workflow.settings import Node, Settings, load_settings
from workflow.use_cases.board import make_packets
from workflow.use_cases.run import run
from workflow.use_cases.segment import segment_image
from workflow.use_cases.track import track_images

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
    open_node(Node(ae_title=ae_title, host=host, port=port), calling).store(paths)


def simulate(out: Path, *, seed: int = 1) -> DemoSet:
    """Write the two simulated patients of the demo below a folder, each with its truth beside it."""
    from workflow.simulation.studies import demo_studies

    return demo_studies(out, seed=seed)


__all__ = [
    "BoardPriority",
    "Protocol",
    "Settings",
    "Timeline",
    "add_to_board",
    "ask_board",
    "assess",
    "build",
    "complete_study",
    "decide",
    "dismiss",
    "import_files",
    "load_settings",
    "make_packets",
    "move_on_board",
    "plan_study",
    "remove_from_board",
    "replay",
    "run",
    "segment_image",
    "send",
    "sign",
    "simulate",
    "store_packet",
    "take",
    "track_images",
]
