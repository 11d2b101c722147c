"""A rollout in steps: its progress as the status records it, and what is observed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlflow_model_operator.analysis import Report, ShadowReport
from mlflow_model_operator.api.quantity import format_seconds
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import FailedRevision
from mlflow_model_operator.kube.objects import (
    KubeObject,
    LiveChildren,
    find_condition,
    parse_time,
)
from mlflow_model_operator.plan.analysis import judgement
from mlflow_model_operator.plan.gates import GatesResult, has_gates
from mlflow_model_operator.plan.previous import revision_from_status
from mlflow_model_operator.plan.shadow import sends_copies
from mlflow_model_operator.render import progress_deadline
from mlflow_model_operator.render.metadata import short_hash
from mlflow_model_operator.rollout import (
    Rejected,
    Trial,
    approximate_canary_replicas,
    deployment_state,
    listed_weights,
    programmed_weights,
    selected_revisions,
)
from mlflow_model_operator.rollout.exchange import Exchange, exchange
from mlflow_model_operator.rollout.progress import (
    Action,
    Advance,
    Cause,
    Control,
    Earlier,
    Observation,
    Obstacle,
    Progress,
    Rejection,
    Stage,
    advance,
    is_overdue,
    load_with_copies,
    next_weight,
    parse_control,
    shadow_of,
    weight_of,
)
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.rollout.steps import Schedule, required_replicas, schedule
from mlflow_model_operator.status import Snapshot
from mlflow_model_operator.status.diagnosis import Failure, diagnose

# What only another version, or another pod template, can mend.
FINAL_REASONS = frozenset(
    {Reason.INVALID_MODEL, Reason.MODEL_LOAD_FAILED, Reason.INPUT_EXAMPLE_FAILED}
)
# What may pass by itself while pods start, but not once they had requests, or copies of them, or
# their time is over.
LATE_REASONS = frozenset(
    {
        Reason.ARTIFACT_UNREADABLE,
        Reason.ARTIFACT_UNAUTHORIZED,
        Reason.ARTIFACT_SERVER_UNREACHABLE,
        Reason.ARTIFACT_SERVER_UNTRUSTED,
        Reason.DEPENDENCY_INSTALL_FAILED,
        Reason.OUT_OF_MEMORY,
        Reason.CONTAINER_CRASHED,
        Reason.STARTUP_TIMEOUT,
    }
)


@dataclass(frozen=True)
class RolloutPlan:
    """What a rollout in steps makes of the target."""

    target: Revision  # the stable revision, where the target was rolled back
    trial: Trial | None = None
    rejected: Rejected | None = None
    requeue_after: float | None = None
    # At the end of its steps. Amid an exchange before it has all pods: the others come in the room
    # of the old.
    takes_over: bool = False


class Reports(NamedTuple):
    """What was read of the pods."""

    analysis: Report | None = None  # of the step that the status records
    shadow: ShadowReport | None = None  # of the copies that the stable revision's pods send


def plan_rollout(
    resource: MLflowModelDeployment,
    target: Revision,
    stable: Revision | None,
    snapshot: Snapshot,
    gates: GatesResult,
    reports: Reports,
    earlier: Revision | None = None,
) -> RolloutPlan:
    """How `target` takes over from `stable`. `snapshot` is of what is live, without a decision.

    `earlier` is the revision that an undo leads to, if there is one under way or asked for.
    """
    if stable is None:
        return RolloutPlan(target)
    recorded = progress_of(resource, target)
    observed = _observe(resource, target, stable, snapshot, recorded, gates.obstacle, earlier)
    observed = _judged(observed, resource, reports.analysis, recorded)
    is_shadowing = sends_copies(reports.shadow, stable.name, target.name)
    observed = replace(observed, is_shadowing=is_shadowing)
    result = advance(recorded, observed)
    progress = result.progress
    if progress is not None and progress.earlier is not None and earlier is not None:
        return _plan_undo(resource, target, earlier, result, progress)
    if progress is None or result.takes_over:
        return RolloutPlan(target, takes_over=result.takes_over)
    if not progress.is_running:
        return RolloutPlan(stable, rejected=Rejected(target, progress))
    trial = _trial(resource, result, progress, observed, gates)
    return RolloutPlan(target, trial=trial, requeue_after=result.requeue_after)


def _plan_undo(
    resource: MLflowModelDeployment,
    target: Revision,
    earlier: Revision,
    result: Advance,
    progress: Progress,
) -> RolloutPlan:
    """The earlier revision is the target, and the target of the spec is rolled back."""
    if result.takes_over:
        return RolloutPlan(earlier, rejected=Rejected(target, progress), takes_over=True)
    replicas = _target_replicas(resource, progress, 0, 100)
    trial = Trial(
        progress=progress,
        weight=0,
        replicas=replicas,
        stable_replicas=progress.stable_replicas,
        may_serve=result.may_serve,
        undone=target,
    )
    return RolloutPlan(earlier, trial=trial)


def progress_of(resource: MLflowModelDeployment, target: Revision) -> Progress | None:
    """The recorded progress, as that of `target` where it is the same to a person.

    What a user has rolled back is not tried again because the operator has a new pod template.
    """
    recorded, rollout = recorded_progress(resource), resource.status.rollout
    if recorded is None or recorded.rejection is None or rollout is None:
        return recorded
    is_by_person = recorded.rejection.reason in (Reason.ROLLOUT_ABORTED, Reason.ROLLOUT_UNDONE)
    has_spec_changed = resource.status.observed_generation != resource.generation
    failed = revision_from_status(next(iter(rollout.failed), None))
    if has_spec_changed or not is_by_person or failed is None:
        return recorded
    return replace(recorded, target=target.name) if failed.model.is_same(target.model) else recorded


def recorded_progress(resource: MLflowModelDeployment) -> Progress | None:
    """The progress of a rollout as the status records it; None where there is none."""
    rollout = resource.status.rollout
    if rollout is None or rollout.schedule is None or rollout.revision is None:
        return None
    failed = next(iter(rollout.failed), None)
    rejection = _rejection(failed) if failed else None
    stage = _stage(rollout.phase, rejection)
    return Progress(
        target=failed.revision if failed and rejection else rollout.revision,
        schedule=rollout.schedule,
        since=parse_time(rollout.target_since) or 0.0,
        stable_replicas=rollout.stable_replicas or 1,
        stage=stage,
        step=(rollout.step or 0) - 1,
        step_started_at=parse_time(rollout.step_started_at),
        paused_at=parse_time(rollout.paused_at),
        resumed_at=parse_time(rollout.resumed_at),
        rejection=rejection,
        waiting_for=_cause(rollout.waiting_for),
        earlier=rollout.revision if stage is Stage.UNDOING else None,
        unready_since=parse_time(rollout.unready_since),
    )


def _rejection(entry: FailedRevision) -> Rejection:
    return Rejection(_reason(entry.reason), entry.message, parse_time(entry.at) or 0.0)


def schedule_hash(resource: MLflowModelDeployment) -> str:
    """Another one for another spec.rollout: with it a rollout starts again."""
    rollout = resource.spec.rollout
    fields = {"strategy", "steps", "gates", "surge", "analysis"}
    return short_hash(rollout.model_dump(include=fields, exclude_none=True, mode="json"))


def requested_control(resource: MLflowModelDeployment) -> Control | None:
    """What the annotation asks for, if that is new.

    Where the status records no rollout, nobody knows whether it was acted upon: it is noted only.
    """
    rollout, value = resource.status.rollout, resource.rollout_control
    if rollout is None or not value or value == rollout.last_control:
        return None
    return parse_control(value)


def _observe(
    resource: MLflowModelDeployment,
    target: Revision,
    stable: Revision,
    snapshot: Snapshot,
    recorded: Progress | None,
    obstacle: Obstacle | None,
    earlier: Revision | None,
) -> Observation:
    live = snapshot.live
    hashed = schedule_hash(resource)
    is_same = recorded is not None and (recorded.target, recorded.schedule) == (target.name, hashed)
    begun = recorded if is_same else None
    replicas = _stable_replicas(resource, live, stable, _of_rollout(begun))
    exchanged = exchange(resource.spec.rollout.surge_percent, replicas)
    steps = exchanged.schedule if exchanged else schedule(resource.spec)
    other = earlier or target
    weights = _weights(resource, snapshot, stable, other, weight_of(begun, steps) if begun else 0)
    return Observation(
        now=snapshot.now,
        target=target.name,
        stable=stable.name,
        steps=steps,
        schedule=hashed,
        has_gates=has_gates(resource),
        target_state=deployment_state(live.deployments.get(target.name)),
        stable_answers=snapshot.answers(stable),
        stable_replicas=replicas,
        weights=weights.programmed,
        requested=weights.requested,
        is_stopped=resource.spec.scaling.min_replicas == 0,
        failure=_failure(resource, target, snapshot, begun, steps, exchanged),
        obstacle=obstacle,
        action=_action(resource, earlier),
        earlier=_earlier(live, earlier),
        exchange=exchanged,
        ready_timeout=progress_deadline(resource),
    )


def _judged(
    observed: Observation,
    resource: MLflowModelDeployment,
    report: Report | None,
    recorded: Progress | None,
) -> Observation:
    """The same, with what the analysis says."""
    judged = judgement(resource, report, recorded, observed.stable)
    return replace(
        observed,
        verdict=judged.verdict,
        verdict_message=judged.message,
        judged_step=judged.step,
        judged_at=judged.at,
        on_inconclusive=judged.on_inconclusive,
    )


def _action(resource: MLflowModelDeployment, earlier: Revision | None) -> Action | None:
    """What a person asks for; nothing where that is a version that can't be gone back to."""
    control = requested_control(resource)
    if control is None or (control.version and earlier is None):
        return None
    return control.action


