"""Ready, Reconciling and Stalled: who has to act, and whether Git is to blame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.kube.objects import format_time
from mlflow_model_operator.rollout import Phase
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status import (
    ApplyError,
    Snapshot,
    grace_ends_after,
    invalid_status,
    status,
)
from mlflow_model_operator.status.summary import GRACE_PERIOD
from tests.unit.operator.status.pods import (
    NOW,
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

GENERATION = 7  # of pods.resource
UNREACHABLE = ResolutionError(Reason.REGISTRY_UNREACHABLE, "The server can't be reached")
STUCK = pod(V4, containerStatuses=[container(terminated={"exitCode": 1, "message": "no"})])
UNSCHEDULABLE = pod(
    V3,
    conditions=[
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient memory.",
        }
    ],
)


def summed_up(given: Snapshot) -> dict[str, tuple[str, str]]:
    """Status and reason of the conditions that sum up."""
    return {
        entry["type"]: (entry["status"], entry["reason"])
        for entry in status(given)["conditions"]
        if entry["type"] in ("Ready", "Reconciling", "Stalled")
    }


def recorded(trigger: str, target: str = "wine-4", generation: int = GENERATION) -> Json:
    """The status of a rollout to version 4 that was triggered so."""
    stable = {
        "revision": "wine-3",
        "modelVersion": "3",
        "modelUri": "models:/wine/3",
        "requestedUri": "models:/wine@champion",
    }
    newer = {**stable, "revision": target, "modelVersion": "4", "modelUri": "models:/wine/4"}
    return {
        "observedGeneration": generation,
        "stable": stable,
        "target": newer,
        "rollout": {"phase": "Updating", "revision": target, "trigger": trigger},
    }


def updating(trigger: str, *objects: Json, **of: Any) -> Snapshot:
    return snapshot(
        decision(V3, target=V4, phase=Phase.UPDATING),
        deployment(V3, 1),
        deployment(V4),
        *objects,
        of=resource(recorded(trigger, **of)),
    )


def test_a_start_is_worth_waiting_for() -> None:
    given = snapshot(decision(phase=Phase.STARTING), deployment(V3))
    assert summed_up(given) == {
        "Ready": ("False", "Starting"),
        "Reconciling": ("True", "Starting"),
    }


def test_what_is_served_is_ready_and_no_more() -> None:
    assert summed_up(snapshot(decision(), deployment(V3, 1))) == {"Ready": ("True", "Ready")}


@pytest.mark.parametrize("trigger", ["Spec", "Start"])
def test_an_update_from_git_that_fails_is_stalled(trigger: str) -> None:
    assert summed_up(updating(trigger, STUCK)) == {
        "Ready": ("False", "ContainerCrashed"),
        "Stalled": ("True", "ContainerCrashed"),
    }


def test_an_update_from_git_is_worth_waiting_for() -> None:
    assert summed_up(updating("Spec"))["Reconciling"] == ("True", "NewRevision")


@pytest.mark.parametrize("trigger", ["Registry", "Operator"])
def test_an_update_from_outside_leaves_it_ready(trigger: str) -> None:
    assert summed_up(updating(trigger)) == {"Ready": ("True", "NewRevision")}
    assert summed_up(updating(trigger, STUCK)) == {"Ready": ("True", "ContainerCrashed")}


def pending(seconds: float | None) -> list[Json]:
    """The recorded condition of a route that waits for its gateway for so long."""
    if seconds is None:
        return []
    since = format_time(NOW - seconds)
    reason = "WaitingForGateway"
    return [
        {"type": "RouteAccepted", "status": "False", "reason": reason, "lastTransitionTime": since}
    ]


@pytest.mark.parametrize(
    ("trigger", "seconds", "ready"),
    [
        ("Registry", None, ("True", "NewRevision")),
        ("Registry", GRACE_PERIOD - 10, ("True", "NewRevision")),
        ("Registry", GRACE_PERIOD, ("False", "WaitingForGateway")),
        ("Spec", None, ("False", "NewRevision")),
    ],
)
def test_a_gateway_that_has_yet_to_follow_an_update_from_outside_leaves_it_ready(
    trigger: str, seconds: float | None, ready: tuple[str, str]
) -> None:
    routing = {"gateway": {"name": "shared", "namespace": "gateways"}, "hostnames": ["a.example"]}
    given = snapshot(
        decision(V3, target=V4, phase=Phase.UPDATING),
        deployment(V3, 1),
        deployment(V4),
        service("wine", "wine-3"),
        of=resource({**recorded(trigger), "conditions": pending(seconds)}, routing=routing),
        routes=(route(generation=2, wine_3=100, wine_4=0),),
    )
    parts = {entry["type"]: entry["reason"] for entry in status(given)["conditions"]}
    assert parts["RouteAccepted"] == "WaitingForGateway"
    assert parts["Available"] == "MinimumReplicasAvailable"
    assert summed_up(given)["Ready"] == ready
    if seconds == GRACE_PERIOD - 10:
        assert grace_ends_after(status(given)["conditions"], NOW) == 10


def test_an_update_from_outside_is_no_excuse_for_an_outage() -> None:
    given = snapshot(
        decision(V3, target=V4, phase=Phase.UPDATING),
        deployment(V3, 0),
        deployment(V4),
        of=resource(recorded("Registry")),
    )
    assert summed_up(given)["Ready"] == ("False", "Starting")


def test_a_spec_that_asks_for_the_stuck_version_by_name_is_to_blame() -> None:
    before = recorded("Registry", generation=GENERATION - 1)
    before["target"]["requestedUri"] = "models:/wine@challenger"
    given = snapshot(
        decision(V3, target=V4, phase=Phase.UPDATING),
        deployment(V3, 1),
        deployment(V4),
        STUCK,
        of=resource(before),
    )
    assert summed_up(given)["Stalled"] == ("True", "ContainerCrashed")
    assert status(given)["rollout"]["trigger"] == "Spec"


def test_a_registry_that_goes_away_leaves_it_ready() -> None:
    given = snapshot(decision(), deployment(V3, 1), resolution=UNREACHABLE)
    assert summed_up(given) == {"Ready": ("True", "RegistryUnreachable")}


@pytest.mark.parametrize(
    "model",
    [
        {"uri": "models:/wine@other"},
        {"uri": "models:/wine@champion", "trackingUri": "http://elsewhere"},
    ],
)
def test_another_uri_or_server_that_does_not_answer_is_from_git(model: Json) -> None:
    given = snapshot(
        decision(), deployment(V3, 1), resolution=UNREACHABLE, of=resource(model=model)
    )
    assert summed_up(given)["Reconciling"] == ("True", "RegistryUnreachable")


def test_a_stopped_resource_is_as_it_should_be() -> None:
    given = snapshot(decision(phase=Phase.STOPPED), deployment(V3, desired=0))
    assert summed_up(given) == {"Ready": ("True", "Stopped")}


CANARY: dict[str, Any] = {"uri": "models:/wine@challenger", "weight": 10}
V5 = Revision("wine-5", ModelVersion(CANARY["uri"], "models:/wine/5", "5", "http://m"))


def with_canary(generation: int, **before: Any) -> Snapshot:
    """A canary that starts where the status has another one, or the same."""
    entry = {
        "revision": "wine-4",
        "modelVersion": "4",
        "modelUri": "models:/wine/4",
        "requestedUri": CANARY["uri"],
        **before,
    }
    return snapshot(
        decision(V3, canary=V5),
        deployment(V3, 1),
        deployment(V5),
        of=resource({"observedGeneration": generation, "canary": entry}, canary=CANARY),
        canary_resolution=V5.model,
    )


@pytest.mark.parametrize(
    ("generation", "before", "trigger"),
    [
        (GENERATION, {}, "Registry"),
        (GENERATION, {"modelUri": "models:/wine/5"}, "Operator"),
        (GENERATION, {"revision": "wine-5", "trigger": "Registry"}, "Registry"),
        (GENERATION, {"revision": "wine-5", "trigger": "Spec"}, "Spec"),
        (GENERATION, {"revision": "wine-5"}, "Spec"),
        (GENERATION - 1, {}, "Spec"),
        (GENERATION - 1, {"revision": "wine-5", "trigger": "Registry"}, "Registry"),
        (GENERATION - 1, {"revision": "wine-5", "requestedUri": "models:/wine@x"}, "Spec"),
    ],
)
def test_a_canary_from_outside_leaves_it_ready(generation: int, before: Json, trigger: str) -> None:
    given = with_canary(generation, **before)
    assert status(given)["canary"]["trigger"] == trigger
    assert summed_up(given)["Ready"] == ("False" if trigger == "Spec" else "True", "Starting")


def test_the_canary_before_it_drains_meanwhile() -> None:
    given = with_canary(GENERATION)
    draining = decision(V3, canary=V5, phase=Phase.DRAINING, draining={"wine-4": NOW})
    assert summed_up(replace(given, decision=draining)) == {"Ready": ("True", "Starting")}


def waiting(condition: str, seconds: float, **changed: Any) -> Snapshot:
    """A start without a node, recorded for so many seconds."""
    entry = {
        "type": condition,
        "status": "True",
        "reason": "Unschedulable",
        "lastTransitionTime": format_time(NOW - seconds),
        "observedGeneration": GENERATION,
        **changed,
    }
    before = resource({"observedGeneration": GENERATION, "conditions": [entry]})
    return snapshot(decision(phase=Phase.STARTING), deployment(V3), UNSCHEDULABLE, of=before)


def test_what_others_may_bring_is_waited_for() -> None:
    given = snapshot(decision(phase=Phase.STARTING), deployment(V3), UNSCHEDULABLE)
    assert summed_up(given)["Reconciling"] == ("True", "Unschedulable")
    assert grace_ends_after(status(given)["conditions"], NOW) == GRACE_PERIOD
    given = waiting("Reconciling", GRACE_PERIOD - 10)
    assert summed_up(given)["Reconciling"] == ("True", "Unschedulable")
    assert grace_ends_after(status(given)["conditions"], NOW) == 10


def test_it_is_not_waited_for_any_longer() -> None:
    given = waiting("Reconciling", GRACE_PERIOD)
    assert summed_up(given)["Stalled"] == ("True", "Unschedulable")
    assert grace_ends_after(status(given)["conditions"], NOW) is None
    assert summed_up(waiting("Stalled", 1))["Stalled"] == ("True", "Unschedulable")


@pytest.mark.parametrize("changed", [{"observedGeneration": 6}, {"reason": "Starting"}])
def test_another_spec_or_another_reason_is_waited_for_afresh(changed: Json) -> None:
    given = waiting("Reconciling", GRACE_PERIOD + 60, **changed)
    assert summed_up(given)["Reconciling"] == ("True", "Unschedulable")
    assert grace_ends_after(status(given)["conditions"], NOW) == GRACE_PERIOD
    stalled = waiting("Stalled", GRACE_PERIOD + 60, **changed)
    assert summed_up(stalled)["Reconciling"] == ("True", "Unschedulable")


def test_what_kubernetes_refuses_is_stalled_at_once() -> None:
    error = ApplyError("Service", "wine", 422, "Invalid", "no")
    given = snapshot(decision(), deployment(V3, 1), errors=(error,))
    assert summed_up(given)["Stalled"] == ("True", "ApplyRefused")


def test_an_invalid_spec_is_stalled() -> None:
    raw = {"metadata": {"name": "wine", "generation": 2}, "status": {"observedGeneration": -1}}
    new = invalid_status(raw, "spec.model: no", NOW)
    assert [(entry["type"], entry["status"]) for entry in new["conditions"]] == [
        ("Ready", "False"),
        ("Stalled", "True"),
    ]
    assert new["observedGeneration"] == 2
