"""gRPC calls that are to cost much before anybody has said who sends them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_model_server.grpc import reflection
from mlflow_model_server.grpc.messages import SERVICE, message
from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until

Ports = Callable[[], int]
KEY = "k" * 32
ALLOWED = (("authorization", f"Bearer {KEY}"),)
HEALTH = "grpc.health.v1.Health"
SECONDS = 60
MIB = 2**20
# An empty input: two bytes that become an object.
EMPTY_INPUT = b"\x2a\x00"


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Ports
) -> Iterator[tuple[Server, grpc.Channel]]:
    """A server that asks for keys, and a channel to it."""
    folder = tmp_path_factory.mktemp("guarded")
    models.save_wine(folder / "model" / "artifact")
    (folder / "keys").write_text(f"alice:{KEY}\n")
    port = unused_tcp_port_factory()
    variables = {
        "GRPC_PORT": str(port),
        "MODEL_NAME": "wine",
        "API_KEYS_FILE": str(folder / "keys"),
        "MAX_QUEUE": "16",
    }
    with (
        serving(folder / "model", unused_tcp_port_factory(), **variables) as server,
        grpc.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]
        ) as channel,
    ):
        yield server, channel


def call(
    channel: grpc.Channel, name: str, sent: bytes = b"", key: bool = False, service: str = SERVICE
) -> str:
    """The code of a call's response."""
    method = channel.unary_unary(f"/{service}/{name}")
    try:
        method(sent, timeout=SECONDS, metadata=ALLOWED if key else ())
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


@pytest.mark.parametrize(
    "name",
    [
        *("ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"),
        *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
    ],
)
def test_calls_need_a_key(guarded: tuple[Server, grpc.Channel], name: str) -> None:
    _, channel = guarded
    named = message("ModelMetadataRequest")(name="wine").SerializeToString()
    for sent in (named, b"", b"no message", EMPTY_INPUT * 1000):
        assert call(channel, name, sent) == "UNAUTHENTICATED"
    refused = ("ModelInfer", "RepositoryModelLoad", "RepositoryModelUnload")
    with_key = call(channel, name, named, key=True)
    assert with_key == ("INVALID_ARGUMENT" if name in refused else "OK")


def test_probes_need_none(guarded: tuple[Server, grpc.Channel]) -> None:
    _, channel = guarded
    for name in ("ServerLive", "ServerReady"):
        assert call(channel, name) == "OK"
    check = channel.unary_unary(f"/{HEALTH}/Check")
    inference = b"\x0a" + bytes([len(SERVICE)]) + SERVICE.encode()
    for sent in (b"", inference):
        assert check(sent, timeout=SECONDS) == b"\x08\x01"
    for sent in (b"\x0a\x04else", b"\x0a", b"\x12\x00", EMPTY_INPUT * 1000):
        assert call(channel, "Check", sent, service=HEALTH) == "NOT_FOUND"
    watch = channel.unary_stream(f"/{HEALTH}/Watch")(b"", timeout=SECONDS)
    assert next(watch) == b"\x08\x01"
    watch.cancel()


def reflect(channel: grpc.Channel, sent: Iterator[bytes], key: bool = True) -> tuple[int, str]:
    """How many responses a stream of reflection has, and the code that it ends with."""
    call = channel.stream_stream(f"/{reflection.FILES[0].service}/ServerReflectionInfo")
    responses = 0
    try:
        for _ in call(sent, timeout=SECONDS, metadata=ALLOWED if key else ()):
            responses += 1
    except grpc.RpcError as error:
        return responses, str(error.code().name)
    return responses, "OK"


def listing(**fields: str) -> bytes:
    asked = reflection.FILES[0].message("ServerReflectionRequest")
    return bytes(asked(**(fields or {"list_services": "*"})).SerializeToString())


def test_reflection_needs_a_key(guarded: tuple[Server, grpc.Channel]) -> None:
    _, channel = guarded
    assert reflect(channel, iter([listing()]), key=False) == (0, "UNAUTHENTICATED")
    assert reflect(channel, iter([listing()] * 3)) == (3, "OK")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (listing(file_containing_symbol="x" * 10_000), "INVALID_ARGUMENT"),
        (b"no message", "INVALID_ARGUMENT"),
        (listing(file_by_filename="../../etc/passwd"), "OK"),
        (listing(all_extension_numbers_of_type="inference.ModelInferRequest"), "OK"),
    ],
)
def test_reflection_takes_short_requests(
    guarded: tuple[Server, grpc.Channel], sent: bytes, code: str
) -> None:
    _, channel = guarded
    assert reflect(channel, iter([sent])) == (int(code == "OK"), code)


