"""The floor: the same children made without any operator, by threads that post them.

    python -m benchmarks.scale.bare [--resources 1000]

What the control plane needs for its own part, on this machine. No operator can be faster.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.scale import load, procfs
from benchmarks.scale.operator import compiled_environment, operator
from benchmarks.scale.plane import Plane, plane
from mlflow_model_operator import labels
from tests.integration.control_plane import wait_for

SAMPLE = "sample"
# In the order in which the operator makes them.
KINDS = (
    f"/api/v1/namespaces/{load.NAMESPACE}/services",
    load.DEPLOYMENTS,
    f"/apis/autoscaling/v2/namespaces/{load.NAMESPACE}/horizontalpodautoscalers",
)
SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
)
WITHIN = 900.0

Json = dict[str, Any]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.bare", description=__doc__)
    parser.add_argument("--resources", type=int, default=1000)
    count = parser.parse_args().resources
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        plane(Path(folder).resolve()) as running,
    ):
        _measure(running, count)


def _measure(running: Plane, count: int) -> None:
    samples = _samples(running)
    pids = running.pids | {"benchmark": os.getpid()}
    before, begun = procfs.all_cpu_seconds(pids), time.time()
    available = _Available()
    with load.watch(running.api, load.DEPLOYMENTS, available):
        for path, sample in zip(KINDS, samples, strict=True):
            _create(running, path, sample, count)
            print(f"{count} {sample['kind']}s after {time.time() - begun:.1f} s", flush=True)
        wait_for(lambda: len(available.names) >= count, "all to be available", WITHIN)
    print(f"All available after {time.time() - begun:.1f} s")
    after = procfs.all_cpu_seconds(pids)
    print("CPU seconds:", {name: round(after[name] - before[name]) for name in pids})


class _Available:
    """The names of the Deployments that have had an available pod."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, event: Json) -> None:
        name = event["object"]["metadata"]["name"]
        if event["object"].get("status", {}).get("availableReplicas") and _is_copy(name):
            self.names.add(name)


def _is_copy(name: str) -> bool:
    return not name.startswith(SAMPLE)


def _samples(running: Plane) -> list[Json]:
    """The children that the operator made for one resource, without what the server added."""
    with operator(running, compiled_environment(), "operator"):
        namespace = {"metadata": {"name": load.NAMESPACE}}
        running.api.request("POST", "/api/v1/namespaces", namespace).raise_for_status()
        sample = load.resource(SAMPLE)
        running.api.request("POST", load.RESOURCES, sample).raise_for_status()
        wait_for(lambda: all(_children(running, path) for path in KINDS), "the sample's children")
        return [_as_applied(_children(running, path)[0]) for path in KINDS]


def _children(running: Plane, path: str) -> list[Json]:
    query = f"?labelSelector={labels.DEPLOYMENT}={SAMPLE}"
    listed = running.api.request("GET", path + query).json()
    kind = listed["kind"].removesuffix("List")
    return [{"kind": kind, "apiVersion": listed["apiVersion"]} | one for one in listed["items"]]


def _as_applied(obj: Json) -> Json:
    kept = {key: value for key, value in obj["metadata"].items() if key not in SERVER_FIELDS}
    spec = {key: value for key, value in obj["spec"].items() if not key.startswith("clusterIP")}
    return {key: obj[key] for key in ("kind", "apiVersion")} | {"metadata": kept, "spec": spec}


def _create(running: Plane, path: str, sample: Json, count: int) -> None:
    text = json.dumps(sample)

    def one(name: str) -> None:
        body = text.replace(f'"{SAMPLE}', f'"{name}')
        headers = {"Content-Type": "application/json"}
        url = f"{running.api.url}{path}"
        answer = load.session(running.api).post(url, body, headers=headers, timeout=60)
        answer.raise_for_status()

    with ThreadPoolExecutor(load.THREADS) as pool:
        list(pool.map(one, load.names(count)))


if __name__ == "__main__":
    main()
