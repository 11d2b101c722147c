"""The shadow in the status: its condition, and what the pods that send copies count. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mlflow_model_operator.analysis import ShadowReport
from mlflow_model_operator.api.model_version import ResolutionError
from mlflow_model_operator.api.phase import ShadowPhase
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.status import ShadowStatus
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.objects import KubeObject, format_time
from mlflow_model_operator.rollout import Decision, Phase, Shadow
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.condition import Condition, met, unmet
from mlflow_model_operator.status.diagnosis import Failure, diagnose, diagnose_apply_failure
from mlflow_model_operator.status.rollout import past_revision
from mlflow_model_operator.status.snapshot import Snapshot

MAX_REASON = 300  # characters
KUBELET_DELAY = "pods read it within about a minute"
OTHER_VERSION = "move its alias to another version, write another URI, or leave out spec.shadow"
# Copies of which none has reached the shadow: below that many it may be starting again.
MIN_UNREACHABLE = 10


def shadow_ready(snapshot: Snapshot) -> Condition | None:
    """Whether the shadow that the spec names gets copies; None where it names none."""
    spec, decision = snapshot.resource.spec.shadow, snapshot.decision
    if spec is None:
        return None
    resolution = snapshot.shadow_resolution
    if isinstance(resolution, ResolutionError):
        return unmet("ShadowReady", resolution.reason, resolution.message)
    if decision is None:
        text = "There is no stable version yet; see condition ModelResolved"
        return unmet("ShadowReady", Reason.MODEL_UNRESOLVED, text)
    if decision.phase is Phase.STOPPED:
        return unmet("ShadowReady", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    if decision.shadow is None:
        return _without_role(snapshot, decision, spec.uri)
    return _with_pods(snapshot, decision, decision.shadow)


def _without_role(snapshot: Snapshot, decision: Decision, uri: str) -> Condition:
    """Its revision serves, or is about to: it is not compared with itself."""
    resolution = snapshot.shadow_resolution
    model = None if isinstance(resolution, ResolutionError) else resolution
    for role, revision in _lasting_roles(decision):
        if model is not None and model.is_same(revision.model):
            text = f"{uri} resolves to the version of {role}, which receives requests of its own"
            return unmet("ShadowReady", Reason.SAME_VERSION, f"{text}: {OTHER_VERSION}")
    text = f"{uri} resolves to a version that is being rolled out or has just received requests"
    return unmet("ShadowReady", Reason.UPDATE_IN_PROGRESS, text)


def _lasting_roles(decision: Decision) -> Iterator[tuple[str, Revision]]:
    """The revisions that receive requests until the spec or the registry changes."""
    yield "spec.model", decision.stable
    if decision.canary is not None:
        yield "spec.canary", decision.canary
    yield from ((f"variant {name}", revision) for name, revision, *_ in decision.variants)


def _with_pods(snapshot: Snapshot, decision: Decision, shadow: Shadow) -> Condition:
    revision, version = shadow.revision, shadow.revision.model.version
    state = snapshot.state(revision)
    failure = None if state.is_ready else diagnose(snapshot, revision)
    failure = failure or _apply_failure(snapshot, revision)
    if failure is not None:
        return unmet("ShadowReady", failure.reason, failure.message)
    if not state.answers:
        text = f"Version {version} ({revision.name}) is starting"
        return unmet("ShadowReady", Reason.STARTING, text)
    report = _report(snapshot, decision, shadow)
    if report is None or report.senders == 0:
        return unmet("ShadowReady", Reason.SHADOW_PENDING, _pending(decision, report))
    counts = report.counts
    if counts.requests >= MIN_UNREACHABLE and counts.unreachable == counts.requests:
        return unmet("ShadowReady", Reason.SHADOW_UNREACHABLE, _unreachable(decision, shadow))
    text = f"Version {version} receives copies of {shadow.percent} % of the requests"
    return met("ShadowReady", Reason.SHADOWING, text)


def _apply_failure(snapshot: Snapshot, revision: Revision) -> Failure | None:
    """Why the ConfigMap, or an object of the shadow itself, could not be applied."""
    for error in snapshot.apply_errors:
        if error.kind == kinds.CONFIG_MAP.kind or error.name == revision.name:
            return diagnose_apply_failure(error)
    return None


def _pending(decision: Decision, report: ShadowReport | None) -> str:
    text = (
        f"No pod of the stable revision {decision.stable.name} reports yet that it sends copies: "
        f"{KUBELET_DELAY}; pods of an earlier release of the operator send none"
    )
    if report is None or not report.unreachable_reason:
        return text
    return f"{text}. Their metrics can't be read: {report.unreachable_reason}"


def _unreachable(decision: Decision, shadow: Shadow) -> str:
    return (
        f"No copy has reached the pods of {shadow.revision.name}: allow the pods of "
        f"{decision.stable.name} to connect to port 8080 of those in your NetworkPolicies"
    )


def shadow_status(snapshot: Snapshot, decision: Decision) -> KubeObject | None:
    """`status.shadow`; None where no revision gets copies."""
    shadow = decision.shadow
    if shadow is None:
        return None
    report = _report(snapshot, decision, shadow)
    fields = {
        **past_revision(shadow.revision),
        "readyReplicas": snapshot.state(shadow.revision).ready,
        "percent": shadow.percent,
        **(_counted(report) if report is not None else _as_before(snapshot, decision, shadow)),
    }
    fields["phase"] = _phase(snapshot, decision, shadow, fields.get("senders") or 0).value
    return {name: value for name, value in fields.items() if value is not None}


def _phase(snapshot: Snapshot, decision: Decision, shadow: Shadow, senders: int) -> ShadowPhase:
    """Shadowing is what pods have reported; that the operator has told them to, is not enough."""
    if decision.phase is Phase.STOPPED:
        return ShadowPhase.STOPPED
    if snapshot.answers(shadow.revision):
        return ShadowPhase.SHADOWING if senders > 0 else ShadowPhase.STARTING
    has_failed = diagnose(snapshot, shadow.revision) is not None
    return ShadowPhase.FAILED if has_failed else ShadowPhase.STARTING


def _report(snapshot: Snapshot, decision: Decision, shadow: Shadow) -> ShadowReport | None:
    """The last look, where it was at these two revisions."""
    report = snapshot.shadow
    if report is None or not report.is_of(decision.stable.name, shadow.revision.name):
        return None
    return report


def _counted(report: ShadowReport) -> dict[str, Any]:
    counts = report.counts
    return {
        "senders": report.senders,
        "checkedAt": format_time(report.at),
        "unreachablePods": report.unreachable_count,
        "unreachableReason": report.unreachable_reason[:MAX_REASON] or None,
        "requests": round(counts.requests),
        "errors": round(counts.errors),
        "dropped": round(counts.dropped),
        "incomparable": round(counts.incomparable),
        "comparedRows": round(counts.compared_rows),
        "disagreementPercent": _rounded(counts.disagreement, 100),
        "meanAbsoluteError": _rounded(counts.mean_absolute_error),
        "latencyP95Milliseconds": _rounded(counts.latency_p95, 1000),
    }


def _as_before(snapshot: Snapshot, decision: Decision, shadow: Shadow) -> dict[str, Any]:
    """What was seen before a restart of the operator, until pods are read again."""
    status = snapshot.resource.status
    before, stable = status.shadow, status.stable
    is_same = before is not None and before.revision == shadow.revision.name
    if before is None or not is_same or stable is None or stable.revision != decision.stable.name:
        return {}
    return before.model_dump(by_alias=True, exclude_none=True, mode="json", include=_COUNTED)


_COUNTED = set(ShadowStatus.model_fields) - {
    *("revision", "model_version", "model_uri", "requested_uri", "name", "tracking_uri"),
    *("python_version", "model_created", "trigger", "ready_replicas", "phase", "percent"),
}


def _rounded(value: float | None, factor: float = 1) -> float | None:
    """Three digits that matter; None where there is no number to show."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value * factor:.3g}")
