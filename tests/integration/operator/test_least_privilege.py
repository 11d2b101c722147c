"""What the pods of a model have, as the API server has stored it: no more than they need."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.operator.conftest import World

Json = dict[str, Any]


def pod_of(world: World, spec: Json) -> Json:
    """The pod template that a resource with `spec` becomes."""
    world.apply(spec)
    revision = world.until_revision_of("1")
    template: Json = world.children("deployments")[revision]["spec"]["template"]
    return dict(template["spec"])


@pytest.mark.parametrize("in_server", [False, True])
def test_credentials_reach_the_server_only_when_asked_for(world: World, in_server: bool) -> None:
    model = {"uri": f"models:/{world.model}/1", "credentialsSecret": "mlflow"}
    pod = pod_of(world, {"model": {**model, "credentialsInServer": in_server}})
    from_secret = [{"secretRef": {"name": "mlflow"}}]
    assert pod["initContainers"][0]["envFrom"] == from_secret
    assert pod["containers"][0].get("envFrom") == (from_secret if in_server else None)


def test_no_token_is_mounted_for_a_service_account(world: World) -> None:
    pod = pod_of(
        world,
        {"model": {"uri": f"models:/{world.model}/1"}, "pod": {"serviceAccountName": "wine"}},
    )
    assert pod["serviceAccountName"] == "wine"
    assert pod["automountServiceAccountToken"] is False


def test_volumes_are_limited_and_the_limits_are_in_sync(world: World) -> None:
    model = {"uri": f"models:/{world.model}@champion"}
    revision = world.given_wine_is_served(
        {"model": model, "server": {"storage": {"model": "2048Mi", "tmp": 0}}}
    )
    deployment = world.children("deployments")[revision]
    all_volumes = deployment["spec"]["template"]["spec"]["volumes"]
    volumes = {v["name"]: v["emptyDir"] for v in all_volumes if "emptyDir" in v}
    # The API server writes quantities its own way, which is no difference to apply again.
    assert volumes == {"model": {"sizeLimit": "2Gi"}, "tmp": {}}
    world.patch("deployments", revision, {"metadata": {"labels": {"touched": "yes"}}})
    world.until_condition("Ready", "True", "Ready")
    assert world.children("deployments")[revision]["metadata"]["generation"] == 1
