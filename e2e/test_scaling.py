"""How many pods there are, and who decides it."""

from __future__ import annotations

from typing import Any

from dev import kube
from dev.kube import kubectl
from dev.traffic import under_load
from e2e.models import Facts
from e2e.steps import (
    children_of,
    given_a_deployment,
    given_a_registered_model,
    then_condition,
    then_is_served,
    then_it_answers,
    then_nothing_failed,
    wait_for,
    when_the_spec_changes,
)


def test_kubectl_scale(namespace: str, facts: Facts) -> None:
    wine = given_a_deployment(namespace, given_a_registered_model(facts, "1").version(1))
    then_is_served(wine, 1)
    assert children_of(wine, kube.BUDGET) == []

    kubectl("scale", "mmd", wine.name, "--replicas=3", f"--namespace={namespace}")

    wait_for(wine, "3 pods are ready", lambda: _ready(wine.status) == 3)
    status = then_is_served(wine, 1)
    assert status["replicas"] == 3
    (budget,) = children_of(wine, kube.BUDGET)
    assert budget["spec"]["maxUnavailable"] == 1
    assert children_of(wine, kube.AUTOSCALER) == []

    kubectl("scale", "mmd", wine.name, "--replicas=1", f"--namespace={namespace}")
    wait_for(wine, "1 pod is left", lambda: len(children_of(wine, kube.POD)) == 1)
    wait_for(wine, "the budget is gone", lambda: children_of(wine, kube.BUDGET) == [])


def test_stop_and_start(namespace: str, facts: Facts) -> None:
    wine = given_a_deployment(namespace, given_a_registered_model(facts, "1").version(1))
    then_is_served(wine, 1)

    kubectl("scale", "mmd", wine.name, "--replicas=0", f"--namespace={namespace}")
    then_condition(wine, "Available", "False", "Stopped", says=["minReplicas"])
    wait_for(wine, "no pod is left", lambda: children_of(wine, kube.POD) == [])

    kubectl("scale", "mmd", wine.name, "--replicas=1", f"--namespace={namespace}")
    then_is_served(wine, 1)
    then_it_answers(wine, "1")


def test_an_autoscaler_scales_and_its_number_is_left_alone(namespace: str, facts: Facts) -> None:
    wine = given_a_deployment(
        namespace,
        given_a_registered_model(facts, "1").version(1),
        scaling={"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 60},
    )
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    # Of the little that a pod here asks for, a few requests are more than 60 percent.
    with under_load(wine.request, per_second=20) as load:
        wait_for(wine, "the autoscaler has added a pod", lambda: _ready(wine.status) == 2)
        when_the_spec_changes(wine, server={"env": [{"name": "FLAVOUR", "value": "dry"}]})
        then_is_served(wine, 1)
    then_nothing_failed(load)
    # The new revision began with as many pods as the old one had come to.
    assert _ready(wine.status) == 2

    when_the_spec_changes(wine, scaling={"maxReplicas": None, "targetCPUUtilization": None})
    wait_for(wine, "the autoscaler is gone", lambda: children_of(wine, kube.AUTOSCALER) == [])
    wait_for(wine, "1 pod is left", lambda: len(children_of(wine, kube.POD)) == 1)
    then_it_answers(wine, "1")


def _ready(status: dict[str, Any]) -> int | None:
    ready: int | None = status.get("stable", {}).get("readyReplicas")
    return ready
