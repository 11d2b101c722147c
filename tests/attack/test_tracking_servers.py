"""Tracking servers that drip, flood and lie, asked over real sockets. Anybody may name one."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionPending,
)
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.metrics import Metrics
from mlflow_model_operator.registry import Registry, http
from mlflow_model_operator.registry.http import (
    Client,
    ForeignServerClient,
    OwnServerClient,
    TooLarge,
    Unreachable,
)
from mlflow_model_operator.settings import Settings

KEY = Key("tenant", "wine")
URI = "models:/wine@champion"
WITHIN = 30.0  # seconds
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LONG_LINE = b"x" * 8_000

Writer = asyncio.StreamWriter
Attack = Callable[[Writer], Awaitable[None]]
Listen = Callable[[Attack], Awaitable[str]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Starts a server that answers each request with an attack; returns its URI."""
    servers = []

    async def start(attack: Attack) -> str:
        async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    await attack(writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 1.0)


def answer(body: bytes | dict[str, Any], status: str = "200 OK") -> Attack:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def attack(writer: Writer) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()

    return attack


async def drip_head(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_body(writer: Writer) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def continue_without_end(writer: Writer) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def flood_head(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"a: " + LONG_LINE + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def flood_body(writer: Writer) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1f40\r\n" + LONG_LINE + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def say_nothing(writer: Writer) -> None:
    await asyncio.sleep(WITHIN)


class Tenants:
    """A registry at work, and the resources that it notifies."""

    def __init__(self, tracking_uri: str | None = None) -> None:
        self.metrics = Metrics()
        settings = Settings(tracking_uri=tracking_uri, poll_interval=0.1)
        self.notified: set[Key] = set()
        self.registry = Registry(settings, self.notified.add, self.metrics)

    async def failure(self, server: str, key: Key = KEY) -> ResolutionError:
        with pytest.raises(ResolutionError) as failure:
            await self.resolve(server, key)
        return failure.value

    async def resolve(self, server: str, key: Key = KEY, uri: str = URI) -> ModelVersion:
        async with asyncio.timeout(WITHIN):
            while True:
                self.notified.discard(key)
                try:
                    return await self.registry.resolve(key, uri, server)
                except ResolutionPending:
                    while key not in self.notified:
                        await asyncio.sleep(0.01)


@pytest.fixture
async def tenants() -> AsyncIterator[Tenants]:
    tenants = Tenants()
    polls = asyncio.create_task(tenants.registry.run())
    yield tenants
    polls.cancel()
    await asyncio.wait({polls})
    assert polls.cancelled(), "no server may end the polls of the others"


@pytest.mark.parametrize("attack", [drip_head, drip_body, continue_without_end, say_nothing])
async def test_a_request_ends_whatever_comes(listen: Listen, attack: Attack) -> None:
    client = ForeignServerClient(await listen(attack))
    started, threads = time.monotonic(), threading.active_count()
    # Where the request has no deadline of its own, this test fails by one, and does not hang.
    async with asyncio.timeout(WITHIN):
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.get("/", {})
    assert time.monotonic() - started < 5 * http.REQUEST_TIMEOUT
    assert threading.active_count() <= threads
    await client.close()


async def test_so_does_one_to_the_operators_own_server(listen: Listen) -> None:
    client = OwnServerClient(await listen(drip_body))
    await asyncio.to_thread(http.load_mlflow)
    async with asyncio.timeout(WITHIN):
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.get("/", {})
    async with asyncio.timeout(5 * http.REQUEST_TIMEOUT):
        while any(thread.name.startswith("registry") for thread in threading.enumerate()):
            await client.close()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("attack", [flood_head, flood_body, answer(b" " * 5_000_000)])
async def test_a_flood_fills_no_memory(tenants: Tenants, listen: Listen, attack: Attack) -> None:
    server = await listen(attack)
    tracemalloc.start()
    try:
        error = await tenants.failure(server)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.reason in (Reason.REGISTRY_ERROR, Reason.REGISTRY_UNREACHABLE)
    assert peak < 16 * 2**20


@pytest.mark.parametrize("make", [ForeignServerClient, OwnServerClient])
async def test_of_an_endless_answer_little_is_read(
    listen: Listen, make: Callable[[str], Client]
) -> None:
    written = 0

    async def flood(writer: Writer) -> None:
        nonlocal written
        writer.write(HEAD + b"\r\n")
        while written < 64 * 2**20:
            writer.write(LONG_LINE)
            written += len(LONG_LINE)
            await writer.drain()

    await asyncio.to_thread(http.load_mlflow)
    client = make(await listen(flood))
    async with asyncio.timeout(WITHIN):
        with pytest.raises(TooLarge, match="larger than 262144 bytes"):
            await client.get("/", {})
    # Besides what is read, it is what the sockets hold.
    assert written < 16 * 2**20
    await client.close()


async def test_a_redirect_of_a_foreign_server_is_not_followed(listen: Listen) -> None:
    reached = []

    async def inside(writer: Writer) -> None:
        reached.append(writer)
        await answer(_wine("7"))(writer)

    async def redirect(writer: Writer) -> None:
        location = f"Location: {target}/\r\n".encode()
        writer.write(b"HTTP/1.1 307 Elsewhere\r\n" + location + b"Content-Length: 0\r\n\r\n")
        await writer.drain()

    target = await listen(inside)
    client = ForeignServerClient(await listen(redirect))
    async with asyncio.timeout(WITHIN):
        assert (await client.get("/", {}))[0] == 307
    assert not reached
    await client.close()


async def test_of_many_aliases_only_the_followed_ones_are_kept(
    tenants: Tenants, listen: Listen
) -> None:
    aliases = [{"alias": f"a{number}", "version": "1"} for number in range(5_000)]
    model = {
        "registered_model": {"aliases": [*aliases, {"alias": "champion", "version": "3"}]},
        "model_version": {"status": "READY"},
    }
    server = await listen(answer(model))
    assert (await tenants.resolve(server)).version == "3"
    gc.collect()
    poller = tenants.registry._pollers[server]
    assert "a4999" not in repr(list(poller._results.values()))


async def test_a_slow_server_holds_up_nobody_else(tenants: Tenants, listen: Listen) -> None:
    slow, good = await listen(drip_head), await listen(answer(_wine("7")))
    for number in range(100):
        with pytest.raises(ResolutionPending):
            await tenants.registry.resolve(Key("tenant", f"{number}"), URI, f"{slow}/{number}")
    started, threads = time.monotonic(), threading.active_count()
    assert (await tenants.resolve(good, Key("others", "wine"))).version == "7"
    assert time.monotonic() - started < http.REQUEST_TIMEOUT * 3
    assert threading.active_count() <= threads


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"registered_model": ' * 20_000,
        b'{"registered_model": {"aliases": 7}}',
        b'{"registered_model": []}',
        b'{"registered_model": {"latest_versions": [{"version": null}]}}',
        b'{"registered_model": {"latest_versions": [{"version": "' + b"9" * 10_000 + b'"}]}}',
        b"1" * 100_000,
        b"\xff\xfe",
        b"null",
        b"",
    ],
    ids=lambda body: body[:24].decode(errors="replace"),
)
async def test_a_lie_is_a_failure_of_that_server_only(
    tenants: Tenants, listen: Listen, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    server = await listen(answer(body))
    error = await tenants.failure(server)
    assert error.reason in (Reason.REGISTRY_ERROR, Reason.ALIAS_NOT_FOUND)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "version", ["1\n- name: x", "../../secrets", "1/../2", "", 3, None, ["1"], "９"]
)
async def test_what_becomes_part_of_a_uri_has_the_form_of_a_version(
    tenants: Tenants, listen: Listen, version: object
) -> None:
    error = await tenants.failure(await listen(answer(_wine(version))))
    assert error.reason == Reason.REGISTRY_ERROR
    assert "secrets" not in error.message


