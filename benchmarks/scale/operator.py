"""The operator as a process of its own, with exactly the packages of its image."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks.scale.plane import Plane, operator_kubeconfig
from e2e.cluster.settings import REPOSITORY, read_settings
from tests.integration.control_plane import (
    Running,
    _wait_until_healthy,
    free_port,
    process,
)

LOCK = REPOSITORY / "images" / "operator.lock"
# Compiles what the image has compiled, so that this is not counted as the operator's work.
WARM_UP = "import mlflow_model_operator.main; from mlflow_model_operator.registry import client; "
WARM_UP += "client.load()"


@dataclass
class Operator:
    """The running operator."""

    pid: int
    url: str
    log: Path

    def is_ready(self) -> bool:
        """Whether it says that its watches have brought everything."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


def environment() -> Path:
    """The operator's Python environment, made from its lock file at the first call ever."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = read_settings().cache / "benchmarks" / f"operator-{digest}"
    if not (folder / ".complete").exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run(
            [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True
        )
        command = [*uv, "pip", "sync", "--quiet", "--require-hashes", "--python"]
        subprocess.run([*command, folder / "bin" / "python", LOCK], check=True)
        (folder / ".complete").touch()
    _run([folder / "bin" / "python", "-c", WARM_UP], _variables(folder))
    return folder


@contextmanager
def operator(
    plane: Plane, venv: Path, name: str, wrapper: Sequence[str] = ()
) -> Iterator[Operator]:
    """Runs the operator until the end of the block; returns when it is ready.

    `wrapper` is a command to start it with, such as a profiler.
    """
    port = free_port()
    variables = _variables(venv) | {
        "KUBECONFIG": str(operator_kubeconfig(plane.api)),
        "MLFLOW_TRACKING_URI": plane.mlflow.url,
        "MMO_HTTP_PORT": str(port),
        "MMO_SCORING_IMAGES": '{"3.11": "scoring:py3.11"}',
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


def _run(command: Sequence[str | Path], variables: dict[str, str]) -> None:
    subprocess.run(command, check=True, env=variables)
