"""The server as a process of its own, as in a pod."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

import mlflow_model_server

SECONDS_TO_START = 120  # a loaded machine is slow to import what MLflow imports
SECONDS_TO_END = 30
REPOSITORY = Path(__file__).parents[3]
# MLflow sets variables in the process of the tests: an experiment's, say, whereby a server would
# write traces.
_OF_MLFLOW = ("MLFLOW_", "OTEL_")
ENTRYPOINT = REPOSITORY / "images/mlflow-model-server"  # the image's own file


def environment_of_server(**variables: str) -> dict[str, str]:
    """The environment of a process that can import the server's package."""
    source = str(Path(mlflow_model_server.__file__).parents[1])
    return {
        **{name: os.environ[name] for name in os.environ if not name.startswith(_OF_MLFLOW)},
        "PYTHONPATH": source,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "METRICS_PORT": "0",  # several run side by side
        "PYTHONDONTWRITEBYTECODE": "",  # else each process would compile all of MLflow anew
        **variables,
    }


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SECONDS_TO_END) -> None:
    """Waits until `condition` holds; fails with `what` if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass
class Server:
    """One run of `mlflow-model-server serve`."""

    process: subprocess.Popen[bytes]
    port: int
    termination_log: Path
    output: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answers(self) -> bool:
        """Whether it is ready."""
        assert self.process.poll() is None, f"the server ended:\n{self.output.read_text()}"
        try:
            return requests.get(self.url("/ping"), timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def refuses_connections(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) != 0

    def predict(self, payload: dict[str, Any], timeout: float = 60) -> requests.Response:
        return requests.post(self.url("/invocations"), json=payload, timeout=timeout)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Waits for the end; returns the exit code."""
        return self.process.wait(SECONDS_TO_START)

    def told(self) -> dict[str, str]:
        """What it left for the operator."""
        word: dict[str, str] = json.loads(self.termination_log.read_text())
        return word


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kills a process that has begun a session, and all that it or the model's code has started.

    Also what outlives it: a server of forks, which `multiprocessing` starts for a model, say. In a
    container the kernel ends these with the first process.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def started(
    command: Sequence[str], env: Mapping[str, str], port: int, log: Path, cwd: str | None = None
) -> Iterator[Server]:
    """A command of the entrypoint, in a session of its own, which is killed in the end.

    `log` is the termination log; what is printed goes into the file `output` beside it.
    """
    output = log.parent / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield Server(process, port, log, output)
    finally:
        kill_session(process)


@contextmanager
def running(
    model_dir: Path, port: int, subcommand: str = "serve", **variables: str
) -> Iterator[Server]:
    """Starts the server for a prepared MODEL_DIR, and kills it and its workers in the end."""
    log = model_dir.parent / "termination-log"
    env = environment_of_server(
        MODEL_DIR=str(model_dir), PORT=str(port), TERMINATION_LOG=str(log), **variables
    )
    command = [sys.executable, str(ENTRYPOINT), subcommand]
    with started(command, env, port, log) as server:
        yield server


@contextmanager
def serving(model_dir: Path, port: int, **variables: str) -> Iterator[Server]:
    """The same, ready."""
    with running(model_dir, port, **variables) as server:
        wait_until(server.answers, "the server answers", SECONDS_TO_START)
        yield server
