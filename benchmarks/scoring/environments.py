"""The Python environments that the servers run in, made from locks and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# With PyTorch, for our server and MLflow's; the slower differential suite uses it too.
DEEP_LOCK = ROOT / "tests" / "parity" / "deep.lock"
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
        mlserver = environment(MLSERVER_TORCH_LOCK if deep else MLSERVER_LOCK)
    return Pythons(environment(DEEP_LOCK) if deep else sys.executable, mlserver)


def environment(lock: Path) -> str:
    """The interpreter of an environment with exactly the packages of a lock.

    Raises CalledProcessError if uv can't install them; its words are printed.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = _cache() / "environments" / f"{lock.stem}-{digest}"
    python = folder / "bin" / "python"
    done = folder / ".complete"
    if not done.exists():
        uv = str(Path(sys.executable).parent / "uv")
        print(f"installing {lock.name} to {folder}", file=sys.stderr)
        subprocess.run([uv, "venv", "--quiet", "--clear", "-p", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
        subprocess.run([*install, "--python", python, "-r", lock], check=True)
        done.touch()
    return str(python)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MMO_CACHE") or Path(base) / "mlflow-model-operator")
