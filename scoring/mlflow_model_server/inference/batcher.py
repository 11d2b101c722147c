"""Requests that came while the last prediction ran are predicted together. No delay is added.

A prediction that takes less than a millisecond runs in the event loop itself, after all sockets
that were ready have been read: handing it to a thread would take longer. A slower one runs in a
thread, which takes all that waits each time when it is free.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

QUICK = 0.001  # seconds: what the event loop may be held up
# So many durations are remembered, and the middle one is expected: a busy machine, or a container
# at its CPU limit, makes a quick prediction last many milliseconds now and then.
_REMEMBERED = 9
_MOST_ROWS = 4096  # predicted at once


class Outcome(NamedTuple):
    """What became of one request's rows."""

    predictions: Any  # lists
    about: Any  # what holds for all predictions of the batch
    queued: float  # seconds
    predicted: float  # seconds, of the whole batch


# Is told the outcome, or what hindered it, in the event loop. Only the first time counts: after a
# timeout the model may still answer.
Settle = Callable[[Outcome | BaseException], None]


class Job(NamedTuple):
    """The rows of one request."""

    rows: Any
    number: int  # of rows
    settle: Settle
    is_gone: Callable[[], bool]  # whether nobody waits for them any more
    since: float


# Gets rows of one or more requests; gives lists (or whatever there is, of one request), what is to
# be said about all of them, and what `on_batch` is to see of it.
Predict = Callable[[Sequence[Any]], tuple[Any, Any, Any]]
OnBatch = Callable[[int, int, Any], None]


class _Done(NamedTuple):
    jobs: list[Job]
    result: Any  # of all of them; or an exception, of the only one
    about: Any
    seen: Any


class Batcher:
    """Predicts what is submitted, in order. To be used from one event loop."""

    def __init__(
        self,
        predict: Predict,
        together: bool,
        prepare_thread: Callable[[], None] = lambda: None,
        on_batch: OnBatch = lambda _requests, _rows, _seen: None,
        timeout: float = 60.0,
    ) -> None:
        """`together`: rows of several requests may be predicted at once.

        `on_batch` is told, in the event loop, how many requests and rows each prediction had.
        After `timeout` seconds of a prediction in the thread, who waits gets a TimeoutError.
        """
        self._predict = predict
        self._together = together
        self._on_batch = on_batch
        self._timeout = timeout
        self._waiting: list[Job] = []
        self._busy = False
        self._in_thread = False
        # By bits of the number of rows: the last durations, and what is expected of the next.
        self._seconds: dict[int, deque[float]] = {}
        self._expected: dict[int, float] = {}
        self._thread = ThreadPoolExecutor(1, "predict", initializer=prepare_thread)
        self._prepare_thread: Callable[[], None] | None = prepare_thread

    def submit(self, rows: Any, count: int) -> asyncio.Future[Outcome]:
        """Asks for the predictions of `count` rows; a model's exception comes by the future."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.ask(rows, count, partial(_resolve, future), future.done)
        return future

    def ask(self, rows: Any, count: int, settle: Settle, is_gone: Callable[[], bool]) -> None:
        """The same for who needs no future; `settle` hears of a CancelledError if `is_gone`."""
        self._waiting.append(Job(rows, count, settle, is_gone, time.perf_counter()))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._next)

    def is_quick(self, count: int) -> bool:
        """Whether so many rows will be predicted before anything else happens."""
        # Unknown: long.
        return not self._in_thread and self._expected.get(count.bit_length(), 1.0) < QUICK

    def _next(self) -> None:
        batch = self._take()
        if not batch:
            self._busy = False
            return
        if self.is_quick(sum(job.number for job in batch)):
            self._run_here(batch)
        else:
            self._run_in_thread(batch)

    def _take(self) -> list[Job]:
        """What goes into the next prediction; who is gone leaves the queue."""
        waiting = [job for job in self._waiting if not _left(job)]
        taken, rows = 0, 0
        for job in waiting if self._together else waiting[:1]:
            rows += job.number
            if taken and rows > _MOST_ROWS:
                break
            taken += 1
        self._waiting = waiting[taken:]
        return waiting[:taken]

    def _run_here(self, batch: list[Job]) -> None:
        if self._prepare_thread is not None:
            self._prepare_thread()
            self._prepare_thread = None
        self._finish(batch, *self._timed(batch))
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._busy = False

    def _run_in_thread(self, batch: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        self._in_thread = True
        # Some expected to be quick, and did not arrange for a time limit themselves.
        limit = loop.call_later(self._timeout, _expire, [*batch, *self._waiting])

        def done(running: asyncio.Future[Any]) -> None:
            self._in_thread = False
            limit.cancel()
            self._finish(batch, *running.result())
            self._next()

        loop.run_in_executor(self._thread, self._timed, batch).add_done_callback(done)

    def _timed(self, batch: list[Job]) -> tuple[float, float, list[_Done]]:
        """When it began, the seconds it took, and what became of it: of all, or of each."""
        began = time.perf_counter()
        done = self._predict_all(batch)
        return began, time.perf_counter() - began, done

    def _predict_all(self, batch: list[Job]) -> list[_Done]:
        try:
            result, about, seen = self._predict([job.rows for job in batch])
            if len(batch) > 1:
                _require_rows(result, sum(job.number for job in batch))
            return [_Done(batch, result, about, seen)]
        except Exception as error:
            if len(batch) == 1:
                return [_Done(batch, error, None, None)]
            # One bad request must not hurt the others.
            return [done for job in batch for done in self._predict_all([job])]

    def _finish(self, batch: list[Job], began: float, seconds: float, results: list[_Done]) -> None:
        self._learn(sum(job.number for job in batch), seconds)
        for jobs, result, about, seen in results:
            self._on_batch(len(jobs), sum(job.number for job in jobs), seen)
            start = 0
            for job in jobs:
                part = result if len(jobs) == 1 else _part(result, start, job.number)
                start += job.number
                failed = isinstance(part, Exception)
                job.settle(part if failed else Outcome(part, about, began - job.since, seconds))

    def _learn(self, rows: int, seconds: float) -> None:
        bits = rows.bit_length()
        last = self._seconds.setdefault(bits, deque(maxlen=_REMEMBERED))
        last.append(seconds)
        self._expected[bits] = sorted(last)[len(last) // 2]


def _left(job: Job) -> bool:
    if job.is_gone():
        job.settle(asyncio.CancelledError())
        return True
    return False


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome | BaseException) -> None:
    if future.done():  # cancelled, or told of a timeout: nobody waits any more
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _expire(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.is_gone():
            job.settle(TimeoutError())


def _require_rows(result: Any, count: int) -> None:
    """Raises ValueError unless the result can be shared out: it has a prediction for each row."""
    for values in result.values() if isinstance(result, dict) else [result]:
        if isinstance(values, dict):
            _require_rows(values, count)
        elif not isinstance(values, list) or len(values) != count:
            raise ValueError(f"no prediction for each of {count} rows")


def _part(result: Any, start: int, count: int) -> Any:
    if isinstance(result, dict):
        return {name: _part(values, start, count) for name, values in result.items()}
    return result[start : start + count]
