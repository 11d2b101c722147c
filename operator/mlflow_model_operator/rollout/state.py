"""What a live Deployment says of its revision."""

from __future__ import annotations

from mlflow_model_operator.domain import KubeObject, RevisionState


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
