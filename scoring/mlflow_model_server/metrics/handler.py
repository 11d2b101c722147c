"""Answers Prometheus' requests: some at once, and each within a time.

A connection that is slow is ended after a while, and at once where its place is needed: so clients
that only hold connections keep no other from its answer.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from mlflow_model_server.metrics.collector import Collector
from mlflow_model_server.metrics.exposition import CONTENT_TYPE
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

CLIENT_TIMEOUT = 5.0  # seconds for request and answer together
MAX_CLIENTS = 8  # at once, each with a thread
_MAX_WAIT = 1.0  # seconds for the thread of an ended connection to end, too


def serve(
    listener: socket.socket, settings: Settings, shared: SharedMemory, started: float
) -> None:
    """Answers until the process ends. `started` is when its first process began, as Unix time."""
    _Server(listener, Collector(settings, shared, started)).serve_forever()


class _Clients:
    """The open connections, the oldest first."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since: dict[socket.socket, float] = {}
        self._changed = threading.Condition()

    def admit(self, client: socket.socket) -> bool:
        """Makes room for `client` if there is none; False if that takes too long."""
        with self._changed:
            if len(self._since) >= MAX_CLIENTS:
                _end(next(iter(self._since)))
            if not self._changed.wait_for(lambda: len(self._since) < MAX_CLIENTS, _MAX_WAIT):
                return False
            self._since[client] = self._now()
            return True

    def remove(self, client: socket.socket) -> None:
        """`client` has been answered, or has been ended."""
        with self._changed:
            self._since.pop(client, None)
            self._changed.notify()

    @contextmanager
    def not_timed(self, client: socket.socket) -> Iterator[None]:
        """Within it, `client` waits for the server, which is not the client's fault."""
        self._since[client] = math.inf
        yield
        self._since[client] = self._now()

    def end_overdue(self) -> None:
        """Ends those that have taken too long."""
        with self._changed:
            for client, since in self._since.items():
                if self._now() - since > CLIENT_TIMEOUT:
                    _end(client)


def _end(client: socket.socket) -> None:
    """Its thread, which reads or writes, notices at once."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False  # else all threads that there ever were would be kept

    def __init__(self, listener: socket.socket, collector: Collector) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._collector = collector
        self._collecting = threading.Lock()
        self._clients = _Clients()

    def metrics(self, client: socket.socket) -> bytes:
        """The answer for `client`; one thread after the other makes one."""
        with self._clients.not_timed(client), self._collecting:
            return self._collector.text().encode()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for the connection."""
        if not self._clients.admit(request):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._clients.remove(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers in the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.remove(request)

    def service_actions(self) -> None:
        """Is called twice a second, and after each new connection."""
        self._clients.end_overdue()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Connections that end early, perhaps because they were ended, are no news."""
        log.debug("%s could not be answered", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "the path is /metrics")
            return
        try:
            body = self.server.metrics(self.connection)
        except Exception:
            log.exception("the metrics can't be collected")
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("content-type", CONTENT_TYPE)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
