"""The page of the installation, and what it leaves in a cluster."""

from __future__ import annotations

import subprocess

from dev.cluster.settings import REPOSITORY

INSTALL = REPOSITORY / "docs" / "install.md"
NAMESPACES = ("mlflow-model-operator", "mlflow", "models")


def uninstall() -> None:
    """What an earlier installation has left, by the docs' own commands; absent is fine."""
    for command in (
        ("kubectl", "delete", "mmd", "--all", "--all-namespaces", "--timeout=2m"),
        ("helm", "uninstall", NAMESPACES[0], f"--namespace={NAMESPACES[0]}", "--wait"),
        ("kubectl", "delete", "crd", "mlflowmodeldeployments.mlflow-model-operator.dev"),
        ("kubectl", "delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=3m"),
    ):
        subprocess.run(command, check=False, capture_output=True)
