"""What workers count of their shadow, in a file in memory that their child processes map too.

A worker's part is its state, its numbers and the target that they are of. The worker writes all but
the outcomes of copies that were sent, which its child writes: each number has one writer.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from bisect import bisect_left
from dataclasses import dataclass

from mlflow_model_server.metrics.slots import SECONDS

OK, INCOMPARABLE, ERROR, TIMEOUT, UNREACHABLE, DROPPED = OUTCOMES = (
    *("ok", "incomparable", "error"),
    *("timeout", "unreachable", "dropped"),
)

# States.
UNKNOWN, NONE, ACTIVE, INVALID = range(4)

# The places of numbers.
_STATE = 0
_OUTCOMES = 1
DURATION = _OUTCOMES + len(OUTCOMES)  # a histogram: buckets, the last for all above, and the sum
ROWS = DURATION + len(SECONDS) + 2
DISAGREED = ROWS + 1
NUMERIC = DISAGREED + 1
ABSOLUTE_ERROR = NUMERIC + 1
PID = ABSOLUTE_ERROR + 1  # of the child process, or 0
_SIZE = PID + 1

_NUMBER_BYTES = 8
_LENGTH_BYTES = 4
_TEXT = 1024  # the place of the target in a worker's part
_PART = 4096


def place_of(outcome: str) -> int:
    """The place of an outcome's counter."""
    return _OUTCOMES + OUTCOMES.index(outcome)


@dataclass(frozen=True)
class ShadowCounts:
    """What one worker has counted, and of which target."""

    state: int
    revision: str = ""
    version: str = ""
    numbers: tuple[float, ...] = (0.0,) * _SIZE


class ShadowPart:
    """One worker's part."""

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        start = number * _PART
        view = memoryview(memory)[start : start + _PART]
        self.numbers = view[: _SIZE * _NUMBER_BYTES].cast("d")
        self._text = view[_TEXT:]

    @property
    def state(self) -> int:
        """UNKNOWN, NONE, ACTIVE or INVALID."""
        return int(self.numbers[_STATE])

    def count(self, outcome: str, seconds: float | None = None) -> None:
        """Counts a copy; `seconds` is how long its answer took."""
        self.numbers[place_of(outcome)] += 1
        if seconds is not None:
            self.numbers[DURATION + bisect_left(SECONDS, seconds)] += 1
            self.numbers[DURATION + len(SECONDS) + 1] += seconds

    def count_rows(self, rows: int, disagreed: int, numeric: int, absolute_error: float) -> None:
        """Counts the rows of one answer; `absolute_error` is the sum over the numeric rows."""
        self.numbers[ROWS] += rows
        self.numbers[DISAGREED] += disagreed
        self.numbers[NUMERIC] += numeric
        self.numbers[ABSOLUTE_ERROR] += absolute_error

    def begin(self, revision: str, version: str) -> None:
        """From now on, counts for this target: from 0, unless the numbers are of it already."""
        target = json.dumps([revision, version]).encode()
        if self._target() != target:
            self.end(UNKNOWN)
            for place in range(_SIZE):
                self.numbers[place] = 0.0
            self._text[_LENGTH_BYTES : _LENGTH_BYTES + len(target)] = target
            self._text[:_LENGTH_BYTES] = len(target).to_bytes(_LENGTH_BYTES, "little")
        self.numbers[_STATE] = ACTIVE

    def end(self, state: int) -> None:
        """There is no target any more; the next one counts from 0."""
        self.numbers[_STATE] = state
        self._text[:_LENGTH_BYTES] = bytes(_LENGTH_BYTES)

    def read(self) -> ShadowCounts:
        """What is there now; of an unknown state where it was being changed."""
        state, target = self.state, self._target()
        numbers = tuple(self.numbers)
        if (state, target) != (self.state, self._target()):
            return ShadowCounts(UNKNOWN)
        if state != ACTIVE or not target:
            return ShadowCounts(state)
        revision, version = json.loads(target)
        return ShadowCounts(state, revision, version, numbers)

    def _target(self) -> bytes:
        length = int.from_bytes(self._text[:_LENGTH_BYTES], "little")
        return bytes(self._text[_LENGTH_BYTES : _LENGTH_BYTES + length])


class ShadowMemory:
    """A part for each worker. Make it before the workers fork."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._file = _file()
        os.truncate(self._file, workers * _PART)
        self._memory = mmap.mmap(self._file, workers * _PART)

    @property
    def file(self) -> int:
        """The descriptor for `part_in`, in a child."""
        return self._file

    def part(self, number: int) -> ShadowPart:
        """The part of the worker with this number, from 0."""
        return ShadowPart(self._memory, number)

    def pids(self) -> list[int]:
        """The child processes."""
        parts = map(self.part, range(self.workers))
        return [int(part.numbers[PID]) for part in parts if part.numbers[PID]]

    def read(self) -> list[ShadowCounts]:
        """What each worker has counted."""
        return [self.part(number).read() for number in range(self.workers)]


def part_in(file: int, number: int) -> ShadowPart:
    """The part of the worker with this number, in the file that its parent has given it."""
    return ShadowPart(mmap.mmap(file, (number + 1) * _PART), number)


def _file() -> int:
    if hasattr(os, "memfd_create"):  # Linux has it
        return os.memfd_create("shadow")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