def _earlier(live: LiveChildren, earlier: Revision | None) -> Earlier | None:
    if earlier is None:
        return None
    return Earlier(earlier.name, deployment_state(live.deployments.get(earlier.name)))


class _Weights(NamedTuple):
    """The weights of the data plane, also those of 0."""

    requested: Mapping[str, int]
    programmed: Mapping[str, int] | None  # None: it has not followed yet


def _weights(
    resource: MLflowModelDeployment,
    snapshot: Snapshot,
    stable: Revision,
    target: Revision,
    weight: int,
) -> _Weights:
    """By the route, or without a gateway by the Service, for which `weight` was asked for."""
    live = snapshot.live
    if resource.gateway is None:
        shares = _service_weights(resource, live, stable, target, weight)
        return _Weights(shares, shares or None)
    programmed = programmed_weights(resource, live, snapshot.gateway)
    return _Weights(listed_weights(resource, live), programmed)


def _service_weights(
    resource: MLflowModelDeployment,
    live: LiveChildren,
    stable: Revision,
    target: Revision,
    weight: int,
) -> Mapping[str, int]:
    """The weights that a Service gives; without a gateway, all its pods get the same.

    Where it selects both revisions, the weight is what their numbers of pods make of it. Nothing
    where it selects none, or a third one too.
    """
    selected = selected_revisions(live.services.get(resource.name), live)
    sides = {stable.name, target.name}
    if not selected or not selected <= sides:
        return {}
    if selected == sides:
        return {stable.name: 100 - weight, target.name: weight}
    return {name: 100 if name in selected else 0 for name in sides}


