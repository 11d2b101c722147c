"""What people may ask of a rollout: when it applies, and what came of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlflow_model_operator.api.phase import Phase
from mlflow_model_operator.cli.view import IN_STEPS, is_current, phase_of, version_of

Json = dict[str, Any]

PAUSE, RESUME, PROMOTE, ABORT, RETRY, UNDO = WORDS = (
    "pause",
    "resume",
    "promote",
    "abort",
    "retry",
    "undo",
)
UNDER_WAY = (*IN_STEPS, Phase.UPDATING)
ENDED = (Phase.STABLE, Phase.DRAINING, Phase.MOVING)
# The phases in which each word does something.
PHASES = {
    PAUSE: (Phase.PREPARING, Phase.PROGRESSING),
    RESUME: (Phase.PAUSED,),
    PROMOTE: (Phase.PREPARING, Phase.PROGRESSING, Phase.PAUSED),
    ABORT: (*UNDER_WAY, Phase.UNDOING),
    RETRY: (Phase.FAILED,),
    UNDO: (*UNDER_WAY, *ENDED, Phase.FAILED),
}


@dataclass(frozen=True)
class Control:
    """What a person asks for."""

    word: str
    version: str = ""  # where an undo is to lead, if not to the version before

    def value(self, token: str) -> str:
        """The value of the annotation; each `token` makes it another one."""
        return f"{self.word}{'=' if self.version else ''}{self.version}/{token}"


@dataclass(frozen=True)
class Outcome:
    """What came of a control."""

    text: str
    is_done: bool = True  # or it goes on by itself
    has_failed: bool = False


def refusal(control: Control, resource: Json) -> str | None:
    """Why a control does not apply now, and what to do instead; None where it applies."""
    name, phase = resource["metadata"]["name"], phase_of(resource)
    if not phase:
        return f"The operator has not reported on {name} yet: see kubectl mmd status {name}"
    if phase in PHASES[control.word]:
        return _undo_refusal(control, resource) if control.word == UNDO else None
    if control.word == RESUME and _waits_for_analysis(resource):
        return None
    why, advice = _nothing_to(control.word, phase), _instead(control.word, phase, name)
    return f"{why}: {name} is {phase}.{advice}"


def _waits_for_analysis(resource: Json) -> bool:
    """Whether a step has no verdict at its end: a person may go on without."""
    rollout = resource["status"]["rollout"]
    state = (rollout.get("phase"), rollout.get("waitingFor"))
    return state == (Phase.PROGRESSING, "Analysis")


def earlier_versions(resource: Json) -> list[str]:
    """The versions that an undo may lead to, the newest first."""
    entries = _earlier_entries(resource)
    return list(dict.fromkeys(entry.get("modelVersion") or entry["revision"] for entry in entries))


def outcome(control: Control, before: Json, after: Json) -> Outcome:
    """What came of a control that the operator has read."""
    phase, name = phase_of(after), after["metadata"]["name"]
    rollout = after["status"]["rollout"]
    if control.word == UNDO and phase_of(before) not in UNDER_WAY:
        return _undo_outcome(before, after)
    if not _is_reached(control.word, phase):
        return Outcome(f"{name} is {phase}: {rollout.get('message', '')}", has_failed=True)
    stable, target = version_of(after, "stable"), version_of(after, "target") or "-"
    turned_back = f"{name} is {phase}: version {stable} serves"
    texts = {
        PAUSE: f"{name} is paused: version {target} stays at {rollout.get('weight', 0)} %",
        RESUME: f"{name} continues ({phase}){_waits(rollout)}",
        PROMOTE: f"Version {target} takes over{_pace(after)}{_waits(rollout)}",
        RETRY: f"Version {target} is tried again ({phase}){_waits(rollout)}",
    }
    if phase in ENDED and control.word in (PROMOTE, RETRY):
        return Outcome(f"Version {stable} serves")
    return Outcome(texts.get(control.word, turned_back))


def _is_reached(word: str, phase: str) -> bool:
    """Whether the phase after a control is what it was for."""
    if word == PAUSE:
        return phase == Phase.PAUSED
    if word in (ABORT, UNDO):
        return phase not in (*UNDER_WAY, Phase.UNDOING)
    return phase not in ((Phase.FAILED,) if word == RETRY else (Phase.FAILED, Phase.PAUSED))


def _undo_outcome(before: Json, after: Json) -> Outcome:
    phase, name = phase_of(after), after["metadata"]["name"]
    if phase == Phase.UNDOING:
        version, rollout = version_of(after, "target"), after["status"]["rollout"]
        return Outcome(f"{name} goes back to version {version}{_waits(rollout)}", is_done=False)
    serving = version_of(after, "stable")
    if before["status"].get("stable", {}).get("revision") == _revision(after):
        text = f"Nothing to go back to: no revision before version {serving} can be served again"
        return Outcome(text, has_failed=True)
    failed = (after["status"]["rollout"].get("failed") or [{}])[0].get("modelVersion", "")
    return Outcome(
        f"Version {serving} serves again. Version {failed} is not tried again automatically. To "
        f"try it again: kubectl mmd retry {name}"
    )


def _undo_refusal(control: Control, resource: Json) -> str | None:
    name, phase = resource["metadata"]["name"], phase_of(resource)
    if phase in UNDER_WAY:
        if not control.version:
            return None
        return f"A rollout is in progress. To roll it back first: kubectl mmd abort {name}"
    versions = earlier_versions(resource)
    if not versions:
        return f"There is nothing to go back to: see kubectl mmd history {name}"
    entries = _earlier_entries(resource)
    named = {entry.get("modelVersion") for entry in entries} | {e["revision"] for e in entries}
    if control.version and control.version not in named:
        serving = version_of(resource, "stable")
        why = "serves now" if control.version == serving else "was not promoted before"
        return f"Version {control.version} {why}: write one of {', '.join(versions)}"
    return None


def _earlier_entries(resource: Json) -> list[Json]:
    status = resource["status"]
    failed = {entry["revision"] for entry in status["rollout"].get("failed") or ()}
    excluded = failed | {_revision(resource)}
    history: Iterable[Json] = reversed(status.get("history") or [])
    return [
        entry
        for entry in history
        if entry.get("verdict") == "Promoted" and entry["revision"] not in excluded
    ]


def _revision(resource: Json) -> str:
    return str((resource["status"].get("stable") or {}).get("revision") or "")


def _pace(resource: Json) -> str:
    """How, where there is no room to skip steps."""
    surge = (resource["spec"].get("rollout") or {}).get("surge", 100)
    replicas = resource["status"]["rollout"].get("stableReplicas") or 1
    has_room = math.ceil(replicas * surge / 100) >= replicas
    return "" if has_room else " as fast as spec.rollout.surge allows"


def _waits(rollout: Json) -> str:
    cause = rollout.get("waitingFor")
    return f", and waits for {cause}" if cause else ""


def _nothing_to(word: str, phase: str) -> str:
    if phase == Phase.FAILED:
        return f"There is nothing to {word}"
    if phase in UNDER_WAY or phase == Phase.UNDOING:
        return f"{word.capitalize()} does not apply now"
    return f"There is no rollout to {word}"


def _instead(word: str, phase: str, name: str) -> str:
    """What would be of use in this phase."""
    advice: dict[str, str] = {
        Phase.PAUSED: f" To continue: kubectl mmd resume {name}",
        Phase.PROMOTING: f" To roll it back: kubectl mmd abort {name}",
        Phase.FAILED: f" To try the version again: kubectl mmd retry {name}",
        Phase.UNDOING: f" To cancel the undo: kubectl mmd abort {name}",
    }
    if word == ABORT and phase in ENDED:
        return f" To go back to the version before: kubectl mmd undo {name}"
    return advice.get(phase, "")


def is_read(resource: Json, value: str) -> bool:
    """Whether the operator has read this value of the annotation."""
    rollout = (resource.get("status") or {}).get("rollout") or {}
    return rollout.get("lastControl") == value and is_current(resource)
