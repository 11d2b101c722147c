"""The whole status of a resource, and the smallest patch that makes it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from mlflow_model_operator.api import names
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.kube.objects import (
    KubeObject,
    format_time,
    generation_of,
    is_deleting,
    status_of,
)
from mlflow_model_operator.rollout import Decision, Phase, accepted_revisions
from mlflow_model_operator.rollout.matches import matched_revisions
from mlflow_model_operator.rollout.route_features import rules_hash
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.rollout.variants import Variant
from mlflow_model_operator.status.condition import Condition, met, unmet
from mlflow_model_operator.status.conditions import conditions
from mlflow_model_operator.status.registry import registry_status
from mlflow_model_operator.status.rollout import (
    canary_trigger,
    history,
    past_revision,
    postponed,
    rollout_status,
    variant_trigger,
)
from mlflow_model_operator.status.shadow import shadow_status
from mlflow_model_operator.status.snapshot import Snapshot

_SUMMARY = ("Ready", "Reconciling", "Stalled")
MAX_REASON_LENGTH, MAX_REFUSAL_LENGTH = 100, 500  # characters of what a gateway says
MAX_MESSAGE_LENGTH = 2000  # characters; Kubernetes allows 32768, people read less


def status(snapshot: Snapshot) -> KubeObject:
    """The status as it must be now; a condition that has not changed keeps its time."""
    resource, decision = snapshot.resource, snapshot.decision
    current = conditions(snapshot)
    new: KubeObject = {
        "observedGeneration": resource.generation,
        "conditions": [_condition(condition, snapshot) for condition in current],
        "selector": f"{names.DEPLOYMENT}={resource.name}",
        "replicas": 0,
    }
    if url := _url(snapshot):
        new["url"] = url
    if decision is not None:
        new |= _revisions(snapshot, decision)
        if snapshot.refused:
            new["refusedRules"] = _refused_rules(snapshot)
        # As requested, not as counted: pods that come up one by one would be a status write each.
        new["replicas"] = sum(
            deployment["spec"].get("replicas", 1)
            for deployment in snapshot.live.deployments.values()
            if not is_deleting(deployment)
        )
        message = next(c.message for c in current if c.type == "Progressing")
        phase = _phase(decision, snapshot).value
        new["rollout"] = rollout_status(snapshot, decision, phase, message[:MAX_MESSAGE_LENGTH])
        new["history"] = history(snapshot, decision)
        if waiting := postponed(snapshot):
            new["postponed"] = waiting
        if shadow := shadow_status(snapshot, decision):
            new["shadow"] = shadow
        if registry := registry_status(snapshot, decision):
            new["registry"] = registry
    return new


def _refused_rules(snapshot: Snapshot) -> list[KubeObject]:
    """What the route leaves out, for the next reconcile to do so too."""
    current = rules_hash(snapshot.resource)
    return [
        {
            "rules": feature.value,
            "hash": current,
            "reason": refusal.reason[:MAX_REASON_LENGTH],
            "message": single_line(refusal.message)[:MAX_REFUSAL_LENGTH],
        }
        for feature, refusal in snapshot.refused.items()
    ]


def _revisions(snapshot: Snapshot, decision: Decision) -> KubeObject:
    """The revisions in their roles, their traffic, and those that are draining."""
    roles = {"stable": decision.stable, "canary": decision.canary}
    if decision.target.name != decision.stable.name:
        roles["target"] = decision.target
    present = {role: revision for role, revision in roles.items() if revision}
    versions = {revision.name: revision.model.version for revision in decision.revisions}
    variants = {entry.revision.name: entry.name for entry in decision.variants}
    new: KubeObject = {role: _revision(revision, snapshot) for role, revision in present.items()}
    if decision.canary:
        new["canary"]["trigger"] = str(canary_trigger(snapshot.resource, decision.canary))
    if decision.variants:
        new["variants"] = [_variant(entry, snapshot) for entry in decision.variants]
    new["traffic"] = [
        {"revision": name, "modelVersion": versions[name]}
        | ({"variant": variants[name]} if name in variants else {})
        | {"weight": weight}
        for name, weight in decision.traffic
    ]
    matched = matched_revisions(snapshot.resource, decision, snapshot.live, snapshot.gateway)
    if matched:
        new["matched"] = matched
    if decision.draining:
        new["draining"] = [
            {"revision": name, "since": format_time(since)}
            for name, since in decision.draining.items()
        ]
    routed = accepted_revisions(snapshot.resource, snapshot.live, snapshot.gateway)
    if routed is not None:
        new["routedRevisions"] = routed
    return new


def invalid_status(raw: KubeObject, message: str, now: float) -> KubeObject:
    """The status of a resource that the operator can't parse; earlier decisions stay."""
    old = status_of(raw)
    generation = generation_of(raw)
    before = old.get("conditions", ())
    others = [entry for entry in before if entry.get("type") not in _SUMMARY]
    invalid = [
        _dated(condition, generation, before, now)
        for condition in (
            unmet("Ready", Reason.INVALID_SPEC, message),
            met("Stalled", Reason.INVALID_SPEC, message),
        )
    ]
    return {**old, "observedGeneration": generation, "conditions": [*invalid, *others]}


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
    before = [old.dump() for old in resource.status.conditions]
    return _dated(condition, resource.generation, before, snapshot.now)


