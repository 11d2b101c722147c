"""What serves goes on serving, and the status says so: whatever is refused, hidden or lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.client import ApiError
from tests.unit.operator.simulation.cluster import GATEWAY, KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, World


def given_wine_is_served(*, has_gateway: bool = False, **spec: Any) -> tuple[World, str]:
    """Version 1 serves; its revision."""
    world = World(has_gateway=has_gateway, **spec)
    world.settle()
    assert world.condition("Ready") == ("True", "Ready")
    return world, world.revision_of("1")


def move(world: World, version: str, *, ready: int | None = None) -> str:
    """The alias moves, and the new revision's pods get ready (`ready` of them); returns it."""
    world.registry.aliases[ALIAS] = version
    world.reconcile()
    revision = world.revision_of(version)
    world.set_ready(revision, ready)
    world.reconcile()
    return revision


def later(world: World, seconds: float = 30.0) -> None:
    world.now += seconds
    world.reconcile()


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.cluster.recorded]


# Done because the data plane shows it, not because it was asked for


@pytest.mark.parametrize("has_gateway", [False, True])
def test_while_the_service_cannot_be_changed_the_old_revision_stays(has_gateway: bool) -> None:
    world, old = given_wine_is_served(has_gateway=has_gateway)
    world.cluster.frozen = {"Service"}
    new = move(world, "2")
    world.data_plane.gateway_looks("True")
    later(world)
    assert set(world.deployments) == {old, new}
    assert world.condition("Progressing") == ("False", "ApplyRefused")
    assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert world.status["rollout"]["phase"] == "Moving"
    assert "TrafficMoved" not in reasons(world)

    world.cluster.frozen = set()
    later(world)
    later(world)
    assert set(world.deployments) == {new}
    assert "TrafficMoved" in reasons(world)
    assert world.condition("Ready") == ("True", "Ready")


def test_available_says_what_the_frozen_service_leads_to() -> None:
    world, old = given_wine_is_served()
    world.cluster.frozen = {"Service"}
    move(world, "2")
    assert world.message("Available") == "Version 1 is served by 1 pod"
    world.set_ready(old, 0)
    world.reconcile()
    assert world.condition("Available")[0] == "False"


def test_further_versions_do_not_pile_up_while_the_service_cannot_be_changed() -> None:
    world, old = given_wine_is_served()
    world.cluster.frozen = {"Service"}
    for version in ("2", "3", "4"):
        newest = move(world, version)
        later(world)
    assert set(world.deployments) == {old, newest}


def test_a_deployment_that_cannot_be_deleted_is_reported_and_holds_up_nothing() -> None:
    world, _ = given_wine_is_served()

    async def refuse(kind: kinds.Kind, obj: Json) -> None:
        raise ApiError(403, "Forbidden", "deployments may not be deleted")

    world.cluster.delete = refuse  # type: ignore[method-assign]
    move(world, "2")
    later(world)
    assert world.condition("Progressing") == ("False", "ApplyRefused")
    assert world.message("Available") == "Version 2 is served by 1 pod"


def test_a_gateway_that_does_not_exist_holds_no_old_revision() -> None:
    world = World(has_gateway=True)
    world.cluster.remove(kinds.GATEWAY, GATEWAY.name, GATEWAY.namespace)
    world.reconcile()
    for version in ("1", "2", "3", "4"):
        newest = move(world, version)
        later(world, 6.0)
    assert set(world.deployments) == {newest}
    assert world.condition("Ready") == ("False", "GatewayNotFound")


def test_a_gateway_that_was_deleted_holds_no_old_revision() -> None:
    world, _ = given_wine_is_served(has_gateway=True)
    world.cluster.remove(kinds.GATEWAY, GATEWAY.name, GATEWAY.namespace)
    world.reconcile()
    assert world.condition("RouteAccepted") == ("False", "GatewayNotFound")
    new = move(world, "2")
    later(world, 6.0)
    assert set(world.deployments) == {new}


def test_a_gateway_that_never_answers_holds_old_revisions_for_a_minute() -> None:
    world = World(has_gateway=True)
    for version in ("1", "2", "3"):
        newest = move(world, version)
        later(world, 70.0)
        later(world, 70.0)
        assert set(world.deployments) == {newest}
    assert world.condition("Ready") == ("False", "WaitingForGateway")


