"""`tumorline recist`: response assessment of documents, without a database or an image."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from workflow.commands._exit import ExitCode

if TYPE_CHECKING:
    from workflow.documents.document import Batch

_HELP = """Assess the response in a patient's course: RECIST 1.1, iRECIST and other criteria.

FILE is a JSON document, JSON Lines (a document a line, a result a line, same order), or a CSV table
with a row per lesion and visit, or CDISC's TU, TR and RS tables, together; `-` reads standard input.
Every level may be given: measurements, a sum, target / non-target / new lesion, or the overall response
alone. docs/recist.md describes the forms, and the edit checks whose warnings the results hold.

Examples:

    tumorline recist patient.json

    tumorline recist cohort.jsonl --json --policy confirmation_required=true > results.jsonl

    tumorline recist visits.csv --criteria irecist --table

    tumorline recist tu.csv tr.csv rs.csv --reader "RADIOLOGIST 1"

    tumorline recist --explain

Exit codes: 0 all assessed; 2 the input, an option or a document is wrong (said on stderr; with many
documents the others are assessed, and the wrong one's result is an object with its error).
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recist", help=_HELP, no_args_is_help=True)(recist)


def recist(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help="JSON, JSON Lines or CSV; - for stdin; several CSV tables make one."
        ),
    ] = None,
    criteria: Annotated[
        str | None,
        typer.Option(
            help="recist-1.1, irecist, imrecist, mrecist, percist-1.0, lugano-2014, lyric, rano-2.0, choi, "
            "pcwg3, gcig-ca125, recist-1.0 or who."
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A policy, over the document's own; repeatable."),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(help='Of a table with several readers this one; "accepted": the accepted rows.'),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Results as JSON, one a line (the default off a terminal).")
    ] = False,
    as_table: Annotated[bool, typer.Option("--table", help="Results as tables to read.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the rules and the policy table.")] = False,
) -> None:
    """Assess the documents of a file and print the results."""
    from workflow.documents.explain import explanation
    from workflow.domain.response import TimelineError

    if explain:
        typer.echo(explanation())
        return
    if not files:
        _fail("FILE is missing; give a file, or - for stdin, or --explain")
    if as_json and as_table:
        _fail("--json and --table exclude each other; give one of them")
    try:
        batch = _read(files, reader)
        wants_table = as_table or (not as_json and sys.stdout.isatty())
        is_well = _print(batch, criteria, policy or [], wants_table=wants_table)
    except TimelineError as error:
        _fail(str(error))
    if not is_well:
        raise typer.Exit(ExitCode.WRONG_USE)


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(ExitCode.WRONG_USE)


def _read(files: Sequence[Path], reader: str | None) -> Batch:
    from workflow.documents.document import read_batch, read_tables, read_text
    from workflow.domain.response import TimelineError

    if len(files) == 1:
        if str(files[0]) == "-":
            return read_batch(sys.stdin.read(), reader=reader)
        return read_batch(read_text(files[0]), suffix=files[0].suffix.lower(), reader=reader)
    others = [str(file) for file in files if file.suffix.lower() not in (".csv", ".tsv")]
    if others:
        raise TimelineError(f"{others[0]} is no CSV table; only tables are read together")
    return read_tables({str(file): read_text(file) for file in files}, reader=reader)


def _print(batch: Batch, criteria: str | None, policy: Sequence[str], *, wants_table: bool) -> bool:
    """Print every result; whether all documents could be assessed."""
    from workflow.documents.document import Overrides
    from workflow.documents.result import json_line

    overrides = Overrides(criteria=criteria, policy=policies_of(policy))
    is_single = len(batch.documents) == 1
    results = assess_documents(batch.documents, overrides, wants_table=wants_table, is_single=is_single)
    is_well, array = True, []
    for result in results:
        if isinstance(result, dict) and "error" in result:
            is_well = False
            typer.echo(f"error: {result['error']}", err=True)
        if wants_table:
            typer.echo(result if isinstance(result, str) else f"error: {result['error']}")
            typer.echo("")
        elif batch.is_array:
            array.append(result)
        else:
            typer.echo(json_line(result))
    if batch.is_array and not wants_table:
        typer.echo(json_line(array))
    return is_well


def assess_documents(
    documents: Iterable[tuple[str, Any]],
    overrides: Any,
    *,
    wants_table: bool = False,
    is_single: bool = False,
) -> Iterable[dict[str, Any] | str]:
    """A result for each document, in order: JSON-ready, or a table's text.

    A wrong document gives an object with its name and the `error`.

    Raises
    ------
    TimelineError
        If the only document (`is_single`) is wrong.
    """
    from workflow.documents.document import parse_document
    from workflow.documents.result import result_of, table_of
    from workflow.domain.response import TimelineError, assess

    for place, raw in documents:
        try:
            document = parse_document(raw, place=place, overrides=overrides)
        except TimelineError as error:
            if is_single:
                raise
            yield {"name": raw.get("name"), "error": str(error)}
            continue
        course = assess(document.timeline, document.protocol)
        show = table_of if wants_table else result_of
        yield show(course, name=document.name, reader=document.reader, warnings=document.warnings)


def policies_of(given: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a mapping.

    Raises
    ------
    TimelineError
        If a word has no `=`, or names no policy.
    """
    from workflow.domain.response import Policies, TimelineError

    found: dict[str, str] = {}
    for word in given:
        key, mark, value = word.partition("=")
        if not mark:
            raise TimelineError(f"--policy {word!r} has no value; write it as key=value")
        found[key.strip()] = value.strip()
    try:
        Policies.from_mapping(found)
    except ValueError as error:
        raise TimelineError(f"--policy: {error}") from None
    return found
