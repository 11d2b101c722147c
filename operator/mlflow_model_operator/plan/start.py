"""When a rollout may start: not in a freeze window, nor while a model URI flaps. Pure.

Only the start waits. What has begun goes on, and what may help, or goes back to pods that still
run, waits for nothing.
"""

from __future__ import annotations

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import LiveChildren, parse_time
from mlflow_model_operator.plan.rollout import recorded_progress, requested_control
from mlflow_model_operator.rollout import Postponement, Previous, deployment_state
from mlflow_model_operator.rollout.freeze import frozen_until, windows
from mlflow_model_operator.rollout.progress import Action
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.rollout import RolloutTrigger

# By these words a person has it start in spite of all.
OVERRIDES = (Action.RESUME, Action.PROMOTE)


def postponement(
    resource: MLflowModelDeployment,
    previous: Previous,
    target: Revision,
    live: LiveChildren,
    now: float,
) -> Postponement | None:
    """Why the rollout of `target` does not start yet, and until when; None where it may."""
    if not _is_start(resource, previous, target, live):
        return None
    trigger, since = _recorded(resource, target) or (_trigger(resource, previous, target), now)
    waits = [(Reason.FROZEN, frozen_until(windows(resource.spec.rollout), now))]
    if trigger == RolloutTrigger.REGISTRY:
        waits += [
            (Reason.FLAPPING, _flaps_until(resource)),
            (Reason.DEBOUNCING, since + quantity.seconds(resource.spec.rollout.debounce or "0s")),
        ]
    for reason, until in waits:
        if until is not None and until > now:
            return Postponement(target, reason, trigger, since, until)
    return None


def _is_start(
    resource: MLflowModelDeployment, previous: Previous, target: Revision, live: LiveChildren
) -> bool:
    """Whether another revision would now begin to take over from one that serves."""
    stable = previous.stable
    if stable is None or target.name == stable.name or target.name in previous.draining:
        return False
    recorded = recorded_progress(resource)
    begun = {previous.target and previous.target.name, recorded and recorded.target}
    control = requested_control(resource)
    if target.name in begun or (control is not None and control.action in OVERRIDES):
        return False
    return deployment_state(live.deployments.get(stable.name)).answers


def _recorded(resource: MLflowModelDeployment, target: Revision) -> tuple[str, float] | None:
    """The trigger and the beginning of a wait that the status records."""
    entry = resource.status.postponed
    since = parse_time(entry.since) if entry else None
    if entry is None or since is None or entry.revision != target.name:
        return None
    return entry.trigger, since


def _trigger(resource: MLflowModelDeployment, previous: Previous, target: Revision) -> str:
    if resource.status.observed_generation != resource.generation:
        return RolloutTrigger.SPEC
    is_same = previous.stable is not None and previous.stable.model.is_same(target.model)
    return RolloutTrigger.OPERATOR if is_same else RolloutTrigger.REGISTRY


def _flaps_until(resource: MLflowModelDeployment) -> float | None:
    """When fewer rollouts than the limit will have ended within the window."""
    protection = resource.spec.rollout.flap_protection
    times = sorted(
        at
        for entry in resource.status.history
        if entry.trigger == RolloutTrigger.REGISTRY and (at := parse_time(entry.at)) is not None
    )
    if protection.limit == 0 or len(times) < protection.limit:
        return None
    return times[-protection.limit] + quantity.seconds(protection.window_text)
