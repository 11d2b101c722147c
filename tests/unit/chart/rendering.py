"""Renders the chart as Helm does, without a cluster."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlflow_model_operator.kube.objects import KubeObject
from tests.integration.control_plane import REPOSITORY

CHART = REPOSITORY / "charts" / "mlflow-model-operator"
RELEASE = "mlflow-model-operator"
NAMESPACE = "operators"

REGISTRY = "registry.example.com/team"
SCORING = f"{REGISTRY}/scoring:0.1.0-py3.11"
# The one value that has no default.
REQUIRED: dict[str, Any] = {"image": {"registry": REGISTRY}}

# Everything that is off by default.
ALL_ON: dict[str, Any] = {
    "replicas": 2,
    "trackingUri": "https://mlflow.example.com",
    "trackingCredentialsSecret": "mlflow-credentials",
    "trackingCaConfigMap": {"name": "company-ca", "key": "bundle.pem"},
    "packageIndex": {"url": "https://pypi.example.com/simple"},
    "webhooks": {
        "enabled": True,
        "secret": "webhooks",
        "service": {"annotations": {"example.com/public": "false"}},
        "from": [{"namespaceSelector": {"matchLabels": {"name": "mlflow"}}}],
    },
    "clusterName": "staging",
    "watchNamespaces": ["team-a", "team-b"],
    "gatewayNamespaces": ["gateways"],
    "serviceAccount": {"annotations": {"example.com/role": "operator"}},
    "policy": {
        "serviceAccounts": ["models"],
        "images": ["registry.example.com/models/"],
        "annotations": {"allowed": ["example.com/"]},
        "priorityClasses": ["high"],
        "runtimeClasses": ["nvidia"],
        "trackingUris": ["http://mlflow.{namespace}:5000"],
        "prometheusUrls": ["http://prometheus.{namespace}:9090"],
        "sources": ["models:/{namespace}-*", "s3://models/"],
        "formats": ["onnx", "skops"],
        "writableModels": ["{namespace}-*"],
        "signatures": {
            "publicKeys": ["-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"],
            "certificateAuthorities": [
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
            ],
        },
    },
    "hostnames": {
        "allowed": ["*.{namespace}.models.example.com"],
        "byNamespace": {"team-a": ["bank.example.com"]},
    },
    "imagePullSecrets": ["registry"],
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "cache", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    "logging": {"level": "debug", "format": "json"},
    "deploymentAnnotations": {"reloader.example.com/auto": "true"},
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}]},
    "hostAliases": [{"ip": "10.0.0.20", "hostnames": ["mlflow.internal"]}],
    "commonLabels": {"example.com/team": "ml"},
    "commonAnnotations": {"example.com/owner": "ml@example.com"},
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "extra",
                "labels": {
                    "app.kubernetes.io/name": "mlflow-model-operator",
                    "app.kubernetes.io/managed-by": "Helm",
                },
            },
        }
    ],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "infra", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "podLabels": {"team": "ml"},
    "podAnnotations": {"example.com/scrape": "true"},
    "metrics": {
        "service": {"annotations": {"example.com/scrape": "true"}},
        "serviceMonitor": {
            "enabled": True,
            "namespace": "monitoring",
            "scrapeTimeout": "10s",
            "labels": {"release": "prometheus"},
            "annotations": {"example.com/scraped": "true"},
            "jobLabel": "app.kubernetes.io/name",
            "honorLabels": True,
            "relabelings": [{"action": "labeldrop", "regex": "pod"}],
            "metricRelabelings": [{"action": "drop", "sourceLabels": ["le"], "regex": "0.1"}],
        },
    },
    "modelMetrics": {
        "podMonitor": {
            "enabled": True,
            "namespace": "monitoring",
            "scrapeTimeout": "10s",
            "labels": {"release": "prometheus"},
            "annotations": {"example.com/scraped": "true"},
            "jobLabel": "app.kubernetes.io/name",
            "podTargetLabels": ["team"],
            "honorLabels": True,
            "relabelings": [{"action": "labeldrop", "regex": "pod"}],
            "metricRelabelings": [{"action": "drop", "sourceLabels": ["le"], "regex": "0.1"}],
        },
    },
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "modelNetworkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"name": "gateways"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
}


@dataclass(frozen=True)
class Helm:
    """The helm program, used on the project's chart."""

    program: Path

    def text(self, **values: Any) -> str:
        """The chart with these values, as Helm writes it; AssertionError if it refuses them."""
        done = self.run(
            *("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--values=-"),
            given=json.dumps(merged(REQUIRED, values)),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def render(self, **values: Any) -> list[KubeObject]:
        """The chart's objects with these values."""
        # The C loader takes a tenth of the time for the CRD.
        return [obj for obj in yaml.load_all(self.text(**values), yaml.CSafeLoader) if obj]

    def refusal(self, **values: Any) -> str:
        """What Helm says of values that it does not take."""
        return self.exact_refusal(**merged(REQUIRED, values))

    def exact_refusal(self, **values: Any) -> str:
        """The same, of these values only: not even the required ones are added."""
        done = self.run("template", RELEASE, str(CHART), "--values=-", given=json.dumps(values))
        assert done.returncode != 0, "Helm took these values"
        return done.stderr

    def notes(self, **values: Any) -> str:
        """What Helm tells people after the installation."""
        done = self.run(
            *("install", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--values=-"),
            *("--dry-run=client", "--kubeconfig=/dev/null"),
            given=json.dumps(merged(REQUIRED, values)),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:")[2]

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """One call; the result is not checked."""
        return subprocess.run(
            [self.program, *arguments], input=given, capture_output=True, text=True, check=False
        )


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both, as Helm merges them: what `more` says counts."""
    both = dict(values)
    for name, value in more.items():
        own = both.get(name)
        if isinstance(own, dict) and isinstance(value, dict):
            value = merged(own, value)
        both[name] = value
    return both


def of_kind(objects: list[KubeObject], kind: str) -> list[KubeObject]:
    """The objects of one kind."""
    return [obj for obj in objects if obj["kind"] == kind]


def the(objects: list[KubeObject], kind: str) -> KubeObject:
    """The only object of its kind."""
    (found,) = of_kind(objects, kind)
    return found


def container(objects: list[KubeObject]) -> dict[str, Any]:
    """The operator's container."""
    pod = the(objects, "Deployment")["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return dict(found)
