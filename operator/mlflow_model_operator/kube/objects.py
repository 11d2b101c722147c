"""Kubernetes objects as the API serves them, and the values that hold or become some."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
    pods: dict[str, KubeObject] = field(default_factory=dict)

    def of_kind(self, kind: str) -> dict[str, KubeObject]:
        """Those of one kind, like "Deployment", by name."""
        found: dict[str, KubeObject] = getattr(self, _FIELD_BY_KIND[kind])
        return found
