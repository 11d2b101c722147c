"""What GitOps tools make of an object, by their own code."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.control_plane import REPOSITORY, tools

CUSTOMIZATION = (
    REPOSITORY
    / "deploy/argocd/resource_customizations/mlflow-model-operator.dev/MLflowModelDeployment"
)
SCRIPT = CUSTOMIZATION / "health.lua"


@dataclass(frozen=True)
class Judgement:
    """A status of kstatus or a health of Argo CD, and its words."""

    status: str
    message: str


@dataclass(frozen=True)
class Health:
    """What both make of one object."""

    kstatus: Judgement
    argocd: Judgement


def health_of(obj: dict[str, Any], script: Path = SCRIPT) -> Health:
    """Runs kstatus, and Argo CD's engine with the script."""
    answer = _run(["health", str(script)], obj)
    return Health(Judgement(**answer["kstatus"]), Judgement(**answer["argocd"]))


def has_difference(config: dict[str, Any], live: dict[str, Any]) -> bool:
    """Whether Argo CD says OutOfSync of an object that was applied as `config`."""
    return bool(_run(["diff"], {"config": config, "live": live})["modified"])


def _run(arguments: list[str], given: dict[str, Any]) -> dict[str, Any]:
    program = tools("gitops-health") / "gitops-health"
    done = subprocess.run(
        [program, *arguments], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
