"""The whole status of a resource, and the smallest patch that makes it so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.rollout import Decision, Phase
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.conditions import Condition, ConditionStatus, conditions
from mlflow_model_operator.status.snapshot import Snapshot

MOST_MESSAGE = 2000  # characters; Kubernetes allows 32768, people read less


def status(snapshot: Snapshot) -> KubeObject:
    """The status as it must be now. Times of what has not changed are kept from the old status."""
    resource = snapshot.resource
    found = conditions(snapshot)
    new: KubeObject = {
        "observedGeneration": resource.generation,
        "conditions": [_condition(one, snapshot) for one in found],
        "url": _url(snapshot),
        "selector": f"{names.DEPLOYMENT}={resource.name}",
        "replicas": 0,
    }
    decision = snapshot.decision
    if decision is None:
        return new
    versions = {
        revision.name: revision.model.version
        for revision in (decision.target, decision.stable, decision.canary)
        if revision
    }
    # As asked for, not as counted: pods that come up one by one would be a status write each.
    new["replicas"] = sum(
        deployment["spec"].get("replicas", 1)
        for deployment in snapshot.live.deployments.values()
        if "deletionTimestamp" not in deployment["metadata"]
    )
    new["stable"] = _revision(decision.stable, snapshot)
    if decision.target.name != decision.stable.name:
        new["target"] = _revision(decision.target, snapshot)
    if decision.canary:
        new["canary"] = _revision(decision.canary, snapshot)
    new["traffic"] = [
        {"revision": name, "modelVersion": versions[name], "weight": weight}
        for name, weight in decision.traffic
    ]
    new["rollout"] = _rollout(decision, snapshot, found)
    if decision.draining:
        new["draining"] = [
            {"revision": name, "since": _time(since)} for name, since in decision.draining.items()
        ]
    return new


def invalid_status(raw: KubeObject, message: str, now: float) -> KubeObject:
    """The status of a resource that the operator can't read; what was decided before stays."""
    old = raw.get("status", {})
    generation = raw["metadata"].get("generation", 0)
    condition = Condition("Ready", ConditionStatus.FALSE, Reason.INVALID_SPEC, message)
    others = [one for one in old.get("conditions", ()) if one.get("type") != "Ready"]
    stated = _stated(condition, generation, old.get("conditions", ()), now)
    return {**old, "observedGeneration": generation, "conditions": [stated, *others]}


def status_patch(old: KubeObject, new: KubeObject) -> KubeObject | None:
    """The JSON merge patch from `old` to `new`; None where they are the same.

    Lists are replaced as a whole, fields that are gone are set to null (RFC 7396).
    """
    patch: KubeObject = {}
    for name in sorted(set(old) | set(new)):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            patch[name] = status_patch(before, after)
        else:
            patch[name] = after
    return patch or None


def _condition(condition: Condition, snapshot: Snapshot) -> KubeObject:
    resource = snapshot.resource
    before = [
        {
            "type": old.type,
            "status": old.status,
            "lastTransitionTime": old.last_transition_time,
        }
        for old in resource.status.conditions
    ]
    return _stated(condition, resource.generation, before, snapshot.now)


def _stated(condition: Condition, generation: int, before: Any, now: float) -> KubeObject:
    same = [
        old.get("lastTransitionTime")
        for old in before
        if old.get("type") == condition.type and old.get("status") == condition.status.value
    ]
    return {
        "type": condition.type,
        "status": condition.status.value,
        "reason": str(condition.reason),
        "message": condition.message[:MOST_MESSAGE],
        "lastTransitionTime": (same[0] if same else None) or _time(now),
        "observedGeneration": generation,
    }


def _revision(revision: Revision, snapshot: Snapshot) -> KubeObject:
    model = revision.model
    fields: dict[str, Any] = {
        "revision": revision.name,
        "modelVersion": model.version,
        "modelUri": model.uri,
        "requestedUri": model.requested,
        "name": model.name,
        "trackingUri": model.tracking_uri,
        "pythonVersion": model.python_version,
        "readyReplicas": snapshot.state(revision).ready,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rollout(decision: Decision, snapshot: Snapshot, found: list[Condition]) -> KubeObject:
    before = snapshot.resource.status.rollout
    phase = _phase(decision, snapshot)
    same = before is not None and (before.phase, before.revision) == (
        phase.value,
        decision.target.name,
    )
    message = next(one.message for one in found if one.type == "Progressing")
    return {
        "phase": phase.value,
        "revision": decision.target.name,
        "message": message[:MOST_MESSAGE],
        "startedAt": (before.started_at if same and before else None) or _time(snapshot.now),
    }


def _phase(decision: Decision, snapshot: Snapshot) -> Phase:
    """Starting or Stable by what is seen now: the decision was made before its objects were.

    Else each first start would write Starting, then Stable with nothing ready, and then Ready.
    """
    if decision.phase not in (Phase.STARTING, Phase.STABLE):
        return decision.phase
    return Phase.STABLE if snapshot.state(decision.stable).ready > 0 else Phase.STARTING


def _url(snapshot: Snapshot) -> str:
    """Where requests go: through the gateway by its host name, or to the Service.

    A gateway without a host name of ours may have any address; the Service answers in any case.
    """
    resource = snapshot.resource
    routing = resource.spec.routing
    hostname = next((name for name in routing.hostnames if not name.startswith("*")), None)
    if routing.gateway and hostname:
        return f"http://{hostname}{routing.path.rstrip('/')}/invocations"
    return f"http://{resource.name}.{resource.namespace}.svc/invocations"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
