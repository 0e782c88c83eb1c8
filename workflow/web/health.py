"""What a machine asks: is it alive, can it work, how much of what is there. No login, and nobody's data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Response

from workflow.engine.context import Context

# https://prometheus.io/docs/instrumenting/exposition_formats/
_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_WORDS = {
    "jobs": "Jobs by stage, state (as UPS has them) and how they ended.",
    "studies": "Received studies by state.",
    "visits": "Visits by state.",
    "result_objects": "Result objects by how far they are on their way to the PACS.",
    "instances": "Received instances.",
}

Sample = tuple[dict[str, str], float]


def health_routes(context: Context) -> APIRouter:
    """Health, readiness and metrics."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/healthz")
    def alive() -> dict[str, str]:
        """Whether this process answers."""
        return {"status": "ok"}

    @routes.get("/readyz")
    @routes.get("/health")
    def ready() -> dict[str, str]:
        """Whether the database answers, so that pages can be shown."""
        context.overview.check()
        return {"status": "ok"}

    @routes.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Counts and waits for Prometheus."""
        return Response("".join(_lines(context)), media_type=_TEXT_FORMAT)

    return routes


def _lines(context: Context) -> Iterator[str]:
    for name, samples in context.examination.counts().items():
        yield from _gauge(name, _WORDS[name], samples)
    facts = context.examination.jobs()
    waits: list[Sample] = [({"stage": stage}, round(s, 1)) for stage, s in sorted(facts.waiting_s.items())]
    yield from _gauge("oldest_due_job_seconds", "How long the oldest due job of a stage has waited.", waits)
    yield from _gauge("silent_jobs", "Running jobs whose worker is silent.", [({}, facts.silent)])
    yield from _gauge(
        "clock_ahead_seconds",
        "How far the database's clock is before this host's.",
        [({}, round(facts.clock_ahead_s, 3))],
    )
    free = shutil.disk_usage(context.settings.home).free
    yield from _gauge("home_free_bytes", "Room on the disk of the home folder.", [({}, free)])


def _gauge(name: str, help_text: str, samples: Sequence[Sample]) -> Iterator[str]:
    yield f"# HELP tumorline_{name} {help_text}\n# TYPE tumorline_{name} gauge\n"
    for labels, value in samples:
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"tumorline_{name}{{{told}}} {value}\n" if told else f"tumorline_{name} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
