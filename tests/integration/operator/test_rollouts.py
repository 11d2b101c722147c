"""Rollouts in steps against a real API server; the tests play the kubelet and the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.cluster.binaries import source_folder
from mlflow_model_operator.api import names
from mlflow_model_operator.settings import Settings
from tests.integration import control_plane
from tests.integration.control_plane import CRD_FOLDER, ApiServer
from tests.integration.operator.conftest import Json, OperatorThread, World
from tests.integration.tracking_server import TrackingServer

GATEWAY_API = "apis/gateway.networking.k8s.io/v1"
STEPS = [{"weight": 10, "hold": "1s"}, {"pause": {}}, {"weight": 50}]


@pytest.fixture(scope="module")
def api(kubernetes_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of its own, with the Gateway API."""
    folder = tmp_path_factory.mktemp("rollouts")
    with control_plane.api_server(folder, kubernetes_tools) as server:
        source = source_folder("envoy-gateway", "sigs.k8s.io/gateway-api")
        crds = source / "config" / "crd" / "standard"
        server.install_crds(
            *CRD_FOLDER.glob("*.yaml"),
            *(
                crds / f"gateway.networking.k8s.io_{kind}.yaml"
                for kind in ("gateways", "httproutes")
            ),
        )
        yield server


@pytest.fixture(scope="module")
def its_operator(
    api: ApiServer, mlflow_server: TrackingServer, operator_settings: Settings
) -> Iterator[OperatorThread]:
    with OperatorThread(operator_settings, str(api.kubeconfig)) as thread:
        yield thread


class Rollouts(World):
    """A world with a gateway and three versions, in which the test plays all controllers."""

    def create_gateway(self) -> None:
        listener = {"name": "http", "protocol": "HTTP", "port": 80}
        body = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "shared", "namespace": self.namespace},
            "spec": {"gatewayClassName": "test", "listeners": [listener]},
        }
        path = f"/{GATEWAY_API}/namespaces/{self.namespace}/gateways"
        assert self.api.request("POST", path, body).ok
        programmed = _condition("Programmed", 1)
        response = self.api.request(
            "PATCH",
            f"{path}/shared/status",
            {"status": {"conditions": [programmed]}},
            "application/merge-patch+json",
        )
        assert response.ok, response.text

    def route(self) -> Json:
        path = f"/{GATEWAY_API}/namespaces/{self.namespace}/httproutes/wine"
        response = self.api.request("GET", path)
        return response.json() if response.ok else {}

    def weights(self) -> dict[str, int]:
        """By version, as the route states them."""
        refs = self.route()["spec"]["rules"][0]["backendRefs"]
        return {self.version_of(ref["name"]): ref["weight"] for ref in refs}

    def version_of(self, revision: str) -> str:
        template = self.children("deployments")[revision]["spec"]["template"]["spec"]
        env = {entry["name"]: entry.get("value") for entry in template["containers"][0]["env"]}
        return str(env["MODEL_URI"]).rpartition("/")[2]

    def accept_route(self) -> None:
        """Plays the gateway: it follows the route as it stands."""
        route = self.route()
        if not route:
            return
        generation = route["metadata"]["generation"]
        parent = {
            "controllerName": "example.com/test",
            "parentRef": {"name": "shared", "namespace": self.namespace},
            "conditions": [_condition(type_, generation) for type_ in ("Accepted", "ResolvedRefs")],
        }
        path = f"/{GATEWAY_API}/namespaces/{self.namespace}/httproutes/wine/status"
        body = {"status": {"parents": [parent]}}
        self.api.request("PATCH", path, body, "application/merge-patch+json")

    def play_until(self, what: str, holds: Callable[[], Any]) -> None:
        """All pods get ready and the gateway follows, until something holds."""

        def play() -> Any:
            if holds():
                return True
            for name in self.children("deployments"):
                self.set_ready_if_there(name)
            self.accept_route()
            return False

        self.until(what, play)

    def set_ready_if_there(self, revision: str) -> None:
        deployment = self.children("deployments").get(revision)
        replicas = deployment["spec"]["replicas"] if deployment else 0
        if deployment and deployment.get("status", {}).get("readyReplicas", 0) != replicas:
            self.set_ready(revision)

    def control(self, value: str) -> None:
        """As a person does it with kubectl."""
        self.api.kubectl(
            *("annotate", "mmd", "wine", "--overwrite", f"--namespace={self.namespace}"),
            f"{names.ROLLOUT}={value}",
        )

    def rollout(self) -> Json:
        found: Json = self.status().get("rollout", {})
        return found

    def given_version_1_is_served(self, **rollout: Any) -> str:
        gateway = {"name": "shared", "namespace": self.namespace}
        self.apply(
            {
                "model": {"uri": f"models:/{self.model}@champion"},
                "rollout": rollout or {"steps": STEPS},
                "routing": {"gateway": gateway, "hostnames": ["wine.example.com"]},
            }
        )
        revision = self.until_revision_of("1")
        self.play_until("ready", lambda: self.condition("Ready").get("status") == "True")
        return revision


