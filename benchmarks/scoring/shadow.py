"""What a shadow costs the requests that are copied: python -m benchmarks.scoring.shadow.

The linear model: without SHADOW_FILE, without a file there, and with shadows that are good, that
hang and that are down, in turns. The server and its process that sends copies share one CPU; the
load and the good shadow, which is of low priority, have the others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import command, machine, procfs
from benchmarks.scoring import measure
from benchmarks.scoring.environments import Pythons, pythons_for
from benchmarks.scoring.load import Measured
from benchmarks.scoring.servers import KINDS, Kind, Running, Start, running
from tests.integration.control_plane import free_port

_SECONDS_TO_CHANGE = 30.0
_SECONDS_TO_SETTLE = 1.0  # the process that sends copies starts
_COUNTER = "mlflow_model_server_shadow_requests_total{"


@dataclass
class Scenario:
    """A shadow, and how the stable server did with it."""

    name: str
    port: int | None = None  # of the shadow; None: there is none
    percent: int = 0
    runs: list[Measured] = field(default_factory=list)
    server_seconds: float = 0.0  # of CPU
    sender_seconds: float = 0.0
    outcomes: dict[str, float] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """Another for each, so that each counts from 0."""
        return f"{self.name}-{self.percent}-{len(self.runs)}"


@dataclass(frozen=True)
class Stable:
    """A server that copies requests to what its file names."""

    server: Running
    file: Path
    metrics_port: int

    def use(self, scenario: Scenario) -> None:
        """Names the scenario's shadow, and waits until that is in effect."""
        self.file.unlink(missing_ok=True)
        if scenario.port is not None:
            url = f"http://127.0.0.1:{scenario.port}"
            content = {"revision": scenario.revision, "url": url, "percent": scenario.percent}
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps(content))
            new.replace(self.file)
        deadline = time.monotonic() + _SECONDS_TO_CHANGE
        while not self._uses(scenario):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{scenario.name} does not come into effect")
            time.sleep(0.1)
        time.sleep(_SECONDS_TO_SETTLE)

    def _uses(self, scenario: Scenario) -> bool:
        infos = self.metrics()
        if scenario.port is None:
            return "shadow_revision=" not in infos
        return f'shadow_revision="{scenario.revision}"' in infos

    def metrics(self) -> str:
        """All of its metrics."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def outcomes(self) -> dict[str, float]:
        """Copies by outcome."""
        lines = [line for line in self.metrics().splitlines() if line.startswith(_COUNTER)]
        return {line.split('outcome="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}

    def cpu_seconds(self) -> tuple[float, float]:
        """Of the server, and of the process that sends copies."""
        pid = self.server.process.pid
        children = " ".join(
            file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")
        ).split()
        return procfs.cpu_seconds(pid), sum(procfs.cpu_seconds(int(child)) for child in children)


def run(folder: Path, clients: int, seconds: float, rounds: int) -> list[Scenario]:
    """Measures all scenarios, one after the other, as often as there are rounds."""
    pythons = pythons_for("linear", ["ours"])
    measure.save_model(folder / "cases", "linear", pythons)
    with ExitStack() as stack:
        unset = stack.enter_context(_server(folder, "unset", pythons))
        stable = stack.enter_context(_server(folder, "stable", pythons, "SHADOW_FILE"))
        good = stack.enter_context(_server(folder, "good", pythons, is_shadow=True))
        hanging = stack.enter_context(_hanging())
        scenarios = [
            Scenario("unset"),
            Scenario("no-file"),
            *(Scenario("good", good.server.port, percent) for percent in (20, 100)),
            *(Scenario("hanging", hanging, percent) for percent in (20, 100)),
            *(Scenario("dead", free_port(), percent) for percent in (20, 100)),
        ]
        for _ in range(rounds):
            for scenario in scenarios:
                server = unset if scenario.name == "unset" else stable
                server.use(scenario)
                _measure(scenario, server, clients, seconds / rounds)
    return scenarios


def _measure(scenario: Scenario, stable: Stable, clients: int, seconds: float) -> None:
    before = stable.cpu_seconds()
    scenario.runs.append(measure.load(stable.server, clients, seconds))
    after = stable.cpu_seconds()
    scenario.server_seconds += after[0] - before[0]
    scenario.sender_seconds += after[1] - before[1]
    for outcome, count in stable.outcomes().items():
        scenario.outcomes[outcome] = scenario.outcomes.get(outcome, 0) + count


@contextmanager
def _server(
    folder: Path, name: str, pythons: Pythons, *variables: str, is_shadow: bool = False
) -> Iterator[Stable]:
    file, metrics_port = folder / f"{name}.json", free_port()

    def start(start: Start) -> tuple[list[str], dict[str, str]]:
        words, environment = KINDS["ours"].command(start)
        more = {"METRICS_PORT": str(metrics_port), **dict.fromkeys(variables, str(file))}
        return words, environment | more

    with running(Kind(name, start), folder / "cases" / "linear", folder / name, pythons) as up:
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) > 1:
            for thread in Path(f"/proc/{up.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus[1:] if is_shadow else cpus[:1])
        if is_shadow:
            _yield_to_others(up)
        yield Stable(up, file, metrics_port)


def _yield_to_others(server: Running) -> None:
    """In a cluster it would be on other CPUs."""
    for thread in Path(f"/proc/{server.process.pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


@contextmanager
def _hanging() -> Iterator[int]:
    """The port of a server that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener.getsockname()[1]


def _row(scenario: Scenario) -> str:
    times = sorted(took for run in scenario.runs for took in run.times)
    requests = sum(run.requests for run in scenario.runs)
    answered = sum(run.answered for run in scenario.runs)
    p50, p99, p999 = (1000 * _quantile(times, share) for share in (0.5, 0.99, 0.999))
    cpu, sender = (
        1000 * seconds / answered for seconds in (scenario.server_seconds, scenario.sender_seconds)
    )
    outcomes = ", ".join(
        f"{name} {count:.0f}" for name, count in scenario.outcomes.items() if count
    )
    wrong = sum(run.wrong for run in scenario.runs)
    per_second = requests / sum(run.seconds for run in scenario.runs)
    return (
        f"| {scenario.name} | {scenario.percent} | {per_second:,.0f} | {p50:.2f} | {p99:.2f} | "
        f"{p999:.2f} | {cpu:.3f} | {sender:.3f} | {wrong} | {outcomes} |"
    )


def _quantile(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))] if times else math.nan


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring.shadow", description=__doc__
    )
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--seconds", type=float, default=9.0, help="of load for each figure")
    parser.add_argument("--rounds", type=int, default=3, help="turns in that")
    given = parser.parse_args()
    print(machine.describe())
    for clients in given.clients:
        with command.log_folder() as folder:
            scenarios = run(folder, clients, given.seconds, given.rounds)
        print(
            f"\n{clients} clients\n\n| shadow | percent | requests/s | p50 ms | p99 ms | "
            "p99.9 ms | CPU ms | sender CPU ms | wrong | copies |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        print("\n".join(map(_row, scenarios)))


if __name__ == "__main__":
    main()
