"""How many resources get the operator's new pod template at a time.

After an upgrade each resource needs new pods, and all at once would ask for twice the pods, and for
every model and package again in the same minute. What users change is never held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mlflow_model_operator.api.resource import Key


class UpdateSlots:
    """Bounds the updates that run at the same time; to be used from one event loop."""

    def __init__(self, limit: int, on_turn: Callable[[Key], None]) -> None:
        """`on_turn` is called with a resource that has waited, when it is its turn to ask again."""
        self._limit = limit
        self._on_turn = on_turn
        self._updating: dict[Key, asyncio.TimerHandle] = {}
        self._called: set[Key] = set()  # whose turn it is, and who did not ask again yet
        self._waiting: dict[Key, None] = {}  # a set that keeps its order

    def acquire(self, key: Key, seconds: float) -> bool:
        """Whether `key` may update now; if so, its slot is free again after `seconds` at most.

        An update that fails for its own reasons must not hold up all others.
        """
        if key in self._updating:
            return True
        self._called.discard(key)
        if self._free <= 0:
            self._waiting[key] = None
            return False
        self._waiting.pop(key, None)
        loop = asyncio.get_running_loop()
        self._updating[key] = loop.call_later(seconds, self.release, key)
        return True

    def release(self, key: Key) -> None:
        """`key` does not update any more, nor does it wait; others may update instead."""
        timer = self._updating.pop(key, None)
        if timer is not None:
            timer.cancel()
        self.cancel(key)

    def cancel(self, key: Key) -> None:
        """`key` does not wait any more; if it updates, that goes on."""
        self._waiting.pop(key, None)
        self._called.discard(key)
        while self._waiting and self._free > 0:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._called.add(following)
            self._on_turn(following)

    @property
    def _free(self) -> int:
        return self._limit - len(self._updating) - len(self._called)
