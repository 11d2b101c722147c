"""Both servers as processes, asked over sockets: what an ASGI application never sees."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import cast

import pytest

from benchmarks.scoring.environments import Pythons
from benchmarks.scoring.servers import KINDS, Running, running
from tests.parity.asgi import Answer, Request
from tests.parity.bodies import dumps, split
from tests.parity.compare import RELATIVE
from tests.parity.deviations import unexplained
from tests.parity.models import MODELS

SECONDS_TO_ANSWER = 60
# After so many our server knows that predictions are quick, and takes its short cut.
REQUESTS_TO_LEARN = 20


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running, bytes]]:
    """MLflow's server, ours, and a good body."""
    folder = tmp_path_factory.mktemp("sockets")
    sample = MODELS["linear"].save(folder / "model")
    pythons = Pythons(sys.executable, "")
    with (
        running(KINDS["mlflow"], folder, folder / "theirs", pythons) as theirs,
        running(KINDS["ours"], folder, folder / "ours", pythons) as ours,
    ):
        body = dumps({"dataframe_split": split(sample.rows)})
        for _ in range(REQUESTS_TO_LEARN):
            ours.ask(body)
        yield theirs, ours, body


def requests(body: bytes) -> dict[str, bytes]:
    """Raw requests by what is special in them; `%d` is the length of the body."""
    post = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:half], body[half:], b""))
    return {
        "plain": post + length + b"\r\n" + body,
        "two in one": 2 * (post + length + b"\r\n" + body),
        "chunked": post + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        "HTTP/1.0": post.replace(b"1.1", b"1.0") + length + b"\r\n" + body,
        "HTTP/1.0 with keep-alive": post.replace(b"1.1", b"1.0")
        + length
        + b"Connection: keep-alive\r\n\r\n"
        + body,
        "closing": post + length + b"Connection: close\r\n\r\n" + body,
        "expecting to continue": post + length + b"Expect: 100-continue\r\n\r\n" + body,
        "without a body": post + b"\r\n",
        "compressed, it says": post + length + b"Content-Encoding: gzip\r\n\r\n" + body,
        "names in capitals": post.upper() + length.upper() + b"\r\n" + body,
        "HEAD": b"HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "an absolute target": post.replace(b" /inv", b" http://x/inv") + length + b"\r\n" + body,
        "no HTTP": b"hello\r\n\r\n",
        "a bad length": post + b"Content-Length: x\r\n\r\n" + body,
        "two lengths": post + length + b"Content-Length: 1\r\n\r\n" + body,
        "an upgrade": post + length + upgrade + b"\r\n" + body,
        "an upgrade of a chunked body": post
        + upgrade
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + chunks,
        "two upgrades in one": 2 * (post + length + upgrade + b"\r\n" + body),
        "an upgrade without a body": b"GET /ping HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n",
        "two hosts": b"GET /ping HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "no host": b"GET /ping HTTP/1.1\r\n\r\n",
    }


def ask(port: int, raw: bytes, count: int) -> list[Answer]:
    """Sends bytes and reads so many answers."""
    with socket.create_connection(("127.0.0.1", port), SECONDS_TO_ANSWER) as connection:
        connection.sendall(raw)
        answers = []
        stream = connection.makefile("rb")
        for _ in range(count):
            method = "HEAD" if raw.startswith(b"HEAD") else "POST"
            response = HTTPResponse(cast(socket.socket, _Stream(stream)), method=method)
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answers.append(Answer(response.status, headers, response.read()))
        return answers


class _Stream:
    """Lets several responses read one stream after another."""

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def makefile(self, *_: object) -> object:
        return _Unclosed(self._stream)


class _Unclosed:
    def __init__(self, stream: object) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Not yet: the next answer comes from it."""

    def flush(self) -> None:
        """Nothing is written."""


@pytest.mark.parametrize("what", requests(b""))
def test_answers_over_sockets(servers: tuple[Running, Running, bytes], what: str) -> None:
    theirs, ours, body = servers
    raw = requests(body)[what]
    count = 2 if what.startswith("two") and "in one" in what else 1
    pairs = zip(ask(theirs.port, raw, count), ask(ours.port, raw, count), strict=True)
    for one, other in pairs:
        assert not unexplained(Request(what, raw), one, other, RELATIVE)
