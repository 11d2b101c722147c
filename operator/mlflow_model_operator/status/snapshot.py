"""All that conditions, status and events are computed from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mlflow_model_operator.analysis import Report, ShadowReport
from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.registry_writes import WriteState
from mlflow_model_operator.api.resource import Key, MLflowModelDeployment
from mlflow_model_operator.kube.gateway import GatewayState
from mlflow_model_operator.kube.objects import (
    KubeObject,
    LiveChildren,
    created_at,
    is_deleting,
    labels_of,
    name_of,
)
from mlflow_model_operator.rollout import (
    Decision,
    LiveRouting,
    Postponement,
    deployment_state,
    live_routing,
)
from mlflow_model_operator.rollout.route_features import Refusals
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
    gateway: GatewayState | None = None  # the Gateway that the spec names; None: not looked up
    # Older resources that serve host names which the spec asks for; "" stands for all host names.
    rivals: Mapping[str, Key] = field(default_factory=dict)
    # Host names that the spec asks for and the administrator does not allow, each with the reason.
    denied_hostnames: Mapping[str, str] = field(default_factory=dict)
    draining: tuple[Revision, ...] = ()  # those of the decision that still run
    is_deferred: bool = False  # a new pod template of the operator is for later
    postponed: Postponement | None = None  # the rollout that does not start yet
    # What the URIs of the variants resolve to, by their names.
    variant_resolutions: Mapping[str, ModelVersion | ResolutionError] = field(default_factory=dict)
    refused: Refusals = field(default_factory=dict)  # what the gateway does not support
    writes: WriteState | None = None  # of the registry; None: the resource asks for none
    # Those that there are scoring images for, the default first: ("3.11", "3.12").
    scoring_python_versions: tuple[str, ...] = ()
    analysis: Report | None = None  # what the metrics say of the step that a rollout held
    shadow_resolution: ModelVersion | ResolutionError | None = None
    shadow: ShadowReport | None = None  # what pods have counted of the copies that they send

    @cached_property
    def routing(self) -> LiveRouting:
        """What the live Service and route do."""
        return live_routing(self.resource, self.live, self.gateway)

    @property
    def lingering(self) -> list[str]:
        """The draining revisions that requests still reach."""
        current = {revision.name for revision in self.decision.revisions} if self.decision else ()
        names = self.decision.draining if self.decision else ()
        return [name for name in names if name in self.routing.reached and name not in current]

    def answers(self, revision: Revision) -> bool:
        """Whether any pod of a revision answers requests."""
        return self.state(revision).answers

    def named(self, names: Collection[str]) -> list[Revision]:
        """The revisions of these names, by their share of the traffic."""
        if self.decision is None:
            return []
        weights = dict(self.decision.traffic)
        revisions = {entry.name: entry for entry in (*self.draining, *self.decision.revisions)}
        named = [revision for name, revision in revisions.items() if name in names]
        return sorted(named, key=lambda revision: (-weights.get(revision.name, 0), revision.name))

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
