"""Registered models that are to be polled before their time, a bounded number of them per second.

Whoever sends hints can't have the operator poll more often than that; hints of the same model that
wait are one.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple


class Hint(NamedTuple):
    """A registered model that may have changed."""

    server: str  # the tracking URI
    model: str


class Hints:
    """A queue without duplicates that hands out at most `rate` hints per second.

    A hint is handed out again only when the poll for the last one like it is done.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._waiting: dict[Hint, None] = {}  # a set that keeps its order
        self._polling: set[Hint] = set()
        self._changed = asyncio.Event()
        self._last = float("-inf")  # when a hint was handed out, by the loop's clock

    def add(self, hint: Hint) -> None:
        """Has the model polled when it is its turn."""
        self._waiting[hint] = None
        self._changed.set()

    async def next(self) -> Hint:
        """The next hint, when its time has come; `done` must be called with it."""
        while (hint := self._first()) is None:
            self._changed.clear()
            await self._changed.wait()
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._last + self._interval - loop.time())
        self._last = loop.time()
        del self._waiting[hint]
        self._polling.add(hint)
        return hint

    def done(self, hint: Hint) -> None:
        """The poll for the hint has ended."""
        self._polling.discard(hint)
        self._changed.set()

    def _first(self) -> Hint | None:
        return next((hint for hint in self._waiting if hint not in self._polling), None)
