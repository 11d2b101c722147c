"""The Python environments that the servers run in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import environment
from dev.cluster.settings import REPOSITORY

HERE = Path(__file__).parent
# With PyTorch, for our server and MLflow's; the slower differential suite uses it too.
DEEP_LOCK = REPOSITORY / "tests" / "parity" / "deep.lock"
MLSERVER_LOCK = HERE / "mlserver.lock"
MLSERVER_TORCH_LOCK = HERE / "mlserver-torch.lock"


# Of the servers in `peers/`, by name; all with PyTorch.
PEERS = ("fastapi", "bentoml", "litserve", "ray", "triton")


@dataclass(frozen=True)
class Pythons:
    """Interpreters: of our server and MLflow's, of MLServer, and of the peers."""

    ours: str
    mlserver: str = ""
    peers: Mapping[str, str] = field(default_factory=dict)


def pythons_for(case: str, servers: list[str]) -> Pythons:
    """The interpreters that this case needs; makes their environments if they are not there."""
    deep = case == "torch"
    mlserver = ""
    if "mlserver" in servers:
        mlserver = python_of(MLSERVER_TORCH_LOCK if deep else MLSERVER_LOCK)
    peers = {name: python_of(HERE / "peers" / f"{name}.lock") for name in PEERS if name in servers}
    return Pythons(python_of(DEEP_LOCK) if deep else sys.executable, mlserver, peers)


def python_of(lock: Path) -> str:
    """The interpreter of the environment for a lock."""
    return str(environment(lock) / "bin" / "python")
