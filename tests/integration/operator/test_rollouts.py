"""Rollouts in steps against a real API server; the tests play the kubelet and the gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from dev.cluster.binaries import source_folder
from mlflow_model_operator.api import names
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.settings import Settings
from tests.integration import control_plane
from tests.integration.control_plane import CRD_FOLDER, ApiServer
from tests.integration.operator.conftest import Json, OperatorThread, World
from tests.integration.operator.metrics_pods import ModelPod, free_address
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
        weights = httproute.listed_weights(self.route())
        return {self.version_of(name): weight for name, weight in weights.items()}

    def rules(self) -> dict[str, dict[str, int]]:
        """By the header's value that a rule of the route matches: where it leads, by revision."""
        found = {}
        for rule in self.route()["spec"]["rules"][1:]:
            (header,) = rule["matches"][0]["headers"]
            weights = {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}
            found[header["value"]] = {name: weight for name, weight in weights.items() if weight}
        return found

    def assigned(self) -> list[str]:
        """The revisions to which the route assigns users."""
        refs = self.route()["spec"]["rules"][0]["backendRefs"]
        changes = (
            ref["filters"][0]["responseHeaderModifier"] for ref in refs if ref.get("filters")
        )
        cookies = (header["value"] for change in changes for header in change.get("add", ()))
        return [cookie.split(";")[0].partition("=")[2] for cookie in cookies]

    def version_of(self, revision: str) -> str:
        template = self.children("deployments")[revision]["spec"]["template"]["spec"]
        env = {entry["name"]: entry.get("value") for entry in template["containers"][0]["env"]}
        return str(env["MODEL_URI"]).rpartition("/")[2]

    def accept_route(self) -> None:
        """Plays the gateway: it follows the route as it stands."""
        self.answer_route("True")

    def answer_route(self, status: str, reason: str | None = None) -> None:
        """Plays the gateway: it follows the route as it stands, or does not."""
        route = self.route()
        if not route:
            return
        generation = route["metadata"]["generation"]
        parent = {
            "controllerName": "example.com/test",
            "parentRef": {"name": "shared", "namespace": self.namespace},
            "conditions": [
                {**_condition(type_, generation), "status": status, "reason": reason or type_}
                for type_ in ("Accepted", "ResolvedRefs")
            ],
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

    def create_failed_pod(self, revision: str, template: Json, reason: str, message: str) -> None:
        """Plays the kubelet: a pod whose server has ended and left the word."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        server = template["spec"]["containers"][0]
        body = {
            "metadata": {"name": f"{revision}-x", "labels": template["metadata"]["labels"]},
            "spec": {"containers": [{"name": server["name"], "image": server["image"]}]},
        }
        assert self.api.request("POST", path, body).ok
        ended = {"exitCode": 1, "message": json.dumps({"reason": reason, "message": message})}
        status = {
            "name": server["name"],
            "image": server["image"],
            "imageID": "",
            "ready": False,
            "restartCount": 1,
            "state": {"terminated": {**ended, "reason": "Error"}},
        }
        response = self.api.request(
            "PATCH",
            f"{path}/{revision}-x/status",
            {"status": {"phase": "Running", "containerStatuses": [status]}},
            "application/merge-patch+json",
        )
        assert response.ok, response.text

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
    expected = {"StepReached", "RolloutPaused", "TrafficMoved"}

    def reasons() -> set[str]:
        return {event["reason"] for event in world.children("events").values()}

    # TrafficMoved is recorded when the gateway has accepted the last weights, after Ready.
    world.play_until(f"the events {expected}", lambda: expected <= reasons())


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


def signature(*inputs: ColSpec) -> ModelSignature:
    return ModelSignature(Schema(list(inputs)), Schema([ColSpec(DataType.double, "price")]))


def test_a_version_with_another_signature_gets_neither_pods_nor_requests(
    api: ApiServer, mlflow_server: TrackingServer, its_operator: OperatorThread
) -> None:
    world = Rollouts(api, mlflow_server, api.make_namespace())
    age = ColSpec(DataType.long, "the age of the wine, which is long enough for a second line")
    other = ColSpec(DataType.string, age.name)
    grape = ColSpec(DataType.string, "grape", required=False)
    mlflow_server.register_with_signature(
        world.model, signature(age), signature(other), signature(age, grape)
    )
    mlflow_server.point(world.model, "champion", "1")
    world.create_gateway()
    old = world.given_version_1_is_served()

    mlflow_server.point(world.model, "champion", "2")
    message = world.until_condition("Progressing", "False", "SignatureIncompatible")["message"]
    assert "which is long enough for a second line' was long and is string" in message
    assert world.rollout()["phase"] == "Failed"
    assert set(world.children("deployments")) == {old}
    assert world.weights() == {"1": 100}

    mlflow_server.point(world.model, "champion", "3")
    world.play_until("a pause", lambda: world.rollout()["phase"] == "Paused")
    assert world.weights() == {"1": 90, "3": 10}


def test_a_version_that_fails_on_its_input_example_is_turned_back(world: Rollouts) -> None:
    old = world.given_version_1_is_served(gates={"inputExample": {"timeout": "10s"}})
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    template = world.children("deployments")[new]["spec"]["template"]
    env = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}
    assert (env["INPUT_EXAMPLE"], env["INPUT_EXAMPLE_TIMEOUT"]) == ("if-present", "10")

    world.create_failed_pod(new, template, "InputExampleFailed", "wine answers with 500")

    message = world.until_condition("Progressing", "False", "InputExampleFailed")["message"]
    assert "wine answers with 500: see the log of the container" in message
    assert "Version 1 is still served" in message
    world.accept_route()
    assert world.weights() == {"1": 100}
    world.play_until("only the old one", lambda: set(world.children("deployments")) == {old})


class MeasuredPods:
    """The pods of both versions, as the API server lists them, whose metrics are real."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pods: list[ModelPod] = []

    def run(self, revision: str) -> ModelPod:
        """One more pod of a revision."""
        address = free_address()
        name = f"{revision}-{len(self._pods)}"
        labels = {names.DEPLOYMENT: "wine", names.REVISION: revision}
        container = {"name": "server", "image": "scoring"}
        spec = {"containers": [container], "automountServiceAccountToken": False}
        body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        path = f"/api/v1/namespaces/{self._world.namespace}/pods"
        response = self._world.api.request("POST", path, body)
        assert response.ok, response.text
        ready = {"type": "Ready", "status": "True"}
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [ready],
        }
        response = self._world.api.request(
            "PATCH", f"{path}/{name}/status", {"status": status}, "application/merge-patch+json"
        )
        assert response.ok, response.text
        pod = ModelPod(revision, address)
        self._pods.append(pod)
        return pod

    def close(self) -> None:
        for pod in self._pods:
            pod.server.close()


