"""Good resources beside hostile tracking servers: python -m benchmarks.scale.hostile.

Each round makes the good resources twice, each time on a new control plane: alone, and while other
namespaces have resources that name hostile servers. Compared is how long the good ones take.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import command, procfs
from benchmarks.scale import audit, hostile_report, load
from benchmarks.scale.hostile_report import Figures, Result
from benchmarks.scale.hostile_servers import BEHAVIOURS
from benchmarks.scale.operator import Operator, compiled_environment, operator
from benchmarks.scale.plane import MODEL, Plane, plane
from mlflow_model_operator.api.names import API_VERSION, KIND, PLURAL
from tests.integration.control_plane import ApiServer

SERVERS_EACH = 5  # of a namespace; the default of the chart's policy.maxTrackingServers
RESOURCES_EACH = 2  # of a server
# What the operator does before it has met all of them is not what a neighbour sees for long.
WARM_UP_SECONDS = 30.0
# All servers may be named; by default the chart allows none but its own where it has one.
POLICY = json.dumps({"trackingUris": ["*"], "maxTrackingServers": SERVERS_EACH})

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is asked of a run."""

    good: int
    servers: int
    rounds: int
    changes: int
    within: float


def measure(options: Options, folder: Path) -> Result:
    """Runs it all; the processes end with it."""
    result = Result(
        good=options.good,
        servers=options.servers,
        hostile_resources=options.servers * RESOURCES_EACH,
        kinds=[behaviour.__name__ for behaviour in BEHAVIOURS],
        cores=os.cpu_count() or 0,
        load_before=os.getloadavg(),
    )
    venv = compiled_environment()
    for number in range(options.rounds):
        for servers, into in ((0, result.alone), (options.servers, result.beside)):
            place = folder / f"{number}-{servers}"
            place.mkdir()
            into.append(_measure(options, servers, place, venv))
            print(f"round {number}, {servers} hostile servers: {into[-1]}", flush=True)
    result.load_after = os.getloadavg()
    return result


def _measure(options: Options, servers: int, folder: Path, venv: Path) -> Figures:
    with ExitStack() as stack:
        ports = stack.enter_context(hostile_servers(servers)) if servers else []
        running = stack.enter_context(plane(folder))
        variables = {"MMO_POLICY": POLICY}
        working = stack.enter_context(operator(running, venv, "operator", more=variables))
        _create_hostile(running.api, ports)
        time.sleep(WARM_UP_SECONDS)
        return _measure_good(options, running, working)


def _measure_good(options: Options, running: Plane, working: Operator) -> Figures:
    figures = Figures()
    ready = load.ReadyWatch(running.api)
    load.make_namespace(running.api)
    with load.watch(running.api, load.RESOURCES, ready):
        begun, cpu_before = time.time(), procfs.cpu_seconds(working.pid)
        load.post_all(running.api, load.RESOURCES, map(load.resource, load.names(options.good)))
        ready.wait(options.good, options.within)
    figures.ready_after = max(ready.since.values()) - begun
    figures.cpu_seconds = procfs.cpu_seconds(working.pid) - cpu_before
    figures.children_after = _children_after(running, begun)
    time.sleep(WARM_UP_SECONDS)
    seconds = [
        load.change_latency(running.api, name, str(number))
        for number, name in enumerate(load.names(options.good)[: options.changes])
    ]
    figures.change_median = statistics.median(seconds)
    figures.peak_mebibytes = procfs.peak_mebibytes(working.pid)
    figures.errors_in_log = working.errors_in_log
    return figures


def _children_after(running: Plane, begun: float) -> float:
    good = load.names(1)[0].partition("-")[0]
    made = [r for r in audit.requests(running.audit_log) if r.name.startswith(good)]
    return audit.children_created(made)[-1] - begun


@contextmanager
def hostile_servers(count: int) -> Iterator[list[int]]:
    """Runs so many of them in a process of their own; yields their ports."""
    command_line = [sys.executable, "-m", "benchmarks.scale.hostile_servers", f"--count={count}"]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None
        try:
            yield json.loads(popen.stdout.readline())
        finally:
            popen.terminate()


def _create_hostile(api: ApiServer, ports: Sequence[int]) -> None:
    for start in range(0, len(ports), SERVERS_EACH):
        namespace = f"hostile-{start // SERVERS_EACH:03d}"
        made = {"metadata": {"name": namespace}}
        api.request("POST", "/api/v1/namespaces", made).raise_for_status()
        path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"
        load.post_all(api, path, map(_hostile, _named(ports[start : start + SERVERS_EACH])))


def _named(ports: Sequence[int]) -> Iterator[tuple[str, int]]:
    for port in ports:
        for number in range(RESOURCES_EACH):
            yield f"hostile-{port}-{number}", port


def _hostile(name_and_port: tuple[str, int]) -> Json:
    name, port = name_and_port
    model = {
        "uri": f"models:/{MODEL}-{name}@champion",
        "trackingUri": f"http://127.0.0.1:{port}",
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"model": model},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.hostile", description=__doc__)
    parser.add_argument("--good", type=int, default=1000, help="good resources")
    parser.add_argument("--servers", type=int, default=100, help="hostile tracking servers")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--changes", type=int, default=11, help="how many changes are timed")
    parser.add_argument("--within", type=float, default=1800.0, help="seconds until all are Ready")
    command.add_options(parser)
    given = parser.parse_args()
    options = Options(given.good, given.servers, given.rounds, given.changes, given.within)
    command.run(given, lambda folder: measure(options, folder), hostile_report)


if __name__ == "__main__":
    main()
