"""The memory that requests may use together while they are parsed and predicted in threads."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What is as large is given back to the system afterwards: allocators would keep it.
_LARGE = 64 * 2**20


class MemoryBudget:
    """Requests that need more than is left wait for others to end."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Waits for `size` bytes; more than the total are the total."""
        reserved = self.acquire(size)
        try:
            yield
        finally:
            self.release(reserved)

    def acquire(self, size: int) -> int:
        """Waits for `size` bytes; returns how many are to be released."""
        size = min(size, self._total)
        if size == 0:
            return 0
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self._total)
            self._used += size
        return size

    def release(self, size: int) -> None:
        """Gives back what `acquire` returned."""
        if size == 0:
            return
        if size >= _LARGE:
            _trim()
        with self._changed:
            self._used -= size
            self._changed.notify_all()


def _trim() -> None:
    """Gives memory that is free back to the system, where the allocators can do so."""
    if hasattr(_LIBC, "malloc_trim"):  # not in every libc
        _LIBC.malloc_trim(0)
    if (pyarrow := sys.modules.get("pyarrow")) is not None:
        pyarrow.default_memory_pool().release_unused()


_LIBC = ctypes.CDLL(None)
