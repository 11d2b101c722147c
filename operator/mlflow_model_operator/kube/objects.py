"""Kubernetes objects as the API serves them, and the values that hold or become some."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow_model_operator.api import names

KubeObject = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """A Kubernetes Event about a resource, recorded once."""

    reason: str
    message: str
    warning: bool = False


_FIELD_BY_KIND = {
    "Deployment": "deployments",
    "Service": "services",
    "HorizontalPodAutoscaler": "autoscalers",
    "HTTPRoute": "routes",
    "PodDisruptionBudget": "budgets",
    "NetworkPolicy": "network_policies",
    "ConfigMap": "config_maps",
    "Pod": "pods",
}


@dataclass(frozen=True)
class LiveChildren:
    """The objects that exist for one resource, trimmed, by kind and name."""

    deployments: dict[str, KubeObject] = field(default_factory=dict)
    services: dict[str, KubeObject] = field(default_factory=dict)
    autoscalers: dict[str, KubeObject] = field(default_factory=dict)
    routes: dict[str, KubeObject] = field(default_factory=dict)
    budgets: dict[str, KubeObject] = field(default_factory=dict)
    network_policies: dict[str, KubeObject] = field(default_factory=dict)
    config_maps: dict[str, KubeObject] = field(default_factory=dict)
    pods: dict[str, KubeObject] = field(default_factory=dict)

    def of_kind(self, kind: str) -> dict[str, KubeObject]:
        """Those of one kind, like "Deployment", by name."""
        objects: dict[str, KubeObject] = getattr(self, _FIELD_BY_KIND[kind])
        return objects


def name_of(obj: KubeObject) -> str:
    """`metadata.name`."""
    return str(obj["metadata"]["name"])


def namespace_of(obj: KubeObject) -> str:
    """`metadata.namespace`."""
    return str(obj["metadata"]["namespace"])


def uid_of(obj: KubeObject) -> str:
    """`metadata.uid`; "" for an object that was not created yet."""
    return str(obj["metadata"].get("uid") or "")


def labels_of(obj: KubeObject) -> dict[str, str]:
    """`metadata.labels`; {} where there are none."""
    labels: dict[str, str] = obj["metadata"].get("labels") or {}
    return labels


def generation_of(obj: KubeObject) -> int:
    """`metadata.generation`, which counts the changes of `spec`; 0 for kinds without it."""
    return int(obj["metadata"].get("generation") or 0)


def resource_version_of(obj: KubeObject) -> str:
    """`metadata.resourceVersion`; "" where there is none."""
    return str(obj["metadata"].get("resourceVersion") or "")


def version_of(obj: KubeObject) -> int:
    """`metadata.resourceVersion` as a number: of one kind they grow, and compare as integers."""
    text = resource_version_of(obj)
    return int(text) if text.isdigit() else 0


def created_at(obj: KubeObject) -> float | None:
    """`metadata.creationTimestamp` as seconds since 1970; None where there is none."""
    return parse_time(obj["metadata"].get("creationTimestamp"))


def is_deleting(obj: KubeObject) -> bool:
    """Whether the object was deleted and only waits for its end."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def owner_uids(obj: KubeObject) -> tuple[str, ...]:
    """The uids of all owners."""
    return tuple(owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ())


def is_owned_by(obj: KubeObject, uid: str) -> bool:
    """Whether `uid` is among the owners of `obj`."""
    return uid in owner_uids(obj)


def is_claimed(obj: KubeObject) -> bool:
    """Whether somebody manages `obj`, or a resource of ours owns it."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") or owner.get("kind") == names.KIND for owner in owners)


def is_child_of(obj: KubeObject, name: str, uid: str) -> bool:
    """Whether `obj` is a child of the resource `name`, also where its owner reference was removed.

    Then labels decide, of which a Deployment's selector holds a copy that nobody can edit.
    """
    if is_owned_by(obj, uid):
        return True
    resource = selected_resource(obj) or labels_of(obj).get(names.DEPLOYMENT)
    return resource == name and not is_claimed(obj)


def is_hidden(obj: KubeObject) -> bool:
    """Whether an edited label keeps `obj` from our watches, so that nobody reports its changes."""
    return labels_of(obj).get(names.MANAGED_BY) != names.MANAGED_BY_VALUE


def selected_resource(obj: KubeObject) -> str | None:
    """The resource whose pods a Deployment selects; None for other kinds, and other Deployments."""
    spec = obj.get("spec", {})
    labels = (spec.get("selector") or {}).get("matchLabels") if "template" in spec else None
    return (labels or {}).get(names.DEPLOYMENT)


def selector_of(service: KubeObject | None) -> dict[str, str]:
    """The labels that a Service selects pods by; {} where it selects none."""
    selector: dict[str, str] = (service or {}).get("spec", {}).get("selector") or {}
    return selector


def pod_labels_of(deployment: KubeObject) -> dict[str, str]:
    """The labels of a Deployment's pods."""
    metadata = deployment.get("spec", {}).get("template", {}).get("metadata") or {}
    labels: dict[str, str] = metadata.get("labels") or {}
    return labels


def status_of(obj: KubeObject | None) -> KubeObject:
    """`status`; {} where there is none, or no object."""
    status: KubeObject = (obj or {}).get("status") or {}
    return status


def find_condition(obj: KubeObject | None, type_: str) -> KubeObject | None:
    """The condition of that type in `status.conditions`, if there is one."""
    return condition_in(status_of(obj).get("conditions"), type_)


def condition_in(conditions: list[KubeObject] | None, type_: str) -> KubeObject | None:
    """The condition of that type in a list of conditions, if there is one."""
    return next((entry for entry in conditions or () if entry.get("type") == type_), None)


def is_true(condition: KubeObject | None) -> bool:
    """Whether there is such a condition, and it holds."""
    return condition is not None and condition.get("status") == "True"


def parse_time(text: object) -> float | None:
    """Seconds since 1970 of a Kubernetes time; None if it is missing or null."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


def format_time(seconds: float) -> str:
    """Seconds since 1970 as a Kubernetes time, which has whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
