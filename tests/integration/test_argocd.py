"""The health check for Argo CD, as its own tests run those of `resource_customizations`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_model_operator.api.names import GROUP, KIND
from tests.integration.control_plane import REPOSITORY, ApiServer
from tests.integration.gitops import CUSTOMIZATION, SCRIPT, health_of

CASES: list[dict[str, Any]] = yaml.safe_load((CUSTOMIZATION / "health_test.yaml").read_text())[
    "tests"
]
PAGE = REPOSITORY / "docs/how-to/gitops.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case["inputPath"]).stem)
def test_the_health_check(case: dict[str, Any]) -> None:
    live = yaml.safe_load((CUSTOMIZATION / case["inputPath"]).read_text())
    argocd = health_of(live).argocd
    assert {"status": argocd.status, "message": argocd.message} == case["healthStatus"]


def test_each_health_has_a_case() -> None:
    healths = {case["healthStatus"]["status"] for case in CASES}
    assert healths == {"Progressing", "Healthy", "Suspended", "Degraded"}


def test_the_folder_has_the_name_that_argo_cd_looks_for() -> None:
    assert CUSTOMIZATION.parts[-3:] == ("resource_customizations", GROUP, KIND)


def test_the_documented_command_adds_it_to_the_configuration(api_server: ApiServer) -> None:
    namespace = api_server.make_namespace()
    other = {"data": {"timeout.reconciliation": "60s"}, "metadata": {"name": "argocd-cm"}}
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    assert api_server.request("POST", maps, other).ok

    text = PAGE.read_text(encoding="utf-8")
    block = text.split("```console\n")[1].split("```")[0]
    commands = block.replace("$ ", "").replace("--namespace argocd", f"--namespace {namespace}")
    commands = commands.replace("kubectl", f"{api_server.bin}/kubectl")
    environment = {"PATH": "/usr/bin:/bin", "KUBECONFIG": str(api_server.kubeconfig)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=REPOSITORY,
        env={**environment, "HOME": str(api_server.folder)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    data = api_server.request("GET", f"{maps}/argocd-cm").json()["data"]
    key = f"resource.customizations.health.{GROUP}_{KIND}"
    assert data == {"timeout.reconciliation": "60s", key: SCRIPT.read_text()}
