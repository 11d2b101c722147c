"""What the resource's status says of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError, ResolutionResult
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import RevisionStatus
from mlflow_model_operator.rollout import Previous
from mlflow_model_operator.rollout.state import Revision, Weight


def previous_decision(resource: MLflowModelDeployment) -> Previous:
    """What the resource's status says was decided before."""
    status = resource.status
    return Previous(
        stable=revision_from_status(status.stable),
        target=revision_from_status(status.target),
        traffic=tuple(Weight(share.revision, share.weight) for share in status.traffic),
        draining={
            entry.revision: datetime.fromisoformat(entry.since).timestamp()
            for entry in status.draining
            if entry.since
        },
    )


def revision_from_status(previous: RevisionStatus | None) -> Revision | None:
    """The revision that the status names, if it names all of it."""
    if previous is None or not (previous.revision and previous.model_uri):
        return None
    model = ModelVersion(
        requested=previous.requested_uri or previous.model_uri,
        uri=previous.model_uri,
        version=previous.model_version or "-",
        tracking_uri=previous.tracking_uri,
        name=previous.name,
        python_version=previous.python_version,
    )
    return Revision(previous.revision, model)


def previous_models(resource: MLflowModelDeployment, previous: Previous) -> list[ModelVersion]:
    """What the URI meant when the status was written: what was getting ready, then what serves.

    A URI that was changed since means something else than what was getting ready.
    """
    target, stable = previous.target, previous.stable
    warming = [target.model] if target else []
    return [
        *(model for model in warming if model.requested == resource.spec.model.uri),
        *([stable.model] if stable else []),
    ]


def last_known(resolved: ResolutionResult, known: Sequence[ModelVersion]) -> ModelVersion | None:
    """Where the registry fails us, what was known of the URI goes on to be what is desired.

    The same for the Python version, which is read from the artifacts: that they can't be read just
    now must not change the image, and so the revision.
    """
    if isinstance(resolved, ResolutionError):
        return resolved.last_resolved or next(iter(known), None)
    if resolved.python_version is None:
        same = next((model for model in known if model.uri == resolved.uri), None)
        return replace(resolved, python_version=same.python_version) if same else resolved
    return resolved
