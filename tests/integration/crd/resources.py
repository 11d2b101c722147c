"""Resources for the tests of the CRD, and the ways in which users send them."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.integration.control_plane import ApiServer

Resource = dict[str, Any]

API_VERSION = "mlflow-model-operator.dev/v1alpha1"
PLURAL = "mlflowmodeldeployments"

# Says as little as a user can.
MINIMAL: Resource = {
    "apiVersion": API_VERSION,
    "kind": "MLflowModelDeployment",
    "metadata": {"name": "wine"},
    "spec": {"model": {"uri": "models:/wine@champion"}},
}

# Says all that a user can.
FULL: Resource = {
    "apiVersion": API_VERSION,
    "kind": "MLflowModelDeployment",
    "metadata": {"name": "wine", "labels": {"team": "cellar"}},
    "spec": {
        "model": {
            "uri": "models:/wine@champion",
            "trackingUri": "http://mlflow.mlflow:5000",
            "credentialsSecret": "mlflow-credentials",
            "credentialsInServer": True,
        },
        "server": {
            "image": "registry.example.com:5000/team/scoring:0.1.0-py3.11",
            "workers": 4,
            "grpc": False,
            "onnx": False,
            "env": [
                {"name": "OMP_NUM_THREADS", "value": "2"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "resources": {
                "requests": {"cpu": 2, "memory": "4Gi"},
                "limits": {"memory": "4096Mi", "ephemeral-storage": "1e9"},
            },
            "storage": {"model": "200Gi", "tmp": 0},
            "startupTimeout": "1h30m",
        },
        "dependencies": {
            "indexUrl": "https://pypi.example.com/simple/",
            "findLinks": "/mnt/wheels",
            "caConfigMap": {"name": "company-ca", "key": "ca.pem"},
        },
        "gpu": {
            "count": 2,
            "resource": "nvidia.com/mig-1g.10gb",
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "runtimeClassName": "nvidia",
        },
        "scaling": {
            "minReplicas": 2,
            "maxReplicas": 5,
            "targetCPUUtilization": 150,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": "requests"}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "canary": {
            "uri": "models:/wine@challenger",
            "weight": 10,
            "match": [
                {"header": {"name": "X-Tester", "value": "yes, please"}},
                {"cookie": {"name": "beta", "value": "#1:[a]"}},
            ],
        },
        "rollout": {
            "strategy": "direct",
            "keepOld": "10m",
            "gates": {"tags": {"approved": "yes"}, "signature": "Strict"},
            "freeze": [
                {"cron": "0 18 * * FRI", "duration": "62h", "timeZone": "Europe/Berlin"},
                {"cron": "*/15 0-6,22 1,15 JAN-MAR *", "duration": "168h", "timeZone": "Etc/GMT+1"},
            ],
            "debounce": "30s",
            "flapProtection": {"moves": 3, "window": "24h"},
            "registry": {"writeBack": True},
            "onSuccess": {"setAlias": "champion_2"},
        },
        "policy": {"sources": ["models:/wine*", "s3://models/", "/mnt/models/", "runs:"]},
        "access": {"allowedCallers": {"namespaces": ["shop", "gateways"]}},
        "routing": {
            "gateway": {"name": "shared", "namespace": "gateways"},
            "hostnames": ["wine.models.example.com", "*.wine.example.com"],
            "path": "/wine",
            "timeout": "500ms",
            "sticky": {"cookie": "wine-revision", "maxAge": "8760h"},
        },
        "pod": {
            "nodeSelector": {"disk": "ssd", "empty": ""},
            "tolerations": [
                {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}
            ],
            "affinity": {"podAntiAffinity": {}},
            "serviceAccountName": "wine",
            "automountServiceAccountToken": True,
            "labels": {"example.com/team": "cellar"},
            "annotations": {"example.com/note": "a: {b}"},
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": "m", "readOnly": True}}
            ],
            "volumeMounts": [{"name": "models", "mountPath": "/mnt/wheels", "readOnly": True}],
            "imagePullSecrets": [{"name": "registry"}],
            "priorityClassName": "high",
        },
    },
}

# What a canary excludes: a rollout in steps, which is judged.
JUDGED: Resource = {
    **MINIMAL,
    "spec": {
        "model": {"uri": "models:/wine@champion"},
        "server": {"staleness": {"column": "event_time"}},
        "routing": {"gateway": {"name": "shared"}},
        "rollout": {
            "match": [{"header": {"name": "x-tester", "value": "true"}}],
            "steps": [
                {"shadow": {"percent": 20}, "hold": "10m"},
                {"weight": 10, "hold": "2m"},
                {"pause": {"duration": "1m"}},
            ],
            "analysis": {
                "interval": "15s",
                "minRequests": 200,
                "confidence": 99.5,
                "failureLimit": 1,
                "onInconclusive": "RollBack",
                "dryRun": True,
                "errors": {"maxPercent": 2.5, "maxIncrease": 0.5},
                "clientErrors": {"maxIncrease": 5},
                "latency": [
                    {"percentile": 50, "max": "20ms"},
                    {"percentile": 99.9, "maxRatio": 1.5},
                ],
                "staleness": {"percentile": 99, "maxAge": "6h"},
                "predictions": {"maxPsi": 0.1},
                "shadow": {
                    "maxDisagreementPercent": 2.5,
                    "maxErrorPercent": 1,
                    "maxMeanAbsoluteError": 0.05,
                },
                "queries": [
                    {
                        "name": "cost",
                        "url": "http://prometheus.monitoring:9090",
                        "query": 'sum(rate(cost{revision="$target"}[5m]))',
                        "min": 0,
                        "max": 1.5,
                    }
                ],
            },
        },
    },
}

# What a canary excludes too.
SPLIT: Resource = {
    **MINIMAL,
    "spec": {
        "model": {"uri": "models:/wine@champion"},
        "variants": [
            {"name": "b", "uri": "models:/wine/2", "weight": 60},
            {
                "name": "c",
                "uri": "models:/wine@challenger",
                "weight": 40,
                "match": [{"cookie": {"name": "beta", "value": "c"}}],
            },
        ],
        "routing": {"gateway": {"name": "shared"}},
    },
}
# What a custom image excludes: copies of requests.
SHADOWED: Resource = {
    **MINIMAL,
    "spec": {
        "model": {"uri": "models:/wine@champion"},
        "shadow": {
            "uri": "models:/wine@challenger",
            "percent": 20,
            "timeout": "5s",
            "maxBodySize": "2Mi",
            "examples": 5,
            "replicas": 2,
        },
    },
}


def merged(target: Any, change: Any) -> Any:
    """The target with a change merged into it (RFC 7386): null removes."""
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def path(namespace: str, name: str = "") -> str:
    """Where the API server has the resources of a namespace, or one of them."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}".rstrip("/")


def create(server: ApiServer, namespace: str, resource: Resource) -> requests.Response:
    """Sends a new resource as kubectl does: unknown fields are refused."""
    return server.request("POST", f"{path(namespace)}?fieldValidation=Strict", resource)


def created(server: ApiServer, namespace: str, resource: Resource) -> Resource:
    """A new resource as the API server has stored it."""
    response = create(server, namespace, resource)
    assert response.ok, response.text
    stored: Resource = response.json()
    return stored


def read(server: ApiServer, namespace: str, name: str) -> Resource:
    """The resource as the API server has it now."""
    response = server.request("GET", path(namespace, name))
    assert response.ok, response.text
    stored: Resource = response.json()
    return stored


def as_yaml(resource: Resource) -> str:
    """The resource as a file for kubectl; JSON is YAML."""
    return json.dumps(resource)
