"""Memory that all workers share, so that one of them, or their parent, can tell for all."""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_model_server.metrics import slots

_NUMBER = 8  # bytes
_TEXT = 1 << 20  # bytes for the bins that were agreed on: pages that nobody writes cost nothing


class Shared:
    """A slot of numbers for each worker, and one text for all. Make it before the workers fork.

    A worker that replaces an ended one takes its slot over, so that counters never go back.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, workers * slots.SLOT * _NUMBER)  # anonymous, shared
        self._numbers = memoryview(self._memory).cast("d")
        self._text = mmap.mmap(-1, _TEXT)
        # Only to be locked: such a lock ends with the process that holds it.
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115

    def slot(self, number: int) -> memoryview[float]:
        """The numbers of the worker with this number, from 0."""
        start = number * slots.SLOT
        return self._numbers[start : start + slots.SLOT]

    def totals(self) -> list[float]:
        """Each number, summed over the workers."""
        slots = [self.slot(number) for number in range(self.workers)]
        return list(map(math.fsum, zip(*slots, strict=True)))

    def pids(self) -> list[int]:
        """The processes that serve; of a worker that has not begun there is none."""
        return [int(pid) for pid in self.of_each(slots.PID) if pid]

    def of_each(self, place: int) -> list[float]:
        """One number of each worker."""
        return [self.slot(number)[place] for number in range(self.workers)]

    def agreed(self) -> Any:
        """What `agree` was told, or None."""
        length = int.from_bytes(self._text[:_NUMBER], "little")
        return json.loads(self._text[_NUMBER : _NUMBER + length]) if length else None

    def agree(self, told: Any) -> Any:
        """Makes `told` (of what JSON can say) known to all, if nothing is; returns what is known.

        Raises ValueError if it is longer than a mebibyte.
        """
        text = json.dumps(told).encode()
        if len(text) > _TEXT - _NUMBER:
            raise ValueError(f"{len(text)} bytes are too much to share: watch fewer features")
        with self._locked():
            if (known := self.agreed()) is not None:
                return known
            self._text[_NUMBER : _NUMBER + len(text)] = text
            # The length last: who reads it finds the text complete.
            self._text[:_NUMBER] = len(text).to_bytes(_NUMBER, "little")
        return told

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
