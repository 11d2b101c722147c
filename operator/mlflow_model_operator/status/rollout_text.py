"""A rollout in steps, in words."""

from __future__ import annotations

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import format_time
from mlflow_model_operator.rollout import Decision, Trial
from mlflow_model_operator.rollout.progress import Action, Cause

_WAITS = {
    Cause.ROUTE: "waiting for the gateway to accept the route with these weights; see condition "
    "RouteAccepted",
    Cause.STABLE: "waiting for the stable version to have a ready pod; see condition Available",
    Cause.RESUME: "paused",
    Cause.SHADOW: "waiting for a pod of the stable version to report that it sends copies, which "
    "takes about a minute",
    Cause.ANALYSIS: "the hold is over, but the analysis has no verdict yet",
}


def rollout_message(decision: Decision, trial: Trial) -> str:
    """The step that a rollout has reached, and what it waits for."""
    progress, version = trial.progress, decision.target.model.version
    if trial.undone is not None:
        text = f"Going back to version {version} from version {decision.stable.model.version}"
    elif progress.step < 0:
        text = f"Version {version} gets no requests yet"
    else:
        copies = f"copies of {trial.shadow} % of the requests, and none of its own"
        gets = copies if trial.shadow else f"{trial.weight} % of the requests"
        share = f"version {version} gets {gets}"
        text = f"Step {progress.step + 1} of {len(trial.steps)}: {share}"
    wait = _wait(trial)
    return f"{text}; {wait}" if wait else text


def control_command(resource: MLflowModelDeployment, action: Action) -> str:
    """The command by which a person controls the rollout."""
    return (
        f"kubectl annotate mmd {resource.name} --namespace {resource.namespace} --overwrite "
        f'{names.ROLLOUT}="{action}/$(date +%s)"'
    )


def _wait(trial: Trial) -> str | None:
    progress = trial.progress
    if progress.waiting_for is Cause.HOLD and progress.step_started_at is not None:
        end = progress.step_started_at + trial.steps[progress.step].hold
        return f"held until {format_time(end)}"
    return _WAITS.get(progress.waiting_for) if progress.waiting_for else None
