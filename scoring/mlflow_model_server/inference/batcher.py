"""Requests that arrive while a prediction runs are predicted together next. No delay is added.

A prediction of known code that takes less than a millisecond runs in the event loop itself, after
all sockets that were ready have been read: handing it to a thread would take longer. A slower one
runs in a thread, which takes all that waits each time when it is free.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from mlflow_model_server.codecs.limits import SMALL_BODY
from mlflow_model_server.inference.accelerator import OnFailure, free_frames
from mlflow_model_server.inference.request import DeadlineExceeded

log = logging.getLogger(__name__)

QUICK = 0.001  # seconds: what the event loop may be held up
_UNKNOWN = 1.0  # seconds: without a duration to go by it may take long
# So many durations are remembered, and their median is expected: a busy machine, or a container at
# its CPU limit, makes a quick prediction last many milliseconds now and then.
_DURATIONS = 9
_MAX_ROWS = 4096  # of a batch
_MIN_PURGED = 64  # requests in the queue


class Prediction(NamedTuple):
    """The predictions for one request."""

    predictions: Any
    info: Any  # what `predictions` don't say of themselves, the same for the whole batch
    queued: float  # seconds
    seconds: float  # of the whole batch


# Called with the prediction, or with what prevented it, in the event loop. Only the first call for
# a request counts: after a timeout the model may still answer.
OnDone = Callable[[Prediction | BaseException], None]


class Crashed(Exception):
    """The model raised something that no future can hold, or that is no Exception: its cause."""


class Job(NamedTuple):
    """The rows of one request."""

    rows: Any
    row_count: int
    on_done: OnDone
    is_cancelled: Callable[[], bool]  # whether nobody waits for them any more
    submitted: float
    size: int  # bytes of its body: of a large one, the time can't be expected by its rows


# Gets rows of one or more requests; returns lists (or anything, of one request), what lists don't
# say, and what `on_batch` is to get.
Predict = Callable[[Sequence[Any]], tuple[Any, Any, Any]]
OnBatch = Callable[[int, int, int, Any], None]


class _Result(NamedTuple):
    jobs: list[Job]
    predictions: Any  # of all of them; or an exception, of the only one
    info: Any
    observed: Any


class Batcher:
    """Predicts what is submitted, in order. To be used from one event loop."""

    def __init__(
        self,
        predict: Predict,
        together: bool,
        prepare_thread: Callable[[], None] = lambda: None,
        on_batch: OnBatch = lambda _requests, _rows, _size, _observed: None,
        timeout: float = 60.0,
        inline: bool = True,
        on_failure: OnFailure = free_frames,
    ) -> None:
        """`together`: rows of several requests may be predicted at once.

        `on_batch` gets, in the event loop, the numbers of requests, of rows and of bytes of each
        prediction, and what `predict` returns for it.
        Requests whose prediction takes longer than `timeout` seconds in the thread get a
        DeadlineExceeded. `inline`: quick predictions may run in the event loop. `on_failure` gets
        what `predict` raised, where it was called.
        """
        self._predict = predict
        self._together = together
        self._on_batch = on_batch
        self._timeout = timeout
        self._inline = inline
        self._on_failure = on_failure
        self._queue: list[Job] = []
        self._purge_at = _MIN_PURGED
        self._busy = False
        self._in_thread_since: float | None = None
        # By bits of the number of rows: the last durations, and what is expected of the next.
        self._durations: dict[int, deque[float]] = {}
        self._expected: dict[int, float] = {}
        self._quickest = _UNKNOWN  # of what is expected
        self._thread = ThreadPoolExecutor(1, "predict")
        self._prepare_thread = prepare_thread
        self._prepared: set[int] = set()  # threads, by their identifiers

    def submit(self, rows: Any, count: int, size: int = 0) -> asyncio.Future[Prediction]:
        """Predicts `count` rows, which had `size` bytes.

        A model's exception is the future's, or the cause of a Crashed.
        """
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self.enqueue(rows, count, partial(_resolve, future), future.done, size)
        return future

    def enqueue(
        self,
        rows: Any,
        count: int,
        on_done: OnDone,
        is_cancelled: Callable[[], bool],
        size: int = 0,
    ) -> None:
        """The same without a future; `on_done` gets a CancelledError if `is_cancelled`."""
        self._queue.append(Job(rows, count, on_done, is_cancelled, time.perf_counter(), size))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._next)
        elif len(self._queue) >= self._purge_at:
            self._purge()

    def is_quick(self, count: int, largest: int = 0) -> bool:
        """Whether so many rows will be predicted before anything else happens.

        `largest` is the number of bytes of the largest body.
        """
        return (
            largest <= SMALL_BODY
            and self.may_be_quick()
            and self._expected.get(count.bit_length(), _UNKNOWN) < QUICK
        )

    def may_be_quick(self) -> bool:
        """Whether `is_quick` holds for any number of rows: if not, they need not be read for it."""
        return self._inline and self._in_thread_since is None and self._quickest < QUICK

    def stuck_seconds(self) -> float:
        """For how long the running prediction has been beyond its timeout."""
        if self._in_thread_since is None:
            return 0.0
        return max(0.0, time.perf_counter() - self._in_thread_since - self._timeout)

    def _next(self) -> None:
        batch = self._next_batch()
        if not batch:
            self._busy = False
            return
        rows = largest = 0
        for job in batch:
            rows += job.row_count
            largest = max(largest, job.size)
        if self.is_quick(rows, largest):
            self._run_inline(batch)
        else:
            self._run_in_thread(batch)

    def _next_batch(self) -> list[Job]:
        """The requests of the next prediction; cancelled ones leave the queue."""
        self._purge()
        queue, count, rows = self._queue, 0, 0
        for job in queue if self._together else queue[:1]:
            rows += job.row_count
            if count and rows > _MAX_ROWS:
                break
            count += 1
        self._queue = queue[count:]
        return queue[:count]

    def _purge(self) -> None:
        self._queue = [job for job in self._queue if not _was_cancelled(job)]
        self._purge_at = max(_MIN_PURGED, 2 * len(self._queue))

    def _run_inline(self, batch: list[Job]) -> None:
        try:
            self._complete(batch, *self._timed(batch))
        finally:
            if self._queue:
                asyncio.get_running_loop().call_soon(self._next)
            else:
                self._busy = False

    def _run_in_thread(self, batch: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        self._in_thread_since = time.perf_counter()
        # Some were expected to be quick, and have no timeout of their own.
        timeout = loop.call_later(self._timeout, _expire, [*batch, *self._queue])

        def done(running: asyncio.Future[Any]) -> None:
            self._in_thread_since = None
            timeout.cancel()
            try:
                self._complete(batch, *running.result())
            finally:
                self._next()

        try:
            running = loop.run_in_executor(self._thread, self._timed, batch)
        except RuntimeError as error:  # the system has no thread for it
            running = loop.create_future()
            running.set_result((time.perf_counter(), 0.0, _failures(batch, error)))
        running.add_done_callback(done)

    def _timed(self, batch: list[Job]) -> tuple[float, float, list[_Result]]:
        """The start, the seconds it took, and the results: of all, or of each. Never raises."""
        started = time.perf_counter()
        results = self._predict_batch(batch)
        return started, time.perf_counter() - started, results

    def _predict_batch(self, batch: list[Job]) -> list[_Result]:
        try:
            thread = threading.get_ident()
            if thread not in self._prepared:
                self._prepare_thread()
                self._prepared.add(thread)
            # What a model sets for its context, like numpy's way to print, ends with the batch: as
            # in MLflow's threads, where each request has a context of its own.
            context = contextvars.copy_context()
            predictions, info, observed = context.run(self._predict, [job.rows for job in batch])
            if len(batch) > 1:
                _require_rows(predictions, sum(job.row_count for job in batch))
            return [_Result(batch, predictions, info, observed)]
        # Whatever it is (a library's panic, SystemExit): the requests have to be answered.
        except BaseException as error:
            self._on_failure(error)
            if len(batch) == 1:
                return _failures(batch, error)
        # One bad request must not hurt the others. Outside the except: the exception is gone, and
        # with it what it holds, which may be the memory that is needed now.
        return [result for job in batch for result in self._predict_batch([job])]

    def _complete(
        self, batch: list[Job], started: float, seconds: float, results: list[_Result]
    ) -> None:
        self._learn(sum(job.row_count for job in batch), seconds)
        for jobs, predictions, info, observed in results:
            try:
                rows = sum(job.row_count for job in jobs)
                self._on_batch(len(jobs), rows, sum(job.size for job in jobs), observed)
            except Exception:
                log.exception("a batch could not be recorded")
            start = 0
            for job in jobs:
                part = predictions
                if len(jobs) > 1:
                    part = _part(predictions, start, job.row_count)
                    start += job.row_count
                if not isinstance(part, BaseException):
                    part = Prediction(part, info, started - job.submitted, seconds)
                try:
                    job.on_done(part)
                except Exception:  # it must not keep the others from their results
                    log.exception("a request could not be answered")

    def _learn(self, rows: int, seconds: float) -> None:
        bits = rows.bit_length()
        durations = self._durations.setdefault(bits, deque(maxlen=_DURATIONS))
        durations.append(seconds)
        expected = self._expected[bits] = sorted(durations)[len(durations) // 2]
        if expected < QUICK:
            for fewer in range(bits):  # rows take no longer, until a duration says so
                self._expected.setdefault(fewer, expected)
        self._quickest = min(self._expected.values())


def _finish(job: Job, result: Prediction | BaseException) -> None:
    try:
        job.on_done(result)
    except Exception:  # it must not keep the others of its batch from their results
        log.exception("a request could not be answered")


def _was_cancelled(job: Job) -> bool:
    if job.is_cancelled():
        _finish(job, asyncio.CancelledError())
        return True
    return False


def _failures(jobs: list[Job], error: BaseException) -> list[_Result]:
    return [_Result([job], error, None, None) for job in jobs]


def _resolve(future: asyncio.Future[Prediction], result: Prediction | BaseException) -> None:
    if future.done():  # cancelled, or after its timeout: nobody waits any more
        return
    if not isinstance(result, BaseException):
        future.set_result(result)
    elif isinstance(result, StopIteration) or not isinstance(result, Exception):
        crashed = Crashed()
        crashed.__cause__ = result
        future.set_exception(crashed)
    else:
        future.set_exception(result)


def _expire(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.is_cancelled():
            _finish(job, DeadlineExceeded())


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
