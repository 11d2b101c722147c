"""What serves goes on serving, against a real API server: whatever is refused, hidden or lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlflow_model_operator.api import names
from tests.integration.control_plane import wait_for
from tests.integration.operator.conftest import Json, World

DRAIN_DELAY = 1.0  # seconds, of the operator in these tests
POLICIES = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def frozen_services(world: World) -> Iterator[None]:
    """A policy of the cluster's: no Service of the namespace may be changed."""
    name = f"freeze-{world.namespace}"
    place = {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["services"],
    }
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "change freeze"}],
    }
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": place},
    }
    made = (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding))
    for plural, spec in made:
        body = {"metadata": {"name": name}, "spec": spec}
        assert world.api.request("POST", f"{POLICIES}/{plural}", body).ok
    wait_for(lambda: not _may_change_service(world), "the policy to be enforced")
    yield
    for plural, _ in reversed(made):
        assert world.api.request("DELETE", f"{POLICIES}/{plural}/{name}").ok
    wait_for(lambda: _may_change_service(world), "the policy to be gone")


def _may_change_service(world: World) -> bool:
    path = f"/api/v1/namespaces/{world.namespace}/services/wine?dryRun=All"
    patch = {"metadata": {"annotations": {"try": "it"}}}
    return world.api.request("PATCH", path, patch, "application/merge-patch+json").ok


def selected(world: World) -> str | None:
    """The revision that the public Service selects; None if it selects those of all."""
    selector: Json = world.children("services")["wine"]["spec"]["selector"]
    return selector.get(names.REVISION)


def reasons(world: World) -> list[str]:
    return [event["reason"] for event in world.children("events").values()]


def given_an_update_that_is_not_ready(world: World, old: str) -> str:
    """A new pod template, which the spec states instead of the old one's; its revision."""
    world.patch("mmd", "wine", {"spec": {"server": {"image": "nosuch.example/x:1"}}})
    world.until("a second Deployment", lambda: len(world.children("deployments")) == 2)
    (new,) = set(world.children("deployments")) - {old}
    world.until("the target in the status", lambda: "target" in world.status())
    return new


def test_an_old_revision_stays_while_the_service_cannot_be_pointed_elsewhere(world: World) -> None:
    old = world.given_wine_is_served()
    with frozen_services(world):
        world.mlflow.point(world.model, "champion", "2")
        new = world.until_revision_of("2")
        world.set_ready(new)
        refused = world.until_condition("Progressing", "False", "ApplyRefused")
        assert "change freeze" in refused["message"]
        assert selected(world) == old
        time.sleep(3 * DRAIN_DELAY)
        assert set(world.children("deployments")) == {old, new}
        assert world.condition("Available")["message"] == "Version 1 is served by 1 pod"
        assert world.status()["rollout"]["phase"] == "Moving"
        assert "TrafficMoved" not in reasons(world)
    world.until("the old gone", lambda: set(world.children("deployments")) == {new})
    world.until_condition("Ready", "True", "Ready")
    assert selected(world) == new
    assert reasons(world).count("TrafficMoved") == 1


@pytest.mark.parametrize("is_owned", [True, False])
@pytest.mark.parametrize("label", [names.MANAGED_BY, names.DEPLOYMENT])
def test_a_hidden_deployment_keeps_the_traffic_and_gets_its_label_back(
    world: World, label: str, is_owned: bool
) -> None:
    old = world.given_wine_is_served()
    new = given_an_update_that_is_not_ready(world, old)
    metadata: Json = {"labels": {label: "helm"}}
    if not is_owned:
        metadata["ownerReferences"] = None
    world.patch("deployments", old, {"metadata": metadata})

    def is_adopted() -> bool:
        adopted = world.children("deployments")[old]["metadata"]
        owners = [owner["kind"] for owner in adopted.get("ownerReferences", ())]
        return adopted["labels"][label] != "helm" and owners == [names.KIND]

    world.until("the label and the owner again", is_adopted)
    assert selected(world) == old
    assert world.status()["stable"]["revision"] == old
    assert world.condition("Available")["status"] == "True"

    # It is watched again.
    world.set_ready(old, 0)
    world.until("Available=False", lambda: world.condition("Available")["status"] == "False")
    world.set_ready(new)
    world.until("the traffic at the new revision", lambda: selected(world) == new)


def test_a_deleted_deployment_of_an_older_template_hands_over_to_nothing_that_is_not_ready(
    world: World,
) -> None:
    old = world.given_wine_is_served()
    new = given_an_update_that_is_not_ready(world, old)
    world.delete("deployments", old)
    world.until_condition("Available", "False", "RevisionMissing")
    assert selected(world) == old
    world.set_ready(new)
    world.until("the traffic at the new revision", lambda: selected(world) == new)
    world.until_condition("Available", "True", "MinimumReplicasAvailable")


