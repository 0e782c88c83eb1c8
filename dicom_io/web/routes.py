"""The DICOMweb services as routes: paths, media types and statuses of PS3.18 chapter 10."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from pydicom.uid import ExplicitVRLittleEndian
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dicom_io.parsing import PARSER_FAILURES, parse, quiet, reading
from dicom_io.web import query as qido
from dicom_io.web.dicom_json import Json, bulk_value, entry, metadata
from dicom_io.web.frames import (
    FrameSource,
    NoPixelsError,
    decoded_frame,
    open_frames,
    stored_frame,
)
from dicom_io.web.media import (
    CODESTREAM_TYPES,
    DICOM,
    EXPLICIT_LITTLE_ENDIAN,
    JSON,
    MULTIPART,
    OCTETS,
    MalformedBodyError,
    MediaRange,
    Multipart,
    NotAcceptableError,
    Part,
    TooLargeError,
    accepted,
    parsed,
    read_parts,
)
from dicom_io.web.rendering import PICTURES, View, rendered, view_of
from workflow.domain.errors import TransientError, UnsuitableInputError
from workflow.ports import HeldInstance, Holdings, StoreFailure, StoreOutcome

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
_THUMBNAIL = View(box=(160, 160), quality=80)
_ENCAPSULATED_DOCUMENT = "00420011"
# PS3.18 table 10.5.3-1 refers to the statuses of C-STORE (PS3.4 B.2.3) and of PS3.7 annex C.
_FAILURE_REASONS = {
    StoreFailure.CANNOT_UNDERSTAND: 0xC000,
    StoreFailure.REFUSED: 0x0110,
    StoreFailure.OUT_OF_RESOURCES: 0xA700,
}
_DEFECT = "the instance is damaged and can't be read; have it sent again"

Store = Callable[[bytes, Any], StoreOutcome]


def dicomweb_routes(
    holdings: Holdings,
    *,
    prefix: str,
    reader: Callable[..., Any],
    writer: Callable[..., Any],
    store: Store,
    largest_upload_mb: int,
) -> APIRouter:
    """The routes of QIDO-RS, WADO-RS and STOW-RS.

    Parameters
    ----------
    prefix
        Where they are, e.g. "/dicom-web".
    reader, writer
        Dependencies that give the user, or refuse: who may look, and who may store.
    store
        Takes one instance's file and the user who stores it.
    largest_upload_mb
        Of one instance.
    """
    routes = APIRouter(prefix=prefix, dependencies=[Depends(reader)])
    _add_searches(routes, holdings, prefix)
    _add_retrieval(routes, holdings, prefix)
    _add_pixels(routes, holdings)
    _add_storing(routes, prefix, writer, store, largest_upload_mb << 20)
    return routes


# ---------------------------------------------------------------- QIDO-RS


def _add_searches(routes: APIRouter, holdings: Holdings, prefix: str) -> None:
    def search(
        request: Request,
        find: Callable[..., Iterator[Json]],
        above: dict[str, str] | None = None,
        **how: Any,
    ) -> Response:
        _require_json(request)
        try:
            asked = qido.query_of([*request.query_params.multi_items(), *(above or {}).items()])
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        if above and not any(True for _ in holdings.studies(asked.studies)):
            raise HTTPException(404, "there is no such study")
        matches = find(holdings, asked, _root(request, prefix), **how)
        page = list(islice(matches, asked.offset, asked.offset + asked.limit))
        warnings = []
        if asked.limit and len(page) == asked.limit and next(matches, None) is not None:
            warnings.append("299 tumorline: there are more results; ask for them with offset")
        if asked.is_fuzzy:
            # The words that PS3.18 8.3.4.2 asks for.
            warnings.append(
                "299 tumorline: The fuzzymatching parameter is not supported. Only literal matching has been "
                "performed."
            )
        headers = {"Warning": ", ".join(warnings)} if warnings else {}
        return Response(json.dumps(page, allow_nan=False), media_type=JSON, headers=headers)

    @routes.get("/studies")
    def find_studies(request: Request) -> Response:
        return search(request, qido.studies)

    @routes.get("/series")
    def find_all_series(request: Request) -> Response:
        return search(request, qido.series)

    @routes.get("/instances")
    def find_all_instances(request: Request) -> Response:
        return search(request, qido.instances)

    @routes.get("/studies/{study}/series")
    def find_series(request: Request, study: str) -> Response:
        return search(request, qido.series, {"StudyInstanceUID": study}, is_of_one_study=True)

    @routes.get("/studies/{study}/instances")
    def find_instances_of_study(request: Request, study: str) -> Response:
        return search(request, qido.instances, {"StudyInstanceUID": study})

    @routes.get("/studies/{study}/series/{series}/instances")
    def find_instances(request: Request, study: str, series: str) -> Response:
        above = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        return search(request, qido.instances, above, is_of_one_series=True)


def _require_json(request: Request) -> None:
    ranges = accepted(request.headers.get("accept"), request.query_params.get("accept"))
    if not any(one.covers(JSON, "application/json") for one in ranges):
        raise HTTPException(406, f"the answer is {JSON}")


def _root(request: Request, prefix: str) -> str:
    return f"{str(request.base_url).rstrip('/')}{prefix}"


# ---------------------------------------------------------------- WADO-RS: instances, metadata, bulk data


def _add_retrieval(routes: APIRouter, holdings: Holdings, prefix: str) -> None:
    @routes.get("/studies/{study}")
    def study_instances(request: Request, study: str) -> Response:
        return _files(request, _held(holdings, study), prefix)

    @routes.get("/studies/{study}/series/{series}")
    def series_instances(request: Request, study: str, series: str) -> Response:
        return _files(request, _held(holdings, study, series), prefix)

    @routes.get("/studies/{study}/series/{series}/instances/{instance}")
    def one_instance(request: Request, study: str, series: str, instance: str) -> Response:
        return _files(request, _held(holdings, study, series, instance), prefix, is_one=True)

    @routes.get("/studies/{study}/metadata")
    def study_metadata(request: Request, study: str) -> Response:
        return _metadata(request, _held(holdings, study), prefix)

    @routes.get("/studies/{study}/series/{series}/metadata")
    def series_metadata(request: Request, study: str, series: str) -> Response:
        return _metadata(request, _held(holdings, study, series), prefix)

    @routes.get("/studies/{study}/series/{series}/instances/{instance}/metadata")
    def instance_metadata(request: Request, study: str, series: str, instance: str) -> Response:
        return _metadata(request, _held(holdings, study, series, instance), prefix)

    @routes.get("/studies/{study}/series/{series}/instances/{instance}/bulkdata/{place:path}")
    def bulk_data(request: Request, study: str, series: str, instance: str, place: str) -> Response:
        (held,) = _held(holdings, study, series, instance)
        return _bulk_data(request, held, place)


def _held(
    holdings: Holdings, study: str, series: str | None = None, instance: str | None = None
) -> tuple[HeldInstance, ...]:
    found = holdings.instances(study, series, instance)
    if not found:
        what = "instance" if instance else "series" if series else "study"
        raise HTTPException(404, f"there is no such {what}")
    return found[:1] if instance else found


def _files(
    request: Request, held: tuple[HeldInstance, ...], prefix: str, *, is_one: bool = False
) -> Response:
    wanted = [one for one in _accepted(request) if one.covers(DICOM)]
    if not wanted:
        raise HTTPException(406, f'instances are given as {MULTIPART}; type="{DICOM}"')
    best, root = wanted[0], _root(request, prefix)
    if is_one and not best.is_multipart and best.type == DICOM:
        return StreamingResponse(_file(held[0], best), media_type=_dicom_type(held[0], best))
    parts = (
        Part(type=_dicom_type(one, best), content=_file(one, best), location=qido.address_of(one, root))
        for one in held
    )
    answer = Multipart(parts=parts, part_type=DICOM)
    return StreamingResponse(_guarded(answer), media_type=answer.content_type)


def _sent_syntax(held: HeldInstance, wanted: MediaRange) -> tuple[str, bool]:
    """The transfer syntax to send an instance in, and whether that is how it is stored."""
    stored = _stored_syntax(held.path)
    if wanted.takes(stored) or wanted.transfer_syntax in ("*", stored):
        return stored, True
    if wanted.takes(EXPLICIT_LITTLE_ENDIAN):
        return EXPLICIT_LITTLE_ENDIAN, False
    raise HTTPException(406, f"the instance is given in {stored} or {EXPLICIT_LITTLE_ENDIAN}")


def _stored_syntax(path: Path) -> str:
    from pydicom.filereader import read_file_meta_info

    try:
        with quiet():
            return str(read_file_meta_info(path).TransferSyntaxUID)
    except OSError as error:
        raise HTTPException(404, "the file is gone") from error
    except PARSER_FAILURES as error:
        raise HTTPException(500, _DEFECT) from error


def _dicom_type(held: HeldInstance, wanted: MediaRange) -> str:
    return f"{DICOM}; transfer-syntax={_sent_syntax(held, wanted)[0]}"


def _file(held: HeldInstance, wanted: MediaRange) -> Iterator[bytes]:
    """A file in pieces, as it is stored or written anew."""
    if not _sent_syntax(held, wanted)[1]:
        yield _explicit(held.path)
        return
    with held.path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _explicit(path: Path) -> bytes:
    """An instance in Explicit VR Little Endian, its pixels decoded."""
    with quiet(), reading(path):
        dataset, _ = parse(path, with_pixels=True)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress(as_rgb=False)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        out = BytesIO()
        dataset.save_as(out, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return out.getvalue()


def _metadata(request: Request, held: tuple[HeldInstance, ...], prefix: str) -> Response:
    _require_json(request)
    root = _root(request, prefix)
    return StreamingResponse(_guarded(_array(held, root)), media_type=JSON)


def _array(held: tuple[HeldInstance, ...], root: str) -> Iterator[bytes]:
    """A JSON array, an instance at a time; a damaged one is left out and named in the log."""
    separator = b"["
    for one in held:
        try:
            told = metadata(one.path, qido.address_of(one, root))
        except UnsuitableInputError as error:
            log.warning("metadata of instance %s: %s", one.sop_instance_uid, error)
            continue
        yield separator + json.dumps(told, allow_nan=False).encode()
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _bulk_data(request: Request, held: HeldInstance, place: str) -> Response:
    if place.upper().startswith("7FE000"):
        source = _source(held)
        return _frames(request, source, range(1, source.count + 1))
    try:
        value = bulk_value(held.path, place)
    except UnsuitableInputError as error:
        raise HTTPException(500, _DEFECT) from error
    if value is None:
        raise HTTPException(404, "there is no such bulk data")
    is_pdf = place == _ENCAPSULATED_DOCUMENT and value[:4] == b"%PDF"
    kind = "application/pdf" if is_pdf else OCTETS
    for wanted in _accepted(request):
        if wanted.covers(kind, OCTETS):
            if not wanted.is_multipart:
                return Response(value, media_type=kind if wanted.covers(kind) else OCTETS)
            answer = Multipart(parts=[Part(type=OCTETS, content=[value])], part_type=OCTETS)
            return StreamingResponse(answer, media_type=answer.content_type)
    raise HTTPException(406, f"the bulk data are {kind}")


# ---------------------------------------------------------------- WADO-RS: frames and pictures


def _add_pixels(routes: APIRouter, holdings: Holdings) -> None:
    base = "/studies/{study}/series/{series}/instances/{instance}"

    @routes.get(base + "/frames/{numbers}")
    def frames(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        (held,) = _held(holdings, study, series, instance)
        return _frames(request, _source(held), _numbers(numbers))

    @routes.get(base + "/frames/{numbers}/rendered")
    def rendered_frame(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        (held,) = _held(holdings, study, series, instance)
        return _picture(request, held, _numbers(numbers)[0])

    @routes.get(base + "/frames/{numbers}/thumbnail")
    def frame_thumbnail(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        (held,) = _held(holdings, study, series, instance)
        return _picture(request, held, _numbers(numbers)[0], _THUMBNAIL)

    @routes.get(base + "/rendered")
    def rendered_instance(request: Request, study: str, series: str, instance: str) -> Response:
        (held,) = _held(holdings, study, series, instance)
        return _document(held) or _picture(request, held, None)

    @routes.get(base + "/thumbnail")
    def instance_thumbnail(request: Request, study: str, series: str, instance: str) -> Response:
        (held,) = _held(holdings, study, series, instance)
        return _picture(request, held, None, _THUMBNAIL)

    @routes.get("/studies/{study}/series/{series}/rendered")
    def rendered_series(request: Request, study: str, series: str) -> Response:
        return _picture(request, _middle(_held(holdings, study, series)), None)

    @routes.get("/studies/{study}/series/{series}/thumbnail")
    def series_thumbnail(request: Request, study: str, series: str) -> Response:
        return _picture(request, _middle(_held(holdings, study, series)), None, _THUMBNAIL)

    @routes.get("/studies/{study}/thumbnail")
    def study_thumbnail(request: Request, study: str) -> Response:
        return _picture(request, _middle(_held(holdings, study)), None, _THUMBNAIL)


def _accepted(request: Request) -> list[MediaRange]:
    return accepted(request.headers.get("accept"), request.query_params.get("accept"))


def _source(held: HeldInstance) -> FrameSource:
    try:
        return open_frames(held.path)
    except NoPixelsError as error:
        raise HTTPException(404, str(error)) from error
    except UnsuitableInputError as error:
        raise HTTPException(500, _DEFECT) from error


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdigit() and 0 < int(part) < 1_000_000 for part in parts):
        raise HTTPException(400, f"frames are numbers from 1 on, with commas between them, not {text!r}")
    return [int(part) for part in parts]


def _frames(request: Request, source: FrameSource, numbers: Iterable[int]) -> Response:
    numbers = list(numbers)
    if wrong := [n for n in numbers if n > source.count]:
        raise HTTPException(404, f"there is no frame {wrong[0]}; the instance has {source.count}")
    try:
        wanted, part_type, read = _way_of(_accepted(request), source)
    except NotAcceptableError as error:
        raise HTTPException(406, str(error)) from error
    try:
        first = read(source, numbers[0])  # before the answer has begun: what can't be read is said
    except NoPixelsError as error:
        raise HTTPException(404, str(error)) from error
    except UnsuitableInputError as error:
        raise HTTPException(500, _DEFECT) from error
    if not wanted.is_multipart and wanted.type == OCTETS and len(numbers) == 1:
        return Response(first, media_type=part_type)

    def parts() -> Iterator[Part]:
        yield Part(type=part_type, content=[first])
        for number in numbers[1:]:
            yield Part(type=part_type, content=[read(source, number)])

    answer = Multipart(parts=parts(), part_type=part_type.split(";")[0])
    return StreamingResponse(_guarded(answer), media_type=answer.content_type)


def _way_of(
    ranges: list[MediaRange], source: FrameSource
) -> tuple[MediaRange, str, Callable[[FrameSource, int], bytes]]:
    """How frames are sent: what was asked for, the type of the parts, and what reads them.

    Raises
    ------
    NotAcceptableError
        If nothing of it can be given.
    """
    stored = source.transfer_syntax_uid
    codestream = CODESTREAM_TYPES.get(stored)
    is_native = not source.is_encapsulated and stored != "1.2.840.10008.1.2.2"
    for wanted in ranges:
        if wanted.covers(OCTETS):
            if is_native and (wanted.takes(EXPLICIT_LITTLE_ENDIAN) or wanted.takes(stored)):
                return wanted, f"{OCTETS}; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}", stored_frame
            if source.is_encapsulated and wanted.takes(stored):
                return wanted, f"{OCTETS}; transfer-syntax={stored}", stored_frame
            if wanted.takes(EXPLICIT_LITTLE_ENDIAN):
                return wanted, f"{OCTETS}; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}", decoded_frame
        elif codestream and wanted.covers(codestream) and wanted.transfer_syntax in ("", "*", stored):
            return wanted, f"{codestream}; transfer-syntax={stored}", stored_frame
    given = f"{OCTETS}, decoded" + (f", or {codestream}" if codestream else "")
    raise NotAcceptableError(f"the frames are stored in {stored}; they are given as {given}")


def _picture(request: Request, held: HeldInstance, number: int | None, view: View | None = None) -> Response:
    kinds = [kind for one in _accepted(request) for kind in PICTURES if one.covers(kind)]
    if not kinds:
        raise HTTPException(406, f"pictures are {' or '.join(PICTURES)}")
    asked = request.query_params
    try:
        view = view or view_of(asked.get("window"), asked.get("viewport"), asked.get("quality"))
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    source = _source(held)
    try:
        picture = rendered(source, number or (source.count + 1) // 2, kinds[0], view)
    except NoPixelsError as error:
        raise HTTPException(404, str(error)) from error
    except UnsuitableInputError as error:
        raise HTTPException(500, _DEFECT) from error
    return Response(picture, media_type=kinds[0])


def _document(held: HeldInstance) -> Response | None:
    """The PDF that an instance is, None of any other."""
    if held.sop_class_uid != "1.2.840.10008.5.1.4.1.1.104.1":
        return None
    value = bulk_value(held.path, _ENCAPSULATED_DOCUMENT)
    if value is None:
        raise HTTPException(500, _DEFECT)
    return Response(value, media_type="application/pdf")


def _middle(held: tuple[HeldInstance, ...]) -> HeldInstance:
    images = [one for one in held if one.modality not in ("", "SR", "PR", "KO", "RTSTRUCT", "SEG")] or held
    return images[len(images) // 2]


def _guarded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces; what breaks on the way ends the answer short, which a client sees, and is in the log."""
    try:
        yield from pieces
    except (UnsuitableInputError, TransientError, OSError):
        log.exception("an answer broke off")
        raise


