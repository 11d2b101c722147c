"""One run of the benchmark, step by step."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks import procfs
from benchmarks.environments import version
from benchmarks.scale import audit, load
from benchmarks.scale.operator import Operator, compiled_environment, operator
from benchmarks.scale.plane import Plane, plane

CHILDREN_EACH = 3  # a Deployment, a Service, an autoscaler
SETTLED_AFTER = 10.0  # seconds without a write
RESTARTED_FOR = 30.0


@dataclass(frozen=True)
class Options:
    """What is asked of a run."""

    resources: int
    idle: float
    changes: int
    within: float
    wrapper: Sequence[str] = ()
    python: str = sys.executable


@dataclass
class Result:
    """What was measured. Times are in seconds, memory is in MiB."""

    resources: int
    cores: int = 0
    python: str = ""  # the operator's
    load_before: tuple[float, ...] = ()
    load_after: tuple[float, ...] = ()
    others_cpu_seconds: float = 0.0  # of what else ran on the machine meanwhile
    created_after: float = 0.0
    children_after: float = 0.0
    ready_after: float = 0.0
    cpu_seconds: float = 0.0
    cpu_seconds_before: float = 0.0  # of these, for its start
    peak_mebibytes: float = 0.0
    writes: int = 0
    reads: int = 0
    idle_seconds: float = 0.0
    idle_writes: int = 0
    idle_cpu_seconds: float = 0.0
    restart_writes: int = 0
    restart_reads: int = 0
    change_seconds: list[float] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    request_milliseconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds_by_process: dict[str, float] = field(default_factory=dict)

    @property
    def change_median(self) -> float:
        """Seconds from a change to its Deployment."""
        return statistics.median(self.change_seconds) if self.change_seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """All figures, rounded."""
        rounded: dict[str, Any] = _rounded(asdict(self) | {"change_median": self.change_median})
        return rounded


def measure(options: Options, folder: Path) -> Result:
    """Runs it all; the processes end with it."""
    result = Result(options.resources, cores=os.cpu_count() or 0, load_before=os.getloadavg())
    result.python = version(options.python)
    _say("making the operator's Python environment")
    venv = compiled_environment(options.python)
    _say("starting the control plane")
    with plane(folder) as running:
        with operator(running, venv, "operator", options.wrapper) as one:
            _say(f"creating {options.resources} resources")
            _measure_creation(running, one, options, result)
            _measure_idleness(running, one, options, result)
            _measure_changes(running, options, result)
            _wait_until_settled(running, SETTLED_AFTER)
        with operator(running, venv, "operator-restarted") as one:
            _measure_restart(running, result)
    result.load_after = os.getloadavg()
    return result


def _measure_creation(running: Plane, one: Operator, options: Options, result: Result) -> None:
    pids = running.pids | {"operator": one.pid, "benchmark": os.getpid()}
    before, machine_before = procfs.all_cpu_seconds(pids), procfs.machine_cpu_seconds()
    result.cpu_seconds_before = before["operator"]
    with ExitStack() as stack:
        begun = time.time()
        ready = load.ReadyWatch(running.api)
        stack.enter_context(load.watch(running.api, load.RESOURCES, ready))
        load.create(running.api, options.resources)
        result.created_after = time.time() - begun
        _say(f"created after {result.created_after:.1f} s")
        ready.wait(options.resources, options.within)
        result.ready_after = max(ready.since.values()) - begun
        _say(f"Ready after {result.ready_after:.1f} s")
        _note_cpu(result, pids, before, machine_before)
    _wait_until_settled(running, SETTLED_AFTER)
    _keep_metrics(running, one)
    result.cpu_seconds = procfs.cpu_seconds(one.pid)
    _note_requests(result, audit.requests(running.audit_log), begun, options.resources)


def _keep_metrics(running: Plane, one: Operator) -> None:
    """For those who want to know what took so long; see --folder."""
    folder = running.api.folder
    (folder / "kube-apiserver.metrics").write_text(running.api.request("GET", "/metrics").text)
    (folder / "operator.metrics").write_text(requests.get(f"{one.url}/metrics", timeout=30).text)


def _note_cpu(
    result: Result, pids: dict[str, int], before: dict[str, float], machine_before: float
) -> None:
    after = procfs.all_cpu_seconds(pids)
    used = {name: after[name] - before[name] for name in pids}
    result.cpu_seconds_by_process = used
    machine = procfs.machine_cpu_seconds() - machine_before
    result.others_cpu_seconds = machine - sum(used.values())


def _note_requests(result: Result, made: list[audit.Request], begun: float, resources: int) -> None:
    born = audit.children_created(made)
    if len(born) != CHILDREN_EACH * resources:
        _say(f"NOTE: {len(born)} children were created, not {CHILDREN_EACH * resources}")
    result.children_after = max(born) - begun
    result.writes, result.reads = len(audit.writes(made)), len(audit.reads(made))
    result.requests = audit.by_kind(made)
    durations: dict[str, list[float]] = {}
    for one in made:
        durations.setdefault(f"{one.verb} {one.resource}", []).append(one.ended - one.begun)
    result.request_milliseconds = {
        kind: 1000 * statistics.median(values) for kind, values in durations.items()
    }


def _measure_idleness(running: Plane, one: Operator, options: Options, result: Result) -> None:
    _say(f"nothing happens for {options.idle:g} s")
    begun, cpu_before = time.time(), procfs.cpu_seconds(one.pid)
    time.sleep(options.idle)
    made = audit.requests(running.audit_log, since=begun)
    result.idle_seconds = options.idle
    result.idle_writes = len(audit.writes(made))
    result.idle_cpu_seconds = procfs.cpu_seconds(one.pid) - cpu_before
    result.peak_mebibytes = procfs.peak_mebibytes(one.pid)


def _measure_changes(running: Plane, options: Options, result: Result) -> None:
    for number, name in enumerate(load.names(options.resources)[: options.changes]):
        result.change_seconds.append(load.change_latency(running.api, name, str(number)))
    _say(f"changes took {result.change_median * 1000:.0f} ms")


def _measure_restart(running: Plane, result: Result) -> None:
    begun = time.time()
    time.sleep(RESTARTED_FOR)
    # Its start is over when it is ready, which was before `begun`; so look a little further back.
    made = audit.requests(running.audit_log, since=begun - SETTLED_AFTER)
    result.restart_writes = len(audit.writes(made))
    result.restart_reads = len(audit.reads(made))
    _say(f"{result.restart_writes} writes after a restart")


def _wait_until_settled(running: Plane, seconds: float) -> None:
    """Waits until the operator has written nothing for so long."""
    while audit.writes(audit.requests(running.audit_log, since=time.time() - seconds)):
        time.sleep(1.0)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
