"""Where things are kept, and what the environment asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError

PROJECT = "mlflow-model-operator"
REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parent

GATEWAY_NODE_PORT = 30080
MLFLOW_NODE_PORT = 30500


@dataclass(frozen=True)
class Settings:
    """What a run was asked for."""

    cache: Path
    cluster_name: str
    nodes: int
    gateway_port: int
    mlflow_port: int
    use_current_cluster: bool
    node_image: str | None
    state: Path

    @property
    def kubeconfig(self) -> Path:
        """Our own kubeconfig: the user's is never written."""
        return self.state / "kubeconfig"

    @property
    def env_file(self) -> Path:
        """The file to `source` for KUBECONFIG, DOCKER_HOST and PATH."""
        return self.state / "env"

    @property
    def bin(self) -> Path:
        """The folder of host tools, to put on PATH."""
        return self.cache / "bin"

    @property
    def logs(self) -> Path:
        """The folder that the output of long commands goes to."""
        return self.cache / "logs"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from environment variables."""
    return Settings(
        cache=_cache_folder(environ),
        cluster_name=environ.get("CLUSTER_NAME", PROJECT),
        nodes=_positive(environ, "NODES", 1),
        gateway_port=_positive(environ, "GATEWAY_PORT", 8088),
        mlflow_port=_positive(environ, "MLFLOW_PORT", 5005),
        use_current_cluster=_wants_current_cluster(environ),
        node_image=environ.get("NODE_IMAGE") or None,
        state=REPOSITORY / ".cluster",
    )


def _cache_folder(environ: Mapping[str, str]) -> Path:
    if own := environ.get("MMO_CACHE"):
        return Path(own).expanduser().resolve()
    shared = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser().resolve() / PROJECT


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise ClusterError(f"{name} must be a whole number above zero, not {text!r}.")
    return int(text)


def _wants_current_cluster(environ: Mapping[str, str]) -> bool:
    choice = environ.get("CLUSTER", "kind")
    if choice not in ("kind", "current"):
        raise ClusterError(f"CLUSTER must be 'kind' or 'current', not {choice!r}.")
    return choice == "current"