# ---------------------------------------------------------------- STOW-RS


def _add_storing(
    routes: APIRouter, prefix: str, writer: Callable[..., Any], store: Store, largest: int
) -> None:
    async def stored(request: Request, user: Any, study: str | None) -> Response:
        kind, parameters = parsed(request.headers.get("content-type", ""))
        if kind != MULTIPART or parameters.get("type", DICOM).lower() != DICOM:
            raise HTTPException(415, f'instances are stored as {MULTIPART}; type="{DICOM}"')
        if not parameters.get("boundary"):
            raise HTTPException(400, "the multipart body has no boundary")
        outcomes = []
        try:
            async for part_type, content in _parts(request, parameters["boundary"], largest):
                outcomes.append(await run_in_threadpool(_stored, store, part_type, content, user, study))
        except MalformedBodyError as error:
            if not outcomes:
                raise HTTPException(400, str(error)) from error
            outcomes.append(StoreOutcome(said=str(error), failure=StoreFailure.CANNOT_UNDERSTAND))
        except TooLargeError as error:
            if not outcomes:
                raise HTTPException(413, str(error)) from error
            outcomes.append(StoreOutcome(said=str(error), failure=StoreFailure.OUT_OF_RESOURCES))
        if not outcomes:
            raise HTTPException(400, "nothing was stored: the body has no parts")
        return _store_answer(outcomes, _root(request, prefix), study)

    @routes.post("/studies")
    async def store_instances(request: Request, user: Any = Depends(writer)) -> Response:
        return await stored(request, user, None)

    @routes.post("/studies/{study}")
    async def store_into_study(request: Request, study: str, user: Any = Depends(writer)) -> Response:
        return await stored(request, user, study)


