"""What the pod's environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """A variable that cannot be used; the message says what to write instead."""


@dataclass(frozen=True)
class Settings:
    """The environment variables that the operator sets in the containers."""

    model_uri: str = ""  # MODEL_URI: what to fetch
    model_dir: Path = Path("/model")  # MODEL_DIR: where it goes
    index_url: str | None = None  # INDEX_URL: the package index; None: uv's default
    find_links: tuple[str, ...] = ()  # FIND_LINKS: folders or pages of wheels, with spaces between
    no_index: bool = False  # NO_INDEX: take packages from FIND_LINKS only
    ca_bundle: Path | None = None  # CA_BUNDLE: a PEM file, trusted beside the public authorities
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

    @property
    def trusted(self) -> Path:
        """All certificates to trust, where there is a `ca_bundle`."""
        return self.model_dir / "trusted.crt"


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings; what is not set, or empty, has its default.

    Raises SettingsError with a sentence that names the variable and a right value.
    """
    bundle = env.get("CA_BUNDLE")
    return Settings(
        model_uri=env.get("MODEL_URI", ""),
        model_dir=Path(env.get("MODEL_DIR") or Settings.model_dir),
        index_url=env.get("INDEX_URL") or None,
        find_links=tuple(env.get("FIND_LINKS", "").split()),
        no_index=_switch(env, "NO_INDEX"),
        ca_bundle=Path(bundle) if bundle else None,
        workers=_whole(env, "WORKERS", Settings.workers, least=1),
        port=_whole(env, "PORT", Settings.port, least=1),
        shutdown_timeout=_whole(env, "SHUTDOWN_TIMEOUT", Settings.shutdown_timeout, least=0),
        termination_log=Path(env.get("TERMINATION_LOG") or Settings.termination_log),
    )


def _whole(env: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise SettingsError(
            f"{name} is {text!r}: write a whole number of at least {least}, like {default}"
        )
    return int(text)


def _switch(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").lower()
    if text in ("", "false", "0"):
        return False
    if text in ("true", "1"):
        return True
    raise SettingsError(f"{name} is {text!r}: write true or false")
