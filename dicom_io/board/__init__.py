"""A tumour board's packets as files: pages, slides, workbook, CSV, FHIR and JSON of one frozen content.

Everything heavy is imported when the first packet is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from workflow.domain.board import Packet, PacketFile
from workflow.ports import WrittenObject, WrittenResults
from workflow.ports.board import FrozenPacket
from workflow.settings import Settings

_MEDIA_TYPES = {
    "pdf": "application/pdf",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "fhir.json": "application/fhir+json",
    "json": "application/json",
}


class BoardPackets:
    """The port `workflow.ports.board.PacketWriter`."""

    def __init__(self, settings: Settings) -> None:
        # Results have the six Series Numbers before it.
        self._series_number = settings.results.series_number_start + 6

    def write(self, packet: FrozenPacket, stem: str, folder: Path) -> tuple[PacketFile, ...]:
        """See `workflow.ports.board.PacketWriter.write`."""
        from dicom_io.board.content import pages_of
        from dicom_io.board.fhir import bundle_of
        from dicom_io.board.pdf import render_pdf
        from dicom_io.board.slides import render_slides
        from dicom_io.board.table import csv_of
        from dicom_io.board.workbook import render_workbook

        pages = [pages_of(patient) for patient in packet.patients]
        pdf = render_pdf(packet, pages)
        made: dict[str, Callable[[], bytes]] = {
            "pdf": lambda: pdf,
            "pptx": lambda: render_slides(packet, pages),
            "xlsx": lambda: render_workbook(packet, pages),
            "csv": lambda: csv_of(pages).encode("utf-8-sig"),  # with the mark that tells Excel the encoding
            "fhir.json": lambda: _json(bundle_of(packet, pages, pdf)),
            "json": lambda: _json(_timelines(packet)),
        }
        return tuple(_written(kind, write(), stem, folder) for kind, write in made.items())

    def encapsulate(self, packet: Packet, pdf: Path, report: Path, path: Path) -> WrittenResults:
        """See `workflow.ports.board.PacketWriter.encapsulate`."""
        from dicom_io.board.encapsulated import encapsulate
        from dicom_io.parsing import quiet
        from dicom_io.results import to_bytes
        from dicom_io.results.dciodvfy import iod_errors

        with quiet():
            made = encapsulate(pdf.read_bytes(), packet, report, self._series_number)
            path.write_bytes(to_bytes(made))
            errors, remarks = iod_errors(made, report)
        written = WrittenObject(
            role=f"board-{packet.sha256[:8]}",
            path=path,
            sop_instance_uid=str(made.SOPInstanceUID),
            sop_class_uid=str(made.SOPClassUID),
            series_instance_uid=str(made.SeriesInstanceUID),
            study_instance_uid=str(made.StudyInstanceUID),
        )
        return WrittenResults(objects=(written,), errors=tuple(errors), warnings=tuple(remarks))


def _timelines(packet: FrozenPacket) -> object:
    """timeline.json as it was frozen; of a list, those of its patients in its order."""
    courses = [dict(patient.course) for patient in packet.patients]
    return courses if packet.is_list else courses[0]


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode()


def _written(kind: str, data: bytes, stem: str, folder: Path) -> PacketFile:
    name = f"{stem}.{kind}"
    (folder / name).write_bytes(data)
    return PacketFile(
        kind=kind,
        name=name,
        media_type=_MEDIA_TYPES[kind],
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
