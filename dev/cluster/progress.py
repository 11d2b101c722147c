"""What people see while they wait: one line a step, with how long it takes.

    with step("Building kind v0.33.0", expected=30):
        ...

prints `Building kind v0.33.0 (last time 28 s) … 27 s`. How long a step took is kept in the cache,
so that the next run on this machine can say what to expect. From a shell or a Makefile:

    python3 -m dev.cluster.progress "Type checks" --expected 10 -- mypy operator
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .files import write_atomically
from .settings import read_settings

# A step quicker than this was no work, only the finding that nothing was to do: not a hint for
# the next run.
WORTH_REMEMBERING_SECONDS = 1.0


class Timings:
    """How long each step took when it last succeeded on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, title: str) -> float | None:
        """Return the seconds that the step took last time, if known."""
        return self._read().get(title)

    def put(self, title: str, seconds: float) -> None:
        """Remember how long a step took."""
        if seconds < WORTH_REMEMBERING_SECONDS:
            return
        known = self._read() | {title: round(seconds, 1)}
        write_atomically(self._path, json.dumps(known, indent=2, sort_keys=True) + "\n")

    def _read(self) -> dict[str, float]:
        # A damaged file costs only the hint, so it is not worth an error.
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return {str(k): float(v) for k, v in known.items()} if isinstance(known, dict) else {}


class _Terminal:
    """Puts a step's result on the line of its title, unless another step wrote in between.

    Steps may run side by side, in threads and in processes (`make -j`): which line is open is noted
    in a file that they share.
    """

    def begin(self, title: str, hint: str) -> None:
        with _open_line() as line:
            line.finish()
            _write(f"{title}{hint} … ")
            line.title = title

    def end(self, title: str, result: str) -> None:
        with _open_line() as line:
            if line.title == title:
                _write(f"{result}\n")
            else:
                line.finish()
                _write(f"{title} … {result}\n")
            line.title = ""

    def say(self, message: str) -> None:
        with _open_line() as line:
            line.finish()
            _write(f"{message}\n")


@dataclass
class _OpenLine:
    """The title whose line waits for its end, if any."""

    title: str

    def finish(self) -> None:
        if self.title:
            _write("\n")
            self.title = ""


@contextmanager
def _open_line() -> Iterator[_OpenLine]:
    """The line of this terminal's session, for one writer at a time."""
    path = read_settings().cache / "open-line"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        session, _, title = file.read().partition(" ")
        # Another session's was interrupted, or is on another screen.
        line = _OpenLine(title if session == str(os.getsid(0)) else "")
        yield line
        file.truncate(0)
        file.write(f"{os.getsid(0)} {line.title}")


def _write(text: str) -> None:
    # Standard output is for answers that scripts read (`tools`).
    sys.stderr.write(text)
    sys.stderr.flush()


_terminal = _Terminal()


def say(message: str) -> None:
    """Print a line of its own."""
    _terminal.say(message)


@contextmanager
def step(title: str, expected: float | None = None) -> Iterator[None]:
    """Announce a step, run it, and say how long it took."""
    timings = Timings(read_settings().cache / "timings.json")
    _terminal.begin(title, _hint(timings.get(title), expected))
    start = time.monotonic()
    try:
        yield
    except BaseException:
        _terminal.end(title, f"failed after {duration(time.monotonic() - start)}")
        raise
    seconds = time.monotonic() - start
    timings.put(title, seconds)
    _terminal.end(title, duration(seconds))


def duration(seconds: float) -> str:
    """Say a time the way people do.

    >>> duration(0.3), duration(42.4), duration(312)
    ('0.3 s', '42 s', '5 min 12 s')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _hint(last: float | None, expected: float | None) -> str:
    if last is not None:
        return f" (last time {duration(last)})"
    return f" (about {duration(expected)})" if expected is not None else ""


def main() -> int:
    """Run a command as a step, for shells and Makefiles; what it prints is shown as it comes."""
    parser = argparse.ArgumentParser(prog="python3 -m dev.cluster.progress")
    parser.add_argument("title")
    parser.add_argument("--expected", type=float)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    try:
        with step(asked.title, asked.expected):
            subprocess.run(asked.command, check=True)
    except subprocess.CalledProcessError as failure:
        return failure.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
