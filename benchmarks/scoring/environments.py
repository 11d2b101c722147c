"""The Python environments that the servers run in."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import environment
from dev.cluster.settings import REPOSITORY

HERE = Path(__file__).parent
# With PyTorch, for our server and MLflow's; the slower differential suite uses it too.
DEEP_LOCK = REPOSITORY / "tests" / "parity" / "deep.lock"
MLSERVER_LOCK = HERE / "mlserver.lock"
MLSERVER_TORCH_LOCK = HERE / "mlserver-torch.lock"


@dataclass(frozen=True)
class Pythons:
    """Interpreters: of our server and MLflow's, and of MLServer."""

    ours: str
    mlserver: str


def pythons_for(case: str, servers: list[str]) -> Pythons:
    """The interpreters that this case needs; makes their environments if they are not there."""
    deep = case == "torch"
    mlserver = ""
    if "mlserver" in servers:
        mlserver = python_of(MLSERVER_TORCH_LOCK if deep else MLSERVER_LOCK)
    return Pythons(python_of(DEEP_LOCK) if deep else sys.executable, mlserver)


def python_of(lock: Path) -> str:
    """The interpreter of the environment for a lock."""
    return str(environment(lock) / "bin" / "python")
