"""HTTP/1.1 for clients as they are, on uvicorn's protocol: bounded, and with an inline path.

uvicorn's protocol parses with httptools and starts an ASGI task for each request. Here are, beside:

- Bounds for everything that a client sends before its request is admitted: heads, pipelined
  requests, and the time that all of it takes (see `connections`).
- Upgrades are answered as if they had not been asked for (RFC 9110, section 7.8), body and all.
- The inline path: a request for predictions that has arrived whole goes to the inference service
  without a task, and its response is one write. That saves about a third of what a small model's
  request costs. Every other request goes through ASGI, as does what the inline path can't answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlflow_model_server.http import connections
from mlflow_model_server.http.connections import Pace
from mlflow_model_server.metrics.slots import INVOCATIONS, OTHER
from mlflow_model_server.responses import Response

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from mlflow_model_server.inference.service import InferenceService

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_PIPELINED = 64  # requests that wait for the response to the one before
_MAX_CHUNK_OVERHEAD = 8  # bytes, of a chunk of one byte
_INLINE_TARGET = INVOCATIONS.encode()
_BAD_REQUEST = 400, "Invalid HTTP request received."
_UPGRADES = (b"upgrade", b"http2-settings")


class _Invalid(Exception):
    """The connection ends with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def http_protocol(service: InferenceService) -> type[HttpProtocol]:
    """The protocol class that uvicorn is to use."""

    class BoundProtocol(HttpProtocol):
        inference = service

    return BoundProtocol


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    inference: InferenceService  # set in a subclass

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pace = Pace(self)
        self.in_message = False  # a request has begun, and not all of it is there
        self.in_head = False  # nor all of its head
        self.body_bytes = 0  # of its body
        self._running: RequestResponseCycle | _InlineRequest | None = None  # started last
        self._inline: _InlineRequest | None = None  # what arrives now, or is answered
        self._accepts_inline = self.inference.accepts_inline
        self._deferred = b""  # what has arrived while an inline request is answered
        self._chunk_bytes = 0  # of what is parsed now
        self._chunk_ends_request = False
        self._part_bytes = 0  # of the parts of this request, where it came in parts
        self._hosts = 0
        self._rejection: bytes | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all requests of which the head has arrived have been answered."""
        running = self._running
        return not self.pipeline and (running is None or bool(running.response_complete))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins; where there are too many connections, an idle one ends, or this one."""
        super().connection_made(transport)
        if len(self.connections) > self.inference.settings.max_connections:
            connections.make_room(self.connections, self)

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Parses it, and begins to answer the requests that it completes."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self._rejection is not None:
            return
        if self._inline is not None:
            self._deferred += data
            self.transport.pause_reading()
            return
        self._chunk_ends_request = False
        self._chunk_bytes = len(data)
        try:
            self.parser.feed_data(data)
            self._parsed()
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrades(data, upgrade)
        except (httptools.HttpParserError, _Invalid) as error:
            self._reject(error)

    def _parsed(self) -> None:
        """A chunk has been parsed."""
        if self._inline is not None:
            self._begin_inline(self._inline)
        if self.in_message:
            self._received_part()

    def _received_part(self) -> None:
        """Of a request that is not complete."""
        if self._part_bytes == 0:
            self.pace.restart()
        # Else most of the chunk is of requests before this one.
        self._part_bytes += 1 if self._chunk_ends_request else self._chunk_bytes
        # The chunks of a body can have more bytes around them than in them, but not for ever.
        rest = self._part_bytes - _MAX_CHUNK_OVERHEAD * self.body_bytes
        if rest > (MAX_HEAD_BYTES if self.in_head else 2 * MAX_HEAD_BYTES):
            raise _too_large()

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._inline is not None:  # and another is in the same chunk
            self._leave_inline(self._inline)
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.in_head = self.in_message = True
        self.body_bytes = self._part_bytes = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self.url += url
        if len(self.url) > MAX_HEAD_BYTES:
            raise _too_large()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer of a chunked body."""
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers = self.headers
        headers.append((name, value))
        if len(headers) > MAX_HEADERS:
            raise _too_large()

    def on_headers_complete(self) -> None:
        """The request starts, once those before it have been answered."""
        if self.parser.should_upgrade():
            return  # the parser stops, and `_ignore_upgrades` goes on
        self.in_head = False
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() != "1.0"):
            raise _Invalid(400, "A request must have exactly one Host header.")
        if (self._part_bytes or self._chunk_bytes > MAX_HEAD_BYTES) and self._head_is_too_large():
            raise _too_large()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Invalid(503, "Too many requests wait on this connection.")
        if self._accepts_inline and self.url == _INLINE_TARGET and self._may_be_inline():
            self._inline = _InlineRequest(self, self.headers, self.parser.should_keep_alive())
        else:
            self._start_cycle()

    def _start_cycle(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # it makes the scope, with a list of headers
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _head_is_too_large(self) -> bool:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > MAX_HEAD_BYTES

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self.body_bytes += len(body)
        if self._inline is not None:
            self._inline.body += body
            return
        cycle = self.cycle
        if cycle.response_complete:  # it was refused
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """All of it is there."""
        if self.parser.should_upgrade():
            return
        self.in_message = False
        self._chunk_ends_request = True
        cycle = self.cycle
        if self._inline is None and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    # Upgrades

    def _ignore_upgrades(self, data: bytes, upgrade: Exception) -> None:
        """The parser has taken what is behind the head for another protocol: it is the body."""
        rest = memoryview(data)
        try:
            while True:
                rest = rest[upgrade.args[0] :]
                head = self._head_without_upgrade()
                self.parser = _parser(self)
                self.parser.feed_data(head)
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as another:
                    upgrade = another
            self._parsed()
        except (httptools.HttpParserError, _Invalid) as error:
            self._reject(error)

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            raise _Invalid(400, "This server is not a proxy.")
        lines = [b"%s %s HTTP/%s" % (method, self.url, version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = (option.strip() for option in value.split(b","))
                value = b", ".join(option for option in options if option.lower() not in _UPGRADES)
            if name not in _UPGRADES:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    # Rejections: of what is no request

    def _reject(self, error: Exception) -> None:
        """Answers and closes, when the requests before have been answered."""
        # What a callback of the parser raises becomes the context of the parser's own error.
        cause = error if isinstance(error, _Invalid) else error.__context__
        status, text = _BAD_REQUEST
        if isinstance(cause, _Invalid):
            status, text = cause.status, cause.text
        self.inference.recorder.observe_request(OTHER, status, 0.0)
        self._rejection = _plain_response(status, text, self.server_state.default_headers)
        if self._inline is not None:
            self._leave_inline(self._inline)
        # The request whose body is wrong will never be complete.
        broken = self.cycle if self.in_message and not self.in_head else None
        self.in_message = False
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        if self.is_idle or self._running is broken:
            self._send_rejection()
        elif not self.transport.is_closing():
            self.transport.pause_reading()

    def _send_rejection(self) -> None:
        if self._rejection is not None and not self.transport.is_closing():
            self.transport.write(self._rejection)
            self.transport.close()

    def on_response_complete(self) -> None:
        """Goes on with the next request."""
        super().on_response_complete()
        if self.in_message:
            self.pace.restart()
        if self._rejection is not None and not self.pipeline and self.is_idle:
            self._send_rejection()

    def time_out(self) -> None:
        """Ends the connection: its client has not sent a request in time."""
        if self.in_message and (self.in_head or not self.cycle.response_started):
            self.transport.write(_plain_response(408, "The request took too long to arrive.", ()))
        if self.is_idle:
            self.inference.recorder.observe_request(OTHER, 408, 0.0)
        self.transport.close()

    def refuse(self) -> None:
        """Ends the connection: there are too many."""
        self.inference.recorder.observe_request(OTHER, 503, 0.0)
        self.transport.write(_plain_response(503, "Too many connections.", ()))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # The inline path

    def _may_be_inline(self) -> bool:
        return (
            self.parser.get_method() == b"POST"
            and not self.expect_100_continue
            and self.is_idle
            and self.parser.get_http_version() == "1.1"
        )

    def _begin_inline(self, request: _InlineRequest) -> None:
        """With the request, if all of it is there."""
        if self.in_message or self.flow.write_paused:
            self._leave_inline(request)
            return
        self.cycle = self._running = cast(Any, request)
        if not self.inference.begin(
            request.headers, request.body, request.is_over, request.on_response
        ):
            self._leave_inline(request)

    def _leave_inline(self, request: _InlineRequest) -> None:
        """The request, of which perhaps not all is there, goes by ASGI."""
        self._inline = None
        if self._running is request:
            self.cycle = self._running = cast(Any, None)
        self.url, self.headers, self.expect_100_continue = _INLINE_TARGET, request.headers, False
        self._start_cycle()
        # The parser may have gone on.
        self.scope["method"], self.cycle.keep_alive = "POST", request.keep_alive
        self.cycle.body += request.body
        self.cycle.more_body = self.in_message
        self.cycle.message_event.set()

    def end_inline(self, request: _InlineRequest, response: Response | None) -> None:
        """Sends the response; without one the request goes by ASGI."""
        if response is None:
            self._leave_inline(request)
        else:
            self._inline = None
            self._send(request, response)
            self.on_response_complete()
        if self._deferred and not self.transport.is_closing():
            deferred, self._deferred = self._deferred, b""
            self.transport.resume_reading()
            self.data_received(deferred)

    def _send(self, request: _InlineRequest, response: Response) -> None:
        parts = [STATUS_LINE[response.status]]
        for name, value in (*self.server_state.default_headers, *response.all_headers):
            parts += (name, b": ", value, b"\r\n")
        if not request.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", response.body)
        self.transport.write(b"".join(parts))
        request.response_started = request.response_complete = True
        if not request.keep_alive:
            self.transport.close()


class _NoEvent:
    """What uvicorn sets where a request's task may be waiting."""

    def set(self) -> None:
        """Nobody waits."""


class _InlineRequest:
    """A request on the inline path, with what uvicorn's protocol asks of its own."""

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "response_complete",
        "response_started",
    )
    message_event = _NoEvent()

    def __init__(
        self, protocol: HttpProtocol, headers: list[tuple[bytes, bytes]], keep_alive: bool
    ) -> None:
        self._protocol = protocol
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = b""
        self.disconnected = self.response_started = self.response_complete = False

    def is_over(self) -> bool:
        """Whether nobody waits for the response."""
        return self.disconnected or self.response_complete or self._protocol.transport.is_closing()

    def on_response(self, response: Response | None) -> None:
        """To be called once."""
        self._protocol.end_inline(self, response)


def _too_large() -> _Invalid:
    return _Invalid(431, "The head of the request is too large.")


def _parser(protocol: HttpProtocol) -> httptools.HttpRequestParser:
    """As uvicorn makes it."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _plain_response(status: int, text: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = text.encode()
    lines = [STATUS_LINE[status][:-2]]
    lines += [b"%s: %s" % header for header in headers]
    lines += [b"content-type: text/plain; charset=utf-8", b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"connection: close", b"", body])
