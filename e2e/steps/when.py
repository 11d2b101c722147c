"""What happens."""

from __future__ import annotations

import uuid
from typing import Any

from dev import installation, kube
from dev.kube import KubeObject, kubectl, wait_until
from e2e.steps.given import (
    DeployedModel,
    RegisteredModel,
    registry_client,
    wait_for_tracking_server,
)
from mlflow_model_operator.api import names

OPERATOR_SECONDS = 120
API_SERVER_SECONDS = 120


def when_the_alias_moves(model: RegisteredModel, alias: str, version: int) -> None:
    """The alias names another version now."""
    registry_client().set_registered_model_alias(model.name, alias, str(version))


def when_the_spec_changes(deployed: DeployedModel, **spec: Any) -> None:
    """A part of spec is written anew (by JSON merge patch: None removes)."""
    kube.patch(kube.RESOURCE, deployed.name, deployed.namespace, {"spec": spec})


def when_a_person_says(deployed: DeployedModel, word: str) -> None:
    """As `kubectl annotate mmd`: pause, resume, promote, abort or retry."""
    annotations = {names.ROLLOUT: f"{word}/{uuid.uuid4().hex[:8]}"}
    patch = {"metadata": {"annotations": annotations}}
    kube.patch(kube.RESOURCE, deployed.name, deployed.namespace, patch)


def when_it_is_deleted(deployed: DeployedModel) -> None:
    """As `kubectl delete mmd`, but without waiting."""
    kube.delete(kube.RESOURCE, deployed.name, deployed.namespace)


def when_the_tracking_server_is_gone(namespace: str) -> None:
    """Nothing answers any more where the test's own tracking server was."""
    _scale("mlflow", namespace, 0)


def when_the_tracking_server_is_back(namespace: str) -> None:
    """It answers again."""
    _scale("mlflow", namespace, 1)
    wait_for_tracking_server(namespace)


def when_the_operator_is_killed() -> None:
    """Its pod is killed without a warning; Kubernetes starts another."""
    for pod in installation.operator_pods():
        name = pod["metadata"]["name"]
        kubectl(
            *("delete", "pod", name, f"--namespace={installation.NAMESPACE}"),
            *("--grace-period=0", "--force", "--ignore-not-found"),
        )


def when_the_operator_is_stopped() -> None:
    """No operator runs."""
    _scale(installation.RELEASE, installation.NAMESPACE, 0)
    _wait_until_operators("no operator runs any more", 0)


def when_the_operator_is_back() -> None:
    """An operator runs and is ready."""
    _scale(installation.RELEASE, installation.NAMESPACE, 1)
    _wait_until_operators("the operator is ready", 1)


def when_the_api_server_is_restarted() -> None:
    """Its process is killed on the first node; the kubelet starts another."""
    node = kube.get_all(kube.NODE)[0]["metadata"]["name"]
    before = _api_server_process(node)
    kube.run("docker", "exec", node, "kill", "-9", before)
    wait_until(
        "another API server runs",
        lambda: _api_server_process(node) not in ("", before),
        seconds=API_SERVER_SECONDS,
    )
    wait_until("the API server is ready", _is_api_server_ready, seconds=API_SERVER_SECONDS)


def _api_server_process(node: str) -> str:
    """The number of its process on the node; "" where it does not run."""
    try:
        return kube.run("docker", "exec", node, "pidof", "kube-apiserver").strip()
    except kube.CommandError:
        return ""


def _is_api_server_ready() -> bool:
    try:
        return kubectl("get", "--raw=/readyz") == "ok"
    except kube.CommandError:
        return False


def _scale(deployment: str, namespace: str, replicas: int) -> None:
    change = {"spec": {"replicas": replicas}}
    kube.patch(kube.DEPLOYMENT, deployment, namespace, change, subresource="scale")


def _wait_until_operators(what: str, number: int) -> None:
    def as_many() -> bool:
        pods = kube.get_all(kube.POD, installation.NAMESPACE, installation.SELECTOR)
        return len(pods) == number and all(_is_ready(pod) for pod in pods)

    wait_until(what, as_many, seconds=OPERATOR_SECONDS)


def _is_ready(pod: KubeObject) -> bool:
    return kube.conditions(pod).get("Ready", {}).get("status") == "True"
