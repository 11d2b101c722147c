"""The operator's HTTP endpoints: /healthz and /readyz for the kubelet, /metrics for Prometheus."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from mlflow_model_operator.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.Response]]


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
    app.router.add_get("/healthz", _probe(is_alive, "no reconcile has completed recently"))
    app.router.add_get("/readyz", _probe(is_ready, "caches not synced"))
    app.router.add_get("/metrics", _exposition(metrics))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        bound = listener(port)
        await web.SockSite(runner, bound).start()
        yield bound.getsockname()[1]
    finally:
        await runner.cleanup()


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
