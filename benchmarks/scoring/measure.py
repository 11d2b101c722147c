"""Runs the servers side by side and measures them."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc

from benchmarks import machine
from benchmarks.scoring.environments import Pythons, pythons_for
from benchmarks.scoring.load import Measured
from benchmarks.scoring.protocols import agree
from benchmarks.scoring.servers import KINDS, Running, running
from dev.cluster.settings import REPOSITORY


@dataclass(frozen=True)
class Options:
    """What to run."""

    cases: list[str]
    servers: list[str]
    clients: list[int]
    seconds: float  # of load for each server, case and number of clients, all rounds together
    rounds: int  # how often the servers take turns in that, for each of their processes
    processes: int  # how often the servers are started anew for that
    starts: int  # how often each server is started to see how long that takes

    @property
    def seconds_of_a_round(self) -> float:
        """Of load, for one process of a server and one number of clients."""
        return self.seconds / (self.rounds * self.processes)


@dataclass
class Load:
    """What one server did under one load, in all rounds."""

    runs: list[Measured] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def add(self, server: Running, clients: int, seconds: float) -> None:
        """Loads one of its processes once more."""
        before = server.cpu_seconds()
        self.runs.append(load(server, clients, seconds))
        self.cpu_seconds += server.cpu_seconds() - before


@dataclass(frozen=True)
class Figures:
    """One server under one load; times in milliseconds."""

    case: str
    server: str
    clients: int
    requests: int
    per_second: float
    p50: float
    p99: float
    cpu: float  # of the server, for each request
    wrong: int  # answers that were not 200


@dataclass(frozen=True)
class Footprint:
    """One server with the linear model."""

    server: str
    seconds_to_start: list[float]
    mebibytes: float  # after load from eight clients


@dataclass
class Result:
    """All that one run gave."""

    options: Options
    machine: dict[str, Any]
    figures: list[Figures] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # "case, server": why there is nothing

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def measure(options: Options, folder: Path) -> Result:
    """Measures everything; a server that can't serve a case is told in `failures`."""
    result = Result(options, machine.describe())
    for case in options.cases:
        pythons = pythons_for(case, options.servers)
        save_model(folder / "cases", case, pythons)
        _measure_case(options, folder, case, pythons, result)
    if "linear" in options.cases:
        _measure_footprints(options, folder, result)
    result.machine["load_after"] = os.getloadavg()
    return result


def save_model(folder: Path, case: str, pythons: Pythons) -> None:
    """Saves a case's model and bodies."""
    subprocess.run(
        [pythons.ours, "-W", "ignore", "-m", "benchmarks.scoring.models", folder, case],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'scoring'}"},
        check=True,
        capture_output=True,
    )


def _measure_case(
    options: Options, folder: Path, case: str, pythons: Pythons, result: Result
) -> None:
    """All servers are up at once and take turns, so that what disturbs one disturbs all.

    One process of a program is some per cent faster than another for as long as it lives, so that
    servers which differ by less are started several times.
    """
    loads = {(name, clients): Load() for clients in options.clients for name in options.servers}
    for turn in range(options.processes):
        with ExitStack() as stack:
            up = _started(options, folder / "runs" / f"{case}-{turn}", stack, case, pythons, result)
            _check_same_predictions(case, up)
            for clients in options.clients:
                for _ in range(options.rounds):
                    for name, server in _in_turn(up, turn):
                        loads[name, clients].add(server, clients, options.seconds_of_a_round)
    for (name, clients), measured in loads.items():
        if f"{case}, {name}" not in result.failures:
            figures = _figures(case, name, clients, measured)
            result.figures.append(figures)
            _tell(figures)


