"""The child process that sends copies, as its parent has it: see sender.py."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow_model_server
from mlflow_model_server import compat
from mlflow_model_server.runtime import isolation
from mlflow_model_server.shadow.target import Target

_WRITE_TIMEOUT = 0.5  # seconds, after which the parent has a look at something else
# A child's allocator reserves address space for each of its threads: the limit would count it.
_VARIABLES = {"MALLOC_ARENA_MAX": "1"}


class ChildEnded(Exception):
    """The process has ended, by itself."""


@dataclass(frozen=True)
class Resources:
    """What a child may use, and where it counts."""

    counts: int  # the descriptor of the file of counts
    slot: int
    cpu_share: float  # of one CPU
    max_bytes: int  # of memory


class Child:
    """A process that sends copies to one target."""

    def __init__(self, target: Target, sender: str, resources: Resources) -> None:
        """Starts it. Raises OSError."""
        self._copies, other = socket.socketpair()
        self._copies.settimeout(_WRITE_TIMEOUT)
        with other:
            options = {
                **asdict(resources),
                "target": asdict(target),
                "sender": sender,
                "copies": other.fileno(),
            }
            self._process = subprocess.Popen(
                [*compat.module_command("mlflow_model_server.shadow"), json.dumps(options)],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=(other.fileno(), resources.counts),
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def write(self, data: memoryview) -> int:
        """Writes what it takes now, and waits a moment if that is nothing; the number of bytes.

        Raises ChildEnded.
        """
        try:
            return self._copies.send(data)
        except TimeoutError:
            return 0
        except OSError:
            raise ChildEnded from None

    def end(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._copies.close()
        self._process.wait()


def _environment() -> dict[str, str]:
    # The image's packages, not the model's: those may be of other versions, or anything.
    source = str(Path(mlflow_model_server.__file__).parents[1])
    return {**isolation.environment(), **_VARIABLES, "PYTHONPATH": source}
