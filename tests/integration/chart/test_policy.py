"""What the chart's admission policies refuse and let pass, by a real API server's own judgement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import control_plane
from tests.integration.chart.admission import (
    JsonObject,
    ask,
    assert_refused,
    assert_taken,
    deployment,
    images,
    made,
    route,
    service,
)
from tests.integration.chart.conftest import Cluster
from tests.integration.chart.test_rights import the_operator
from tests.integration.control_plane import wait_for
from tests.unit.chart.rendering import NAMESPACE, RELEASE, SCORING

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
STRICT: JsonObject = {
    "policy": {
        "images": ["registry.example.com/models/", "registry.example.com/{namespace}/wine"],
        "serviceAccounts": ["models"],
        "priorityClasses": ["high"],
        "runtimeClasses": ["nvidia"],
        "annotations": {"allowed": ["example.com/", "k8s.v1.cni.cncf.io/"]},
    },
    "hostnames": {
        "allowed": ["*.{namespace}.models.example.com", "{namespace}.example.org"],
        "byNamespace": {"team-a": ["bank.example.com"]},
    },
}
LOOSE: JsonObject = {
    "policy": {
        "volumes": ["hostPath", "nfs"],
        "annotations": {"denied": []},
        "tolerations": {"everything": True, "denied": []},
    }
}


def volume(kind: str, **source: Any) -> JsonObject:
    return {"volumes": [{"name": "data", kind: source}]}


def toleration(**fields: str) -> JsonObject:
    return {"tolerations": [fields]}


VALUES: dict[str, JsonObject] = {
    "default": {"replicas": 1},  # given nothing, Helm goes on with the last values
    "loose": LOOSE,
    "strict": {**STRICT, "watchNamespaces": ["team-a"]},
}
# By these objects it is seen which values count. Whether each passes: by default, loose, strict.
PROBES: list[tuple[JsonObject, tuple[bool, bool, bool]]] = [
    (deployment("team-a", **volume("hostPath", path="/")), (False, True, False)),
    (deployment("team-a", serviceAccountName="powerful"), (True, True, False)),
    (route("team-a", "other.example.com"), (True, True, False)),
    ({**service("team-a"), "metadata": {"name": "a", "namespace": "team-a"}}, (False,) * 3),
]


class Release:
    """The chart, installed with one set of values after the other."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.values = ""

    def use(self, values: str) -> Cluster:
        """The API server, once it goes by the policies that these values make."""
        if values != self.values:
            self.cluster.install(**VALUES[values])
            self.values = values
            place = list(VALUES).index(values)
            expected = [passes[place] for _, passes in PROBES]
            wait_for(lambda: self.probe() == expected, f"the policies of {values}")
        return self.cluster

    def probe(self) -> list[bool]:
        return [ask(self.cluster, "PATCH", obj).ok for obj, _ in PROBES]


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """Installed while this file's tests run."""
    cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "team-a"}})
    release = Release(cluster)
    yield release
    if release.values:
        cluster.uninstall()


@pytest.fixture
def default(release: Release) -> Cluster:
    """The chart as it is."""
    return release.use("default")


@pytest.fixture
def loose(release: Release) -> Cluster:
    """The chart with all allowed that can be."""
    return release.use("loose")


@pytest.fixture
def strict(release: Release) -> Cluster:
    """The chart with every list filled, and serving one namespace only."""
    return release.use("strict")


# ── Volumes ──

VOLUMES_OF_THE_RESTRICTED_STANDARD: list[JsonObject] = [
    volume("configMap", name="a"),
    volume("csi", driver="secrets-store.csi.k8s.io"),
    volume("downwardAPI", items=[]),
    volume("emptyDir"),
    volume(
        "ephemeral",
        volumeClaimTemplate={
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            }
        },
    ),
    volume("image", reference="registry.example.com/models/wine:1"),
    volume("persistentVolumeClaim", claimName="a"),
    volume("projected", sources=[{"configMap": {"name": "a"}}]),
    volume("secret", secretName="a"),
]
OTHER_VOLUMES: list[JsonObject] = [
    volume("hostPath", path="/"),
    volume("nfs", server="files", path="/"),
    volume("iscsi", targetPortal="10.0.0.1", iqn="iqn.2001-04.com.example:a", lun=0),
    volume("fc", wwids=["a"]),
    volume("cephfs", monitors=["10.0.0.1"]),
    volume("rbd", monitors=["10.0.0.1"], image="a"),
    volume("flexVolume", driver="example.com/driver"),
    volume("azureFile", secretName="a", shareName="a"),
    volume("glusterfs", endpoints="a", path="a"),
    volume("gcePersistentDisk", pdName="a"),
]


