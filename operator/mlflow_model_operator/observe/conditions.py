"""The conditions of a resource: each a small function that decides and explains.

True is good, except for Progressing. A condition is derived from what is, never copied from a
child.
"""

from __future__ import annotations

from mlflow_model_operator.domain import (
    Condition,
    ConditionStatus,
    KubeObject,
    ModelVersion,
    ResolutionError,
    Revision,
)
from mlflow_model_operator.observe.failure import Failure, explain, of_apply_error
from mlflow_model_operator.observe.situation import Situation
from mlflow_model_operator.rollout import Decision, Phase


def conditions(situation: Situation) -> list[Condition]:
    """All conditions that apply, the summary first."""
    parts = [
        model_resolved(situation),
        available(situation),
        progressing(situation),
        *_present(route_accepted(situation)),
        *_present(canary_ready(situation)),
        *_present(traffic_split(situation)),
    ]
    return [ready(parts), *parts]


def ready(parts: list[Condition]) -> Condition:
    """True when all is as the spec says; else the first thing that is not, most telling first."""
    for condition in parts:
        is_good = condition.status == ConditionStatus.TRUE
        if condition.type == "Progressing":
            is_good = condition.status == ConditionStatus.FALSE and condition.reason in (
                "Complete",
                "Stopped",
            )
        if condition.type == "TrafficSplit" and condition.reason in ("Approximate", "SameVersion"):
            is_good = True
        if not is_good:
            return _false("Ready", condition.reason, condition.message)
    return _true("Ready", "Ready", "All is as the spec says")


def model_resolved(situation: Situation) -> Condition:
    """Whether the model URI means a version now."""
    resolution = situation.resolution
    if isinstance(resolution, ModelVersion):
        return _true("ModelResolved", "Resolved", _means(resolution))
    return _false("ModelResolved", resolution.reason, resolution.message + _serving(situation))


def available(situation: Situation) -> Condition:
    """Whether requests are answered by the revision that has the traffic."""
    decision = situation.decision
    if decision is None:
        return _false("Available", "ModelUnresolved", "Nothing is served: the model is unknown")
    if decision.phase == Phase.STOPPED:
        return _false(
            "Available", "Stopped", "Stopped: spec.scaling.minReplicas is 0. Raise it to serve"
        )
    public = _public_failure(situation)
    if public:
        return _false("Available", public.reason, public.message)
    state = situation.state(decision.stable)
    if state.ready > 0:
        version = decision.stable.model.version
        return _true(
            "Available",
            "MinimumReplicasAvailable",
            f"Version {version} is served by {_pods(state.ready)}",
        )
    failure = explain(situation, decision.stable)
    if failure:
        return _false("Available", failure.reason, failure.message)
    return _false("Available", "Starting", _waiting(situation, decision.stable))


def progressing(situation: Situation) -> Condition:
    """Whether a change is under way. False and not Complete: it does not come to its end."""
    decision = situation.decision
    if decision is None:
        return _false("Progressing", "ModelUnresolved", "Nothing to roll out: the model is unknown")
    if decision.phase == Phase.STOPPED:
        return _false("Progressing", "Stopped", "Stopped: spec.scaling.minReplicas is 0")
    if decision.phase == Phase.DRAINING:
        names = ", ".join(sorted(decision.draining))
        return _true("Progressing", "Draining", f"{names} finishes its last requests")
    target = decision.target
    state = situation.state(target)
    settled = decision.phase == Phase.STABLE or state.is_ready
    if settled and state.ready >= state.desired:
        return _false("Progressing", "Complete", f"{target.name} serves as the spec says")
    failure = explain(situation, target)
    if failure:
        return _false("Progressing", failure.reason, _stuck(situation, decision, failure))
    return _true("Progressing", "NewRevision", _waiting(situation, target))


def route_accepted(situation: Situation) -> Condition | None:
    """Whether the named gateway has taken the route; None where none is named."""
    gateway = situation.resource.spec.routing.gateway
    if gateway is None:
        return None
    name = f"{gateway.namespace or situation.resource.namespace}/{gateway.name}"
    refused = _route_refused_by_api(situation)
    if refused:
        return refused
    route = situation.live.routes.get(situation.resource.name)
    if route is None:
        return _false("RouteAccepted", "WaitingForGateway", "There is no route yet")
    verdicts = _verdicts(route)
    bad = next((one for one in verdicts if one.get("status") != "True"), None)
    if bad:
        return _false(
            "RouteAccepted",
            "RouteRefused",
            f"Gateway {name} refuses the route ({bad.get('reason')}): {bad.get('message')}. "
            "Correct spec.routing, or have the Gateway's listeners allow this host name and "
            "namespace",
        )
    if any(one.get("type") == "Accepted" for one in verdicts):
        return _true("RouteAccepted", "Accepted", f"Gateway {name} leads here")
    if situation.gateway_exists is False:
        return _false(
            "RouteAccepted",
            "GatewayNotFound",
            f"There is no Gateway {name}: create it, or correct spec.routing.gateway",
        )
    return _false(
        "RouteAccepted",
        "WaitingForGateway",
        f"Gateway {name} has not answered yet: see that its controller runs",
    )


