"""What is worth keeping of a live object. Pure.

Only what is looked at: a change of anything else is no news, and costs no reconcile. An autoscaler,
for one, tells every few seconds what it has counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_model_operator.domain import KubeObject

# The resource version is kept apart: it changes with whatever else does.
_METADATA_LEFT_OUT = ("managedFields", "generateName", "selfLink", "resourceVersion")
_POD_STATUS = (
    *("phase", "reason", "message", "startTime"),
    *("containerStatuses", "initContainerStatuses"),
)
_POD_CONDITIONS = ("PodScheduled", "PodReadyToStartContainers")
_STUCK = "ProgressDeadlineExceeded"


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
    if "annotations" in metadata:
        metadata["annotations"] = _not_the_controllers(metadata["annotations"])
    kept = {"kind": kind, "metadata": metadata, **_present(obj, ("spec",))}
    if kind == "HTTPRoute":
        kept |= _present(obj, ("status",))
    elif kind == "Deployment":
        kept["status"] = _of_deployment(status)
    return kept


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
    kept = _present(status, _POD_STATUS)
    return {**kept, "conditions": _conditions(status, _POD_CONDITIONS)}


def _conditions(status: KubeObject, types: Iterable[str]) -> list[KubeObject]:
    """Those of these types, without their times."""
    return [
        _present(condition, ("type", "status", "reason", "message"))
        for condition in status.get("conditions") or ()
        if condition.get("type") in types
    ]


def _present(obj: KubeObject, names: Iterable[str]) -> KubeObject:
    return {name: obj[name] for name in names if name in obj}
