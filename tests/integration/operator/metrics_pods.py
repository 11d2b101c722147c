"""Pods of models whose metrics a test decides: real HTTP servers, each on an address of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from mlflow_model_operator.api.contract import METRICS_PORT

_ADDRESSES = count(2)


def free_address() -> str:
    """Another one of this machine's own at each call; the port is that of a pod's metrics."""
    number = next(_ADDRESSES)
    return f"127.9.{number // 250}.{number % 250 + 1}"


class HttpServer:
    """Serves what `answer` returns for a path: a status, and a body or its parts."""

    def __init__(self, address: str, port: int, answer: Callable[[str], tuple[int, Any]]) -> None:
        self.requests: list[str] = []
        handler = _handler(self.requests, answer)
        self._server = ThreadingHTTPServer((address, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def served(
    address: str, answer: Callable[[str], tuple[int, Any]], port: int = METRICS_PORT
) -> Iterator[HttpServer]:
    server = HttpServer(address, port, answer)
    try:
        yield server
    finally:
        server.close()


class ModelPod:
    """A pod that has counted some requests."""

    def __init__(self, revision: str, address: str) -> None:
        self.revision = revision
        self.codes = {200: 0, 500: 0}
        self.started = 1000.0
        self.copies: dict[str, dict[str, float]] = {}  # by shadow: what was counted, by series
        self.server = HttpServer(address, METRICS_PORT, self._answer)

    def count(self, good: int, failed: int = 0) -> None:
        """It has answered so many requests more."""
        self.codes = {200: self.codes[200] + good, 500: self.codes[500] + failed}

    def send_copies(self, shadow: str, rows: int = 0, disagreed: int = 0, failed: int = 0) -> None:
        """It sends copies to that revision alone, and has counted so many so far."""
        counted = {
            "info": 1,
            'requests_total,outcome="ok"': rows,
            'requests_total,outcome="error"': failed,
            "compared_rows_total": rows,
            "disagreed_rows_total": disagreed,
            "numeric_rows_total": rows,
            "absolute_error_total": rows / 4,
            'duration_seconds_bucket,le="0.05"': rows // 2,
            'duration_seconds_bucket,le="0.1"': rows,
            'duration_seconds_bucket,le="+Inf"': rows,
        }
        self.copies = {shadow: counted}

    def restart(self) -> None:
        """Its container begins again."""
        self.codes, self.started = {200: 0, 500: 0}, self.started + 60

    def _answer(self, path: str) -> tuple[int, bytes]:
        if path != "/metrics":
            return 404, b""
        labels = f'model="wine",version="1",revision="{self.revision}"'
        lines = [
            f'mlflow_model_server_requests_total{{{labels},route="/invocations",code="{code}"}} {n}'
            for code, n in self.codes.items()
        ]
        for shadow, counted in self.copies.items():
            of_shadow = f'{labels},shadow_revision="{shadow}"'
            for series, number in counted.items():
                name, _, rest = series.partition(",")
                more = f",{rest}" if rest else ""
                lines.append(f"mlflow_model_server_shadow_{name}{{{of_shadow}{more}}} {number}")
        lines.append(f"process_start_time_seconds{{{labels}}} {self.started}")
        return 200, "\n".join([*lines, ""]).encode()


def prometheus(value: float) -> Callable[[str], tuple[int, bytes]]:
    """A Prometheus that has one answer."""
    result = [{"metric": {}, "value": [1, str(value)]}]
    body = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return lambda _: (200, json.dumps(body).encode())


def _handler(
    requests: list[str], answer: Callable[[str], tuple[int, Any]]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            status, body = answer(self.path)
            self.send_response(status)
            self.end_headers()
            for part in [body] if isinstance(body, bytes) else body:
                try:
                    self.wfile.write(part)
                except OSError:
                    return

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
