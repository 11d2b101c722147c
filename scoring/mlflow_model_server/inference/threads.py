"""The threads in which MLflow's own code predicts."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from mlflow_model_server import tracing
from mlflow_model_server.inference.accelerator import OnFailure, free_frames
from mlflow_model_server.inference.request import Request
from mlflow_model_server.model import waiting_traces
from mlflow_model_server.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a function returned, or what it raised.

    Not an exception of the thread's future: asyncio has no room for a StopIteration there, and a
    SystemExit would end the event loop.
    """

    result: T | None
    error: BaseException | None


class PredictionThreads:
    """A bounded number of threads. A prediction that never ends keeps its thread."""

    def __init__(self, count: int, settings: Settings, on_failure: OnFailure = free_frames) -> None:
        """`on_failure` gets, in the thread, what `work` raised."""
        self._count = count
        self._timeout = settings.request_timeout  # the seconds that a request waits
        self._max_traced = settings.trace_max_body_bytes
        self._on_failure = on_failure
        self._executor = ThreadPoolExecutor(count, "mlflow")
        self._started: dict[int, float] = {}  # by thread: when its prediction did

    async def run(self, request: Request, work: Callable[[], T]) -> Outcome[T]:
        """Runs `work` for a request, whose trace its code sees.

        Raises ClientGone and DeadlineExceeded. The request's reservation is held until the thread
        is done, even if nobody waits for it any more.
        """
        try:
            running = self.submit(request, work)
        except RuntimeError as error:
            return Outcome(None, error)
        return await request.wait_for(asyncio.wrap_future(running), self._timeout)

    def submit(self, request: Request, work: Callable[[], T]) -> Future[Outcome[T]]:
        """The same, without waiting. Raises RuntimeError where the system has no thread for it."""
        with tracing.propagate(request.headers), self._traced(request):
            context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        request.reservation.hold()

        def release(_: Future[Outcome[T]]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(request.reservation.release)

        try:
            running = self._executor.submit(context.run, self._timed, work)
        except RuntimeError:
            request.reservation.release()
            raise
        running.add_done_callback(release)
        return running

    def _traced(self, request: Request) -> AbstractContextManager[None]:
        """Traces hold what was asked until they are written: not of large requests."""
        return (
            waiting_traces.omitted()
            if request.reservation.size > self._max_traced
            else nullcontext()
        )

    def report_progress(self) -> None:
        """To be called in one of the threads: what runs there has not got stuck."""
        self._started[threading.get_ident()] = time.monotonic()

    def stuck_seconds(self) -> float:
        """For how long all threads have been beyond their timeout."""
        started = list(self._started.values())
        if len(started) < self._count:
            return 0.0
        return max(0.0, time.monotonic() - max(started) - self._timeout)

    def _timed(self, work: Callable[[], T]) -> Outcome[T]:
        thread = threading.get_ident()
        self._started[thread] = time.monotonic()
        try:
            return Outcome(work(), None)
        except BaseException as error:  # a model's code may raise anything
            self._on_failure(error)
            return Outcome(None, error)
        finally:
            del self._started[thread]
