"""Brings the MLflow server up, and says where it answers."""

from __future__ import annotations

import os
from pathlib import Path

import requests

from dev.kube import kubectl, wait_until

MANIFEST = Path(__file__).parent / "server.yaml"
NAMESPACE = "mlflow"
# As pods and the operator write it.
URI_IN_CLUSTER = "http://mlflow.mlflow:5000"
READY_SECONDS = 180


def mlflow_url() -> str:
    """Where the server answers on this machine."""
    port = os.environ.get("MLFLOW_PORT", "5005")
    return os.environ.get("MLFLOW_URL", f"http://127.0.0.1:{port}").rstrip("/")


def deploy() -> None:
    """Applies the manifest; quick where nothing has changed."""
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={MANIFEST}")


def wait_until_it_answers() -> None:
    """Waits for the server's pod, and then for an answer on this machine."""
    wait_until_ready(NAMESPACE)
    wait_until(f"{mlflow_url()} answers", _is_healthy, seconds=60)


def wait_until_ready(namespace: str) -> None:
    """Waits for the pod of a server of this manifest."""
    kubectl(
        *("rollout", "status", "deployment/mlflow", f"--namespace={namespace}"),
        f"--timeout={READY_SECONDS}s",
        timeout=READY_SECONDS + 10,
    )


def _is_healthy() -> bool:
    try:
        return requests.get(f"{mlflow_url()}/health", timeout=10).status_code == 200
    except requests.RequestException:
        return False
