"""`.cluster/env`: what a shell needs to know to work with the cluster."""

from __future__ import annotations

import shlex
from pathlib import Path

from .engine import Engine
from .files import write_atomically
from .settings import Settings


def write_env_file(settings: Settings, engine: Engine | None, kubeconfig: Path) -> None:
    """Write the file to `source`."""
    exports = {"KUBECONFIG": str(kubeconfig)} | (engine.env if engine else {})
    write_atomically(settings.env_file, render_env_file(exports, settings.bin))


def render_env_file(exports: dict[str, str], tools: Path) -> str:
    """Write exports; the tools come first on PATH, so that versions are ours."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    return "\n".join([*lines, f'export PATH={shlex.quote(str(tools))}:"$PATH"', ""])