def test_a_silent_gateway_holds_the_revision_that_it_accepted_last_and_no_other() -> None:
    world, old = given_wine_is_served(has_gateway=True)
    for version in ("2", "3", "4"):
        newest = move(world, version)
        later(world, 70.0)
        later(world, 3600.0)
        assert set(world.deployments) == {old, newest}
    assert world.condition("Ready") == ("False", "WaitingForGateway")
    assert world.condition("Progressing") == ("True", "MovingTraffic")
    world.data_plane.gateway_looks("True")
    later(world)
    assert set(world.deployments) == {newest}
    assert reasons(world)[-2:] == ["TrafficMoved", "Drained"]


def test_a_gateway_that_refuses_the_route_holds_the_old_revision_for_ten_minutes() -> None:
    world, old = given_wine_is_served(has_gateway=True)
    new = move(world, "2")
    world.data_plane.gateway_looks("False")
    later(world, 500.0)
    assert set(world.deployments) == {old, new}
    assert world.condition("Ready") == ("False", "RouteRefused")
    later(world, 200.0)
    assert set(world.deployments) == {new}


def test_a_gateway_that_is_not_programmed_accepts_nothing() -> None:
    world, _ = given_wine_is_served(has_gateway=True)
    world.cluster.edit(
        kinds.GATEWAY, GATEWAY.name, {"spec": {"gatewayClassName": "nosuch"}}, GATEWAY.namespace
    )
    world.reconcile()
    assert world.condition("RouteAccepted") == ("False", "GatewayNotProgrammed")
    assert "GatewayClass nosuch" in world.message("RouteAccepted")


# Not seen is not gone


@pytest.mark.parametrize("has_gateway", [False, True])
@pytest.mark.parametrize("label", [names.MANAGED_BY, names.DEPLOYMENT])
@pytest.mark.parametrize("is_owned", [True, False])
def test_a_hidden_deployment_of_an_older_template_serves_on_and_is_adopted_again(
    has_gateway: bool, label: str, is_owned: bool
) -> None:
    world, old = given_wine_is_served(has_gateway=has_gateway)
    world.spec({"server": {"image": "nosuch.example/x:1"}})
    world.reconcile()
    metadata: Json = {"labels": {label: "somebody-else"}}
    if not is_owned:
        metadata["ownerReferences"] = None
    world.cluster.edit(kinds.DEPLOYMENT, old, {"metadata": metadata})
    world.reconcile()
    assert world.status["stable"]["revision"] == old
    assert world.data_plane.by_service() == {old}
    assert world.condition("Available")[0] == "True"
    labels = world.deployments[old]["metadata"]["labels"]
    assert labels[names.MANAGED_BY] == names.MANAGED_BY_VALUE
    assert labels[names.DEPLOYMENT] == KEY.name
    assert world.deployments[old]["metadata"]["ownerReferences"][0]["controller"] is True


def test_a_deleted_deployment_of_an_older_template_keeps_the_traffic_until_another_answers() -> (
    None
):
    world, old = given_wine_is_served(has_gateway=True)
    world.spec({"server": {"image": "nosuch.example/x:1"}})
    world.reconcile()
    (new,) = set(world.deployments) - {old}
    world.cluster.remove(kinds.DEPLOYMENT, old)
    world.reconcile()
    assert [share["revision"] for share in world.status["traffic"]] == [old]
    assert world.condition("Available") == ("False", "RevisionMissing")
    world.set_ready(new)
    world.reconcile()
    assert [share["revision"] for share in world.status["traffic"]] == [new]


def test_a_hidden_draining_deployment_is_not_left_behind() -> None:
    world, old = given_wine_is_served()
    move(world, "2")
    labels = {"labels": {names.MANAGED_BY: "helm"}}
    world.cluster.edit(kinds.DEPLOYMENT, old, {"metadata": labels})
    world.reconcile()
    later(world)
    assert old not in world.deployments


@pytest.mark.parametrize(
    ("has_gateway", "kind"),
    [(False, kinds.SERVICE), (True, kinds.SERVICE), (True, kinds.ROUTE)],
)
def test_an_own_object_without_owner_is_adopted(has_gateway: bool, kind: kinds.Kind) -> None:
    world, _ = given_wine_is_served(has_gateway=has_gateway)
    world.cluster.edit(kind, KEY.name, {"metadata": {"ownerReferences": None}})
    new = move(world, "2")
    assert new in world.deployments
    assert world.cluster.live(kind)[KEY.name]["metadata"]["ownerReferences"][0]["controller"]
    assert world.condition("Available")[0] == "True"


def test_a_name_that_is_somebody_elses_holds_up_the_service_only() -> None:
    world = World(has_gateway=True)
    service = {"metadata": {"name": KEY.name, "namespace": KEY.namespace}, "spec": {"ports": []}}
    world.cluster.create(kinds.SERVICE, service)
    world.settle()
    assert world.condition("Available") == ("False", "NameTaken")
    assert world.deployments


