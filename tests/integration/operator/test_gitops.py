"""What kstatus and Argo CD read from live resources in every state, against the table in the docs.

The resources are the operator's own; the tests play the kubelet and the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mlflow_model_operator.api import names
from tests.integration.control_plane import REPOSITORY, ApiServer, free_port
from tests.integration.gitops import health_of
from tests.integration.operator import test_rollouts
from tests.integration.operator.conftest import Json, OperatorThread
from tests.integration.operator.test_rollouts import Rollouts
from tests.integration.tracking_server import TrackingServer

PAGE = REPOSITORY / "docs/how-to/gitops.md"
ROW = re.compile(r"^\| (?P<state>[^|]+) \| (?P<kstatus>[A-Z]\w+) \| (?P<argocd>[A-Z]\w+) \|$")
PAUSED = [{"weight": 10}, {"pause": {}}]

api = test_rollouts.api
its_operator = test_rollouts.its_operator

State = Callable[["Given"], Json]
STATES: dict[str, State] = {}


def table() -> dict[str, tuple[str, str]]:
    """The documented results, by state."""
    rows = filter(None, map(ROW.match, PAGE.read_text(encoding="utf-8").splitlines()))
    return {row["state"]: (row["kstatus"], row["argocd"]) for row in rows}


def state(title: str) -> Callable[[State], State]:
    """Registers a function that brings a resource into a state and returns the live object."""

    def register(function: State) -> State:
        STATES[title] = function
        return function

    return register


class Given(Rollouts):
    """Resources as GitOps tools meet them, with and without a gateway."""

    def send(self, spec: Json) -> Json:
        """The answer of the API server to an apply: what is seen before the operator acts."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "wine", "namespace": self.namespace},
            "spec": spec,
        }
        path = f"{self._path('mmd')}/wine?fieldManager=user&force=true"
        response = self.api.request("PATCH", path, body, "application/apply-patch+yaml")
        assert response.ok, response.text
        answer: Json = response.json()
        return answer

    def when(self, type_: str, status: str, reason: str) -> Json:
        """The resource as it is when a condition comes to hold."""

        def found() -> Json | None:
            live = self.get()
            matches = (
                (entry["type"], entry["status"], entry["reason"])
                for entry in live.get("status", {}).get("conditions", ())
            )
            return live if (type_, status, reason) in matches else None

        live: Json = self.until(f"{type_}={status} ({reason})", found)
        return live

    def spec(self, **more: Any) -> Json:
        return {"model": {"uri": f"models:/{self.model}@champion"}, **more}

    def serve(self, **more: Any) -> str:
        return self.given_wine_is_served(self.spec(**more))

    def serve_in_steps(self, **rollout: Any) -> Json:
        """Serves version 1 behind a gateway, and returns the spec."""
        self.given_version_1_is_served(**(rollout or {"steps": PAUSED}))
        spec: Json = self.get()["spec"]
        return spec

    def move_alias(self) -> str:
        self.mlflow.point(self.model, "champion", "2")
        return self.until_revision_of("2")

    def move_canary(self) -> str:
        """Serves version 2 as a canary, and moves its alias to version 3."""
        self.serve()
        self.mlflow.point(self.model, "challenger", "2")
        self.apply(self.spec(canary={"uri": f"models:/{self.model}@challenger", "weight": 50}))
        self.set_ready(self.until_revision_of("2"))
        self.when("TrafficSplit", "True", "Applied")
        self.mlflow.point(self.model, "challenger", "3")
        return self.until_revision_of("3")

    def change_spec(self, spec: Json) -> str:
        """Applies another pod template; returns the new revision."""
        before = set(self.children("deployments"))
        env = [{"name": "CHANGED", "value": "1"}]
        self.apply({**spec, "server": {**spec.get("server", {}), "env": env}})
        (new,) = self.until("a revision", lambda: set(self.children("deployments")) - before)
        return str(new)

    def fail_to_pull(self, revision: str) -> None:
        waiting = {"reason": "ImagePullBackOff", "message": "not found"}
        self.fail_pods(revision, "containerStatuses", {"state": {"waiting": waiting}})

    def crash(self, revision: str, reason: str, part: str = "containerStatuses") -> None:
        word = f'{{"reason": "{reason}", "message": "no"}}'
        self.fail_pods(revision, part, {"state": {"terminated": ended(message=word)}})

    def wait_in_vain(self) -> None:
        """As if the grace period was over."""
        conditions = self.status()["conditions"]
        for condition in conditions:
            if condition["type"] == "Reconciling":
                condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        self.patch("mmd", "wine/status", {"status": {"conditions": conditions}})


