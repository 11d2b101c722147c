"""HTTP as no friendly client speaks it: what is lost, confused, endless or slow."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from sklearn.datasets import load_wine

from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until

FRAME, _ = load_wine(return_X_y=True, as_frame=True)
BODY = json.dumps({"dataframe_split": FRAME.head(1).to_dict(orient="split")}).encode()
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /invocations HTTP/1.1\r\nHost: x\r\n" + JSON
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
PREDICTED = (200, b'{"predictions":[0]}')
VERSION = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: pytest.FixtureRequest
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("http")
    models.save_wine(folder / "model" / "artifact")
    port = unused_tcp_port_factory()  # type: ignore[operator]
    with serving(folder / "model", port, MAX_BODY_BYTES="100000", METRICS_PORT="0") as server:
        for _ in range(20):  # then predictions are known to be quick
            server.predict(json.loads(BODY))
        yield server


class Client:
    """A connection that sends what it likes."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self._stream = self._socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._socket.sendall(part)
            time.sleep(0.05)  # else they may be read as one

    def response(self, has_body: bool = True) -> tuple[int, bytes]:
        status = int(self._stream.readline().split()[1])
        headers = dict(iter(self._header, None))
        length = int(headers.get(b"content-length", 0))
        return status, self._stream.read(length) if has_body else b""

    def _header(self) -> tuple[bytes, bytes] | None:
        name, _, value = self._stream.readline().rstrip(b"\r\n").partition(b": ")
        return (name.lower(), value) if name else None

    def is_closed(self) -> bool:
        """Whether nothing more comes, and the connection ends."""
        try:
            return self._stream.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with closing(Client(server)) as client:
        yield client


UPGRADES = {
    "in one packet": [POST + LENGTH + H2C + b"\r\n" + BODY],
    "the body later": [POST + LENGTH + H2C + b"\r\n", BODY],
    "the head in parts": [POST + LENGTH + H2C[:20], H2C[20:] + b"\r\n" + BODY[:9], BODY[9:]],
    "the body in parts": [POST + LENGTH + H2C + b"\r\n" + BODY[:50], BODY[50:60], BODY[60:]],
    "chunked": [POST + H2C + CHUNKED],
    "websocket": [POST + LENGTH + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + BODY],
    "to a later TLS": [POST + LENGTH + b"Connection: upgrade\r\nUpgrade: TLS/1.2\r\n\r\n" + BODY],
}


@pytest.mark.parametrize("sent", UPGRADES.values(), ids=UPGRADES)
def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(
    client: Client, sent: list[bytes]
) -> None:
    client.send(*sent)
    assert client.response() == PREDICTED
    client.send(VERSION)
    assert client.response()[0] == 200


def test_a_body_behind_an_upgrade_is_no_request(client: Client) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\n" + JSON + H2C
    client.send(head + b"Content-Length: %d\r\n\r\n" % len(VERSION), VERSION)
    assert client.response()[0] == 400
    client.send(POST + LENGTH + b"\r\n" + BODY)
    assert client.response() == PREDICTED, "nothing was answered in between"


def test_pipelined_upgrades_are_answered_in_order(client: Client) -> None:
    upgrade = POST + LENGTH + H2C + b"\r\n" + BODY
    plain = POST + LENGTH + b"\r\n" + BODY
    client.send(upgrade + plain + upgrade + upgrade + VERSION)
    assert [client.response() for _ in range(4)] == 4 * [PREDICTED]
    assert client.response()[0] == 200


