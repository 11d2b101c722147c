"""What people look at, picked from the resource and its Deployments as plain JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.phase import Phase
from mlflow_model_operator.api.schedule import Step, schedule_of

Json = dict[str, Any]

ROLES = ("stable", "target", "canary", "shadow")
# Phases in which a rollout in steps is on its way.
IN_STEPS = (Phase.PREPARING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING)
# Phases after which nothing happens by itself.
AT_REST = (Phase.STABLE, Phase.STOPPED, Phase.FAILED)


def view(resource: Json, deployments: Iterable[Json]) -> Json:
    """The resource, its rollout and its revisions, as `--output json` prints them."""
    status, spec = resource.get("status") or {}, resource.get("spec") or {}
    fields = {
        "name": resource["metadata"]["name"],
        "namespace": resource["metadata"].get("namespace"),
        "model": spec.get("model", {}).get("uri"),
        "url": status.get("url"),
        "isCurrent": is_current(resource),
        "ready": condition(status, "Ready"),
        "rollout": _rollout(status, spec),
        "revisions": list(_revisions(status, deployments)),
        "failed": (status.get("rollout") or {}).get("failed") or [],
        "conditions": status.get("conditions") or [],
    }
    return {key: value for key, value in fields.items() if value is not None}


def is_current(resource: Json) -> bool:
    """Whether the operator has seen the present spec."""
    observed = (resource.get("status") or {}).get("observedGeneration")
    return bool(observed == resource["metadata"].get("generation"))


def condition(status: Mapping[str, Any], type_: str) -> Json | None:
    """The condition of that type, if there is one."""
    conditions: list[Json] = status.get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == type_), None)


def phase_of(resource: Json) -> str:
    """The phase of the rollout; "" where the operator has not seen the resource."""
    rollout = (resource.get("status") or {}).get("rollout") or {}
    return str(rollout.get("phase") or "")


def version_of(resource: Json, role: str) -> str:
    """The version of the revision in a role, like "stable"; "" where there is none."""
    entry = (resource.get("status") or {}).get(role) or {}
    return str(entry.get("modelVersion") or "")


def _rollout(status: Json, spec: Json) -> Json:
    rollout = status.get("rollout") or {}
    shown = ("phase", "trigger", "waitingFor", "message", "startedAt", "lastControl", "weight")
    picked = {key: rollout[key] for key in shown if key in rollout}
    is_running = rollout.get("phase") in IN_STEPS
    position = rollout.get("step") or 0 if is_running else None
    schedule = schedule_of(spec)
    steps = [_step(step, index, position) for index, step in enumerate(schedule, start=1)]
    return {**picked, "steps": steps, **({"step": position} if is_running else {})}


def _step(step: Step, index: int, position: int | None) -> Json:
    if math.isinf(step.hold):
        shown: Json = {"weight": step.weight, "until": "someone resumes it"}
    else:
        shown = {"weight": step.weight, "seconds": step.hold}
    shown |= {"shadow": step.shadow} if step.shadow else {}
    if position is not None:
        shown["state"] = "done" if index < position else "now" if index == position else "next"
    return shown


def _revisions(status: Json, deployments: Iterable[Json]) -> Iterable[Json]:
    """Those with a role first, then those that have lost their traffic."""
    live = {entry["metadata"]["name"]: entry for entry in deployments}
    weights = {share["revision"]: share["weight"] for share in status.get("traffic") or ()}
    entries = _entries(status)
    roles = {entry["revision"]: role for role, entry in reversed(entries.items())}
    ordered = dict.fromkeys([*reversed(roles), *sorted(live)])
    versions = _versions(status)
    for name in ordered:
        shown = {
            "revision": name,
            "modelVersion": versions.get(name),
            "role": roles.get(name) or _role_without_traffic(status, name),
            "weight": weights.get(name, 0),
            **_pods(entries.get(roles.get(name, "")), live.get(name)),
        }
        yield {key: value for key, value in shown.items() if value is not None}


def _role_without_traffic(status: Json, name: str) -> str:
    failed = (status.get("rollout") or {}).get("failed") or ()
    if any(entry["revision"] == name for entry in failed):
        return "failed"
    is_draining = any(entry["revision"] == name for entry in status.get("draining") or ())
    return "earlier" if is_draining else "ending"


def _versions(status: Json) -> dict[str, str]:
    rollout = status.get("rollout") or {}
    entries = [*(status.get("history") or ()), *(rollout.get("failed") or ())]
    entries += _entries(status).values()
    return {entry["revision"]: entry.get("modelVersion") for entry in entries}


def _entries(status: Json) -> dict[str, Json]:
    """The revisions that have a role, by that role."""
    named = {role: status[role] for role in ROLES if status.get(role)}
    variants = status.get("variants") or ()
    return named | {f"variant {entry['variant']}": entry for entry in variants}


def _pods(entry: Json | None, deployment: Json | None) -> Json:
    """By the Deployment, or, where it may not be read, by the status."""
    if deployment is None:
        return {"readyPods": (entry or {}).get("readyReplicas", 0)}
    ready = (deployment.get("status") or {}).get("readyReplicas", 0)
    return {"readyPods": ready, "pods": deployment["spec"].get("replicas", 1)}


def selector(name: str) -> str:
    """The label selector of a resource's children."""
    return f"{names.DEPLOYMENT}={name}"
