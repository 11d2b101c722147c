"""What to tell as Kubernetes Events: changes, each once, in the words of the conditions."""

from __future__ import annotations

from mlflow_model_operator.domain import KubeObject, Notice
from mlflow_model_operator.observe.situation import Situation

# Reasons that say "not yet" or "as wished", which are no news.
_QUIET = {
    "Starting",
    "NewRevision",
    "Complete",
    "Draining",
    "Stopped",
    "ModelUnresolved",
    "WaitingForGateway",
    "CanaryNotReady",
    "CanaryUnresolved",
    "SameVersion",
}


def notices(old: KubeObject, new: KubeObject, situation: Situation) -> list[Notice]:
    """The events that lie between two statuses; none where nothing of interest has changed."""
    told = [*_takeover(old, new), *_version_found(old, new, situation)]
    return told + _troubles(old, new)


def _takeover(old: KubeObject, new: KubeObject) -> list[Notice]:
    """The traffic has moved, or a first revision answers."""
    before, after = old.get("stable", {}), new.get("stable", {})
    if not after:
        return []
    version = after["modelVersion"]
    if before and before.get("revision") != after["revision"]:
        return [
            Notice("TrafficMoved", f"Version {version} ({after['revision']}) has the traffic now")
        ]
    if _is(new, "Available") and not _is(old, "Available"):
        return [Notice("Serving", f"Version {version} ({after['revision']}) is served")]
    return []


def _version_found(old: KubeObject, new: KubeObject, situation: Situation) -> list[Notice]:
    """The URI has come to mean another version, which is getting ready."""
    decision = situation.decision
    before = old.get("rollout", {}).get("revision")
    if decision is None or before is None or before == new["rollout"]["revision"]:
        return []
    target, stable = decision.target, decision.stable
    if target.name == stable.name:
        return []
    if target.model.uri == stable.model.uri:
        what = f"The spec has changed: {target.name} gets ready beside {stable.name}"
    else:
        what = (
            f"{target.model.requested} means version {target.model.version} now: {target.name} "
            f"gets ready beside version {stable.model.version}"
        )
    return [Notice("NewRevision", what)]


def _troubles(old: KubeObject, new: KubeObject) -> list[Notice]:
    """Each reason that was not there before, once, however many conditions share it."""
    known = {one["reason"] for one in old.get("conditions", ()) if one["status"] == "False"}
    told: dict[str, Notice] = {}
    for one in new["conditions"]:
        fresh = one["status"] == "False" and one["reason"] not in known | _QUIET
        if fresh and one["type"] != "Ready":
            told.setdefault(one["reason"], Notice(one["reason"], one["message"], warning=True))
    return list(told.values())


def _is(status: KubeObject, type_: str) -> bool:
    return any(
        one["type"] == type_ and one["status"] == "True" for one in status.get("conditions", ())
    )
