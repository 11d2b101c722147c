"""Sends a model's events while it makes them."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Protocol

from mlflow_model_server.inference.agent_model import agent_error
from mlflow_model_server.inference.event_stream import EventStream, GeneratorFailed, Parts
from mlflow_model_server.inference.request import ClientGone, DeadlineExceeded, Output, Request
from mlflow_model_server.responses import ErrorResponse, Rejected, Response

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream; charset=utf-8"
# Nothing on the way is to keep events back: X-Accel-Buffering is nginx's.
_HEAD = Response(
    200,
    b"",
    EVENT_STREAM,
    ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")),
)
_NO_EVENT_IN_TIME = ErrorResponse(
    504, "DEADLINE_EXCEEDED", "the model exceeded the time limit for its next event"
)
_TOO_LONG = ErrorResponse(504, "DEADLINE_EXCEEDED", "the stream exceeded its time limit")
_SHUTTING_DOWN = ErrorResponse(
    503,
    "TEMPORARILY_UNAVAILABLE",
    "the server is shutting down, and the stream did not end in time",
)


class EventWriter(Protocol):
    """Writes what a model yields in the form of a protocol."""

    count: int  # chunks that the model has yielded

    def parts(self) -> Parts:
        """The stream, in a thread; nothing before the model has yielded, or has ended."""

    def error(self, error: ErrorResponse) -> bytes:
        """What ends a stream that has begun."""


@dataclass(frozen=True)
class Timeouts:
    """The seconds until an event, and until the end."""

    event: float
    total: float


class Streaming:
    """One response that is sent while the model makes it."""

    def __init__(
        self,
        request: Request,
        output: Output,
        writer: EventWriter,
        timeouts: Timeouts,
        max_logged: int = 0,
    ) -> None:
        """The response has the first `max_logged` bytes of the stream as its body."""
        self._request = request
        self._output = output
        self._writer = writer
        self._timeouts = timeouts
        self._ends_at = time.monotonic() + timeouts.total
        self._is_at_end = False  # the stream's own limit comes before that of its next event
        self._error: ErrorResponse | None = None
        self._sent_bytes = 0
        self._max_logged = max_logged
        self._logged = b""
        self.first_event_at: float | None = None  # by time.perf_counter

    async def send(self, stream: EventStream) -> Response:
        """Sends the stream; returns what was sent.

        Raises Rejected and DeadlineExceeded if it does not begin, and ClientGone whenever the
        client leaves. The generator is closed in each case.
        """
        gone = self._watch_client(stream)
        try:
            part = await self._first(stream)
            self.first_event_at = time.perf_counter()
            await self._output.start(_HEAD)
            await self._send_all(stream, part)
        finally:
            stream.cancel()
            if gone is not None:
                gone.cancel()
        status = 200 if self._error is None else self._error.status
        return Response(
            status, self._logged, EVENT_STREAM, error=self._error, sent_bytes=self._sent_bytes
        )

    def _watch_client(self, stream: EventStream) -> asyncio.Future[None] | None:
        disconnected = self._request.body.disconnected
        if disconnected is None:
            return None
        gone = asyncio.ensure_future(disconnected())

        def left(future: asyncio.Future[None]) -> None:
            if not future.cancelled():
                stream.interrupt(ClientGone())

        gone.add_done_callback(left)
        return gone

    async def _first(self, stream: EventStream) -> bytes | None:
        try:
            return await self._next(stream)
        except GeneratorFailed as failed:
            raise Rejected(agent_error(failed.error)) from failed.error

    async def _send_all(self, stream: EventStream, part: bytes | None) -> None:
        try:
            while part is not None:
                await self._write(part)
                part = await self._next(stream)
        except asyncio.CancelledError:
            await self._end(_SHUTTING_DOWN)
            raise
        except DeadlineExceeded:
            await self._end(_TOO_LONG if self._is_at_end else _NO_EVENT_IN_TIME)
        except GeneratorFailed as failed:
            await self._end(agent_error(failed.error))
        else:
            await self._output.end()

    async def _next(self, stream: EventStream) -> bytes | None:
        left = self._ends_at - time.monotonic()
        # Not read from the clock afterwards: the event loop's timers may fire a little early.
        self._is_at_end = left <= self._timeouts.event
        if left <= 0:
            raise DeadlineExceeded
        return await stream.next(min(left, self._timeouts.event))

    async def _end(self, error: ErrorResponse) -> None:
        self._error = error
        await self._write(self._writer.error(error))
        await self._output.end()

    async def _write(self, part: bytes) -> None:
        self._sent_bytes += len(part)
        if len(self._logged) < self._max_logged:
            self._logged += part[: self._max_logged - len(self._logged)]
        await self._output.write(part)
