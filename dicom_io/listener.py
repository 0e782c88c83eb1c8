"""The DICOM listener that receives studies: C-STORE is answered when an instance is kept for good."""

from __future__ import annotations

import logging
import shutil
import ssl
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_io.acceptor import Acceptor, Callers, CommitmentService, DataSetSink, Limits
from dicom_io.keeping import Incoming, ReceivedFile, discard_unfinished, sync_folders
from dicom_io.upper_layer import Command, file_meta
from workflow.domain.conflict import Receipt
from workflow.domain.errors import UnsuitableInputError, WorkflowError

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 table B.2-1. A conflict is stored, with a warning: its bytes are kept, and a failure
# would only be tried again.
SUCCESS, KEPT_WITH_WARNING, OUT_OF_RESOURCES = 0x0000, 0xB000, 0xA700
CANNOT_UNDERSTAND = 0xC000
_DISK_LOOKED_AT_EVERY = 64 << 20

Receive = Callable[[Sequence[ReceivedFile]], Sequence[Receipt]]


def serve_listener(
    *,
    host: str,
    port: int,
    folder: Path,
    callers: Callers,
    on_received: Receive,
    on_rejected: Callable[[str, str], None],
    limits: Limits | None = None,
    minimum_free_mb: int = 1024,
    commitment: CommitmentService | None = None,
    tls: ssl.SSLContext | None = None,
    shares_port: bool = False,
) -> Acceptor:
    """Start the listener: C-ECHO, and C-STORE of every storage class in every transfer syntax.

    `on_received` records instances, those that several associations brought at one time together, and returns
    when that is durable: only then is success answered. `on_rejected(source, reason)` is told of objects that
    could not be read. Pixels are never decoded. `tls` is made by `dicom_io.tls.listener_context`; without it
    the listener speaks plain DICOM. `commitment` does storage commitment. With
    `shares_port` several processes listen on one port.

    Raises
    ------
    TransientError
        If the port is taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    discard_unfinished(folder)
    together = _Together(on_received)

    def open_sink(command: Command, transfer_syntax: str, source: str) -> DataSetSink | tuple[int, str]:
        if _is_full(folder, minimum_free_mb):
            return OUT_OF_RESOURCES, "the disk is full"
        try:
            incoming = Incoming(folder, file_meta(command, transfer_syntax, source), transfer_syntax)
        except OSError:
            log.exception("nothing can be written to %s; the sender is asked to try later", folder)
            return OUT_OF_RESOURCES, "the disk refuses"
        return _Storing(incoming, command, source, folder, minimum_free_mb, together, on_rejected)

    return Acceptor(
        host,
        port,
        callers=callers,
        open_sink=open_sink,
        commitment=commitment,
        limits=limits,
        tls=tls,
        shares_port=shares_port,
    )


@dataclass
class _Storing:
    """One C-STORE: its data set goes to disk as it comes."""

    incoming: Incoming
    command: Command
    source: str
    folder: Path
    minimum_free_mb: int
    together: _Together
    on_rejected: Callable[[str, str], None]
    # Set when the disk refuses: the rest of the data set is read and thrown away, so that this can be said.
    is_refused: bool = False
    looked_at: int = 0

    def write(self, part: memoryview) -> None:
        """See `DataSetSink.write`."""
        if self.is_refused:
            return
        try:
            if self.incoming.size - self.looked_at > _DISK_LOOKED_AT_EVERY:
                self.looked_at = self.incoming.size
                self.is_refused = _is_full(self.folder, self.minimum_free_mb)
            self.incoming.write(part)
        except OSError:
            log.exception(
                "an instance from %s can't be written; the sender is asked to try later", self.source
            )
            self.is_refused = True

    def finish(self) -> tuple[int, str]:
        """See `DataSetSink.finish`."""
        if self.is_refused:
            return OUT_OF_RESOURCES, "the disk refuses"
        try:
            announced = (self.command.sop_class_uid, self.command.sop_instance_uid)
            received, changed = self.incoming.finish(self.source, announced)
            receipt = self.together.receive(received, changed)
        except UnsuitableInputError as error:
            log.warning("%s", error)
            self.on_rejected(self.source, str(error))
            return CANNOT_UNDERSTAND, "kept for a person, as it can't be read"
        except (OSError, WorkflowError):
            log.exception("an instance from %s was not kept; the sender is asked to try later", self.source)
            return OUT_OF_RESOURCES, ""
        if receipt is Receipt.CONFLICT:
            return KEPT_WITH_WARNING, "kept for a person: it differs from what came first"
        return SUCCESS, ""

    def close(self) -> None:
        """See `DataSetSink.close`."""
        self.incoming.close()


@dataclass
class _Entry:
    received: ReceivedFile
    changed: Collection[Path]
    receipt: Receipt | None = None
    error: BaseException | None = None


@dataclass
class _Together:
    """Group commit: who gets the turn records what all have brought by then, and they wait for it."""

    on_received: Receive
    waiting: list[_Entry] = field(default_factory=list)
    door: threading.Lock = field(default_factory=threading.Lock)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, received: ReceivedFile, changed: Collection[Path]) -> Receipt:
        """Record an instance whose file is durable, and its folders' entries with it."""
        entry = _Entry(received, changed)
        with self.door:
            self.waiting.append(entry)
        with self.turn:
            if entry.receipt is None and entry.error is None:
                with self.door:
                    batch, self.waiting = self.waiting, []
                self._record(batch)
        if entry.error is not None:
            raise entry.error
        if entry.receipt is None:
            raise RuntimeError("an instance was left out of its batch")
        return entry.receipt

    def _record(self, batch: Sequence[_Entry]) -> None:
        try:
            sync_folders({folder for entry in batch for folder in entry.changed})
            receipts = self.on_received([entry.received for entry in batch])
        except Exception as error:  # answered to the sender of each
            if len(batch) == 1:
                batch[0].error = error
                return
            for entry in batch:  # whoever is to blame must not take the others along
                self._record([entry])
            return
        for entry, receipt in zip(batch, receipts, strict=True):
            entry.receipt = receipt


def _is_full(folder: Path, minimum_free_mb: int) -> bool:
    is_full = shutil.disk_usage(folder).free < minimum_free_mb << 20
    if is_full:
        log.error("less than %d MB are free in %s: the sender is asked to try later", minimum_free_mb, folder)
    return is_full
