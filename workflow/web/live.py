"""Pages that are open hear that something changed: one look at the database per second for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from workflow.domain.errors import TransientError
from workflow.web.site import Site

LOOK_EVERY_S = 1.0
# A comment now and then: proxies close what is silent, and a browser that left is noticed.
_SAY_SOMETHING_S = 20.0


class Changes:
    """Hands one revision to everybody who listens; it looks only while somebody does."""

    def __init__(self, revision: Callable[[], str], every_s: float = LOOK_EVERY_S) -> None:
        self._revision, self._every_s = revision, every_s
        self._now = ""
        self._listeners: set[asyncio.Queue[str]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def listen(self) -> AsyncIterator[str | None]:
        """Every new revision, the present one first; None where nothing came for a while."""
        heard: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(heard)
        if self._looking is None or self._looking.done():
            self._now = ""
            self._looking = asyncio.create_task(self._look())
        elif self._now:
            heard.put_nowait(self._now)
        try:
            while True:
                try:
                    yield await asyncio.wait_for(heard.get(), _SAY_SOMETHING_S)
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(heard)

    async def _look(self) -> None:
        while self._listeners:
            try:
                revision = await run_in_threadpool(self._revision)
            except TransientError:  # the database is away: the pages stay as they are
                revision = self._now
            if revision != self._now:
                self._now = revision
                for heard in self._listeners:
                    heard.put_nowait(revision)
            await asyncio.sleep(self._every_s)


def live_routes(site: Site) -> APIRouter:
    """Server-sent events; they say that something changed, and not what."""
    routes = APIRouter(dependencies=[Depends(site.access.user)])
    changes = Changes(site.context.worklist.revision)

    @routes.get("/events", response_class=StreamingResponse, tags=["worklist"])
    def events() -> StreamingResponse:
        """A `change` event at once and whenever the worklist or a patient changed; its data is opaque."""

        async def stream() -> AsyncIterator[str]:
            async for revision in changes.listen():
                yield ": still here\n\n" if revision is None else f"event: change\ndata: {revision}\n\n"

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    return routes
