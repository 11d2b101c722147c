"""Shadows against a real API server; the metrics of the pods that send copies are real too."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.operator.conftest import Json, World
from tests.integration.operator.metrics_pods import ModelPod
from tests.integration.operator.test_gitops import ended
from tests.integration.operator.test_rollouts import MeasuredPods

CONFIG = "wine-shadow"


@pytest.fixture
def pods(world: World) -> Iterator[MeasuredPods]:
    given = MeasuredPods(world)
    yield given
    given.close()


def copies(world: World) -> dict[str, Json]:
    """What the pods are told, by the revision that reads it."""
    data = world.children("configmaps").get(CONFIG, {}).get("data", {})
    return {file.removesuffix(".json"): json.loads(text) for file, text in data.items()}


def shadow(world: World) -> Json:
    found: Json = world.status().get("shadow", {})
    return found


def given_a_shadow(world: World, pods: MeasuredPods) -> tuple[ModelPod, str]:
    """Version 1 serves with a pod, and the pods of version 2 are ready to be its shadow."""
    stable = world.given_wine_is_served()
    sender = pods.run(stable)
    spec = {"model": {"uri": f"models:/{world.model}@champion"}}
    world.apply({**spec, "shadow": {"uri": f"models:/{world.model}/2", "percent": 20}})
    revision = world.until_revision_of("2")
    world.set_ready(revision)
    return sender, revision


def given_version_2_is_a_shadow_first(
    world: World, pods: MeasuredPods, stable: str
) -> tuple[ModelPod, str]:
    """The alias has moved to version 2, which is ready to get copies from the stable one's pod."""
    sender = pods.run(stable)
    world.mlflow.point(world.model, "champion", "2")
    target = world.until_revision_of("2")
    world.set_ready(target)
    until_it_waits_for(world, "Shadow")
    assert copies(world)[stable]["revision"] == target
    return sender, target


def until_it_waits_for(world: World, cause: str) -> None:
    world.until(f"waits for {cause}", lambda: world.status()["rollout"].get("waitingFor") == cause)


def test_a_shadow_shadows_when_the_pods_say_so(world: World, pods: MeasuredPods) -> None:
    sender, revision = given_a_shadow(world, pods)
    world.until_condition("ShadowReady", "False", "ShadowPending")
    assert revision in world.children("services")
    told = copies(world)[sender.revision]
    assert (told["revision"], told["percent"]) == (revision, 20)
    assert told["url"] == f"http://{revision}:80"
    assert shadow(world)["phase"] == "Starting"

    sender.send_copies(revision, rows=200, disagreed=5, failed=3)
    world.until_condition("ShadowReady", "True", "Shadowing")
    found = shadow(world)
    assert (found["phase"], found["modelVersion"], found["senders"]) == ("Shadowing", "2", 1)
    assert (found["requests"], found["errors"], found["comparedRows"]) == (203, 3, 200)
    assert (found["disagreementPercent"], found["meanAbsoluteError"]) == (2.5, 0.25)
    assert 90 <= found["latencyP95Milliseconds"] <= 100
    assert world.condition("Ready")["status"] == "True"
    assert [share["modelVersion"] for share in world.status()["traffic"]] == ["1"]


def test_a_shadow_that_is_dropped_leaves_nothing(world: World, pods: MeasuredPods) -> None:
    sender, revision = given_a_shadow(world, pods)
    world.until("the ConfigMap", lambda: copies(world))
    world.delete("configmaps", CONFIG)
    sender.send_copies(revision)
    world.until("the ConfigMap again", lambda: copies(world))

    world.apply({"model": {"uri": f"models:/{world.model}@champion"}})
    world.until("no ConfigMap", lambda: CONFIG not in world.children("configmaps"))
    world.until("no pods", lambda: set(world.children("deployments")) == {sender.revision})
    assert revision not in world.children("services")
    world.until("no status", lambda: not shadow(world) and not world.condition("ShadowReady"))


def test_somebody_elses_config_map_is_left_alone(world: World, pods: MeasuredPods) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps"
    body = {"metadata": {"name": CONFIG}, "data": {"key": "theirs"}}
    assert world.api.request("POST", path, body).ok
    given_a_shadow(world, pods)

    message = world.until_condition("ShadowReady", "False", "NameTaken")["message"]
    assert f"ConfigMap {CONFIG} already exists" in message
    assert world.children("configmaps")[CONFIG]["data"] == {"key": "theirs"}
    assert world.condition("Ready")["status"] == "True"


def test_a_version_that_predicts_otherwise_fails_before_its_first_request(
    world: World, pods: MeasuredPods
) -> None:
    analysis = {"interval": "1s", "minRequests": 50, "shadow": {"maxDisagreementPercent": 5}}
    steps = [{"shadow": {"percent": 50}, "hold": "1h"}, {"weight": 50}]
    stable = world.given_wine_is_served(
        {
            "model": {"uri": f"models:/{world.model}@champion"},
            "rollout": {"steps": steps, "analysis": analysis},
        }
    )
    sender, target = given_version_2_is_a_shadow_first(world, pods, stable)

    sender.send_copies(target, rows=100)
    until_it_waits_for(world, "Hold")
    world.until("a verdict", lambda: "analysis" in world.status()["rollout"])
    sender.send_copies(target, rows=600, disagreed=150)

    message = world.until_condition("Progressing", "False", "AnalysisFailed")["message"]
    assert "disagreement 30 % of 500 rows (beyond maxDisagreementPercent 5)" in message
    status = world.status()
    assert [share["revision"] for share in status["traffic"]] == [stable]
    assert status["rollout"]["failed"][0]["revision"] == target
    world.until("no ConfigMap", lambda: CONFIG not in world.children("configmaps"))


def test_a_version_that_crashes_when_it_gets_copies_never_gets_a_request(
    world: World, pods: MeasuredPods
) -> None:
    steps = [{"shadow": {"percent": 50}, "hold": "1h"}, {"weight": 50}]
    model = {"uri": f"models:/{world.model}@champion"}
    stable = world.given_wine_is_served({"model": model, "rollout": {"steps": steps}})
    _, target = given_version_2_is_a_shadow_first(world, pods, stable)

    world.fail_pods(target, "containerStatuses", {"state": {"terminated": ended()}})
    world.set_ready(target, 0)

    world.until("a verdict", lambda: world.status()["rollout"].get("phase") == "Failed")
    message = world.until_condition("Progressing", "False", "ContainerCrashed")["message"]
    assert "was rolled back" in message and "Version 1 is still served" in message
    assert [share["revision"] for share in world.status()["traffic"]] == [stable]
    world.until("no ConfigMap", lambda: CONFIG not in world.children("configmaps"))