def _started(
    options: Options,
    folder: Path,
    stack: ExitStack,
    case: str,
    pythons: Pythons,
    result: Result,
) -> dict[str, Running]:
    """All servers that answer; why another does not is told in `failures`."""
    up: dict[str, Running] = {}
    for name in options.servers:
        if f"{case}, {name}" in result.failures:
            continue
        start = running(KINDS[name], folder.parents[1] / "cases" / case, folder / name, pythons)
        try:
            up[name] = stack.enter_context(start)
            up[name].predictions()
        except (RuntimeError, OSError, KeyError, grpc.RpcError) as error:
            up.pop(name, None)
            result.failures[f"{case}, {name}"] = str(error)[-300:]
    return up


def _in_turn(up: dict[str, Running], turn: int) -> list[tuple[str, Running]]:
    """Every other time from the last to the first: who follows whom must not matter."""
    return list(up.items()) if turn % 2 == 0 else list(up.items())[::-1]


def _check_same_predictions(case: str, up: dict[str, Running]) -> None:
    """Raises ValueError if the servers don't predict the same: speed would mean nothing."""
    predicted = {name: server.predictions() for name, server in up.items() if name != "echo"}
    for name, numbers in predicted.items():
        first = next(iter(predicted.values()))
        if not agree(numbers, first):
            raise ValueError(f"{case}: {name} predicts {numbers[:3]}, another {first[:3]}")


def load(server: Running, clients: int, seconds: float) -> Measured:
    """Has clients load a server, from a process of its own."""
    done = subprocess.run(
        [
            *_load_command(server),
            *("--body", str(server.body), "--clients", str(clients), "--seconds", str(seconds)),
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        stdout=subprocess.PIPE,
    )
    return Measured(**json.loads(done.stdout))


def _load_command(server: Running) -> list[str]:
    module = [sys.executable, "-m", "benchmarks.scoring"]
    if server.kind.protocol.grpc:
        module[-1] += ".load_grpc"
        return [*module, "--port", str(server.start.grpc_port)]
    module[-1] += ".load"
    where = ["--port", str(server.start.port), "--path", server.kind.path]
    return [*module, *where, "--headers", json.dumps(server.headers)]


def _figures(case: str, server: str, clients: int, measured: Load) -> Figures:
    runs = measured.runs
    times = sorted(took for run in runs for took in run.times)
    requests = sum(run.requests for run in runs)
    seconds = sum(run.seconds for run in runs)
    wrong = sum(run.wrong for run in runs)
    cpu = 1000 * measured.cpu_seconds / sum(run.answered for run in runs)
    p50, p99 = (1000 * _quantile(times, share) for share in (0.5, 0.99))
    return Figures(case, server, clients, requests, requests / seconds, p50, p99, cpu, wrong)


def _quantile(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))] if times else math.nan


def _tell(figures: Figures) -> None:
    print(
        f"{figures.case:8}{figures.server:14}{figures.clients:4} clients "
        f"{figures.per_second:9.1f}/s  p50 {figures.p50:8.2f} ms  p99 {figures.p99:8.2f} ms  "
        f"CPU {figures.cpu:7.3f} ms",
        file=sys.stderr,
    )


def _measure_footprints(options: Options, folder: Path, result: Result) -> None:
    """Start times in turns; the first start of each, which reads files anew, does not count."""
    case = folder / "cases" / "linear"
    pythons = pythons_for("linear", options.servers)
    names = [n for n in options.servers if n != "echo" and f"linear, {n}" not in result.failures]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, float] = {}
    for turn in range(options.starts + 1 if options.starts else 0):
        for name in names:
            with running(KINDS[name], case, folder / "starts" / f"{name}-{turn}", pythons) as up:
                if turn:
                    seconds[name].append(up.seconds_to_start)
                if turn == options.starts:
                    load(up, clients=8, seconds=1)
                    memory[name] = up.mebibytes()
    for name in memory:
        result.footprints.append(Footprint(name, seconds[name], memory[name]))
        middle = statistics.median(seconds[name])
        print(f"{name:14} ready after {middle:.2f} s, {memory[name]:.0f} MiB", file=sys.stderr)