def ended(**more: Any) -> Json:
    return {
        "exitCode": 1,
        "reason": "Error",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:05Z",
        **more,
    }


@pytest.fixture
def given(api: ApiServer, mlflow_server: TrackingServer, its_operator: OperatorThread) -> Given:
    world = Given(api, mlflow_server, api.make_namespace())
    mlflow_server.register(world.model, versions=3)
    mlflow_server.point(world.model, "champion", "1")
    return world


@state("applied, not observed by the operator yet")
def _(given: Given) -> Json:
    return given.send(given.spec())


@state("starting")
def _(given: Given) -> Json:
    given.apply(given.spec())
    given.until_revision_of("1")
    return given.when("Progressing", "True", "NewRevision")


@state("served")
def _(given: Given) -> Json:
    given.serve()
    return given.when("Progressing", "False", "Complete")


@state("being deleted")
def _(given: Given) -> Json:
    given.serve()
    body = {"propagationPolicy": "Foreground"}
    assert given.api.request("DELETE", f"{given._path('mmd')}/wine", body).ok
    return given.get()


@state("`minReplicas` is 0")
def _(given: Given) -> Json:
    given.apply(given.spec(scaling={"minReplicas": 0}))
    return given.when("Available", "False", "Stopped")


@state("changed in Git, not observed by the operator yet")
def _(given: Given) -> Json:
    given.serve()
    return given.send(given.spec(server={"workers": 2}))


@state("an update from Git is running")
def _(given: Given) -> Json:
    given.serve()
    given.change_spec(given.spec())
    return given.when("Progressing", "True", "NewRevision")


@state("an update from Git is stuck, the previous version is served")
def _(given: Given) -> Json:
    given.serve()
    given.fail_to_pull(given.change_spec(given.spec()))
    return given.when("Progressing", "False", "ImagePullFailed")


@state("a URI from Git that does not resolve, the previous version is served")
def _(given: Given) -> Json:
    given.serve()
    given.apply({"model": {"uri": f"models:/{given.model}@nobody"}})
    return given.when("ModelResolved", "False", "AliasNotFound")


@state("the alias has moved, the update is running")
def _(given: Given) -> Json:
    given.serve()
    given.move_alias()
    return given.when("Progressing", "True", "NewRevision")


@state("the alias has moved, the update is stuck")
def _(given: Given) -> Json:
    given.serve()
    given.crash(given.move_alias(), "ModelLoadFailed")
    return given.when("Progressing", "False", "ModelLoadFailed")


@state("the alias is gone, or the registry is")
def _(given: Given) -> Json:
    given.serve()
    given.mlflow.drop_alias(given.model, "champion")
    return given.when("ModelResolved", "False", "AliasNotFound")


@state("a rollout in steps from Git is running")
def _(given: Given) -> Json:
    given.create_gateway()
    given.change_spec(given.serve_in_steps(steps=[{"weight": 10, "hold": "1h"}]))
    return _at(given, "Progressing", "True", "RolloutProgressing")


@state("a rollout from Git is paused")
def _(given: Given) -> Json:
    given.create_gateway()
    given.change_spec(given.serve_in_steps())
    return _at(given, "Progressing", "True", "RolloutPaused")


@state("a rollout from Git was rolled back or aborted")
def _(given: Given) -> Json:
    given.create_gateway()
    given.change_spec(given.serve_in_steps())
    _at(given, "Progressing", "True", "RolloutPaused")
    given.control("abort/1")
    return given.when("Progressing", "False", "RolloutAborted")


@state("a rollout after the alias has moved is running")
def _(given: Given) -> Json:
    given.create_gateway()
    given.serve_in_steps(steps=[{"weight": 10, "hold": "1h"}])
    given.move_alias()
    return _at(given, "Progressing", "True", "RolloutProgressing")


@state("a rollout after the alias has moved is paused")
def _(given: Given) -> Json:
    given.create_gateway()
    given.serve_in_steps()
    given.move_alias()
    return _at(given, "Progressing", "True", "RolloutPaused")


@state("a rollout after the alias has moved was rolled back or aborted")
def _(given: Given) -> Json:
    given.create_gateway()
    given.serve_in_steps()
    given.crash(given.move_alias(), "InvalidModel")
    return given.when("Progressing", "False", "InvalidModel")


@state("the new version lacks the tags of its gates")
def _(given: Given) -> Json:
    given.create_gateway()
    given.serve_in_steps(gates={"tags": {"validation_status": "approved"}})
    given.set_ready(given.move_alias())
    return given.when("Progressing", "False", "TagsMissing")


@state("a canary is starting")
def _(given: Given) -> Json:
    given.serve()
    given.apply(given.spec(canary={"uri": f"models:/{given.model}/2", "weight": 50}))
    return given.when("CanaryReady", "False", "Starting")


