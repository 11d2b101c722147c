"""A keyed work queue: each key is worked on by one worker at a time, and never lost.

The rules are those of Kubernetes' client-go workqueue: a key added while it waits is merged, a key
added while it is worked on is worked on again afterwards, failures back off exponentially.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 1.0  # seconds
MOST_BACKOFF = 120.0


class KeyedQueue(Generic[K]):
    """First in, first out, by key. To be used from one event loop."""

    def __init__(self, on_wait: Callable[[float], None] = lambda _: None) -> None:
        """`on_wait` is told how many seconds each key waited in the queue."""
        self._ready: deque[K] = deque()
        self._waiting_since: dict[K, float] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._available = asyncio.Event()
        self._on_wait = on_wait

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Whether no key waits and none is worked on; some may be asked for later."""
        return not self._ready and not self._working

    def add(self, key: K) -> None:
        """Asks for `key` to be worked on as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting_since:
            self._waiting_since[key] = asyncio.get_running_loop().time()
            self._ready.append(key)
            self._available.set()

    def add_after(self, key: K, delay: float) -> None:
        """Asks for `key` in `delay` seconds; of several such wishes the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._fire, key)

    def add_failed(self, key: K) -> float:
        """Asks for `key` again after its backoff, which doubles with each call; returns it."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_BACKOFF * 2.0**failures, MOST_BACKOFF)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """Resets the backoff of `key`."""
        self._failures.pop(key, None)

    def forget(self, key: K) -> None:
        """Drops timers and backoff of a key that is gone."""
        self.succeeded(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def get(self) -> K:
        """Waits for the next key; `done` must follow."""
        while not self._ready:
            self._available.clear()
            await self._available.wait()
        key = self._ready.popleft()
        self._working.add(key)
        self._on_wait(asyncio.get_running_loop().time() - self._waiting_since.pop(key))
        return key

    def done(self, key: K) -> None:
        """Ends the work on `key`; if it was added meanwhile, it waits again."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
