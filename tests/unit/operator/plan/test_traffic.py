"""What requests reach, by the live Service and route: plan and conditions read them alike."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.kube.gateway import ABSENT
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.rollout import LiveRouting, live_routing
from mlflow_model_operator.rollout.routing import REFUSED_ROUTE_TIMEOUT, ROUTE_LAG
from mlflow_model_operator.status.conditions import route_accepted
from tests.unit.operator.status.pods import (
    V3,
    V4,
    decision,
    deployment,
    resource,
    service,
    snapshot,
)

Json = dict[str, Any]

ROUTING = {"gateway": {"name": "shared", "namespace": "gateways"}, "hostnames": ["a.example.com"]}
SHARED = {"name": "shared", "namespace": "gateways"}
ACCEPTED = {"type": "Accepted", "status": "True", "observedGeneration": 2}
RESOLVED = {"type": "ResolvedRefs", "status": "True", "observedGeneration": 2}
UNRESOLVED = {**RESOLVED, "status": "False", "reason": "BackendNotFound", "message": "wine-4"}
LIVE = LiveChildren(deployments={"wine-3": deployment(V3, 1), "wine-4": deployment(V4, 1)})
# As the status records it while requests went to version 3.
STABLE = {"revision": "wine-3", "modelUri": "models:/wine/3", "requestedUri": "models:/wine/3"}
STATUS = {"stable": {**STABLE, "modelVersion": "3"}}


def live_route(conditions: list[Json], ref: Json, revision: str = "wine-3") -> Json:
    return {
        "metadata": {"name": "wine", "namespace": "models", "generation": 2},
        "spec": {
            "parentRefs": [SHARED],
            "rules": [{"backendRefs": [{"name": revision, "port": 80, "weight": 100}]}],
        },
        "status": {"parents": [{"parentRef": ref, "conditions": conditions}]},
    }


def routing(
    live_service: Json | None = None,
    route: Json | None = None,
    accepted_before: list[str] | None = None,
    **given: Any,
) -> LiveRouting:
    """Of two live revisions."""
    status = {**STATUS, "routedRevisions": accepted_before} if accepted_before else STATUS
    live = LiveChildren(
        deployments=LIVE.deployments,
        services={"wine": live_service} if live_service else {},
        routes={"wine": route} if route else {},
    )
    return live_routing(resource(status=status, routing=ROUTING), live, given.get("gateway"))


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
    assert condition is not None
    assert (condition.status == "True", condition.reason) == (moved, reason)
    asked = live_route(conditions, ref, revision="wine-4")
    assert ("wine-4" in routing(route=asked).route) is moved
    assert ("wine-3" in routing(route=asked, accepted_before=["wine-3"]).route) is not moved


@pytest.mark.parametrize(
    ("selector", "reached"),
    [
        ({names.DEPLOYMENT: "wine", names.REVISION: "wine-3"}, {"wine-3"}),
        ({names.DEPLOYMENT: "wine", names.REVISION: "wine-2"}, set()),
        ({names.DEPLOYMENT: "wine"}, {"wine-3", "wine-4"}),
        ({names.DEPLOYMENT: "wine", "app": "edited"}, set()),
        ({}, set()),
    ],
)
def test_a_service_leads_where_its_selector_says(selector: Json, reached: set[str]) -> None:
    given = service("wine")
    given["spec"]["selector"] = selector
    assert routing(given).service == reached
    for name in reached:
        assert routing(given).retention(name) == math.inf


def test_a_route_that_was_never_accepted_leads_nowhere() -> None:
    given = routing(route=live_route([], SHARED, "wine-4"))
    assert given.reached == set()
    assert given.retention("wine-3") == ROUTE_LAG


def test_a_pending_route_leads_where_it_was_accepted_last_without_end() -> None:
    given = routing(route=live_route([], SHARED, "wine-4"), accepted_before=["wine-3"])
    assert given.retention("wine-3") == math.inf


def test_a_refused_route_may_lead_where_it_was_accepted_last_for_a_while() -> None:
    refused = live_route([{**ACCEPTED, "status": "False"}], SHARED, "wine-4")
    given = routing(route=refused, accepted_before=["wine-3"])
    assert given.retention("wine-3") == REFUSED_ROUTE_TIMEOUT


def test_a_gateway_that_is_gone_leads_nowhere_whatever_the_route_still_says() -> None:
    accepted = live_route([ACCEPTED, RESOLVED], SHARED)
    given = routing(route=accepted, accepted_before=["wine-3"], gateway=ABSENT)
    assert given.retention("wine-3") == 0.0


def test_a_route_that_is_not_there_leads_nowhere() -> None:
    assert routing(accepted_before=["wine-3"]).retention("wine-3") == 0.0


def test_a_route_to_a_gateway_that_the_spec_names_no_more_still_leads_there() -> None:
    live = LiveChildren(
        deployments=LIVE.deployments, routes={"wine": live_route([ACCEPTED, RESOLVED], SHARED)}
    )
    assert live_routing(resource(status=STATUS), live, None).route == {"wine-3"}


def test_with_the_status_lost_an_answered_route_may_lead_anywhere() -> None:
    live = LiveChildren(
        deployments=LIVE.deployments, routes={"wine": live_route([UNRESOLVED], SHARED)}
    )
    assert live_routing(resource(routing=ROUTING), live, None).route == {"wine-3", "wine-4"}