def _stable_replicas(
    resource: MLflowModelDeployment, live: LiveChildren, stable: Revision, begun: Progress | None
) -> int:
    """The pods of the stable revision; under an autoscaler, those of the beginning."""
    scaling = resource.spec.scaling
    if not scaling.is_autoscaled:
        return max(scaling.min_replicas, 1)
    deployment = live.deployments.get(stable.name)
    now = deployment["spec"].get("replicas") if deployment else None
    replicas = begun.stable_replicas if begun else now or 1
    return min(max(replicas, scaling.min_replicas), scaling.effective_max_replicas)


def _of_rollout(begun: Progress | None) -> Progress | None:
    """The same while it is under way: what was rolled back says nothing of the pods of today."""
    return None if begun is None or begun.stage is Stage.FAILED else begun


def _failure(
    resource: MLflowModelDeployment,
    target: Revision,
    snapshot: Snapshot,
    begun: Progress | None,
    steps: Schedule,
    exchanged: Exchange | None,
) -> Rejection | None:
    """Why the target's pods will not get ready; None where they are, or may be."""
    deployment = snapshot.live.deployments.get(target.name)
    if begun is None or snapshot.answers(target):
        return None
    if _is_retried(begun, snapshot.now, resource.spec.server.startup_seconds):
        return None
    deadline = progress_deadline(resource)
    is_due = is_overdue(begun, deadline, snapshot.now)
    failure = diagnose(snapshot, target) if deployment is not None else None
    # The stable revision gave its only pod for this target: whatever is in its way, it goes back.
    if is_due and exchanged is not None and exchanged.has_gap:
        return _rejection_of(failure or _not_ready(target, deadline), snapshot.now)
    if failure is None:
        return None
    has_requests = weight_of(begun, steps) > 0 or shadow_of(begun, steps) > 0
    is_late = is_due or has_requests or _has_deadline_passed(deployment)
    if failure.reason in FINAL_REASONS or (is_late and failure.reason in LATE_REASONS):
        return _rejection_of(failure, snapshot.now)
    return None


