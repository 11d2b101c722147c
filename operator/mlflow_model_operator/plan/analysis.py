"""What an analysis needs to know of a rollout, and what it says of it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlflow_model_operator.analysis import Measurement, Report, StepId
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import parse_time
from mlflow_model_operator.rollout import Decision
from mlflow_model_operator.rollout.progress import (
    Obstacle,
    OnInconclusive,
    Progress,
    Stage,
    Verdict,
)

_MEASURED = (Stage.PROGRESSING, Stage.PAUSED)


@dataclass(frozen=True)
class Judgement:
    """What an analysis says of the step that a rollout is at."""

    verdict: Verdict | None = None  # None: the steps go on by themselves
    message: str = ""
    step: int | None = None
    at: float | None = None
    on_inconclusive: OnInconclusive = OnInconclusive.WAIT


def measurement(resource: MLflowModelDeployment, decision: Decision | None) -> Measurement | None:
    """What is to be measured now; None where no rollout with an analysis holds a step."""
    analysis, trial = resource.spec.rollout.analysis, decision.trial if decision else None
    if analysis is None or trial is None or decision is None:
        return None
    if trial.weight == 0 and trial.shadow == 0:
        return None
    step = step_id(trial.progress, decision.target.name, decision.stable.name)
    if trial.progress.stage not in _MEASURED or step is None:
        return None
    hold = trial.steps[step.step].hold
    recorded = resource.status.rollout.analysis if resource.status.rollout else None
    is_same = recorded is not None and _is_recorded(recorded.step, recorded.step_started_at, step)
    return Measurement(
        key=resource.key,
        uid=resource.uid,
        step=step,
        weight=trial.weight,
        steps=len(trial.steps),
        analysis=analysis,
        until=None if math.isinf(hold) else step.since + hold,
        tests=recorded.tests if recorded and is_same else 0,
        failures=recorded.failures if recorded and is_same else 0,
        is_shadow=trial.shadow > 0,
    )


def step_id(progress: Progress, target: str, stable: str) -> StepId | None:
    """The step that a rollout is at; None before the data plane has its weights."""
    if progress.step < 0 or progress.step_started_at is None:
        return None
    return StepId(target, stable, progress.step, int(progress.step_started_at))


def judgement(
    resource: MLflowModelDeployment, report: Report | None, progress: Progress | None, stable: str
) -> Judgement:
    """What `report` says of the recorded progress: nothing where it is of another step, or lost."""
    analysis = resource.spec.rollout.analysis
    if analysis is None or analysis.dry_run:
        return Judgement()
    on_inconclusive = OnInconclusive(analysis.on_inconclusive)
    step = step_id(progress, progress.target, stable) if progress else None
    if report is None or step is None or report.step != step:
        return Judgement(Verdict.INCONCLUSIVE, step=-1, on_inconclusive=on_inconclusive)
    return Judgement(report.verdict, report.message, step.step, report.at, on_inconclusive)


def query_obstacle(resource: MLflowModelDeployment, denial: str | None) -> Obstacle | None:
    """That the administrator does not allow a Prometheus that the analysis asks."""
    if denial is None or resource.spec.rollout.analysis is None:
        return None
    return Obstacle(Reason.POLICY_DENIED, denial)


def _is_recorded(step: int, started_at: str | None, now: StepId) -> bool:
    return (step - 1, int(parse_time(started_at) or 0.0)) == (now.step, now.since)
