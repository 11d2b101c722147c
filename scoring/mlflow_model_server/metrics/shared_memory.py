"""Memory that all workers share, so that one process can expose the metrics of all."""

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
from mlflow_model_server.metrics.shadow_memory import ShadowMemory

_NUMBER_BYTES = 8
_TEXT_BYTES = 1 << 20  # for the published baseline: pages that are not written cost nothing


class SharedMemory:
    """A slot of numbers for each worker, and one text for all. Make it before the workers fork.

    A worker that replaces an ended one takes its slot over, so that counters never go back.
    """

    def __init__(self, workers: int = 1, shadow: bool = False) -> None:
        """`shadow` is whether the workers may have one, for which there is memory then."""
        self.workers = workers
        self.shadow = ShadowMemory(workers) if shadow else None
        self._memory = mmap.mmap(-1, workers * slots.SLOT * _NUMBER_BYTES)  # anonymous, shared
        self._numbers = memoryview(self._memory).cast("d")
        self._text = mmap.mmap(-1, _TEXT_BYTES)
        # Only to be locked: such a lock ends with the process that holds it.
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115

    def slot(self, number: int) -> memoryview[float]:
        """The numbers of the worker with this number, from 0."""
        start = number * slots.SLOT
        return self._numbers[start : start + slots.SLOT]

    def totals(self) -> list[float]:
        """Each number, summed over the workers."""
        workers = [self.slot(number) for number in range(self.workers)]
        return list(map(math.fsum, zip(*workers, strict=True)))

    def pids(self) -> list[int]:
        """The processes that serve; of a worker that has not begun there is none."""
        return [int(pid) for pid in self.per_worker(slots.PID) if pid]

    def per_worker(self, place: int) -> list[float]:
        """The number at `place` of each worker."""
        return [self.slot(number)[place] for number in range(self.workers)]

    def published(self) -> Any:
        """The published value, or None."""
        length = int.from_bytes(self._text[:_NUMBER_BYTES], "little")
        return json.loads(self._text[_NUMBER_BYTES : _NUMBER_BYTES + length]) if length else None

    def publish(self, value: Any) -> Any:
        """Publishes `value` (JSON) to all workers unless there is one; returns the published one.

        Raises ValueError if it is longer than a mebibyte.
        """
        text = json.dumps(value).encode()
        if len(text) > _TEXT_BYTES - _NUMBER_BYTES:
            raise ValueError(
                f"{len(text)} bytes do not fit into shared memory: monitor fewer features"
            )
        with self._locked():
            if (present := self.published()) is not None:
                return present
            self._text[_NUMBER_BYTES : _NUMBER_BYTES + len(text)] = text
            # The length last: readers of it find the text complete.
            self._text[:_NUMBER_BYTES] = len(text).to_bytes(_NUMBER_BYTES, "little")
        return value

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
