"""The operator as the chart runs it: its environment, its rights. All of them, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import KubeObject
from tests.integration.chart.conftest import Cluster
from tests.integration.control_plane import REPOSITORY, free_port, wait_for
from tests.unit.chart.rendering import NAMESPACE, RELEASE, container

Until = Callable[[Callable[[], bool], str], None]

GATEWAY_NAMESPACE = "gateways"
OWNED = (*kinds.CHILDREN, *kinds.UNWATCHED_CHILDREN)
# The API server asks for these within another request, so the audit log does not tell of them:
# a server-side apply of a new object is a patch that needs "create" too.
UNSEEN = {
    *(("create", kind.group, kind.plural) for kind in OWNED),
    ("update", kinds.RESOURCE.group, f"{kinds.RESOURCE.plural}/finalizers"),
}


def resource(namespace: str, version: int, **spec: Any) -> KubeObject:
    """A resource that needs no tracking server, with a host name that no other namespace has."""
    if "routing" in spec:
        spec["routing"] = {**spec["routing"], "hostnames": [f"{namespace}.example.com"]}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "wine", "namespace": namespace},
        "spec": {"model": {"uri": f"s3://models/wine/{version}"}, **spec},
    }


FULL = {
    "scaling": {"minReplicas": 2, "maxReplicas": 3},
    "routing": {"gateway": {"name": "shared", "namespace": GATEWAY_NAMESPACE}},
    "access": {"allowedCallers": {"namespaces": [GATEWAY_NAMESPACE]}},
    "shadow": {"uri": "s3://models/wine/shadow"},
}


def children(cluster: Cluster, kind: Kind, namespace: str) -> list[KubeObject]:
    items: list[KubeObject] = cluster.api.request("GET", kind.path(namespace)).json()["items"]
    return items


def counts(cluster: Cluster, namespace: str) -> dict[str, int]:
    return {kind.kind: len(own_children(cluster, kind, namespace)) for kind in OWNED}


def own_children(cluster: Cluster, kind: Kind, namespace: str) -> list[KubeObject]:
    """Without what each namespace has, like a ConfigMap with the cluster's certificates."""
    found = children(cluster, kind, namespace)
    return [obj for obj in found if obj["metadata"].get("ownerReferences")]


def make_ready(cluster: Cluster, namespace: str) -> None:
    """Plays the Deployment controller and the kubelet."""
    for deployment in children(cluster, kinds.DEPLOYMENT, namespace):
        metadata, replicas = deployment["metadata"], deployment["spec"]["replicas"]
        status = {
            "observedGeneration": metadata["generation"],
            **dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), replicas),
        }
        path = f"{kinds.DEPLOYMENT.path(namespace, metadata['name'])}/status"
        body, content_type = {"status": status}, "application/merge-patch+json"
        patched = cluster.api.request("PATCH", path, body, content_type)
        if patched.status_code != 404:  # the operator may have deleted it meanwhile
            patched.raise_for_status()


def is_ready(deployment: KubeObject) -> bool:
    return bool(deployment.get("status", {}).get("readyReplicas"))


def apply(cluster: Cluster, obj: KubeObject) -> None:
    path = kinds.RESOURCE.path(obj["metadata"]["namespace"], obj["metadata"]["name"])
    query, content_type = "?fieldManager=tests&force=true", "application/apply-patch+yaml"
    done = cluster.api.request("PATCH", path + query, obj, content_type)
    assert done.ok, done.text


def lead_through_everything(cluster: Cluster, namespace: str, until: Until) -> None:
    """Has the operator make, change and remove every kind of child."""
    apply(cluster, resource(namespace, 1, **FULL))
    one_each = dict.fromkeys((kind.kind for kind in OWNED), 1)
    # The public Service, and those of the revision and of its shadow.
    full = one_each | {"Service": 3, "Deployment": 2}

    def everything() -> bool:
        make_ready(cluster, namespace)  # requests are copied once the shadow can answer
        return counts(cluster, namespace) == full

    until(everything, f"{full}")
    until(lambda: asked_for_the_gateway(cluster), "a look for the Gateway")

    apply(cluster, resource(namespace, 1))
    # Without a gateway nothing leads to a revision's own Service.
    small = {**dict.fromkeys(one_each, 0), "Deployment": 1, "Service": 1}

    def only_small() -> bool:
        # Without callers the pods have another label, and so there is a new revision.
        make_ready(cluster, namespace)
        return counts(cluster, namespace) == small

    until(only_small, f"{small}")

    (old,) = children(cluster, kinds.DEPLOYMENT, namespace)
    apply(cluster, resource(namespace, 2))
    until(lambda: len(children(cluster, kinds.DEPLOYMENT, namespace)) == 2, "a new revision")
    make_ready(cluster, namespace)

    def only_the_new_one() -> bool:
        left = children(cluster, kinds.DEPLOYMENT, namespace)
        return len(left) == 1 and left[0]["metadata"]["uid"] != old["metadata"]["uid"]

    until(only_the_new_one, "the end of the old revision")


