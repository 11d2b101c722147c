"""Starts and stops the operator: settings, connections, leadership, signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from mlflow_model_operator import http, leader_election, logs
from mlflow_model_operator.controller import Operator
from mlflow_model_operator.kube import client
from mlflow_model_operator.kube.client import Cluster
from mlflow_model_operator.metrics import Metrics
from mlflow_model_operator.settings import Settings, SettingsError, from_environment


async def serve(settings: Settings, kubeconfig: str | None = None) -> None:
    """Runs the operator until SIGTERM or SIGINT; leads only while it holds the lease."""
    metrics = Metrics()
    api_client = await client.connect(kubeconfig)
    cluster = Cluster(api_client, observe=metrics.api_request, identity=settings.identity)
    operator = Operator(settings, cluster, metrics)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, operator.stopping.set)
    try:
        async with http.serve(
            settings.http_port,
            metrics,
            is_alive=lambda: operator.is_alive,
            is_ready=lambda: operator.is_ready,
        ):
            await _until_stopped(operator, leader_election.lead(api_client, settings, operator.run))
    finally:
        await cluster.close()


async def _until_stopped(operator: Operator, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work`; on a signal a leader gets some time to end by itself, then it is cancelled."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(operator.stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if operator.leading and not task.done():
        await asyncio.wait({task}, timeout=10)
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """The console script `mlflow-model-operator`."""
    try:
        settings = from_environment()
    except SettingsError as error:
        sys.exit(f"mlflow-model-operator: {error}")
    logs.configure(settings)
    try:
        asyncio.run(serve(settings))
    except leader_election.LeadershipLost as error:
        sys.exit(f"mlflow-model-operator: {error}")


if __name__ == "__main__":
    main()
