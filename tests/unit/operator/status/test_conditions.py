"""Conditions of whole situations: which is True, why, and what Ready makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlflow_model_operator.api.model_version import ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.gateway import GatewayState, gateway_state
from mlflow_model_operator.rollout import Phase
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.condition import Condition
from mlflow_model_operator.status.conditions import conditions
from mlflow_model_operator.status.snapshot import ApplyError, NameConflict, Snapshot
from tests.unit.operator.status.pods import (
    V3,
    V4,
    Json,
    container,
    decision,
    deployment,
    pod,
    resource,
    route,
    service,
    snapshot,
)

GATEWAY = {
    "gateway": {"name": "shared", "namespace": "gateways"},
    "hostnames": ["wine.example.com"],
}


def by_type(given: Snapshot) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions(given)}


def said(given: Snapshot, type_: str) -> tuple[str, str]:
    condition = by_type(given)[type_]
    return condition.status.value, condition.reason


def test_all_is_well() -> None:
    by_name = by_type(snapshot(decision(), deployment(V3, ready=1)))
    assert {name: (c.status.value, c.reason) for name, c in by_name.items()} == {
        "Ready": ("True", "Ready"),
        "ModelResolved": ("True", "Resolved"),
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("False", "Complete"),
    }


def test_a_first_start() -> None:
    given = snapshot(decision(phase=Phase.STARTING), deployment(V3))
    assert said(given, "Available") == ("False", "Starting")
    assert said(given, "Progressing") == ("True", "NewRevision")
    assert said(given, "Ready") == ("False", "Starting")


def test_a_new_version_that_fails_while_the_old_version_serves() -> None:
    broken = pod(V4, containerStatuses=[container(terminated={"exitCode": 1, "message": "no"})])
    given = snapshot(
        decision(V3, target=V4, phase=Phase.UPDATING), deployment(V3, 1), deployment(V4), broken
    )
    assert said(given, "Available") == ("True", "MinimumReplicasAvailable")
    assert said(given, "Progressing") == ("False", "ContainerCrashed")
    assert said(given, "Ready") == ("False", "ContainerCrashed")
    message = by_type(given)["Progressing"].message
    assert "Version 4 does not take over" in message
    assert "Version 3 is still served" in message


def test_an_unreachable_registry_while_a_version_serves() -> None:
    error = ResolutionError(Reason.REGISTRY_UNREACHABLE, "The server can't be reached")
    given = snapshot(decision(), deployment(V3, 1), resolution=error)
    assert said(given, "ModelResolved") == ("False", "RegistryUnreachable")
    assert said(given, "Available")[0] == "True"
    assert said(given, "Ready") == ("True", "RegistryUnreachable")


def test_nothing_was_ever_resolved() -> None:
    given = snapshot(None, resolution=ResolutionError(Reason.MODEL_NOT_FOUND, "no such model"))
    assert said(given, "Available") == ("False", "ModelUnresolved")
    assert said(given, "Ready") == ("False", "ModelNotFound")


def test_draining() -> None:
    given = snapshot(
        decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0}), deployment(V4, 1)
    )
    assert said(given, "Progressing") == ("True", "Draining")


def test_stopped_by_its_owner() -> None:
    given = snapshot(decision(phase=Phase.STOPPED), deployment(V3, desired=0))
    assert said(given, "Available") == ("False", "Stopped")
    assert said(given, "Ready") == ("True", "Stopped")
    assert not {"Reconciling", "Stalled"} & by_type(given).keys()


def test_a_public_name_that_belongs_to_somebody_else() -> None:
    error = NameConflict("Service", "wine")
    given = snapshot(decision(), deployment(V3, 1), errors=(error,))
    assert said(given, "Available") == ("False", "NameTaken")


ACCEPTED = {"type": "Accepted", "status": "True"}
REFUSED = {
    "type": "Accepted",
    "status": "False",
    "reason": "NoMatchingListenerHostname",
    "message": "no listener",
}


UNKNOWN, ABSENT = None, gateway_state(None)
UNPROGRAMMED = GatewayState(class_name="eg", obstacle="No addresses")
PROGRAMMED = GatewayState(class_name="eg", obstacle=None)
RESOLVED = {"type": "ResolvedRefs", "status": "True"}


@pytest.mark.parametrize(
    ("live", "gateway", "expected"),
    [
        (
            route(ACCEPTED, {"type": "ResolvedRefs", "status": "True"}),
            UNKNOWN,
            ("True", "Accepted"),
        ),
        (route(REFUSED), UNKNOWN, ("False", "RouteRefused")),
        (
            route(ACCEPTED, {"type": "ResolvedRefs", "status": "False", "reason": "x"}),
            UNKNOWN,
            ("False", "RouteRefused"),
        ),
        (route(ACCEPTED, RESOLVED), PROGRAMMED, ("True", "Accepted")),
        # What is said of the route does not outlive its Gateway, nor come before it.
        (route(ACCEPTED, RESOLVED), ABSENT, ("False", "GatewayNotFound")),
        (route(ACCEPTED, RESOLVED), UNPROGRAMMED, ("False", "GatewayNotProgrammed")),
        (route(), UNPROGRAMMED, ("False", "GatewayNotProgrammed")),
        (route(REFUSED), UNPROGRAMMED, ("False", "RouteRefused")),
        (route(), UNKNOWN, ("False", "WaitingForGateway")),
        (route(), ABSENT, ("False", "GatewayNotFound")),
        (route(ACCEPTED, generation=2), UNKNOWN, ("False", "WaitingForGateway")),
        (route(ACCEPTED, gateway="another"), UNKNOWN, ("False", "WaitingForGateway")),
        (route({**REFUSED, "reason": "Pending"}), UNKNOWN, ("False", "WaitingForGateway")),
        (route({**ACCEPTED, "status": "Unknown"}), UNKNOWN, ("False", "WaitingForGateway")),
    ],
)
def test_the_gateways_answer(
    live: Json, gateway: GatewayState | None, expected: tuple[str, str]
) -> None:
    given = snapshot(
        decision(),
        deployment(V3, 1),
        of=resource(routing=GATEWAY),
        routes=(live,),
        gateway=gateway,
    )
    assert said(given, "RouteAccepted") == expected
    assert said(given, "Ready")[0] == expected[0]


def test_a_cluster_without_the_gateway_api() -> None:
    error = ApplyError("HTTPRoute", "wine", 404, "NotFound", "404 page not by_name")
    given = snapshot(decision(), deployment(V3, 1), of=resource(routing=GATEWAY), errors=(error,))
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
    given = snapshot(
        decision(V3, canary=V4, weight=weight),
        deployment(V3, 1),
        deployment(V4, ready),
        of=resource(canary=CANARY, routing=routing),
        canary_resolution=V4.model,
    )
    assert said(given, "TrafficSplit") == expected


def test_an_approximate_split_reports_the_actual_share() -> None:
    given = snapshot(
        decision(V3, canary=V4, weight=10),
        deployment(V3, 2, 2),
        deployment(V4, 1),
        of=resource(canary=CANARY),
        canary_resolution=V4.model,
    )
    assert "Requested 10 %, actual 33 % (1 of 3 pods)" in by_type(given)["TrafficSplit"].message
    assert said(given, "Ready")[0] == "True"


def test_a_canary_that_means_the_stable_version() -> None:
    given = snapshot(
        decision(), deployment(V3, 1), of=resource(canary=CANARY), canary_resolution=V3.model
    )
    assert said(given, "CanaryReady") == ("True", "SameVersion")
    assert said(given, "TrafficSplit") == ("False", "SameVersion")
    assert said(given, "Ready")[0] == "True"


def test_a_canary_whose_uri_lost_its_meaning_keeps_its_share() -> None:
    given = snapshot(
        decision(V3, canary=V4, weight=10),
        deployment(V3, 1),
        deployment(V4, 1),
        of=resource(canary=CANARY, routing=GATEWAY),
        canary_resolution=ResolutionError(Reason.ALIAS_NOT_FOUND, "no alias challenger"),
    )
    assert said(given, "CanaryReady") == ("False", "AliasNotFound")
    assert "Version 4 remains the canary" in by_type(given)["CanaryReady"].message
    assert said(given, "TrafficSplit") == ("True", "Applied")


def test_a_canary_beside_nothing_is_not_ready() -> None:
    given = snapshot(
        None,
        of=resource(canary=CANARY),
        resolution=ResolutionError(Reason.MODEL_NOT_FOUND, "no"),
        canary_resolution=V4.model,
    )
    assert said(given, "CanaryReady") == ("False", "ModelUnresolved")
    assert said(given, "TrafficSplit") == ("False", "CanaryNotReady")


def test_a_stopped_resource_has_a_stopped_canary() -> None:
    given = snapshot(
        decision(V3, canary=V4, phase=Phase.STOPPED),
        deployment(V3, desired=0),
        deployment(V4, desired=0),
        of=resource(canary=CANARY),
        canary_resolution=V4.model,
    )
    assert said(given, "CanaryReady") == ("False", "Stopped")
    assert said(given, "Ready") == ("True", "Stopped")


def test_a_share_that_no_gateway_has_accepted_yet_says_so() -> None:
    given = snapshot(
        decision(V3, canary=V4, weight=10),
        deployment(V3, 1),
        deployment(V4, 1),
        of=resource(canary=CANARY, routing=GATEWAY),
        canary_resolution=V4.model,
        routes=(route(),),
    )
    assert "see condition RouteAccepted" in by_type(given)["TrafficSplit"].message


# An autoscaler at work


def test_an_autoscaler_that_adds_a_pod_is_no_outage_and_no_change() -> None:
    scaled = deployment(V3, ready=1, desired=2)
    # The Deployment controller has not seen the new number yet.
    scaled["metadata"]["generation"] = 2
    given = snapshot(decision(), scaled, of=resource(scaling={"minReplicas": 1, "maxReplicas": 3}))
    assert said(given, "Available") == ("True", "MinimumReplicasAvailable")
    assert said(given, "Progressing") == ("False", "Complete")
    assert said(given, "Ready") == ("True", "Ready")


def test_fewer_pods_than_the_spec_asks_for_are_a_change_under_way() -> None:
    given = snapshot(
        decision(), deployment(V3, ready=1, desired=3), of=resource(scaling={"minReplicas": 3})
    )
    assert said(given, "Available")[0] == "True"
    assert said(given, "Progressing") == ("True", "NewRevision")
    assert "1 of 3 pods ready" in by_type(given)["Progressing"].message


def test_a_pod_that_an_autoscaler_can_not_add_is_reported() -> None:
    quota = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": 'pods "wine-3-x" is forbidden: exceeded quota: tight, requested: pods=1',
    }
    given = snapshot(
        decision(),
        deployment(V3, ready=1, desired=2, conditions=[quota]),
        of=resource(scaling={"minReplicas": 1, "maxReplicas": 3}),
    )
    assert said(given, "Available")[0] == "True"
    assert said(given, "Progressing") == ("False", "QuotaExceeded")


# Objects that the API server refuses


@pytest.mark.parametrize(
    ("kind", "name", "type_"),
    [
        ("HorizontalPodAutoscaler", "wine-3", "Progressing"),
        ("PodDisruptionBudget", "wine-3", "Progressing"),
        ("Service", "wine", "Progressing"),
        ("HTTPRoute", "wine", "RouteAccepted"),
    ],
)
def test_a_refused_object_is_reported_while_the_pods_serve(
    kind: str, name: str, type_: str
) -> None:
    given = snapshot(
        decision(),
        deployment(V3, ready=1),
        service("wine"),
        of=resource(routing=GATEWAY),
        errors=(ApplyError(kind, name, 422, "Invalid", "spec.metrics[0]: Required value"),),
        routes=(route(ACCEPTED),),
    )
    assert said(given, "Available")[0] == "True"
    assert said(given, type_) == ("False", "ApplyRefused")
    assert said(given, "Ready") == ("False", "ApplyRefused")
    assert f"{kind} {name}: spec.metrics[0]: Required value" in by_type(given)[type_].message


def test_a_canarys_refused_object_is_the_canarys_trouble() -> None:
    given = snapshot(
        decision(V3, canary=V4),
        deployment(V3, ready=1),
        of=resource(canary=CANARY),
        canary_resolution=V4.model,
        errors=(ApplyError("Deployment", "wine-4", 422, "Invalid", "no"),),
    )
    assert said(given, "Progressing") == ("False", "Complete")
    assert said(given, "CanaryReady") == ("False", "ApplyRefused")


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (422, "Deployment is invalid: spec.template: no", "Correct the field of spec"),
        (
            403,
            'admission webhook "validate.kyverno.svc" denied the request: no',
            "Correct spec as the webhook requires",
        ),
        (
            403,
            'deployments.apps "wine-3" is forbidden: User "system:serviceaccount:a:b" cannot patch '
            'resource "deployments" in API group "apps" in the namespace "models"',
            "Grant the operator's ServiceAccount this permission",
        ),
        (
            403,
            "unable to create new content in namespace models because it is being terminated",
            "Check that the namespace exists",
        ),
    ],
)
def test_a_refusal_comes_with_a_remedy(status: int, message: str, remedy: str) -> None:
    error = ApplyError("Deployment", "wine-3", status, "x", message)
    given = snapshot(decision(), errors=(error,))
    assert said(given, "Available") == ("False", "ApplyRefused")
    assert remedy in by_type(given)["Available"].message


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("NotAllowedByListeners", "Allow routes from namespace models"),
        ("NoMatchingListenerHostname", "Set spec.routing.hostnames"),
        ("NoMatchingParent", "HTTP listener"),
        ("SomethingNew", "Correct spec.routing"),
    ],
)
def test_a_refused_route_comes_with_the_gateways_words_and_a_remedy(why: str, remedy: str) -> None:
    given = snapshot(
        decision(),
        deployment(V3, 1),
        of=resource(routing=GATEWAY),
        routes=(route({**REFUSED, "reason": why, "message": "its own {words}"}),),
    )
    message = by_type(given)["RouteAccepted"].message
    assert f"Route refused by Gateway gateways/shared ({why}): its own {{words}}" in message
    assert remedy in message
    assert "spec.routing" in message


# Python versions

OLD_PYTHON = Revision("wine-5", replace(V3.model, python_version="3.9.1"))


@pytest.mark.parametrize(
    ("versions", "server", "expected"),
    [
        (("3.11", "3.12"), {}, "logged with Python 3.9.1 and runs with Python 3.11"),
        (("3.11", "3.9"), {}, None),
        (("3.11",), {"image": "registry.example.com/wine:1"}, None),
        ((), {}, None),
    ],
)
def test_a_model_of_another_python_than_the_image_says_so(
    versions: tuple[str, ...], server: Json, expected: str | None
) -> None:
    given = snapshot(
        decision(OLD_PYTHON),
        deployment(OLD_PYTHON, 1),
        of=resource(server=server),
        resolution=OLD_PYTHON.model,
        scoring_python_versions=versions,
    )
    assert said(given, "ModelResolved") == ("True", "Resolved")
    assert said(given, "Ready") == ("True", "Ready")
    message = by_type(given)["ModelResolved"].message
    assert message.startswith("models:/wine@champion resolves to models:/wine/3")
    assert "Python" not in message if expected is None else expected in message
    assert ("chart value scoringImages" in message) == (expected is not None)


# What the Service and the route lead to


def test_what_is_still_reached_is_available_and_the_traffic_is_moving() -> None:
    """The Service could not be changed: the new revision is ready, and gets nothing."""
    refused = ApplyError("Service", "wine", 403, "Forbidden", "change freeze")
    given = snapshot(
        decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0}),
        deployment(V3, 1),
        deployment(V4, 1),
        service("wine", "wine-3"),
        errors=(refused,),
        draining=(V3,),
    )
    assert said(given, "Available") == ("True", "MinimumReplicasAvailable")
    assert by_type(given)["Available"].message == "Version 3 is served by 1 pod"
    assert said(given, "Progressing") == ("False", "ApplyRefused")
    assert said(replace(given, apply_errors=()), "Progressing") == ("True", "MovingTraffic")


def test_a_service_that_leads_nowhere_is_no_availability() -> None:
    given = snapshot(decision(), deployment(V3, 1), service("wine", "wine-2"))
    assert said(given, "Available")[0] == "False"


def test_each_revision_that_the_gateway_leads_to_must_answer() -> None:
    given = snapshot(
        decision(V3, canary=V4, weight=50),
        deployment(V3, 1),
        deployment(V4, 0),
        service("wine", "wine-3"),
        of=resource(canary=CANARY, routing=GATEWAY),
        canary_resolution=V4.model,
        routes=(route(ACCEPTED, RESOLVED, wine_3=50, wine_4=50),),
    )
    assert said(given, "Available") == ("False", "Starting")
    assert "Version 4" in by_type(given)["Available"].message


def test_a_serving_deployment_that_is_gone_is_named() -> None:
    given = snapshot(decision(V3, target=V4, phase=Phase.UPDATING), deployment(V4))
    assert said(given, "Available") == ("False", "RevisionMissing")
    assert "Deployment wine-3 of version 3" in by_type(given)["Available"].message


def test_ready_names_the_route_and_not_that_its_old_revision_waits_for_it() -> None:
    given = snapshot(
        decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0}),
        deployment(V3, 1),
        deployment(V4, 1),
        of=resource(routing=GATEWAY),
        routes=(route(),),
        draining=(V3,),
    )
    assert said(given, "Progressing") == ("True", "Draining")
    assert said(given, "Ready") == ("False", "WaitingForGateway")


@pytest.mark.parametrize(
    ("namespace", "who"),
    [("models", "MLflowModelDeployment beer"), ("secret", "of another namespace")],
)
def test_who_has_the_host_name_is_named_to_neighbours_only(namespace: str, who: str) -> None:
    given = snapshot(
        decision(),
        deployment(V3, 1),
        of=resource(routing=GATEWAY),
        rivals={"wine.example.com": Key(namespace, "beer")},
    )
    assert said(given, "RouteAccepted") == ("False", "HostnameTaken")
    message = by_type(given)["RouteAccepted"].message
    assert "Host name wine.example.com of Gateway gateways/shared with path /" in message
    assert who in message
    assert "secret" not in message


def test_an_update_of_the_operators_making_that_waits_is_no_trouble() -> None:
    given = snapshot(decision(), deployment(V3, 1), is_deferred=True)
    assert said(given, "Ready") == ("True", "Ready")
    assert "maxTemplateUpdates" in by_type(given)["Progressing"].message


@pytest.mark.parametrize(
    ("stable", "canary", "weight", "expected"),
    [
        (1, 1, 0, ("False", "UpdateInProgress")),
        (1, 0, 0, ("False", "CanaryNotReady")),
        (0, 1, 100, ("False", "StableNotReady")),
    ],
)
def test_why_the_canary_has_another_weight(
    stable: int, canary: int, weight: int, expected: tuple[str, str]
) -> None:
    given = snapshot(
        decision(V3, canary=V4, weight=weight),
        deployment(V3, stable),
        deployment(V4, canary),
        of=resource(canary=CANARY),
        canary_resolution=V4.model,
    )
    assert said(given, "TrafficSplit") == expected
