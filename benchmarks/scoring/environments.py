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
# Triton's wheel runs the model by an interpreter of its own, of 3.11.4 or so, with the standard
# library of the environment's: that of 3.11.5 and later needs a newer one.
TRITON_PYTHON = Path("/usr/bin/python3.11")


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
    peers = {name: _peer_python(name) for name in PEERS if any(s.startswith(name) for s in servers)}
    return Pythons(python_of(DEEP_LOCK) if deep else sys.executable, mlserver, peers)


def python_of(lock: Path, python: str = sys.executable) -> str:
    """The interpreter of the environment for a lock."""
    return str(environment(lock, python) / "bin" / "python")


def _peer_python(name: str) -> str:
    lock = HERE / "peers" / f"{name}.lock"
    if name == "triton" and TRITON_PYTHON.exists():
        return python_of(lock, str(TRITON_PYTHON))
    return python_of(lock)