def test_reflection_ends(guarded: tuple[Server, grpc.Channel]) -> None:
    """After so many requests, after some time without any, and at once where too many ask."""
    _, channel = guarded
    assert reflect(channel, iter([listing()] * 1000)) == (64, "RESOURCE_EXHAUSTED")
    stopped = threading.Event()

    def idle() -> Iterator[bytes]:
        yield listing()
        stopped.wait(SECONDS)

    try:
        with ThreadPoolExecutor(8) as clients:
            ended = sorted(clients.map(lambda _: reflect(channel, idle()), range(8)))
    finally:
        stopped.set()
    assert ended == [(0, "UNAVAILABLE")] * 4 + [(1, "DEADLINE_EXCEEDED")] * 4


def test_a_call_is_refused_before_its_message_is_sent(
    guarded: tuple[Server, grpc.Channel],
) -> None:
    _, channel = guarded
    stopped = threading.Event()

    def nothing() -> Iterator[bytes]:
        stopped.wait(SECONDS)
        yield b""

    try:
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(f"/{SERVICE}/ModelInfer")(nothing(), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(f"/{SERVICE}/ModelInfer")(
                nothing(), timeout=SECONDS, metadata=ALLOWED
            )
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 30, "not the client's deadline"
    finally:
        stopped.set()


def test_long_messages_are_refused(guarded: tuple[Server, grpc.Channel]) -> None:
    _, channel = guarded
    sent = EMPTY_INPUT * (4 * MIB // 2 + 1)
    assert call(channel, "ModelInfer", sent) in ("UNAUTHENTICATED", "RESOURCE_EXHAUSTED")
    assert call(channel, "ModelInfer", sent, key=True) == "RESOURCE_EXHAUSTED"


def test_messages_take_no_memory_before_the_key_is_checked(
    guarded: tuple[Server, grpc.Channel],
) -> None:
    server, channel = guarded
    call(channel, "ServerLive")
    before = peak(server)
    sent = EMPTY_INPUT * (2 * MIB - 100)
    with ThreadPoolExecutor(32) as pool:
        codes = set(pool.map(lambda _: call(channel, "ModelInfer", sent), range(64)))
    assert codes <= {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert peak(server) - before < 64 * MIB


def test_messages_are_parsed_one_after_the_other(guarded: tuple[Server, grpc.Channel]) -> None:
    server, channel = guarded
    call(channel, "ServerLive")
    before = peak(server)
    sent = EMPTY_INPUT * (2 * MIB - 100)
    with ThreadPoolExecutor(16) as pool:
        codes = set(pool.map(lambda _: call(channel, "ModelInfer", sent, key=True), range(32)))
    assert "OK" not in codes
    assert peak(server) - before < 512 * MIB
    assert call(channel, "ServerLive") == "OK"


def peak(server: Server) -> int:
    """The most memory that the server has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_only_so_many_calls_wait(tmp_path: Path, unused_tcp_port_factory: Ports) -> None:
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", models.SLOW)
    port = unused_tcp_port_factory()
    variables = {
        "GRPC_PORT": str(port),
        "MODEL_NAME": "slow",
        "SLOW_FOLDER": str(tmp_path),
        "MAX_QUEUE": "2",
    }
    with (
        serving(tmp_path / "model", unused_tcp_port_factory(), **variables),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ThreadPoolExecutor(2) as clients,
    ):
        sent = request().SerializeToString()
        waiting = [clients.submit(call, channel, "ModelInfer", sent) for _ in range(2)]
        wait_until((tmp_path / "begun").exists, "a prediction begins")
        wait_until(lambda: call(channel, "ModelInfer", sent) == "UNAVAILABLE", "no more are taken")
        assert call(channel, "ServerLive") == "OK"
        (tmp_path / "go").touch()
        assert [one.result(SECONDS) for one in waiting] == ["OK", "OK"]


def request() -> Any:
    """For a model that takes a table of x."""
    sent = message("ModelInferRequest")(model_name="slow")
    sent.parameters["content_type"].string_param = "pd"
    sent.inputs.add(name="x", datatype="INT64", shape=[1]).contents.int64_contents.append(5)
    return sent


def test_connections_are_bounded(tmp_path: Path, unused_tcp_port_factory: Ports) -> None:
    """No more than MAX_CONNECTIONS, and none without a preface for long."""
    models.save_wine(tmp_path / "model" / "artifact")
    port = unused_tcp_port_factory()
    variables = {"GRPC_PORT": str(port), "MAX_CONNECTIONS": "4"}

    def is_served() -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            return call(channel, "ServerLive") == "OK"

    with serving(tmp_path / "model", unused_tcp_port_factory(), **variables), ExitStack() as stack:
        assert is_served()
        silent: list[socket.socket] = []

        def is_full() -> bool:
            # More than fit: the connections that is_served() has ended may have a place for now.
            for _ in range(8):
                client = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
                silent.append(stack.enter_context(client))
            return not is_served()

        wait_until(is_full, "there is no more room")
        for client in silent:
            assert is_ended(client)
        wait_until(is_served, "there is room again")


def is_ended(client: socket.socket) -> bool:
    """Waits until the server has ended a connection."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True
