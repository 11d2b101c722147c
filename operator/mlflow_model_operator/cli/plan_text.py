"""A plan as plain text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mlflow_model_operator.api.names import KIND
from mlflow_model_operator.cli.plan_shares import shares_text
from mlflow_model_operator.cli.planning import Planned
from mlflow_model_operator.cli.table import fields, table
from mlflow_model_operator.cli.text import steps_text
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.objects import KubeObject, name_of
from mlflow_model_operator.rollout.steps import Schedule

Json = dict[str, Any]


def plan_text(planned: Planned) -> str:
    """The objects, what would change, and how a revision takes over."""
    parts = [
        _summary(planned),
        _objects(planned),
        shares_text(planned.resource, planned.plan.decision),
        _rollout(planned),
        _notes(planned.notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(planned: Planned) -> str:
    resource, decision = planned.resource, planned.plan.decision
    target, stable = decision.target, decision.stable
    serving = f"version {stable.model.version} ({stable.name})" if planned.is_update else ""
    return fields(
        [
            (KIND, str(resource.key)),
            ("Model", resource.spec.model.uri),
            ("Serves now", serving),
            ("Revision", f"{target.name} of version {target.model.version}"),
            ("Pods", _pods(planned)),
        ]
    )


def _pods(planned: Planned) -> str:
    scaling = planned.resource.spec.scaling
    if scaling.min_replicas == 0:
        return "none: spec.scaling.minReplicas is 0"
    if scaling.is_autoscaled:
        return f"{scaling.min_replicas} to {scaling.effective_max_replicas}, by an autoscaler"
    return str(scaling.min_replicas)


def _objects(planned: Planned) -> str:
    rows = [
        (_action(planned, obj), obj["kind"], name_of(obj), _detail(obj)) for obj in planned.objects
    ]
    if planned.changes is not None:
        rows += [("delete", obj["kind"], name_of(obj), "") for obj in _pruned(planned)]
        return table(("ACTION", "KIND", "NAME", "DETAIL"), rows)
    return table(("KIND", "NAME", "DETAIL"), [row[1:] for row in rows])


def _pruned(planned: Planned) -> Iterable[Json]:
    for obj in planned.changes.prune if planned.changes else ():
        yield {"kind": obj.get("kind", ""), **obj}


def _action(planned: Planned, obj: KubeObject) -> str:
    for change in planned.changes.apply if planned.changes else ():
        if change.desired is obj:
            return "create" if change.is_missing else f"change {change.difference}"
    return "keep"


def _detail(obj: KubeObject) -> str:
    """What people want to know of an object before they approve of it."""
    spec = obj.get("spec") or {}
    match obj["kind"]:
        case "Deployment":
            image = spec["template"]["spec"]["containers"][0].get("image", "")
            return f"{_count(spec.get('replicas', 1))} of {image}"
        case "HorizontalPodAutoscaler":
            return f"{spec.get('minReplicas')} to {spec.get('maxReplicas')} pods"
        case "PodDisruptionBudget":
            return f"drains at most {_count(spec['maxUnavailable'])} at a time"
        case "HTTPRoute":
            return f"{_hosts(spec)} -> {_backends(spec)}"
        case "ConfigMap":
            return f"read by the pods of {', '.join(_readers(obj))}"
        case "Service":
            return ", ".join(f"{port['name']} {port['port']}" for port in spec.get("ports", ()))
        case _:
            return ""


def _readers(config_map: KubeObject) -> Iterable[str]:
    """The revisions whose pods send copies of requests to a shadow."""
    return (file.removesuffix(".json") for file in config_map.get("data") or ())


def _count(pods: int) -> str:
    return "1 pod" if pods == 1 else f"{pods} pods"


def _hosts(spec: Json) -> str:
    return ", ".join(spec.get("hostnames") or ["any host name"])


def _backends(spec: Json) -> str:
    """Where requests go that no header and no cookie leads elsewhere."""
    shares = httproute.listed_weights({"spec": spec})
    return ", ".join(f"{name} {weight} %" for name, weight in shares.items())


def _rollout(planned: Planned) -> str:
    """How the next revision takes over; the first has nothing to be compared with."""
    if not planned.steps:
        return "Each new revision receives all requests as soon as it is ready."
    what = "This revision takes" if planned.is_update else "Each later revision takes"
    gates = planned.resource.spec.rollout.gates.tags
    tags = ", ".join(f"{name}={value}" for name, value in sorted(gates.items()))
    gate = f", once the model version has the tags {tags}" if gates else ""
    first = (
        ""
        if planned.is_update
        else "The first revision receives all requests as soon as it is ready. "
    )
    return f"{first}{what} over by these steps{gate}:\n\n{_steps(planned.steps)}"


def _steps(steps: Schedule) -> str:
    return steps_text(
        {"weight": step.weight, "shadow": step.shadow}
        | ({"until": "someone resumes it"} if math.isinf(step.hold) else {"seconds": step.hold})
        for step in steps
    )


def _notes(notes: Iterable[str]) -> str:
    return "\n".join(f"Note: {note}." for note in notes)
