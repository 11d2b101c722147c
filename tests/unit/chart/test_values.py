"""The values: all described, wrong ones refused, and none without an effect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml

from charts import generate
from mlflow_model_operator.api.spec import Format
from tests.unit.chart.rendering import ALL_ON, CHART, Helm, merged

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
PATHS = [path for path, _, _ in generate.rows(SCHEMA, VALUES)]

NOT = "at '/env/0/name': value must be 'not"

# Another value for each, where ALL_ON has none.
OTHER: dict[str, Any] = {
    "pollInterval": 60,
    "webhooks.maxPollsPerSecond": 5,
    "webhooks.service.type": "LoadBalancer",
    "scoringImages": {"3.12": "other"},
    "scoringImagePullPolicy": "Always",
    "crds.install": False,
    "crds.keep": False,
    "rbac.create": False,
    "rbac.aggregate": False,
    "serviceAccount.create": False,
    "serviceAccount.name": "other",
    "scoringImage.registry": "registry.example.com/models",
    "scoringImage.repository": "other",
    "scoringImage.tag": "other",
    "scoringImage.pythonVersions": ["3.11"],
    "scoringImage.defaultPythonVersion": "3.12",
    "image.registry": "registry.example.com/other",
    "image.repository": "other",
    "image.tag": "other",
    "image.digest": "sha256:" + "1" * 64,
    "image.pullPolicy": "Always",
    "policy.enabled": False,
    "policy.actions": ["Audit"],
    "policy.volumes": ["nfs"],
    "policy.annotations.denied": [],
    "policy.tolerations.everything": True,
    "policy.tolerations.denied": ["example.com/taint"],
    "networkPolicy.metadataServices": ["100.100.100.200/32"],
    "policy.maxTrackingServers": 1,
    "workers": 2,
    "resyncInterval": 60,
    "drainDelay": 1,
    "maxTemplateUpdates": 3,
    "resources": {"limits": {"memory": "1Gi"}},
    "topologySpreadConstraints": [{"topologyKey": "zone"}],
    "podSecurityContext": {"runAsUser": 1000},
    "securityContext": {"privileged": False},
    **{
        f"{probe}.{timing}": 7
        for probe in ("livenessProbe", "readinessProbe")
        for timing in ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold")
    },
    "strategy": {"type": "Recreate"},
    "revisionHistoryLimit": 1,
    "podDisruptionBudget.enabled": False,
    "podDisruptionBudget.maxUnavailable": "50%",
    "metrics.service.enabled": False,
    "metrics.serviceMonitor.interval": "5m",
    "modelMetrics.podMonitor.interval": "5m",
    "namespaceOverride": "other",
    "tests.enabled": False,
    "tests.image": "registry.example.com/python:3.13",
    "tests.timeoutSeconds": 5,
    "tests.resources": {"limits": {"memory": "128Mi"}},
    "nameOverride": "other",
    "fullnameOverride": "other",
}


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a.b": 1} as Helm wants it: {"a": {"b": 1}}."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def at(values: dict[str, Any], path: str) -> Any:
    found: Any = values
    for name in path.split("."):
        found = found[name]
    return found


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths in values.yaml, as far down as the schema describes them."""
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and here not in PATHS:
            yield from leaves(value, f"{here}.")
        else:
            yield here