@state("a canary gets its share")
def _(given: Given) -> Json:
    given.serve()
    given.apply(given.spec(canary={"uri": f"models:/{given.model}/2", "weight": 50}))
    given.set_ready(given.until_revision_of("2"))
    return given.when("TrafficSplit", "True", "Applied")


@state("a canary does not start")
def _(given: Given) -> Json:
    given.serve()
    given.apply(given.spec(canary={"uri": f"models:/{given.model}/2", "weight": 50}))
    given.crash(given.until_revision_of("2"), "ModelLoadFailed")
    return given.when("CanaryReady", "False", "ModelLoadFailed")


@state("the canary's alias has moved, the new canary is starting")
def _(given: Given) -> Json:
    given.move_canary()
    return given.when("CanaryReady", "False", "Starting")


@state("the canary's alias has moved, the new canary does not start")
def _(given: Given) -> Json:
    given.crash(given.move_canary(), "ModelLoadFailed")
    given.when("CanaryReady", "False", "ModelLoadFailed")
    return given.when("Progressing", "False", "Complete")


@state("broken: no such alias, version or model")
def _(given: Given) -> Json:
    given.apply({"model": {"uri": f"models:/{given.model}/99"}})
    return given.when("ModelResolved", "False", "VersionNotFound")


@state("broken: the image cannot be pulled")
def _(given: Given) -> Json:
    given.apply(given.spec())
    given.fail_to_pull(given.until_revision_of("1"))
    return given.when("Available", "False", "ImagePullFailed")


@state("broken: a package cannot be installed")
def _(given: Given) -> Json:
    given.apply(given.spec())
    revision = given.until_revision_of("1")
    given.crash(revision, "DependencyInstallFailed", "initContainerStatuses")
    return given.when("Available", "False", "DependencyInstallFailed")


@state("broken: the model does not load")
def _(given: Given) -> Json:
    given.apply(given.spec())
    given.crash(given.until_revision_of("1"), "ModelLoadFailed")
    return given.when("Available", "False", "ModelLoadFailed")


@state("broken: out of memory")
def _(given: Given) -> Json:
    given.apply(given.spec())
    end = ended(exitCode=137) | {"reason": "OOMKilled"}
    revision = given.until_revision_of("1")
    given.fail_pods(revision, "containerStatuses", {"state": {"terminated": end}})
    return given.when("Available", "False", "OutOfMemory")


@state("broken: a field that Kubernetes refuses")
def _(given: Given) -> Json:
    given.apply(given.spec(pod={"affinity": {"nodeAffinity": {"nonsense": 1}}}))
    return given.when("Available", "False", "ApplyRefused")


@state("the registry does not answer, and nothing was served yet")
def _(given: Given) -> Json:
    server = f"http://127.0.0.1:{free_port()}"
    given.apply({"model": {"uri": "models:/wine/1", "trackingUri": server}})
    return given.when("ModelResolved", "False", "RegistryUnreachable")


@state("the Gateway does not exist, for less than five minutes")
def _(given: Given) -> Json:
    return _without_gateway(given)


@state("the Gateway does not exist, for longer")
def _(given: Given) -> Json:
    _without_gateway(given)
    given.wait_in_vain()
    return given.when("Stalled", "True", "GatewayNotFound")


def _without_gateway(given: Given) -> Json:
    gateway = {"name": "nowhere", "namespace": given.namespace}
    given.apply(given.spec(routing={"gateway": gateway, "hostnames": ["wine.example.com"]}))
    given.set_ready(given.until_revision_of("1"))
    given.when("Available", "True", "MinimumReplicasAvailable")
    return given.when("Ready", "False", "GatewayNotFound")


def _at(given: Given, type_: str, status: str, reason: str) -> Json:
    """Plays the kubelet and the gateway until a condition holds."""

    def holds() -> bool:
        found = given.condition(type_)
        return (found.get("status"), found.get("reason")) == (status, reason)

    given.play_until(reason, holds)
    return given.when(type_, status, reason)


@pytest.mark.parametrize("title", STATES)
def test_kstatus_and_argo_cd_read_it_as_the_table_says(given: Given, title: str) -> None:
    live = STATES[title](given)
    health = health_of(live)
    conditions = [
        f"{entry['type']}={entry['status']} ({entry['reason']})"
        for entry in live.get("status", {}).get("conditions", ())
    ]
    assert (health.kstatus.status, health.argocd.status) == table()[title], conditions
    assert health.argocd.message


def test_every_row_of_the_table_is_tested() -> None:
    assert set(table()) == set(STATES)
