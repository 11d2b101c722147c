"""The operator itself, against a real API server and a real MLflow server. Only the kubelet is
played: a test says when a revision's pods are ready."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.controller import Operator
from mlflow_model_operator.kube import client
from mlflow_model_operator.kube.client import Cluster
from mlflow_model_operator.metrics import Metrics
from mlflow_model_operator.settings import PolicySettings, Settings
from tests.integration import control_plane
from tests.integration.control_plane import ApiServer
from tests.integration.tracking_server import TrackingServer, tracking_server

WITHIN = 60.0  # seconds

Json = dict[str, Any]


class OperatorThread:
    """The operator in a thread of this process, with an event loop of its own."""

    def __init__(self, settings: Settings, kubeconfig: str) -> None:
        self._settings = settings
        self._kubeconfig = kubeconfig
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._started = threading.Event()
        self.error: BaseException | None = None

    def __enter__(self) -> OperatorThread:
        self._thread.start()
        assert self._started.wait(WITHIN), "the operator did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.operator.stopping.set)
        self._thread.join(WITHIN)
        assert not self._thread.is_alive(), "the operator did not stop"
        if self.error:
            raise self.error

    async def _run(self) -> None:
        api_client = await client.connect(self._kubeconfig)
        self._loop = asyncio.get_running_loop()
        metrics = Metrics()
        cluster = Cluster(api_client, observe=metrics.api_request)
        self.operator = Operator(self._settings, cluster, metrics)
        self._started.set()
        try:
            await self.operator.run()
        except BaseException as error:
            self.error = error
        finally:
            await cluster.close()


@dataclass
class World:
    """One namespace with a resource called `wine`, and what tests do to it and see of it."""

    api: ApiServer
    mlflow: TrackingServer
    namespace: str

    def apply(self, spec: Json, name: str = "wine") -> None:
        """Applies the resource as a user would."""
        resource = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        path = f"{self._path('mmd')}/{name}?fieldManager=user&force=true&fieldValidation=Strict"
        response = self.api.request("PATCH", path, resource, "application/apply-patch+yaml")
        assert response.ok, response.text

    def get(self, name: str = "wine") -> Json:
        """The resource."""
        return self._json(f"{self._path('mmd')}/{name}")

    def status(self, name: str = "wine") -> Json:
        """Its status; {} while there is none."""
        found: Json = self.get(name).get("status", {})
        return found

    def condition(self, type_: str, name: str = "wine") -> Json:
        """One of its conditions; {} while there is none."""
        all_conditions = self.status(name).get("conditions", [])
        return next((one for one in all_conditions if one["type"] == type_), {})

    def children(self, kind: str) -> dict[str, Json]:
        """Its children of a kind, like deployments, by name."""
        return {one["metadata"]["name"]: one for one in self._json(self._path(kind))["items"]}

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object as somebody with kubectl might."""
        assert self.api.request("DELETE", f"{self._path(kind)}/{name}").ok

    def patch(self, kind: str, name: str, patch: Json) -> None:
        """Changes an object as somebody with kubectl might."""
        path = f"{self._path(kind)}/{name}"
        response = self.api.request("PATCH", path, patch, "application/merge-patch+json")
        assert response.ok, response.text

    def set_ready(self, revision: str, ready: int | None = None) -> None:
        """Plays the kubelet and its controllers: so many pods are ready (default: all)."""
        deployment = self.children("deployments")[revision]
        wanted = deployment["spec"]["replicas"]
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": wanted,
            "readyReplicas": wanted if ready is None else ready,
        }
        self.patch("deployments", f"{revision}/status", {"status": status})

    def fail_pods(self, revision: str, part: str, container: Json) -> None:
        """Plays the kubelet: a pod of the revision has a container in that state."""
        template = self.children("deployments")[revision]["spec"]["template"]
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        body = {
            "metadata": {"name": f"{revision}-pod", "labels": template["metadata"]["labels"]},
            "spec": {"containers": [{"name": "server", "image": "scoring:3.11"}]},
        }
        assert self.api.request("POST", pods, body).ok
        name = "prepare" if part == "initContainerStatuses" else "server"
        common = {"name": name, "ready": False, "image": "scoring:3.11", "imageID": ""}
        status = {"phase": "Pending", part: [{"restartCount": 1, **common, **container}]}
        path = f"{pods}/{revision}-pod/status"
        response = self.api.request(
            "PATCH", path, {"status": status}, "application/merge-patch+json"
        )
        assert response.ok, response.text

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Waits until `holds` gives something true, and returns that."""
        deadline = time.monotonic() + WITHIN
        while True:
            found = holds()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {WITHIN:g} s: {what}\n{self._story()}"
            time.sleep(0.05)

    def until_condition(self, type_: str, status: str, reason: str, name: str = "wine") -> Json:
        """Waits for a condition and returns it."""

        def found() -> Json | None:
            one = self.condition(type_, name)
            return one if (one.get("status"), one.get("reason")) == (status, reason) else None

        one: Json = self.until(f"{type_}={status} ({reason})", found)
        return one

    def until_revision_of(self, version: str) -> str:
        """Waits for the Deployment that serves a model version; returns the revision's name."""
        uri = {"name": "MODEL_URI", "value": f"models:/{self.model}/{version}"}

        def found() -> str | None:
            for name, one in self.children("deployments").items():
                if uri in one["spec"]["template"]["spec"]["containers"][0]["env"]:
                    return name
            return None

        return str(self.until(f"a Deployment for version {version}", found))

    def given_wine_is_served(self, spec: Json | None = None) -> str:
        """A resource that follows @champion (version 1) and is available; returns its revision."""
        self.apply(spec or {"model": {"uri": f"models:/{self.model}@champion"}})
        revision = self.until_revision_of("1")
        self.set_ready(revision)
        self.until_condition("Ready", "True", "Ready")
        self.until("a settled status", lambda: self.status()["rollout"]["phase"] == "Stable")
        return revision

    @property
    def model(self) -> str:
        """A registered model of the test's own, with two versions; champion is version 1."""
        return f"wine-{self.namespace}"

    def _path(self, kind: str) -> str:
        group = {
            "mmd": f"apis/{names.API_VERSION}",
            "deployments": "apis/apps/v1",
            "services": "api/v1",
            "configmaps": "api/v1",
            "horizontalpodautoscalers": "apis/autoscaling/v2",
            "poddisruptionbudgets": "apis/policy/v1",
            "networkpolicies": "apis/networking.k8s.io/v1",
            "events": "apis/events.k8s.io/v1",
        }[kind]
        plural = names.PLURAL if kind == "mmd" else kind
        return f"/{group}/namespaces/{self.namespace}/{plural}"

    def _json(self, path: str) -> Json:
        response = self.api.request("GET", path)
        assert response.ok, response.text
        found: Json = response.json()
        return found

    def _story(self) -> str:
        return self.api.kubectl(
            "get", "mmd,deploy,svc,hpa,pdb,events", "-n", self.namespace, "-o", "yaml", check=False
        )[-6000:]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """A real MLflow tracking server."""
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def operator_settings(mlflow_server: TrackingServer) -> Settings:
    """Quick settings: polls and drains take a second."""
    return Settings(
        tracking_uri=mlflow_server.url,
        poll_interval=0.5,
        drain_delay=1.0,
        scoring_images={"3.11": "scoring:3.11"},
        policy=PolicySettings(tracking_uris=("*",), writable_models=("*",)),
    )