def _condition(type_: str, generation: int) -> Json:
    return {
        "type": type_,
        "status": "True",
        "reason": type_,
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


@pytest.fixture
def world(api: ApiServer, mlflow_server: TrackingServer, its_operator: OperatorThread) -> Rollouts:
    given = Rollouts(api, mlflow_server, api.make_namespace())
    mlflow_server.register(given.model, versions=3)
    mlflow_server.point(given.model, "champion", "1")
    given.create_gateway()
    return given


def test_a_version_takes_over_by_its_steps_and_a_person_resumes_it(world: Rollouts) -> None:
    world.given_version_1_is_served()
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.until("a route that lists it", lambda: len(world.weights()) == 2)
    assert world.weights() == {"1": 100, "2": 0}

    world.set_ready(new)
    world.until("it waits for the route", lambda: world.rollout().get("waitingFor") == "Route")
    assert world.weights() == {"1": 100, "2": 0}
    world.play_until("a pause", lambda: world.rollout()["phase"] == "Paused")
    assert world.weights() == {"1": 90, "2": 10}
    world.until_condition("Progressing", "True", "RolloutPaused")
    printed = world.api.kubectl("get", "mmd", "wine", f"--namespace={world.namespace}")
    assert "Paused" in printed

    world.control("resume/1")
    world.play_until("version 2", lambda: world.status()["stable"]["modelVersion"] == "2")
    world.play_until("ready", lambda: world.condition("Ready").get("status") == "True")
    assert world.weights() == {"2": 100}
    history = [(e["modelVersion"], e["verdict"]) for e in world.status()["history"]]
    assert history == [("1", "Promoted"), ("2", "Promoted")]
    reasons = {event["reason"] for event in world.children("events").values()}
    assert {"StepReached", "RolloutPaused", "TrafficMoved"} <= reasons


def test_an_aborted_version_goes_and_is_tried_again_when_a_person_says_so(world: Rollouts) -> None:
    old = world.given_version_1_is_served()
    world.mlflow.point(world.model, "champion", "2")
    world.play_until("a pause", lambda: world.rollout()["phase"] == "Paused")

    world.control("abort/1")

    world.until_condition("Progressing", "False", "RolloutAborted")
    assert world.weights() == {"1": 100}
    world.play_until("only the old one", lambda: set(world.children("deployments")) == {old})
    assert world.rollout()["failed"][0]["modelVersion"] == "2"
    assert world.get()["metadata"]["annotations"] == {names.ROLLOUT: "abort/1"}

    world.control("retry/1")
    world.play_until("a pause", lambda: world.rollout()["phase"] == "Paused")
    assert world.weights() == {"1": 90, "2": 10}


def test_a_third_version_mid_rollout_starts_from_the_first_step(world: Rollouts) -> None:
    world.given_version_1_is_served()
    world.mlflow.point(world.model, "champion", "2")
    world.play_until("a pause", lambda: world.rollout()["phase"] == "Paused")

    world.mlflow.point(world.model, "champion", "3")
    new = world.until_revision_of("3")
    world.until("it is rolled out", lambda: world.rollout()["revision"] == new)
    assert world.weights()["1"] == 100
    world.play_until("a pause again", lambda: world.rollout()["phase"] == "Paused")
    assert world.weights() == {"1": 90, "3": 10}


def test_the_pods_of_the_old_version_stay_for_a_while(world: Rollouts) -> None:
    old = world.given_version_1_is_served(strategy="direct", keepOld="1h")
    world.mlflow.point(world.model, "champion", "2")
    world.play_until("version 2", lambda: world.status()["stable"]["modelVersion"] == "2")
    world.play_until("ready", lambda: world.condition("Ready").get("status") == "True")
    assert old in world.children("deployments")

    world.mlflow.point(world.model, "champion", "1")
    world.until("version 1", lambda: world.status()["stable"]["modelVersion"] == "1")


def test_an_undo_goes_back_to_pods_that_were_kept_and_starts_those_that_are_gone(
    world: Rollouts,
) -> None:
    old = world.given_version_1_is_served(strategy="direct", keepOld="1h")
    world.mlflow.point(world.model, "champion", "2")
    world.play_until("version 2", lambda: world.status()["stable"]["modelVersion"] == "2")
    world.play_until("ready", lambda: world.condition("Ready").get("status") == "True")

    world.control("undo/1")
    world.play_until("version 1", lambda: world.status()["stable"]["modelVersion"] == "1")
    assert world.status()["stable"]["revision"] == old
    world.until_condition("Progressing", "False", "RolloutUndone")
    world.play_until("all requests", lambda: world.weights() == {"1": 100})
    history = [(e["modelVersion"], e["trigger"], e["verdict"]) for e in world.status()["history"]]
    assert history[-1] == ("1", "Undo", "Promoted")
    assert world.rollout()["failed"][0]["modelVersion"] == "2"

    world.api.kubectl("delete", "deployment", f"--namespace={world.namespace}", "--all")
    world.mlflow.point(world.model, "champion", "3")
    world.play_until("version 3", lambda: world.status()["stable"]["modelVersion"] == "3")
    world.control("undo=2/1")
    again = world.until_revision_of("2")
    world.play_until("version 2", lambda: world.status()["stable"]["revision"] == again)
    assert world.rollout()["phase"] == "Failed"


def test_a_version_waits_for_its_tags_and_no_longer(world: Rollouts) -> None:
    world.given_version_1_is_served(gates={"tags": {"validation_status": "approved"}})
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.set_ready(new)
    message = world.until_condition("Progressing", "False", "TagsMissing")["message"]
    assert "lacks the tags validation_status=approved" in message
    world.accept_route()
    assert world.weights() == {"1": 100, "2": 0}

    world.mlflow.tag(world.model, "2", "validation_status", "approved")
    world.play_until("version 2", lambda: world.status()["stable"]["modelVersion"] == "2")
    world.play_until("ready", lambda: world.condition("Ready").get("status") == "True")
