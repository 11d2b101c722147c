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

import grpc

from benchmarks import procfs
from benchmarks.scoring.environments import Pythons
from benchmarks.scoring.load_grpc import METHOD
from benchmarks.scoring.protocols import (
    ECHO,
    INVOCATIONS,
    ROWS,
    V2,
    V2_BINARY,
    V2_GRPC,
    Protocol,
    numbers,
)
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
    grpc_port: int
    pythons: Pythons


@dataclass(frozen=True)
class Kind:
    """One of the servers: its words for the table, and its command with more environment."""

    title: str
    command: Callable[[Start], tuple[list[str], dict[str, str]]]
    path: str = "/invocations"
    ready: str = "/ping"
    protocol: Protocol = INVOCATIONS


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    kind: Kind
    process: subprocess.Popen[bytes]
    start: Start
    seconds_to_start: float

    @property
    def port(self) -> int:
        """Of HTTP."""
        return self.start.port

    @property
    def body(self) -> Path:
        """The file with what is sent."""
        return self.kind.protocol.body(self.start.case)

    @property
    def headers(self) -> dict[str, str]:
        """Those of HTTP that are sent."""
        return self.kind.protocol.headers(self.start.case)

    def predictions(self) -> list[float]:
        """What it predicts; raises HTTPError or RpcError if it is no success."""
        body = self.body.read_bytes()
        answer = self._call(body) if self.kind.protocol.grpc else self.ask(body)
        return numbers(self.kind.protocol.predictions(answer))

    def ask(self, body: bytes) -> bytes:
        """One answer by HTTP; raises HTTPError if it is no success."""
        url = f"http://127.0.0.1:{self.start.port}{self.kind.path}"
        request = urllib.request.Request(url, body, self.headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: bytes = response.read()
        return answer

    def _call(self, message: bytes) -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{self.start.grpc_port}") as channel:
            answer: bytes = channel.unary_unary(METHOD)(message, timeout=60)
        return answer

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
        "MODEL_NAME": "model",
        "TERMINATION_LOG": str(start.folder / "termination"),
    }


def _ours_grpc(start: Start) -> tuple[list[str], dict[str, str]]:
    command, variables = _ours(start)
    return command, {**variables, "GRPC_PORT": str(start.grpc_port)}


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


def _peer(name: str, *arguments: str) -> Callable[[Start], tuple[list[str], dict[str, str]]]:
    """A server of `peers/`: a command of its environment, with `{port}` for the port."""

    def command(start: Start) -> tuple[list[str], dict[str, str]]:
        python = start.pythons.peers[name]
        ports = {"port": start.port, "grpc_port": start.grpc_port, "case": start.case}
        words = [argument.format(**ports) for argument in arguments]
        return [str(Path(python).parent / words[0]), *words[1:]], {
            "PYTHONPATH": str(REPOSITORY),
            "PATH": _path(python),
            "BENCHMARK_MODEL": str(start.case / "model"),
            **PEER_VARIABLES,
        }

    return command


_TRITON = _peer(
    "triton",
    "python",
    "-m",
    "benchmarks.scoring.peers.triton_app",
    "{port}",
    "{grpc_port}",
    "{case}",
)
_V2_PATH = "/v2/models/model/infer"
_PEERS = "benchmarks.scoring.peers"
# They tell nobody that they run.
PEER_VARIABLES = {
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}

KINDS = {
    "ours": Kind("this server", _ours),
    "ours-v2": Kind("this server, Open Inference JSON", _ours, _V2_PATH, protocol=V2),
    "ours-v2-binary": Kind(
        "this server, Open Inference binary", _ours, _V2_PATH, protocol=V2_BINARY
    ),
    "ours-v2-grpc": Kind("this server, Open Inference gRPC", _ours_grpc, protocol=V2_GRPC),
    "ours-no-drift": Kind("this server with DRIFT=off", _ours_without_drift),
    "ours-onnx": Kind("this server with ONNX=true", _ours_onnx),
    "baseline": Kind("this server, the baseline", _baseline),
    "mlflow": Kind("mlflow models serve", _mlflow),
    "mlflow-uvloop": Kind("the same with uvloop and httptools", _mlflow_uvloop),
    "mlserver": Kind("MLServer", _mlserver, ready="/v2/models/model/ready"),
    "fastapi": Kind(
        "FastAPI by hand",
        _peer(
            "fastapi",
            "uvicorn",
            f"{_PEERS}.fastapi_app:app",
            "--port={port}",
            "--no-access-log",
            "--log-level=warning",
        ),
        "/predict",
        "/health",
        ROWS,
    ),
    "bentoml": Kind(
        "BentoML",
        _peer(
            "bentoml", "bentoml", "serve", f"{_PEERS}.bentoml_service:Model", "--port={port}", "-q"
        ),
        "/predict",
        "/readyz",
        ROWS,
    ),
    "litserve": Kind(
        "LitServe",
        _peer("litserve", "python", "-m", f"{_PEERS}.litserve_app", "{port}"),
        "/predict",
        "/health",
        ROWS,
    ),
    "ray": Kind(
        "Ray Serve",
        _peer("ray", "python", "-m", f"{_PEERS}.ray_serve_app", "{port}"),
        "/predict",
        "/-/healthz",
        ROWS,
    ),
    "triton": Kind("Triton", _TRITON, _V2_PATH, "/v2/models/model/ready", V2),
    "triton-binary": Kind("Triton, binary", _TRITON, _V2_PATH, "/v2/models/model/ready", V2_BINARY),
    "triton-grpc": Kind("Triton, gRPC", _TRITON, ready="/v2/models/model/ready", protocol=V2_GRPC),
    "echo": Kind("bare echo", _echo, protocol=ECHO),
}


@contextmanager
def running(kind: Kind, case: Path, folder: Path, pythons: Pythons) -> Iterator[Running]:
    """Starts a server, waits until it is ready, and stops it.

    Raises RuntimeError with the end of its log if it does not get ready.
    """
    folder.mkdir(parents=True)
    start = Start(case, folder, free_port(), free_port(), pythons)
    command, variables = kind.command(start)
    log = folder / "log"
    environment = {"PYTHONDONTWRITEBYTECODE": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as target:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{start.port}{kind.ready}", log)
        yield Running(kind, process, start, time.perf_counter() - began)
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
