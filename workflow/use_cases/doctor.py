"""Whether an installation is sound: what holds, what does not, and what to do about it."""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workflow import __version__
from workflow.bootstrap import open_node, received_digest
from workflow.domain.errors import TransientError
from workflow.engine.context import Context
from workflow.engine.reconciler import queues
from workflow.engine.tasks import make_app, require_broker
from workflow.ports import KeptFile
from workflow.settings import Settings

# A due job that nobody took for so long has no worker, or more work than its workers do.
_WAITS_LONG_S = 600.0
_CLOCKS_APART_S = 5.0
_SHOWN = 10


class Verdict(StrEnum):
    """How a check ended."""

    SOUND = "sound"
    NOTE = "note"
    NEEDS_A_PERSON = "needs a person"
    NOT_THERE = "not there"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found, and what to do: `advice` is empty where nothing is to be done."""

    check: str
    verdict: Verdict
    what: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"check": self.check, "verdict": self.verdict, "what": self.what, "advice": self.advice}


def examine(context: Context, *, digests: bool = False) -> list[Finding]:
    """Look at everything, change nothing; `digests` reads every file anew.

    Raises
    ------
    TransientError
        If the database is not there: nothing else can be said then.
    """
    checks: list[Callable[[Context], Iterator[Finding]]] = [
        _versions,
        _accounts,
        lambda context: _files(context, digests=digests),
        _jobs,
        _disk,
        _broker,
        _destination,
    ]
    return [finding for check in checks for finding in check(context)]


def _versions(context: Context) -> Iterator[Finding]:
    database, revision = context.examination.schema()
    parts = [
        f"tumorline {__version__}",
        f"Python {platform.python_version()}",
        f"{database}, schema {revision}",
        *(f"{name} {version(name)}" for name in ("celery", "torch", "pydicom", "highdicom", "pynetdicom")),
    ]
    yield Finding(check="versions", verdict=Verdict.SOUND, what="; ".join(parts))


def _accounts(context: Context) -> Iterator[Finding]:
    lost = context.examination.unaccounted()
    if not lost:
        words = "every study has one set of results, a named reason, or work that waits"
        yield Finding(check="studies", verdict=Verdict.SOUND, what=words)
    for one in lost[:_SHOWN]:
        yield Finding(
            check="studies",
            verdict=Verdict.NEEDS_A_PERSON,
            what=f"study {one.about} {one.what}",
            advice="have it sent again (or `tumorline import` its files): it is then looked at anew",
        )
    if len(lost) > _SHOWN:
        yield Finding(
            check="studies", verdict=Verdict.NEEDS_A_PERSON, what=f"and {len(lost) - _SHOWN} more like these"
        )


def _files(context: Context, *, digests: bool) -> Iterator[Finding]:
    seen: dict[Path, str] = {}
    count, missing, changed, shared = 0, list[Path](), list[Path](), list[Path]()
    for kept in context.examination.files():
        count += 1
        if kept.path in seen:
            shared.append(kept.path)
        seen[kept.path] = kept.sha256
        if not kept.path.is_file():
            missing.append(kept.path)
        elif digests and _digest(kept) != kept.sha256:
            changed.append(kept.path)
    wrong = (
        ("are gone", missing, "bring them back from a backup, or have their studies sent again"),
        ("are not what was received or written", changed, "bring them back from a backup; look at the disk"),
        ("are spoken of twice", shared, "report this as a defect: two rows must not share a file"),
    )
    for words, paths, advice in wrong:
        if paths:
            names = ", ".join(map(str, paths[:3])) + (" ..." if len(paths) > 3 else "")
            yield Finding(
                check="files",
                verdict=Verdict.NEEDS_A_PERSON,
                what=f"{len(paths)} of {count} files {words}: {names}",
                advice=advice,
            )
    if not (missing or changed or shared):
        words = "there, each once" + (", with its digest" if digests else " (digests: --digests)")
        yield Finding(check="files", verdict=Verdict.SOUND, what=f"{count} files are {words}")


def _digest(kept: KeptFile) -> str:
    if kept.is_received:
        return received_digest(kept.path)
    with kept.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _jobs(context: Context) -> Iterator[Finding]:
    facts, before = context.examination.jobs(), True
    if facts.silent:
        before = False
        yield Finding(
            check="jobs",
            verdict=Verdict.NEEDS_A_PERSON,
            what=f"{facts.silent} jobs run whose worker is silent, and nobody took them over",
            advice="start the reconciler (`tumorline up`, or `--only reconciler`)",
        )
    for queue, stages in queues(context.settings).items():
        waits = max((facts.waiting_s.get(stage, 0.0) for stage in stages), default=0.0)
        if waits > _WAITS_LONG_S:
            before = False
            yield Finding(
                check="jobs",
                verdict=Verdict.NEEDS_A_PERSON,
                what=f"a job of the queue {queue} has waited for {waits / 60:.0f} minutes",
                advice=f"see whether a worker takes {queue} (worker.queues), or start more of them",
            )
    if facts.stopped:
        before = False
        yield Finding(
            check="jobs",
            verdict=Verdict.NEEDS_A_PERSON,
            what=f"{facts.stopped} jobs were given up",
            advice="`tumorline status` says why; `tumorline status --replay ID` tries one again",
        )
    if abs(facts.clock_ahead_s) > _CLOCKS_APART_S:
        yield Finding(
            check="clocks",
            verdict=Verdict.NOTE,
            what=f"the database's clock and this host's are {abs(facts.clock_ahead_s):.0f} s apart",
            advice="jobs go by the database's; set both by NTP, for the times that people read",
        )
    if before:
        yield Finding(check="jobs", verdict=Verdict.SOUND, what="no lease is over, nothing waits for long")


def _disk(context: Context) -> Iterator[Finding]:
    home, least = context.settings.home, context.settings.listener.minimum_free_mb
    free = shutil.disk_usage(home).free // 2**20
    if free < least:
        yield Finding(
            check="disk",
            verdict=Verdict.NEEDS_A_PERSON,
            what=f"{free} MB are free in {home}; below {least} MB nothing is received",
            advice="make room: senders are told to try again until there is",
        )
    elif free < 4 * least:
        yield Finding(
            check="disk", verdict=Verdict.NOTE, what=f"{free} MB are free in {home}: make room soon"
        )
    else:
        yield Finding(check="disk", verdict=Verdict.SOUND, what=f"{free / 1024:.0f} GB are free in {home}")


def _broker(context: Context) -> Iterator[Finding]:
    settings: Settings = context.settings
    app = make_app(settings)
    try:
        require_broker(app)
    except TransientError as error:
        yield Finding(
            check="broker",
            verdict=Verdict.NOT_THERE,
            what=str(error),
            advice="start it, or set broker_url; nothing is lost, the work waits in the database",
        )
    else:
        where = "answers" if settings.broker_url else f"is the folder {settings.home / 'broker'}"
        yield Finding(check="broker", verdict=Verdict.SOUND, what=f"the broker {where}")
    finally:
        app.close()


def _destination(context: Context) -> Iterator[Finding]:
    settings = context.settings
    nodes = {
        "destination": settings.resolved_destination,
        **({"pacs": settings.pacs} if settings.pacs else {}),
    }
    for name, node in nodes.items():
        where = f"{node.ae_title}@{node.host}:{node.port}"
        try:
            open_node(node, settings.listener.ae_title).echo()
        except TransientError as error:
            yield Finding(
                check=name,
                verdict=Verdict.NOT_THERE,
                what=str(error),
                advice="results wait in the outbox until it is back; see that it knows our AE title",
            )
        else:
            yield Finding(check=name, verdict=Verdict.SOUND, what=f"{where} answers C-ECHO")
