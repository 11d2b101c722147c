"""What the kubelet and Prometheus ask: /healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from mlflow_model_operator.metrics import Metrics


@asynccontextmanager
async def serve(
    port: int,
    metrics: Metrics,
    *,
    is_alive: Callable[[], bool],
    is_ready: Callable[[], bool],
) -> AsyncIterator[int]:
    """Serves on all addresses while the context lasts; yields the port, which 0 leaves open."""

    async def metrics_page(_: web.Request) -> web.Response:
        return web.Response(
            body=metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    app = web.Application()
    app.router.add_get("/healthz", _probe(is_alive, "no reconcile was completed for too long"))
    app.router.add_get("/readyz", _probe(is_ready, "not ready"))
    app.router.add_get("/metrics", metrics_page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, None, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _probe(is_good: Callable[[], bool], trouble: str) -> Callable[[web.Request], object]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok") if is_good() else web.Response(status=503, text=trouble)

    return answer
