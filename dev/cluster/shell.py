"""Running other programs, quietly: their output goes to a log, and is shown only when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ClusterError
from .settings import read_settings

# System programs live here, and not everybody has these folders on PATH.
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
LINES_SHOWN_ON_FAILURE = 15


def run(
    *command: str | Path,
    log: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> None:
    """Run a command whose output nobody needs to see unless it fails."""
    path = read_settings().logs / f"{log}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as sink:
        start = sink.tell()
        sink.write(f"$ {' '.join(str(part) for part in command)}\n".encode())
        sink.flush()
        result = subprocess.run(
            command,
            stdout=sink,
            stderr=subprocess.STDOUT,
            input=stdin.encode() if stdin is not None else None,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=environment(env),
            cwd=cwd,
            check=False,
        )
    if result.returncode != 0:
        raise ClusterError(_failure(command, result.returncode, path, start))


def capture(
    *command: str | Path, env: Mapping[str, str] | None = None, timeout: float | None = None
) -> str:
    """Run a command and return what it printed."""
    result = attempt(*command, env=env, timeout=timeout)
    if result.returncode != 0:
        shown = " ".join(str(part) for part in command)
        raise ClusterError(f"`{shown}` failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout.strip()


def attempt(
    *command: str | Path, env: Mapping[str, str] | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail; a missing program or a timeout counts as failure."""
    try:
        return subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment(env),
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        return subprocess.CompletedProcess(command, 127, "", str(missing))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no response within {timeout} s")


def succeeds(
    *command: str | Path, env: Mapping[str, str] | None = None, timeout: float = 30
) -> bool:
    """Run a command and say whether it went well."""
    return attempt(*command, env=env, timeout=timeout).returncode == 0


def which(program: str) -> str | None:
    """Find a program, also where system programs live."""
    return shutil.which(program, path=environment()["PATH"])


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that programs run in."""
    base = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}"}
    return base | dict(more or {})


def _failure(command: Sequence[str | Path], code: int, log: Path, start: int) -> str:
    with log.open("rb") as source:
        source.seek(start)
        lines = source.read().decode(errors="replace").splitlines()[-LINES_SHOWN_ON_FAILURE:]
    shown = "\n".join(f"    {line}" for line in lines)
    return f"`{Path(command[0]).name}` ended with {code}; its log is {log}, which ends:\n{shown}"