def test_a_child_without_our_label_is_watched_on(world: World) -> None:
    old = world.given_wine_is_served()
    world.patch("deployments", old, {"metadata": {"labels": {names.DEPLOYMENT: None}}})
    world.set_ready(old, 0)
    world.until("Available=False", lambda: world.condition("Available")["status"] == "False")
    world.until(
        "the label again",
        lambda: names.DEPLOYMENT in world.children("deployments")[old]["metadata"]["labels"],
    )


def test_a_service_without_owner_is_adopted_and_updates_go_on(world: World) -> None:
    world.given_wine_is_served()
    world.patch("services", "wine", {"metadata": {"ownerReferences": None}})
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.set_ready(new)
    world.until("the traffic at the new revision", lambda: selected(world) == new)
    world.until_condition("Ready", "True", "Ready")
    (owner,) = world.children("services")["wine"]["metadata"]["ownerReferences"]
    assert owner["uid"] == world.get()["metadata"]["uid"]


def test_a_resource_that_is_made_again_adopts_what_its_orphans_serve(world: World) -> None:
    spec = {"model": {"uri": f"models:/{world.model}@champion"}}
    old = world.given_wine_is_served(spec)
    uid = world.children("deployments")[old]["metadata"]["uid"]
    world.api.kubectl(
        *("delete", "mmd", "wine", "--cascade=orphan", "--wait=false", "-n", world.namespace)
    )
    # The garbage collector, which does not run here, lets go of what is orphaned.
    for kind, name in (("deployments", old), ("services", "wine")):
        world.patch(kind, name, {"metadata": {"ownerReferences": None}})
    world.patch("mmd", "wine", {"metadata": {"finalizers": None}})
    world.apply(spec)
    world.until_condition("Ready", "True", "Ready")
    assert world.children("deployments")[old]["metadata"]["uid"] == uid
    assert selected(world) == old


def test_an_edited_port_is_set_right(world: World) -> None:
    world.given_wine_is_served()
    edit = [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]
    path = f"/api/v1/namespaces/{world.namespace}/services/wine"
    assert world.api.request("PATCH", path, edit, "application/json-patch+json").ok
    world.until("port 80 again", lambda: _ports(world) == [80])
    world.until_condition("Ready", "True", "Ready")


def _ports(world: World) -> list[int]:
    return [entry["port"] for entry in world.children("services")["wine"]["spec"]["ports"]]


def test_a_lost_status_deletes_nothing_that_serves(world: World) -> None:
    old = world.given_wine_is_served()
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.until("the target in the status", lambda: "target" in world.status())

    resource = {**world.get(), "status": {}}
    path = f"/apis/{names.API_VERSION}/namespaces/{world.namespace}/{names.PLURAL}/wine/status"
    assert world.api.request("PUT", path, resource).ok

    world.until("a status again", lambda: "target" in world.status())
    assert world.status()["stable"]["revision"] == old
    assert world.status()["stable"]["modelVersion"] == "1"
    assert set(world.children("deployments")) == {old, new}
    assert selected(world) == old
    world.until_condition("Available", "True", "MinimumReplicasAvailable")


def test_stop_and_start_promote_no_version_that_was_never_ready(world: World) -> None:
    old = world.given_wine_is_served()
    world.mlflow.point(world.model, "champion", "2")
    bad = world.until_revision_of("2")
    world.until("the target in the status", lambda: "target" in world.status())
    for replicas in (0, 1):
        world.api.kubectl("scale", "mmd", "wine", f"--replicas={replicas}", "-n", world.namespace)
        world.until(
            f"{replicas} replicas",
            lambda: world.children("deployments")[old]["spec"]["replicas"] == replicas,  # noqa: B023
        )
        world.set_ready(old)
    world.until_condition("Available", "True", "MinimumReplicasAvailable")
    assert selected(world) == old
    assert set(world.children("deployments")) == {old, bad}
    assert "TrafficMoved" not in reasons(world)


def test_a_split_by_pods_leaves_out_what_has_not_taken_over(world: World) -> None:
    spec = {
        "model": {"uri": f"models:/{world.model}@champion"},
        "canary": {"uri": f"models:/{world.model}/2", "weight": 50},
        "scaling": {"minReplicas": 2},
    }
    world.apply(spec)
    old, canary = world.until_revision_of("1"), world.until_revision_of("2")
    for revision in (old, canary):
        world.set_ready(revision)
    world.until_condition("TrafficSplit", "True", "Applied")
    assert selected(world) is None

    world.apply({**spec, "server": {"env": [{"name": "MODE", "value": "new"}]}})
    world.until("the Service at the stable revision", lambda: selected(world) == old)
    world.until_condition("TrafficSplit", "False", "CanaryNotReady")
    assert len(world.children("deployments")) >= 3
