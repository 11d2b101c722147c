"""What the resource's status says of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError, Resolved
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import RevisionStatus
from mlflow_model_operator.rollout import Recorded
from mlflow_model_operator.rollout.state import Revision, Weight


def recorded_decision(resource: MLflowModelDeployment) -> Recorded:
    """What the resource's status says was decided before."""
    status = resource.status
    return Recorded(
        stable=recorded_revision(status.stable),
        target=recorded_revision(status.target),
        traffic=tuple(Weight(share.revision, share.weight) for share in status.traffic),
        draining={
            entry.revision: datetime.fromisoformat(entry.since).timestamp()
            for entry in status.draining
            if entry.since
        },
    )


def recorded_revision(recorded: RevisionStatus | None) -> Revision | None:
    """The revision that the status names, if it names all of it."""
    if recorded is None or not (recorded.revision and recorded.model_uri):
        return None
    model = ModelVersion(
        requested=recorded.requested_uri or recorded.model_uri,
        uri=recorded.model_uri,
        version=recorded.model_version or "-",
        tracking_uri=recorded.tracking_uri,
        name=recorded.name,
        python_version=recorded.python_version,
    )
    return Revision(recorded.revision, model)


def recorded_models(resource: MLflowModelDeployment, recorded: Recorded) -> list[ModelVersion]:
    """What the URI meant when the status was written: what was getting ready, then what serves.

    A URI that was changed since means something else than what was getting ready.
    """
    target, stable = recorded.target, recorded.stable
    warming = [target.model] if target else []
    return [
        *(model for model in warming if model.requested == resource.spec.model.uri),
        *([stable.model] if stable else []),
    ]


def last_known(resolved: Resolved, known: Sequence[ModelVersion]) -> ModelVersion | None:
    """Where the registry fails us, what was known of the URI goes on to be what is wanted.

    The same for the Python version, which is read from the artifacts: that they can't be read just
    now must not change the image, and so the revision.
    """
    if isinstance(resolved, ResolutionError):
        return resolved.last_resolved or next(iter(known), None)
    if resolved.python_version is None:
        same = next((model for model in known if model.uri == resolved.uri), None)
        return replace(resolved, python_version=same.python_version) if same else resolved
    return resolved
