"""Rollouts in steps by the real reconciler: told step by step, and in any course of events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.signature import Signature
from mlflow_model_operator.kube import httproute, kinds
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.objects import name_of
from mlflow_model_operator.plan.gates import signature_rule
from mlflow_model_operator.render import progress_deadline
from mlflow_model_operator.rollout.exchange import exchange
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, World
from tests.unit.operator.simulation.profile import PROFILE

SIGNATURES = {
    version: Signature(json.dumps([{"type": type_, "name": "a"}]), "[]")
    for version, type_ in {"1": "double", "2": "string", "3": "double"}.items()
}
STEPS = [{"weight": 10, "hold": "1m"}, {"pause": {}}, {"weight": 50, "hold": "1m"}]


def world(*, has_gateway: bool = True, **spec: Any) -> World:
    """Version 1 is served."""
    rollout = spec.pop("rollout", {"steps": STEPS})
    given = World(has_gateway=has_gateway, rollout=rollout, **spec)
    given.settle()
    return given


def go_on(given: World, seconds: float = 0.0) -> None:
    """Pods get ready, the gateway follows, time passes."""
    for _ in range(4):
        given.reconcile()
        for name in list(given.deployments):
            given.set_ready(name)
        if KEY.name in given.cluster.live(kinds.ROUTE):
            given.data_plane.gateway_looks("True")
        given.reconcile()
    given.now += seconds
    given.reconcile()


def control(given: World, value: str) -> None:
    """As `kubectl annotate` does it."""
    annotations = {names.ROLLOUT: value}
    given.cluster.edit(kinds.RESOURCE, KEY.name, {"metadata": {"annotations": annotations}})
    given.reconcile()


def weights(given: World) -> dict[str, int]:
    """By version, as the route states them."""
    versions = {given.revision_of(version): version for version in versions_of(given)}
    route = given.cluster.live(kinds.ROUTE)[KEY.name]
    return {versions[name]: w for name, w in httproute.listed_weights(route).items()}


def versions_of(given: World) -> list[str]:
    found = []
    for version in ("1", "2", "3"):
        try:
            given.revision_of(version)
        except StopIteration:
            continue
        found.append(version)
    return found


def rollout(given: World) -> Json:
    found: Json = given.status["rollout"]
    return found


def test_a_good_version_takes_over_step_by_step() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    assert (rollout(given)["phase"], rollout(given)["waitingFor"]) == ("Preparing", "Pods")
    assert weights(given) == {"1": 100, "2": 0}

    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    assert (rollout(given)["phase"], rollout(given)["waitingFor"]) == ("Progressing", "Hold")
    assert given.condition("Progressing") == ("True", "RolloutProgressing")
    assert "Step 1 of 3: version 2 gets 10 % of the requests" in given.message("Progressing")

    go_on(given, 60.0)
    assert rollout(given)["phase"] == "Paused"
    assert "kubectl annotate mmd wine" in given.message("Progressing")
    go_on(given, 6000.0)
    assert weights(given) == {"1": 90, "2": 10}

    control(given, "resume/1")
    go_on(given)
    assert weights(given) == {"1": 50, "2": 50}
    go_on(given, 60.0)
    assert given.status["stable"]["modelVersion"] == "2"
    given.settle()
    assert weights(given) == {"2": 100}
    assert given.condition("Ready") == ("True", "Ready")
    history = [(e["modelVersion"], e["trigger"], e["verdict"]) for e in given.status["history"]]
    assert history == [("1", "Start", "Promoted"), ("2", "Registry", "Promoted")]


def test_an_aborted_version_loses_its_share_at_once_and_is_not_tried_again() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    control(given, "abort/1")
    assert weights(given) == {"1": 100}
    assert rollout(given)["phase"] == "Failed"
    assert given.condition("Progressing") == ("False", "RolloutAborted")
    go_on(given, 70.0)
    go_on(given, 70.0)
    assert versions_of(given) == ["1"]
    given.restart()
    go_on(given, 6000.0)
    assert versions_of(given) == ["1"]
    assert [entry["verdict"] for entry in given.status["history"]] == ["Promoted", "Aborted"]

    control(given, "retry/1")
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_an_alias_that_moves_away_and_back_tries_the_version_again() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    control(given, "abort/1")
    given.registry.aliases[ALIAS] = "1"
    go_on(given, 70.0)
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_a_control_acts_once() -> None:
    given = world()
    control(given, "promote/1")  # there is no rollout
    assert rollout(given)["lastControl"] == "promote/1"
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    control(given, "promote/2")
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"


def test_another_version_mid_rollout_starts_from_the_first_step() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    given.registry.aliases[ALIAS] = "3"
    given.reconcile()
    assert weights(given)["1"] == 100
    go_on(given)
    assert weights(given) == {"1": 90, "3": 10}
    assert [entry["verdict"] for entry in given.status["history"]] == ["Promoted", "Superseded"]


def test_the_target_has_pods_for_its_next_step_and_stable_keeps_its_own() -> None:
    given = world(scaling={"minReplicas": 2, "maxReplicas": 8})
    old = given.revision_of("1")
    given.cluster.edit(kinds.DEPLOYMENT, old, {"spec": {"replicas": 6}})
    given.set_ready(old)
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    new = given.revision_of("2")
    autoscalers = given.cluster.live(kinds.AUTOSCALER)
    assert given.deployments[new]["spec"]["replicas"] == 1  # 10 % of six
    assert autoscalers[old]["spec"]["minReplicas"] == 6
    go_on(given)
    control(given, "pause/1")
    go_on(given)
    assert given.deployments[new]["spec"]["replicas"] == 1
    control(given, "resume/2")
    go_on(given, 60.0)
    assert given.deployments[new]["spec"]["replicas"] == 3  # for 50 %
    control(given, "promote/3")
    given.reconcile()
    assert given.deployments[new]["spec"]["replicas"] == 6
    given.settle()
    assert given.cluster.live(kinds.AUTOSCALER)[new]["spec"]["minReplicas"] == 2


def test_a_first_share_begins_where_the_next_step_takes_another_pod() -> None:
    steps = [{"weight": 20}, {"weight": 60}]
    world = World(has_gateway=True, rollout={"steps": steps}, scaling={"minReplicas": 2})
    world.settle()
    world.registry.aliases[ALIAS] = "2"
    world.settle()
    assert world.status["stable"]["modelVersion"] == "2"


def test_weights_move_on_only_when_the_gateway_has_the_last_ones() -> None:
    given = world(rollout={"steps": [{"weight": 10}, {"weight": 50}]})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    given.set_ready(given.revision_of("2"))
    for _ in range(3):
        given.reconcile()
        assert (weights(given)["2"], rollout(given)["waitingFor"]) == (0, "Route")
    given.data_plane.gateway_looks("True")
    given.reconcile()
    for _ in range(3):
        given.reconcile()
        assert (weights(given)["2"], rollout(given)["waitingFor"]) == (10, "Route")
    given.data_plane.gateway_looks("False")
    given.reconcile()
    assert weights(given)["2"] == 10


def test_a_model_that_does_not_load_is_turned_back_before_its_first_share() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    new = given.revision_of("2")
    given.cluster.create(kinds.POD, broken_pod(new))
    given.reconcile()
    assert given.condition("Progressing") == ("False", "ModelLoadFailed")
    assert "was rolled back" in given.message("Progressing")
    go_on(given, 70.0)
    given.reconcile()
    assert versions_of(given) == ["1"]
    assert rollout(given)["failed"][0]["modelVersion"] == "2"


def test_a_version_with_another_signature_gets_neither_pods_nor_requests() -> None:
    given = world()
    given.registry.signatures = SIGNATURES
    given.registry.aliases[ALIAS] = "2"
    for _ in range(3):
        go_on(given, 70.0)
        assert versions_of(given) == ["1"]
        assert weights(given) == {"1": 100}
    assert given.condition("Progressing") == ("False", "SignatureIncompatible")
    assert "the input 'a' was double and is string" in given.message("Progressing")
    assert "Version 1 is still served" in given.message("Progressing")
    assert rollout(given)["failed"][0]["modelVersion"] == "2"
    assert [entry["verdict"] for entry in given.status["history"]] == ["Promoted", "Failed"]
    given.restart()
    go_on(given, 70.0)
    assert versions_of(given) == ["1"]

    given.registry.aliases[ALIAS] = "3"
    go_on(given)
    assert weights(given) == {"1": 90, "3": 10}


def test_without_the_gate_it_is_rolled_out() -> None:
    given = world()
    given.registry.signatures = SIGNATURES
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    given.spec({"rollout": {"gates": {"signature": "Off"}}})
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_signatures_that_cannot_be_read_are_named_and_turn_back_nothing() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    assert "Signatures were not compared: the signature of" in given.message("Progressing")


def test_while_the_registry_is_down_a_new_version_waits_for_its_comparison() -> None:
    given = world()
    given.registry.signatures = SIGNATURES
    given.registry.aliases[ALIAS] = "3"
    given.reconcile()
    given.registry.is_down = True
    given.restart()
    for _ in range(3):
        go_on(given, 70.0)
        assert (weights(given), rollout(given)["waitingFor"]) == ({"1": 100, "3": 0}, "Gates")
    assert given.condition("Progressing") == ("False", "SignatureUnknown")
    given.registry.is_down = False
    go_on(given)
    assert weights(given) == {"1": 90, "3": 10}


def test_a_model_that_fails_on_its_input_example_is_turned_back_without_steps_too() -> None:
    gates = {"inputExample": {"required": True, "timeout": "10s"}}
    given = world(rollout={"strategy": "direct", "gates": gates})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    new = given.revision_of("2")
    env = given.deployments[new]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "INPUT_EXAMPLE", "value": "required"} in env
    assert {"name": "INPUT_EXAMPLE_TIMEOUT", "value": "10"} in env
    given.cluster.create(kinds.POD, broken_pod(new, "InputExampleFailed"))
    given.reconcile()
    assert given.condition("Progressing") == ("False", "InputExampleFailed")
    assert "change spec.rollout.gates.inputExample" in given.message("Progressing")
    assert weights(given) == {"1": 100}
    go_on(given, 70.0)
    given.reconcile()
    assert versions_of(given) == ["1"]


def broken_pod(revision: str, reason: str = "ModelLoadFailed") -> Json:
    message = json.dumps({"reason": reason, "message": "the weights are corrupt"})
    ended = {"exitCode": 1, "message": message, "reason": "Error"}
    server = {"name": "server", "ready": False, "state": {"terminated": ended}, "lastState": {}}
    labels = {names.REVISION: revision, names.DEPLOYMENT: KEY.name}
    labels[names.MANAGED_BY] = names.MANAGED_BY_VALUE
    return {
        "metadata": {"name": f"{revision}-x", "namespace": KEY.namespace, "labels": labels},
        "status": {"phase": "Running", "containerStatuses": [server]},
    }


def test_an_old_revision_is_kept_as_long_as_the_spec_says_and_going_back_takes_no_time() -> None:
    given = world(rollout={"keepOld": "10m"})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    go_on(given, 70.0)
    assert given.status["stable"]["modelVersion"] == "2"
    assert versions_of(given) == ["1", "2"]
    assert given.condition("Ready") == ("True", "Ready")
    given.registry.aliases[ALIAS] = "1"
    given.reconcile()
    assert given.status["stable"]["modelVersion"] == "1"
    go_on(given, 600.0)
    go_on(given)
    assert versions_of(given) == ["1"]


def replicas_of(given: World) -> dict[str, int]:
    """By version."""
    return {
        version: given.deployments[given.revision_of(version)]["spec"]["replicas"]
        for version in versions_of(given)
    }


def exchanged(given: World) -> list[tuple[dict[str, int], dict[str, int]]]:
    """The different numbers of pods and weights until version 2 serves alone."""
    given.registry.aliases[ALIAS] = "2"
    story: list[tuple[dict[str, int], dict[str, int]]] = []
    for _ in range(60):
        given.reconcile()
        if versions_of(given) == ["2"]:
            return story
        if not story or story[-1] != (replicas_of(given), weights(given)):
            story.append((replicas_of(given), weights(given)))
        given.data_plane.gateway_looks("True")
        for name in list(given.deployments):
            given.set_ready(name)
        given.now += 6.0
    raise AssertionError("version 2 does not take over")


def test_with_little_room_pods_are_exchanged_a_few_at_a_time_and_requests_follow() -> None:
    given = world(rollout={"surge": 25}, scaling={"minReplicas": 4})
    assert exchanged(given) == [
        ({"1": 4, "2": 1}, {"1": 100, "2": 0}),
        ({"1": 4, "2": 1}, {"1": 75, "2": 25}),
        ({"1": 3, "2": 2}, {"1": 75, "2": 25}),
        ({"1": 3, "2": 2}, {"1": 50, "2": 50}),
        ({"1": 2, "2": 3}, {"1": 50, "2": 50}),
        ({"1": 2, "2": 3}, {"1": 25, "2": 75}),
        ({"1": 1, "2": 4}, {"1": 25, "2": 75}),
        ({"1": 1, "2": 4}, {"2": 100}),
    ]
    given.settle()
    assert replicas_of(given) == {"2": 4}
    assert given.condition("Ready") == ("True", "Ready")


def test_without_room_an_old_pod_ends_before_a_new_one_begins() -> None:
    given = world(rollout={"surge": 0}, scaling={"minReplicas": 3})
    assert exchanged(given) == [
        ({"1": 2, "2": 1}, {"1": 100, "2": 0}),
        ({"1": 2, "2": 1}, {"1": 50, "2": 50}),
        ({"1": 1, "2": 2}, {"1": 50, "2": 50}),
        ({"1": 1, "2": 3}, {"2": 100}),
    ]
    given.settle()
    assert replicas_of(given) == {"2": 3}


@pytest.mark.parametrize("has_gateway", [True, False])
def test_without_room_for_a_second_pod_there_is_a_gap_of_which_the_status_warns(
    has_gateway: bool,
) -> None:
    given = world(has_gateway=has_gateway, rollout={"surge": 0})
    assert "The next update makes the model unavailable" in given.message("Progressing")
    old = given.revision_of("1")
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    assert replicas_of(given) == {"1": 0, "2": 1}
    given.set_ready(old)
    given.reconcile()
    assert given.condition("Available") == ("False", "Starting")
    assert given.message("Available").startswith("Version 2 (wine-")
    go_on(given)
    given.settle()
    assert replicas_of(given) == {"2": 1}
    assert given.condition("Ready") == ("True", "Ready")


def unschedulable_pod(revision: str) -> Json:
    pod = broken_pod(revision)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    message = "0/1 nodes are available: 1 Insufficient cpu."
    return pod | {"status": {"conditions": [condition | {"message": message}]}}


@pytest.mark.parametrize("has_gateway", [True, False])
@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (unschedulable_pod, "Unschedulable"),
        (lambda revision: broken_pod(revision, "ArtifactUnreadable"), "ArtifactUnreadable"),
        (None, "StartupTimeout"),  # nothing is said of why there is none
    ],
)
def test_a_gap_that_the_new_version_does_not_fill_ends_with_the_old_one(
    has_gateway: bool, pod: Any, reason: str
) -> None:
    given = world(has_gateway=has_gateway, rollout={"surge": 0})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    old, new = given.revision_of("1"), given.revision_of("2")
    if pod is not None:
        given.cluster.create(kinds.POD, pod(new))
    given.set_ready(old)
    for _ in range(10):  # its startup timeout, and a margin
        assert replicas_of(given) == {"1": 0, "2": 1}
        given.now += 65.0
        given.reconcile()
    given.now += 10.0
    given.reconcile()
    assert given.deployments[old]["spec"]["replicas"] == 1
    assert rollout(given)["phase"] == "Failed"
    assert given.condition("Progressing") == ("False", reason)
    assert "mlflow-model-operator.dev/rollout" in given.message("Progressing")
    given.set_ready(old)
    go_on(given, 70.0)
    given.reconcile()
    assert replicas_of(given) == {"1": 1}
    assert given.condition("Available") == ("True", "MinimumReplicasAvailable")


def test_a_gap_is_looked_at_again_when_the_time_of_the_new_version_is_over() -> None:
    given = world(rollout={"surge": 0})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    given.set_ready(given.revision_of("1"))
    given.cluster.deliver()
    wait = asyncio.run(given.reconciler.reconcile(KEY))
    assert wait is not None and 0 < wait <= 660.0


def test_a_version_that_was_kept_back_by_a_gate_has_its_time_from_then_on() -> None:
    gates = {"tags": {"validation_status": "approved"}}
    given = world(rollout={"surge": 0, "gates": gates})
    given.registry.aliases[ALIAS] = "2"
    for _ in range(20):
        go_on(given, 70.0)
    assert replicas_of(given) == {"1": 1, "2": 0}
    assert rollout(given)["phase"] == "Preparing"


def test_a_new_version_whose_deployment_is_refused_takes_no_pod_from_the_old_one() -> None:
    given = world(rollout={"surge": 0})
    apply = given.cluster.apply

    async def refuse_new(kind: Any, obj: Json) -> Json:
        if kind is kinds.DEPLOYMENT and name_of(obj) not in given.deployments:
            raise ApiError(403, "Forbidden", "denied the request")
        return await apply(kind, obj)

    given.cluster.apply = refuse_new  # type: ignore[method-assign]
    given.registry.aliases[ALIAS] = "2"
    for _ in range(20):
        given.reconcile()
        given.now += 70.0
    assert replicas_of(given) == {"1": 1}
    assert given.condition("Progressing") == ("False", "ApplyRefused")
    assert given.condition("Available") == ("True", "MinimumReplicasAvailable")


def test_a_promoted_exchange_goes_on_as_far_as_there_is_room() -> None:
    given = world(rollout={"surge": 25}, scaling={"minReplicas": 4})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    control(given, "pause/1")
    paused = replicas_of(given)
    go_on(given, 70.0)
    assert replicas_of(given) == paused
    control(given, "promote/1")
    assert rollout(given)["phase"] == "Progressing"
    assert sum(replicas_of(given).values()) <= 5
    given.settle()
    assert replicas_of(given) == {"2": 4}


def test_before_its_gates_are_passed_a_version_takes_no_pod_from_the_old_one() -> None:
    gates = {"tags": {"validation_status": "approved"}}
    given = world(rollout={"surge": 0, "gates": gates}, scaling={"minReplicas": 2})
    given.registry.aliases[ALIAS] = "2"
    for _ in range(3):
        go_on(given, 70.0)
        assert replicas_of(given) == {"1": 2, "2": 0}
        control(given, "pause/1")
    control(given, "resume/2")
    assert given.condition("Progressing") == ("False", "TagsMissing")


def test_a_version_that_fails_amid_an_exchange_gives_its_room_back() -> None:
    given = world(rollout={"surge": 0}, scaling={"minReplicas": 2})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    assert replicas_of(given) == {"1": 1, "2": 1}
    given.cluster.create(kinds.POD, broken_pod(given.revision_of("2"), "InputExampleFailed"))
    given.reconcile()
    assert weights(given) == {"1": 100}
    go_on(given, 70.0)
    given.reconcile()
    assert replicas_of(given) == {"1": 2}


def test_amid_an_exchange_no_autoscaler_adds_pods_for_which_there_is_no_room() -> None:
    given = world(rollout={"surge": 50}, scaling={"minReplicas": 2, "maxReplicas": 8})
    old = given.revision_of("1")
    given.cluster.edit(kinds.DEPLOYMENT, old, {"spec": {"replicas": 6}})
    given.set_ready(old)
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    assert replicas_of(given) == {"1": 6, "2": 3}
    assert not given.cluster.live(kinds.AUTOSCALER)
    given.settle()
    assert replicas_of(given) == {"2": 6}
    assert list(given.cluster.live(kinds.AUTOSCALER)) == [given.revision_of("2")]


def test_fewer_pods_amid_an_exchange_end_it_sooner() -> None:
    for replicas in (3, 2, 1):
        given = world(rollout={"surge": 10}, scaling={"minReplicas": 6})
        given.registry.aliases[ALIAS] = "2"
        for _ in range(3):
            go_on(given)
        given.spec({"scaling": {"minReplicas": replicas}})
        given.settle()
        assert replicas_of(given) == {"2": replicas}


def test_without_a_gateway_pods_approximate_the_steps() -> None:
    given = world(has_gateway=False, scaling={"minReplicas": 3})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    new = given.revision_of("2")
    assert given.deployments[new]["spec"]["replicas"] == 1
    assert given.data_plane.by_service() == {given.revision_of("1")}
    go_on(given)
    assert given.data_plane.by_service() == {given.revision_of("1"), new}
    assert given.condition("TrafficSplit") == ("False", "Approximate")
    assert "Requested 10 %, actual 25 %" in given.message("TrafficSplit")
    go_on(given, 60.0)
    control(given, "resume/1")
    go_on(given)
    assert given.deployments[new]["spec"]["replicas"] == 3
    go_on(given, 60.0)
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"


def test_without_a_gateway_the_operator_looks_again_after_its_own_write() -> None:
    """Nothing else happens: no event says that the Service is as it was just written."""
    given = world(has_gateway=False, rollout={"steps": [{"weight": 50, "hold": "1s"}]})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    given.set_ready(given.revision_of("2"))
    given.cluster.deliver()
    waits: list[float] = []
    while len(waits) < 10 and (wait := asyncio.run(given.reconciler.reconcile(KEY))) is not None:
        waits.append(wait)
        given.cluster.deliver()
        given.now += wait
    assert max(waits) <= 5.0  # seconds: the hold of the step, and the drain
    assert given.status["stable"]["modelVersion"] == "2"


def test_blue_green_changes_over_at_once_and_back_at_once() -> None:
    given = world(rollout={"strategy": "blueGreen"}, scaling={"minReplicas": 2})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    assert given.deployments[given.revision_of("2")]["spec"]["replicas"] == 2
    go_on(given)
    assert weights(given) == {"1": 0, "2": 100}
    control(given, "abort/1")
    assert weights(given) == {"1": 100}
    assert given.data_plane.ready(given.revision_of("1")) == 2


@pytest.mark.parametrize("step", range(8))
def test_a_restart_anywhere_gives_the_same_next_step(step: int) -> None:
    """The status is all that there is."""
    stories = []
    for restarts in (False, True):
        given = world()
        given.registry.aliases[ALIAS] = "2"
        story = []
        for turn in range(8):
            if restarts and turn == step:
                given.restart()
            go_on(given, 60.0)
            if turn == 4:
                control(given, "resume/1")
            story.append((rollout(given)["phase"], rollout(given).get("step"), weights(given)))
        stories.append(story)
    assert stories[0] == stories[1]


def test_a_model_that_is_stopped_mid_rollout_begins_it_again() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    given.spec({"scaling": {"minReplicas": 0}})
    given.reconcile()
    assert weights(given)["1"] == 100
    assert {d["spec"]["replicas"] for d in given.deployments.values()} == {0}
    given.spec({"scaling": {"minReplicas": 1}})
    given.reconcile()
    assert rollout(given)["step"] == 0
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_another_form_of_the_uri_is_rolled_out_by_the_same_steps() -> None:
    """Where it resolves to the same version with the same template, nothing is rolled out."""
    given = world()
    given.spec({"model": {"uri": "models:/wine/1"}})
    go_on(given)
    assert given.condition("Ready") == ("True", "Ready")
    given.spec({"model": {"uri": "models:/wine/2"}})
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    given.spec({"model": {"uri": ALIAS}})
    go_on(given, 70.0)
    given.settle()
    assert versions_of(given) == ["1"]
    assert [entry["verdict"] for entry in given.status["history"]] == ["Promoted", "Superseded"]


def test_where_the_stable_version_is_down_the_target_serves_and_does_not_take_over() -> None:
    given = world()
    old = given.revision_of("1")
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    given.set_ready(old, 0)
    given.reconcile()
    assert weights(given) == {"1": 0, "2": 100}
    assert given.status["stable"]["modelVersion"] == "1"
    assert rollout(given)["waitingFor"] == "Stable"
    assert given.condition("TrafficSplit") == ("False", "StableNotReady")
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_where_the_stable_version_is_down_going_back_to_it_waits_until_it_answers() -> None:
    given = world(rollout={"steps": [{"pause": {}}]})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    given.set_ready(given.revision_of("1"), 0)
    given.reconcile()
    assert weights(given) == {"1": 0, "2": 100}
    given.registry.aliases[ALIAS] = "1"
    given.reconcile()
    assert weights(given)["2"] == 100
    go_on(given)
    control(given, "resume/1")
    given.settle()
    assert weights(given) == {"1": 100}


def test_a_template_that_was_turned_back_is_not_taken_for_a_change_of_the_operator() -> None:
    given = world()
    given.spec({"server": {"env": [{"name": "MODE", "value": "new"}]}})
    go_on(given)
    assert weights_in_order(given) == [10, 90]
    control(given, "abort/1")
    for _ in range(4):
        go_on(given, 70.0)
    assert rollout(given)["phase"] == "Failed"
    assert weights_in_order(given) == [100]
    assert given.status["history"][-1]["trigger"] == "Spec"


def weights_in_order(given: World) -> list[int]:
    route = given.cluster.live(kinds.ROUTE)[KEY.name]
    return sorted(httproute.listed_weights(route).values())


def promoted(given: World, version: str) -> None:
    """The alias moves, and the version has taken over."""
    given.registry.aliases[ALIAS] = version
    for _ in range(3):
        go_on(given, 1.0)
    assert given.status["stable"]["modelVersion"] == version


def history(given: World) -> list[tuple[str, str, str]]:
    return [(e["modelVersion"], e["trigger"], e["verdict"]) for e in given.status["history"]]


def test_an_undo_goes_back_at_once_to_pods_that_were_kept() -> None:
    given = world(rollout={"keepOld": "10m"})
    promoted(given, "2")
    old = given.revision_of("1")

    control(given, "undo/1")
    assert (rollout(given)["phase"], weights(given)) == ("Undoing", {"1": 0, "2": 100})
    assert rollout(given)["waitingFor"] == "Route"
    assert "Going back to version 1 from version 2" in given.message("Progressing")
    given.data_plane.gateway_looks("True")
    given.reconcile()

    assert weights(given) == {"1": 100}
    assert given.status["stable"]["revision"] == old
    assert rollout(given)["phase"] == "Failed"
    assert given.condition("Progressing") == ("False", "RolloutUndone")
    assert history(given)[-1] == ("1", "Undo", "Promoted")
    assert len(history(given)) == 3
    for _ in range(3):
        go_on(given, 700.0)
        given.restart()
    assert versions_of(given) == ["1"]
    assert rollout(given)["failed"][0]["modelVersion"] == "2"

    control(given, "retry/1")
    for _ in range(3):
        go_on(given, 1.0)
    assert given.status["stable"]["modelVersion"] == "2"


def test_an_undo_to_pods_that_are_gone_starts_them_again_while_the_newer_version_serves() -> None:
    given = world(rollout={"strategy": "direct"}, scaling={"minReplicas": 2})
    promoted(given, "2")
    go_on(given, 70.0)
    promoted(given, "3")
    go_on(given, 70.0)
    go_on(given, 70.0)
    assert versions_of(given) == ["3"]

    control(given, "undo=1/x")
    assert (rollout(given)["phase"], rollout(given)["waitingFor"]) == ("Undoing", "Pods")
    assert weights(given) == {"1": 0, "3": 100}
    assert given.deployments[given.revision_of("1")]["spec"]["replicas"] == 2
    for restarts in (True, False):
        if restarts:
            given.restart()
        go_on(given, 1.0)
    assert weights(given) == {"1": 100}
    control(given, "undo/y")  # nothing was promoted before version 1
    go_on(given, 70.0)
    assert given.status["stable"]["modelVersion"] == "1"


def test_a_second_undo_goes_one_version_further_back() -> None:
    given = world(rollout={"keepOld": "1h"})
    promoted(given, "2")
    promoted(given, "3")
    for token, version in enumerate(("2", "1")):
        control(given, f"undo/{token}")
        go_on(given, 1.0)
        assert given.status["stable"]["modelVersion"] == version
    assert rollout(given)["failed"][0]["modelVersion"] == "3"
    control(given, "undo/9")
    go_on(given, 1.0)
    assert rollout(given)["phase"] == "Failed"
    assert given.status["stable"]["modelVersion"] == "1"


def test_an_undo_is_aborted_like_a_rollout() -> None:
    given = world(rollout={"strategy": "direct"})
    promoted(given, "2")
    go_on(given, 70.0)
    go_on(given, 70.0)
    control(given, "undo/1")
    assert rollout(given)["phase"] == "Undoing"
    control(given, "abort/1")
    go_on(given, 70.0)
    assert given.condition("Ready") == ("True", "Ready")
    assert history(given)[-1] == ("1", "Undo", "Aborted")
    assert versions_of(given) == ["2"]


def test_what_was_undone_serves_again_when_the_alias_has_moved_away_and_back() -> None:
    given = world(rollout={"keepOld": "1h"})
    promoted(given, "2")
    control(given, "undo/1")
    go_on(given, 1.0)
    given.registry.aliases[ALIAS] = "1"
    go_on(given, 10.0)
    assert given.condition("Ready") == ("True", "Ready")
    promoted(given, "2")


def test_what_was_undone_stays_so_while_the_registry_is_gone_and_the_operator_is_new() -> None:
    given = world(rollout={"strategy": "direct"})
    promoted(given, "2")
    control(given, "undo/1")
    go_on(given, 70.0)
    go_on(given, 70.0)
    given.registry.is_down = True
    given.settings = replace(given.settings, scoring_images={"3.11": "scoring:next"})
    for is_down in (True, False):
        given.registry.is_down = is_down
        given.restart()
        for _ in range(3):
            go_on(given, 700.0)
        assert given.status["stable"]["modelVersion"] == "1"
        assert rollout(given)["failed"][0]["modelVersion"] == "2"


def test_a_template_is_undone_while_its_pods_are_there() -> None:
    given = world(rollout={"keepOld": "10m"})
    old = given.revision_of("1")
    given.spec({"server": {"env": [{"name": "MODE", "value": "new"}]}})
    go_on(given, 1.0)
    new = given.status["stable"]["revision"]
    assert new != old
    control(given, "undo/1")
    go_on(given, 1.0)
    assert given.status["stable"]["revision"] == old
    for _ in range(3):
        go_on(given, 700.0)
    assert list(given.deployments) == [old]
    control(given, "undo/2")
    go_on(given, 1.0)
    assert list(given.deployments) == [old]


def test_an_undo_keeps_the_pods_that_an_autoscaler_has_asked_for() -> None:
    given = world(rollout={"keepOld": "1h"}, scaling={"minReplicas": 1, "maxReplicas": 8})
    promoted(given, "2")
    new = given.revision_of("2")
    given.cluster.edit(kinds.DEPLOYMENT, new, {"spec": {"replicas": 5}})
    given.set_ready(new)
    control(given, "undo/1")
    old = given.revision_of("1")
    assert given.deployments[old]["spec"]["replicas"] == 5
    assert (weights(given), rollout(given)["waitingFor"]) == ({"1": 0, "2": 100}, "Pods")
    go_on(given, 1.0)
    assert weights(given) == {"1": 100}


def test_an_undo_without_a_gateway_waits_for_no_route() -> None:
    given = world(has_gateway=False, rollout={"keepOld": "10m"})
    promoted(given, "2")
    control(given, "undo/1")
    assert given.data_plane.by_service() == {given.revision_of("1")}
    assert history(given) == [
        ("1", "Start", "Promoted"),
        ("2", "Registry", "Promoted"),
        ("1", "Undo", "Promoted"),
    ]


def test_an_update_without_steps_is_turned_back_before_it_is_ready() -> None:
    given = world(rollout={"strategy": "direct"})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    control(given, "undo/1")
    for _ in range(3):
        go_on(given, 70.0)
    assert versions_of(given) == ["1"]
    assert given.condition("Progressing") == ("False", "RolloutAborted")


VERSIONS = st.sampled_from(["1", "2", "3"])
CHOICE = st.integers(0, 5)
ROLLOUTS: list[Json] = [
    {"steps": STEPS},
    {"strategy": "canary"},
    {"strategy": "blueGreen", "keepOld": "2m"},
    {"strategy": "direct"},
    {"steps": [{"pause": {}}, {"weight": 100}, {"weight": 20}], "keepOld": "1m"},
]
ACTIONS = st.sampled_from(
    ["pause", "resume", "promote", "abort", "retry", "undo", "undo=1", "nonsense"]
)


class AnyCourseOfRollouts(RuleBasedStateMachine):
    """Rollouts while users, pods, gateways and the operator do whatever they do."""

    has_gateway = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World(has_gateway=self.has_gateway, rollout=ROLLOUTS[0])
        self.world.settle()
        self.world.cluster.before_delete = self.check_deletion
        self.token = 0

    @rule(version=VERSIONS)
    def the_alias_moves(self, version: str) -> None:
        self.world.registry.aliases[ALIAS] = version

    @rule(index=st.integers(0, len(ROLLOUTS) - 1))
    def the_rollout_is_edited(self, index: int) -> None:
        absent = dict.fromkeys(("strategy", "steps", "keepOld"))
        self.world.spec({"rollout": {**absent, **ROLLOUTS[index]}})

    @rule(mode=st.sampled_from(["a", "b"]))
    def the_template_changes(self, mode: str) -> None:
        self.world.spec({"server": {"env": [{"name": "MODE", "value": mode}]}})

    @rule(replicas=st.integers(0, 3), maximum=st.sampled_from([None, 5]))
    def it_is_scaled(self, replicas: int, maximum: int | None) -> None:
        most = maximum if replicas else None
        self.world.spec({"scaling": {"minReplicas": replicas, "maxReplicas": most}})

    @rule(action=ACTIONS)
    def a_person_acts(self, action: str) -> None:
        self.token += 1
        annotations = {names.ROLLOUT: f"{action}/{self.token}"}
        self.world.cluster.edit(
            kinds.RESOURCE, KEY.name, {"metadata": {"annotations": annotations}}
        )

    @rule()
    def the_status_is_lost(self) -> None:
        self.world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})

    @rule(ready=st.integers(0, 3), choice=CHOICE)
    def pods_change(self, ready: int, choice: int) -> None:
        deployments = sorted(self.world.deployments)
        if deployments:
            self.world.set_ready(deployments[choice % len(deployments)], ready)

    @rule()
    def all_pods_get_ready(self) -> None:
        for name in list(self.world.deployments):
            self.world.set_ready(name)

    @rule(choice=CHOICE)
    def a_model_does_not_load(self, choice: int) -> None:
        revision = sorted(self.world.deployments)[choice % len(self.world.deployments)]
        if f"{revision}-x" not in self.world.cluster.live(kinds.POD):
            reason = ("ModelLoadFailed", "InputExampleFailed")[choice % 2]
            self.world.cluster.create(kinds.POD, broken_pod(revision, reason))

    @rule()
    def the_broken_pods_go(self) -> None:
        for name in list(self.world.cluster.live(kinds.POD)):
            self.world.cluster.remove(kinds.POD, name)

    @rule(verdict=st.sampled_from(["True", "True", "False"]))
    def the_gateway_looks(self, verdict: str) -> None:
        if self.has_gateway:
            self.world.data_plane.gateway_looks(verdict)

    @rule(seconds=st.sampled_from([-300.0, 1.0, 6.0, 70.0, 400.0]))
    def the_clock_moves(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def it_restarts(self) -> None:
        self.world.restart()

    @rule()
    def all_goes_well_for_a_while(self) -> None:
        go_on(self.world)

    @rule()
    def it_reconciles(self) -> None:
        given = self.world
        given.cluster.deliver()
        before, answering = self.shares(), self.answering()
        listed = self.route_weights()
        given.reconcile()
        self.check_traffic(before, answering, listed)
        self.check_wait()

    def shares(self) -> dict[str, int]:
        return {s["revision"]: s["weight"] for s in self.world.status.get("traffic", ())}

    def route_weights(self) -> set[str]:
        """The revisions that the gateway knows."""
        route = self.world.cluster.live(kinds.ROUTE).get(KEY.name)
        return set(httproute.listed_weights(route)) if route else set()

    def answering(self) -> set[str]:
        return {name for name in self.world.deployments if self.world.data_plane.ready(name)}

    def check_deletion(self, obj: Json) -> None:
        data_plane = self.world.data_plane
        reached = {"Deployment": data_plane.reached(), "Service": data_plane.by_route()}
        assert name_of(obj) not in reached.get(obj["kind"], set()), "removed, while reached"

    def check_traffic(self, before: dict[str, int], answering: set[str], listed: set[str]) -> None:
        status, shares = self.world.status, self.shares()
        assert sum(shares.values()) == 100
        assert all(weight > 0 for weight in shares.values())
        phase = status["rollout"]["phase"]
        if phase == "Stopped":
            return
        stable = status["stable"]["revision"]
        target = status.get("target", {}).get("revision")
        if phase in ("Preparing", "Failed", "Undoing") and stable in answering:
            assert shares == {stable: 100}
        for name in set(shares) - set(before):
            is_ready = self.is_ready(name) or not answering & set(before)
            assert is_ready, "moved to what is not ready, from what answers"
        is_first = phase in ("Progressing", "Promoting") and target in set(shares) - set(before)
        if self.has_gateway and is_first and stable in answering:
            assert target in listed, "a share before the gateway knows the revision"

    def check_wait(self) -> None:
        """Every rollout ends, or waits for something that has a name."""
        found = rollout(self.world)
        if found["phase"] in ("Preparing", "Progressing", "Paused", "Promoting", "Undoing"):
            assert found["waitingFor"], found
            assert found["message"]
        if found["phase"] in ("Failed", "Undoing"):
            assert found["failed"]

    def is_ready(self, name: str) -> bool:
        deployment = self.world.deployments.get(name)
        replicas = deployment["spec"]["replicas"] if deployment else 0
        return 0 < replicas <= self.world.data_plane.ready(name)

    def teardown(self) -> None:
        """With a person who resumes and retries, all is as the spec says in the end."""
        given = self.world
        self.the_broken_pods_go()
        for action in ("abort", "retry", "resume", "resume", "promote"):
            self.a_person_acts(action)
            go_on(given, 400.0)
        given.settle()
        if given.resource["spec"].get("scaling", {}).get("minReplicas") == 0:
            return
        assert given.status["stable"]["modelVersion"] == given.registry.aliases[ALIAS]
        assert given.condition("Ready") == ("True", "Ready"), given.message("Ready")
        assert set(given.deployments) == {given.status["stable"]["revision"]}
        assert len(given.status["history"]) <= 10


class AnyCourseOfRolloutsWithoutGateway(AnyCourseOfRollouts):
    has_gateway = False


class AnyCourseOfExchanges(AnyCourseOfRollouts):
    """Without room for a second set of pods: both revisions together have no more than allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.were_ready: set[str] = set()
        self.gap_since: float | None = None
        self.it_has_little_room(50)

    @rule(surge=st.sampled_from([0, 10, 50, 100]))
    def it_has_little_room(self, surge: int) -> None:
        absent = dict.fromkeys(("strategy", "steps", "keepOld"))
        self.world.spec({"rollout": {**absent, "surge": surge}})

    def the_rollout_is_edited(self, index: int) -> None:
        """Steps need room."""

    def answering(self) -> set[str]:
        is_ready = super().is_ready
        self.were_ready = {name for name in self.world.deployments if is_ready(name)}
        return super().answering()

    def is_ready(self, name: str) -> bool:
        """As the operator has seen it: more pods may be asked for as soon as it takes over."""
        return name in self.were_ready

    def check_traffic(self, before: dict[str, int], answering: set[str], listed: set[str]) -> None:
        super().check_traffic(before, answering, listed)
        resource = MLflowModelDeployment.parse(self.world.resource)
        progress = rollout(self.world)
        if progress["phase"] not in ("Preparing", "Progressing", "Paused", "Promoting"):
            self.gap_since = None
            return
        replicas = progress["stableReplicas"]
        room = exchange(resource.spec.rollout.surge_percent, replicas)
        sides = (self.world.status["stable"]["revision"], self.world.status["target"]["revision"])
        pods = [self.world.deployments[name]["spec"]["replicas"] for name in sides]
        if room is not None:
            assert sum(pods) <= replicas + room.surge, "more pods than there is room for"
            assert pods[0] > 0 or room.has_gap, "the old revision has lost its last pod"
            self.check_gap(is_open=pods[0] == 0 and sides[1] not in answering)

    def check_gap(self, *, is_open: bool) -> None:
        """Where no pod answers, the old one returns when the new one has had its time."""
        if not is_open:
            self.gap_since = None
        elif self.gap_since is None:
            self.gap_since = self.world.now
        else:
            deadline = progress_deadline(MLflowModelDeployment.parse(self.world.resource))
            assert self.world.now - self.gap_since < deadline, "the gap stays open"


