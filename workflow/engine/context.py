"""What a stage needs to work: settings, the database, the clock and the adapters, built by `bootstrap`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from workflow.ports import (
    Committer,
    Cursors,
    Destination,
    Examination,
    Holdings,
    ImageReader,
    Jobs,
    MarkWriter,
    Outbox,
    Overview,
    PromptReader,
    ReceivedInstance,
    Reception,
    Records,
    ResultReader,
    ResultWriter,
    Segmenter,
    Tracker,
    Users,
)
from workflow.ports.board import Boards, PacketWriter
from workflow.ports.events import PatientEvents
from workflow.ports.operations import Operations
from workflow.ports.priors import Priors, PriorSource
from workflow.ports.worklist import Worklist
from workflow.settings import Settings

# Part of every result's identity: raise it when the pipeline's own rules change a result.
PIPELINE_VERSION = "2"


@dataclass(frozen=True, kw_only=True)
class Context:
    """The world of the stages. Models are opened when first asked for: the listener needs none."""

    settings: Settings
    clock: Callable[[], datetime]
    reception: Reception
    records: Records
    outbox: Outbox
    jobs: Jobs
    cursors: Cursors
    overview: Overview
    holdings: Holdings
    boards: Boards
    packets: PacketWriter
    priors: Priors
    worklist: Worklist
    events: PatientEvents
    users: Users
    operations: Operations
    examination: Examination
    images: ImageReader
    prompts: PromptReader
    marks: MarkWriter
    results: ResultWriter
    result_reader: ResultReader
    destination: Destination
    # Keeps received bytes on disk as they came; named second is who sent them.
    keep: Callable[[bytes, str], ReceivedInstance]
    open_segmenter: Callable[[], Segmenter]
    open_tracker: Callable[[], Tracker]
    # What must be known of a model's results, by the model's name.
    limits_of: Callable[[str], Sequence[str]]
    # How many instances the PACS has of a study, the series named second left out.
    pacs_instance_count: Callable[[str, Collection[str]], int] | None = None
    # Who commits itself to keep what was delivered; None where the destination's list is the proof.
    committer: Committer | None = None
    # Who is asked for earlier studies of a patient; None where they are not fetched.
    prior_source: PriorSource | None = None
