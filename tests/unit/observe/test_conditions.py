"""Conditions of whole situations: which is True, why, and what Ready makes of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from mlflow_model_operator.domain import Condition, ResolutionError
from mlflow_model_operator.observe.conditions import conditions
from mlflow_model_operator.observe.situation import ApplyError, Situation
from mlflow_model_operator.rollout import Phase
from tests.unit.observe.pods import (
    V3,
    V4,
    Json,
    container,
    decision,
    deployment,
    pod,
    resource,
    situation,
)

REPOSITORY = Path(__file__).parents[3]
GATEWAY = {
    "gateway": {"name": "shared", "namespace": "gateways"},
    "hostnames": ["wine.example.com"],
}


def by_type(given: Situation) -> dict[str, Condition]:
    return {one.type: one for one in conditions(given)}


def said(given: Situation, type_: str) -> tuple[str, str]:
    one = by_type(given)[type_]
    return one.status.value, one.reason


def route(*verdicts: Json, generation: int = 1) -> Json:
    parents = [{"conditions": [{"observedGeneration": 1, **one} for one in verdicts]}]
    return {
        "metadata": {"name": "wine", "generation": generation},
        "status": {"parents": parents if verdicts else []},
    }


def test_all_is_well() -> None:
    found = by_type(situation(decision(), deployment(V3, ready=1)))
    assert {name: (one.status.value, one.reason) for name, one in found.items()} == {
        "Ready": ("True", "Ready"),
        "ModelResolved": ("True", "Resolved"),
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("False", "Complete"),
    }


def test_a_first_start() -> None:
    given = situation(decision(phase=Phase.STARTING), deployment(V3))
    assert said(given, "Available") == ("False", "Starting")
    assert said(given, "Progressing") == ("True", "NewRevision")
    assert said(given, "Ready") == ("False", "Starting")


def test_a_new_version_that_fails_while_the_old_one_serves() -> None:
    broken = pod(V4, containerStatuses=[container(terminated={"exitCode": 1, "message": "no"})])
    given = situation(
        decision(V3, target=V4, phase=Phase.UPDATING), deployment(V3, 1), deployment(V4), broken
    )
    assert said(given, "Available") == ("True", "MinimumReplicasAvailable")
    assert said(given, "Progressing") == ("False", "ContainerCrashed")
    assert said(given, "Ready") == ("False", "ContainerCrashed")
    message = by_type(given)["Progressing"].message
    assert "Version 4 does not take over" in message
    assert "Version 3 is still served" in message


def test_an_unreachable_registry_while_a_version_serves() -> None:
    error = ResolutionError("RegistryUnreachable", "The server can't be reached")
    given = situation(decision(), deployment(V3, 1), resolution=error)
    assert said(given, "ModelResolved") == ("False", "RegistryUnreachable")
    assert said(given, "Available")[0] == "True"
    assert said(given, "Ready") == ("False", "RegistryUnreachable")


def test_nothing_was_ever_resolved() -> None:
    given = situation(None, resolution=ResolutionError("ModelNotFound", "no such model"))
    assert said(given, "Available") == ("False", "ModelUnresolved")
    assert said(given, "Ready") == ("False", "ModelNotFound")


def test_draining() -> None:
    given = situation(
        decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0}), deployment(V4, 1)
    )
    assert said(given, "Progressing") == ("True", "Draining")


def test_stopped_by_its_owner() -> None:
    given = situation(decision(phase=Phase.STOPPED), deployment(V3, desired=0))
    assert said(given, "Available") == ("False", "Stopped")


def test_a_public_name_that_is_taken() -> None:
    error = ApplyError("Service", "wine", 422, "NameTaken", "taken")
    given = situation(decision(), deployment(V3, 1), errors=(error,))
    assert said(given, "Available") == ("False", "NameTaken")


ACCEPTED = {"type": "Accepted", "status": "True"}
REFUSED = {
    "type": "Accepted",
    "status": "False",
    "reason": "NoMatchingListenerHostname",
    "message": "no listener",
}


@pytest.mark.parametrize(
    ("live", "exists", "expected"),
    [
        (route(ACCEPTED, {"type": "ResolvedRefs", "status": "True"}), None, ("True", "Accepted")),
        (route(REFUSED), None, ("False", "RouteRefused")),
        (
            route(ACCEPTED, {"type": "ResolvedRefs", "status": "False", "reason": "x"}),
            None,
            ("False", "RouteRefused"),
        ),
        (route(), None, ("False", "WaitingForGateway")),
        (route(), False, ("False", "GatewayNotFound")),
        (route(ACCEPTED, generation=2), None, ("False", "WaitingForGateway")),
    ],
)
def test_what_the_gateway_says(live: Json, exists: bool | None, expected: tuple[str, str]) -> None:
    given = situation(
        decision(),
        deployment(V3, 1),
        of=resource(routing=GATEWAY),
        routes=(live,),
        gateway_exists=exists,
    )
    assert said(given, "RouteAccepted") == expected
    assert said(given, "Ready")[0] == expected[0]


def test_a_cluster_without_the_gateway_api() -> None:
    error = ApplyError("HTTPRoute", "wine", 404, "NotFound", "404 page not found")
    given = situation(decision(), deployment(V3, 1), of=resource(routing=GATEWAY), errors=(error,))
    assert said(given, "RouteAccepted") == ("False", "GatewayApiMissing")


CANARY = {"uri": "models:/wine@challenger", "weight": 10}


@pytest.mark.parametrize(
    ("weight", "ready", "routing", "expected"),
    [
        (10, 1, GATEWAY, ("True", "Applied")),
        (0, 0, GATEWAY, ("False", "CanaryNotReady")),
        (10, 1, {}, ("False", "Approximate")),
    ],
)
def test_how_the_traffic_splits(
    weight: int, ready: int, routing: Json, expected: tuple[str, str]
) -> None:
    given = situation(
        decision(V3, canary=V4, weight=weight),
        deployment(V3, 1),
        deployment(V4, ready),
        of=resource(canary=CANARY, routing=routing),
        canary_resolution=V4.model,
    )
    assert said(given, "TrafficSplit") == expected


def test_an_approximate_split_says_what_was_reached() -> None:
    given = situation(
        decision(V3, canary=V4, weight=10),
        deployment(V3, 2, 2),
        deployment(V4, 1),
        of=resource(canary=CANARY),
        canary_resolution=V4.model,
    )
    assert "Asked for 10 %, reached 33 % (1 of 3 pods)" in by_type(given)["TrafficSplit"].message
    assert said(given, "Ready")[0] == "True"


def test_a_canary_that_means_the_stable_version() -> None:
    given = situation(
        decision(), deployment(V3, 1), of=resource(canary=CANARY), canary_resolution=V3.model
    )
    assert said(given, "CanaryReady") == ("True", "SameVersion")
    assert said(given, "TrafficSplit") == ("False", "SameVersion")
    assert said(given, "Ready")[0] == "True"


def test_every_reason_in_the_code_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", (REPOSITORY / "docs/conditions.md").read_text()))
    undocumented = reasons_in_code() - documented
    assert not undocumented
    assert len(reasons_in_code()) > 30, "the search for reasons has gone blind"


def reasons_in_code() -> set[str]:
    """The constant reasons that the code passes to what makes conditions and failures."""
    package = REPOSITORY / "operator/mlflow_model_operator"
    found: set[str] = set()
    for path in [*package.glob("observe/*.py"), *package.glob("registry/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= _reason(node)
    return found


def _reason(call: ast.Call) -> set[str]:
    place = {"_true": 1, "_false": 1, "Failure": 0, "ResolutionError": 0, "Notice": 0}
    name = getattr(call.func, "id", "")
    if name not in place or len(call.args) <= place[name]:
        return set()
    argument: Any = call.args[place[name]]
    return {str(argument.value)} if isinstance(argument, ast.Constant) else set()
