"""What there is before something happens."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from dev import kube
from dev.kube import KubeObject
from dev.mlflow import server
from dev.traffic import Endpoint, Request
from e2e.models import Facts
from e2e.platform.pods import SCORING_IMAGE, server_pod, wait_until_ready
from e2e.steps.inside import wait_until_it_answers_inside
from mlflow_model_operator.api import names

# Many models run side by side on a small machine.
SMALL = {"requests": {"cpu": "20m", "memory": "200Mi"}, "limits": {"memory": "1Gi"}}
# Passes bytes on, in both directions.
RELAY = """
import asyncio, sys
host, port = sys.argv[1].split(":")
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def relay(reader, writer):
    far_reader, far_writer = await asyncio.open_connection(host, port)
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
async def main():
    await (await asyncio.start_server(relay, "0.0.0.0", 5000)).serve_forever()
asyncio.run(main())
"""
SHARED_GATEWAY = {"name": "shared", "namespace": "gateways"}


@dataclass(frozen=True)
class DeployedModel:
    """An MLflowModelDeployment of a test."""

    namespace: str
    name: str

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers, if it is behind the gateway."""
        return Endpoint(hostname(self.name, self.namespace))

    @property
    def request(self) -> Request:
        """A request that is answered with the version, at once."""
        return self.slow_request(0)

    def slow_request(self, seconds: float) -> Request:
        """A request that takes the model so long."""
        return Request(self.endpoint, [float(seconds)], ["wait"])

    @property
    def resource(self) -> KubeObject:
        """The custom resource as it is now; with an empty status where there is none yet."""
        found = kube.get(kube.RESOURCE, self.name, self.namespace)
        assert found is not None, f"{self.namespace}/{self.name} is gone"
        found.setdefault("status", {})
        return found

    @property
    def status(self) -> dict[str, Any]:
        """Its status, where it is about the present spec; else empty."""
        resource = self.resource
        status: dict[str, Any] = resource["status"]
        fresh = status.get("observedGeneration") == resource["metadata"]["generation"]
        return status if fresh else {}


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model; its versions answer with the label of the model that they are."""

    name: str

    def at(self, alias: str) -> str:
        """The URI of an alias."""
        return f"models:/{self.name}@{alias}"

    def version(self, version: int | str) -> str:
        """The URI of a version (or a stage)."""
        return f"models:/{self.name}/{version}"


def given_a_registered_model(
    facts: Facts, *versions: str, name: str | None = None, **aliases: int
) -> RegisteredModel:
    """A registered model with a version for each label, and aliases on version numbers."""
    registry = registry_client()
    model = RegisteredModel(name or f"model-{uuid.uuid4().hex[:8]}")
    if name and registry.search_registered_models(f"name = '{name}'"):
        registry.delete_registered_model(name)
    registry.create_registered_model(model.name)
    for label in versions:
        logged = facts.logged[label]
        registry.create_model_version(model.name, logged.uri, model_id=logged.model_id)
    for alias, version in aliases.items():
        registry.set_registered_model_alias(model.name, alias, str(version))
    return model


def given_a_deployment(
    namespace: str, uri: str, name: str = "wine", gateway: bool = True, **spec: Any
) -> DeployedModel:
    """An MLflowModelDeployment, small, and behind the shared gateway; `spec` adds to that."""
    kube.apply(manifest(namespace, name, uri, gateway=gateway, **spec))
    return DeployedModel(namespace, name)


def manifest(
    namespace: str, name: str, uri: str, *, gateway: bool = True, **spec: Any
) -> KubeObject:
    """The YAML of such a resource."""
    routing = {"gateway": SHARED_GATEWAY, "hostnames": [hostname(name, namespace)]}
    base: dict[str, Any] = {
        "model": {"uri": uri},
        "server": {"resources": SMALL},
        **({"routing": routing} if gateway else {}),
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": _merged(base, spec),
    }


def given_objects(namespace: str, *objects: KubeObject) -> None:
    """Other objects of a namespace."""
    for obj in objects:
        kube.apply({**obj, "metadata": {**obj["metadata"], "namespace": namespace}})


def given_a_tracking_server_of_its_own(namespace: str) -> str:
    """The one MLflow server, behind a relay that only this test's resources use.

    So a test may stop the relay without harm to the others. Returns its URI.
    """
    command = ["python", "-c", RELAY, server.URI_IN_CLUSTER.removeprefix("http://")]
    kube.apply(*server_pod("mlflow", namespace, SCORING_IMAGE, command, 5000))
    wait_for_tracking_server(namespace)
    return f"http://mlflow.{namespace}.svc:5000"


def wait_for_tracking_server(namespace: str) -> None:
    """Its pod is ready, and the way to it."""
    wait_until_ready("mlflow", namespace)
    wait_until_it_answers_inside(f"http://mlflow.{namespace}.svc:5000/health")


def hostname(name: str, namespace: str) -> str:
    """The host name that a test's model answers to."""
    return f"{name}.{namespace}.example.com"


def registry_client() -> Any:
    """MLflow's own client for the shared server."""
    from mlflow import MlflowClient

    return MlflowClient(server.mlflow_url())


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in more.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged
