"""Builds the site into .site/html, and fails on links that lead nowhere.

    python -m dev.site

REPOSITORY_URL, like https://github.com/owner/repository, makes links to source files work.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from dev.cluster.settings import REPOSITORY, read_settings
from dev.site.pages import assemble, write

LOCK = Path(__file__).with_name("requirements.lock")
FOLDER = REPOSITORY / ".site"


def main() -> int:
    """Builds the site; returns the exit code."""
    site = assemble(address=os.environ.get("REPOSITORY_URL", "").rstrip("/"))
    for fault in site.faults:
        print(fault, file=sys.stderr)
    if site.faults:
        return 1
    FOLDER.mkdir(exist_ok=True)
    config = write(FOLDER, site)
    command = (_generator(), "build", "--strict", "--clean", f"--config-file={config}")
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
    return done.returncode


def _generator() -> Path:
    """The program, in an environment of its own in the cache, made once for each lock file."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = read_settings().cache / "site" / digest
    program = folder / "bin" / "zensical"
    if not program.exists():
        python = folder / "bin" / "python"
        _run("uv", "venv", "--quiet", "--clear", folder)
        _run("uv", "pip", "sync", "--quiet", f"--python={python}", "--require-hashes", LOCK)
    return program


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
