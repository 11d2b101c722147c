"""Revisions, their shares of the requests, and the state of a revision by its live Deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.kube.objects import KubeObject, is_deleting, status_of


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
    """The replicas of a revision, as its Deployment reports them."""

    desired: int  # spec.replicas of its Deployment
    ready: int  # replicas whose readiness probe succeeds
    exists: bool = True

    @property
    def is_ready(self) -> bool:
        """Whether it can serve all of its share of the requests."""
        return self.exists and self.desired > 0 and self.ready >= self.desired

    @property
    def answers(self) -> bool:
        """Whether any of its pods answers requests."""
        return self.exists and self.ready > 0


def deployment_state(deployment: KubeObject | None) -> RevisionState:
    """The replicas of a live Deployment, desired and ready.

    A status that is older than the spec counts too: a revision's template never changes, so its
    pods are the right ones, and otherwise each scaling would look like an outage.
    """
    if deployment is None:
        return RevisionState(desired=0, ready=0, exists=False)
    return RevisionState(
        desired=deployment["spec"].get("replicas", 1),
        ready=status_of(deployment).get("readyReplicas", 0),
        exists=not is_deleting(deployment),
    )
