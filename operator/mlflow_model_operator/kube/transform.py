"""What the cache keeps of a live object, as an informer's transform does. Pure.

Only what is read: a change of anything else is no news, and costs no reconcile. An autoscaler, for
one, reports every few seconds what it has counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_model_operator.kube.objects import KubeObject, status_of

# The resource version is stored beside the object: it changes with whatever else does.
_OMITTED_METADATA = ("managedFields", "generateName", "selfLink", "resourceVersion")
_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
_TERMINAL_PHASES = ("Failed", "Succeeded")
_POD_CONDITIONS = ("PodScheduled", "PodReadyToStartContainers")
_CONTAINER_LISTS = ("initContainerStatuses", "containerStatuses")
# What every container waits for before its start.
_USUAL_WAITS = ("ContainerCreating", "PodInitializing")


def transform(obj: KubeObject) -> KubeObject:
    """What the cache keeps of a child."""
    kind = obj["kind"]
    metadata = {
        name: value for name, value in obj["metadata"].items() if name not in _OMITTED_METADATA
    }
    if kind == "Pod":
        metadata.pop("annotations", None)
        return {"kind": kind, "metadata": metadata, "status": _pod_status(status_of(obj))}
    annotations = _without_controllers_own(metadata.pop("annotations", {}))
    if annotations:
        metadata["annotations"] = annotations
    transformed = {"kind": kind, "metadata": metadata, **_subset(obj, ("spec", "data"))}
    if kind == "HTTPRoute":
        transformed |= _subset(obj, ("status",))
    elif kind == "Deployment":
        transformed["status"] = _deployment_status(status_of(obj))
    return transformed


def is_healthy_pod(transformed: KubeObject) -> bool:
    """Whether it is a pod without trouble: their Deployment counts those."""
    return transformed["kind"] == "Pod" and not transformed["status"]


def _without_controllers_own(annotations: KubeObject) -> KubeObject:
    """Without what Kubernetes' own controller notes on each Deployment."""
    return {k: v for k, v in annotations.items() if not k.startswith("deployment.kubernetes.io/")}


def _deployment_status(status: KubeObject) -> KubeObject:
    """How many pods are ready, and what hinders the others."""
    conditions = [
        condition
        for condition in _conditions(status, ("ReplicaFailure", "Progressing"))
        if condition["type"] != "Progressing" or condition.get("reason") == _DEADLINE_EXCEEDED
    ]
    return {**_subset(status, ("readyReplicas",)), "conditions": conditions}


def _pod_status(status: KubeObject) -> KubeObject:
    """What hinders it; nothing of a pod that starts, or runs, as it should."""
    trouble: KubeObject = {}
    if status.get("phase") in _TERMINAL_PHASES:
        trouble |= _subset(status, ("phase", "reason", "message"))
    unmet = [
        condition
        for condition in _conditions(status, _POD_CONDITIONS)
        if condition["status"] == "False"
    ]
    if unmet:
        trouble |= {**_subset(status, ("startTime",)), "conditions": unmet}
    for name in _CONTAINER_LISTS:
        containers = [
            _container_status(container)
            for container in status.get(name) or ()
            # What a ready container went through counts if its pod has to start again.
            if _has_stopped_or_waits(container) and (unmet or not container.get("ready"))
        ]
        if containers:
            trouble[name] = containers
    return trouble


def _has_stopped_or_waits(container: KubeObject) -> bool:
    """Whether a container has terminated, or waits for something out of the ordinary."""
    waiting = _state(container, "state").get("waiting")
    waits = waiting is not None and waiting.get("reason") not in _USUAL_WAITS
    return waits or any("terminated" in _state(container, name) for name in ("state", "lastState"))


def _container_status(container: KubeObject) -> KubeObject:
    """How it waits and how it ended; not since when it runs."""
    states = {
        name: _subset(_state(container, name), ("waiting", "terminated"))
        for name in ("state", "lastState")
    }
    return {**_subset(container, ("name", "image", "ready")), **states}


def _state(container: KubeObject, name: str) -> KubeObject:
    return container.get(name) or {}


def _conditions(status: KubeObject, types: Iterable[str]) -> list[KubeObject]:
    """Those of these types, without their times."""
    return [
        _subset(condition, ("type", "status", "reason", "message"))
        for condition in status.get("conditions") or ()
        if condition.get("type") in types
    ]


def _subset(obj: KubeObject, names: Iterable[str]) -> KubeObject:
    return {name: obj[name] for name in names if name in obj}