def _dated(
    condition: Condition, generation: int, before: Iterable[Mapping[str, Any]], now: float
) -> KubeObject:
    """The condition as the status holds it, with the time of its last transition."""
    unchanged_since = [
        old.get("lastTransitionTime")
        for old in before
        if old.get("type") == condition.type and _is_same_state(old, condition, generation)
    ]
    return {
        "type": condition.type,
        "status": condition.status.value,
        "reason": str(condition.reason),
        "message": condition.message[:MAX_MESSAGE_LENGTH],
        "lastTransitionTime": next(filter(None, unchanged_since), None) or format_time(now),
        "observedGeneration": generation,
    }


def _is_same_state(old: Mapping[str, Any], new: Condition, generation: int) -> bool:
    """Whether a condition keeps its time.

    Reconciling has that since when this spec has waited for the same: see `summary.GRACE_PERIOD`.
    """
    if new.type == "Reconciling":
        return (old.get("reason"), old.get("observedGeneration")) == (str(new.reason), generation)
    return old.get("status") == new.status.value


def _revision(revision: Revision, snapshot: Snapshot) -> KubeObject:
    return {**past_revision(revision), "readyReplicas": snapshot.state(revision).ready}


def _variant(variant: Variant, snapshot: Snapshot) -> KubeObject:
    trigger = variant_trigger(snapshot.resource, variant)
    name = {"variant": variant.name, "trigger": str(trigger)}
    return {**_revision(variant.revision, snapshot), **name}


def _phase(decision: Decision, snapshot: Snapshot) -> Phase:
    """The phase by the objects as they are now: the decision preceded them.

    Else each first start would write Starting, then Stable with nothing ready, and then Ready.
    """
    if decision.phase == Phase.DRAINING and snapshot.lingering:
        return Phase.MOVING
    if decision.phase not in (Phase.STARTING, Phase.STABLE):
        return decision.phase
    return Phase.STABLE if snapshot.state(decision.stable).ready > 0 else Phase.STARTING


def _url(snapshot: Snapshot) -> str | None:
    """Where requests go: through the gateway by its host name, or to the Service.

    A gateway without a host name of ours may have any address; the Service always answers.
    """
    resource = snapshot.resource
    routing = resource.spec.routing
    hostname = next((name for name in routing.hostnames if not name.startswith("*")), None)
    if not routing.gateway or not hostname:
        return f"http://{resource.name}.{resource.namespace}.svc/invocations"
    path = f"{routing.path.rstrip('/')}/invocations"
    if snapshot.gateway is None:
        return _url_so_far(snapshot, hostname, path)
    address = snapshot.gateway.url(hostname)
    return f"{address}{path}" if address else None


def _url_so_far(snapshot: Snapshot, hostname: str, path: str) -> str | None:
    """The URL as it was when the Gateway was looked up last, before the operator's restart."""
    url = urlsplit(snapshot.resource.status.url or "")
    is_same = (url.hostname, url.path) == (hostname, path)
    return snapshot.resource.status.url if is_same else None
