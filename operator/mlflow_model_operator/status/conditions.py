"""The conditions of a resource: each a small function that decides and says why.

True is good, except for Progressing. A condition is computed from the snapshot, never copied from a
child.
"""

from __future__ import annotations

from mlflow_model_operator.api import python_versions
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.names import KIND
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.gateway import GatewayState
from mlflow_model_operator.kube.httproute import Accepted, Pending, Refused
from mlflow_model_operator.kube.objects import format_time
from mlflow_model_operator.rollout import Decision, Phase, Postponement, Rejected, Trial
from mlflow_model_operator.rollout.progress import Action, Cause, Stage
from mlflow_model_operator.rollout.route_features import RouteFeature
from mlflow_model_operator.rollout.state import Revision, RevisionState
from mlflow_model_operator.status.condition import Condition, ConditionStatus, met, unmet
from mlflow_model_operator.status.diagnosis import Failure, diagnose, diagnose_apply_failure
from mlflow_model_operator.status.rollout_text import control_command, rollout_message
from mlflow_model_operator.status.shadow import shadow_ready
from mlflow_model_operator.status.snapshot import ApplyError, Snapshot
from mlflow_model_operator.status.summary import summary
from mlflow_model_operator.status.variants import variants_ready, variants_split

_NO_ROOM = (Reason.UNSCHEDULABLE, Reason.NO_GPU_NODE, Reason.QUOTA_EXCEEDED)

# What to do when a gateway refuses a route, by the reason that the Gateway API gives.
_ROUTE_FIXES = {
    "NotAllowedByListeners": "Allow routes from namespace {namespace} in a listener of the Gateway "
    "(allowedRoutes), or set spec.routing.gateway to another Gateway",
    "NoMatchingListenerHostname": "Set spec.routing.hostnames to host names that a listener of the "
    "Gateway accepts",
    "NoMatchingParent": "Set spec.routing.gateway to a Gateway with an HTTP listener",
}
# By what a gateway does not support: the field, and what happens instead.
_RULES = {
    RouteFeature.STICKY: ("spec.routing.sticky", "users do not stay with a revision"),
    RouteFeature.MATCH: ("match", "only the weights apply"),
}
_DEFAULT_ROUTE_FIX = (
    "Correct spec.routing, or allow this host name and namespace in the Gateway's listeners"
)


def conditions(snapshot: Snapshot) -> list[Condition]:
    """All conditions that apply, the summary first."""
    parts = [
        model_resolved(snapshot),
        available(snapshot),
        progressing(snapshot),
        route_accepted(snapshot),
        rules_accepted(snapshot),
        canary_ready(snapshot),
        variants_ready(snapshot),
        traffic_split(snapshot),
        shadow_ready(snapshot),
        registry_updated(snapshot),
    ]
    applicable = [condition for condition in parts if condition is not None]
    return [*summary(snapshot, applicable), *applicable]


def model_resolved(snapshot: Snapshot) -> Condition:
    """Whether the model URI resolves to a version now."""
    resolution = snapshot.resolution
    if isinstance(resolution, ModelVersion):
        return met("ModelResolved", Reason.RESOLVED, _resolves(snapshot, resolution))
    return unmet("ModelResolved", resolution.reason, resolution.message + _still_served(snapshot))


def available(snapshot: Snapshot) -> Condition:
    """Whether requests are answered by the revision that has the traffic."""
    decision = snapshot.decision
    if decision is None:
        return unmet(
            "Available",
            Reason.MODEL_UNRESOLVED,
            f"Nothing is served: {_unresolved(snapshot)}",
        )
    if decision.phase == Phase.STOPPED:
        return unmet(
            "Available",
            Reason.STOPPED,
            "Stopped: spec.scaling.minReplicas is 0; set it to at least 1 to serve the model",
        )
    failure = _unavailable(snapshot, decision)
    if failure:
        return unmet("Available", failure.reason, failure.message)
    serving = next(filter(snapshot.answers, snapshot.named(snapshot.routing.reached)))
    return met(
        "Available",
        Reason.MINIMUM_REPLICAS_AVAILABLE,
        f"Version {serving.model.version} is served by {_pods(snapshot.state(serving).ready)}",
    )


