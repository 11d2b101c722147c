"""Without any one of the rights that the chart gives, the operator is refused something."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_model_operator.kube import kinds
from tests.integration.chart.conftest import ACCOUNT, Cluster
from tests.integration.chart.test_rights import (
    FULL,
    GATEWAY_NAMESPACE,
    apply,
    chart_environment,
    children,
    counts,
    granted,
    is_ready,
    kubeconfig_of_the_operator,
    make_ready,
    resource,
)
from tests.integration.control_plane import REPOSITORY, free_port, wait_for
from tests.unit.chart.rendering import NAMESPACE, RELEASE

Right = tuple[str, str, str]  # verb, group, resource

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLE = f"{RBAC}/clusterroles/{RELEASE}"
LEADER_ROLE = f"{RBAC}/namespaces/{NAMESPACE}/roles/{RELEASE}-leader"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"
LEASES = ("coordination.k8s.io", "leases")
AT_START = ("list", "watch")


def may(cluster: Cluster, right: Right) -> bool:
    """Whether the API server would let the operator, in any namespace."""
    verb, group, plural = right
    plural, _, subresource = plural.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
    review = cluster.api.http.post(
        f"{cluster.api.url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        json={"spec": {"resourceAttributes": attributes}},
        headers={"Impersonate-User": ACCOUNT},
    )
    return bool(review.json()["status"]["allowed"])


def less(rules: list[dict[str, Any]], rights: set[Right]) -> list[dict[str, Any]]:
    """The rules of a role, without some rights."""
    return [
        {**rule, "apiGroups": [group], "resources": [plural], "verbs": [verb]}
        for rule in rules
        for group in rule["apiGroups"]
        for plural in rule["resources"]
        for verb in rule["verbs"]
        if (verb, group, plural) not in rights
    ]


@contextmanager
def without(cluster: Cluster, *rights: Right) -> Iterator[None]:
    """The operator's roles less these rights, for the length of the block."""
    before = {
        path: cluster.api.request("GET", path).json()["rules"] for path in (ROLE, LEADER_ROLE)
    }

    def set_rules(rules: dict[str, list[dict[str, Any]]], *, allowed: bool) -> None:
        for path, of_role in rules.items():
            merge = "application/merge-patch+json"
            cluster.api.request("PATCH", path, {"rules": of_role}, merge).raise_for_status()
        clusterwide = [right for right in rights if right[1:] != LEASES]
        wait_for(
            lambda: all(may(cluster, right) == allowed for right in clusterwide),
            f"{rights} to be {'given back' if allowed else 'taken away'}",
        )

    set_rules({path: less(rules, set(rights)) for path, rules in before.items()}, allowed=False)
    try:
        yield
    finally:
        set_rules(before, allowed=True)


@contextmanager
def running_operator(cluster: Cluster, folder: Path) -> Iterator[Callable[[], str]]:
    """Runs the operator as the chart does, for as long as it likes; yields its log's reader."""
    log = folder / "operator.log"
    environment = {
        **os.environ,
        **chart_environment(cluster),
        "MMO_HTTP_PORT": str(free_port()),
        "KUBECONFIG": str(kubeconfig_of_the_operator(cluster, folder)),
        "PYTHONPATH": str(REPOSITORY / "operator"),
    }
    cluster.api.request("DELETE", LEASE)  # of an operator that ran before
    cluster.forget()
    command = [sys.executable, "-m", "mlflow_model_operator.main"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield log.read_text
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def refused(cluster: Cluster, namespace: str | None = None) -> set[Right]:
    """What the API server has refused the operator."""
    return {
        (used.verb, used.group, used.resource)
        for used in cluster.requests_of_the_operator()
        if used.code == 403 and namespace in (None, used.namespace)
    }


def is_missed(cluster: Cluster, right: Right, namespace: str) -> bool:
    """Whether a request in the namespace was refused for want of this right."""
    verb, group, plural = right
    of_apply = ("patch", group, plural)
    if plural == "gateways":  # looked for in their own namespace
        namespace = GATEWAY_NAMESPACE
    found = refused(cluster, namespace)
    if plural.endswith("/finalizers"):
        return any(verb == "patch" for verb, _, _ in found)
    return right in found or (verb == "create" and of_apply in found)


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[Cluster]:
    """The release, for all of the cluster."""
    cluster.install(drainDelay=0)
    yield cluster
    cluster.uninstall()


@pytest.mark.parametrize("verb", AT_START)
def test_each_kind_is_missed_at_the_start(installed: Cluster, tmp_path: Path, verb: str) -> None:
    rights = {right for right in granted(installed) if right[0] == verb}

    with without(installed, *rights), running_operator(installed, tmp_path) as log:
        wait_for(lambda: refused(installed) >= rights, f"{rights} to be missed:\n{log()}")


@pytest.mark.parametrize("verb", ["create", "get", "update"])
def test_each_right_on_the_lease_is_missed(installed: Cluster, tmp_path: Path, verb: str) -> None:
    right = (verb, *LEASES)

    with without(installed, right), running_operator(installed, tmp_path) as log:
        wait_for(lambda: right in refused(installed), f"{right} to be missed:\n{log()}")


def until_all_is_there(cluster: Cluster, namespace: str) -> None:
    """Has the operator make one of each kind of child, and more Services."""
    apply(cluster, resource(namespace, 1, **FULL))

    def all_are_there() -> bool:
        make_ready(cluster, namespace)  # requests are copied once the shadow can answer
        return 0 not in counts(cluster, namespace).values()

    wait_for(all_are_there, "all children to be there")


def have_children_deleted(cluster: Cluster, namespace: str, right: Right) -> None:
    """All of them but a Deployment and a Service, and of these two the older ones.

    It ends as soon as the right is missed: the operator waits before it tries again.
    """

    def all_are_ready() -> bool:
        make_ready(cluster, namespace)
        deployments = children(cluster, kinds.DEPLOYMENT, namespace)
        return bool(deployments) and all(map(is_ready, deployments))

    def missed_or(condition: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: is_missed(cluster, right, namespace) or condition()

    apply(cluster, resource(namespace, 1))
    wait_for(missed_or(all_are_ready), "Deployments to be ready")
    apply(cluster, resource(namespace, 2))
    two = missed_or(lambda: counts(cluster, namespace)["Deployment"] == 2)
    wait_for(two, "a new revision")
    make_ready(cluster, namespace)


def until_missed(cluster: Cluster, right: Right, log: Callable[[], str]) -> None:
    """Takes the right away, and has the operator do what it needs it for."""
    namespace = cluster.api.make_namespace(right[0])
    if right[0] == "delete":
        until_all_is_there(cluster, namespace)
    with without(cluster, right):
        if right[0] == "delete":
            have_children_deleted(cluster, namespace, right)
        else:
            apply(cluster, resource(namespace, 1, **FULL))

        def is_missed_by_now() -> bool:
            make_ready(cluster, namespace)
            return is_missed(cluster, right, namespace)

        wait_for(is_missed_by_now, f"{right} to be missed:\n{log()}")


def test_each_other_right_is_missed_at_work(installed: Cluster, tmp_path: Path) -> None:
    rights = {right for right in granted(installed) if right[0] not in AT_START}
    at_work = sorted(right for right in rights if right[1:] != LEASES)
    assert len(at_work) > 15

    with running_operator(installed, tmp_path) as log:
        for right in at_work:
            until_missed(installed, right, log)
