"""What the pod's environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The environment variables that the operator sets in the containers."""

    model_uri: str = ""  # MODEL_URI: what to fetch
    model_dir: Path = Path("/model")  # MODEL_DIR: where it goes
    index_url: str | None = None  # INDEX_URL: the package index; None: uv's default
    find_links: str | None = None  # FIND_LINKS: a folder or page of wheels
    ca_bundle: str | None = None  # CA_BUNDLE: certificates to trust, a PEM file
    workers: int = 1  # WORKERS
    port: int = 8080  # PORT
    shutdown_timeout: int = 30  # SHUTDOWN_TIMEOUT: seconds for requests in flight
    termination_log: Path = Path("/dev/termination-log")  # TERMINATION_LOG

    @property
    def artifact(self) -> Path:
        """The folder of the model itself, with its MLmodel file."""
        return self.model_dir / "artifact"

    @property
    def packages(self) -> Path:
        """What was installed for the model; goes before the image's own packages."""
        return self.model_dir / "packages"


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings; what is not set has its default."""
    default = Settings()
    return Settings(
        model_uri=env.get("MODEL_URI", default.model_uri),
        model_dir=Path(env.get("MODEL_DIR", default.model_dir)),
        index_url=env.get("INDEX_URL") or None,
        find_links=env.get("FIND_LINKS") or None,
        ca_bundle=env.get("CA_BUNDLE") or None,
        workers=int(env.get("WORKERS", default.workers)),
        port=int(env.get("PORT", default.port)),
        shutdown_timeout=int(env.get("SHUTDOWN_TIMEOUT", default.shutdown_timeout)),
        termination_log=Path(env.get("TERMINATION_LOG", default.termination_log)),
    )
