"""A resource's life: children, updates, canaries, drift, scaling, stopping."""

from __future__ import annotations

from tests.integration.operator.conftest import Json, World


def test_a_resource_becomes_its_children_and_is_ready_when_they_are(world: World) -> None:
    world.apply({"model": {"uri": f"models:/{world.model}@champion"}})
    revision = world.until_revision_of("1")
    starting = world.until_condition("Available", "False", "Starting")
    assert "0 of 1 pod ready" in starting["message"]

    world.set_ready(revision)

    world.until_condition("Ready", "True", "Ready")
    status = world.status()
    assert status["observedGeneration"] == 1
    assert status["stable"]["modelVersion"] == "1"
    assert status["traffic"] == [{"revision": revision, "modelVersion": "1", "weight": 100}]
    assert set(world.children("services")) == {"wine"}
    assert world.children("services")["wine"]["spec"]["selector"].items() >= {
        ("mlflow-model-operator.dev/revision", revision)
    }
    assert world.children("horizontalpodautoscalers") == {}
    assert world.children("poddisruptionbudgets") == {}


def test_an_alias_that_moves_takes_the_traffic_over_when_the_new_version_is_ready(
    world: World,
) -> None:
    old = world.given_wine_is_served()

    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.until_condition("Progressing", "True", "NewRevision")
    assert world.status()["stable"]["revision"] == old
    assert world.condition("Available")["status"] == "True"
    world.set_ready(new)

    world.until("the traffic at the new revision", lambda: _serves(world) == new)
    world.until("the old revision gone", lambda: set(world.children("deployments")) == {new})
    world.until_condition("Ready", "True", "Ready")
    assert set(world.children("services")) == {"wine"}
    reasons = [event["reason"] for event in world.children("events").values()]
    assert reasons.count("Serving") == 1
    assert reasons.count("NewRevision") == 1
    assert reasons.count("TrafficMoved") == 1


def test_a_version_that_does_not_get_ready_never_takes_the_traffic(world: World) -> None:
    old = world.given_wine_is_served()
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.set_ready(new, ready=0)
    assert _serves(world) == old

    world.mlflow.point(world.model, "champion", "1")

    world.until("the failed revision gone", lambda: set(world.children("deployments")) == {old})
    world.until_condition("Ready", "True", "Ready")
    assert _serves(world) == old


def test_a_changed_template_is_a_new_revision_and_changing_back_returns_to_the_old(
    world: World,
) -> None:
    spec = {"model": {"uri": f"models:/{world.model}@champion"}}
    old = world.given_wine_is_served(spec)
    world.apply({**spec, "server": {"env": [{"name": "MODE", "value": "new"}]}})
    world.until("a second Deployment", lambda: len(world.children("deployments")) == 2)
    assert _serves(world) == old

    world.apply(spec)

    world.until("one Deployment again", lambda: set(world.children("deployments")) == {old})
    world.until_condition("Ready", "True", "Ready")


def test_a_canary_without_a_gateway_gets_pods_near_its_weight_and_the_status_says_so(
    world: World,
) -> None:
    spec = {"model": {"uri": f"models:/{world.model}@champion"}, "scaling": {"minReplicas": 3}}
    stable = world.given_wine_is_served(spec)
    world.apply({**spec, "canary": {"uri": f"models:/{world.model}/2", "weight": 40}})
    canary = world.until_revision_of("2")
    world.until_condition("TrafficSplit", "False", "CanaryNotReady")
    world.until(
        "two canary pods", lambda: world.children("deployments")[canary]["spec"]["replicas"] == 2
    )

    world.set_ready(canary)

    split = world.until_condition("TrafficSplit", "True", "Applied")
    assert "2 of 5 pods" in split["message"]
    assert {(one["revision"], one["weight"]) for one in world.status()["traffic"]} == {
        (stable, 60),
        (canary, 40),
    }
    selector = world.children("services")["wine"]["spec"]["selector"]
    assert selector == {"mlflow-model-operator.dev/deployment": "wine"}

    world.apply(spec)
    world.until("the canary gone", lambda: set(world.children("deployments")) == {stable})
    assert "canary" not in world.status()


def test_scaling_makes_an_autoscaler_and_a_budget_and_unmakes_them(world: World) -> None:
    spec = {"model": {"uri": f"models:/{world.model}@champion"}}
    revision = world.given_wine_is_served(spec)

    world.apply({**spec, "scaling": {"minReplicas": 2, "maxReplicas": 5}})
    world.until("an HPA", lambda: world.children("horizontalpodautoscalers"))
    autoscaler = world.children("horizontalpodautoscalers")[revision]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 5)

    world.apply({**spec, "scaling": {"minReplicas": 3}})
    world.until("no HPA", lambda: not world.children("horizontalpodautoscalers"))
    world.until(
        "three replicas",
        lambda: world.children("deployments")[revision]["spec"]["replicas"] == 3,
    )
    world.until("a budget", lambda: world.children("poddisruptionbudgets"))

    world.apply(spec)
    world.until("no budget", lambda: not world.children("poddisruptionbudgets"))