def test_an_upgrade_without_a_body(client: Client) -> None:
    client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n" + H2C + b"\r\n")
    assert client.response() == (200, b"\n")
    client.send(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response()[0] == 400
    assert client.is_closed()


@pytest.mark.parametrize("expects", [1, 2])
def test_clients_that_expect_to_continue_may(client: Client, expects: int) -> None:
    plain = POST + LENGTH + b"\r\n" + BODY
    expecting = POST + LENGTH + b"Expect: 100-continue\r\n\r\n"
    client.send((expects - 1) * plain + expecting)
    assert [client.response() for _ in range(expects - 1)] == (expects - 1) * [PREDICTED]
    assert client.response()[0] == 100
    client.send(BODY)
    assert client.response() == PREDICTED


LARGE_HEADS = {
    "many headers": VERSION[:-2] + 101 * b"a: b\r\n" + b"\r\n",
    "a long header": VERSION[:-2] + b"a: " + 70_000 * b"b" + b"\r\n\r\n",
    "a long name": VERSION[:-2] + 70_000 * b"a" + b": b\r\n\r\n",
    "several long headers": VERSION[:-2] + 40 * (b"a: " + 2_000 * b"b" + b"\r\n") + b"\r\n",
    "a long target": b"GET /" + 70_000 * b"a" + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "endless headers": VERSION[:-2] + 1_000_000 * b"a: b\r\n",
    "an endless header": VERSION[:-2] + b"a: " + 10_000_000 * b"b",
    "an endless target": b"GET /" + 10_000_000 * b"a",
    "endless trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + 1_000_000 * b"a: b\r\n",
    "an endless trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\na: " + 10_000_000 * b"b",
    "an endless chunk extension": POST
    + b"Transfer-Encoding: chunked\r\n\r\n1;a="
    + 10_000_000 * b"b",
}


@pytest.mark.parametrize("sent", LARGE_HEADS.values(), ids=LARGE_HEADS)
def test_large_heads_are_refused(client: Client, sent: bytes) -> None:
    assert refusal(client, sent) in (431, None)


def refusal(client: Client, sent: bytes) -> int | None:
    """The status of the answer to a head; None where the rest of the head resets the connection."""
    try:
        client.send(sent)
        status = client.response()[0]
    except (BrokenPipeError, ConnectionResetError):
        return None
    assert client.is_closed()
    return status


@pytest.mark.parametrize("name", [name for name in LARGE_HEADS if "endless" not in name])
def test_who_reads_sees_why_a_large_head_is_refused(server: Server, name: str) -> None:
    """Of several tries: what is sent after the answer resets the connection, and the answer."""
    tries = 1 if name == "many headers" else 10

    def try_once(_: int) -> int | None:
        with closing(Client(server)) as client:
            return refusal(client, LARGE_HEADS[name])

    assert 431 in map(try_once, range(tries))


def test_heads_within_the_bounds_are_answered(client: Client) -> None:
    many = VERSION[:-2] + 98 * b"a: b\r\n" + b"\r\n"
    long = VERSION[:-2] + b"a: " + 60_000 * b"b" + b"\r\n\r\n"
    for sent in (many, long, long):
        client.send(sent)
        assert client.response()[0] == 200
    client.send(long[:30_000], long[30_000:])
    assert client.response()[0] == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /ping HTTP/1.1\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        (b"GET /ping HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET /ping HTTP/1.0\r\n", 200),
        (b"GET /ping HTTP/1.1\r\nHost:\r\n", 200),
    ],
)
def test_a_request_has_one_host(client: Client, head: bytes, status: int) -> None:
    client.send(head + b"\r\n")
    assert client.response()[0] == status


@pytest.mark.parametrize("path", ["/ping", "/health", "/version", "/v2", "/v2/health/live"])
def test_head_is_answered_where_get_is(client: Client, path: str) -> None:
    client.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert client.response(has_body=False)[0] == 200
    client.send(VERSION)
    assert client.response()[0] == 200


def test_what_is_no_request_is_refused_in_order(client: Client) -> None:
    client.send(2 * (POST + LENGTH + b"\r\n" + BODY) + b"no request\r\n\r\n")
    assert [client.response() for _ in range(2)] == 2 * [PREDICTED]
    assert client.response()[0] == 400
    assert client.is_closed()


def test_only_so_many_requests_wait_on_a_connection(client: Client) -> None:
    client.send(POST + b"Content-Length: 99000\r\n\r\n")
    client.send(b" " * 99_000 + 5_000 * VERSION)
    assert client.response()[0] == 400
    statuses: list[int] = []
    while not statuses or statuses[-1] == 200:
        statuses.append(client.response()[0])
    assert statuses[-1] == 503 and len(statuses) <= 66
    assert client.is_closed()


def test_a_long_body_is_refused_before_it_is_read(client: Client) -> None:
    client.send(POST + b"Content-Length: 100001\r\n\r\n")
    status, body = client.response()
    assert status == 413 and b"longer than 100000 bytes" in body


