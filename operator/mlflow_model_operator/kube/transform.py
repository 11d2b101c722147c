"""What is worth keeping of a live object. Pure.

Only what is looked at: a change of anything else is no news, and costs no reconcile. An autoscaler,
for one, tells every few seconds what it has counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_model_operator.kube.objects import KubeObject

# The resource version is kept apart: it changes with whatever else does.
_METADATA_LEFT_OUT = ("managedFields", "generateName", "selfLink", "resourceVersion")
_STUCK = "ProgressDeadlineExceeded"
_ENDED_PHASES = ("Failed", "Succeeded")
_POD_CONDITIONS = ("PodScheduled", "PodReadyToStartContainers")
_CONTAINER_LISTS = ("initContainerStatuses", "containerStatuses")
# What every container waits for before its start.
_USUAL_WAITS = ("ContainerCreating", "PodInitializing")


def trim(obj: KubeObject) -> KubeObject:
    """What the cache keeps of a live child."""
    kind = obj["kind"]
    metadata = {
        name: value for name, value in obj["metadata"].items() if name not in _METADATA_LEFT_OUT
    }
    status = obj.get("status", {})
    if kind == "Pod":
        metadata.pop("annotations", None)
        return {"kind": kind, "metadata": metadata, "status": _of_pod(status)}
    annotations = _not_the_controllers(metadata.pop("annotations", {}))
    if annotations:
        metadata["annotations"] = annotations
    kept = {"kind": kind, "metadata": metadata, **_present(obj, ("spec",))}
    if kind == "HTTPRoute":
        kept |= _present(obj, ("status",))
    elif kind == "Deployment":
        kept["status"] = _of_deployment(status)
    return kept


def tells_nothing(kept: KubeObject) -> bool:
    """Whether it is a pod that fares well: how many of those there are, their Deployment says."""
    return kept["kind"] == "Pod" and not kept["status"]


def _not_the_controllers(annotations: KubeObject) -> KubeObject:
    """Without what Kubernetes' own controller notes on each Deployment."""
    return {k: v for k, v in annotations.items() if not k.startswith("deployment.kubernetes.io/")}


def _of_deployment(status: KubeObject) -> KubeObject:
    """How many pods answer, and what hinders the others."""
    told = [
        condition
        for condition in _conditions(status, ("ReplicaFailure", "Progressing"))
        if condition["type"] != "Progressing" or condition.get("reason") == _STUCK
    ]
    return {**_present(status, ("readyReplicas",)), "conditions": told}


def _of_pod(status: KubeObject) -> KubeObject:
    """What hinders it; nothing of a pod that starts, or runs, as it should."""
    kept: KubeObject = {}
    if status.get("phase") in _ENDED_PHASES:
        kept |= _present(status, ("phase", "reason", "message"))
    unmet = [one for one in _conditions(status, _POD_CONDITIONS) if one["status"] == "False"]
    if unmet:
        kept |= {**_present(status, ("startTime",)), "conditions": unmet}
    for name in _CONTAINER_LISTS:
        told = [
            _of_container(one)
            for one in status.get(name) or ()
            # What a container that is ready went through counts if its pod has to start anew.
            if _has_a_story(one) and (unmet or not one.get("ready"))
        ]
        if told:
            kept[name] = told
    return kept


def _has_a_story(container: KubeObject) -> bool:
    """Whether a container has ended, or waits for something out of the ordinary."""
    waiting = _state(container, "state").get("waiting")
    waits = waiting is not None and waiting.get("reason") not in _USUAL_WAITS
    return waits or any("terminated" in _state(container, one) for one in ("state", "lastState"))


def _of_container(container: KubeObject) -> KubeObject:
    """How it waits and how it ended; not since when it runs."""
    states = {
        name: _present(_state(container, name), ("waiting", "terminated"))
        for name in ("state", "lastState")
    }
    return {**_present(container, ("name", "image", "ready")), **states}


def _state(container: KubeObject, name: str) -> KubeObject:
    return container.get(name) or {}


def _conditions(status: KubeObject, types: Iterable[str]) -> list[KubeObject]:
    """Those of these types, without their times."""
    return [
        _present(condition, ("type", "status", "reason", "message"))
        for condition in status.get("conditions") or ()
        if condition.get("type") in types
    ]


def _present(obj: KubeObject, names: Iterable[str]) -> KubeObject:
    return {name: obj[name] for name in names if name in obj}
