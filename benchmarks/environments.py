"""Python environments with exactly the packages of a lock, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from dev.cluster.settings import read_settings


def environment(lock: Path, python: str = sys.executable) -> Path:
    """The folder of the environment for a lock, with this Python.

    Raises CalledProcessError if uv can't install it; its words are printed.
    """
    digest = hashlib.sha256(lock.read_bytes() + version(python).encode()).hexdigest()[:12]
    folder = read_settings().cache / "environments" / f"{lock.stem}-{digest}"
    done = folder / ".complete"
    if not done.exists():
        uv = [sys.executable, "-m", "uv"]
        print(f"installing {lock.name} to {folder}", file=sys.stderr)
        subprocess.run([*uv, "venv", "--quiet", "--clear", "-p", python, folder], check=True)
        install = [*uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes"]
        subprocess.run([*install, "--python", folder / "bin" / "python", lock], check=True)
        done.touch()
    return folder


def version(python: str) -> str:
    """What a Python says of its version and its build."""
    command = [python, "-c", "import sys; print(sys.version)"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