FORGED = "x\n2026-11-28 00:00:00,000 ERROR forged: \x1b[31mline\x1b[0m \x00 " + "y" * 5_000


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("500 Error", {"error_code": "INTERNAL_ERROR", "message": FORGED}),
        ("503 Busy", {"error_code": "TEMPORARILY_UNAVAILABLE", "message": FORGED}),
        ("500 Error", {"error_code": FORGED, "message": FORGED}),
        (
            "200 OK",
            {
                **{"registered_model": {"aliases": [{"alias": "champion", "version": "1"}]}},
                "model_version": {"status": "FAILED_REGISTRATION", "status_message": FORGED},
            },
        ),
        (
            "200 OK",
            {
                **{"registered_model": {"aliases": [{"alias": "champion", "version": "1"}]}},
                "model_version": {"status": FORGED, "status_message": FORGED},
            },
        ),
    ],
)
async def test_words_of_a_server_are_one_short_line(
    tenants: Tenants,
    listen: Listen,
    caplog: pytest.LogCaptureFixture,
    status: str,
    body: dict[str, Any],
) -> None:
    server = await listen(answer(body, status))
    error = await tenants.failure(server)
    for text in (error.message, *(record.getMessage() for record in caplog.records)):
        assert text.isprintable()
        assert len(text) < 600
        assert text.count("y") < 250
    assert "[31m" not in error.message


@pytest.mark.parametrize("body", [b'{"message": "db password is hunter2"}', b"hunter2"])
async def test_only_mlflows_own_errors_are_shown(
    tenants: Tenants, listen: Listen, body: bytes
) -> None:
    error = await tenants.failure(await listen(answer(body, "503 Busy")))
    assert "answered 503 without an error message" in error.message
    assert "hunter2" not in error.message


async def test_cookies_and_credentials_stay_away(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "s3cret")
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = ForeignServerClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    for _ in range(2):
        await client.get("/", {})
    await client.close()
    server.close()
    assert len(heads) == 2
    assert not any(name in head.lower() for head in heads for name in (b"s3cret", b"cookie"))


async def test_the_series_of_a_server_go_with_its_last_resource(
    tenants: Tenants, listen: Listen
) -> None:
    server = await listen(answer(_wine("1")))
    for number in range(50):
        await tenants.resolve(f"{server}/{number}", Key("tenant", f"{number}"))
    await _until(lambda: _series(tenants) >= 50)
    for number in range(50):
        tenants.registry.unsubscribe(Key("tenant", f"{number}"))
    await _until(lambda: _series(tenants) == 0)


def _wine(version: object) -> dict[str, Any]:
    """A registered model, and a version of it, in one answer to both requests."""
    aliases = [{"alias": "champion", "version": version}]
    return {"registered_model": {"aliases": aliases}, "model_version": {"status": "READY"}}


def _series(tenants: Tenants) -> int:
    return tenants.metrics.exposition().decode().count('server="http://127.0.0.1')


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not holds():
            await asyncio.sleep(0.02)
