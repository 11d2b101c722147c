"""A small HTTP/1.1 client: a few connections to one server, bounded answers, no redirects."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httptools

from mlflow_model_server.shadow.frames import Copy
from mlflow_model_server.shadow.target import Target

_MAX_HEAD_BYTES = 64 * 1024  # of an answer
# Of a connection: a Service balances connections, not requests.
_MAX_AGE = 30.0  # seconds


class ConnectionEnded(ConnectionError):
    """The connection ended before the answer was complete."""


class AnswerTooLong(ValueError):
    """The answer is longer than it may be."""


class InvalidAnswer(ValueError):
    """The answer is not HTTP."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes
    ended_at: float  # by time.perf_counter

    @property
    def is_success(self) -> bool:
        """Whether its status is one of 2xx."""
        return 200 <= self.status < 300


class Client:
    """Sends copies to a target, each on a connection that no other uses meanwhile."""

    def __init__(self, target: Target, sender: str) -> None:
        """`sender` is the revision that sends, or "true"."""
        self._target = target
        self._sender = sender.encode("latin-1", "replace")
        self._idle: list[_Connection] = []

    async def post(self, copy: Copy) -> Answer:
        """The answer to a copy.

        Raises OSError where there is none, AnswerTooLong, and InvalidAnswer. The connection is
        closed then, as it is where this is cancelled.
        """
        request = self._request(copy)
        while (connection := self._idle_connection()) is not None:
            try:
                return await self._exchange(connection, request)
            except ConnectionEnded:
                if connection.has_received:
                    raise
        return await self._exchange(await self._connect(), request)

    async def _exchange(self, connection: _Connection, request: bytes) -> Answer:
        try:
            answer = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.can_be_reused():
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _idle_connection(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.can_be_reused():
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        target = self._target
        max_bytes = target.max_body_bytes + _MAX_HEAD_BYTES
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(max_bytes), target.host, target.port
        )
        return connection

    def _request(self, copy: Copy) -> bytes:
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        lines = [
            b"POST %s HTTP/1.1" % copy.path,
            b"host: %s:%d" % (host.encode(), self._target.port),
            b"content-length: %d" % len(copy.body),
            b"x-mlflow-shadow: %s" % self._sender,
        ]
        if copy.content_type:
            lines.append(b"content-type: %s" % copy.content_type)
        if copy.authorization:
            lines.append(b"authorization: %s" % copy.authorization)
        return b"\r\n".join([*lines, b"", copy.body])


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes  # of an answer with its head
        self._made_at = time.monotonic()
        self._transport: asyncio.Transport | None = None
        self._is_broken = False
        self._answer: asyncio.Future[Answer] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._received = 0

    @property
    def has_received(self) -> bool:
        """Whether a part of the answer has arrived."""
        return self._received > 0

    def can_be_reused(self) -> bool:
        """Whether another request may be sent."""
        return not self._is_broken and time.monotonic() - self._made_at < _MAX_AGE

    def close(self) -> None:
        """Ends it at once."""
        self._is_broken = True
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes) -> Answer:
        """The answer to a request."""
        self._begin()
        self._answer = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        if self._is_broken:
            raise ConnectionEnded
        self._transport.write(request)
        return await self._answer

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A part of an answer, or of more than that."""
        if self._answer is None or self._answer.done():
            self.close()
            return
        self._received += len(data)
        if self._received > self._max_bytes:
            self._fail(AnswerTooLong())
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(InvalidAnswer())

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection has ended."""
        self._is_broken = True
        self._fail(ConnectionEnded())

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()

    # Called by the parser

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """All of it is there."""
        status = self._parser.get_status_code()
        if status < 200:  # it announces another
            self._body.clear()
            return
        if not self._parser.should_keep_alive():
            self._is_broken = True
        assert self._answer is not None
        if not self._answer.done():
            self._answer.set_result(Answer(status, b"".join(self._body), time.perf_counter()))
