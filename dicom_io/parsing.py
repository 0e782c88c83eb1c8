"""Opening DICOM files that may be hostile: whatever is wrong with one becomes an `UnsuitableInputError`."""

from __future__ import annotations

import errno
import logging
import mmap
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

from dicom_io.structure import limit_structure
from workflow.domain.errors import TransientError, UnsuitableInputError, WorkflowError

# What a value that is not what it claims to be makes pydicom raise while it is converted. Around whole
# objects `reading` takes the rest.
PARSER_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEAD_BYTES = 4096
_IMPLICIT, _BIG_ENDIAN = b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.2"
# Empty masks deflate a hundredfold.
_MOST_INFLATED_BYTES, _SURELY_INFLATED_BYTES, _MOST_INFLATION = 256 << 20, 16 << 20, 200
# So few bytes hold no more elements than are parsed in a moment.
_SURE_BYTES = 1 << 20
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)$")
_NEVER_YEAR = 9000
_STORAGE_FAILURES = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT)


@cache
def _tag(keyword: str) -> BaseTag:
    # By tag: pydicom looks an absent keyword up twenty times slower.
    return Tag(keyword)


class _Quiet:
    """Silence for all threads as long as one wants it: warnings' filters are the whole process's."""

    def __init__(self) -> None:
        self._lock, self._wanted = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def begin(self) -> None:
        with self._lock:
            if self._wanted == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                logging.getLogger("pydicom").addFilter(self.drop)
            self._wanted += 1

    def end(self) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0:
                logging.getLogger("pydicom").removeFilter(self.drop)
                self._filters.__exit__(None, None, None)

    @staticmethod
    def drop(_: logging.LogRecord) -> bool:
        return False


_QUIET = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom about values, its warnings and its log: it quotes them, and one is a patient's name."""
    _QUIET.begin()
    try:
        yield
    finally:
        _QUIET.end()


def parse(path: Path, *, with_pixels: bool = False) -> tuple[Dataset, int]:
    """Parse a DICOM file.

    Returns
    -------
    tuple
        The dataset, without its pixel data unless asked for, and the offset in the file at which the
        pixel data element starts (its tag), which means nothing for a deflated file.

    Raises
    ------
    UnsuitableInputError
        If the file is missing, empty, no DICOM Part 10 file, or broken.
    TransientError
        If the storage failed.
    """
    with reading(path):
        try:
            with path.open("rb") as file:
                _refuse_bombs(file, path)
                dataset = dcmread(file, stop_before_pixels=not with_pixels)
                return dataset, file.tell()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise UnsuitableInputError(
                f"{path}: can't be opened ({error.strerror}); check the path"
            ) from error
        except InvalidDicomError as error:
            raise UnsuitableInputError(
                f"{path}: not a DICOM file (PS3.10: no preamble with the prefix DICM); leave it out"
            ) from error


def _refuse_bombs(file: BinaryIO, path: Path) -> None:
    """Refuse what a parser would choke on: elements and depth without end, a deflated file that inflates so.

    Small files are let through: their elements are few.
    """
    head = file.read(_HEAD_BYTES)
    size = file.seek(0, 2)
    try:
        if head[128:132] != b"DICM":
            return
        # The file meta information's group length (PS3.10 7.1) ends where the data set begins.
        start = 144 + int(struct.unpack("<I", head[140:144])[0])
        meta = head[:start]
        if _DEFLATED in meta:
            file.seek(start)
            limit_structure(_inflated(file, path, size), is_implicit=False)
        elif size > _SURE_BYTES and _BIG_ENDIAN not in meta:
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
                memoryview(content) as whole,
                whole[start:] as data_set,
            ):
                limit_structure(data_set, is_implicit=_IMPLICIT in meta)
    except UnsuitableInputError as error:
        raise UnsuitableInputError(f"{path}: {error}; have it sent otherwise") from error
    finally:
        file.seek(0)


