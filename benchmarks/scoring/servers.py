"""The servers that are compared: how each is started, asked, measured and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.scoring.environments import Pythons
from dev.cluster.settings import REPOSITORY
from tests.integration.control_plane import free_port

SECONDS_TO_START = 180
SECONDS_TO_STOP = 30
# The folder that holds another version of the package mlflow_model_server.
BASELINE = "BASELINE"


@dataclass(frozen=True)
class Start:
    """What a server needs to know to be started."""

    case: Path  # with the folder `model`
    folder: Path  # its own, empty
    port: int
    pythons: Pythons


@dataclass(frozen=True)
class Kind:
    """One of the servers: its words for the table, and its command with more environment."""

    title: str
    command: Callable[[Start], tuple[list[str], dict[str, str]]]
    path: str = "/invocations"
    ready: str = "/ping"


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    kind: Kind
    process: subprocess.Popen[bytes]
    port: int
    seconds_to_start: float

    def ask(self, body: bytes) -> bytes:
        """One answer; raises HTTPError if it is no success."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.kind.path}",
            body,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            said: bytes = answer.read()
        return said

    def cpu_seconds(self) -> float:
        """CPU time that its processes have taken up to now."""
        return sum(map(procfs.cpu_seconds, _family(self.process.pid)))

    def mebibytes(self) -> float:
        """Memory of all its processes, a page that several have counted once (PSS)."""
        return sum(map(_pss_kibibytes, _family(self.process.pid))) / 1024


def _ours(start: Start) -> tuple[list[str], dict[str, str]]:
    (start.folder / "artifact").symlink_to(start.case / "model")
    return _our("serve", start), _our_variables(start)


def _baseline(start: Start) -> tuple[list[str], dict[str, str]]:
    command, variables = _ours(start)
    return command, {**variables, "PYTHONPATH": os.environ[BASELINE]}


def _our(subcommand: str, start: Start) -> list[str]:
    return [start.pythons.ours, "-m", "mlflow_model_server", subcommand]


def _our_variables(start: Start) -> dict[str, str]:
    return {
        "PYTHONPATH": str(REPOSITORY / "scoring"),
        "MODEL_DIR": str(start.folder),
        "PORT": str(start.port),
        "METRICS_PORT": str(free_port()),
        "TERMINATION_LOG": str(start.folder / "termination"),
    }


def _ours_without_drift(start: Start) -> tuple[list[str], dict[str, str]]:
    command, variables = _ours(start)
    return command, {**variables, "DRIFT": "off"}


def _ours_onnx(start: Start) -> tuple[list[str], dict[str, str]]:
    """The same after `prepare` has converted the model; RuntimeError where it does not."""
    model = {"MODEL_URI": str(start.case / "model"), "ONNX": "true"}
    variables = {**_our_variables(start), **model}
    done = subprocess.run(
        _our("prepare", start),
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    if "the model is converted to ONNX" not in done.stderr:
        raise RuntimeError(done.stderr)
    return _our("serve", start), variables


def _mlflow(start: Start) -> tuple[list[str], dict[str, str]]:
    mlflow = [start.pythons.ours, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    where = ["-m", str(start.case / "model"), "-h", "127.0.0.1", "-p", str(start.port)]
    # This environment has uvloop and httptools for our server; what MLflow depends on has not.
    plain = {"UVICORN_HTTP": "h11", "UVICORN_LOOP": "asyncio"}
    return [*mlflow, *where, "--workers", "1"], {**plain, "PATH": _path(start.pythons.ours)}


def _mlflow_uvloop(start: Start) -> tuple[list[str], dict[str, str]]:
    command, variables = _mlflow(start)
    return command, {**variables, "UVICORN_HTTP": "httptools", "UVICORN_LOOP": "uvloop"}


def _mlserver(start: Start) -> tuple[list[str], dict[str, str]]:
    settings = {
        "name": "model",
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(start.case / "model")},
    }
    (start.folder / "model-settings.json").write_text(json.dumps(settings))
    return [str(Path(start.pythons.mlserver).parent / "mlserver"), "start", str(start.folder)], {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(start.port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_PARALLEL_WORKERS": "0",  # in its one process, as the others
        "MLSERVER_LOGGING_SETTINGS": "",
        "MLSERVER_DEBUG": "false",
        "PATH": _path(start.pythons.mlserver),
    }


def _echo(start: Start) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "benchmarks.scoring.echo", "--port", str(start.port)]
    return command, {"PYTHONPATH": str(REPOSITORY)}


KINDS = {
    "ours": Kind("this server", _ours),
    "ours-no-drift": Kind("this server with DRIFT=off", _ours_without_drift),
    "ours-onnx": Kind("this server with ONNX=true", _ours_onnx),
    "baseline": Kind("this server, the baseline", _baseline),
    "mlflow": Kind("mlflow models serve", _mlflow),
    "mlflow-uvloop": Kind("the same with uvloop and httptools", _mlflow_uvloop),
    "mlserver": Kind("MLServer", _mlserver, ready="/v2/models/model/ready"),
    "echo": Kind("bare echo", _echo),
}


@contextmanager
def running(kind: Kind, case: Path, folder: Path, pythons: Pythons) -> Iterator[Running]:
    """Starts a server, waits until it is ready, and stops it.

    Raises RuntimeError with the end of its log if it does not get ready.
    """
    folder.mkdir(parents=True)
    start = Start(case, folder, free_port(), pythons)
    command, variables = kind.command(start)
    log = folder / "log"
    environment = {"PYTHONDONTWRITEBYTECODE": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as target:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, **variables},
            stdout=target,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{start.port}{kind.ready}", log)
        yield Running(kind, process, start.port, time.perf_counter() - began)
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            end = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{process.args!r} does not answer {url}:\n{end}")
        time.sleep(0.01)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, reset, or an HTTP error
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server's whole session: `mlflow models serve` leaves its children to themselves."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(SECONDS_TO_STOP)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for file in children for child in file.read_text().split()]
    return [pid, *(member for child in below for member in _family(child))]


def _pss_kibibytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss")


def _path(python: str) -> str:
    return f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
