"""Starts and stops the operator: settings, connections, leadership, signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from mlflow_model_operator import http, leader_election, logs, webhooks
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
    leader = _Leader()
    try:
        async with (
            http.serve(
                settings.http_port,
                metrics,
                is_alive=lambda: operator.is_alive,
                is_ready=lambda: operator.is_ready,
            ),
            _webhooks(settings, operator, leader),
        ):
            work = leader_election.lead(
                api_client, settings, operator.run, on_leader=leader.set_address
            )
            await _until_stopped(operator, work)
    finally:
        await cluster.close()


@dataclass
class _Leader:
    """The replica that leads, where that is another one."""

    address: str | None = None

    def set_address(self, address: str | None) -> None:
        self.address = address


def _webhooks(
    settings: Settings, operator: Operator, leader: _Leader
) -> AbstractAsyncContextManager[int | None]:
    """The endpoint for webhooks, where there is to be one."""
    if settings.webhooks is None:
        return contextlib.nullcontext()
    receiver = webhooks.Receiver(
        settings.webhooks,
        hint=operator.registry.hint,
        is_leading=lambda: operator.leading,
        leader_address=lambda: leader.address,
        observer=operator.metrics,
    )
    return webhooks.serve(receiver)


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
