"""Downloads from a tracking server that is gone, silent or slow."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest
import requests
from mlflow.utils import request_utils

from mlflow_model_server.prepare import connections
from mlflow_model_server.prepare.download import fetch
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.unit.server.prepare.artifact_server import (
    API,
    Handler,
    Send,
    artifact_server,
)

AT_ONCE = (0.0, 0.0)
SILENCE = 1.0  # seconds; shorter than in production
MODEL = "mlflow-artifacts:/model"
_OPTIONS = (
    socket.TCP_USER_TIMEOUT,  # milliseconds
    socket.TCP_KEEPIDLE,
    socket.TCP_KEEPINTVL,
    socket.TCP_KEEPCNT,
)


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short timeouts, no waits between MLflow's tries, and none of another test's connections."""
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", SILENCE)
    monkeypatch.setattr(connections, "SILENCE_TIMEOUT", SILENCE)
    monkeypatch.setattr(
        request_utils, "TCPKeepAliveHTTPAdapter", request_utils.TCPKeepAliveHTTPAdapter
    )
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    request_utils._cached_get_request_session.cache_clear()


def fetched(settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    fetch(dataclasses.replace(settings, model_uri=MODEL), AT_ONCE)
    return settings.artifact


def failed(settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> StartupError:
    with pytest.raises(StartupError) as failure:
        fetched(settings, url, monkeypatch)
    return failure.value


def silent_at_first(handler: Handler, body: bytes) -> None:
    """As if the server's machine were lost in the midst of the first download."""
    if handler.server.requests == 1:
        handler.begin(body, until=5)
        handler.server.over.wait()
    else:
        handler.begin(body)


def slow(handler: Handler, body: bytes) -> None:
    """Longer than the timeout in all, and never silent for as long."""
    handler.begin(body, until=0)
    for byte in body:
        handler.server.over.wait(SILENCE / 4)
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()


def late(handler: Handler, body: bytes) -> None:
    """As a server that fetches the whole file from its storage first."""
    handler.server.over.wait(SILENCE * 2)
    handler.begin(body)


@pytest.mark.parametrize(("send", "number"), [(silent_at_first, 2), (slow, 1), (late, 1)])
def test_only_a_connection_without_a_byte_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, send: Send, number: int
) -> None:
    with artifact_server(send) as server:
        artifact = fetched(settings, server.url, monkeypatch)
        assert (artifact / "weights").read_bytes() == b"0123456789"
        assert server.requests == number


def test_a_server_that_never_answers_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # its kernel accepts, and that is all
        port = listener.getsockname()[1]
        failure = failed(settings, f"http://me:secret@127.0.0.1:{port}", monkeypatch)
    assert failure.reason == "ArtifactServerUnreachable"
    assert failure.message == (
        f"The server 127.0.0.1:{port}, which has {MODEL}, does not respond: there was no response "
        "in time"
    )


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("127.0.0.1:{port}", "it refuses connections"),
        ("mlflow.invalid:5000", "its name cannot be resolved"),
    ],
)
def test_a_server_that_is_gone_is_named(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    unused_tcp_port: int,
    address: str,
    cause: str,
) -> None:
    address = address.format(port=unused_tcp_port)
    failure = failed(settings, f"http://me:secret@{address}", monkeypatch)
    assert failure.reason == "ArtifactServerUnreachable"
    assert failure.message == (
        f"The server {address}, which has {MODEL}, does not respond: {cause}"
    )


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (401, "ArtifactUnauthorized", "401 Client Error"),
        (403, "ArtifactUnauthorized", "403 Client Error"),
        (404, "ArtifactUnreadable", "/model/weights"),
        (503, "ArtifactServerUnreachable", "its proxy has no server behind it"),
    ],
)
def test_the_status_of_a_file_decides_what_has_to_be_mended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, status: int, reason: str, words: str
) -> None:
    with artifact_server(lambda handler, _: handler.send_error(status)) as server:
        failure = failed(settings, server.url, monkeypatch)
    assert failure.reason == reason
    assert words in failure.message


def test_a_storage_that_is_gone_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StartupError) as failure:
        fetch(dataclasses.replace(settings, model_uri="s3://models/wine"), AT_ONCE)
    assert failure.value.reason == "ArtifactServerUnreachable"
    assert f"127.0.0.1:{unused_tcp_port}, which has s3://models/wine," in failure.value.message


def test_the_kernel_gives_up_a_peer_that_acknowledges_nothing() -> None:
    connections.give_up_dead_connections()
    with artifact_server(Handler.begin) as server, requests.Session() as session:
        adapter = request_utils.TCPKeepAliveHTTPAdapter()
        session.mount("http://", adapter)
        assert session.get(f"{server.url}{API}/model/MLmodel").ok
        [key] = adapter.poolmanager.pools.keys()
        sock = adapter.poolmanager.pools[key]._get_conn().sock
        options = [sock.getsockopt(socket.IPPROTO_TCP, name) for name in _OPTIONS]
        sock.close()
    assert options == [15_000, 5, 5, 2]
