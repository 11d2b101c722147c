"""The memory that requests may use together while they are parsed and predicted in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Requests that need more than is left wait for others to end."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Waits for `size` bytes; more than the total are the total."""
        size = min(size, self._total)
        if size == 0:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self._total)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()
