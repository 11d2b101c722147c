"""When a resource is looked at again though nothing happens."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.reconcile import APPLY_RETRY_INTERVAL, GATEWAY_TIMEOUT, requeue_after
from mlflow_model_operator.status import ApplyError
from tests.unit.operator.status.pods import V3, decision, deployment, resource, route, snapshot

ROUTING = {"gateway": {"name": "shared", "namespace": "gateways"}, "hostnames": ["a.example.com"]}
ACCEPTED = {"type": "Accepted", "status": "True"}
RESOLVED = {"type": "ResolvedRefs", "status": "True"}
REFUSED = {**ACCEPTED, "status": "False", "reason": "NotAllowedByListeners"}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (route(ACCEPTED, RESOLVED), None),
        (route(REFUSED, RESOLVED), None),
        (route(), GATEWAY_TIMEOUT),
        # What is said of an older generation, or by another Gateway, is no answer.
        (route(ACCEPTED, RESOLVED, generation=2), GATEWAY_TIMEOUT),
        (route(ACCEPTED, RESOLVED, gateway="another"), GATEWAY_TIMEOUT),
    ],
)
def test_a_route_that_its_gateway_has_not_answered_is_looked_at_again(
    live: dict[str, Any], expected: float | None
) -> None:
    given = snapshot(
        decision(), deployment(V3, ready=1), of=resource(routing=ROUTING), routes=(live,)
    )
    assert requeue_after(given) == expected


def test_without_gateway_a_route_does_not_matter() -> None:
    assert requeue_after(snapshot(decision(), deployment(V3, ready=1), routes=(route(),))) is None


def test_a_refused_object_is_applied_again() -> None:
    error = ApplyError("Service", "wine", 422, "Invalid", "no")
    given = snapshot(decision(), deployment(V3, ready=1), errors=(error,))
    assert requeue_after(given) == APPLY_RETRY_INTERVAL
