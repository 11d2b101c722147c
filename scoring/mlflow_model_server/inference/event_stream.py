"""A stream of events: made by a generator in a thread, read in the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress

from mlflow_model_server import compat
from mlflow_model_server.inference.accelerator import OnFailure, free_frames
from mlflow_model_server.inference.request import DeadlineExceeded
from mlflow_model_server.model import waiting_traces

log = logging.getLogger(__name__)

# Parts that wait for a client that reads slowly; then the generator waits, too.
_MAX_PENDING = 16

Parts = Generator[bytes, None, None]


class GeneratorFailed(Exception):
    """The generator raised something, which may be no Exception."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _End:
    """The generator's end, and what it raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class EventStream:
    """Reads a generator that runs in a thread. To be made and read in the event loop."""

    def __init__(
        self,
        report_progress: Callable[[], None] = lambda: None,
        on_failure: OnFailure = free_frames,
    ) -> None:
        """Both are called in the thread: `report_progress` with each part, and `on_failure`."""
        self._loop = asyncio.get_running_loop()
        self._report_progress = report_progress
        self._on_failure = on_failure
        self._pending: deque[bytes | _End] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._interruption: Exception | None = None
        self._room = threading.Semaphore(_MAX_PENDING)
        self._is_cancelled = False

    # In the event loop

    async def next(self, timeout: float) -> bytes | None:
        """The next part; None at the end.

        Raises GeneratorFailed, what `interrupt` was called with, and DeadlineExceeded after
        `timeout` seconds.
        """
        if not self._pending and self._interruption is None:
            await self._wait(timeout)
        if self._interruption is not None:
            raise self._interruption
        part = self._pending.popleft()
        if isinstance(part, bytes):
            self._room.release()
            return part
        if part.error is not None:
            raise GeneratorFailed(part.error)
        return None

    def interrupt(self, error: Exception) -> None:
        """Ends `next` with this error."""
        self._interruption = error
        self._wake()

    def cancel(self) -> None:
        """Closes the generator, in its thread, as soon as it yields or where it waits for room."""
        self._is_cancelled = True
        self._room.release()

    async def _wait(self, timeout: float) -> None:
        try:
            async with compat.timeout(timeout):
                self._waiter = self._loop.create_future()
                await self._waiter
        except TimeoutError:
            raise DeadlineExceeded from None

    def _add(self, part: bytes | _End) -> None:
        self._pending.append(part)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # In the thread

    def run(self, generate: Callable[[], Parts]) -> None:
        """Runs the generator, and always ends the stream."""
        error: BaseException | None = None
        try:
            with waiting_traces.ending_traces():
                self._run(generate)
        except BaseException as raised:  # a model's code may raise anything
            self._on_failure(raised)
            error = raised
        self._post(_End(error))

    def _run(self, generate: Callable[[], Parts]) -> None:
        if self._is_cancelled:
            return
        parts = generate()
        try:
            for part in parts:
                self._report_progress()
                self._room.acquire()
                if self._is_cancelled:
                    return
                self._post(part)
        finally:
            parts.close()

    def _post(self, part: bytes | _End) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._add, part)
