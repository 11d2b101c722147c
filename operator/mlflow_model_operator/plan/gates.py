"""What a new model version must fulfil before it gets any request. Pure."""

from __future__ import annotations

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionResult
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.rollout.progress import Obstacle
from mlflow_model_operator.rollout.state import Revision

MAX_TAGS_LENGTH = 300  # characters of a message


def first_obstacle(
    resource: MLflowModelDeployment,
    resolved: ResolutionResult,
    target: Revision,
    stable: Revision | None,
) -> Obstacle | None:
    """The first gate that `target` does not pass; None where it passes all.

    The first version of a resource has no gates, nor has a new pod template of the same version.
    """
    tags = resource.spec.rollout.gates.tags
    if not tags or stable is None or stable.model.is_same(target.model):
        return None
    if target.model.name is None:
        return _tags_missing(
            f"{target.model.uri} is not a version of a registered model, so it has no tags"
        )
    if not isinstance(resolved, ModelVersion):
        return _tags_missing("its tags cannot be read; see condition ModelResolved")
    present = dict(resolved.tags)
    missing = {name: value for name, value in tags.items() if present.get(name) != value}
    if not missing:
        return None
    listed = single_line(", ".join(f"{k}={v}" for k, v in sorted(missing.items())), MAX_TAGS_LENGTH)
    return _tags_missing(f"it lacks the tags {listed}: set them on the version in MLflow")


def _tags_missing(why: str) -> Obstacle:
    return Obstacle(Reason.TAGS_MISSING, f"{why}, or change spec.rollout.gates.tags")
