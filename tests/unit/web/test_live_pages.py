"""Open pages hear of changes, and however many are open, the database is looked at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from workflow.domain.errors import TransientError
from workflow.web.live import Changes


class _Counter:
    """A revision that others move, and how often it was asked for."""

    def __init__(self) -> None:
        self.now, self.asked, self.is_away = "1", 0, False

    def __call__(self) -> str:
        self.asked += 1
        if self.is_away:
            raise TransientError("the database is away")
        return self.now


async def _next(heard: AsyncIterator[str | None]) -> str | None:
    return await asyncio.wait_for(anext(heard), 10)


async def _until(counter: _Counter, looks: int) -> None:
    while counter.asked < looks:
        await asyncio.sleep(0.001)


def test_every_listener_hears_the_present_revision_and_each_new_one():
    async def listen() -> None:
        counter = _Counter()
        changes = Changes(counter, every_s=0.001)
        first, second = changes.listen(), changes.listen()
        assert (await _next(first), await _next(second)) == ("1", "1")
        counter.now = "2"
        assert (await _next(first), await _next(second)) == ("2", "2")
        await first.aclose()
        await second.aclose()

    asyncio.run(listen())


def test_many_listeners_cost_as_many_looks_as_one():
    async def listen() -> None:
        counter = _Counter()
        changes = Changes(counter, every_s=0.01)
        listeners = [changes.listen() for _ in range(50)]
        for heard in listeners:
            await _next(heard)
        asked = counter.asked
        assert asked < 25
        for heard in listeners:
            await heard.aclose()

    asyncio.run(listen())


def test_nobody_looks_when_nobody_listens_and_somebody_who_comes_later_is_told():
    async def listen() -> None:
        counter = _Counter()
        changes = Changes(counter, every_s=0.001)
        heard = changes.listen()
        await _next(heard)
        await heard.aclose()
        await asyncio.sleep(0.05)
        asked = counter.asked
        await asyncio.sleep(0.05)
        assert counter.asked == asked
        counter.now = "2"
        later = changes.listen()
        assert await _next(later) == "2"
        await later.aclose()

    asyncio.run(listen())


def test_a_database_that_is_away_for_a_while_ends_nothing():
    async def listen() -> None:
        counter = _Counter()
        changes = Changes(counter, every_s=0.001)
        heard = changes.listen()
        await _next(heard)
        counter.is_away = True
        await _until(counter, counter.asked + 3)
        counter.is_away, counter.now = False, "2"
        assert await _next(heard) == "2"
        await heard.aclose()

    asyncio.run(listen())
