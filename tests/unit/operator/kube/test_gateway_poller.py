"""Gateways are looked at once for all who name them, and ever less often while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import gateway_poller
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.gateway import ABSENT, GatewayState, gateway_state
from mlflow_model_operator.kube.gateway_poller import GatewayPoller
from mlflow_model_operator.kube.kinds import Kind

Json = dict[str, Any]
WINE, BEER = Key("models", "wine"), Key("models", "beer")
SHARED, OTHER = Key("gateways", "shared"), Key("gateways", "other")


def gateway(*conditions: Json, generation: int = 1, class_name: str = "eg") -> Json:
    return {
        "metadata": {"name": "shared", "generation": generation},
        "spec": {"gatewayClassName": class_name},
        "status": {"conditions": list(conditions)},
    }


def programmed(status: str = "True", generation: int = 1, message: str = "") -> Json:
    return {
        "type": "Programmed",
        "status": status,
        "observedGeneration": generation,
        "message": message,
    }


class Cluster:
    """Gateways by their keys, or an error for all; counts the requests."""

    def __init__(self) -> None:
        self.gateways: dict[Key, Json] = {}
        self.error: ApiError | None = None
        self.requests: list[Key] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        self.requests.append(Key(namespace, name))
        if self.error:
            raise self.error
        return self.gateways.get(Key(namespace, name))


class Polling:
    """A poller whose seconds are thousandths."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.changed: list[Key] = []
        self.poller = GatewayPoller(self.cluster, self.changed.append)  # type: ignore[arg-type]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poller.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def until_changed(self, *keys: Key) -> None:
        async with asyncio.timeout(10):
            while not set(keys) <= set(self.changed):
                await asyncio.sleep(0.001)
        self.changed.clear()


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> Polling:
    monkeypatch.setattr(gateway_poller, "MIN_INTERVAL", 0.005)
    monkeypatch.setattr(gateway_poller, "MAX_INTERVAL", 0.06)
    return Polling()


@pytest.mark.parametrize(
    ("live", "is_programmed", "obstacle"),
    [
        (gateway(programmed()), True, None),
        (gateway(), False, ""),
        (gateway(programmed("False", message="No addresses")), False, "No addresses"),
        # Its class has changed, and nobody serves the new one.
        (gateway(programmed(), generation=2, class_name="nosuch"), False, ""),
    ],
)
def test_whether_a_gateway_serves(live: Json, is_programmed: bool, obstacle: str | None) -> None:
    state = gateway_state(live)
    assert (state.exists, state.is_programmed, state.obstacle) == (True, is_programmed, obstacle)


async def test_one_look_serves_all_who_name_a_gateway(polling: Polling) -> None:
    polling.cluster.gateways[SHARED] = gateway(programmed())
    for key in (WINE, BEER):
        assert polling.poller.subscribe(key, SHARED) is None
    async with polling.running():
        await polling.until_changed(WINE, BEER)
    assert polling.cluster.requests[0] == SHARED
    assert polling.poller.subscribe(WINE, SHARED) == gateway_state(gateway(programmed()))


async def test_it_is_looked_at_less_and_less_often_until_it_changes(polling: Polling) -> None:
    polling.poller.subscribe(WINE, SHARED)
    async with polling.running():
        await polling.until_changed(WINE)
        assert polling.poller.subscribe(WINE, SHARED) == ABSENT
        await asyncio.sleep(0.5)
        looks = len(polling.cluster.requests)
        assert looks < 0.5 / 0.06 + 8  # not the hundred of every five thousandths
        polling.cluster.gateways[SHARED] = gateway(programmed())
        await polling.until_changed(WINE)
        del polling.cluster.gateways[SHARED]
        await polling.until_changed(WINE)
    assert polling.poller.subscribe(WINE, SHARED) == ABSENT


async def test_a_gateway_that_is_named_later_is_looked_at_at_once(polling: Polling) -> None:
    polling.poller.subscribe(WINE, SHARED)
    async with polling.running():
        await polling.until_changed(WINE)
        polling.poller.subscribe(BEER, OTHER)
        await polling.until_changed(BEER)


async def test_who_names_another_or_none_is_not_notified_any_more(polling: Polling) -> None:
    polling.poller.subscribe(WINE, SHARED)
    polling.poller.subscribe(WINE, OTHER)
    polling.poller.subscribe(BEER, OTHER)
    polling.poller.subscribe(BEER, None)
    async with polling.running():
        await polling.until_changed(WINE)
    assert set(polling.cluster.requests) == {OTHER}


@pytest.mark.parametrize(("status", "expected"), [(403, None), (500, ABSENT), (0, ABSENT)])
async def test_what_cannot_be_looked_at_is_unknown_or_as_it_was(
    polling: Polling, status: int, expected: GatewayState | None
) -> None:
    polling.poller.subscribe(WINE, SHARED)
    async with polling.running():
        await polling.until_changed(WINE)
        polling.cluster.error = ApiError(status, "No", "not now")
        await asyncio.sleep(0.2)
    assert polling.poller.subscribe(WINE, SHARED) == expected
