"""Nothing that others write is missed, whatever the operator writes at the same time."""

from __future__ import annotations

import pytest

from mlflow_model_operator.api import names
from tests.integration.operator.conftest import World

CHILDREN = ("deployments", "services", "poddisruptionbudgets")


def test_the_last_generation_is_reconciled_however_fast_the_spec_changes(world: World) -> None:
    """Far sooner than the resync, which would come in ten minutes."""
    uri = f"models:/{world.model}@champion"
    revision = world.given_wine_is_served({"model": {"uri": uri}})
    for replicas in [2, 3] * 30:
        world.patch("mmd", "wine", {"spec": {"scaling": {"minReplicas": replicas}}})
    world.until(
        "the last number of replicas",
        lambda: world.children("deployments")[revision]["spec"]["replicas"] == 3,
    )
    world.until(
        "the last generation in the status",
        lambda: world.status()["observedGeneration"] == world.get()["metadata"]["generation"],
    )


def test_a_status_that_somebody_edits_is_written_again(world: World) -> None:
    world.given_wine_is_served()
    for _ in range(5):
        world.patch("mmd", "wine/status", {"status": {"url": "http://elsewhere"}})
        world.until("our URL", lambda: world.status().get("url") != "http://elsewhere")


@pytest.mark.parametrize("label", [names.DEPLOYMENT, names.MANAGED_BY])
@pytest.mark.parametrize("kind", CHILDREN)
def test_a_label_that_somebody_removes_comes_back(world: World, kind: str, label: str) -> None:
    uri = f"models:/{world.model}@champion"
    spec = {"model": {"uri": uri}, "scaling": {"minReplicas": 2}}
    world.given_wine_is_served(spec)
    name = world.until(f"one of {kind}", lambda: next(iter(world.children(kind)), None))

    world.patch(kind, name, {"metadata": {"labels": {label: None}}})

    world.until("the label", lambda: label in world.children(kind)[name]["metadata"]["labels"])


def test_what_happens_to_a_child_without_our_label_is_seen(world: World) -> None:
    revision = world.given_wine_is_served()
    world.patch("deployments", revision, {"metadata": {"labels": {names.DEPLOYMENT: None}}})
    world.set_ready(revision, ready=0)
    world.until("no pod that serves", lambda: world.condition("Available")["status"] == "False")
    world.set_ready(revision)
    world.until_condition("Available", "True", "MinimumReplicasAvailable")
