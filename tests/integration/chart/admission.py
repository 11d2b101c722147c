"""Objects as the operator writes them, and requests in its name, for the tests of admission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.integration.chart.conftest import ACCOUNT, Cluster
from tests.unit.chart.rendering import NAMESPACE, RELEASE, SCORING

JsonObject = dict[str, Any]

PATHS = {
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "Service": "api/v1/namespaces/{}/services",
    "HTTPRoute": "apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
}
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def metadata(namespace: str) -> JsonObject:
    """With what marks an object as the operator's."""
    owner = {
        "apiVersion": "mlflow-model-operator.dev/v1alpha1",
        "kind": "MLflowModelDeployment",
        "name": "wine",
        "uid": "6f1c2f4e-0000-4000-8000-000000000001",
    }
    labels = {"app.kubernetes.io/managed-by": "mlflow-model-operator"}
    return {"name": "wine", "namespace": namespace, "labels": labels, "ownerReferences": [owner]}


def deployment(namespace: str, annotations: JsonObject | None = None, **pod: Any) -> JsonObject:
    """One whose pods have these annotations, and these fields in their spec."""
    labels = {"app": "wine"}
    spec = {**images(SCORING), **pod}
    template = {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(namespace),
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def images(server: str, prepare: str = SCORING) -> JsonObject:
    """The containers of a pod, with these images."""
    return {
        "containers": [{"name": "server", "image": server}],
        "initContainers": [{"name": "prepare", "image": prepare}],
    }


def service(namespace: str) -> JsonObject:
    """A Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(namespace),
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
    }


def route(namespace: str, *hostnames: str) -> JsonObject:
    """One for these host names."""
    parents = [{"name": "shared", "namespace": "gateways"}]
    spec = {"parentRefs": parents, **({"hostnames": list(hostnames)} if hostnames else {})}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(namespace),
        "spec": spec,
    }


def ask(
    cluster: Cluster,
    method: str,
    obj: JsonObject,
    body: JsonObject | None = None,
    account: str | None = ACCOUNT,
) -> requests.Response:
    """A request about an object: its server-side apply, or a merge of `body`.

    In the operator's name it changes nothing, which admission judges all the same; with `account`
    None it is the administrator's, and does.
    """
    path = PATHS[obj["kind"]].format(obj["metadata"]["namespace"])
    apply = "" if body or method == "DELETE" else "fieldManager=mlflow-model-operator&force=true"
    return cluster.api.http.request(
        method,
        f"{cluster.api.url}/{path}/{obj['metadata']['name']}?{apply}"
        + ("&dryRun=All" if account else ""),
        json=None if method == "DELETE" else body or obj,
        headers={"Content-Type": MERGE if body else APPLY}
        | ({"Impersonate-User": account} if account else {}),
    )


def assert_taken(response: requests.Response) -> None:
    """The API server did as it was asked."""
    assert response.ok, response.text


def assert_refused(response: requests.Response, says: str) -> None:
    """A policy of the chart refused it, with a sentence that has these words."""
    message = response.json().get("message", "it was not refused")
    assert response.status_code == 422, message
    assert f"ValidatingAdmissionPolicy '{RELEASE}.{NAMESPACE}." in message
    sentence = message.partition("denied request: ")[2]
    assert says in sentence
    assert "failed expression" not in sentence, "it says how it failed, not what to do"


@contextmanager
def made(cluster: Cluster, obj: JsonObject) -> Iterator[None]:
    """An object that an administrator has made, for the length of the block."""
    assert_taken(ask(cluster, "PATCH", obj, account=None))
    try:
        yield
    finally:
        assert_taken(ask(cluster, "DELETE", obj, account=None))