def objects_of(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{path}{name}", part
        yield from objects_of(part, f"{path}{name}.")


def test_generated_files_are_fresh() -> None:
    assert generate.stale() == [], "run `python charts/generate.py`"


def test_the_schema_lists_exactly_the_values() -> None:
    assert sorted(leaves(VALUES)) == sorted(PATHS)


def test_every_value_is_described() -> None:
    for path, part in objects_of(SCHEMA):
        assert len(part["description"]) > 10, path


def test_no_described_object_takes_unknown_names() -> None:
    for path, part in [("", SCHEMA), *objects_of(SCHEMA)]:
        if "properties" in part:
            assert part["additionalProperties"] is False, path


def base(path: str) -> dict[str, Any]:
    """Values with which the one at `path` matters."""
    models_network = {"modelNetworkPolicy": {"enabled": True}, "watchNamespaces": ["team-a"]}
    webhooks = {"webhooks": {"enabled": True, "secret": "webhooks"}}
    needed: dict[str, dict[str, Any]] = {
        "gatewayNamespaces": {"watchNamespaces": ["team-a"]},
        "modelNetworkPolicy.enabled": {"watchNamespaces": ["team-a"]},
        "modelNetworkPolicy.egress": models_network,
        "modelNetworkPolicy.from": models_network,
        "modelNetworkPolicy.metricsFrom": models_network,
        "networkPolicy.egress": nested("networkPolicy.enabled", True),
        "networkPolicy.metadataServices": nested("networkPolicy.enabled", True),
        "networkPolicy.from": nested("networkPolicy.enabled", True),
        "podDisruptionBudget.enabled": {"replicas": 2},
        "podDisruptionBudget.maxUnavailable": {"replicas": 2},
        "webhooks.enabled": {"webhooks": {"secret": "webhooks"}},
        "webhooks.from": webhooks | nested("networkPolicy.enabled", True),
        "webhooks.maxPollsPerSecond": webhooks,
        "webhooks.secret": {"webhooks": {"enabled": True, "secret": "other"}},
        "webhooks.service.annotations": webhooks,
        "webhooks.service.type": webhooks,
        "trackingCaConfigMap.key": {"trackingCaConfigMap": {"name": "company-ca"}},
    }
    for monitor in ("metrics.serviceMonitor", "modelMetrics.podMonitor"):
        if path.startswith(f"{monitor}.") and path != f"{monitor}.enabled":
            return nested(f"{monitor}.enabled", True)
    return needed.get(path, {})


@pytest.mark.parametrize("path", PATHS)
def test_every_value_has_an_effect(helm: Helm, path: str) -> None:
    override = OTHER[path] if path in OTHER else at(ALL_ON, path)
    without = base(path)

    assert helm.text(**without) != helm.text(**merged(without, nested(path, override)))


def test_the_formats_are_those_of_the_resource() -> None:
    formats = SCHEMA["properties"]["policy"]["properties"]["formats"]["items"]["enum"]
    assert tuple(formats) == get_args(Format)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("trackingURI", "http://mlflow", "additional properties 'trackingURI' not allowed"),
        ("image.repo", "x", "additional properties 'repo' not allowed"),
        ("replicas", -1, "at '/replicas': minimum"),
        ("replicas", "two", "at '/replicas': got string, want integer"),
        ("pollInterval", 0, "at '/pollInterval': minimum"),
        ("workers", 0.5, "at '/workers'"),
        ("watchNamespaces", "team-a", "at '/watchNamespaces': got string, want array"),
        ("watchNamespaces", ["Team_A"], "at '/watchNamespaces/0'"),
        ("watchNamespaces", ["a", "a"], "at '/watchNamespaces': items at 0 and 1 are equal"),
        ("scoringImages", {"3": "image"}, "at '/scoringImages': additional properties '3' not"),
        ("scoringImages", {"3.11": 5}, "at '/scoringImages/3.11': got number, want string"),
        ("scoringImagePullPolicy", "Sometimes", "value must be one of 'Always', 'IfNotPresent'"),
        ("packageIndex.url", "pypi", "at '/packageIndex/url'"),
        ("packageIndex.url", "https://me:pw@pypi.example.com/simple", "credentialsSecret names"),
        ("packageIndex.url", "https://token@pypi.example.com/simple", "credentialsSecret names"),
        ("image.digest", "latest", "at '/image/digest'"),
        ("policy.actions", [], "at '/policy/actions': minItems"),
        ("policy.actions", ["deny"], "value must be one of 'Deny', 'Warn', 'Audit'"),
        ("policy.volumes", ["hostpath"], "at '/policy/volumes/0': value must be one of"),
        ("policy.serviceAccounts", ["it's"], "at '/policy/serviceAccounts/0'"),
        ("policy.images", ["a'||true||'"], "at '/policy/images/0'"),
        ("policy.annotations.denied", ["Example.com/"], "at '/policy/annotations/denied/0'"),
        ("policy.tolerations.denied", ["'"], "at '/policy/tolerations/denied/0'"),
        ("hostnames.allowed", ["*example.com"], "at '/hostnames/allowed/0'"),
        ("hostnames.allowed", ["a.*.example.com"], "at '/hostnames/allowed/0'"),
        ("hostnames.byNamespace", {"a": "b.example.com"}, "at '/hostnames/byNamespace/a'"),
        ("networkPolicy.metadataServices", ["169.254.169.254"], "at '/networkPolicy/metadata"),
        ("podDisruptionBudget.maxUnavailable", "half", "at '/podDisruptionBudget/maxUnavailable'"),
        ("policy.trackingUris", ["mlflow"], "at '/policy/trackingUris/0'"),
        ("policy.trackingUris", ["http://a:b@mlflow"], "at '/policy/trackingUris/0'"),
        ("policy.prometheusUrls", ["*"], "at '/policy/prometheusUrls/0'"),
        ("policy.prometheusUrls", ["http://a:b@prometheus"], "at '/policy/prometheusUrls/0'"),
        ("policy.maxTrackingServers", -1, "at '/policy/maxTrackingServers': minimum"),
        ("policy.sources", ["wine"], "at '/policy/sources/0'"),
        ("policy.sources", ["models:/wine/3"], "at '/policy/sources/0'"),
        ("webhooks.enabled", True, "webhooks.secret is not set: set it to a Secret"),
        ("webhooks.secret", "Not A Name", "at '/webhooks/secret'"),
        ("webhooks.maxPollsPerSecond", 0, "at '/webhooks/maxPollsPerSecond': minimum"),
        ("clusterName", "Not A Name", "at '/clusterName'"),
        ("policy.writableModels", ["models:/wine"], "at '/policy/writableModels/0'"),
        ("env", [{"name": "POD_IP", "value": "a"}], f"{NOT} POD_NAME or POD_IP, which the chart"),
        ("policy.formats", ["joblib"], "at '/policy/formats/0': value must be one of"),
        ("policy.signatures.publicKeys", ["MFkw"], "at '/policy/signatures/publicKeys/0'"),
        ("hostnames.allowed", ["https://example.com"], "at '/hostnames/allowed/0'"),
        ("hostnames.byNamespace", {"Team": []}, "additional properties 'Team' not allowed"),
        ("trackingCredentialsSecret", "Not A Name", "at '/trackingCredentialsSecret'"),
        ("env", [{"name": "MMO_WORKERS", "value": "2"}], f"{NOT} one that begins with MMO_, all"),
        (
            "env",
            [{"name": "MMO_WORKERS", "value": "2"}],
            "of which the chart sets: use the chart value",
        ),
        ("env", [{"name": "POD_NAME", "value": "a"}], "which the chart sets: leave it out"),
        (
            "env",
            [{"name": "MLFLOW_TRACKING_URI", "value": "a"}],
            f"{NOT} MLFLOW_TRACKING_URI, which the chart sets: use the chart value trackingUri",
        ),
        (
            "env",
            [{"name": "MLFLOW_TRACKING_SERVER_CERT_PATH", "value": "a"}],
            f"{NOT} MLFLOW_TRACKING_SERVER_CERT_PATH, which the chart sets: use the chart value "
            "trackingCaConfigMap",
        ),
        ("env", [{"name": "A", "value": 5}], "at '/env/0/value': got number, want string"),
        ("env", [{"value": "a"}], "at '/env/0': missing property 'name'"),
        ("logging.level", "INFO", "at '/logging/level': value must be one of 'debug', 'info'"),
        ("logging.format", "xml", "at '/logging/format': value must be one of 'text', 'json'"),
        ("image.registry", "https://registry", "at '/image/registry'"),
        ("scoringImage.pythonVersions", [3.11], "at '/scoringImage/pythonVersions/0': got number"),
        ("dnsPolicy", "Mine", "at '/dnsPolicy': value must be one of"),
        ("namespaceOverride", "Team_A", "at '/namespaceOverride'"),
        ("metrics.serviceMonitor.interval", 30, "at '/metrics/serviceMonitor/interval'"),
        ("fullnameOverride", "a" * 60, "at '/fullnameOverride': maxLength"),
    ],
)
def test_wrong_values_are_refused(helm: Helm, path: str, value: Any, says: str) -> None:
    assert says in helm.refusal(**nested(path, value))


def test_as_a_subchart_it_gets_global_values(helm: Helm) -> None:
    assert helm.text(**{"global": {"anything": 1}}) == helm.text()
