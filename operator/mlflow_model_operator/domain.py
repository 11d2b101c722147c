"""The values that the pure parts of the operator hand to each other.

They are plain frozen dataclasses, so that `registry`, `rollout`, `render` and `observe` can be
tested without a cluster and never need to import each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

KubeObject = dict[str, Any]


class Key(NamedTuple):
    """Names one MLflowModelDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class ModelVersion:
    """What a model URI means now: immutable, and all that pods ever see of it."""

    requested: str  # the URI as the user wrote it: models:/wine@champion
    uri: str  # what the pods fetch: models:/wine/3, models:/m-…, runs:/…/model, s3://…
    version: str  # what people read: "3", "m-1a2b…", a run id; "-" for a storage URI
    tracking_uri: str | None = None  # None where the URI needs no registry
    name: str | None = None  # the registered model, where there is one
    python_version: str | None = None  # "3.11.7", from the model's own files; None if unknown


class ResolutionError(Exception):
    """A model URI that means nothing now; `reason` becomes the reason of `ModelResolved`.

    `last_known` is what it meant before, where only the registry is in trouble.
    """

    def __init__(self, reason: str, message: str, last_known: ModelVersion | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.last_known = last_known


class Weight(NamedTuple):
    """One revision's share of the requests, in percent."""

    revision: str
    weight: int


@dataclass(frozen=True)
class Revision:
    """One model version with one pod template. `name` names its Deployment, Service and HPA."""

    name: str
    model: ModelVersion


@dataclass(frozen=True)
class RevisionState:
    """What is seen of a revision's Deployment and pods."""

    desired: int  # replicas that its Deployment asks for
    ready: int  # replicas that answer
    exists: bool = True

    @property
    def is_ready(self) -> bool:
        """Whether it can take the whole traffic of its share."""
        return self.exists and self.desired > 0 and self.ready >= self.desired


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued condition status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """A status condition before it gets its times; see the Kubernetes API conventions."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True)
class Notice:
    """Something that happened, told once as a Kubernetes Event."""

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
