"""Received instances on disk, their bytes as they came: streamed, digested, durable, named by content."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pydicom
from pydicom.filereader import read_dataset

from dicom_io.headers import InstanceHeader, identifying_header, refuse_directory
from dicom_io.parsing import quiet, reading
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.patient import PatientIdentity

_DEFLATED, _BIG_ENDIAN, _IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
# Elements stand in the order of their tags (PS3.5 7.1): after this one, nothing says whose it is any more.
_LAST_OF_IDENTITY = 0x0020000E
# So much of a data set is held in memory; what has its identity later is read from the file, up to a limit.
_HEAD_BYTES = 64 << 10
_LONGEST_HEAD_BYTES = 4 << 20
_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """An instance on disk: its header, its file, and the digest of the bytes as they came.

    Of the header only what identifies it is read (`dicom_io.headers.identifying_header`).
    """

    header: InstanceHeader
    path: Path
    sha256: str
    size: int
    source: str

    @property
    def identity(self) -> PatientIdentity:
        """Whose it says that it is."""
        return self.header.identity


class Incoming:
    """A data set on its way to disk. Left without `finish`, nothing of it stays.

    Parameters
    ----------
    folder
        Where received files are kept; the unfinished one lies under `folder`/incoming.
    meta
        Preamble, prefix and file meta information, which go before the data set in the file.
    transfer_syntax_uid
        Of the data set.
    """

    def __init__(self, folder: Path, meta: bytes, transfer_syntax_uid: str) -> None:
        self._folder, self._syntax, self._meta_length = folder, transfer_syntax_uid, len(meta)
        self._head = bytearray()
        self._digest = hashlib.sha256()
        self.size = 0
        incoming = folder / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        self._path = incoming / f"{secrets.token_hex(8)}.part"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        self._write(memoryview(meta))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; what was not finished is removed."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)  # renamed, if it was kept

    def write(self, part: bytes | memoryview) -> None:
        """Append a part of the data set."""
        view = memoryview(part)
        self._digest.update(view)
        if len(self._head) < _HEAD_BYTES:
            self._head += view[: _HEAD_BYTES - len(self._head)]
        self._write(view)
        self.size += len(view)

    def finish(
        self, source: str, announced: tuple[str, str] | None = None
    ) -> tuple[ReceivedFile, Collection[Path]]:
        """Make the file durable under its name; the folders given back have to be synced before it is told.

        `announced` are the SOP Class and Instance UID that its sender gave it.

        Raises
        ------
        UnsuitableInputError
            If it says not which instance it is, or another than was announced. It is kept under
            `folder`/rejected; the message says where.
        OSError
            If the disk refuses.
        """
        os.fsync(self._file)
        sha256 = self._digest.hexdigest()
        try:
            header = self._header()
            if announced and announced != (header.sop_class_uid, header.sop_instance_uid):
                raise UnsuitableInputError(
                    f"{self._path}: another instance than its sender announced; have it sent again"
                )
        except UnsuitableInputError as error:
            rejected = self._folder / "rejected" / f"{sha256[:32]}.dcm"
            rejected.parent.mkdir(exist_ok=True)
            self._path.replace(rejected)
            reason = str(error).replace(str(self._path), f"an object from {source}")
            raise UnsuitableInputError(f"{reason} (kept as {rejected})") from error
        # The digest in the name: an instance that comes again with other content loses nothing.
        final = self._folder / header.study_instance_uid / header.series_instance_uid
        changed = {final, *(part.parent for part in (final, final.parent) if not part.exists())}
        final.mkdir(parents=True, exist_ok=True)
        path = final / f"{header.sop_instance_uid}-{sha256}.dcm"
        self._path.replace(path)
        named = InstanceHeader(**{**vars(header), "path": path})
        size = self._meta_length + self.size
        return ReceivedFile(header=named, path=path, sha256=sha256, size=size, source=source), changed

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[os.write(self._file, view) :]

    def _header(self) -> InstanceHeader:
        with quiet(), reading(self._path):
            dataset, is_read = _identity_in(bytes(self._head), self._syntax)
            if not is_read and self.size > len(self._head):
                with self._path.open("rb") as file:
                    file.seek(self._meta_length)
                    dataset, _ = _identity_in(file.read(_LONGEST_HEAD_BYTES), self._syntax)
            return identifying_header(dataset, self._path, self._syntax)


def _identity_in(head: bytes, syntax: str) -> tuple[pydicom.Dataset, bool]:
    """What of the identity is in the beginning of a data set, and whether all of it is."""
    if syntax == _DEFLATED:
        head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, _LONGEST_HEAD_BYTES)
    stream = BytesIO(head)
    dataset = read_dataset(
        stream,
        is_implicit_VR=syntax == _IMPLICIT,
        is_little_endian=syntax != _BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag > _LAST_OF_IDENTITY,
    )
    return dataset, stream.tell() < len(head)


def sync_folders(folders: Collection[Path]) -> None:
    """Make entries of folders durable: a name outlives a power cut like a file's content."""
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_file(content: bytes, folder: Path, source: str) -> ReceivedFile:
    """Keep a DICOM file's bytes, unchanged, where they survive a crash.

    Raises
    ------
    UnsuitableInputError
        If the bytes are no DICOM instance. They are kept under `folder`/rejected and the message says where.
    OSError
        If the disk refuses.
    """
    try:
        with quiet(), reading(f"an object from {source}"):
            offset, meta = _data_set_offset(BytesIO(content))
            syntax = str(meta.get("TransferSyntaxUID", _IMPLICIT))
            refuse_directory(meta, f"an object from {source}")
    except UnsuitableInputError as error:
        rejected = folder / "rejected" / f"{hashlib.sha256(content).hexdigest()[:32]}.dcm"
        rejected.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(rejected, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        raise UnsuitableInputError(f"{error} (kept as {rejected})") from error
    view = memoryview(content)
    with Incoming(folder, bytes(view[:offset]), syntax) as incoming:
        incoming.write(view[offset:])
        received, changed = incoming.finish(source)
    sync_folders(changed)
    return received


def file_digest(path: Path) -> str:
    """SHA-256 of the data set as it was sent: the file less preamble and file meta information.

    The meta information names whoever wrote the file; the same instance received twice through
    different ways has the same digest, and only a change of content gives another.
    """
    with path.open("rb") as file, quiet():
        _data_set_offset(file)
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _data_set_offset(file: BinaryIO) -> tuple[int, pydicom.Dataset]:
    try:
        pydicom.filereader.read_preamble(file, force=False)
    except pydicom.errors.InvalidDicomError as error:
        raise UnsuitableInputError(
            "no DICOM file (PS3.10: no preamble with the prefix DICM); leave it out"
        ) from error
    meta = pydicom.filereader._read_file_meta_info(file)
    return file.tell(), meta


def discard_unfinished(folder: Path, older_than_s: float = 3600.0) -> int:
    """Remove what a process that was killed while writing left; nobody was told that it was kept."""
    left = [
        part
        for part in (folder / "incoming").glob("*.part")
        if time.time() - part.stat().st_mtime > older_than_s
    ]
    for part in left:
        part.unlink(missing_ok=True)
    return len(left)
