"""The operator's HTTP endpoints: /healthz and /readyz for the kubelet, /metrics for Prometheus.

Whatever reaches the pod may connect: connections are bounded in number and in time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from mlflow_model_operator.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.Response]]

MAX_CONNECTIONS = 64  # to one port
CONNECTION_TIMEOUT = 15.0  # seconds, for one request and its response


@asynccontextmanager
async def serve(
    port: int, metrics: Metrics, *, is_alive: Callable[[], bool], is_ready: Callable[[], bool]
) -> AsyncIterator[int]:
    """Serves on all addresses while the context lasts; yields the port, which 0 leaves open.

    /healthz asks `is_alive`, which must say whether work was completed lately: a process that is
    there but does nothing is to be restarted. /readyz asks `is_ready`; a standby that waits for
    the lease is ready. Raises OSError where the port is taken.
    """
    app = web.Application()
    app.on_response_prepare.append(_end_connection)
    app.router.add_get("/healthz", _probe(is_alive, "no reconcile has completed recently"))
    app.router.add_get("/readyz", _probe(is_ready, "caches not synced"))
    app.router.add_get("/metrics", _exposition(metrics))
    async with listen(app, port) as bound:
        yield bound


@asynccontextmanager
async def listen(app: web.Application, port: int) -> AsyncIterator[int]:
    """Serves an application on all addresses, with bounded connections; yields the port."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    try:
        bound = listener(port)
        make = _Connections(runner.server)
        server = await asyncio.get_running_loop().create_server(make, sock=bound)
        try:
            yield bound.getsockname()[1]
        finally:
            server.close()
    finally:
        await runner.cleanup()


class _Connections:
    """Makes the protocols of connections: each for a bounded time, and the oldest makes room."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def __call__(self) -> asyncio.Protocol:
        current = [each for each in self._server.connections if not _is_ending(each)]
        for oldest in current[: max(0, len(current) - MAX_CONNECTIONS + 1)]:
            _end(oldest)
        handler = self._server()
        asyncio.get_running_loop().call_later(CONNECTION_TIMEOUT, _end, handler)
        return handler


def _is_ending(connection: web.RequestHandler) -> bool:
    return connection.transport is None or connection.transport.is_closing()


def _end(connection: web.RequestHandler) -> None:
    if connection.transport is not None:
        # Not closed: that would wait for a client that does not read.
        connection.transport.abort()


async def _end_connection(_request: web.Request, response: web.StreamResponse) -> None:
    """Connections have one request each, so that none is ended by its time during another."""
    response.force_close()


def listener(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6, whichever the cluster speaks."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _probe(is_good: Callable[[], bool], trouble: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok") if is_good() else web.Response(status=503, text=trouble)

    return answer


def _exposition(metrics: Metrics) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=metrics.exposition(), headers=headers)

    return answer