def _unavailable(snapshot: Snapshot, decision: Decision) -> Failure | None:
    """Why requests are not answered: by what the Service and the gateway do, not what they should.

    Each revision that the gateway sends requests to must answer; of those that the Service selects,
    the ready pods get them.
    """
    by_service = snapshot.named(snapshot.routing.service)
    if not by_service:
        return _public_service_failure(snapshot) or _not_ready(snapshot, decision.stable)
    down = [revision for revision in by_service if not snapshot.answers(revision)]
    if len(down) < len(by_service):
        down = []
    by_route = snapshot.named(snapshot.routing.route)
    down += [revision for revision in by_route if not snapshot.answers(revision)]
    return _not_ready(snapshot, down[0]) if down else None


def _not_ready(snapshot: Snapshot, revision: Revision) -> Failure:
    """Why a revision that gets requests has no ready pod."""
    decision = snapshot.decision
    trial = decision.trial if decision else None
    if decision and trial and trial.stable_replicas == 0 and revision == decision.stable:
        return _not_ready(snapshot, decision.target)  # which has its place
    failure = diagnose(snapshot, revision)
    if failure:
        return failure
    is_lost = decision is not None and decision.target.name != revision.name
    if is_lost and revision.name not in snapshot.live.deployments:
        return _missing(revision)
    return Failure(Reason.STARTING, _starting(snapshot, revision))


def _missing(revision: Revision) -> Failure:
    return Failure(
        Reason.REVISION_MISSING,
        f"Deployment {revision.name} of version {revision.model.version}, which "
        "receives the traffic, was deleted, and the current spec renders "
        "another pod template: wait for the next revision to become ready, or "
        "revert the spec",
    )


