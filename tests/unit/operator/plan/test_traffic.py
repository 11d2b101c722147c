"""Plan and conditions read an HTTPRoute's status alike: whether the traffic has moved."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan.revisions import traffic_applied
from mlflow_model_operator.rollout.state import Weight
from mlflow_model_operator.status.conditions import route_accepted
from tests.unit.operator.status.pods import V3, decision, deployment, resource, snapshot

Json = dict[str, Any]

ROUTING = {"gateway": {"name": "shared", "namespace": "gateways"}, "hostnames": ["a.example.com"]}
SHARED = {"name": "shared", "namespace": "gateways"}
ACCEPTED = {"type": "Accepted", "status": "True", "observedGeneration": 2}
RESOLVED = {"type": "ResolvedRefs", "status": "True", "observedGeneration": 2}
UNRESOLVED = {**RESOLVED, "status": "False", "reason": "BackendNotFound", "message": "wine-4"}


def live_route(conditions: list[Json], ref: Json, revision: str = "wine-3") -> Json:
    return {
        "metadata": {"name": "wine", "namespace": "models", "generation": 2},
        "spec": {"rules": [{"backendRefs": [{"name": revision, "port": 80, "weight": 100}]}]},
        "status": {"parents": [{"parentRef": ref, "conditions": conditions}]},
    }


@pytest.mark.parametrize(
    ("conditions", "ref", "moved", "reason"),
    [
        pytest.param([ACCEPTED, RESOLVED], SHARED, True, "Accepted", id="accepted"),
        pytest.param(
            [ACCEPTED, RESOLVED],
            {"name": "shared", "namespace": "elsewhere"},
            False,
            "WaitingForGateway",
            id="a gateway of the same name in another namespace",
        ),
        pytest.param(
            [{"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "True"}],
            SHARED,
            False,
            "WaitingForGateway",
            id="without observedGeneration",
        ),
        pytest.param(
            [ACCEPTED, UNRESOLVED], SHARED, False, "RouteRefused", id="unresolved references"
        ),
    ],
)
def test_the_traffic_has_moved_only_where_the_condition_says_so(
    conditions: list[Json], ref: Json, moved: bool, reason: str
) -> None:
    given, route = resource(routing=ROUTING), live_route(conditions, ref)
    condition = route_accepted(
        snapshot(decision(), deployment(V3, ready=1), of=given, routes=(route,))
    )
    live = LiveChildren(routes={"wine": route})
    assert condition is not None
    assert (condition.status == "True", condition.reason) == (moved, reason)
    assert traffic_applied(given, live, (Weight("wine-3", 100),)) is moved


def test_a_route_with_other_weights_has_not_moved_the_traffic() -> None:
    route = live_route([ACCEPTED, RESOLVED], SHARED, revision="wine-2")
    live = LiveChildren(routes={"wine": route})
    assert not traffic_applied(resource(routing=ROUTING), live, (Weight("wine-3", 100),))


def test_a_route_that_is_not_there_has_not_moved_the_traffic() -> None:
    traffic = (Weight("wine-3", 100),)
    assert not traffic_applied(resource(routing=ROUTING), LiveChildren(), traffic)
    assert traffic_applied(resource(), LiveChildren(), traffic)