def kind_of(pod: JsonObject) -> str:
    ((named,),) = ([set(volume) - {"name"} for volume in pod["volumes"]],)
    return str(*named)


@pytest.mark.parametrize("pod", VOLUMES_OF_THE_RESTRICTED_STANDARD, ids=kind_of)
def test_volumes_of_the_restricted_standard_pass(default: Cluster, pod: JsonObject) -> None:
    assert_taken(ask(default, "PATCH", deployment("team-a", **pod)))


@pytest.mark.parametrize("pod", OTHER_VOLUMES, ids=kind_of)
def test_other_volumes_are_refused(default: Cluster, pod: JsonObject) -> None:
    says = (
        "spec.pod.volumes: the type of volume data is not allowed: use one of "
        "configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, "
        "projected, secret"
    )
    assert_refused(ask(default, "PATCH", deployment("team-a", **pod)), says)


def test_one_bad_volume_among_good_ones_is_refused(default: Cluster) -> None:
    good = [{"name": f"good-{number}", "emptyDir": {}} for number in range(5)]
    bad = {"name": "bad", "hostPath": {"path": "/var/run"}}
    refused = ask(default, "PATCH", deployment("team-a", volumes=[*good, bad, *good[:0]]))
    assert_refused(refused, "the type of volume bad is not allowed")


def test_a_volume_of_two_kinds_does_not_pass(default: Cluster) -> None:
    both = volume("emptyDir")
    both["volumes"][0]["hostPath"] = {"path": "/"}
    assert ask(default, "PATCH", deployment("team-a", **both)).status_code == 422


# ── By default ──

REFUSED: dict[str, tuple[JsonObject, str]] = {
    "system-priority": (
        {"priorityClassName": "system-node-critical"},
        "spec.pod.priorityClassName: system-node-critical is reserved for components of",
    ),
    "network": (
        {"annotations": {"k8s.v1.cni.cncf.io/networks": "other"}},
        "spec.pod.annotations: k8s.v1.cni.cncf.io/networks is not allowed: remove it",
    ),
    "network-in-capitals": (
        {"annotations": {"K8S.V1.cni.cncf.io/networks": "other"}},
        "spec.pod.annotations: K8S.V1.cni.cncf.io/networks is not allowed: remove it",
    ),
    "role": (
        {"annotations": {"example.com/a": "b", "iam.amazonaws.com/role": "admin"}},
        "spec.pod.annotations: iam.amazonaws.com/role is not allowed: remove it",
    ),
    "tolerates-everything": (
        toleration(operator="Exists"),
        "spec.pod.tolerations or spec.gpu.tolerations: a toleration without a key tolerates every",
    ),
    "tolerates-every-no-schedule": (
        toleration(operator="Exists", effect="NoSchedule"),
        "spec.pod.tolerations or spec.gpu.tolerations: a toleration without a key tolerates every",
    ),
    "tolerates-the-control-plane": (
        toleration(key="node-role.kubernetes.io/control-plane", operator="Exists"),
        "the taint node-role.kubernetes.io/control-plane must not be tolerated: remove the toler",
    ),
}
TAKEN: dict[str, JsonObject] = {
    "plain": {},
    "no-volumes": {"volumes": []},
    "priority": {"priorityClassName": "high"},
    "annotations": {"annotations": {"example.com/a": "b", "prometheus.io/scrape": "true"}},
    "taint": toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),
    "account": {"serviceAccountName": "anything"},
    "image": images("docker.io/anybody/anything:latest"),
    "runtime-class": {"runtimeClassName": "nvidia"},
}