def canary_ready(situation: Situation) -> Condition | None:
    """Whether the canary can take its share; None where there is none."""
    if situation.resource.spec.canary is None:
        return None
    resolution = situation.canary_resolution
    if isinstance(resolution, ResolutionError):
        return _false("CanaryReady", resolution.reason, resolution.message)
    canary = situation.decision.canary if situation.decision else None
    if canary is None:
        return _true("CanaryReady", "SameVersion", _same_version(situation))
    if situation.state(canary).is_ready:
        return _true("CanaryReady", "Ready", f"Version {canary.model.version} is ready")
    failure = explain(situation, canary)
    if failure:
        return _false("CanaryReady", failure.reason, failure.message)
    return _false("CanaryReady", "Starting", _waiting(situation, canary))


def traffic_split(situation: Situation) -> Condition | None:
    """Whether the canary has the weight that the spec gives it; None where there is no canary."""
    spec, decision = situation.resource.spec, situation.decision
    if spec.canary is None:
        return None
    if isinstance(situation.canary_resolution, ResolutionError):
        return _false("TrafficSplit", "CanaryUnresolved", "All traffic goes to the stable version")
    canary = decision.canary if decision else None
    if decision is None or canary is None:
        return _false("TrafficSplit", "SameVersion", _same_version(situation))
    given = dict(decision.traffic).get(canary.name, 0)
    if given != spec.canary.weight:
        return _false(
            "TrafficSplit",
            "CanaryNotReady",
            f"The canary gets its {spec.canary.weight} % when it is ready; until then all traffic "
            f"goes to version {decision.stable.model.version}",
        )
    if spec.routing.gateway is None and 0 < given < 100:
        return _approximate(situation, decision, canary, given)
    return _true(
        "TrafficSplit", "Applied", f"Version {canary.model.version} gets {given} % of the requests"
    )


def _approximate(
    situation: Situation, decision: Decision, canary: Revision, weight: int
) -> Condition:
    canary_pods = situation.state(canary).ready
    all_pods = canary_pods + situation.state(decision.stable).ready
    reached = round(100 * canary_pods / all_pods) if all_pods else 0
    if reached == weight:
        return _true(
            "TrafficSplit",
            "Applied",
            f"{canary_pods} of {all_pods} pods are the canary's: {reached} % of the requests",
        )
    return _false(
        "TrafficSplit",
        "Approximate",
        f"Asked for {weight} %, reached {reached} % ({canary_pods} of {_pods(all_pods)}): name "
        "spec.routing.gateway for exact weights, or run more replicas",
    )


def _route_refused_by_api(situation: Situation) -> Condition | None:
    for error in situation.apply_errors:
        if error.kind != "HTTPRoute":
            continue
        if error.status == 404:
            return _false(
                "RouteAccepted",
                "GatewayApiMissing",
                "The cluster has no Gateway API: install it with a gateway such as Envoy Gateway, "
                "or leave spec.routing.gateway out",
            )
        failure = of_apply_error(error)
        return _false("RouteAccepted", failure.reason, failure.message)
    return None


def _verdicts(route: KubeObject) -> list[KubeObject]:
    """What gateways say of the route as it stands: Accepted and ResolvedRefs."""
    generation = route["metadata"].get("generation")
    return [
        condition
        for parent in route.get("status", {}).get("parents", ())
        for condition in parent.get("conditions", ())
        if condition.get("type") in ("Accepted", "ResolvedRefs")
        and condition.get("observedGeneration", generation) == generation
    ]


def _public_failure(situation: Situation) -> Failure | None:
    """A public Service that can't be had leaves the model unreachable, whatever its pods do."""
    for error in situation.apply_errors:
        if error.kind == "Service" and error.name == situation.resource.name:
            return of_apply_error(error)
    return None


def _stuck(situation: Situation, decision: Decision, failure: Failure) -> str:
    if decision.stable.name == decision.target.name:
        return failure.message
    version = decision.target.model.version
    return f"Version {version} does not take over: {failure.message}{_serving(situation)}"


def _waiting(situation: Situation, revision: Revision) -> str:
    state = situation.state(revision)
    return (
        f"Version {revision.model.version} ({revision.name}) is starting: {state.ready} of "
        f"{_pods(max(state.desired, 1))} ready"
    )


def _serving(situation: Situation) -> str:
    decision = situation.decision
    if decision is None or situation.state(decision.stable).ready == 0:
        return ""
    return f". Version {decision.stable.model.version} is still served"


def _means(model: ModelVersion) -> str:
    if model.requested == model.uri:
        return f"{model.uri} is served as it is"
    return f"{model.requested} means {model.uri}"


def _same_version(situation: Situation) -> str:
    assert situation.resource.spec.canary is not None
    return f"{situation.resource.spec.canary.uri} means the version that is stable already"


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _present(condition: Condition | None) -> list[Condition]:
    return [] if condition is None else [condition]


def _true(type_: str, reason: str, message: str) -> Condition:
    return Condition(type_, ConditionStatus.TRUE, reason, message)


def _false(type_: str, reason: str, message: str) -> Condition:
    return Condition(type_, ConditionStatus.FALSE, reason, message)
