"""The operator as a process of its own, with exactly the packages of its image."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks.environments import environment
from benchmarks.scale.plane import Plane, operator_kubeconfig
from dev.cluster.settings import REPOSITORY
from tests.integration.control_plane import (
    Running,
    _wait_until_healthy,
    free_port,
    process,
)

LOCK = REPOSITORY / "images" / "operator.lock"
# Compiles what the image has compiled, so that this is not counted as the operator's work.
WARM_UP = "import mlflow_model_operator.main; from mlflow_model_operator.registry import http; "
WARM_UP += "http.load_mlflow()"


@dataclass
class Operator:
    """The running operator."""

    pid: int
    url: str
    log: Path

    @property
    def errors_in_log(self) -> int:
        """How many errors it has logged."""
        return self.log.read_text().count(" ERROR ")

    def is_ready(self) -> bool:
        """Whether it says that its watches have brought everything."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


def compiled_environment(interpreter: str = sys.executable) -> Path:
    """The operator's Python environment, with all compiled that it imports."""
    folder = environment(LOCK, interpreter)
    python = folder / "bin" / "python"
    subprocess.run([python, "-c", WARM_UP], check=True, env=_variables(folder))
    return folder


@contextmanager
def operator(
    plane: Plane,
    venv: Path,
    name: str,
    wrapper: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> Iterator[Operator]:
    """Runs the operator until the end of the block; returns when it is ready.

    `wrapper` is a command to start it with, such as a profiler; `more` are variables for it.
    """
    port = free_port()
    variables = _variables(venv) | {
        "KUBECONFIG": str(operator_kubeconfig(plane.api)),
        "MLFLOW_TRACKING_URI": plane.mlflow.url,
        "MMO_HTTP_PORT": str(port),
        "MMO_SCORING_IMAGES": '{"3.11": "scoring:py3.11"}',
        **(more or {}),
    }
    settings = [f"{key}={value}" for key, value in variables.items()]
    python = [str(venv / "bin" / "python"), "-m", "mlflow_model_operator.main"]
    command = ["env", "-i", *settings, *wrapper, *python]
    with process(name, command, plane.api.folder) as running:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(running, url)
        yield Operator(running.popen.pid, url, running.log)


def _wait_until_ready(running: Running, url: str) -> None:
    _wait_until_healthy(running, f"{url}/readyz", requests.Session())


def _variables(venv: Path) -> dict[str, str]:
    """As in images/operator.Dockerfile."""
    return {
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "HOME": str(venv),
        "PYTHONPATH": str(REPOSITORY / "operator"),
        "PYTHONPYCACHEPREFIX": str(venv / "pycache"),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MALLOC_ARENA_MAX": "2",
    }
