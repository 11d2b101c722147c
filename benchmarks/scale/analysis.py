"""What reading metrics costs the operator: python -m benchmarks.scale.analysis.

First all resources are at rest, though each has an analysis in its spec: no pod may be read. Then
some of them roll out another version, and hold a step whose analysis reads the pods of both.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks import command, procfs
from benchmarks.scale import analysis_report, load
from benchmarks.scale.analysis_pods import CIDR, MetricsPods, exposition, metrics_pods
from benchmarks.scale.analysis_report import MAX_CORES, MAX_MEBIBYTES, Phase, Result
from benchmarks.scale.operator import Operator, compiled_environment, operator
from benchmarks.scale.plane import Plane, plane
from mlflow_model_operator.api import names
from tests.integration.control_plane import wait_for

MODEL = "beer"  # of the resources that are rolled out
REPLICAS = 3  # of each revision, so a rollout at half of the requests has twice as many pods
INTERVAL = "10s"
ANALYSIS = {
    "interval": INTERVAL,
    "latency": [{"percentile": 95, "max": "1s", "maxRatio": 2}],
    "predictions": {"maxPsi": 0.25},
    "staleness": {"maxAge": "168h"},
}
LIMITS = 6  # the shares of errors have one each by default
ROLLOUT = {"steps": [{"weight": 50, "hold": "2h"}], "analysis": ANALYSIS}
READS = re.compile(r'^mlflow_model_operator_pod_metrics_reads_total\{result="(\w+)"\} (\S+)$', re.M)

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is asked of a run."""

    resources: int
    rollouts: int
    seconds: float
    within: float


def measure(options: Options, folder: Path) -> Result:
    """Runs it all; the processes end with it."""
    load_before = os.getloadavg()
    with plane(folder, CIDR) as running, metrics_pods() as pods:
        running.mlflow.register(MODEL, versions=2)
        running.mlflow.point(MODEL, "champion", "1")
        with operator(running, compiled_environment(), "operator") as working:
            without = _at_rest(options, running, working)
            during = _during_rollouts(options, running, working, pods)
    return Result(
        resources=options.resources,
        rollouts=options.rollouts,
        pods=2 * REPLICAS,
        interval=INTERVAL,
        limits=LIMITS,
        exposition_bytes=len(exposition("beer-0000000000", 0.0, 1000.0)),
        cores=os.cpu_count() or 0,
        load_before=load_before,
        load_after=os.getloadavg(),
        without=without,
        during=during,
    )


def check(result: Result) -> None:
    """Raises AssertionError where the operator costs more than it may."""
    assert result.without.pod_reads == 0, "pods are read without a rollout"
    assert result.during.pod_reads > result.rollouts, "pods are not read"
    assert result.during.cores < MAX_CORES, result.during
    assert result.during.peak_mebibytes < MAX_MEBIBYTES, result.during


def _at_rest(options: Options, running: Plane, working: Operator) -> Phase:
    ready = load.ReadyWatch(running.api)
    load.make_namespace(running.api)
    with load.watch(running.api, load.RESOURCES, ready):
        at_rest = map(_at_rest_resource, load.names(options.resources))
        load.post_all(running.api, load.RESOURCES, at_rest)
        rolled_out = map(_rolled_out_resource, range(options.rollouts))
        load.post_all(running.api, load.RESOURCES, rolled_out)
        ready.wait(options.resources + options.rollouts, options.within)
    return _phase(options.seconds, working)


def _during_rollouts(
    options: Options, running: Plane, working: Operator, pods: MetricsPods
) -> Phase:
    pods.serve(_addresses(running))
    running.mlflow.point(MODEL, "champion", "2")
    expected = 2 * REPLICAS * options.rollouts
    wait_for(lambda: len(_addresses(running)) == expected, f"{expected} pods", options.within)
    present = set(_addresses(running))
    pods.serve(present - pods.served)
    wait_for(lambda: _steps(running) == options.rollouts, "all to hold a step", options.within)
    return _phase(options.seconds, working)


def _phase(seconds: float, working: Operator) -> Phase:
    """Measures for so many seconds."""
    cpu, begun, before = procfs.cpu_seconds(working.pid), time.monotonic(), _reads(working)
    time.sleep(seconds)
    after = _reads(working)
    return Phase(
        seconds=time.monotonic() - begun,
        cpu_seconds=procfs.cpu_seconds(working.pid) - cpu,
        peak_mebibytes=procfs.peak_mebibytes(working.pid),
        pod_reads=sum(after.values()) - sum(before.values()),
        failed_reads=after.get("error", 0) - before.get("error", 0),
        errors_in_log=working.errors_in_log,
    )


def _reads(working: Operator) -> dict[str, int]:
    text = requests.get(f"{working.url}/metrics", timeout=30).text
    return {result: round(float(value)) for result, value in READS.findall(text)}


def _at_rest_resource(name: str) -> Json:
    made = load.resource(name)
    made["spec"]["rollout"] = ROLLOUT
    made["spec"]["server"] = {"staleness": {"column": "event_time"}}
    return made


def _rolled_out_resource(number: int) -> Json:
    made = _at_rest_resource(f"{MODEL}-{number:03d}")
    made["spec"]["model"] = {"uri": f"models:/{MODEL}@champion"}
    made["spec"]["scaling"] = {"minReplicas": REPLICAS}
    return made


def _addresses(running: Plane) -> list[tuple[str, str]]:
    """Address and revision of each pod of a resource that is rolled out."""
    path = f"/api/v1/namespaces/{load.NAMESPACE}/pods"
    pods: Iterable[Json] = running.api.request("GET", path).json()["items"]
    return [
        (pod["status"]["podIP"], pod["metadata"]["labels"][names.REVISION])
        for pod in pods
        if pod["metadata"]["name"].startswith(f"{MODEL}-") and pod["status"].get("podIP")
    ]


def _steps(running: Plane) -> int:
    """How many rollouts have been checked."""
    resources: Iterable[Json] = running.api.request("GET", load.RESOURCES).json()["items"]
    rollouts = (resource.get("status", {}).get("rollout", {}) for resource in resources)
    return sum("analysis" in rollout for rollout in rollouts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.analysis", description=__doc__
    )
    parser.add_argument("--resources", type=int, default=1000, help="at rest")
    parser.add_argument("--rollouts", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=90.0, help="for which each is measured")
    parser.add_argument("--within", type=float, default=600.0, help="seconds until all are ready")
    command.add_options(parser)
    given = parser.parse_args()
    options = Options(given.resources, given.rollouts, given.seconds, given.within)

    def measured(folder: Path) -> Result:
        result = measure(options, folder)
        check(result)
        return result

    command.run(given, measured, analysis_report)


if __name__ == "__main__":
    main()
