"""Downloads a small document within a time and a size, however the server behaves."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import IO, Any

TIMEOUT = 10.0  # seconds, for everything together
MAX_BYTES = 1 << 20


def download(url: str, allow_http: bool = False, timeout: float = TIMEOUT) -> bytes:
    """The body at an https URL, or an http one if that is allowed.

    Raises OSError, HTTPException, and ValueError for a URL or an answer that is not accepted.
    """
    if not url.startswith(("https://", "http://") if allow_http else "https://"):
        raise ValueError("only https URLs are accepted")
    with _Deadline(timeout) as deadline:
        opener = urllib.request.build_opener(_Http(deadline), _Https(deadline), _Redirects())
        try:
            with opener.open(url, timeout=timeout) as response:
                body: bytes = response.read(MAX_BYTES + 1)
        except Exception as error:
            deadline.check(error)
            raise
        deadline.check()
    if len(body) > MAX_BYTES:
        raise ValueError(f"the body is longer than {MAX_BYTES} bytes")
    return body


class _Deadline:
    """Ends connections when the time is over: a socket's own timeout is for each read by itself."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for duplicate in self._sockets:
                duplicate.close()
            self._sockets.clear()

    def watch(self, connection: socket.socket) -> None:
        """Ends `connection`, too; now if the time is over already."""
        with self._lock:
            # A duplicate, since TLS takes over the original: both are the same connection.
            self._sockets.append(connection.dup())
        if self._expired:
            self._expire()

    def check(self, cause: BaseException | None = None) -> None:
        """Raises TimeoutError if the time is over."""
        if self._expired:
            raise TimeoutError(
                f"the response was not complete within {self._seconds:g} s"
            ) from cause

    def _expire(self) -> None:
        self._expired = True
        with self._lock:
            for duplicate in self._sockets:
                with suppress(OSError):
                    duplicate.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    deadline: _Deadline

    def connect(self) -> None:
        super().connect()
        self.deadline.watch(self.sock)


class _SecureConnection(HTTPSConnection, _Connection):
    """Its connect() calls that of _Connection, and negotiates TLS afterwards."""


class _Http(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_with(self._deadline, _Connection), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_with(self._deadline, _SecureConnection), req)


def _with(deadline: _Deadline, kind: type[_Connection]) -> Callable[..., _Connection]:
    def make(host: str, **options: Any) -> _Connection:
        connection = kind(host, **options)
        connection.deadline = deadline
        return connection

    return make


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but from https only to https."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("https", req.type):
            raise ValueError(f"it redirects from {req.type} to {scheme[:10]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        fp.close()  # else the body, of any size, would be read
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