def test_kubectl_scale_works_and_zero_stops_the_model(world: World) -> None:
    revision = world.given_wine_is_served()
    for replicas in (3, 0, 1):
        world.api.kubectl("scale", "mmd", "wine", f"--replicas={replicas}", "-n", world.namespace)
        world.until(f"{replicas} replicas", lambda: _replicas(world, revision) == replicas)  # noqa: B023
        if replicas == 0:
            world.until_condition("Available", "False", "Stopped")


def test_scaling_reaches_pods_whose_template_the_spec_states_no_more(world: World) -> None:
    spec = {"model": {"uri": f"models:/{world.model}@champion"}}
    old = world.given_wine_is_served(spec)
    template = world.children("deployments")[old]["spec"]["template"]
    broken = {**spec, "server": {"env": [{"name": "MODE", "value": "broken"}]}}
    world.apply(broken)
    world.until("a second Deployment", lambda: len(world.children("deployments")) == 2)

    world.apply({**broken, "scaling": {"minReplicas": 3}})
    world.until("three replicas", lambda: _replicas(world, old) == 3)
    world.until("a budget", lambda: old in world.children("poddisruptionbudgets"))

    world.apply({**broken, "scaling": {"minReplicas": 2, "maxReplicas": 5}})
    world.until("an HPA", lambda: old in world.children("horizontalpodautoscalers"))
    autoscaler = world.children("horizontalpodautoscalers")[old]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 5)

    world.apply(broken)
    world.until("one replica", lambda: _replicas(world, old) == 1)
    world.until("no HPA", lambda: old not in world.children("horizontalpodautoscalers"))
    assert _serves(world) == old
    assert world.children("deployments")[old]["spec"]["template"] == template


def test_the_autoscalers_replicas_are_never_undone(world: World) -> None:
    spec = {
        "model": {"uri": f"models:/{world.model}@champion"},
        "scaling": {"minReplicas": 1, "maxReplicas": 5},
    }
    revision = world.given_wine_is_served(spec)
    world.patch("deployments", f"{revision}/scale", {"spec": {"replicas": 4}})
    # Any drift makes the operator apply the Deployment again.
    world.patch("deployments", revision, {"spec": {"progressDeadlineSeconds": 1234}})
    world.until(
        "the drift mended",
        lambda: world.children("deployments")[revision]["spec"]["progressDeadlineSeconds"] != 1234,
    )
    assert world.children("deployments")[revision]["spec"]["replicas"] == 4


def test_drift_is_mended_and_what_was_deleted_comes_back(world: World) -> None:
    revision = world.given_wine_is_served()
    uid = world.children("deployments")[revision]["metadata"]["uid"]
    world.patch("services", "wine", {"spec": {"selector": {"app": "other"}}})
    world.delete("deployments", revision)

    world.until(
        "another Deployment of the same name",
        lambda: (
            world.children("deployments").get(revision, {"metadata": {"uid": uid}})["metadata"][
                "uid"
            ]
            != uid
        ),
    )
    world.until(
        "the selector mended",
        lambda: "app" not in world.children("services")["wine"]["spec"]["selector"],
    )
    assert _serves(world) == revision


def test_nothing_but_the_status_of_the_resource_is_ever_written(world: World) -> None:
    world.given_wine_is_served()
    managers = {
        (entry["manager"], entry.get("subresource"))
        for entry in world.get()["metadata"]["managedFields"]
    }
    assert managers == {("user", None), ("mlflow-model-operator", "status")}
    assert "finalizers" not in world.get()["metadata"]
    assert "annotations" not in world.get()["metadata"]


def test_hostile_strings_reach_the_pods_unharmed(world: World) -> None:
    hostile = "'\"\n{{ x }}\n{% for %}\n&anchor *alias !!python/object\t\\ \u2028 é" + "x" * 10_000
    world.given_wine_is_served(
        {
            "model": {"uri": f"models:/{world.model}@champion"},
            "server": {"env": [{"name": "HOSTILE", "value": hostile}]},
            "pod": {"annotations": {"example.com/note": hostile}},
        }
    )
    (deployment,) = world.children("deployments").values()
    template = deployment["spec"]["template"]
    env = {one["name"]: one.get("value") for one in template["spec"]["containers"][0]["env"]}
    assert env["HOSTILE"] == hostile
    assert template["metadata"]["annotations"]["example.com/note"] == hostile


def _serves(world: World) -> str:
    selector = world.children("services")["wine"]["spec"]["selector"]
    return str(selector.get("mlflow-model-operator.dev/revision"))


def _replicas(world: World, revision: str) -> int:
    return int(world.children("deployments")[revision]["spec"]["replicas"])


def test_what_the_spec_states_no_more_goes_from_the_autoscaler(world: World) -> None:
    model = {"uri": f"models:/{world.model}@champion"}
    scaling = {"minReplicas": 1, "maxReplicas": 3}
    calm = {"scaleDown": {"stabilizationWindowSeconds": 600}}
    revision = world.given_wine_is_served(
        {"model": model, "scaling": {**scaling, "behavior": calm}}
    )
    assert (
        _autoscaler(world, revision)["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600
    )

    world.apply({"model": model, "scaling": scaling})

    world.until("no behavior", lambda: "behavior" not in _autoscaler(world, revision))


def _autoscaler(world: World, revision: str) -> Json:
    spec: Json = world.children("horizontalpodautoscalers")[revision]["spec"]
    return spec
