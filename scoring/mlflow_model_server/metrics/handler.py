"""Answers Prometheus' requests."""

from __future__ import annotations

import logging
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from mlflow_model_server.metrics.collector import Scraper
from mlflow_model_server.metrics.exposition import CONTENT_TYPE
from mlflow_model_server.metrics.shared_memory import Shared
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_SECONDS_FOR_A_CLIENT = 5


def serve(listener: socket.socket, settings: Settings, shared: Shared, started: float) -> None:
    """Answers for ever. `started` is when the first process began, as Unix time."""
    _Server(listener, Scraper(settings, shared, started)).serve_forever()


class _Server(HTTPServer):
    """One client at a time: Prometheus comes every few seconds."""

    def __init__(self, listener: socket.socket, scraper: Scraper) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.scraper = scraper

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
