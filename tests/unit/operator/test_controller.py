"""The operator starts while the API server does, and serves namespaces in turn."""

from __future__ import annotations

import pytest

from mlflow_model_operator import controller
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.controller import Operator
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.metrics import Metrics
from mlflow_model_operator.settings import Settings

STARTING = ApiError(503, "ServiceUnavailable", "not all known HTTP paths have been installed")
AWAY = ApiError(0, "Unreachable", "connection refused")
FORBIDDEN = ApiError(403, "Forbidden", "no")


class Api:
    """An API server that fails some times before it answers."""

    def __init__(self, *failures: ApiError) -> None:
        self.failures = list(failures)

    async def serves(self, kind: Kind) -> bool:
        if self.failures:
            raise self.failures.pop(0)
        return True


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "CRD_POLL_INTERVAL", 0.0)


async def test_it_waits_for_an_api_server_that_is_starting() -> None:
    api = Api(STARTING, AWAY)
    operator = Operator(Settings(), api, Metrics())  # type: ignore[arg-type]
    assert await operator._serves(kinds.ROUTE)
    assert api.failures == []


async def test_it_does_not_wait_for_rights() -> None:
    operator = Operator(Settings(), Api(FORBIDDEN), Metrics())  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="Forbidden"):
        await operator._serves(kinds.ROUTE)


async def test_namespaces_are_served_in_turn() -> None:
    operator = Operator(Settings(), Api(), Metrics())  # type: ignore[arg-type]
    for number in range(100):
        operator._enqueue(Key("many", f"{number}"))
    operator._enqueue(Key("few", "wine"))
    first = [await operator.queue.get() for _ in range(2)]
    assert [key.namespace for key in first] == ["many", "few"]