@pytest.fixture
def pods(world: Rollouts) -> Iterator[MeasuredPods]:
    given = MeasuredPods(world)
    yield given
    given.close()


def given_version_2_is_measured(
    world: Rollouts, pods: MeasuredPods, hold: str, **analysis: Any
) -> tuple[ModelPod, ModelPod]:
    """It has 20 %, and the pods of both versions have been read."""
    spec = {"interval": "1s", "minRequests": 50, **analysis}
    first = world.given_version_1_is_served(
        steps=[{"weight": 20, "hold": hold}], keepOld="1h", analysis=spec
    )
    old = pods.run(first)
    old.count(10_000, 500)
    world.mlflow.point(world.model, "champion", "2")
    new = pods.run(world.until_revision_of("2"))
    assert not old.server.requests, "pods are read without a rollout that holds a step"
    world.play_until("the step", lambda: world.rollout().get("waitingFor") in ("Hold", "Analysis"))
    world.until("a look at both", lambda: old.server.requests and new.server.requests)
    return old, new


def test_a_version_that_fails_is_turned_back_by_its_pods_own_counters(
    world: Rollouts, pods: MeasuredPods, its_operator: OperatorThread
) -> None:
    old, new = given_version_2_is_measured(world, pods, hold="1h")
    old.count(2000, 2)
    new.count(300, 200)

    message = world.until_condition("Progressing", "False", "AnalysisFailed")["message"]
    assert "was rolled back: errors 40 % of 500 requests, stable 0.0999 % of 2,002" in message
    assert world.weights() == {"1": 100}
    found = world.rollout()
    assert found["analysis"]["verdict"] == "Bad"
    assert (found["analysis"]["targetRequests"], found["analysis"]["pods"]) == (500, 2)
    assert found["failed"][0]["reason"] == "AnalysisFailed"
    assert new.revision in world.children("deployments"), "kept to be looked at"
    world.until("nothing is measured", lambda: not len(its_operator.operator.measurements))


