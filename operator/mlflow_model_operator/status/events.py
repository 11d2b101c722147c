"""What to record as Kubernetes Events: changes, each once, in the words of the conditions."""

from __future__ import annotations

from mlflow_model_operator.api.reasons import EventReason, Reason
from mlflow_model_operator.kube.objects import Event, KubeObject, condition_in, is_true
from mlflow_model_operator.rollout import Phase
from mlflow_model_operator.status.snapshot import Snapshot

MAX_NOTE_BYTES = 1024  # of an event; the API server refuses longer ones

_ROLES = ("stable", "target", "canary", "shadow")
# Reasons that say "not yet" or "as requested", which are not worth an event.
_QUIET = {
    Reason.STARTING,
    Reason.NEW_REVISION,
    Reason.COMPLETE,
    Reason.MOVING_TRAFFIC,
    Reason.DRAINING,
    Reason.STOPPED,
    Reason.MODEL_UNRESOLVED,
    Reason.WAITING_FOR_GATEWAY,
    Reason.CANARY_NOT_READY,
    Reason.CANARY_UNRESOLVED,
    Reason.UPDATE_IN_PROGRESS,
    Reason.SAME_VERSION,
    Reason.SHADOW_PENDING,
    Reason.TAGS_MISSING,
    Reason.FROZEN,
    Reason.DEBOUNCING,
}


def events(old: KubeObject, new: KubeObject, snapshot: Snapshot) -> list[Event]:
    """The events that lie between two statuses; none where nothing of interest has changed."""
    return [
        *_takeover(old, new, snapshot),
        *_rollout_changed(old, new, snapshot),
        *_canary_started(old, new),
        *_stepped(old, new),
        *_turned_back(old, new),
        *_drained(old, new),
        *_warnings(old, new),
    ]


def _takeover(old: KubeObject, new: KubeObject, snapshot: Snapshot) -> list[Event]:
    """The traffic has moved, or a first revision answers."""
    before, after = old.get("stable", {}), new.get("stable", {})
    if not after:
        return []
    version = f"version {after['modelVersion']} ({after['revision']})"
    is_other = bool(before) and before.get("revision") != after["revision"]
    if (is_other or _was_moving(old)) and not snapshot.lingering:
        if is_other and after["revision"] in _draining(old):
            verb = "stays at" if _was_moving(old) else "moved back to"
            return [_event(EventReason.ROLLED_BACK, f"Traffic {verb} {version}")]
        return [_event(EventReason.TRAFFIC_MOVED, f"Traffic moved to {version}")]
    if _is_available(new) and not _is_available(old):
        return [_event(EventReason.SERVING, f"Serving {version}")]
    return []


def _rollout_changed(old: KubeObject, new: KubeObject, snapshot: Snapshot) -> list[Event]:
    """The target is another revision: one that is starting, or again the one that serves."""
    decision = snapshot.decision
    before = old.get("rollout", {}).get("revision")
    if decision is None or before is None or before == new["rollout"]["revision"]:
        return []
    target, stable = decision.target, decision.stable
    if decision.trial is not None and decision.trial.undone is not None:
        text = f"A user goes back to version {target.model.version} ({target.name})"
        return [_event(EventReason.UNDO_STARTED, text)]
    if target.name == stable.name:
        if old.get("stable", {}).get("revision") != stable.name:
            return []  # it has taken over, which has its own event
        keeps = f"version {stable.model.version} ({stable.name}) keeps the traffic"
        return [_event(EventReason.ROLLED_BACK, f"Rollout of {before} cancelled: {keeps}")]
    if target.model.is_same(stable.model):
        cause = "Spec changed"
    else:
        cause = f"{target.model.requested} now resolves to version {target.model.version}"
    beside = f"starting {target.name} alongside version {stable.model.version} ({stable.name})"
    return [_event(EventReason.NEW_REVISION, f"{cause}: {beside}")]


def _canary_started(old: KubeObject, new: KubeObject) -> list[Event]:
    canary = new.get("canary", {}).get("revision")
    had_traffic = canary in {share["revision"] for share in old.get("traffic", ())}
    return [
        _event(
            EventReason.CANARY_STARTED,
            f"Version {share['modelVersion']} ({canary}) gets {share['weight']} % of the requests",
        )
        for share in new.get("traffic", ())
        if share["revision"] == canary and not had_traffic
    ]


def _stepped(old: KubeObject, new: KubeObject) -> list[Event]:
    """A rollout has reached another step, or is paused."""
    before, after = old.get("rollout", {}), new.get("rollout", {})
    events = []
    if after.get("step") and _position(before) != _position(after):
        version = new.get("target", {}).get("modelVersion")
        text = f"Step {after['step']} of {after.get('steps')}: version {version} gets "
        copies = after.get("shadowPercent")
        share = f"copies of {copies} %" if copies else f"{after.get('weight')} %"
        events.append(_event(EventReason.STEP_REACHED, f"{text}{share}"))
    if after.get("phase") == Phase.PAUSED and before.get("phase") != Phase.PAUSED:
        events.append(_event(EventReason.ROLLOUT_PAUSED, after["message"]))
    return events


def _position(rollout: KubeObject) -> tuple[object, ...]:
    return rollout.get("revision"), rollout.get("step"), rollout.get("weight")


def _turned_back(old: KubeObject, new: KubeObject) -> list[Event]:
    """A target that had requests has lost them; why is a warning of its own."""
    after = new.get("rollout", {})
    had_traffic = after.get("revision") in {share["revision"] for share in old.get("traffic", ())}
    is_undone = new.get("stable", {}).get("revision") != old.get("stable", {}).get("revision")
    if after.get("phase") != Phase.FAILED or not had_traffic or is_undone:
        return []
    stable = new["stable"]
    text = f"Traffic moved back to version {stable['modelVersion']} ({stable['revision']})"
    return [_event(EventReason.ROLLED_BACK, text)]


def _drained(old: KubeObject, new: KubeObject) -> list[Event]:
    """Revisions that are removed; one that only lost its traffic, like a canary at 0 %, stays."""
    staying = {new[role]["revision"] for role in _ROLES if role in new}
    staying |= {entry["revision"] for entry in new.get("variants", ())}
    staying |= {*_draining(new)}
    return [
        _event(EventReason.DRAINED, f"Removed {name}: its in-flight requests have finished")
        for name in _draining(old)
        if name not in staying
    ]


def _warnings(old: KubeObject, new: KubeObject) -> list[Event]:
    """Each reason that was not there before, once, however many conditions share it."""
    reported = {c["reason"] for c in old.get("conditions", ()) if c["status"] == "False"}
    warnings: dict[str, Event] = {}
    for condition in new["conditions"]:
        reason = condition["reason"]
        is_new = condition["status"] == "False" and reason not in reported | _QUIET
        if is_new and condition["type"] != "Ready":
            warnings.setdefault(reason, _event(reason, condition["message"], warning=True))
    return list(warnings.values())


def _draining(status: KubeObject) -> list[str]:
    return [entry["revision"] for entry in status.get("draining", ())]


def _was_moving(status: KubeObject) -> bool:
    """Whether requests still reached the revision from which the traffic was to move."""
    return bool(status.get("rollout", {}).get("phase") == Phase.MOVING)


def _is_available(status: KubeObject) -> bool:
    return is_true(condition_in(status.get("conditions"), "Available"))


def _event(reason: str, message: str, *, warning: bool = False) -> Event:
    note = message.encode()[:MAX_NOTE_BYTES].decode(errors="ignore")
    return Event(str(reason), note, warning=warning)