def _inflated(file: BinaryIO, path: Path, size: int) -> bytes:
    """A deflated data set (PS3.5 A.5), which pydicom would inflate in one piece whatever comes of it."""
    most = min(_MOST_INFLATED_BYTES, max(_SURELY_INFLATED_BYTES, _MOST_INFLATION * size))
    inflator, content = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while (chunk := inflator.unconsumed_tail or file.read(1 << 16)) and not inflator.eof:
        content += inflator.decompress(chunk, 1 << 20)
        if len(content) > most:
            raise UnsuitableInputError(f"{size} bytes inflate to more than {most >> 20} MiB")
    return bytes(content)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """The one guard around every access to what a received object holds, lazy decoding included.

    Whatever parsers, decoders and their extensions raise (a Rust panic is a BaseException) becomes a named
    reason with the object in it; what was named already, and a request to end, pass.

    Raises
    ------
    UnsuitableInputError
        If the object can't be used; the message names it and quotes nothing of it.
    TransientError
        If the storage failed.
    """
    try:
        yield
    except (WorkflowError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except OSError as error:
        if error.errno in _STORAGE_FAILURES:
            raise TransientError(
                f"{path}: the storage failed ({error.strerror}); it is read again"
            ) from error
        raise broken(path, error) from error
    except BaseException as error:
        raise broken(path, error) from error


def broken(path: Path | str, error: BaseException) -> UnsuitableInputError:
    """Say that a file is damaged. The parser's own words are left out: they may quote the patient."""
    return UnsuitableInputError(
        f"{path}: damaged or truncated DICOM ({type(error).__name__}); have it sent again"
    )


@dataclass(frozen=True)
class Attributes:
    """A dataset (or a sequence's item) read by keyword with types; `where` names it in errors."""

    dataset: Dataset
    where: str

    def has(self, keyword: str) -> bool:
        """Whether the attribute is there, with or without a value."""
        return keyword in self.dataset

    def raw(self, keyword: str) -> Any:
        """The attribute's value as pydicom has it, or None."""
        tag = _tag(keyword)
        try:
            return self.dataset[tag].value if tag in self.dataset else None
        except PARSER_FAILURES as error:
            raise self._unreadable(keyword) from error

    def values(self, keyword: str) -> tuple[str, ...]:
        """All values as stripped text; empty if absent."""
        value = self.raw(keyword)
        if value is None:
            return ()
        try:
            several = isinstance(value, (list, tuple)) or hasattr(value, "__iter__")
            items = list(value) if several and not isinstance(value, (str, bytes)) else [value]
            return tuple("" if item is None else str(item).replace("\0", "").strip() for item in items)
        except PARSER_FAILURES as error:
            raise self._unreadable(keyword) from error

    def text(self, keyword: str) -> str:
        """The value as text, several joined by a backslash as DICOM has them; "" if absent."""
        value = self.raw(keyword)
        if isinstance(value, str):
            return value.replace("\0", "").strip()
        return "" if value is None else "\\".join(self.values_of_name(value) or self.values(keyword))

    def remark(self, keyword: str) -> str:
        """The value as text, "" where it is absent or malformed: for what an image can do without."""
        try:
            return self.text(keyword)
        except UnsuitableInputError:
            return ""

    @staticmethod
    def values_of_name(value: Any) -> tuple[str, ...]:
        """A person name as one text (pydicom's PersonName iterates over its letters)."""
        return (str(value),) if type(value).__name__ == "PersonName" else ()

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
        """Finite numbers, or None if absent or empty.

        Raises
        ------
        UnsuitableInputError
            If one is not a finite number, or there are not `count` of them.
        """
        value = self.raw(keyword)
        if value is None or value == "":
            return None
        try:
            items = [value] if isinstance(value, (int, float, str)) else list(value)
            numbers = tuple(float(item) for item in items)
        except PARSER_FAILURES as error:
            raise self._unreadable(keyword) from error
        if not numbers:
            return None
        if not all(map(isfinite, numbers)) or (count is not None and len(numbers) != count):
            raise self._unreadable(keyword)
        return numbers

    def number(self, keyword: str) -> float | None:
        """The first number, or None if absent."""
        numbers = self.numbers(keyword)
        return None if numbers is None else numbers[0]

    def integer(self, keyword: str) -> int | None:
        """The first number as a whole one, or None if absent."""
        number = self.number(keyword)
        if number is not None and number != int(number):
            raise self._unreadable(keyword)
        return None if number is None else int(number)

    def items(self, keyword: str) -> tuple[Attributes, ...]:
        """A sequence's items; empty if absent."""
        value = self.raw(keyword)
        if value is None:
            return ()
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise self._unreadable(keyword)
        return tuple(Attributes(item, self.where) for item in value)

    def item(self, keyword: str) -> Attributes | None:
        """A sequence's first item, or None."""
        items = self.items(keyword)
        return items[0] if items else None

    def date(self, keyword: str) -> date | None:
        """A DA value; None if absent or no date (an unknown date is evidence missing, not a broken file)."""
        digits = self.text(keyword).replace(".", "").replace("-", "")[:8]
        return _day(digits)

    def time_of_day(self, keyword: str) -> timedelta | None:
        """A TM value since midnight; None if absent or no time."""
        return _since_midnight(self.text(keyword))

    def moment(self, date_keyword: str, time_keyword: str) -> datetime | None:
        """A DA and a TM value together, midnight if the time is unknown; None without a date."""
        day = self.date(date_keyword)
        if day is None:
            return None
        return datetime.combine(day, time.min) + (self.time_of_day(time_keyword) or timedelta())

    def datetime(self, keyword: str, zone: timedelta | None = None) -> datetime | None:
        """A DT value on the clock of a time zone (its offset from UTC), or as written where none is known.

        None if absent, or no whole date (a year alone is none).
        """
        value = self.text(keyword).split("+")[0].split("-")[0]
        day = _day(value)
        if day is None:
            return None
        moment = datetime.combine(day, time.min) + (_since_midnight(value[8:]) or timedelta())
        own = self.offset(keyword)
        return moment if own is None or zone is None else moment - own + zone

    def offset(self, keyword: str) -> timedelta | None:
        """The offset from UTC at the end of a DT value, or in TimezoneOffsetFromUTC; None without one."""
        found = _OFFSET.search(self.text(keyword))
        if found is None:
            return None
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return -offset if found[1] == "-" else offset

    def private(self, group: int, creator: str, element: int) -> str:
        """The text of a private attribute in a creator's block (PS3.5 7.8), "" if absent or unreadable."""
        for block in range(0x10, 0x20):
            named = BaseTag((group << 16) + block)
            held = BaseTag((group << 16) + (block << 8) + element)
            if named not in self.dataset or held not in self.dataset:
                continue
            try:
                if str(self.dataset[named].value).strip() != creator:
                    continue
                value = self.dataset[held].value
            except PARSER_FAILURES:
                continue
            if isinstance(value, bytes):
                return value.decode("ascii", "ignore").strip("\0 ")
            items = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
            return "\\".join("" if item is None else str(item).strip() for item in items)
        return ""

    def private_number(self, group: int, creator: str, element: int) -> float | None:
        """The first number of a private attribute; None if absent or no finite number."""
        try:
            number = float(self.private(group, creator, element).split("\\")[0])
        except ValueError:
            return None
        return number if isfinite(number) else None

    def _unreadable(self, keyword: str) -> UnsuitableInputError:
        return UnsuitableInputError(f"{self.where}: the value of {keyword} is malformed; have it corrected")


def _day(digits: str) -> date | None:
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
    # 99991231 means "never", and a time of day (or a zone) must not carry it out of what a date can be.
    return day if 1 < day.year < _NEVER_YEAR else None


def _since_midnight(value: str) -> timedelta | None:
    digits, _, fraction = value.replace(":", "").strip().partition(".")
    if not digits.isdecimal() or (fraction and not fraction.isdecimal()):
        return None
    hours, minutes, seconds = (int(digits[i : i + 2] or 0) for i in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + float(f"0.{fraction or 0}"))