def test_a_version_waits_until_it_is_known_to_be_good(world: Rollouts, pods: MeasuredPods) -> None:
    old, new = given_version_2_is_measured(world, pods, hold="1s")
    world.until_condition("Progressing", "True", "AnalysisInconclusive")
    lost = pods.run(new.revision)
    lost.server.close()
    new.restart()
    old.count(4000)
    new.count(1000)

    def is_open() -> bool:
        analysis = world.rollout().get("analysis", {})
        return bool(analysis.get("unreachablePods") == 1 and analysis["targetRequests"] == 1000)

    world.until("a pod that can't be read leaves it open", is_open)
    found = world.rollout()
    assert (found["weight"], found["acceptedWeight"]) == (20, 20)
    assert (found["analysis"]["verdict"], found["analysis"]["counterResets"]) == ("Inconclusive", 1)
    assert "its metrics port can't be reached" in found["analysis"]["unreachableReason"]

    name = f"{new.revision}-2"
    path = f"/api/v1/namespaces/{world.namespace}/pods/{name}?gracePeriodSeconds=0"
    assert world.api.request("DELETE", path).ok
    world.play_until("version 2", lambda: world.status()["stable"]["modelVersion"] == "2")


TESTER = [{"header": {"name": "x-tester", "value": "true"}}]


def of_user(revision: str) -> str:
    """What the rule for the users of a revision matches."""
    return f"^(.*; *)?model-revision={revision}( *;.*)?$"


def test_a_tester_gets_the_new_version_first_and_users_stay(world: Rollouts) -> None:
    old = world.given_version_1_is_served(
        steps=[{"pause": {}}, {"weight": 30, "hold": "1h"}], match=TESTER
    )
    gateway = {"name": "shared", "namespace": world.namespace}
    routing = {"gateway": gateway, "hostnames": ["wine.example.com"], "sticky": {"maxAge": "1h"}}
    world.patch("mmd", "wine", {"spec": {"routing": routing}})
    world.play_until("rules", lambda: len(world.rules()) == 3)
    assert list(world.rules()) == ["true", of_user(old), of_user("-")]
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.play_until("paused", lambda: world.rollout().get("phase") == "Paused")
    world.play_until("testers get it", lambda: world.status().get("matched") == [new])
    assert world.weights() == {"1": 100, "2": 0}
    values = ["true", of_user(old), of_user(new)]
    leads = [{new: 100}, {old: 100}, {old: 100}]
    assert list(world.rules().items()) == list(zip(values, leads, strict=True))

    world.control("resume/1")
    world.play_until("a weight", lambda: world.rollout().get("acceptedWeight") == 30)
    leads = [{new: 100}, {old: 100}, {new: 100}]
    assert list(world.rules().items()) == list(zip(values, leads, strict=True))
    assert world.assigned() == [old, new]
    assert world.condition("RulesAccepted")["status"] == "True"


def test_a_gateway_that_sets_no_cookies_gets_a_route_without(world: Rollouts) -> None:
    old = world.given_version_1_is_served()
    gateway = {"name": "shared", "namespace": world.namespace}
    canary = {"uri": f"models:/{world.model}/2", "weight": 30, "match": TESTER}
    routing = {"gateway": gateway, "hostnames": ["wine.example.com"], "sticky": {}}
    spec = {"canary": canary, "routing": routing, "rollout": None}
    world.patch("mmd", "wine", {"spec": spec})
    new = world.until_revision_of("2")
    world.set_ready(new)
    world.until("a route that sets cookies", world.assigned)
    world.answer_route("False", "UnsupportedValue")
    world.until("a route that sets none", lambda: not world.assigned())
    assert world.weights() == {"1": 70, "2": 30}
    assert world.rules() == {"true": {old: 70, new: 30}}

    world.play_until("testers get it", lambda: world.rules() == {"true": {new: 100}})
    world.accept_route()
    refused = world.until_condition("RulesAccepted", "False", "RulesRefused")
    assert "UnsupportedValue" in refused["message"]
    world.until_condition("RouteAccepted", "True", "Accepted")
    assert world.assigned() == []


def test_three_versions_share_the_requests(world: Rollouts) -> None:
    world.given_version_1_is_served()
    variants = [
        {"name": "b", "uri": f"models:/{world.model}/2", "weight": 30, "match": TESTER},
        {"name": "c", "uri": f"models:/{world.model}/3", "weight": 20},
    ]
    world.patch("mmd", "wine", {"spec": {"variants": variants, "rollout": None}})
    world.play_until("three shares", lambda: len(world.weights()) == 3)
    assert world.weights() == {"1": 50, "2": 30, "3": 20}
    leads = {"true": {world.until_revision_of("2"): 100}}
    world.play_until("testers get one", lambda: world.rules() == leads)
    world.play_until("ready", lambda: world.condition("Ready").get("reason") == "Ready")
    shares = [(share.get("variant"), share["weight"]) for share in world.status()["traffic"]]
    assert shares == [(None, 50), ("b", 30), ("c", 20)]

    world.patch("mmd", "wine", {"spec": {"variants": None}})
    world.play_until("one version", lambda: len(world.children("deployments")) == 1)
    assert world.weights() == {"1": 100}
