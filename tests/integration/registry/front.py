"""A reverse proxy before a real tracking server: it counts requests, and misbehaves on demand."""

from __future__ import annotations

import base64
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import requests

from tests.integration.control_plane import free_port


@dataclass
class Request:
    """A request that came in."""

    path: str
    query: dict[str, list[str]]
    authorization: str | None

    @property
    def endpoint(self) -> str:
        """The end of its path, like "registered-models/get"."""
        return "/".join(self.path.split("/")[-2:])


Answer = tuple[int, bytes, dict[str, str]]  # status, body, headers
Rule = Callable[[Request], Answer | None]  # None: let it through


@dataclass
class Front:
    """Listens on a port of 127.0.0.1 and passes on what `rule` lets through."""

    target: str
    tls: ssl.SSLContext | None = None
    host: str | None = None  # the Host header that the target sees
    rule: Rule = lambda _: None
    port: int = field(default_factory=free_port)
    requests: list[Request] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Its own tracking URI."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def counts(self) -> Counter[str]:
        """How often each thing was asked so far."""
        return Counter(request.endpoint for request in list(self.requests))

    def start(self) -> None:
        """Listens."""
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that hangs up

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuses connections, kept ones too."""
        self.let_go.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def hang(self, _: Request) -> None:
        """A rule: no answer until the end of the test."""
        self.let_go.wait()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        login = handler.headers.get("Authorization")
        request = Request(url.path, parse_qs(url.query), login)
        self.requests.append(request)
        status, body, headers = self.rule(request) or self._pass_on(handler)
        if self._server is None:
            handler.close_connection = True
            return
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> Answer:
        headers = {"Host": self.host} if self.host else {}
        response = requests.get(f"{self.target}{handler.path}", headers=headers, timeout=30)
        return response.status_code, response.content, {}


def asks_for(username: str, password: str) -> Rule:
    """A rule: HTTP basic authentication."""
    expected = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def rule(request: Request) -> Answer | None:
        if request.authorization == expected:
            return None
        return 401, b"You are not authenticated", {"WWW-Authenticate": 'Basic realm="mlflow"'}

    return rule


def answers(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Rule:
    """A rule: always this."""
    return lambda _: (status, body, headers or {})
