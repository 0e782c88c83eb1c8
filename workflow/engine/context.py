"""What a stage needs to work: settings, the database, the clock and the adapters, built by `bootstrap`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from db.session import UnitOfWork
from workflow.ports import (
    Destination,
    ImageReader,
    Outbox,
    PromptReader,
    Reception,
    Records,
    ResultWriter,
    Segmenter,
    Tracker,
)
from workflow.settings import Settings

# Part of every result's identity: raise it when the pipeline's own rules change a result.
PIPELINE_VERSION = "2"


@dataclass(frozen=True, kw_only=True)
class Context:
    """The world of the stages. Models are opened when first asked for: the listener needs none."""

    settings: Settings
    unit: UnitOfWork
    reading: UnitOfWork
    clock: Callable[[], datetime]
    reception: Reception
    records: Records
    outbox: Outbox
    images: ImageReader
    prompts: PromptReader
    results: ResultWriter
    destination: Destination
    open_segmenter: Callable[[], Segmenter]
    open_tracker: Callable[[], Tracker]
    # How many instances the PACS has of a study, the series named second left out.
    pacs_instance_count: Callable[[str, Collection[str]], int] | None = None