def test_a_service_of_a_revision_that_is_gone_is_made_again() -> None:
    world, old = given_wine_is_served(has_gateway=True)
    world.spec({"server": {"image": "nosuch.example/x:1"}})
    world.reconcile()
    world.cluster.remove(kinds.SERVICE, old)
    world.reconcile()
    assert old in world.cluster.live(kinds.SERVICE)


# Never to what is not ready


def test_stop_and_start_promote_no_version_that_was_never_ready() -> None:
    world, old = given_wine_is_served()
    bad = move(world, "5", ready=0)
    world.spec({"scaling": {"minReplicas": 0}})
    world.reconcile()
    world.set_ready(old, 0)
    later(world)
    assert world.status["stable"]["revision"] == old
    world.spec({"scaling": {"minReplicas": 1}})
    world.reconcile()
    world.set_ready(old)
    later(world)
    assert world.status["stable"]["revision"] == old
    assert world.condition("Available")[0] == "True"
    assert "TrafficMoved" not in reasons(world)
    world.set_ready(bad)
    world.reconcile()
    assert world.status["stable"]["revision"] == bad


def test_a_service_split_leaves_out_revisions_that_do_not_serve() -> None:
    canary = {"uri": "models:/wine/2", "weight": 50}
    world, old = given_wine_is_served(canary=canary, scaling={"minReplicas": 2})
    second = world.revision_of("2")
    assert world.data_plane.by_service() == {old, second}
    third = move(world, "3", ready=1)
    assert world.data_plane.by_service() == {old}
    assert world.condition("TrafficSplit") == ("False", "UpdateInProgress")
    world.set_ready(third)
    world.settle()
    assert world.data_plane.by_service() == {third, second}
    assert world.condition("TrafficSplit")[1] == "Applied"


def test_available_is_about_the_canary_where_that_has_all_requests() -> None:
    canary = {"uri": "models:/wine/2", "weight": 100}
    world, old = given_wine_is_served(has_gateway=True, canary=canary)
    second = world.revision_of("2")
    world.set_ready(old, 0)
    world.reconcile()
    assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert world.data_plane.by_service() == {second}

    world.spec({"canary": {"weight": 50}})
    world.reconcile()
    assert [share["revision"] for share in world.status["traffic"]] == [second]
    assert world.condition("TrafficSplit") == ("False", "StableNotReady")
    world.set_ready(old)
    world.settle()
    assert {share["weight"] for share in world.status["traffic"]} == {50}


def test_a_new_revision_that_fails_at_once_gives_the_traffic_back() -> None:
    world, old = given_wine_is_served()
    new = move(world, "2")
    assert world.data_plane.by_service() == {new}
    world.set_ready(new, 0)
    world.reconcile()
    assert world.data_plane.by_service() == {old}
    assert world.message("Available") == "Version 1 is served by 1 pod"
    assert reasons(world)[-1] == "RolledBack"


# The status is not the only memory


@pytest.mark.parametrize("has_gateway", [False, True])
@pytest.mark.parametrize("does_restart", [False, True])
def test_a_lost_status_deletes_nothing_that_serves(has_gateway: bool, does_restart: bool) -> None:
    world, old = given_wine_is_served(has_gateway=has_gateway)
    new = move(world, "6", ready=0)
    world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})
    if does_restart:
        world.restart()
    later(world)
    assert set(world.deployments) == {old, new}
    assert world.data_plane.by_service() == {old}
    assert world.status["stable"]["modelVersion"] == "1"
    assert world.status["target"]["revision"] == new
    assert world.condition("Available")[0] == "True"


def test_a_lost_status_while_the_registry_is_down_serves_on() -> None:
    world, old = given_wine_is_served()
    world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})
    world.registry.is_down = True
    later(world)
    assert world.status["stable"]["revision"] == old
    assert world.condition("Available")[0] == "True"


def test_a_lost_status_keeps_canary_and_stable_apart() -> None:
    canary = {"uri": "models:/wine/2", "weight": 100}
    world, old = given_wine_is_served(has_gateway=True, canary=canary)
    third = move(world, "3", ready=0)
    world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})
    later(world)
    assert world.status["stable"]["revision"] == old
    assert world.status["target"]["revision"] == third
    assert [share["weight"] for share in world.status["traffic"]] == [100]


def test_a_future_time_in_the_status_holds_nothing() -> None:
    world, old = given_wine_is_served()
    move(world, "2")
    entry = {"revision": old, "since": "2033-01-01T00:00:00Z"}
    world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": {"draining": [entry]}})
    world.reconcile()
    later(world)
    assert old not in world.deployments


