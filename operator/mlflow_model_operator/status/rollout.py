"""The rollout in the status: its phase and progress, and the history of those before. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import PastRevision, RevisionStatus
from mlflow_model_operator.kube.objects import KubeObject, format_time
from mlflow_model_operator.rollout import Decision, programmed_weights
from mlflow_model_operator.rollout.progress import Progress
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.rollout.variants import Variant
from mlflow_model_operator.status.analysis import analysis_fields
from mlflow_model_operator.status.snapshot import Snapshot

MAX_HISTORY = 10


class RolloutTrigger(StrEnum):
    """Why a revision is rolled out."""

    START = "Start"  # the first one
    REGISTRY = "Registry"  # the URI resolves to another version
    SPEC = "Spec"
    OPERATOR = "Operator"  # a new pod template of the operator
    RECOVERY = "Recovery"  # it answers where the stable revision does not
    UNDO = "Undo"  # a person goes back to it


class RolloutOutcome(StrEnum):
    """What became of a rollout."""

    PROMOTED = "Promoted"
    FAILED = "Failed"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"  # another one was to be rolled out before it was


def rollout_status(
    snapshot: Snapshot, decision: Decision, phase: str, message: str
) -> dict[str, Any]:
    """`status.rollout`: all that the next reconcile needs to go on from here."""
    before = snapshot.resource.status.rollout
    revision = current_target(decision).name
    is_unchanged = before is not None and (before.phase, before.revision) == (phase, revision)
    started_at = before.started_at if is_unchanged and before else None
    fields = {
        "phase": phase,
        "revision": revision,
        "trigger": str(trigger(snapshot, decision)),
        "message": message,
        "startedAt": started_at or format_time(snapshot.now),
        "lastControl": snapshot.resource.rollout_control or None,
        **_progress_fields(decision),
        "acceptedWeight": _accepted_weight(snapshot, decision),
        **analysis_fields(snapshot, decision),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _accepted_weight(snapshot: Snapshot, decision: Decision) -> int | None:
    """The target's share as the gateway has accepted it; None while it has not, and without one."""
    resource = snapshot.resource
    if decision.trial is None or resource.gateway is None:
        return None
    programmed = programmed_weights(resource, snapshot.live, snapshot.gateway)
    return None if programmed is None else programmed.get(decision.target.name)


def current_target(decision: Decision) -> Revision:
    """The revision that is rolled out, or was rolled back."""
    return decision.rejected.revision if decision.rejected else decision.target


def history(snapshot: Snapshot, decision: Decision) -> list[KubeObject]:
    """The last rollouts, with those that have ended now."""
    old = [entry.dump() for entry in snapshot.resource.status.history]
    new = [{**entry, "at": format_time(snapshot.now)} for entry in _ended(snapshot, decision)]
    return [*old, *new][-MAX_HISTORY:]


def postponed(snapshot: Snapshot) -> KubeObject | None:
    """`status.postponed`: the rollout that waits for its time to start."""
    entry = snapshot.postponed
    if entry is None:
        return None
    return {
        "revision": entry.revision.name,
        "modelVersion": entry.revision.model.version,
        "trigger": str(entry.trigger),
        "reason": str(entry.reason),
        "since": format_time(entry.since),
        "until": format_time(entry.until),
    }


def _progress_fields(decision: Decision) -> dict[str, Any]:
    if decision.trial is not None:
        trial = decision.trial
        steps = {"steps": len(trial.steps), "weight": trial.weight}
        steps |= {"shadowPercent": trial.shadow} if trial.shadow else {}
        undone = {"failed": [_failed(trial.undone, trial.progress)]} if trial.undone else {}
        return _recorded(trial.progress) | steps | undone
    if decision.rejected is not None:
        rejected = decision.rejected
        return _recorded(rejected.progress) | {
            "failed": [_failed(rejected.revision, rejected.progress)]
        }
    return {}


def _recorded(progress: Progress) -> dict[str, Any]:
    return {
        "schedule": progress.schedule,
        "targetSince": format_time(progress.since),
        "stableReplicas": progress.stable_replicas,
        "step": progress.step + 1,
        "stepStartedAt": _optional_time(progress.step_started_at),
        "pausedAt": _optional_time(progress.paused_at),
        "resumedAt": _optional_time(progress.resumed_at),
        "unreadySince": _optional_time(progress.unready_since),
        "waitingFor": progress.waiting_for.value if progress.waiting_for else None,
    }


def _failed(revision: Revision, progress: Progress) -> KubeObject:
    assert progress.rejection is not None
    return {
        **past_revision(revision),
        "schedule": progress.schedule,
        "reason": str(progress.rejection.reason),
        "message": progress.rejection.message[:1000],
        "at": format_time(progress.rejection.at),
    }


def _optional_time(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)


