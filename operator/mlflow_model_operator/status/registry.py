"""What is written back to the registry: the verdicts of versions, and an alias. Pure.

The status holds it, so that a restarted operator writes what the one before it has not, and nothing
twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.registry_writes import AliasChange, VersionNote, Writes, WriteState
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import RegistryStatus
from mlflow_model_operator.kube.objects import KubeObject, format_time
from mlflow_model_operator.rollout import Decision
from mlflow_model_operator.status.rollout import RolloutOutcome, outcome_of
from mlflow_model_operator.status.snapshot import Snapshot

MAX_VERSIONS = 5
MAX_MESSAGE_LENGTH = 500  # characters of a tag
REPLACED = "Replaced"  # another version has taken over


class _VersionKey(NamedTuple):
    name: str
    version: str


def registry_status(snapshot: Snapshot, decision: Decision) -> KubeObject | None:
    """`status.registry`; None where nothing is to be written."""
    rollout = snapshot.resource.spec.rollout
    if not rollout.writes_registry or snapshot.writes is None or snapshot.writes.denial:
        return None
    fields: dict[str, Any] = {}
    if rollout.registry.write_back:
        fields["versions"] = _versions(snapshot, decision)
    if alias := _alias(snapshot, decision, snapshot.writes):
        fields["alias"] = alias
    return fields or None


def writes(resource: MLflowModelDeployment, registry: KubeObject | None) -> Writes:
    """What `status.registry` asks for and does not record as done."""
    if registry is None:
        return Writes()
    status = RegistryStatus.model_validate(registry)
    notes = tuple(
        VersionNote(
            entry.name, entry.version, entry.verdict, entry.since or "", entry.reason, entry.message
        )
        for entry in status.versions
    )
    alias = status.alias
    if alias is None or alias.is_set or alias.alias != resource.spec.rollout.on_success.set_alias:
        return Writes(notes)
    return Writes(
        notes, AliasChange(alias.name, alias.alias, alias.version, alias.promoted_at or "")
    )


def _versions(snapshot: Snapshot, decision: Decision) -> list[KubeObject]:
    """The verdicts as they are now, the newest last; the one that serves is always there."""
    before = snapshot.resource.status.registry
    entries = {
        _VersionKey(entry.name, entry.version): entry.dump()
        for entry in (before.versions if before else ())
    }
    for key, entry in _changes(snapshot, decision, entries):
        entries.pop(key, None)
        entries[key] = {"name": key.name, "version": key.version, **entry}
    stable = _key(decision.stable.model)
    others = [entry for key, entry in entries.items() if key != stable]
    return [*others[1 - MAX_VERSIONS :], *([entries[stable]] if stable in entries else [])]


def _changes(
    snapshot: Snapshot, decision: Decision, entries: Mapping[_VersionKey, KubeObject]
) -> Iterator[tuple[_VersionKey, KubeObject]]:
    """The versions whose verdict is another than the recorded one."""
    now, stable = format_time(snapshot.now), _key(decision.stable.model)
    serving = [key for key, entry in entries.items() if entry["verdict"] == RolloutOutcome.PROMOTED]
    for key in serving:
        if key != stable:
            yield key, {"verdict": REPLACED, "since": now}
    yield from _superseded(snapshot, decision, now)
    rejected = _key(decision.rejected.revision.model) if decision.rejected else None
    if rejected is not None:
        yield from _turned_back(decision, rejected, entries)
    if stable is not None and stable not in serving:
        since = _serving_since(snapshot, decision) or now
        yield stable, {"verdict": RolloutOutcome.PROMOTED.value, "since": since}


def _superseded(
    snapshot: Snapshot, decision: Decision, now: str
) -> Iterator[tuple[_VersionKey, KubeObject]]:
    """A version that was to take over, and is not any more."""
    target = snapshot.resource.status.target
    if target is None or target.name is None:
        return
    key = _VersionKey(target.name, target.model_version)
    if key not in (_key(decision.stable.model), _key(decision.target.model)) and (
        decision.rejected is None or key != _key(decision.rejected.revision.model)
    ):
        yield key, {"verdict": RolloutOutcome.SUPERSEDED.value, "since": now}


def _turned_back(
    decision: Decision, key: _VersionKey, entries: Mapping[_VersionKey, KubeObject]
) -> Iterator[tuple[_VersionKey, KubeObject]]:
    assert decision.rejected is not None and decision.rejected.progress.rejection is not None
    rejection = decision.rejected.progress.rejection
    entry = {
        "verdict": outcome_of(decision.rejected.progress).value,
        "since": format_time(rejection.at),
        "reason": str(rejection.reason),
        "message": rejection.message[:MAX_MESSAGE_LENGTH],
    }
    recorded = entries.get(key, {})
    if any(recorded.get(field) != entry[field] for field in ("verdict", "since")):
        yield key, entry


def _serving_since(snapshot: Snapshot, decision: Decision) -> str | None:
    """When the stable revision took over, if that was before now and is still remembered."""
    for entry in reversed(snapshot.resource.status.history):
        if entry.verdict == RolloutOutcome.PROMOTED and entry.revision == decision.stable.name:
            before = snapshot.resource.status.stable
            is_same = before is not None and before.revision == decision.stable.name
            return entry.at if is_same else None
    return None


def _alias(snapshot: Snapshot, decision: Decision, state: WriteState) -> KubeObject | None:
    """The alias of the last promotion. It is recorded when it was set, and then left alone."""
    alias = snapshot.resource.spec.rollout.on_success.set_alias
    model = decision.stable.model
    if alias is None:
        return None
    if model.name is not None and _is_promotion(snapshot, decision):
        promoted_at = format_time(snapshot.now)
        fields = {"alias": alias, "name": model.name, "version": model.version}
        return {**fields, "promotedAt": promoted_at, "isSet": False}
    before = snapshot.resource.status.registry
    if (
        before is None
        or before.alias is None
        or _key(model)
        != (
            before.alias.name,
            before.alias.version,
        )
    ):
        return None
    entry = before.alias
    asked = AliasChange(entry.name, entry.alias, entry.version, entry.promoted_at or "")
    return {**entry.dump(), "isSet": entry.is_set or state.alias_set == asked}


def _is_promotion(snapshot: Snapshot, decision: Decision) -> bool:
    """Whether another version has taken over now, as the target of a rollout.

    The first version takes over from none, and one that only answers where the stable one does not
    was not judged.
    """
    before, after = snapshot.resource.status.stable, decision.stable
    if before is None or before.revision == after.name or decision.target.name != after.name:
        return False
    return (before.model_uri, before.model_created) != (after.model.uri, after.model.created)


def _key(model: ModelVersion) -> _VersionKey | None:
    return _VersionKey(model.name, model.version) if model.name else None
