"""What the administrator does not allow, and what another namespace has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dev.cluster.binaries import source_folder
from mlflow_model_operator.settings import PolicySettings, Settings
from tests.integration import control_plane
from tests.integration.control_plane import CRD_FOLDER, ApiServer
from tests.integration.operator.conftest import OperatorThread, World, world_in
from tests.integration.tracking_server import TrackingServer

Json = dict[str, Any]

GATEWAY_API = "apis/gateway.networking.k8s.io/v1"


@pytest.fixture(scope="module")
def api(kubernetes_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of its own, with the Gateway API."""
    folder = tmp_path_factory.mktemp("policy")
    with control_plane.api_server(folder, kubernetes_tools) as server:
        source = source_folder("envoy-gateway", "sigs.k8s.io/gateway-api")
        crds = source / "config" / "crd" / "standard"
        names = ("gateways", "httproutes")
        server.install_crds(
            *CRD_FOLDER.glob("*.yaml"),
            *(crds / f"gateway.networking.k8s.io_{name}.yaml" for name in names),
        )
        yield server


@pytest.fixture(scope="module")
def strict_operator(
    api: ApiServer, mlflow_server: TrackingServer, operator_settings: Settings
) -> Iterator[OperatorThread]:
    """An operator with rules; they are for the namespaces `team-…` alone."""
    rules = PolicySettings(
        tracking_uris=("http://*.{namespace}:9",),
        max_tracking_servers=1,
        hostnames=("*.{namespace}.example.com", "*.shared.example.com"),
    )
    with OperatorThread(replace(operator_settings, policy=rules), str(api.kubeconfig)) as thread:
        yield thread


@pytest.fixture
def world(api: ApiServer, mlflow_server: TrackingServer, strict_operator: OperatorThread) -> World:
    return world_in(api, mlflow_server)


@pytest.fixture
def other_world(api: ApiServer, mlflow_server: TrackingServer, world: World) -> World:
    """Another namespace; its resources are the younger ones."""
    return world_in(api, mlflow_server)


def spec_for(world: World, *hostnames: str, path: str = "/") -> Json:
    return {
        "model": {"uri": f"models:/{world.model}@champion"},
        "routing": {
            "gateway": {"name": "shared", "namespace": "gateways"},
            "hostnames": list(hostnames),
            "path": path,
        },
    }


def hostnames_of(world: World, name: str = "wine") -> list[str] | None:
    """Those of the live route; None where there is none."""
    path = f"/{GATEWAY_API}/namespaces/{world.namespace}/httproutes/{name}"
    response = world.api.request("GET", path)
    return list(response.json()["spec"].get("hostnames", [])) if response.ok else None


def test_a_server_that_is_not_allowed_is_not_even_connected_to(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        world.apply({"model": {"uri": "models:/a/1", "trackingUri": uri}})
        condition = world.until_condition("ModelResolved", "False", "PolicyDenied")
        world.until_condition("Ready", "False", "PolicyDenied")
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "chart value policy.trackingUris" in condition["message"]
    assert world.children("deployments") == {}


def test_a_source_that_is_not_allowed_makes_nothing_and_stops_nothing(world: World) -> None:
    policy = {"sources": [f"models:/{world.model}"]}
    denied = {"model": {"uri": "s3://evil/wine"}, "policy": policy}
    world.apply(denied)
    condition = world.until_condition("ModelResolved", "False", "PolicyDenied")
    assert condition["message"].startswith("spec.model.uri: s3://evil/wine is not allowed")
    world.until_condition("Available", "False", "ModelUnresolved")
    assert world.children("deployments") == world.children("services") == {}

    served = {"model": {"uri": f"models:/{world.model}@champion"}, "policy": policy}
    revision = world.given_wine_is_served(served)
    world.apply(denied)
    world.until_condition("ModelResolved", "False", "PolicyDenied")
    assert world.condition("Available")["status"] == "True"
    assert set(world.children("deployments")) == {revision}


def test_the_youngest_of_too_many_servers_waits_for_its_turn(world: World) -> None:
    def apply(name: str) -> None:
        uri = f"http://{name}.{world.namespace}:9"
        world.apply({"model": {"uri": "models:/a/1", "trackingUri": uri}}, name)

    apply("first")
    world.until_condition("ModelResolved", "False", "RegistryUnreachable", name="first")
    apply("second")
    condition = world.until_condition("ModelResolved", "False", "PolicyDenied", name="second")
    assert "uses 1 other tracking servers already" in condition["message"]

    world.delete("mmd", "first")
    world.until_condition("ModelResolved", "False", "RegistryUnreachable", name="second")


def test_a_host_name_that_is_not_allowed_is_left_out(world: World) -> None:
    allowed = f"wine.{world.namespace}.example.com"
    world.apply(spec_for(world, "bank.example.com", allowed))
    condition = world.until_condition("RouteAccepted", "False", "PolicyDenied")
    assert condition["message"].startswith(
        "spec.routing.hostnames: bank.example.com is not allowed"
    )
    assert world.until("the route", lambda: hostnames_of(world)) == [allowed]

    world.apply(spec_for(world, "bank.example.com"))
    world.until("no route", lambda: hostnames_of(world) is None)

    world.apply(spec_for(world, allowed))
    world.until("the route", lambda: hostnames_of(world) == [allowed])
    world.until_condition("RouteAccepted", "False", "GatewayNotFound")


def test_a_host_name_of_another_namespace_stays_with_it(world: World, other_world: World) -> None:
    bank, thief = world, other_world
    hostname = f"bank-{world.namespace}.shared.example.com"
    # The thief is the older one, and asks for the name only when it is worth something.
    thief.apply(spec_for(thief, f"harmless-{world.namespace}.shared.example.com"))
    thief.until("a route", lambda: hostnames_of(thief))
    bank.apply(spec_for(bank, hostname))
    bank.until("a route", lambda: hostnames_of(bank))

    thief.apply(spec_for(thief, hostname, path="/invocations"))

    condition = thief.until_condition("RouteAccepted", "False", "HostnameTaken")
    assert "an MLflowModelDeployment of another namespace" in condition["message"]
    assert bank.namespace not in condition["message"].replace(hostname, "")
    assert hostnames_of(thief) is None
    assert hostnames_of(bank) == [hostname]
    assert bank.condition("RouteAccepted")["reason"] == "GatewayNotFound"

    bank.delete("mmd", "wine")
    thief.until("the route of the other one", lambda: hostnames_of(thief) == [hostname])
