"""Python environments with exactly the packages of a lock, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from e2e.cluster.settings import read_settings


def environment(lock: Path) -> Path:
    """The folder of the environment for a lock, with this interpreter's Python.

    Raises CalledProcessError if uv can't install it; its words are printed.
    """
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = read_settings().cache / "environments" / f"{lock.stem}-{digest}"
    done = folder / ".complete"
    if not done.exists():
        uv = [sys.executable, "-m", "uv"]
        print(f"installing {lock.name} to {folder}", file=sys.stderr)
        subprocess.run(
            [*uv, "venv", "--quiet", "--clear", "-p", sys.executable, folder], check=True
        )
        install = [*uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes"]
        subprocess.run([*install, "--python", folder / "bin" / "python", lock], check=True)
        done.touch()
    return folder
