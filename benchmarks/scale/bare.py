"""The floor: the same children made without any operator, by threads that post them.

    python -m benchmarks.scale.bare [--resources 1000]

What the control plane needs for its own part, on this machine. No operator can be faster.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import command, procfs
from benchmarks.scale import load
from benchmarks.scale.operator import compiled_environment, operator
from benchmarks.scale.plane import Plane, plane
from mlflow_model_operator.api import names
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
    with command.log_folder() as folder, plane(folder) as running:
        _measure(running, count)


def _measure(running: Plane, count: int) -> None:
    samples = _samples(running)
    pids = running.pids | {"benchmark": os.getpid()}
    before, begun = procfs.all_cpu_seconds(pids), time.time()
    available = _Available()
    with load.watch(running.api, load.DEPLOYMENTS, available):
        for path, sample in zip(KINDS, samples, strict=True):
            load.post_all(running.api, path, _copies(sample, count))
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
        load.make_namespace(running.api)
        sample = load.resource(SAMPLE)
        running.api.request("POST", load.RESOURCES, sample).raise_for_status()
        wait_for(lambda: all(_children(running, path) for path in KINDS), "the sample's children")
        return [_as_applied(_children(running, path)[0]) for path in KINDS]


def _children(running: Plane, path: str) -> list[Json]:
    query = f"?labelSelector={names.DEPLOYMENT}={SAMPLE}"
    listed = running.api.request("GET", path + query).json()
    kind = listed["kind"].removesuffix("List")
    return [{"kind": kind, "apiVersion": listed["apiVersion"]} | one for one in listed["items"]]


def _as_applied(obj: Json) -> Json:
    kept = {key: value for key, value in obj["metadata"].items() if key not in SERVER_FIELDS}
    spec = {key: value for key, value in obj["spec"].items() if not key.startswith("clusterIP")}
    return {key: obj[key] for key in ("kind", "apiVersion")} | {"metadata": kept, "spec": spec}


def _copies(sample: Json, count: int) -> Iterator[Json]:
    text = json.dumps(sample)
    for name in load.names(count):
        yield json.loads(text.replace(f'"{SAMPLE}', f'"{name}'))


if __name__ == "__main__":
    main()
