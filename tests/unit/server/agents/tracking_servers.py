"""Tracking servers that don't work, to which traces are to go."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_EXPERIMENT = {
    "experiment_id": "1",
    "name": "1",
    "artifact_location": "mlflow-artifacts:/1",
    "lifecycle_stage": "active",
}


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def stuck() -> Iterator[str]:
    """Says once that experiment 1 exists, and answers nothing else."""
    over = threading.Event()
    asked = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/experiments/get" not in self.path or asked.is_set():
                over.wait()
                return
            asked.set()
            body = json.dumps({"experiment": _EXPERIMENT}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            over.wait()

        def log_message(self, format: str, *_: object) -> None:
            """Nothing."""

    try:
        with _served(Handler) as uri:
            yield uri
    finally:
        over.set()


@contextmanager
def refusing(text: str) -> Iterator[str]:
    """Answers all requests with 403 and a text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:
            """Nothing."""

    with _served(Handler) as uri:
        yield uri


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
