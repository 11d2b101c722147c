"""Servers that are slow, endless, or lead elsewhere."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mlflow_model_server.auth.download import MAX_BYTES, download
from tests.certificates import self_signed

GOOD = b"HTTP/1.0 200 OK\r\n\r\ngood"
Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a server that lets `answer` have each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def handle(client: socket.socket) -> None:
            with (
                suppress(OSError),
                client,
                tls.wrap_socket(client, server_side=True) if tls else client as connection,
            ):
                connection.recv(65536)
                answer(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client = listener.accept()[0]
                    threading.Thread(target=handle, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)


def dripping(start: bytes, drop: bytes) -> Answer:
    """Each read of its client gets something, and no end comes."""

    def answer(client: socket.socket) -> None:
        client.sendall(start)
        while True:
            client.sendall(drop)
            time.sleep(0.05)

    return answer


def sending(data: bytes) -> Answer:
    return lambda client: client.sendall(data)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's, which clients trust."""
    file = tmp_path / "server.pem"
    context = self_signed(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return context


def test_the_body_is_returned(tls: ssl.SSLContext) -> None:
    with answering(sending(GOOD)) as url:
        assert download(url, allow_http=True) == b"good"
    with answering(sending(GOOD), tls) as url:
        assert download(url) == b"good"


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b"", b""),
        dripping(b"HTTP/1.0 ", b"2"),
        dripping(b"HTTP/1.0 200 OK\r\n", b"a: b\r\n"),
        dripping(b"HTTP/1.0 200 OK\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        dripping(b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", b"x"),
    ],
    ids=["nothing", "status", "head", "body", "chunks", "redirects"],
)
@pytest.mark.parametrize("secure", [False, True])
def test_all_together_ends_in_time(tls: ssl.SSLContext, answer: Answer, secure: bool) -> None:
    began = time.monotonic()
    with (
        answering(answer, tls if secure else None) as url,
        pytest.raises((OSError, ValueError)),
    ):
        download(url, allow_http=True, timeout=1)
    assert time.monotonic() - began < 10


def test_a_handshake_without_end_ends_in_time() -> None:
    record = b"\x16\x03\x03\x40\x00"  # of 16 KiB, which then come slowly
    began = time.monotonic()
    with (
        answering(dripping(record, b"\x02")) as url,
        pytest.raises(TimeoutError, match="within 1 s"),
    ):
        download(url.replace("http:", "https:"), timeout=1)
    assert time.monotonic() - began < 10


def test_a_long_body_is_not_read() -> None:
    def endless(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            client.sendall(b"x" * 65536)

    with answering(endless) as url, pytest.raises(ValueError, match=f"longer than {MAX_BYTES}"):
        download(url, allow_http=True)


def test_plain_http_has_to_be_allowed() -> None:
    for url in ("http://127.0.0.1:9/", "ftp://127.0.0.1/", "file:///etc/passwd", "data:,x"):
        with pytest.raises(ValueError, match="only https URLs are accepted"):
            download(url)


def test_redirects_lead_to_no_plain_http(tls: ssl.SSLContext) -> None:
    def redirect(to: str) -> Answer:
        return sending(b"HTTP/1.0 302 Found\r\nlocation: %s\r\n\r\n" % to.encode())

    with answering(sending(GOOD)) as plain, answering(sending(GOOD), tls) as secure:
        with answering(redirect(secure), tls) as url:
            assert download(url) == b"good"
        with answering(redirect(plain)) as url:
            assert download(url, allow_http=True) == b"good"
        for allow_http in (False, True):
            with (
                answering(redirect(plain), tls) as url,
                pytest.raises(ValueError, match="it redirects from https to http"),
            ):
                download(url, allow_http)
        for elsewhere in ("file:///etc/passwd", "ftp://127.0.0.1/"):
            with answering(redirect(elsewhere), tls) as url, pytest.raises((OSError, ValueError)):
                download(url)
