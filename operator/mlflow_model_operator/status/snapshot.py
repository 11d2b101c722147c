"""All that conditions, status and events are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import (
    KubeObject,
    LiveChildren,
    created_at,
    is_deleting,
    labels_of,
    name_of,
)
from mlflow_model_operator.rollout import Decision, deployment_state
from mlflow_model_operator.rollout.state import Revision, RevisionState


@dataclass(frozen=True)
class ApplyError:
    """An object that the API server refused, and why."""

    kind: str
    name: str
    status: int  # HTTP status
    reason: str  # the API server's, like Invalid
    message: str


@dataclass(frozen=True)
class NameConflict:
    """An object that was not sent: one that belongs to somebody else has its name."""

    kind: str
    name: str


ApplyFailure = ApplyError | NameConflict


@dataclass(frozen=True)
class Snapshot:
    """One resource at one moment. `decision` is None where nothing was ever resolved."""

    resource: MLflowModelDeployment
    resolution: ModelVersion | ResolutionError
    canary_resolution: ModelVersion | ResolutionError | None
    decision: Decision | None
    live: LiveChildren
    apply_errors: tuple[ApplyFailure, ...]
    now: float  # epoch seconds
    gateway_exists: bool | None = None  # None: not looked up
    # Those that there are scoring images for, the default first: ("3.11", "3.12").
    scoring_python_versions: tuple[str, ...] = ()

    def state(self, revision: Revision) -> RevisionState:
        """The replicas of a revision's Deployment."""
        return deployment_state(self.live.deployments.get(revision.name))

    def pods(self, revision: Revision) -> list[KubeObject]:
        """The pods of a revision that are not ending, newest first."""
        pods = [
            pod
            for pod in self.live.pods.values()
            if labels_of(pod).get(names.REVISION) == revision.name and not is_deleting(pod)
        ]
        return sorted(pods, key=lambda pod: (created_at(pod) or 0.0, name_of(pod)), reverse=True)
