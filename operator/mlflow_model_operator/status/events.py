"""What to tell as Kubernetes Events: changes, each once, in the words of the conditions."""

from __future__ import annotations

from mlflow_model_operator.api.reasons import EventReason, Reason
from mlflow_model_operator.kube.objects import Event, KubeObject
from mlflow_model_operator.status.snapshot import Snapshot

MOST_BYTES = 1024  # of an event's note; the API server refuses longer ones

# Reasons that say "not yet" or "as wished", which are no news.
_QUIET = {
    Reason.STARTING,
    Reason.NEW_REVISION,
    Reason.COMPLETE,
    Reason.DRAINING,
    Reason.STOPPED,
    Reason.MODEL_UNRESOLVED,
    Reason.WAITING_FOR_GATEWAY,
    Reason.CANARY_NOT_READY,
    Reason.CANARY_UNRESOLVED,
    Reason.SAME_VERSION,
}


def events(old: KubeObject, new: KubeObject, snapshot: Snapshot) -> list[Event]:
    """The events that lie between two statuses; none where nothing of interest has changed."""
    return [
        *_takeover(old, new),
        *_version_found(old, new, snapshot),
        *_canary_started(old, new),
        *_drained(old, new),
        *_troubles(old, new),
    ]


def _takeover(old: KubeObject, new: KubeObject) -> list[Event]:
    """The traffic has moved, or a first revision answers."""
    before, after = old.get("stable", {}), new.get("stable", {})
    if not after:
        return []
    what = f"Version {after['modelVersion']} ({after['revision']})"
    if before and before.get("revision") != after["revision"]:
        if after["revision"] in _draining(old):
            return [_event(EventReason.ROLLED_BACK, f"{what} has the traffic again")]
        return [_event(EventReason.TRAFFIC_MOVED, f"{what} has the traffic now")]
    if _is(new, "Available") and not _is(old, "Available"):
        return [_event(EventReason.SERVING, f"{what} is served")]
    return []


def _version_found(old: KubeObject, new: KubeObject, snapshot: Snapshot) -> list[Event]:
    """Another revision is wanted: one that is getting ready, or again the one that serves."""
    decision = snapshot.decision
    before = old.get("rollout", {}).get("revision")
    if decision is None or before is None or before == new["rollout"]["revision"]:
        return []
    target, stable = decision.target, decision.stable
    if target.name == stable.name:
        if old.get("stable", {}).get("revision") != stable.name:
            return []  # it has taken over, which is told already
        what = f"Version {stable.model.version} ({stable.name}) keeps the traffic"
        return [_event(EventReason.ROLLED_BACK, f"{what}: {before} is not wanted any more")]
    if target.model.uri == stable.model.uri:
        what = f"The spec has changed: {target.name} gets ready beside {stable.name}"
    else:
        what = (
            f"{target.model.requested} means version {target.model.version} now: {target.name} "
            f"gets ready beside version {stable.model.version}"
        )
    return [_event(EventReason.NEW_REVISION, what)]


def _canary_started(old: KubeObject, new: KubeObject) -> list[Event]:
    canary = new.get("canary", {}).get("revision")
    had = {share["revision"] for share in old.get("traffic", ())}
    return [
        _event(
            EventReason.CANARY_STARTED,
            f"Version {share['modelVersion']} ({canary}) gets {share['weight']} % of the requests",
        )
        for share in new.get("traffic", ())
        if share["revision"] == canary and canary not in had
    ]


def _drained(old: KubeObject, new: KubeObject) -> list[Event]:
    serving = {share["revision"] for share in new.get("traffic", ())}
    return [
        _event(EventReason.DRAINED, f"{name} has finished its last requests and goes")
        for name in _draining(old)
        if name not in serving and name not in _draining(new)
    ]


def _troubles(old: KubeObject, new: KubeObject) -> list[Event]:
    """Each reason that was not there before, once, however many conditions share it."""
    known = {one["reason"] for one in old.get("conditions", ()) if one["status"] == "False"}
    told: dict[str, Event] = {}
    for one in new["conditions"]:
        fresh = one["status"] == "False" and one["reason"] not in known | _QUIET
        if fresh and one["type"] != "Ready":
            told.setdefault(one["reason"], _event(one["reason"], one["message"], warning=True))
    return list(told.values())


def _draining(status: KubeObject) -> list[str]:
    return [entry["revision"] for entry in status.get("draining", ())]


def _is(status: KubeObject, type_: str) -> bool:
    return any(
        one["type"] == type_ and one["status"] == "True" for one in status.get("conditions", ())
    )


def _event(reason: str, message: str, *, warning: bool = False) -> Event:
    cut = message.encode()[:MOST_BYTES].decode(errors="ignore")
    return Event(str(reason), cut, warning=warning)
