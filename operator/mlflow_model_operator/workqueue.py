"""A keyed work queue: each key is processed by one worker at a time, and never lost.

The rules are those of Kubernetes' client-go workqueue: a key added while it waits is merged, a key
added while it is processed is processed again afterwards, failures back off exponentially. Unlike
there, the queue is fair by group: of several groups with waiting keys, each is served in turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

INITIAL_BACKOFF = 1.0  # seconds
MAX_BACKOFF = 120.0


class KeyedQueue(Generic[K]):
    """First in, first out within a group; one key of each group in turn. For one event loop."""

    def __init__(
        self,
        group: Callable[[K], Hashable] = lambda _: None,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`group` gives the group of a key; `on_wait` gets the seconds that each key waited."""
        self._group = group
        self._on_wait = on_wait
        # By group; the group whose turn it is comes first. Groups without waiting keys are not in.
        self._ready: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._waiting_since: dict[K, float] = {}
        self._processing: set[K] = set()
        self._dirty: set[K] = set()  # added while they are processed
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._available = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting_since)

    @property
    def is_idle(self) -> bool:
        """Whether no key waits and none is processed; some may have timers."""
        return not self._ready and not self._processing

    def add(self, key: K) -> None:
        """Adds `key`, to be processed as soon as it is its turn and a worker is free."""
        if key in self._processing:
            self._dirty.add(key)
        elif key not in self._waiting_since:
            self._waiting_since[key] = asyncio.get_running_loop().time()
            self._ready.setdefault(self._group(key), deque()).append(key)
            self._available.set()

    def add_after(self, key: K, delay: float) -> None:
        """Adds `key` in `delay` seconds; of several such calls the earliest time counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._fire, key)

    def add_failed(self, key: K) -> float:
        """Adds `key` after its backoff, which doubles with each call; returns the backoff."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(INITIAL_BACKOFF * 2.0**failures, MAX_BACKOFF)
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
        key = self._pop()
        self._processing.add(key)
        self._on_wait(asyncio.get_running_loop().time() - self._waiting_since.pop(key))
        return key

    def done(self, key: K) -> None:
        """Ends the processing of `key`; if it was added meanwhile, it waits again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _pop(self) -> K:
        group, keys = next(iter(self._ready.items()))
        key = keys.popleft()
        if keys:
            self._ready.move_to_end(group)
        else:
            del self._ready[group]
        return key

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