@pytest.mark.parametrize(("pod", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_by_default(default: Cluster, pod: JsonObject, says: str) -> None:
    assert_refused(ask(default, "PATCH", deployment("team-a", **pod)), says)


@pytest.mark.parametrize("pod", TAKEN.values(), ids=TAKEN)
def test_what_passes_by_default(default: Cluster, pod: JsonObject) -> None:
    assert_taken(ask(default, "PATCH", deployment("team-a", **pod)))


def test_any_host_name_passes_by_default(default: Cluster) -> None:
    assert_taken(ask(default, "PATCH", route("team-a")))
    assert_taken(ask(default, "PATCH", route("team-a", "bank.example.com", "*.example.com")))


def test_others_are_not_judged(default: Cluster) -> None:
    with made(default, deployment("team-a", **volume("hostPath", path="/"))):
        pass


# ── With all allowed that can be ──

PRIVILEGED = {"securityContext": {"privileged": True}}
HOST_PORT = {"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]}
SHARED_WITH_THE_NODE: dict[str, JsonObject] = {
    "hostNetwork": {"hostNetwork": True},
    "hostPID": {"hostPID": True},
    "hostIPC": {"hostIPC": True},
    "privileged": {"containers": [{"name": "server", "image": SCORING, **PRIVILEGED}]},
    "privileged-init": {"initContainers": [{"name": "prepare", "image": SCORING, **PRIVILEGED}]},
    "hostPort": {"containers": [{"name": "server", "image": SCORING, **HOST_PORT}]},
}


@pytest.mark.parametrize("pod", SHARED_WITH_THE_NODE.values(), ids=SHARED_WITH_THE_NODE)
def test_nothing_of_the_node_is_shared(loose: Cluster, pod: JsonObject) -> None:
    refused = ask(loose, "PATCH", deployment("team-a", **pod))
    assert_refused(refused, "the pod shares the node's network, processes, ports or privileges")


@pytest.mark.parametrize(
    "pod",
    [
        volume("hostPath", path="/mnt/models"),
        volume("nfs", server="files", path="/"),
        volume("emptyDir"),
        {"annotations": {"k8s.v1.cni.cncf.io/networks": "other"}},
        toleration(operator="Exists"),
        toleration(key="node-role.kubernetes.io/control-plane", operator="Exists"),
    ],
)
def test_an_administrator_may_allow_it(loose: Cluster, pod: JsonObject) -> None:
    assert_taken(ask(loose, "PATCH", deployment("team-a", **pod)))


# ── With every list filled ──

REFUSED_BY_LISTS: dict[str, tuple[JsonObject, str]] = {
    "account": (
        {"serviceAccountName": "powerful"},
        "spec.pod.serviceAccountName: powerful is not allowed: leave it out, or use one of models",
    ),
    "account-by-its-old-name": (
        {"serviceAccount": "powerful"},
        "spec.pod.serviceAccountName: powerful is not allowed",
    ),
    "priority": (
        {"priorityClassName": "higher"},
        "spec.pod.priorityClassName: higher is not allowed: leave it out, or use one of high",
    ),
    "runtime-class": (
        {"runtimeClassName": "runc"},
        "spec.gpu.runtimeClassName: runc is not allowed: leave it out, or use one of nvidia",
    ),
    "annotation": (
        {"annotations": {"prometheus.io/scrape": "true"}},
        "spec.pod.annotations: prometheus.io/scrape is not allowed: use annotations that start "
        "with example.com/",
    ),
    # Denied is denied, although it is in the other list.
    "denied-annotation": (
        {"annotations": {"k8s.v1.cni.cncf.io/networks": "other"}},
        "spec.pod.annotations: k8s.v1.cni.cncf.io/networks is not allowed: remove it",
    ),
    "image": (
        images("docker.io/anybody/anything"),
        "spec.server.image or spec.pod.volumes: the image docker.io/anybody/anything is not from "
        "an allowed registry or repository: use one of registry.example.com/models/, "
        "registry.example.com/team-a/wine",
    ),
    "image-of-the-prepare-step": (images(SCORING, prepare="evil"), "the image evil is not from"),
    "image-in-a-volume": (volume("image", reference="evil"), "the image evil is not from"),
    "image-of-a-similar-registry": (images("registry.example.com.evil.com/models/wine"), "evil"),
    "image-of-a-similar-name": (images("registry.example.com/models"), "registry.example.com/mod"),
    "image-of-a-longer-name": (images("registry.example.com/team-a/wine-evil:1"), "wine-evil"),
    "image-of-another-namespace": (images("registry.example.com/team-b/wine:1"), "team-b"),
    "another-scoring-image": (images("mlflow-model-operator/scoring:evil"), "scoring:evil"),
}
TAKEN_BY_LISTS: dict[str, JsonObject] = {
    "plain": {},
    "account": {"serviceAccountName": "models"},
    "priority": {"priorityClassName": "high"},
    "runtime-class": {"runtimeClassName": "nvidia"},
    "annotation": {"annotations": {"example.com/a": "b"}},
    "image-below": images("registry.example.com/models/deep/wine:1"),
    "image-by-tag": images("registry.example.com/team-a/wine:1"),
    "image-by-digest": images("registry.example.com/team-a/wine@sha256:" + "0" * 64),
    "image-without-tag": images("registry.example.com/team-a/wine"),
    "image-in-a-volume": volume("image", reference="registry.example.com/models/wine:1"),
}


@pytest.mark.parametrize(("pod", "says"), REFUSED_BY_LISTS.values(), ids=REFUSED_BY_LISTS)
def test_what_is_in_no_list_is_refused(strict: Cluster, pod: JsonObject, says: str) -> None:
    assert_refused(ask(strict, "PATCH", deployment("team-a", **pod)), says)


@pytest.mark.parametrize("pod", TAKEN_BY_LISTS.values(), ids=TAKEN_BY_LISTS)
def test_what_is_in_a_list_passes(strict: Cluster, pod: JsonObject) -> None:
    assert_taken(ask(strict, "PATCH", deployment("team-a", **pod)))


@pytest.mark.parametrize(
    "hostnames",
    [
        ["wine.team-a.models.example.com"],
        ["deep.wine.team-a.models.example.com", "*.team-a.models.example.com"],
        ["team-a.example.org"],
        ["bank.example.com"],
    ],
)
def test_host_names_of_the_namespace_pass(strict: Cluster, hostnames: list[str]) -> None:
    assert_taken(ask(strict, "PATCH", route("team-a", *hostnames)))


@pytest.mark.parametrize(
    ("hostnames", "says"),
    [
        (
            [],
            "spec.routing.hostnames: a route without host names matches every host name of the",
        ),
        (["wine.team-b.models.example.com"], "is not allowed in the namespace team-a: use *.te"),
        (["team-a.models.example.com"], "team-a.models.example.com is not allowed in"),
        (["*.models.example.com"], "*.models.example.com is not allowed in"),
        (["xteam-a.models.example.com"], "is not allowed in"),
        (["x.team-a.models.example.com.evil.com"], "is not allowed in"),
        (["sub.team-a.example.org"], "is not allowed in"),
        (["*.team-a.example.org"], "is not allowed in"),
        (["*.bank.example.com"], "is not allowed in"),
        (
            ["bank.example.com", "shop.example.com"],
            "spec.routing.hostnames: shop.example.com is not",
        ),
    ],
)
def test_other_host_names_are_refused(strict: Cluster, hostnames: list[str], says: str) -> None:
    assert_refused(ask(strict, "PATCH", route("team-a", *hostnames)), says)


# ── What was there before the rules ──


def test_what_runs_already_may_be_scaled_and_not_changed(default: Cluster) -> None:
    old = deployment("team-a", **volume("hostPath", path="/"))
    with made(default, old):
        assert_taken(ask(default, "PATCH", old, {"spec": {"replicas": 5}}))
        assert_taken(ask(default, "PATCH", old))
        more = {"spec": {"template": {"metadata": {"annotations": {"example.com/a": "b"}}}}}
        assert_refused(ask(default, "PATCH", old, more), "the type of volume data is not allowed")
        better = {"spec": {"template": {"spec": {"volumes": None}}}}
        assert_taken(ask(default, "PATCH", old, better))
        assert_taken(ask(default, "DELETE", old))


def test_a_route_keeps_its_host_names_until_they_change(strict: Cluster) -> None:
    old = route("team-a", "old.example.com")
    with made(strict, old):
        elsewhere = {"spec": {"parentRefs": [{"name": "another", "namespace": "gateways"}]}}
        assert_taken(ask(strict, "PATCH", old, elsewhere))
        more = {"spec": {"hostnames": ["old.example.com", "new.example.com"]}}
        assert_refused(ask(strict, "PATCH", old, more), "old.example.com is not allowed in")


# ── Whose objects ──


@pytest.mark.parametrize("missing", ["labels", "ownerReferences"])
@pytest.mark.parametrize("make", [deployment, service, route])
def test_only_what_belongs_to_a_resource_is_made(loose: Cluster, make: Any, missing: str) -> None:
    obj = make("team-a")
    del obj["metadata"][missing]
    assert_refused(ask(loose, "PATCH", obj), "the operator can write only objects that belong")


@pytest.mark.parametrize("make", [deployment, service, route])
def test_objects_of_others_are_not_changed_and_not_deleted(loose: Cluster, make: Any) -> None:
    obj = make("team-a")
    theirs = {**obj, "metadata": {"name": "wine", "namespace": "team-a", "labels": {"a": "b"}}}
    says = "the operator can change and delete only objects that belong to an MLflowModelDeployment"
    with made(loose, theirs):
        assert_refused(ask(loose, "PATCH", obj), says)
        assert_refused(ask(loose, "DELETE", obj), says)


@pytest.mark.parametrize("missing", ["labels", "ownerReferences"])
def test_a_mark_that_was_taken_away_comes_back(loose: Cluster, missing: str) -> None:
    obj = service("team-a")
    marks = {name: value for name, value in obj["metadata"].items() if name != missing}
    with made(loose, {**obj, "metadata": marks}):
        assert_taken(ask(loose, "PATCH", obj))


# ── What people see ──


def condition(cluster: Cluster, name: str, which: str) -> JsonObject:
    path = (
        f"/apis/mlflow-model-operator.dev/v1alpha1/namespaces/team-a/mlflowmodeldeployments/{name}"
    )
    status = cluster.api.request("GET", path).json().get("status", {})
    found = [one for one in status.get("conditions", []) if one["type"] == which]
    return found[0] if found else {}


@pytest.mark.parametrize(
    ("spec", "which", "reason", "says"),
    [
        (
            {"pod": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}},
            "Available",
            "ApplyRefused",
            "spec.pod.volumes: the type of volume root is not allowed",
        ),
        (
            {"routing": {"gateway": {"name": "shared"}, "hostnames": ["shop.example.com"]}},
            "RouteAccepted",
            "PolicyDenied",  # by the operator itself, which has the same rules
            "spec.routing.hostnames: shop.example.com is not allowed in namespace team-a: use "
            "*.team-a.models.example.com, team-a.example.org, bank.example.com",
        ),
    ],
    ids=["volume", "host-name"],
)
def test_the_status_says_what_to_write_instead(
    strict: Cluster, tmp_path: Path, spec: JsonObject, which: str, reason: str, says: str
) -> None:
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"
    strict.api.request("DELETE", lease)  # of an operator that ran before
    wine = {
        "apiVersion": "mlflow-model-operator.dev/v1alpha1",
        "kind": "MLflowModelDeployment",
        "metadata": {"name": which.lower(), "namespace": "team-a"},
        "spec": {"model": {"uri": "s3://models/wine"}, **spec},
    }

    with the_operator(strict, tmp_path) as until:
        strict.api.kubectl("apply", "--filename=-", given=json.dumps(wine))
        until(
            lambda: condition(strict, which.lower(), which).get("reason") == reason,
            f"{which} to be False for the reason {reason}",
        )

    refused = condition(strict, which.lower(), which)
    assert (refused["status"], says in refused["message"]) == ("False", True), refused
    strict.api.kubectl("delete", "--filename=-", given=json.dumps(wine))


# ── The policies themselves ──


def test_every_expression_fits_the_types(strict: Cluster) -> None:
    """By the judgement of Kubernetes' own controller, which looks at types that it knows."""

    def statuses() -> list[JsonObject]:
        items = strict.api.request("GET", POLICIES).json()["items"]
        ours = [item for item in items if item["metadata"]["name"].startswith(f"{RELEASE}.")]
        return [item.get("status", {}) for item in ours]

    control_plane.tools("kube-controller-manager")
    with control_plane.controller_manager(strict.api):
        wait_for(lambda: all("typeChecking" in status for status in statuses()), "type checks")
    assert [status["typeChecking"] for status in statuses()] == [{}, {}, {}]


def test_a_trial_warns_and_lets_pass(release: Release, cluster: Cluster) -> None:
    bad = deployment("team-a", **volume("hostPath", path="/"))
    cluster.install(policy={"actions": ["Warn", "Audit"]})
    release.values = "trial"

    wait_for(lambda: "Warning" in ask(cluster, "PATCH", bad).headers, "a warning")
    answer = ask(cluster, "PATCH", bad)

    assert_taken(answer)
    assert "the type of volume data is not allowed" in answer.headers["Warning"]
    assert f"'{RELEASE}.{NAMESPACE}.pods'" in answer.headers["Warning"]
