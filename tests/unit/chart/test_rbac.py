"""The operator's rights, each of which must be listed here with its verbs."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import KubeObject
from tests.unit.chart.rendering import NAMESPACE, RELEASE, Helm, of_kind, the

Rights = dict[tuple[str, str], set[str]]  # (group, resource) → verbs

WATCH = {"list", "watch"}
OWN = WATCH | {"create", "patch", "delete"}
WATCHED: Rights = {
    ("mlflow-model-operator.dev", "mlflowmodeldeployments"): WATCH,
    ("mlflow-model-operator.dev", "mlflowmodeldeployments/status"): {"patch"},
    ("mlflow-model-operator.dev", "mlflowmodeldeployments/finalizers"): {"update"},
    ("apps", "deployments"): OWN | {"get"},
    ("", "services"): OWN | {"get"},
    ("autoscaling", "horizontalpodautoscalers"): OWN,
    ("policy", "poddisruptionbudgets"): OWN,
    ("gateway.networking.k8s.io", "httproutes"): OWN | {"get"},
    ("networking.k8s.io", "networkpolicies"): OWN | {"get"},
    # By name alone: a right to list them would show everybody's.
    ("", "configmaps"): (OWN - WATCH) | {"get"},
    ("gateway.networking.k8s.io", "gateways"): {"get"},
    ("", "pods"): WATCH,
    ("events.k8s.io", "events"): {"create"},
}
GATEWAYS: Rights = {("gateway.networking.k8s.io", "gateways"): {"get"}}


def rights(role: KubeObject) -> Rights:
    found: Rights = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def roles(objects: list[KubeObject]) -> dict[tuple[str, str], KubeObject]:
    """Roles by namespace and name."""
    found = of_kind(objects, "Role")
    return {(role["metadata"]["namespace"], role["metadata"]["name"]): role for role in found}


def is_bound(objects: list[KubeObject], role: KubeObject) -> bool:
    """Whether a binding beside the role gives it to the operator's service account alone."""
    account = the(objects, "ServiceAccount")["metadata"]
    subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": NAMESPACE}
    place = role["metadata"].get("namespace")
    return any(
        binding["roleRef"]["kind"] == role["kind"]
        and binding["roleRef"]["name"] == role["metadata"]["name"]
        and binding["metadata"].get("namespace") == place
        and binding["subjects"] == [subject]
        for binding in of_kind(objects, f"{role['kind']}Binding")
    )


def test_cluster_wide(helm: Helm) -> None:
    objects = helm.render(rbac={"aggregate": False})

    role = the(objects, "ClusterRole")
    assert rights(role) == WATCHED
    assert is_bound(objects, role)
    assert roles(objects).keys() == {(NAMESPACE, f"{RELEASE}-leader")}


def test_in_namespaces_there_is_nothing_cluster_wide(helm: Helm) -> None:
    objects = helm.render(
        rbac={"aggregate": False}, watchNamespaces=["a", "b"], gatewayNamespaces=["gateways"]
    )

    assert of_kind(objects, "ClusterRole") == of_kind(objects, "ClusterRoleBinding") == []
    found = roles(objects)
    assert found.keys() == {
        ("a", RELEASE),
        ("b", RELEASE),
        ("gateways", f"{RELEASE}-gateways"),
        (NAMESPACE, f"{RELEASE}-leader"),
    }
    assert rights(found["a", RELEASE]) == rights(found["b", RELEASE]) == WATCHED
    assert rights(found["gateways", f"{RELEASE}-gateways"]) == GATEWAYS
    assert all(is_bound(objects, role) for role in found.values())


def test_of_leases_it_may_change_its_own_only(helm: Helm) -> None:
    role = roles(helm.render())[NAMESPACE, f"{RELEASE}-leader"]

    create, own = role["rules"]
    assert (create["resources"], create["verbs"]) == (["leases"], ["create"])
    assert (own["resourceNames"], own["verbs"]) == ([RELEASE], ["get", "update"])


@pytest.mark.parametrize("kind", kinds.CHILDREN, ids=lambda kind: kind.kind)
def test_every_kind_of_child_may_be_kept(kind: Kind) -> None:
    assert WATCHED[kind.group, kind.plural] >= OWN


@pytest.mark.parametrize("kind", kinds.UNWATCHED_CHILDREN, ids=lambda kind: kind.kind)
def test_what_is_not_watched_cannot_be_listed(kind: Kind) -> None:
    assert not WATCHED[kind.group, kind.plural] & WATCH


def test_rights_may_be_left_to_others(helm: Helm) -> None:
    objects = helm.render(rbac={"create": False, "aggregate": False})
    kinds_made = {obj["kind"] for obj in objects}
    assert {kind for kind in kinds_made if "Role" in kind} == set()


def test_a_service_account_of_others_is_bound(helm: Helm) -> None:
    objects = helm.render(serviceAccount={"create": False, "name": "mine"})

    bindings = of_kind(objects, "ClusterRoleBinding") + of_kind(objects, "RoleBinding")
    assert [subject["name"] for b in bindings for subject in b["subjects"]] == ["mine", "mine"]
    assert the(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


@pytest.mark.parametrize(
    ("name", "verbs", "scale", "to"),
    [
        ("view", {"get", "list", "watch"}, {"get"}, {"view"}),
        (
            "edit",
            {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
            {"get", "update", "patch"},
            {"edit", "admin"},
        ),
    ],
)
def test_people_get_rights_by_kubernetes_own_roles(
    helm: Helm, name: str, verbs: set[str], scale: set[str], to: set[str]
) -> None:
    found = of_kind(helm.render(), "ClusterRole")
    (role,) = (r for r in found if r["metadata"]["name"] == f"{RELEASE}-{name}")

    group, plural = kinds.RESOURCE.group, kinds.RESOURCE.plural
    expected: dict[Any, set[str]] = {
        (group, plural): verbs,
        (group, f"{plural}/scale"): scale,
        (group, f"{plural}/status"): {"get"},
    }
    assert rights(role) == expected
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    labels = role["metadata"]["labels"]
    assert {label.removeprefix(prefix) for label in labels if label.startswith(prefix)} == to