def asked_for_the_gateway(cluster: Cluster) -> bool:
    return any(
        (used.verb, used.resource, used.namespace) == ("get", "gateways", GATEWAY_NAMESPACE)
        for used in cluster.requests_of_the_operator()
    )


@contextmanager
def the_operator(cluster: Cluster, folder: Path) -> Iterator[Until]:
    """Runs the operator with the environment and the account of the chart's Deployment.

    Yields a way to wait for something, which fails where the operator has ended. At the end it
    gets SIGTERM, and must end well and without an ERROR line.
    """
    port, log = free_port(), folder / "operator.log"
    environment = {
        **os.environ,
        **chart_environment(cluster),
        "MMO_HTTP_PORT": str(port),
        "KUBECONFIG": str(kubeconfig_of_the_operator(cluster, folder)),
        "PYTHONPATH": str(REPOSITORY / "operator"),
    }
    command = [sys.executable, "-m", "mlflow_model_operator.main"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def until(holds: Callable[[], bool], what: str) -> None:
        def holds_and_runs() -> bool:
            assert process.poll() is None, f"the operator ended: {log.read_text()}"
            return holds()

        try:
            wait_for(holds_and_runs, what)
        except Exception as error:
            raise AssertionError(f"{error} The operator said:\n{log.read_text()}") from error

    try:
        until(lambda: answers(port, "/readyz") and answers(port, "/healthz"), "the operator")
        yield until
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        assert "mlflow_model_operator_leader 1.0" in metrics
        process.terminate()
        assert process.wait(timeout=60) == 0, log.read_text()
        assert " ERROR " not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


def answers(port: int, path: str) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).ok
    except requests.ConnectionError:
        return False


def chart_environment(cluster: Cluster) -> dict[str, str]:
    """The variables of the installed Deployment, as they are in the pod."""
    deployment = cluster.api.request("GET", kinds.DEPLOYMENT.path(NAMESPACE, RELEASE)).json()
    fields = {"metadata.name": "operator-pod", "metadata.namespace": NAMESPACE}
    return {
        variable["name"]: variable.get("value", "")
        if "valueFrom" not in variable
        else fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container([deployment])["env"]
    }


def kubeconfig_of_the_operator(cluster: Cluster, folder: Path) -> Path:
    config = yaml.safe_load(cluster.api.kubeconfig.read_text(encoding="utf-8"))
    token = cluster.api.kubectl("create", "token", RELEASE, f"--namespace={NAMESPACE}").strip()
    config["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def granted(cluster: Cluster) -> set[tuple[str, str, str]]:
    """What the chart's roles for the operator allow: (verb, group, resource)."""
    roles = cluster.api.request("GET", "/apis/rbac.authorization.k8s.io/v1/roles").json()["items"]
    cluster_role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{RELEASE}"
    found = cluster.api.request("GET", cluster_role)
    ours = [role for role in roles if role["metadata"]["name"].startswith(RELEASE)]
    return {
        (verb, group, plural)
        for role in ours + ([found.json()] if found.ok else [])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_the_operator_needs_all_its_rights_and_no_others(
    cluster: Cluster, tmp_path: Path, scope: str
) -> None:
    namespace = cluster.api.make_namespace()
    values: dict[str, Any] = {"drainDelay": 0}
    if scope == "namespace":
        cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": GATEWAY_NAMESPACE}})
        values |= {"watchNamespaces": [namespace], "gatewayNamespaces": [GATEWAY_NAMESPACE]}
    cluster.install(**values)
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"
    cluster.api.request("DELETE", lease)  # of an earlier test
    cluster.forget()

    with the_operator(cluster, tmp_path) as until:
        lead_through_everything(cluster, namespace, until)

    requested = cluster.requests_of_the_operator()
    assert {used for used in requested if used.code in (401, 403)} == set()
    seen = {(used.verb, used.group, used.resource) for used in requested}
    assert granted(cluster) - seen == UNSEEN
    assert cluster.api.request("GET", lease).json()["spec"].get("holderIdentity", "") == ""
    cluster.uninstall()
