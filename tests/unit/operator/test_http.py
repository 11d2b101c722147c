"""The endpoints that the kubelet and Prometheus ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest

from mlflow_model_operator import http
from mlflow_model_operator.metrics import Metrics

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class State:
    alive: bool = True
    ready: bool = True
    url: str = ""


@pytest.fixture
async def state() -> AsyncIterator[State]:
    state = State()
    async with http.serve(
        0, Metrics(), is_alive=lambda: state.alive, is_ready=lambda: state.ready
    ) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state


async def get(state: State, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{state.url}{path}") as response,
    ):
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_a_working_operator_is_alive_and_ready(state: State) -> None:
    assert (await get(state, "/healthz"))[:2] == (200, "ok")
    assert (await get(state, "/readyz"))[:2] == (200, "ok")


async def test_a_stalled_operator_is_not_alive(state: State) -> None:
    state.alive = False

    assert (await get(state, "/healthz"))[:2] == (503, "no reconcile has completed recently")
    assert (await get(state, "/readyz"))[0] == 200


async def test_an_operator_that_has_not_synced_is_not_ready(state: State) -> None:
    state.ready = False

    assert (await get(state, "/readyz"))[0] == 503
    assert (await get(state, "/healthz"))[0] == 200


async def test_the_metrics_come_as_prometheus_wants_them(state: State) -> None:
    status, text, content_type = await get(state, "/metrics")

    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "mlflow_model_operator_leader 0.0" in text


async def test_the_port_is_free_again_afterwards() -> None:
    checks = {"is_alive": bool, "is_ready": bool}
    async with http.serve(0, Metrics(), **checks) as port:
        pass
    async with http.serve(port, Metrics(), **checks) as again:
        assert again == port


async def test_a_port_in_use_is_an_error(state: State) -> None:
    used_port = int(state.url.rpartition(":")[2])

    with pytest.raises(OSError, match="Address already in use"):
        async with http.serve(used_port, Metrics(), is_alive=bool, is_ready=bool):
            pass


async def connect(state: State, stack: AsyncExitStack, sent: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(state.url.rpartition(":")[2]))
    stack.callback(writer.close)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def is_ended(connection: Connection) -> bool:
    """Whether the connection ends without a response."""
    try:
        async with asyncio.timeout(10):
            return await connection[0].read() == b""
    except ConnectionError:
        return True


HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\na: "


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD])
async def test_slow_clients_are_cut_off(
    monkeypatch: pytest.MonkeyPatch, state: State, sent: bytes
) -> None:
    monkeypatch.setattr(http, "CONNECTION_TIMEOUT", 0.2)
    async with AsyncExitStack() as stack:
        assert await is_ended(await connect(state, stack, sent))


async def test_many_connections_keep_no_probe_away(
    monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 3)
    async with AsyncExitStack() as stack:
        slow = [await connect(state, stack, HALF_A_HEAD) for _ in range(3)]
        assert (await get(state, "/healthz"))[0] == 200
        assert await is_ended(slow[0]), "the oldest makes room"
        reader, writer = slow[1]
        writer.write(b"b\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 "), "the others may go on"


async def test_a_connection_has_one_request(state: State) -> None:
    async with AsyncExitStack() as stack:
        twice = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2
        reader, _ = await connect(state, stack, twice)
        async with asyncio.timeout(10):
            assert (await reader.read()).count(b"HTTP/1.1 200") == 1
