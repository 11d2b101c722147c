"""What an analysis has measured, in the status. Pure."""

from __future__ import annotations

from typing import Any

from mlflow_model_operator.analysis import MetricReport, Report
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.kube.objects import KubeObject, format_time
from mlflow_model_operator.rollout import Decision
from mlflow_model_operator.rollout.progress import Progress
from mlflow_model_operator.status.snapshot import Snapshot

MAX_METRICS = 32
MAX_NAME, MAX_MESSAGE = 100, 300  # characters of one metric


def analysis_fields(snapshot: Snapshot, decision: Decision) -> dict[str, Any]:
    """`status.rollout.analysis` and `observedWeight`: those of the last look at this rollout.

    A version that was rolled back, or takes over, retains them; the next one does not inherit any.
    """
    progress = _progress(decision)
    if progress is None or snapshot.resource.spec.rollout.analysis is None:
        return {}
    report = snapshot.analysis
    if report is not None and report.step.target == progress.target:
        return {"analysis": _dump(snapshot, report), "observedWeight": report.observed_weight}
    before = snapshot.resource.status.rollout
    is_same = before is not None and (before.revision, before.schedule) == (
        progress.target,
        progress.schedule,
    )
    if before is None or before.analysis is None or not is_same or progress.step < 0:
        return {}
    return {"analysis": before.analysis.dump(), "observedWeight": before.observed_weight}


def _progress(decision: Decision) -> Progress | None:
    if decision.trial is not None:
        return decision.trial.progress
    return decision.rejected.progress if decision.rejected is not None else None


def _dump(snapshot: Snapshot, report: Report) -> KubeObject:
    analysis = snapshot.resource.spec.rollout.analysis
    fields = {
        "step": report.step.step + 1,
        "stepStartedAt": format_time(report.step.since),
        "windowStartedAt": format_time(report.started_at),
        "checkedAt": format_time(report.at),
        "verdict": str(report.verdict),
        "message": report.message,
        "dryRun": True if analysis is not None and analysis.dry_run else None,
        "stableRequests": report.stable_requests,
        "targetRequests": report.target_requests,
        "pods": report.pods,
        "unreachablePods": report.unreachable_count,
        "unreachableReason": report.unreachable_reason or None,
        "counterResets": report.resets,
        "tests": report.tests,
        "failures": report.failures,
        "metrics": [_metric(metric) for metric in report.metrics[:MAX_METRICS]],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _metric(metric: MetricReport) -> KubeObject:
    fields = {
        "name": single_line(metric.name, MAX_NAME),
        "verdict": str(metric.verdict),
        "stable": metric.stable or None,
        "target": metric.target or None,
        "message": single_line(metric.message, MAX_MESSAGE),
    }
    return {name: value for name, value in fields.items() if value is not None}