def _parts(request: Request, boundary: str, largest: int) -> AsyncIterator[tuple[str, bytes]]:
    return read_parts(request.stream(), boundary, largest)


def _stored(store: Store, part_type: str, content: bytes, user: Any, study: str | None) -> StoreOutcome:
    if parsed(part_type)[0] != DICOM:
        return StoreOutcome(said=f"a part is {part_type}", failure=StoreFailure.CANNOT_UNDERSTAND)
    if study is not None and (named := _study_of(content)) is not None and named != study:
        return StoreOutcome(said="it belongs to another study", failure=StoreFailure.REFUSED)
    return store(content, user)


def _study_of(content: bytes) -> str | None:
    from pydicom import dcmread

    with quiet():
        try:
            found = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
            return str(found.StudyInstanceUID)
        except PARSER_FAILURES:
            return None


def _store_answer(outcomes: list[StoreOutcome], root: str, study: str | None) -> Response:
    """PS3.18 10.5.3: 200 for all, 202 for some, 409 for none, and what became of each."""
    taken = [one for one in outcomes if one.failure is None]
    failed = [one for one in outcomes if one.failure is not None]
    for one in failed:
        log.warning("instance %s was not stored: %s", one.sop_instance_uid or "(no UID)", one.said)
    said: Json = {}
    where = study or next((one.study_instance_uid for one in taken), None)
    if where:
        said["00081190"] = entry("UR", f"{root}/studies/{where}")
    said["00081198"] = entry("SQ", *(_failure(one) for one in failed if one.sop_instance_uid))
    said["00081199"] = entry("SQ", *(_reference(one, root) for one in taken))
    if nameless := [one for one in failed if not one.sop_instance_uid]:
        said["0008119A"] = entry("SQ", *({"00081197": _reason(one)} for one in nameless))
    said = {key: value for key, value in said.items() if value.get("Value")}
    status = 200 if not failed else 202 if taken else 409
    headers = {"Warning": f'299 tumorline "{_plain(failed[0].said)}"'} if failed else {}
    return Response(json.dumps(said), status, media_type=JSON, headers=headers)


def _plain(text: str) -> str:
    """Words that a header can carry."""
    return "".join(c for c in text if 31 < ord(c) < 127 and c != '"')[:200]


def _reference(one: StoreOutcome, root: str) -> Json:
    address = f"{root}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
    return {
        "00081150": entry("UI", one.sop_class_uid),
        "00081155": entry("UI", one.sop_instance_uid),
        "00081190": entry("UR", f"{address}/instances/{one.sop_instance_uid}"),
    }


def _failure(one: StoreOutcome) -> Json:
    return {
        "00081150": entry("UI", one.sop_class_uid),
        "00081155": entry("UI", one.sop_instance_uid),
        "00081197": _reason(one),
    }


def _reason(one: StoreOutcome) -> Json:
    return entry("US", _FAILURE_REASONS[one.failure or StoreFailure.REFUSED])
