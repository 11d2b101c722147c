"""The operator in the cluster, installed as its users do: by Helm, from the chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dev import kube
from dev.mlflow.server import URI_IN_CLUSTER
from images.image import IMAGES

CHART = Path(__file__).parents[1] / "charts" / "mlflow-model-operator"
RELEASE = "mlflow-model-operator"
NAMESPACE = "mlflow-model-operator"
SELECTOR = "app.kubernetes.io/name=mlflow-model-operator"
# In the nodes of the project's own cluster, and in no registry.
LOCAL_REGISTRY = "mlflow-model-operator"
IMAGE = IMAGES["operator"].tag
CHART_IMAGES: dict[str, Any] = {
    "image": {"registry": LOCAL_REGISTRY},
    "scoringImage": {"pythonVersions": []},
    "scoringImages": {"3.11": IMAGES["scoring"].tag},
}
READY_SECONDS = 180
# Tests have tracking servers of their own, too.
CLUSTER_VALUES = {"trackingUri": URI_IN_CLUSTER, "policy": {"trackingUris": ["*"]}}


def install_operator(**values: Any) -> None:
    """Installs or upgrades the release and waits until it is ready.

    `values` are added to those that this cluster needs: its tracking server and its images.
    """
    kube.apply(kube.restricted_namespace(NAMESPACE))
    kube.run(
        *("helm", "upgrade", "--install", RELEASE, str(CHART), f"--namespace={NAMESPACE}"),
        *("--wait", f"--timeout={READY_SECONDS}s", "--values=-"),
        stdin=json.dumps({**CLUSTER_VALUES, **CHART_IMAGES, **_image_note(), **values}),
        timeout=READY_SECONDS + 30,
    )


def _image_note() -> dict[str, Any]:
    """Which build of the image is meant: a new one under the old tag must start new pods."""
    try:
        built = kube.run("docker", "image", "inspect", "--format={{.Id}}", IMAGE)
    except kube.CommandError:  # a cluster of somebody's own, and no Docker here
        return {}
    return {"podAnnotations": {"mlflow-model-operator.dev/image": built.strip()}}


def operator_pods() -> list[kube.KubeObject]:
    """The operator's pods that are not ending."""
    pods = kube.get_all(kube.POD, NAMESPACE, SELECTOR)
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
