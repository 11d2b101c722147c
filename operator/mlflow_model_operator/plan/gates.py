"""What a new model version must fulfil before it gets any request. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionResult,
)
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.signature import Comparison, Signature, compare, difference
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.rollout.progress import Obstacle
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.rollout.steps import schedule

MAX_TAGS_LENGTH = 300  # characters of a message
OFF, COMPATIBLE, STRICT = "Off", "Compatible", "Strict"


@dataclass(frozen=True)
class GatesResult:
    """The first gate that a version does not pass, and what a gate could not look at."""

    obstacle: Obstacle | None = None  # None: it passes all
    notice: str = ""

    def beside(self, other: Obstacle | None) -> GatesResult:
        """The same with another obstacle, where there is none yet."""
        return replace(self, obstacle=self.obstacle or other)


PASSED = GatesResult()


def has_gates(resource: MLflowModelDeployment) -> bool:
    """Whether a new version may be rolled back before it gets any request."""
    gates = resource.spec.rollout.gates
    return bool(gates.tags) or gates.input_example is not None or signature_rule(resource) != OFF


def signature_rule(resource: MLflowModelDeployment) -> str:
    """Whether signatures are compared, and how.

    Where steps split the requests of the same clients, those must fit both versions.
    """
    stated = resource.spec.rollout.gates.signature
    return stated or (COMPATIBLE if schedule(resource.spec) else OFF)


def check_gates(
    resource: MLflowModelDeployment,
    resolved: ResolutionResult,
    target: Revision,
    stable: Revision | None,
    stable_resolved: ResolutionResult | None = None,
) -> GatesResult:
    """Which gates `target` passes, in their order.

    The first version of a resource has no gates, nor has a new pod template of the same version.
    `stable_resolved` is what the registry says of the stable version now; None: it was not asked.
    """
    if stable is None or stable.model.is_same(target.model):
        return PASSED
    obstacle = _missing_tags(resource, resolved, target)
    if obstacle is not None:
        return GatesResult(obstacle)
    return _signature(resource, resolved, target, stable, stable_resolved)


def _missing_tags(
    resource: MLflowModelDeployment, resolved: ResolutionResult, target: Revision
) -> Obstacle | None:
    tags = resource.spec.rollout.gates.tags
    if not tags:
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


def _signature(
    resource: MLflowModelDeployment,
    resolved: ResolutionResult,
    target: Revision,
    stable: Revision,
    stable_resolved: ResolutionResult | None,
) -> GatesResult:
    rule, version = signature_rule(resource), stable.model.version
    if rule == OFF:
        return PASSED
    old, new = _known(stable_resolved, stable), _known(resolved, target)
    if new is None and isinstance(resolved, ResolutionError):
        return GatesResult(_unknown(version, "see condition ModelResolved", _WITHOUT))
    if old is None and _is_unreachable(stable_resolved):
        return GatesResult(_unknown(version, "the tracking server does not answer", _WITHOUT))
    if old is None or new is None:
        owner = "the new version" if new is None else f"version {version}"
        result = Comparison(unknown=f"the signature of {owner} can't be read")
    elif rule == STRICT:
        result = Comparison(difference(old, new))
    else:
        result = compare(old, new)
    return _judged(result, rule, version)


def _judged(result: Comparison, rule: str, version: str) -> GatesResult:
    if result.problem is not None:
        return GatesResult(_incompatible(version, result.problem))
    if result.unknown is None:
        return PASSED
    if rule == STRICT:
        return GatesResult(_unknown(version, result.unknown, _WITHOUT_STRICT))
    return GatesResult(notice=f"Signatures were not compared: {result.unknown}")


def _known(resolved: ResolutionResult | None, revision: Revision) -> Signature | None:
    """The signature of a revision's model; None where it can't be read."""
    model = _version_of(resolved)
    is_same = model is not None and model.is_same(revision.model)
    return model.signature if model is not None and is_same else None


def _version_of(resolved: ResolutionResult | None) -> ModelVersion | None:
    return resolved.last_resolved if isinstance(resolved, ResolutionError) else resolved


def _is_unreachable(resolved: ResolutionResult | None) -> bool:
    if not isinstance(resolved, ResolutionError):
        return False
    return resolved.reason is Reason.REGISTRY_UNREACHABLE


# How a rollout goes on without a comparison: where the server does not answer, and where it does.
_WITHOUT = "To continue without the comparison, set spec.rollout.gates.signature to Off"
_WITHOUT_STRICT = (
    "Log the version with a signature, in a place that the tracking server serves; or set "
    "spec.rollout.gates.signature to Compatible, which lets versions pass whose signature can't be "
    "read, or to Off"
)


def _unknown(version: str, why: str, fix: str) -> Obstacle:
    """It waits: what is not known now may be known later, and is no reason to go back."""
    return Obstacle(
        Reason.SIGNATURE_UNKNOWN,
        f"its signature can't be compared with that of version {version}: {why}. {fix}",
    )


def _incompatible(version: str, why: str) -> Obstacle:
    return Obstacle(
        Reason.SIGNATURE_INCOMPATIBLE,
        f"its signature does not fit clients of version {version}: {why}. Log a version with the "
        "signature that they know, or set spec.rollout.gates.signature to Off",
        is_final=True,
    )
