"""A tracking server that proxies one model's files, and sends them as a test requires."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

API = "/api/2.0/mlflow-artifacts/artifacts"
FILES = {
    "MLmodel": b"flavors: {python_function: {loader_module: mlflow.sklearn}}\n",
    "weights": b"0123456789",
}


class Handler(BaseHTTPRequestHandler):
    """Lists the model's files; a file is sent as the server's `send` does it."""

    protocol_version = "HTTP/1.1"
    server: ArtifactServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == API:
            files = [
                {"path": name, "is_dir": False, "file_size": len(content)}
                for name, content in FILES.items()
            ]
            self.begin(json.dumps({"files": files}).encode())
            return
        name = path.removeprefix(f"{API}/model/")
        if name == "weights":
            self.server.requests += 1
            self.server.send(self, FILES[name])
        elif name in FILES:
            self.begin(FILES[name])
        else:
            self.send_error(404)

    def begin(self, body: bytes, *, until: int | None = None) -> None:
        """Sends the head, and the body until a byte of it."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:until])
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


Send = Callable[[Handler, bytes], None]


class ArtifactServer(ThreadingHTTPServer):
    """The server of this module."""

    daemon_threads = True

    def __init__(self, send: Send) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.send = send
        self.requests = 0  # for the file weights
        self.over = threading.Event()  # when the test is

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def artifact_server(send: Send) -> Iterator[ArtifactServer]:
    """The server, until the end of the block."""
    server = ArtifactServer(send)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
