"""The conditions of a resource: each a small function that decides and explains.

True is good, except for Progressing. A condition is derived from what is, never copied from a
child.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.httproute import Accepted, Pending, Refused
from mlflow_model_operator.rollout import Decision, Phase
from mlflow_model_operator.rollout.state import Revision, RevisionState
from mlflow_model_operator.status.diagnosis import Failure, diagnose, of_apply_error
from mlflow_model_operator.status.snapshot import ApplyError, Snapshot


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued condition status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """A status condition before it gets its times; see the Kubernetes API conventions."""

    type: str
    status: ConditionStatus
    reason: Reason
    message: str


# What to do when a gateway refuses a route, by the reason that the Gateway API gives.
_ROUTE_FIXES = {
    "NotAllowedByListeners": "Have a listener of the Gateway allow routes of namespace {namespace} "
    "(allowedRoutes), or name another in spec.routing.gateway",
    "NoMatchingListenerHostname": "Write spec.routing.hostnames that a listener of the Gateway has",
    "NoMatchingParent": "Name a Gateway with an HTTP listener in spec.routing.gateway",
}
_DEFAULT_ROUTE_FIX = (
    "Correct spec.routing, or have the Gateway's listeners allow this host name and namespace"
)


def conditions(snapshot: Snapshot) -> list[Condition]:
    """All conditions that apply, the summary first."""
    parts = [
        model_resolved(snapshot),
        available(snapshot),
        progressing(snapshot),
        *_present(route_accepted(snapshot)),
        *_present(canary_ready(snapshot)),
        *_present(traffic_split(snapshot)),
    ]
    return [ready(parts), *parts]


def ready(parts: list[Condition]) -> Condition:
    """True when all is as the spec says; else the first thing that is not, most telling first."""
    for condition in parts:
        is_good = condition.status == ConditionStatus.TRUE
        if condition.type == "Progressing":
            is_good = condition.status == ConditionStatus.FALSE and condition.reason in (
                Reason.COMPLETE,
                Reason.STOPPED,
            )
        if condition.type == "TrafficSplit" and condition.reason in (
            Reason.APPROXIMATE,
            Reason.SAME_VERSION,
        ):
            is_good = True
        if not is_good:
            return _false("Ready", condition.reason, condition.message)
    return _true("Ready", Reason.READY, "All is as the spec says")


def model_resolved(snapshot: Snapshot) -> Condition:
    """Whether the model URI means a version now."""
    resolution = snapshot.resolution
    if isinstance(resolution, ModelVersion):
        return _true("ModelResolved", Reason.RESOLVED, _means(resolution))
    return _false("ModelResolved", resolution.reason, resolution.message + _serving(snapshot))


def available(snapshot: Snapshot) -> Condition:
    """Whether requests are answered by the revision that has the traffic."""
    decision = snapshot.decision
    if decision is None:
        return _false(
            "Available",
            Reason.MODEL_UNRESOLVED,
            f"Nothing is served: {_unresolved(snapshot)}",
        )
    if decision.phase == Phase.STOPPED:
        return _false(
            "Available", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0. Raise it to serve"
        )
    public = _public_failure(snapshot)
    if public:
        return _false("Available", public.reason, public.message)
    state = snapshot.state(decision.stable)
    if state.ready > 0:
        version = decision.stable.model.version
        return _true(
            "Available",
            Reason.MINIMUM_REPLICAS_AVAILABLE,
            f"Version {version} is served by {_pods(state.ready)}",
        )
    failure = diagnose(snapshot, decision.stable)
    if failure:
        return _false("Available", failure.reason, failure.message)
    return _false("Available", Reason.STARTING, _waiting(snapshot, decision.stable))


def progressing(snapshot: Snapshot) -> Condition:
    """Whether a change is under way. False and not Complete: it does not come to its end."""
    decision = snapshot.decision
    if decision is None:
        return _false(
            "Progressing",
            Reason.MODEL_UNRESOLVED,
            f"Nothing to roll out: {_unresolved(snapshot)}",
        )
    refused = _refused(snapshot, decision)
    if refused:
        return _false("Progressing", refused.reason, refused.message)
    if decision.phase == Phase.STOPPED:
        return _false("Progressing", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    if decision.phase == Phase.DRAINING:
        names = ", ".join(sorted(decision.draining))
        return _true("Progressing", Reason.DRAINING, f"{names} finishes its last requests")
    target = decision.target
    state = snapshot.state(target)
    # That pods fail is told even where enough others are ready: an autoscaler wants them.
    failure = None if state.is_ready else diagnose(snapshot, target)
    if failure:
        return _false("Progressing", failure.reason, _stuck(snapshot, decision, failure))
    if state.is_ready or (target == decision.stable and _has_enough(snapshot, state)):
        return _false("Progressing", Reason.COMPLETE, f"{target.name} serves as the spec says")
    return _true("Progressing", Reason.NEW_REVISION, _waiting(snapshot, target))


def route_accepted(snapshot: Snapshot) -> Condition | None:
    """Whether the named gateway has taken the route; None where none is named."""
    gateway = snapshot.resource.gateway
    if gateway is None:
        return None
    refused = _route_refused_by_api(snapshot)
    if refused:
        return refused
    route = snapshot.live.routes.get(snapshot.resource.name)
    if route is None:
        return _false("RouteAccepted", Reason.WAITING_FOR_GATEWAY, "There is no route yet")
    match httproute.acceptance(route, gateway.name, gateway.namespace):
        case Accepted():
            return _true("RouteAccepted", Reason.ACCEPTED, f"Gateway {gateway} leads here")
        case Refused() as refusal:
            return _route_refused_by_gateway(snapshot, gateway, refusal)
        case Pending():
            return _waiting_for_gateway(snapshot, gateway)


def _route_refused_by_gateway(snapshot: Snapshot, gateway: Key, refusal: Refused) -> Condition:
    why = single_line(refusal.message).rstrip(". ")
    fix = _ROUTE_FIXES.get(refusal.reason, _DEFAULT_ROUTE_FIX)
    return _false(
        "RouteAccepted",
        Reason.ROUTE_REFUSED,
        f"Gateway {gateway} refuses the route ({single_line(refusal.reason)}): {why}. "
        f"{fix.format(namespace=snapshot.resource.namespace)}",
    )


def _waiting_for_gateway(snapshot: Snapshot, gateway: Key) -> Condition:
    if snapshot.gateway_exists is False:
        return _false(
            "RouteAccepted",
            Reason.GATEWAY_NOT_FOUND,
            f"There is no Gateway {gateway}: create it, or correct spec.routing.gateway",
        )
    return _false(
        "RouteAccepted",
        Reason.WAITING_FOR_GATEWAY,
        f"Gateway {gateway} has not answered yet: see that its controller runs",
    )


def canary_ready(snapshot: Snapshot) -> Condition | None:
    """Whether the canary can take its share; None where there is none."""
    if snapshot.resource.spec.canary is None:
        return None
    decision = snapshot.decision
    canary = decision.canary if decision else None
    resolution = snapshot.canary_resolution
    if isinstance(resolution, ResolutionError):
        still = f". Version {canary.model.version} stays on trial" if canary else ""
        return _false("CanaryReady", resolution.reason, resolution.message + still)
    if decision is None:
        return _false(
            "CanaryReady",
            Reason.MODEL_UNRESOLVED,
            f"There is no stable version beside it: {_unresolved(snapshot)}",
        )
    if canary is None:
        return _true("CanaryReady", Reason.SAME_VERSION, _same_version(snapshot))
    if decision.phase == Phase.STOPPED:
        return _false("CanaryReady", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    state = snapshot.state(canary)
    failure = None if state.is_ready else diagnose(snapshot, canary)
    if failure:
        return _false("CanaryReady", failure.reason, failure.message)
    has_traffic = canary.name in dict(decision.traffic)
    if state.is_ready or (has_traffic and _has_enough(snapshot, state)):
        return _true("CanaryReady", Reason.READY, f"Version {canary.model.version} is ready")
    return _false("CanaryReady", Reason.STARTING, _waiting(snapshot, canary))


def traffic_split(snapshot: Snapshot) -> Condition | None:
    """Whether the canary has the weight that the spec gives it; None where there is no canary."""
    spec, decision = snapshot.resource.spec, snapshot.decision
    if spec.canary is None:
        return None
    canary = decision.canary if decision else None
    if canary is None and isinstance(snapshot.canary_resolution, ResolutionError):
        return _false(
            "TrafficSplit", Reason.CANARY_UNRESOLVED, "All traffic goes to the stable version"
        )
    if decision is None:
        return _false("TrafficSplit", Reason.CANARY_NOT_READY, "There is no traffic to split yet")
    if canary is None:
        return _false("TrafficSplit", Reason.SAME_VERSION, _same_version(snapshot))
    given = dict(decision.traffic).get(canary.name, 0)
    if given != spec.canary.weight:
        return _false(
            "TrafficSplit",
            Reason.CANARY_NOT_READY,
            f"The canary gets its {spec.canary.weight} % when it is ready; until then all traffic "
            f"goes to version {decision.stable.model.version}",
        )
    if spec.routing.gateway is None and 0 < given < 100:
        return _approximate(snapshot, decision, canary, given)
    return _true("TrafficSplit", Reason.APPLIED, _split(snapshot, canary, given))


def _split(snapshot: Snapshot, canary: Revision, weight: int) -> str:
    text = f"Version {canary.model.version} gets {weight} % of the requests"
    route = route_accepted(snapshot)
    if route is None or route.status == ConditionStatus.TRUE:
        return text
    return f"{text} when the gateway takes the route: see the condition RouteAccepted"


def _approximate(
    snapshot: Snapshot, decision: Decision, canary: Revision, weight: int
) -> Condition:
    canary_pods = snapshot.state(canary).ready
    all_pods = canary_pods + snapshot.state(decision.stable).ready
    reached = round(100 * canary_pods / all_pods) if all_pods else 0
    if reached == weight:
        return _true(
            "TrafficSplit",
            Reason.APPLIED,
            f"{canary_pods} of {all_pods} pods are the canary's: {reached} % of the requests",
        )
    return _false(
        "TrafficSplit",
        Reason.APPROXIMATE,
        f"Asked for {weight} %, reached {reached} % ({canary_pods} of {_pods(all_pods)}): name "
        "spec.routing.gateway for exact weights, or run more replicas",
    )


def _has_enough(snapshot: Snapshot, state: RevisionState) -> bool:
    """Whether a revision that has traffic has the pods that the spec asks for at least.

    That an autoscaler adds some more is no change of what is served.
    """
    least = min(snapshot.resource.spec.scaling.min_replicas, state.desired)
    return state.exists and state.ready >= max(least, 1)


def _refused(snapshot: Snapshot, decision: Decision) -> Failure | None:
    """A refused object that no other condition tells of."""
    canary = decision.canary.name if decision.canary else None
    for error in snapshot.apply_errors:
        told_elsewhere = error.kind == "HTTPRoute" or (
            error.name == canary and canary != decision.target.name
        )
        if not told_elsewhere:
            failure = of_apply_error(error)
            if error.name == decision.target.name:
                return Failure(failure.reason, _stuck(snapshot, decision, failure))
            return failure
    return None


def _route_refused_by_api(snapshot: Snapshot) -> Condition | None:
    for error in snapshot.apply_errors:
        if error.kind != "HTTPRoute":
            continue
        if isinstance(error, ApplyError) and _is_kind_missing(error):
            return _false(
                "RouteAccepted",
                Reason.GATEWAY_API_MISSING,
                "The cluster has no Gateway API: install it with a gateway such as Envoy Gateway, "
                "or leave spec.routing.gateway out",
            )
        failure = of_apply_error(error)
        return _false("RouteAccepted", failure.reason, failure.message)
    return None


def _is_kind_missing(error: ApplyError) -> bool:
    """Whether the API server doesn't serve the kind; a missing namespace is a 404 too."""
    return error.status == 404 and "namespaces" not in error.message


