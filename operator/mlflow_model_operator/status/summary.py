"""The conditions that sum up the others: Ready, and while that is False, Reconciling or Stalled.

The last two are those of kstatus (Flux, `helm --wait`), and are there only while they are True:
Stalled where somebody has to act, Reconciling where it is worth waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlflow_model_operator.api.model_version import ResolutionError
from mlflow_model_operator.api.reasons import POSTPONED_REASONS, Reason
from mlflow_model_operator.api.status import StatusCondition
from mlflow_model_operator.kube.objects import KubeObject, parse_time
from mlflow_model_operator.rollout import Decision, Phase
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.condition import Condition, ConditionStatus, met, unmet
from mlflow_model_operator.status.rollout import (
    RolloutTrigger,
    canary_trigger,
    current_target,
    trigger,
)
from mlflow_model_operator.status.snapshot import Snapshot
from mlflow_model_operator.status.variants import (
    are_variants_from_outside,
    were_variants_resolved,
)

# How long what somebody else may bring, like a Secret of the same commit, is worth waiting for.
GRACE_PERIOD = 300.0  # seconds

# What ends by itself, or is no failure.
PASSING_REASONS = frozenset(
    {
        Reason.STARTING,
        Reason.NEW_REVISION,
        Reason.MOVING_TRAFFIC,
        Reason.DRAINING,
        Reason.ROLLOUT_PROGRESSING,
        Reason.ROLLOUT_PAUSED,
        Reason.ANALYSIS_INCONCLUSIVE,
        Reason.TAGS_MISSING,
        Reason.REVISION_MISSING,
        Reason.MODEL_UNRESOLVED,  # ModelResolved says why
        Reason.CANARY_UNRESOLVED,  # CanaryReady says why
        Reason.CANARY_NOT_READY,
        Reason.STABLE_NOT_READY,
        Reason.UPDATE_IN_PROGRESS,
    }
)
# What may end without a change of the resource: a server, a node or another object is missing.
EXTERNAL_REASONS = frozenset(
    {
        Reason.REGISTRY_UNREACHABLE,
        Reason.REGISTRY_ERROR,
        Reason.VERSION_NOT_READY,
        Reason.SIGNATURE_UNKNOWN,
        Reason.ARTIFACT_SERVER_UNREACHABLE,
        Reason.CONFIG_MISSING,
        Reason.ACCESS_SECRET_MISSING,
        Reason.QUOTA_EXCEEDED,
        Reason.NO_GPU_NODE,
        Reason.UNSCHEDULABLE,
        Reason.GATEWAY_API_MISSING,
        Reason.GATEWAY_NOT_FOUND,
        Reason.GATEWAY_NOT_PROGRAMMED,
        Reason.WAITING_FOR_GATEWAY,
    }
)
_WAITING = (Reason.MOVING_TRAFFIC, Reason.DRAINING)
_OF_A_NEW_CANARY = (Reason.DRAINING, Reason.CANARY_NOT_READY)
# What changes without a change of the resource: Git has nothing to do with it.
_OUTSIDE_TRIGGERS = (RolloutTrigger.REGISTRY, RolloutTrigger.OPERATOR, RolloutTrigger.RECOVERY)


def summary(snapshot: Snapshot, parts: Sequence[Condition]) -> list[Condition]:
    """Ready, and Reconciling or Stalled.

    Ready is True when the spec is fulfilled. What came up since without a change of the resource,
    as when an alias moves, leaves it True as long as the version before is served.
    """
    obstacles = _obstacles(snapshot, parts)
    own = [condition for condition in obstacles if not _is_from_outside(snapshot, condition, parts)]
    if not own:
        return [_ready(snapshot, obstacles)]
    ready = unmet("Ready", own[0].reason, own[0].message)
    stalled = next((condition for condition in own if _is_stalled(snapshot, condition)), None)
    if stalled is not None:
        return [ready, met("Stalled", stalled.reason, stalled.message)]
    awaited = next((entry for entry in own if entry.reason in EXTERNAL_REASONS), own[0])
    return [ready, met("Reconciling", awaited.reason, awaited.message)]


def grace_ends_after(conditions: Iterable[KubeObject], now: float) -> float | None:
    """The seconds until what is waited for is taken for missing; None where that is never."""
    since = (parse_time(entry.get("lastTransitionTime")) for entry in conditions if _waits(entry))
    ends = [start + GRACE_PERIOD - now for start in since if start is not None]
    return min((end for end in ends if end > 0), default=None)


def _waits(entry: KubeObject) -> bool:
    if entry["type"] == "Reconciling":
        return entry["reason"] in EXTERNAL_REASONS
    return bool(entry["reason"] == Reason.WAITING_FOR_GATEWAY and entry["status"] == "False")


def _ready(snapshot: Snapshot, obstacles: Sequence[Condition]) -> Condition:
    """True, with the reason of what came up from outside, if anything did."""
    if _is_stopped(snapshot):
        return met("Ready", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    if obstacles:
        return met("Ready", obstacles[0].reason, obstacles[0].message)
    return met("Ready", Reason.READY, "Reconciled")


def _obstacles(snapshot: Snapshot, parts: Sequence[Condition]) -> list[Condition]:
    """What keeps the spec from being fulfilled.

    One that merely waits comes last: another may say what it waits for.
    """
    obstacles = [condition for condition in parts if not _allows_ready(snapshot, condition)]
    return sorted(obstacles, key=lambda condition: condition.reason in _WAITING)


def _allows_ready(snapshot: Snapshot, condition: Condition) -> bool:
    if _is_stopped(snapshot) and condition.type in (
        "Available",
        "CanaryReady",
        "VariantsReady",
        "TrafficSplit",
    ):
        return True
    if condition.type in ("RegistryUpdated", "ShadowReady"):
        return True
    if condition.type == "Progressing":
        is_done = condition.reason in (Reason.COMPLETE, Reason.STOPPED)
        return is_done and condition.status == ConditionStatus.FALSE
    if condition.reason in (Reason.APPROXIMATE, Reason.SAME_VERSION):
        return True
    return condition.status == ConditionStatus.TRUE


def _is_stopped(snapshot: Snapshot) -> bool:
    return snapshot.decision is not None and snapshot.decision.phase is Phase.STOPPED


def _is_from_outside(snapshot: Snapshot, condition: Condition, parts: Sequence[Condition]) -> bool:
    """Whether an obstacle came up without a change of the resource, and costs no request."""
    decision = snapshot.decision
    if decision is None or not (_is_available(parts) or _is_stopped(snapshot)):
        return False
    if condition.reason in POSTPONED_REASONS:
        return True
    match condition.type:
        case "ModelResolved":
            return _was_resolved(snapshot, decision)
        case "Progressing" | "TrafficSplit" if condition.reason in _OF_A_NEW_CANARY:
            is_canary = _is_canary_from_outside(snapshot, decision)
            is_canary = is_canary or _are_variants_from_outside(snapshot, decision)
            return is_canary or _is_rollout_from_outside(snapshot, decision)
        case "Progressing" | "TrafficSplit":
            return _is_rollout_from_outside(snapshot, decision)
        case "RouteAccepted":  # its weights change with each step
            is_pending = _is_briefly_pending(snapshot, condition)
            return is_pending and _is_rollout_from_outside(snapshot, decision)
        case "VariantsReady" if condition.reason is Reason.STARTING:
            return _are_variants_from_outside(snapshot, decision)
        case "VariantsReady":
            return were_variants_resolved(snapshot, decision) and any(
                isinstance(entry, ResolutionError)
                for entry in snapshot.variant_resolutions.values()
            )
        case "CanaryReady" if isinstance(snapshot.canary_resolution, ResolutionError):
            return _was_canary_resolved(snapshot, decision.canary)
        case "CanaryReady":
            return _is_canary_from_outside(snapshot, decision)
    return False


def _is_briefly_pending(snapshot: Snapshot, route_accepted: Condition) -> bool:
    """Whether the gateway may just not have had the time yet to follow the route."""
    before = snapshot.resource.status.condition("RouteAccepted")
    is_new = before is None or before.status != route_accepted.status
    since = None if is_new or before is None else parse_time(before.last_transition_time)
    is_brief = since is None or snapshot.now < since + GRACE_PERIOD
    return route_accepted.reason is Reason.WAITING_FOR_GATEWAY and is_brief


def _is_available(parts: Sequence[Condition]) -> bool:
    available = next(condition for condition in parts if condition.type == "Available")
    return available.status is ConditionStatus.TRUE


def _was_resolved(snapshot: Snapshot, decision: Decision) -> bool:
    """Whether the URI as it is written resolved before, at the same tracking server."""
    written, model = snapshot.resource.spec.model, current_target(decision).model
    is_same_server = written.tracking_uri in (None, model.tracking_uri)
    return model.requested == written.uri and is_same_server


def _was_canary_resolved(snapshot: Snapshot, canary: Revision | None) -> bool:
    written = snapshot.resource.spec.canary
    if canary is None or written is None:
        return False
    return canary.model.requested == written.uri


def _is_canary_from_outside(snapshot: Snapshot, decision: Decision) -> bool:
    """Whether the registry or an upgrade of the operator began the present canary."""
    canary = decision.canary
    return canary is not None and canary_trigger(snapshot.resource, canary) in _OUTSIDE_TRIGGERS


def _are_variants_from_outside(snapshot: Snapshot, decision: Decision) -> bool:
    return are_variants_from_outside(snapshot, decision, _OUTSIDE_TRIGGERS)


def _is_rollout_from_outside(snapshot: Snapshot, decision: Decision) -> bool:
    """Whether the registry or an upgrade of the operator began what is rolled out."""
    is_other = current_target(decision).name != decision.stable.name
    is_under_way = is_other or decision.phase is Phase.DRAINING
    return is_under_way and trigger(snapshot, decision) in _OUTSIDE_TRIGGERS


def _is_stalled(snapshot: Snapshot, condition: Condition) -> bool:
    """Whether somebody has to act, for nothing will change by itself."""
    if condition.reason in PASSING_REASONS:
        return False
    return condition.reason not in EXTERNAL_REASONS or _is_overdue(snapshot, condition.reason)


def _is_overdue(snapshot: Snapshot, reason: Reason) -> bool:
    """Whether this spec has waited for the same for longer than the grace period."""
    if _recorded(snapshot, "Stalled", reason):
        return True
    waiting = _recorded(snapshot, "Reconciling", reason)
    since = parse_time(waiting.last_transition_time) if waiting else None
    return since is not None and snapshot.now >= since + GRACE_PERIOD


def _recorded(snapshot: Snapshot, type_: str, reason: Reason) -> StatusCondition | None:
    entry = snapshot.resource.status.condition(type_)
    is_same = entry is not None and (entry.reason, entry.observed_generation) == (
        reason,
        snapshot.resource.generation,
    )
    return entry if is_same else None
