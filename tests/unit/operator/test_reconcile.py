"""When a resource is looked at again though nothing happens."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.reconcile import APPLY_RETRY_INTERVAL, requeue_after
from mlflow_model_operator.status import ApplyError
from tests.unit.operator.status.pods import V3, decision, deployment, resource, route, snapshot

ROUTING = {"gateway": {"name": "shared", "namespace": "gateways"}, "hostnames": ["a.example.com"]}
ACCEPTED = {"type": "Accepted", "status": "True"}


@pytest.mark.parametrize("live", [route(), route(ACCEPTED), route(ACCEPTED, generation=2)])
def test_what_a_gateway_says_comes_as_an_event(live: dict[str, Any]) -> None:
    """Its route is watched, and the Gateway itself is looked at by the poller of all."""
    given = snapshot(
        decision(), deployment(V3, ready=1), of=resource(routing=ROUTING), routes=(live,)
    )
    assert requeue_after(given) is None


def test_a_refused_object_is_applied_again() -> None:
    error = ApplyError("Service", "wine", 422, "Invalid", "no")
    given = snapshot(decision(), deployment(V3, ready=1), errors=(error,))
    assert requeue_after(given) == APPLY_RETRY_INTERVAL