def _public_failure(snapshot: Snapshot) -> Failure | None:
    """A public Service that can't be had leaves the model unreachable, whatever its pods do.

    One that is there goes on working, though it could not be changed.
    """
    name = snapshot.resource.name
    for error in snapshot.apply_errors:
        if error.kind == "Service" and error.name == name and name not in snapshot.live.services:
            return of_apply_error(error)
    return None


def _stuck(snapshot: Snapshot, decision: Decision, failure: Failure) -> str:
    if decision.stable.name == decision.target.name:
        return failure.message
    version = decision.target.model.version
    return f"Version {version} does not take over: {failure.message}{_serving(snapshot)}"


def _waiting(snapshot: Snapshot, revision: Revision) -> str:
    state = snapshot.state(revision)
    return (
        f"Version {revision.model.version} ({revision.name}) is starting: {state.ready} of "
        f"{_pods(max(state.desired, 1))} ready"
    )


def _serving(snapshot: Snapshot) -> str:
    decision = snapshot.decision
    if decision is None or snapshot.state(decision.stable).ready == 0:
        return ""
    return f". Version {decision.stable.model.version} is still served"


def _unresolved(snapshot: Snapshot) -> str:
    uri = snapshot.resource.spec.model.uri
    return f"{uri} has no meaning yet; see the condition ModelResolved"


def _means(model: ModelVersion) -> str:
    if model.requested == model.uri:
        return f"{model.uri} is served as it is"
    return f"{model.requested} means {model.uri}"


def _same_version(snapshot: Snapshot) -> str:
    assert snapshot.resource.spec.canary is not None
    return f"{snapshot.resource.spec.canary.uri} means the version that is stable already"


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _present(condition: Condition | None) -> list[Condition]:
    return [] if condition is None else [condition]


def _true(type_: str, reason: Reason, message: str) -> Condition:
    return Condition(type_, ConditionStatus.TRUE, reason, message)


def _false(type_: str, reason: Reason, message: str) -> Condition:
    return Condition(type_, ConditionStatus.FALSE, reason, message)
