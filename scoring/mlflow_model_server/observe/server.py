"""Answers Prometheus on a port of its own, from a thread of the first process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from mlflow_model_server.observe.exposition import CONTENT_TYPE
from mlflow_model_server.observe.scrape import Scraper
from mlflow_model_server.observe.shared import Shared
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_SECONDS_FOR_A_CLIENT = 5


def start_metrics_server(settings: Settings, shared: Shared) -> None:
    """Serves `/metrics` on `settings.metrics_port` until the process ends; 0: not at all.

    Call it in the parent when there are several workers, after the first were forked, else in the
    only process. Raises OSError if the port is taken.
    """
    if settings.metrics_port == 0:
        return
    server = _Server(settings.metrics_port, Scraper(settings, shared))
    # A worker that is forked later must not hold the port.
    os.register_at_fork(after_in_child=server.socket.close)
    threading.Thread(target=server.run, name="metrics", daemon=True).start()
    log.info("metrics on port %d", settings.metrics_port)


class _Server(HTTPServer):
    """One client at a time: Prometheus comes every few seconds."""

    def __init__(self, port: int, scraper: Scraper) -> None:
        dual = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if dual else socket.AF_INET
        self.scraper = scraper
        super().__init__(("::" if dual else "0.0.0.0", port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's own, which asks DNS for this host's name, and may wait for it.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def run(self) -> None:
        # Signals are for the main thread: only there Python's handlers run, and what waits wakes.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.serve_forever()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.exception("%s could not be answered", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS_FOR_A_CLIENT

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "write /metrics")
            return
        body = self.server.scraper.text().encode()
        self.send_response(200)
        self.send_header("content-type", CONTENT_TYPE)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