@pytest.fixture(scope="session")
def running_operator(crds: ApiServer, operator_settings: Settings) -> Iterator[OperatorThread]:
    """The operator, for all tests that do not stop it."""
    with OperatorThread(operator_settings, str(crds.kubeconfig)) as thread:
        yield thread


@pytest.fixture(scope="session")
def quiet_api(
    kubernetes_tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """An API server that no operator watches but a test's own: two would undo each other's work."""
    with control_plane.api_server(tmp_path_factory.mktemp("quiet"), kubernetes_tools) as server:
        server.install_crds(*sorted(control_plane.CRD_FOLDER.glob("*.yaml")))
        yield server


@pytest.fixture
def quiet_world(quiet_api: ApiServer, mlflow_server: TrackingServer) -> World:
    """A world in which no operator runs."""
    return world_in(quiet_api, mlflow_server)


@pytest.fixture
def world(
    crds: ApiServer, mlflow_server: TrackingServer, running_operator: OperatorThread
) -> World:
    """A world with the operator at work."""
    return world_in(crds, mlflow_server)


def world_in(api: ApiServer, mlflow: TrackingServer) -> World:
    """A new namespace, and a registered model with two versions."""
    world = World(api, mlflow, api.make_namespace())
    mlflow.register(world.model, versions=2)
    mlflow.point(world.model, "champion", "1")
    return world