def _rejection_of(failure: Failure, now: float) -> Rejection:
    return Rejection(failure.reason, failure.message, now)


def _not_ready(target: Revision, deadline: float) -> Failure:
    """What is said of pods about which nothing else is said."""
    text = f"No pod of {target.name} became ready within {format_seconds(deadline)}"
    return Failure(Reason.STARTUP_TIMEOUT, text)


def _has_deadline_passed(deployment: KubeObject | None) -> bool:
    """By Kubernetes' own word, of which the cache keeps this condition alone."""
    return find_condition(deployment, "Progressing") is not None


def _is_retried(begun: Progress, now: float, startup_seconds: float) -> bool:
    """Whether a person has them tried again a moment ago: pods still show how they failed."""
    if begun.stage is not Stage.PREPARING or begun.resumed_at is None:
        return False
    return now - begun.resumed_at < startup_seconds


def _trial(
    resource: MLflowModelDeployment,
    result: Advance,
    progress: Progress,
    observed: Observation,
    gates: GatesResult,
) -> Trial:
    weight, following = result.weight, next_weight(progress, observed.steps)
    replicas = _target_replicas(resource, progress, weight, following)
    if resource.gateway is not None:
        load = load_with_copies(progress, observed.steps)
        replicas = max(replicas, required_replicas(progress.stable_replicas, load))
    stable_replicas = progress.stable_replicas
    if observed.exchange is not None:
        # A target whose Deployment the API server refuses costs the stable revision no pod either.
        is_missing = not observed.target_state.exists
        is_kept_back = weight == 0 and (gates.obstacle is not None or is_missing)
        replicas = _exchanged_pods(progress, observed.exchange, is_kept_back)
        stable_replicas = observed.exchange.stable_pods(replicas)
    return Trial(
        progress=progress,
        weight=weight,
        replicas=replicas,
        stable_replicas=stable_replicas,
        is_exchange=observed.exchange is not None,
        may_serve=result.may_serve,
        steps=observed.steps,
        obstacle=gates.obstacle,
        notice=gates.notice,
        may_match=_may_match(resource, observed),
        shadow=shadow_of(progress, observed.steps),
    )


def _may_match(resource: MLflowModelDeployment, observed: Observation) -> bool:
    """Whether requests that match may go to the target, once the data plane has their rule."""
    return bool(resource.spec.rollout.match) and observed.obstacle is None


def _exchanged_pods(progress: Progress, exchanged: Exchange, is_kept_back: bool) -> int:
    """The pods of the target: those of the next step, once the present one has its share.

    `is_kept_back`: by a gate, say, which costs the stable revision no pod.
    """
    if is_kept_back:
        return exchanged.first_pods
    if progress.stage is Stage.PROMOTING:
        return exchanged.pods_at(len(exchanged.schedule))
    is_shared = progress.step < 0 or progress.step_started_at is not None
    return exchanged.pods_at(progress.step + 1 if is_shared else progress.step)


def _target_replicas(
    resource: MLflowModelDeployment, progress: Progress, weight: int, following: int
) -> int:
    """The pods that the target must have: for its next step, before that begins.

    Without a gateway each pod has its share as soon as it is ready, so there they come with the
    step.
    """
    stable = progress.stable_replicas
    if resource.gateway is not None:
        return required_replicas(stable, max(weight, following))
    is_next = progress.stage in (Stage.PREPARING, Stage.PROMOTING, Stage.UNDOING)
    if is_next or progress.waiting_for is Cause.PODS:
        weight = max(weight, following)
    return max(
        required_replicas(stable, weight), min(approximate_canary_replicas(stable, weight), stable)
    )


def _stage(phase: str, rejection: Rejection | None) -> Stage:
    """The recorded stage; where another version of the operator wrote it, from the beginning."""
    stage = Stage(phase) if phase in set(Stage) else Stage.PREPARING
    is_turned_back = stage in (Stage.FAILED, Stage.UNDOING)
    if stage is Stage.STABLE or is_turned_back != (rejection is not None):
        return Stage.FAILED if rejection else Stage.PREPARING
    return stage


def _cause(text: str | None) -> Cause | None:
    return Cause(text) if text in set(Cause) else None


def _reason(text: str) -> Reason:
    return Reason(text) if text in set(Reason) else Reason.ROLLOUT_FAILED