def trigger(snapshot: Snapshot, decision: Decision) -> str:
    """Why the present target is rolled out: as it was recorded when that began."""
    resource, target = snapshot.resource, current_target(decision)
    before, stable = resource.status.rollout, resource.status.stable
    is_new_spec = resource.status.observed_generation != resource.generation
    if stable is None:
        return RolloutTrigger.START
    if _is_undo(decision):
        return RolloutTrigger.UNDO
    if is_new_spec and _is_requested_otherwise(resource.status.target, target):
        return RolloutTrigger.SPEC
    if before is not None and before.revision == target.name:
        return before.trigger or RolloutTrigger.SPEC
    postponed = resource.status.postponed
    if postponed is not None and postponed.revision == target.name and postponed.trigger:
        return postponed.trigger
    if is_new_spec:
        return RolloutTrigger.SPEC
    model = target.model
    is_same_model = (stable.model_uri, stable.model_created) == (model.uri, model.created)
    return RolloutTrigger.OPERATOR if is_same_model else RolloutTrigger.REGISTRY


def canary_trigger(resource: MLflowModelDeployment, canary: Revision) -> str:
    """Why the present canary was started: as it was recorded when that began."""
    return _trigger_of_other(resource, resource.status.canary, canary)


def variant_trigger(resource: MLflowModelDeployment, variant: Variant) -> str:
    """Why the present revision of a variant was started."""
    entries = (entry for entry in resource.status.variants if entry.variant == variant.name)
    return _trigger_of_other(resource, next(entries, None), variant.revision)


def _trigger_of_other(
    resource: MLflowModelDeployment, before: RevisionStatus | None, canary: Revision
) -> str:
    is_new_spec = resource.status.observed_generation != resource.generation
    if before is None or (is_new_spec and before.requested_uri != canary.model.requested):
        return RolloutTrigger.SPEC
    if before.revision == canary.name:
        return before.trigger or RolloutTrigger.SPEC
    if is_new_spec:
        return RolloutTrigger.SPEC
    is_same_model = (before.model_uri, before.model_created) == (
        canary.model.uri,
        canary.model.created,
    )
    return RolloutTrigger.OPERATOR if is_same_model else RolloutTrigger.REGISTRY


def _is_requested_otherwise(before: RevisionStatus | None, target: Revision) -> bool:
    """Whether the spec asks for the same version by another URI than before."""
    return before is not None and before.requested_uri != target.model.requested


def _is_undo(decision: Decision) -> bool:
    """Whether a person goes back, or has gone back, to an earlier revision."""
    progress = _progress(decision)
    if progress is None or progress.rejection is None:
        return False
    return progress.earlier is not None or progress.rejection.reason is Reason.ROLLOUT_UNDONE


def _progress(decision: Decision) -> Progress | None:
    side = decision.trial or decision.rejected
    return side.progress if side else None


def _ended(snapshot: Snapshot, decision: Decision) -> Iterator[KubeObject]:
    """The rollouts that end with this decision."""
    status = snapshot.resource.status
    before, target = status.rollout, current_target(decision)
    before_trigger = before.trigger if before and before.trigger else RolloutTrigger.SPEC
    dropped = status.target
    if dropped and dropped.revision not in (decision.stable.name, target.name):
        revision = PastRevision.model_validate(dropped.dump())
        yield _entry(revision.dump(), before_trigger, _outcome_of_dropped(snapshot, target))
    rejected = decision.rejected
    if rejected is not None and not (before and before.failed) and not _is_undo(decision):
        yield _entry(past_revision(target), before_trigger, outcome_of(rejected.progress))
    stable = decision.stable
    if status.stable is None or status.stable.revision != stable.name:
        why = _why_stable(snapshot, decision)
        yield _entry(past_revision(stable), why, RolloutOutcome.PROMOTED)


def _outcome_of_dropped(snapshot: Snapshot, target: Revision) -> RolloutOutcome:
    """An undo is aborted where what it has rolled back is the target again."""
    before = snapshot.resource.status.rollout
    undone = before.failed if before else []
    is_aborted = any(entry.revision == target.name for entry in undone)
    return RolloutOutcome.ABORTED if is_aborted else RolloutOutcome.SUPERSEDED


def _why_stable(snapshot: Snapshot, decision: Decision) -> str:
    """Why another revision is the stable one."""
    progress, stable = _progress(decision), decision.stable.name
    if progress is not None and progress.earlier == stable:
        return RolloutTrigger.UNDO
    is_target = stable == current_target(decision).name
    return trigger(snapshot, decision) if is_target else RolloutTrigger.RECOVERY


def outcome_of(progress: Progress) -> RolloutOutcome:
    """What became of a rollout that was rolled back."""
    rejection = progress.rejection
    is_aborted = rejection is not None and rejection.reason is Reason.ROLLOUT_ABORTED
    return RolloutOutcome.ABORTED if is_aborted else RolloutOutcome.FAILED


def _entry(revision: KubeObject, trigger: str, outcome: RolloutOutcome) -> KubeObject:
    return {**revision, "trigger": str(trigger), "verdict": outcome.value}


def past_revision(revision: Revision) -> KubeObject:
    """What it takes to serve its model version again, when its pods are gone."""
    model = revision.model
    fields = {
        "revision": revision.name,
        "modelVersion": model.version,
        "modelUri": model.uri,
        "requestedUri": model.requested,
        "name": model.name,
        "trackingUri": model.tracking_uri,
        "pythonVersion": model.python_version,
        "modelCreated": model.created,
    }
    return {name: value for name, value in fields.items() if value is not None}