# One host name, two resources


@pytest.mark.parametrize(
    ("namespace", "who"),
    [
        ("models", "MLflowModelDeployment elder"),
        ("others", "an MLflowModelDeployment of another namespace"),
    ],
)
def test_of_two_resources_with_one_host_name_the_younger_says_so(namespace: str, who: str) -> None:
    world = World(has_gateway=True)
    spec = {"model": {"uri": "models:/wine/3"}, "routing": world.resource["spec"]["routing"]}
    created = {"creationTimestamp": "2025-01-01T00:00:00Z"}
    metadata = {"name": "elder", "namespace": namespace, **created}
    world.cluster.create(kinds.RESOURCE, {"metadata": metadata, "spec": spec})
    world.settle()
    assert world.condition("RouteAccepted") == ("False", "HostnameTaken")
    assert world.condition("Ready") == ("False", "HostnameTaken")
    assert who in world.message("RouteAccepted")
    assert KEY.name not in world.cluster.live(kinds.ROUTE)
    assert world.condition("Available")[0] == "True"

    world.enqueued.clear()
    world.cluster.remove(kinds.RESOURCE, "elder", namespace)
    world.cluster.deliver()
    assert KEY in world.enqueued
    world.settle()
    assert world.condition("RouteAccepted") == ("True", "Accepted")


# The operator's own changes of the pod template


def test_a_new_template_of_the_operators_making_waits_for_its_turn() -> None:
    world, old = given_wine_is_served()
    world.settings = replace(world.settings, scoring_images={"3.11": "scoring:next"})
    world.restart()
    world.reconciler._slots._limit = 0
    world.reconcile()
    assert set(world.deployments) == {old}
    assert world.condition("Ready") == ("True", "Ready")
    assert "maxTemplateUpdates" in world.message("Progressing")

    world.reconciler._slots._limit = 1
    world.reconcile()
    assert len(world.deployments) == 2
    world.settle()
    assert old not in world.deployments


@pytest.mark.parametrize(
    "patch", [{"server": {"env": [{"name": "A", "value": "1"}]}}, {"scaling": {"minReplicas": 2}}]
)
def test_a_change_of_the_spec_waits_for_nobody(patch: Json) -> None:
    world, _ = given_wine_is_served()
    world.settings = replace(world.settings, scoring_images={"3.11": "scoring:next"})
    world.restart()
    world.reconciler._slots._limit = 0
    world.spec(patch)
    world.reconcile()
    assert len(world.deployments) == 2


def test_a_new_version_waits_for_nobody() -> None:
    world, _ = given_wine_is_served()
    world.settings = replace(world.settings, scoring_images={"3.11": "scoring:next"})
    world.restart()
    world.reconciler._slots._limit = 0
    new = move(world, "2")
    assert world.data_plane.by_service() == {new}


AUTOSCALED: Json = {
    "scaling": {"minReplicas": 1, "maxReplicas": 20},
    "server": {"resources": {"requests": {"cpu": "1"}}},
}


@pytest.mark.parametrize(
    "role",
    [
        {"canary": {"uri": "models:/wine/2", "weight": 5}},
        {"variants": [{"name": "b", "uri": "models:/wine/2", "weight": 5}]},
        {"shadow": {"uri": "models:/wine/2"}},
    ],
)
@pytest.mark.parametrize("scaling", [AUTOSCALED, {"scaling": {"minReplicas": 10}}])
def test_a_revision_with_a_few_pods_takes_over_once_it_has_them_all(
    role: Json, scaling: Json
) -> None:
    world = World(has_gateway=True, **scaling, **role)
    world.settle()
    old, new = world.revision_of("1"), world.revision_of("2")
    world.cluster.edit(kinds.DEPLOYMENT, old, {"spec": {"replicas": 10}})
    if "canary" in role or "variants" in role:
        world.cluster.edit(kinds.DEPLOYMENT, new, {"spec": {"replicas": 1}})
    world.set_ready(old)
    world.set_ready(new, 1)
    world.registry.aliases[ALIAS] = "2"
    world.cluster.requests.clear()
    world.reconcile()
    assert world.status["stable"]["revision"] == old
    assert f"apply Service {KEY.name}" not in world.cluster.requests, "moved, and back again"
    assert world.deployments[new]["spec"]["replicas"] == 10
    world.set_ready(new)
    world.reconcile()
    assert world.status["stable"]["revision"] == new
    assert world.deployments[new]["spec"]["replicas"] == 10