ENCODED = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "Deflate": zlib.compress(BODY, wbits=-zlib.MAX_WBITS),
    "identity": BODY,
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_content_encodings(server: Server, encoding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    url = server.url("/invocations")
    response = requests.post(url, data=ENCODED[encoding], headers=headers, timeout=60)
    assert response.json() == {"predictions": [0]}


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", BODY, 415),
        ("zstd", BODY, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415),
        ("gzip", BODY, 400),
        ("deflate", b"\x78\x9c\x00", 400),
        ("gzip", gzip.compress(BODY)[:-9], 400),
        ("gzip", gzip.compress(BODY) + b"more", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b" " * 100_001), 413),
        ("gzip", gzip.compress(b" " * 90_000_000), 413),
        ("deflate", zlib.compress(b" " * 90_000_000), 413),
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/v2/models/mlflow-model/infer"])
def test_content_encodings_that_are_refused(
    server: Server, path: str, encoding: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    response = requests.post(server.url(path), data=body, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    if status == 415:
        assert response.headers["accept-encoding"] == "gzip, deflate"


def test_slow_clients_are_cut_off(server: Server) -> None:
    sent = {
        "no byte": b"",
        "half a head": POST,
        "half a body": POST + LENGTH + b"\r\n" + BODY[:10],
        "half a body for v2": b"POST /v2/models/mlflow-model/infer HTTP/1.1\r\nHost: x\r\n"
        + LENGTH
        + b"\r\n{",
        "a second head": VERSION + POST,
    }
    clients = {name: Client(server) for name in sent}
    for name, client in clients.items():
        client.send(sent[name])
    dripping = Client(server)
    dripping.send(POST)
    started = time.monotonic()
    try:
        while time.monotonic() < started + 14:
            dripping.send(b"a: b\r\n")
            time.sleep(1)
    except OSError:
        pass
    assert time.monotonic() < started + 14, "a header each second keeps the connection"
    assert clients["a second head"].response()[0] == 200
    for name in ("half a head", "half a body", "half a body for v2", "a second head"):
        assert clients[name].response()[0] == 408, name
        assert clients[name].is_closed(), name
    clients["no byte"].send(VERSION)
    assert clients["no byte"].response()[0] == 200, "its time is longer"


def test_connections_are_bounded(tmp_path: Path, unused_tcp_port: int) -> None:
    models.save_wine(tmp_path / "model" / "artifact")
    with serving(tmp_path / "model", unused_tcp_port, MAX_CONNECTIONS="8") as server:
        longest, used = Client(server), Client(server)
        for _ in range(2):  # `longest` came before the first answer, the others come after the next
            used.send(VERSION)
            assert used.response()[0] == 200
        others = [Client(server) for _ in range(6)]
        for _ in range(5):
            with closing(Client(server)) as another:
                another.send(VERSION)
                assert another.response()[0] == 200, "the longest idle one makes room"
        assert longest.is_closed()
        others[-1].send(VERSION)
        assert others[-1].response()[0] == 200, "it was not the longest idle one"
        busy = [Client(server) for _ in range(8)]
        for client in busy:
            client.send(POST + LENGTH + b"Expect: 100-continue\r\n\r\n")
            assert client.response(has_body=False)[0] == 100, "the head has been read"
        with closing(Client(server)) as another:
            assert another.response()[0] == 503
        for client in busy:
            client.send(BODY)
            assert client.response() == PREDICTED


def test_bodies_in_flight_are_bounded_together(tmp_path: Path, unused_tcp_port: int) -> None:
    models.save_wine(tmp_path / "model" / "artifact")
    (tmp_path / "keys").write_text(f"alice:{32 * 'k'}\n")
    variables = {
        "MAX_BODY_BYTES": "600000",
        "MAX_BYTES_IN_FLIGHT": "1000000",
        "API_KEYS_FILE": str(tmp_path / "keys"),
    }
    key = b"Authorization: Bearer " + 32 * b"k" + b"\r\n"
    infer = b"POST /v2/models/mlflow-model/infer HTTP/1.1\r\nHost: x\r\n"
    long = b"Content-Length: 400000\r\n\r\n"
    with serving(tmp_path / "model", unused_tcp_port, **variables) as server:
        for head in (POST, infer, b"POST /nothing HTTP/1.1\r\nHost: x\r\n"):
            with closing(Client(server)) as client:
                client.send(head + long)
                assert client.response()[0] == 401, "before anything of the body has come"
        waiting = [Client(server) for _ in range(2)]
        waiting[0].send(POST + key + long)
        waiting[1].send(infer + key + long)
        for head in (POST + key + long, infer + key + long):
            with closing(Client(server)) as client:
                client.send(head)
                assert client.response()[0] == 503
        with closing(Client(server)) as client:
            client.send(POST + key + b"Transfer-Encoding: chunked\r\n\r\n")
            client.send(b"30d40\r\n" + 200_000 * b" " + b"\r\n30d40\r\n" + 200_000 * b" ")
            assert client.response()[0] == 503, "whose length is not said counts as it comes"
        waiting[0].close()
        wait_until(lambda: _is_answered(server, POST + key + long), "there is room again")


def _is_answered(server: Server, head: bytes) -> bool:
    with closing(Client(server)) as client:
        client.send(head + 400_000 * b" ")
        return client.response()[0] == 400
