"""Shadows that misbehave, as servers in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class StubShadow:
    """Handles each connection with a function, in a thread of its own."""

    def __init__(self, handle: Callable[[socket.socket, bytes], None]) -> None:
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self._connections: list[socket.socket] = []

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while request := read_request(connection):
                self.requests.append(request)
                self._handle(connection, request)


def read_request(connection: socket.socket) -> bytes:
    """A whole request; nothing at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        part = connection.recv(65536)
        if not part:
            return b""
        body += part
    return head + b"\r\n\r\n" + body


@contextmanager
def running(handle: Callable[[socket.socket, bytes], None]) -> Iterator[StubShadow]:
    stub = StubShadow(handle)
    threading.Thread(target=stub.run, daemon=True).start()
    try:
        yield stub
    finally:
        stub.close()


def answer(body: bytes, status: bytes = b"200 OK") -> Callable[[socket.socket, bytes], None]:
    def handle(connection: socket.socket, _request: bytes) -> None:
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % (status, len(body)) + body)

    return handle


def hang(_connection: socket.socket, _request: bytes) -> None:
    """Never answers."""


def die_mid_answer(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(HEAD + b'content-length: 1000\r\n\r\n{"predictions": [')
    connection.shutdown(socket.SHUT_RDWR)


def stream_for_ever(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"4000\r\n" + b"1" * 0x4000 + b"\r\n")
