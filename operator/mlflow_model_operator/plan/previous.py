"""The previous decision, read from the resource's status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError, ResolutionResult
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import RevisionStatus
from mlflow_model_operator.kube.objects import parse_time
from mlflow_model_operator.rollout import Previous
from mlflow_model_operator.rollout.state import Revision, Weight


def previous_decision(resource: MLflowModelDeployment) -> Previous:
    """The decision that the resource's status records."""
    status = resource.status
    return Previous(
        stable=revision_from_status(status.stable),
        target=revision_from_status(status.target),
        traffic=tuple(Weight(share.revision, share.weight) for share in status.traffic),
        draining={
            entry.revision: since
            for entry in status.draining
            if (since := parse_time(entry.since)) is not None
        },
    )


def revision_from_status(entry: RevisionStatus | None) -> Revision | None:
    """The revision that an entry of the status names; None where the entry is incomplete."""
    if entry is None or not (entry.revision and entry.model_uri):
        return None
    model = ModelVersion(
        requested=entry.requested_uri or entry.model_uri,
        uri=entry.model_uri,
        version=entry.model_version or "-",
        tracking_uri=entry.tracking_uri,
        name=entry.name,
        python_version=entry.python_version,
    )
    return Revision(entry.revision, model)


def previous_models(resource: MLflowModelDeployment, previous: Previous) -> list[ModelVersion]:
    """What the URI resolved to before: the target's model, unless the URI is new; the stable's."""
    target, stable = previous.target, previous.stable
    models = [stable.model] if stable else []
    if target and target.model.requested == resource.spec.model.uri:
        models.insert(0, target.model)
    return models


def model_to_serve(
    resolved: ResolutionResult, previous: Sequence[ModelVersion]
) -> ModelVersion | None:
    """What the URI resolves to, or else what it resolved to before: an outage changes nothing.

    The same holds for the Python version, which is read from the artifacts: that they can't be read
    for now must not change the image, and so the revision.
    """
    if isinstance(resolved, ResolutionError):
        return resolved.last_resolved or next(iter(previous), None)
    if resolved.python_version is None:
        same = next((model for model in previous if model.uri == resolved.uri), None)
        return replace(resolved, python_version=same.python_version) if same else resolved
    return resolved
