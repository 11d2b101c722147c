"""A small server, as restricted as the models are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dev import kube
from dev.kube import KubeObject
from images.image import IMAGES

# It has Python, and is in every cluster that the tests run on.
SCORING_IMAGE = IMAGES["scoring"].tag


def server_pod(
    name: str,
    namespace: str,
    image: str,
    command: list[str],
    port: int,
    volumes: Sequence[KubeObject] = (),
    mounts: Sequence[KubeObject] = (),
) -> list[KubeObject]:
    """A Deployment with one pod that listens at `port`, and its Service."""
    labels = {"app.kubernetes.io/name": name}
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": list(mounts),
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": list(volumes),
    }
    metadata = {"name": name, "namespace": namespace}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "selector": labels,
                "ports": [{"name": "http", "port": port, "targetPort": "http"}],
            },
        },
    ]


def wait_until_ready(name: str, namespace: str, seconds: int = 120) -> None:
    """Waits for the Deployment."""
    kube.kubectl(
        *("rollout", "status", f"deployment/{name}", f"--namespace={namespace}"),
        f"--timeout={seconds}s",
        timeout=seconds + 10,
    )
