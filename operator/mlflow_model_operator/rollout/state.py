"""Revisions, their shares of the requests, and what a live Deployment says of its revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.kube.objects import KubeObject


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


def deployment_state(deployment: KubeObject | None) -> RevisionState:
    """Replicas asked for and ready.

    A status that is older than the spec counts too: a revision's template never changes, so its
    pods are the right ones, and each scaling would else look like an outage.
    """
    if deployment is None:
        return RevisionState(desired=0, ready=0, exists=False)
    return RevisionState(
        desired=deployment["spec"].get("replicas", 1),
        ready=deployment.get("status", {}).get("readyReplicas", 0),
        exists="deletionTimestamp" not in deployment["metadata"],
    )
