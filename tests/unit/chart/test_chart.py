"""The chart's objects: that they are right, and that they are what the operator expects."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mlflow_model_operator import __version__, settings
from mlflow_model_operator.api.spec import Spec
from mlflow_model_operator.kube.objects import KubeObject, name_of
from mlflow_model_operator.settings import Settings, from_environment
from tests.unit.chart.rendering import (
    ALL_ON,
    CHART,
    NAMESPACE,
    REGISTRY,
    RELEASE,
    REQUIRED,
    Helm,
    container,
    merged,
    of_kind,
    the,
)

GOLDEN = CHART.parents[1] / "tests" / "golden" / "minimal" / "output.yaml"
CRD_FOLDER = CHART.parents[1] / "crds"
OWN_KINDS = {
    "CustomResourceDefinition",
    "PodMonitor",
    "ServiceMonitor",
}  # not in Kubernetes' own schemas
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "all-on": ALL_ON,
    "nothing": {
        "crds": {"install": False},
        "rbac": {"create": False, "aggregate": False},
        "policy": {"enabled": False},
        "serviceAccount": {"create": False},
        "metrics": {"service": {"enabled": False}},
    },
}
cases = pytest.mark.parametrize("values", CASES.values(), ids=CASES)


@cases
def test_lint_finds_nothing(helm: Helm, values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(merged(REQUIRED, values)))

    done = helm.run("lint", "--strict", str(CHART), f"--values={file}")

    assert done.returncode == 0, done.stdout + done.stderr


@cases
@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field(helm: Helm, values: dict[str, Any], version: str) -> None:
    objects = helm.render(**values)

    for obj in objects:
        if obj["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(obj, version, strict=True)
    assert {obj["kind"] for obj in objects} >= {"Deployment"}


@cases
def test_every_object_has_the_usual_labels(helm: Helm, values: dict[str, Any]) -> None:
    for obj in helm.render(**values):
        labels = obj["metadata"]["labels"]
        # Else the operator's Service and PodDisruptionBudget would select the pod of the test.
        suffix = "-test" if obj["kind"] == "Pod" else ""
        assert labels["app.kubernetes.io/name"] == f"mlflow-model-operator{suffix}", obj["kind"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm", obj["kind"]


@cases
def test_no_object_is_made_twice(helm: Helm, values: dict[str, Any]) -> None:
    found = [
        (obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])
        for obj in helm.render(**values)
    ]
    assert len(found) == len(set(found))


def test_the_versions_are_the_operators() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__


# ── What the operator is told ──


def environment(objects: list[KubeObject]) -> dict[str, str]:
    """The variables as the container sees them."""
    fields = {
        "metadata.name": "a-pod",
        "metadata.namespace": NAMESPACE,
        "status.podIP": "10.0.0.1",
    }
    return {
        variable["name"]: variable["value"]
        if "value" in variable
        else fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container(objects)["env"]
    }


def test_the_operator_reads_its_defaults(helm: Helm) -> None:
    assert from_environment(environment(helm.render())) == Settings(
        scoring_images={
            python: f"{REGISTRY}/scoring:{__version__}-py{python}"
            for python in ("3.10", "3.11", "3.12", "3.13")
        },
        lease_name="mlflow-model-operator",
        lease_namespace=NAMESPACE,
        identity="a-pod",
    )


def test_the_operator_reads_what_the_values_say(helm: Helm) -> None:
    objects = helm.render(
        trackingUri="https://mlflow.example.com/a?b=c&d",
        watchNamespaces=["team-a", "team-b"],
        pollInterval=2.5,
        scoringImage={"pythonVersions": ["3.11", "3.12"]},
        scoringImages={"3.12": 'registry.example.com/"odd"'},
        scoringImagePullPolicy="Always",
        packageIndex={"url": "https://pypi.example.com/simple"},
        workers=3,
        resyncInterval=1_000_000,
        drainDelay=0,
        maxTemplateUpdates=3,
        fullnameOverride="mmo",
    )

    assert from_environment(environment(objects)) == Settings(
        tracking_uri="https://mlflow.example.com/a?b=c&d",
        namespaces=("team-a", "team-b"),
        poll_interval=2.5,
        scoring_images={
            "3.11": f"{REGISTRY}/scoring:{__version__}-py3.11",
            "3.12": 'registry.example.com/"odd"',
        },
        image_pull_policy="Always",
        index_url="https://pypi.example.com/simple",
        workers=3,
        resync_interval=1_000_000,
        drain_delay=0,
        max_template_updates=3,
        lease_name="mmo",
        lease_namespace=NAMESPACE,
        identity="a-pod",
    )


def test_the_operator_reads_the_policy_of_the_values(helm: Helm) -> None:
    rules = settings.from_environment(environment(helm.render(**ALL_ON))).policy
    assert rules == settings.PolicySettings(
        tracking_uris=("http://mlflow.{namespace}:5000",),
        max_tracking_servers=5,
        hostnames=("*.{namespace}.models.example.com",),
        hostnames_by_namespace={"team-a": ("bank.example.com",)},
        sources=("models:/{namespace}-*", "s3://models/"),
        formats=("onnx", "skops"),
        writable_models=("{namespace}-*",),
        public_keys=("-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n",),
        certificate_authorities=("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",),
        prometheus_urls=("http://prometheus.{namespace}:9090",),
    )
    defaults = settings.from_environment(environment(helm.render())).policy
    assert defaults == settings.PolicySettings()


def test_every_variable_of_the_operator_is_set(helm: Helm) -> None:
    source = Path(settings.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r'"(MMO_\w+|MLFLOW_\w+|POD_\w+)"', source))

    given = environment(helm.render(**ALL_ON))

    assert given.keys() - {"MLFLOW_TRACKING_SERVER_CERT_PATH", "HTTPS_PROXY"} == read


def test_the_tracking_servers_ca_is_where_the_variable_says(helm: Helm) -> None:
    objects = helm.render(trackingCaConfigMap={"name": "company-ca", "key": "bundle.pem"})
    pod = the(objects, "Deployment")["spec"]["template"]["spec"]

    path = environment(objects)["MLFLOW_TRACKING_SERVER_CERT_PATH"]
    (mount,) = (m for m in container(objects)["volumeMounts"] if path.startswith(m["mountPath"]))
    (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
    assert volume["configMap"] == {
        "name": "company-ca",
        "items": [{"key": "bundle.pem", "path": path.rpartition("/")[2]}],
    }


def test_webhooks_are_off_by_default(helm: Helm) -> None:
    objects = helm.render()

    assert from_environment(environment(objects)).webhooks is None
    assert [entry["name"] for entry in container(objects)["ports"]] == ["http"]
    assert "mlflow-model-operator-webhooks" not in {name_of(entry) for entry in objects}


def test_webhooks_have_a_port_a_service_and_the_keys_as_files(helm: Helm) -> None:
    objects = helm.render(
        webhooks={"enabled": True, "secret": "webhooks", "maxPollsPerSecond": 2.5},
        clusterName="staging",
    )
    pod = the(objects, "Deployment")["spec"]["template"]["spec"]
    (service,) = (
        entry
        for entry in of_kind(objects, "Service")
        if name_of(entry) == "mlflow-model-operator-webhooks"
    )

    read = from_environment(environment(objects))
    assert read.webhooks is not None
    assert (read.webhooks.port, read.webhooks.address) == (8090, "10.0.0.1:8090")
    assert (read.max_hinted_polls, read.cluster_name) == (2.5, "staging")
    assert {"name": "webhooks", "containerPort": 8090} in container(objects)["ports"]
    assert service["spec"]["ports"] == [{"name": "webhooks", "port": 80, "targetPort": "webhooks"}]
    mount = {"name": "webhooks", "mountPath": str(read.webhooks.keys), "readOnly": True}
    assert mount in container(objects)["volumeMounts"]
    assert {"name": "webhooks", "secret": {"secretName": "webhooks"}} in pod["volumes"]


def test_credentials_come_from_the_named_secret(helm: Helm) -> None:
    given = container(helm.render(trackingCredentialsSecret="mlflow"))

    assert given["envFrom"] == [{"secretRef": {"name": "mlflow"}}]
    assert "envFrom" not in container(helm.render())


# ── How it runs ──


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, f"{REGISTRY}/operator:{__version__}"),
        ({"registry": "r.example.com", "repository": "a/b", "tag": "1"}, "r.example.com/a/b:1"),
        ({"registry": "", "repository": "r.example.com/op", "tag": "1.2"}, "r.example.com/op:1.2"),
        (
            {"tag": "1.2", "digest": "sha256:" + "0" * 64},
            f"{REGISTRY}/operator@sha256:" + "0" * 64,
        ),
    ],
)
def test_the_image_is_the_configured_one(helm: Helm, image: dict[str, str], expected: str) -> None:
    objects = helm.render(image=image, scoringImage={"registry": REGISTRY})
    assert container(objects)["image"] == expected


def test_an_image_that_nobody_set_is_refused_with_what_to_do(helm: Helm) -> None:
    says = helm.exact_refusal()

    assert "image.registry is not set, and has no default" in says
    assert "make push REGISTRY=registry.example.com/team" in says


def test_scoring_images_without_a_registry_are_refused(helm: Helm) -> None:
    whole = {"image": {"repository": "registry.example.com/operator"}}

    assert "scoringImage.registry is not set" in helm.exact_refusal(**whole)
    # Whoever names them does not need it.
    images = {"3.12": "registry.example.com/scoring:1"}
    unset = {"registry": "", **whole["image"]}
    objects = helm.render(image=unset, scoringImages=images)
    assert json.loads(environment(objects)["MMO_SCORING_IMAGES"]) == images


def test_a_registry_of_one_s_own_for_scoring_images(helm: Helm) -> None:
    own = {"registry": "r.example.com/models/", "tag": "2.0", "pythonVersions": ["3.13"]}
    images = json.loads(environment(helm.render(scoringImage=own))["MMO_SCORING_IMAGES"])
    assert images == {"3.13": "r.example.com/models/scoring:2.0-py3.13"}


def test_a_large_number_stays_a_number(helm: Helm) -> None:
    large = 1_000_680_000
    objects = helm.render(
        replicas=2_000_000,
        resyncInterval=large,
        podSecurityContext={"runAsUser": large},
        podDisruptionBudget={"maxUnavailable": 1_000_000},
    )

    spec = the(objects, "Deployment")["spec"]
    assert spec["replicas"] == 2_000_000
    assert spec["template"]["spec"]["securityContext"]["runAsUser"] == large
    assert the(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1_000_000
    assert environment(objects)["MMO_RESYNC_INTERVAL"] == str(large)


def test_the_probes_ask_what_the_operator_serves(helm: Helm) -> None:
    operator = container(helm.render())

    assert operator["ports"] == [{"name": "http", "containerPort": Settings.http_port}]
    assert operator["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert operator["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_the_timings_of_the_probes_are_values(helm: Helm) -> None:
    before = container(helm.render())["livenessProbe"]
    assert (before["periodSeconds"], before["timeoutSeconds"]) == (20, 5)
    operator = container(
        helm.render(livenessProbe={"timeoutSeconds": 30}, readinessProbe={"failureThreshold": 9})
    )
    assert operator["livenessProbe"] == before | {"timeoutSeconds": 30}
    assert operator["readinessProbe"]["failureThreshold"] == 9


def test_the_new_pod_is_ready_before_the_old_one_ends_unless_there_is_no_room(helm: Helm) -> None:
    spec = the(helm.render(), "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["revisionHistoryLimit"] == 3
    objects = helm.render(strategy={"type": "Recreate"}, revisionHistoryLimit=1)
    spec = the(objects, "Deployment")["spec"]
    assert (spec["strategy"], spec["revisionHistoryLimit"]) == ({"type": "Recreate"}, 1)


def test_one_replica_has_a_lease_and_no_budget(helm: Helm) -> None:
    objects = helm.render()

    assert environment(objects)["MMO_LEASE_NAME"] == "mlflow-model-operator"
    assert of_kind(objects, "PodDisruptionBudget") == []


def test_several_replicas_are_spread_and_not_evicted_together(helm: Helm) -> None:
    objects = helm.render(replicas=2)
    spec = the(objects, "Deployment")["spec"]
    selector = spec["selector"]["matchLabels"]

    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == selector
    budget = the(objects, "PodDisruptionBudget")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": selector}}


def metrics_service(objects: list[KubeObject]) -> KubeObject:
    """The Service for Prometheus."""
    (service,) = (
        entry for entry in of_kind(objects, "Service") if name_of(entry).endswith("-metrics")
    )
    return service


def test_all_selectors_select_the_pods(helm: Helm) -> None:
    objects = helm.render(**ALL_ON | {"podLabels": {"app.kubernetes.io/name": "else"}})
    spec = the(objects, "Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"].items()

    assert spec["selector"]["matchLabels"].items() <= labels
    assert the(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    (network,) = (
        policy
        for policy in of_kind(objects, "NetworkPolicy")
        if policy["metadata"]["namespace"] == NAMESPACE
    )
    assert network["spec"]["podSelector"]["matchLabels"].items() <= labels
    for service in of_kind(objects, "Service"):
        assert service["spec"]["selector"].items() <= labels
    monitor = the(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= metrics_service(objects)["metadata"]["labels"].items()


def test_openshift_may_choose_the_user(helm: Helm) -> None:
    objects = helm.render(podSecurityContext={"runAsUser": None, "runAsGroup": None})

    context = the(objects, "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_all_objects_are_in_the_namespace_that_is_set(helm: Helm) -> None:
    values = {**ALL_ON, "namespaceOverride": "other", "watchNamespaces": ["other"]}
    values["gatewayNamespaces"] = ["other"]

    for obj in helm.render(**values):
        if obj["metadata"]["name"] == "extra":
            continue  # whoever adds it says where
        monitor = obj["kind"].endswith("Monitor")
        namespace = obj["metadata"].get("namespace", "other")
        assert namespace == ("monitoring" if monitor else "other"), obj["kind"]
        for subject in obj.get("subjects", []):
            assert subject["namespace"] == "other"
    assert "system:serviceaccount:other:" in helm.text(namespaceOverride="other")


def test_common_labels_and_annotations_are_on_all_objects(helm: Helm) -> None:
    labels = {"example.com/team": "ml", "app.kubernetes.io/name": "other"}
    annotations = {"example.com/owner": "ml"}

    objects = helm.render(**ALL_ON | {"commonLabels": labels, "commonAnnotations": annotations})

    for obj in objects:
        if obj["metadata"]["name"] == "extra":
            continue
        assert obj["metadata"]["labels"]["example.com/team"] == "ml", obj["kind"]
        assert obj["metadata"]["annotations"]["example.com/owner"] == "ml", obj["kind"]
    template = the(objects, "Deployment")["spec"]["template"]["metadata"]
    assert template["labels"]["example.com/team"] == "ml"
    assert template["labels"]["app.kubernetes.io/name"] == "mlflow-model-operator"
    crd = the(objects, "CustomResourceDefinition")["metadata"]["annotations"]
    assert crd == {"helm.sh/resource-policy": "keep", **annotations}


def test_extra_objects_are_rendered(helm: Helm) -> None:
    template = "{apiVersion: v1, kind: Secret, metadata: {name: '{{ .Release.Name }}-a'}}"
    name = {"name": "{{ .Release.Namespace }}-b"}

    objects = helm.render(
        extraObjects=[template, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": name}]
    )

    assert the(objects, "Secret")["metadata"]["name"] == f"{RELEASE}-a"
    assert the(objects, "ConfigMap")["metadata"]["name"] == f"{NAMESPACE}-b"


def test_extra_volumes_are_mounted(helm: Helm) -> None:
    objects = helm.render(**ALL_ON)
    pod = the(objects, "Deployment")["spec"]["template"]["spec"]

    names = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container(objects)["volumeMounts"]} == names
    assert names == {"tmp", "tracking-ca", "webhooks", "cache"}


# ── Monitors ──


def test_the_pod_monitor_scrapes_the_models_that_are_watched(helm: Helm) -> None:
    enabled = {"podMonitor": {"enabled": True}}

    everywhere = the(helm.render(modelMetrics=enabled), "PodMonitor")["spec"]
    some = the(helm.render(modelMetrics=enabled, watchNamespaces=["team-a"]), "PodMonitor")["spec"]

    assert everywhere["namespaceSelector"] == {"any": True}
    assert some["namespaceSelector"] == {"matchNames": ["team-a"]}
    golden = yaml.safe_load_all(GOLDEN.read_text(encoding="utf-8"))
    pod = next(obj for obj in golden if obj["kind"] == "Deployment")["spec"]["template"]
    assert everywhere["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,) = everywhere["podMetricsEndpoints"]
    assert endpoint["port"] in {
        port["name"] for part in pod["spec"]["containers"] for port in part["ports"]
    }


def test_monitors_have_what_the_values_say(helm: Helm) -> None:
    objects = helm.render(**ALL_ON)

    for kind, endpoints in (
        ("ServiceMonitor", "endpoints"),
        ("PodMonitor", "podMetricsEndpoints"),
    ):
        monitor = the(objects, kind)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert monitor["metadata"]["annotations"]["example.com/scraped"] == "true"
        assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
        (endpoint,) = monitor["spec"][endpoints]
        assert endpoint["scrapeTimeout"] == "10s"
        assert endpoint["honorLabels"] is True
        assert endpoint["relabelings"] == [{"action": "labeldrop", "regex": "pod"}]
        assert endpoint["metricRelabelings"][0]["sourceLabels"] == ["le"]
    service_monitor = the(objects, "ServiceMonitor")["spec"]
    assert service_monitor["namespaceSelector"] == {"matchNames": [NAMESPACE]}


# ── helm test ──


def test_the_test_is_a_hook_that_no_selector_selects(helm: Helm) -> None:
    objects = helm.render(**ALL_ON)
    pod = the(objects, "Pod")

    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    selectors = [
        *(service["spec"]["selector"] for service in of_kind(objects, "Service")),
        the(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(objects, "Deployment")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert not selector.items() <= pod["metadata"]["labels"].items()
    service = metrics_service(objects)["metadata"]
    (part,) = pod["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in part["env"]}
    assert variables["SERVICE"] == f"{service['name']}.{service['namespace']}.svc"
    compile(part["args"][0], "ready.py", "exec")


def test_without_the_service_there_is_no_test(helm: Helm) -> None:
    assert of_kind(helm.render(metrics={"service": {"enabled": False}}), "Pod") == []


@pytest.mark.parametrize("file", sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_values_for_chart_tests_are_valid(helm: Helm, file: Path) -> None:
    done = helm.run("lint", "--strict", str(CHART), f"--values={file}")
    assert done.returncode == 0, done.stdout + done.stderr


# ── Chart.yaml ──


def test_the_icon_is_the_file() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    kind, _, data = chart["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    icon = (CHART / "icon.svg").read_text(encoding="utf-8")
    assert base64.b64decode(data).decode() == icon.strip()


def test_artifact_hub_is_told_of_the_crd_and_a_valid_example() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    annotations = {name: yaml.safe_load(text) for name, text in chart["annotations"].items()}
    (file,) = CRD_FOLDER.glob("*.yaml")
    crd = yaml.safe_load(file.read_text(encoding="utf-8"))

    (entry,) = annotations["artifacthub.io/crds"]
    assert entry["name"] == crd["metadata"]["name"]
    assert entry["kind"] == crd["spec"]["names"]["kind"]
    assert entry["version"] in {version["name"] for version in crd["spec"]["versions"]}
    (example,) = annotations["artifacthub.io/crdsExamples"]
    assert example["kind"] == entry["kind"]
    assert Spec.model_validate(example["spec"])
    for link in annotations["artifacthub.io/links"]:
        assert link["url"].startswith("https://")


# ── The CRD ──


def test_the_crd_is_the_projects(helm: Helm) -> None:
    (file,) = CRD_FOLDER.glob("*.yaml")
    expected = yaml.safe_load(file.read_text(encoding="utf-8"))

    crd = the(helm.render(), "CustomResourceDefinition")

    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert crd["metadata"]["name"] == expected["metadata"]["name"]
    assert {**crd, "metadata": 0} == {**expected, "metadata": 0}


def test_the_crd_may_go_with_the_release(helm: Helm) -> None:
    crd = the(helm.render(crds={"keep": False}), "CustomResourceDefinition")
    assert "annotations" not in crd["metadata"]


def test_the_crd_may_be_left_to_others(helm: Helm) -> None:
    objects = helm.render(crds={"install": False})
    assert of_kind(objects, "CustomResourceDefinition") == []


# ── What people are told ──


def test_the_notes_name_what_to_do(helm: Helm) -> None:
    notes = helm.notes()
    assert "the MLflowModelDeployments of all namespaces" in notes
    assert "trackingUri: http://mlflow.mlflow:5000" in notes
    assert f"kubectl --namespace {NAMESPACE} rollout status deployment/" in notes


def test_the_notes_know_the_values(helm: Helm) -> None:
    notes = helm.notes(trackingUri="http://mlflow:5000", watchNamespaces=["team-a", "team-b"])
    assert "the namespaces team-a, team-b, from http://mlflow:5000" in notes
    assert "namespace: team-a" in notes
    assert "trackingUri" not in notes