def progressing(snapshot: Snapshot) -> Condition:
    """Whether a change is under way. False and not Complete: it is stuck."""
    decision = snapshot.decision
    if decision is None:
        return unmet(
            "Progressing",
            Reason.MODEL_UNRESOLVED,
            f"Nothing to roll out: {_unresolved(snapshot)}",
        )
    not_applied = _apply_failure(snapshot, decision)
    if not_applied:
        return unmet("Progressing", not_applied.reason, not_applied.message)
    if decision.phase == Phase.STOPPED:
        return unmet("Progressing", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    if decision.rejected is not None:
        return _turned_back(snapshot, decision.rejected)
    if decision.trial is not None:
        return _progressing_in_steps(snapshot, decision, decision.trial)
    if decision.phase == Phase.DRAINING:
        if snapshot.lingering:
            return met("Progressing", Reason.MOVING_TRAFFIC, _moving(snapshot, decision))
        names = ", ".join(sorted(set(decision.draining) - decision.drained))
        return met(
            "Progressing", Reason.DRAINING, f"Waiting for in-flight requests to finish: {names}"
        )
    target = decision.target
    state = snapshot.state(target)
    # Failing pods are reported even where enough others are ready: an autoscaler asks for them.
    failure = None if state.is_ready else diagnose(snapshot, target)
    if failure:
        return unmet("Progressing", failure.reason, _stuck(snapshot, decision, failure))
    if state.is_ready or (target == decision.stable and _has_min_replicas(snapshot, state)):
        if snapshot.postponed is not None:
            return _postponed(snapshot, snapshot.postponed)
        return unmet("Progressing", Reason.COMPLETE, _complete(snapshot, target))
    return met("Progressing", Reason.NEW_REVISION, _starting(snapshot, target))


def _progressing_in_steps(snapshot: Snapshot, decision: Decision, trial: Trial) -> Condition:
    """How far a rollout in steps has come, and what it waits for."""
    progress, obstacle = trial.progress, trial.obstacle
    if obstacle is not None and progress.waiting_for is Cause.GATES:
        text = f"Version {decision.target.model.version} does not take over yet: {obstacle.message}"
        return unmet("Progressing", obstacle.reason, text + _still_served(snapshot))
    if progress.waiting_for is Cause.PODS:
        failure = diagnose(snapshot, decision.target)
        if failure:
            return unmet("Progressing", failure.reason, _stuck(snapshot, decision, failure))
        return met("Progressing", Reason.NEW_REVISION, _starting(snapshot, decision.target))
    text = rollout_message(decision, trial)
    if trial.notice:
        text = f"{text}. {trial.notice}"
    if progress.stage is Stage.PAUSED:
        resume = control_command(snapshot.resource, Action.RESUME)
        return met("Progressing", Reason.ROLLOUT_PAUSED, f"{text}. To continue: {resume}")
    if progress.waiting_for is Cause.ANALYSIS:
        return met("Progressing", Reason.ANALYSIS_INCONCLUSIVE, _unjudged(snapshot, text))
    return met("Progressing", Reason.ROLLOUT_PROGRESSING, text)


def _unjudged(snapshot: Snapshot, text: str) -> str:
    """Why there is no verdict, and how to continue without."""
    report = snapshot.analysis
    why = report.message if report else "no metrics were read yet"
    resume = control_command(snapshot.resource, Action.RESUME)
    return f"{text}: {why}. To continue with the next step anyway: {resume}"


def _turned_back(snapshot: Snapshot, rejected: Rejected) -> Condition:
    """Why a target was rolled back, and how to try it again."""
    rejection = rejected.progress.rejection
    assert rejection is not None
    return unmet(
        "Progressing",
        rejection.reason,
        f"Version {rejected.revision.model.version} ({rejected.revision.name}) "
        f"was rolled back: {rejection.message}{_still_served(snapshot)}. To try "
        f"it again: {control_command(snapshot.resource, Action.RETRY)}",
    )


def _postponed(snapshot: Snapshot, postponed: Postponement) -> Condition:
    """Until when a rollout does not start, and why."""
    rollout, until = snapshot.resource.spec.rollout, format_time(postponed.until)
    flaps = rollout.flap_protection
    why = {
        Reason.FROZEN: "spec.rollout.freeze lets no rollout start before",
        Reason.FLAPPING: f"the model URI has caused {flaps.limit} rollouts within "
        f"{flaps.window_text} "
        "(spec.rollout.flapProtection); see who moves it",
        Reason.DEBOUNCING: "the model URI must resolve to it for so long (spec.rollout.debounce)",
    }
    version = postponed.revision.model.version
    return unmet(
        "Progressing",
        postponed.reason,
        f"Version {version} ({postponed.revision.name}) waits until {until}: "
        f"{why[postponed.reason]}{_still_served(snapshot)}. To start it now: "
        f"{control_command(snapshot.resource, Action.RESUME)}",
    )


def registry_updated(snapshot: Snapshot) -> Condition | None:
    """Whether the registry has what spec.rollout asks for; None where it asks for nothing."""
    state = snapshot.writes
    if state is None or snapshot.decision is None:
        return None
    failure = state.denial or state.failure
    if failure is not None:
        return unmet("RegistryUpdated", failure.reason, failure.message)
    if state.done is not None:
        return met("RegistryUpdated", Reason.REGISTRY_WRITTEN, "The registry is up to date")
    before = snapshot.resource.status.condition("RegistryUpdated")
    if before is not None and before.reason in set(Reason):
        reason, status = Reason(before.reason), ConditionStatus(before.status)
        return Condition("RegistryUpdated", status, reason, before.message)
    pending = "The registry is not up to date yet"
    return Condition(
        "RegistryUpdated", ConditionStatus.UNKNOWN, Reason.REGISTRY_WRITE_PENDING, pending
    )


def _moving(snapshot: Snapshot, decision: Decision) -> str:
    names, version = ", ".join(sorted(snapshot.lingering)), decision.stable.model.version
    why = "" if snapshot.resource.gateway is None else "; see condition RouteAccepted"
    return f"Version {version} is ready, but requests still reach {names}{why}"


def _complete(snapshot: Snapshot, target: Revision) -> str:
    text = f"Revision {target.name} is fully rolled out"
    scaling, surge = snapshot.resource.spec.scaling, snapshot.resource.spec.rollout.surge
    if surge == 0 and scaling.min_replicas == 1 and snapshot.state(target).desired == 1:
        text += (
            ". The next update makes the model unavailable until its new pod is ready: to avoid "
            "that, set spec.rollout.surge above 0 or spec.scaling.minReplicas above 1"
        )
    if not snapshot.is_deferred:
        return text
    return (
        f"{text}. The operator's new pod template follows: the chart value "
        "maxTemplateUpdates limits how many resources are updated at a time"
    )


def route_accepted(snapshot: Snapshot) -> Condition | None:
    """Whether the gateway has accepted the route; None where spec.routing.gateway is not set."""
    gateway = snapshot.resource.gateway
    if gateway is None:
        return None
    not_applied = _route_apply_failure(snapshot)
    if not_applied:
        return not_applied
    for message in snapshot.denied_hostnames.values():
        return unmet("RouteAccepted", Reason.POLICY_DENIED, message)
    if snapshot.rivals:
        return _hostname_taken(snapshot, gateway)
    if snapshot.gateway is not None and not snapshot.gateway.exists:
        return unmet(
            "RouteAccepted",
            Reason.GATEWAY_NOT_FOUND,
            f"Gateway {gateway} not found: create it, or correct spec.routing.gateway",
        )
    route = snapshot.live.routes.get(snapshot.resource.name)
    if route is None:
        return unmet("RouteAccepted", Reason.WAITING_FOR_GATEWAY, "HTTPRoute not created yet")
    acceptance = httproute.acceptance(route, gateway.name, gateway.namespace)
    if isinstance(acceptance, Refused):
        return _refused_by_gateway(snapshot, gateway, acceptance)
    if snapshot.gateway is not None and not snapshot.gateway.is_programmed:
        return _not_programmed(snapshot.gateway, gateway)
    match acceptance:
        case Accepted():
            return met("RouteAccepted", Reason.ACCEPTED, f"Route accepted by Gateway {gateway}")
        case Pending():
            return _waiting_for_gateway(gateway)


def _refused_by_gateway(snapshot: Snapshot, gateway: Key, refusal: Refused) -> Condition:
    why = single_line(refusal.message).rstrip(". ")
    fix = _ROUTE_FIXES.get(refusal.reason, _DEFAULT_ROUTE_FIX)
    return unmet(
        "RouteAccepted",
        Reason.ROUTE_REFUSED,
        f"Route refused by Gateway {gateway} ({single_line(refusal.reason)}): {why}. "
        f"{fix.format(namespace=snapshot.resource.namespace)}",
    )


def _not_programmed(state: GatewayState, gateway: Key) -> Condition:
    why = f" ({single_line(state.obstacle)})" if state.obstacle else ""
    return unmet(
        "RouteAccepted",
        Reason.GATEWAY_NOT_PROGRAMMED,
        f"Gateway {gateway} is not programmed{why}: check that the controller of its GatewayClass "
        f"{state.class_name} is running",
    )


def _hostname_taken(snapshot: Snapshot, gateway: Key) -> Condition:
    """Which host name another resource has, and which one, where that is no other's secret."""
    hostname, rival = min(snapshot.rivals.items())
    what = f"Host name {hostname}" if hostname else "Any host name"
    is_near = rival.namespace == snapshot.resource.namespace
    who = f"{KIND} {rival.name}" if is_near else f"an {KIND} of another namespace"
    return unmet(
        "RouteAccepted",
        Reason.HOSTNAME_TAKEN,
        f"{what} of Gateway {gateway} with path {snapshot.resource.spec.routing.path} is served by "
        f"{who}: change spec.routing.hostnames or spec.routing.path",
    )


def _waiting_for_gateway(gateway: Key) -> Condition:
    return unmet(
        "RouteAccepted",
        Reason.WAITING_FOR_GATEWAY,
        f"Waiting for Gateway {gateway} to accept the route: check that its controller is running",
    )


def rules_accepted(snapshot: Snapshot) -> Condition | None:
    """Whether the gateway supports the rules of the spec; None where there are none."""
    spec = snapshot.resource.spec
    if snapshot.resource.gateway is None or not (spec.has_matches or spec.routing.sticky):
        return None
    for feature, refusal in snapshot.refused.items():
        why = single_line(refusal.message).rstrip(". ")
        field, effect = _RULES[feature]
        return unmet(
            "RulesAccepted",
            Reason.RULES_REFUSED,
            f"Gateway {snapshot.resource.gateway} does not support {field} "
            f"({single_line(refusal.reason)}: {why}), so {effect}: leave out {field}, or use a "
            "Gateway that supports it; see docs/how-to/ab-testing.md",
        )
    return met("RulesAccepted", Reason.ACCEPTED, "No rule was refused by the Gateway")


def canary_ready(snapshot: Snapshot) -> Condition | None:
    """Whether the canary can take its share; None where there is none."""
    if snapshot.resource.spec.canary is None:
        return None
    decision = snapshot.decision
    canary = decision.canary if decision else None
    resolution = snapshot.canary_resolution
    if isinstance(resolution, ResolutionError):
        remains = f". Version {canary.model.version} remains the canary" if canary else ""
        return unmet("CanaryReady", resolution.reason, resolution.message + remains)
    if decision is None:
        return unmet(
            "CanaryReady",
            Reason.MODEL_UNRESOLVED,
            f"There is no stable version yet: {_unresolved(snapshot)}",
        )
    if canary is None:
        return met("CanaryReady", Reason.SAME_VERSION, _same_version(snapshot))
    if decision.phase == Phase.STOPPED:
        return unmet("CanaryReady", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    state = snapshot.state(canary)
    failure = None if state.is_ready else diagnose(snapshot, canary)
    if failure:
        return unmet("CanaryReady", failure.reason, failure.message)
    has_traffic = canary.name in dict(decision.traffic)
    if state.is_ready or (has_traffic and _has_min_replicas(snapshot, state)):
        return met("CanaryReady", Reason.READY, f"Version {canary.model.version} is ready")
    return unmet("CanaryReady", Reason.STARTING, _starting(snapshot, canary))


def traffic_split(snapshot: Snapshot) -> Condition | None:
    """Whether a canary, the variants, or a target on trial have their weights; None without."""
    spec, decision = snapshot.resource.spec, snapshot.decision
    if spec.variants and decision is not None:
        return variants_split(snapshot, decision)
    if spec.canary is None:
        return _split_on_trial(snapshot, decision) if decision else None
    canary = decision.canary if decision else None
    if canary is None and isinstance(snapshot.canary_resolution, ResolutionError):
        return unmet(
            "TrafficSplit", Reason.CANARY_UNRESOLVED, "All traffic goes to the stable version"
        )
    if decision is None:
        return unmet("TrafficSplit", Reason.CANARY_NOT_READY, "There is no traffic to split yet")
    if canary is None:
        return unmet("TrafficSplit", Reason.SAME_VERSION, _same_version(snapshot))
    weight = dict(decision.traffic).get(canary.name, 0)
    if weight != spec.canary.weight:
        return _other_split(snapshot, decision, canary, spec.canary.weight)
    if spec.routing.gateway is None and 0 < weight < 100:
        return _split_by_pods(snapshot, decision, canary, weight)
    return met("TrafficSplit", Reason.APPLIED, _split_by_route(snapshot, canary, weight))


def _split_on_trial(snapshot: Snapshot, decision: Decision) -> Condition | None:
    """Whether the target of a rollout in steps has the weight of its step."""
    trial, target = decision.trial, decision.target
    if trial is None or trial.weight == 0:
        return None
    weight = dict(decision.traffic).get(target.name, 0)
    if weight > trial.weight:
        text = "All requests go to the new version until the stable one has a ready pod"
        return unmet("TrafficSplit", Reason.STABLE_NOT_READY, text)
    if weight < trial.weight:
        text = f"Version {target.model.version} gets {trial.weight} % again when it is ready"
        return unmet("TrafficSplit", Reason.CANARY_NOT_READY, text)
    if snapshot.resource.gateway is None and weight < 100:
        return _split_by_pods(snapshot, decision, target, weight)
    return met("TrafficSplit", Reason.APPLIED, _split_by_route(snapshot, target, weight))


def _other_split(
    snapshot: Snapshot, decision: Decision, canary: Revision, requested: int
) -> Condition:
    """Why the canary has another weight than the requested one."""
    version = decision.stable.model.version
    if canary.name in dict(decision.traffic):
        return unmet(
            "TrafficSplit",
            Reason.STABLE_NOT_READY,
            f"All requests go to the canary until version {version} has a ready pod",
        )
    if snapshot.state(canary).is_ready and decision.phase != Phase.STOPPED:
        return unmet(
            "TrafficSplit",
            Reason.UPDATE_IN_PROGRESS,
            f"The canary gets {requested} % of the requests after the update; until "
            f"then all go to version {version}: without spec.routing.gateway, pods "
            "of a third revision would also get some",
        )
    return unmet(
        "TrafficSplit",
        Reason.CANARY_NOT_READY,
        f"The canary gets {requested} % of the requests when it is ready; until then "
        f"all go to version {version}",
    )


def _split_by_route(snapshot: Snapshot, canary: Revision, weight: int) -> str:
    text = f"Version {canary.model.version} gets {weight} % of the requests"
    route = route_accepted(snapshot)
    if route is None or route.status == ConditionStatus.TRUE:
        return text
    return f"{text} once the gateway accepts the route: see condition RouteAccepted"


def _split_by_pods(
    snapshot: Snapshot, decision: Decision, canary: Revision, weight: int
) -> Condition:
    canary_pods = snapshot.state(canary).ready
    all_pods = canary_pods + snapshot.state(decision.stable).ready
    actual = round(100 * canary_pods / all_pods) if all_pods else 0
    if actual == weight:
        return met(
            "TrafficSplit",
            Reason.APPLIED,
            f"Version {canary.model.version} has {canary_pods} of {all_pods} pods: {actual} % of "
            "the requests",
        )
    return unmet(
        "TrafficSplit",
        Reason.APPROXIMATE,
        f"Requested {weight} %, actual {actual} % ({canary_pods} of {_pods(all_pods)}): set "
        "spec.routing.gateway for exact weights, or run more replicas",
    )


def _has_min_replicas(snapshot: Snapshot, state: RevisionState) -> bool:
    """Whether a revision that has traffic has as many ready pods as minReplicas asks for.

    An autoscaler that adds some more does not change what is served.
    """
    required = min(snapshot.resource.spec.scaling.min_replicas, state.desired)
    return state.exists and state.ready >= max(required, 1)


def _apply_failure(snapshot: Snapshot, decision: Decision) -> Failure | None:
    """An object that could not be applied, and that no other condition is about."""
    shadow = decision.shadow.revision if decision.shadow else None
    others = (decision.canary, shadow, *(variant.revision for variant in decision.variants))
    names = {revision.name for revision in others if revision} - {decision.target.name}
    for error in snapshot.apply_errors:
        is_shadows = error.kind == "ConfigMap" and snapshot.resource.spec.shadow is not None
        if error.kind == "HTTPRoute" or is_shadows or error.name in names:
            continue
        failure = diagnose_apply_failure(error)
        if error.name == decision.target.name:
            return Failure(failure.reason, _stuck(snapshot, decision, failure))
        return failure
    return None


def _route_apply_failure(snapshot: Snapshot) -> Condition | None:
    for error in snapshot.apply_errors:
        if error.kind != "HTTPRoute":
            continue
        if isinstance(error, ApplyError) and _is_kind_missing(error):
            return unmet(
                "RouteAccepted",
                Reason.GATEWAY_API_MISSING,
                "The cluster has no Gateway API: install it with a gateway such as Envoy Gateway, "
                "or leave out spec.routing.gateway",
            )
        failure = diagnose_apply_failure(error)
        return unmet("RouteAccepted", failure.reason, failure.message)
    return None


def _is_kind_missing(error: ApplyError) -> bool:
    """Whether the API server doesn't serve the kind; a missing namespace is a 404 too."""
    return error.status == 404 and "namespaces" not in error.message


def _public_service_failure(snapshot: Snapshot) -> Failure | None:
    """Why the public Service, without which the model can't be reached, could not be applied."""
    name = snapshot.resource.name
    for error in snapshot.apply_errors:
        if error.kind == "Service" and error.name == name:
            return diagnose_apply_failure(error)
    return None


def _stuck(snapshot: Snapshot, decision: Decision, failure: Failure) -> str:
    if decision.stable.name == decision.target.name:
        return failure.message
    version = decision.target.model.version
    text = f"Version {version} does not take over: {failure.message}"
    if failure.reason in _NO_ROOM and snapshot.resource.spec.rollout.surge_percent == 100:
        text += ". To update within the available capacity, set spec.rollout.surge below 100"
    return text + _still_served(snapshot)


def _starting(snapshot: Snapshot, revision: Revision) -> str:
    state = snapshot.state(revision)
    return (
        f"Version {revision.model.version} ({revision.name}) is starting: {state.ready} of "
        f"{_pods(max(state.desired, 1))} ready"
    )


def _still_served(snapshot: Snapshot) -> str:
    decision = snapshot.decision
    if decision is None or snapshot.state(decision.stable).ready == 0:
        return ""
    return f". Version {decision.stable.model.version} is still served"


def _unresolved(snapshot: Snapshot) -> str:
    uri = snapshot.resource.spec.model.uri
    return f"{uri} could not be resolved; see condition ModelResolved"


def _resolves(snapshot: Snapshot, model: ModelVersion) -> str:
    uri = model.display_uri
    text = (
        f"{uri} is served as is"
        if uri == model.requested
        else f"{model.requested} resolves to {uri}"
    )
    fetched = f" ({model.uri})" if model.uri != uri else ""
    return f"{text}{fetched}{_python_mismatch(snapshot)}"


def _python_mismatch(snapshot: Snapshot) -> str:
    """That the model runs with another Python than it was logged with; "" where it does not."""
    versions = snapshot.scoring_python_versions
    logged = snapshot.decision.target.model.python_version if snapshot.decision else None
    if logged is None or not versions or snapshot.resource.spec.server.image:
        return ""
    own = python_versions.minor(logged)
    served = python_versions.nearest(logged, versions, own)
    if served == own:
        return ""
    return (
        f". It was logged with Python {logged} and runs with Python {served}, "
        f"because there is no scoring image for {own}: add one (chart value "
        f"scoringImages), or log the model with {served}"
    )


def _same_version(snapshot: Snapshot) -> str:
    assert snapshot.resource.spec.canary is not None
    return f"{snapshot.resource.spec.canary.uri} resolves to the stable version"


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