class AnyCourseOfExchangesWithoutGateway(AnyCourseOfExchanges):
    has_gateway = False


class AnyCourseOfGates(AnyCourseOfRollouts):
    """The same with versions of which one has another signature, and a registry that may be down.

    A version that does not pass never gets a request, whatever happens meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world.registry.signatures = SIGNATURES
        self.had_requests: set[str] = set()  # while the gate was off

    @rule(signature=st.sampled_from([None, "Off", "Compatible", "Strict"]))
    def the_gate_is_edited(self, signature: str | None) -> None:
        self.world.spec({"rollout": {"gates": {"signature": signature}}})

    @rule(is_down=st.booleans())
    def the_registry_answers_or_not(self, is_down: bool) -> None:
        self.world.registry.is_down = is_down

    def check_traffic(self, before: dict[str, int], answering: set[str], listed: set[str]) -> None:
        super().check_traffic(before, answering, listed)
        for name in set(self.shares()) - set(before) - self.had_requests:
            assert not self.is_kept_back(name), "requests to what did not pass its gate"
        self.had_requests |= set(self.shares())

    def is_kept_back(self, revision: str) -> bool:
        resource = MLflowModelDeployment.parse(self.world.resource)
        stable, env = self.world.status["stable"], self.container(revision)["env"]
        uri = next(entry["value"] for entry in env if entry["name"] == "MODEL_URI")
        versions = uri.rpartition("/")[2], stable["modelVersion"]
        is_other = len({SIGNATURES[version].inputs for version in versions}) > 1
        return is_other and signature_rule(resource) != "Off"

    def container(self, revision: str) -> Json:
        template = self.world.deployments[revision]["spec"]["template"]
        container: Json = template["spec"]["containers"][0]
        return container

    def teardown(self) -> None:
        self.the_registry_answers_or_not(is_down=False)
        self.the_gate_is_edited("Off")
        super().teardown()


TestWithGateway = AnyCourseOfRollouts.TestCase
TestWithoutGateway = AnyCourseOfRolloutsWithoutGateway.TestCase
TestWithGates = AnyCourseOfGates.TestCase
TestExchanges = AnyCourseOfExchanges.TestCase
TestExchangesWithoutGateway = AnyCourseOfExchangesWithoutGateway.TestCase
_CASES = (
    *(TestWithGateway, TestWithoutGateway, TestWithGates),
    *(TestExchanges, TestExchangesWithoutGateway),
)
for _case in _CASES:
    _case.settings = PROFILE
del _case  # else pytest would run it once more
