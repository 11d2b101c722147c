"""From a resource and what is seen of it to what must be so: which objects exist, which may go.

Pure: it decides (rollout), renders (render) and compares, but never acts. `reconcile` acts on it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mlflow_model_operator import labels, render
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import RevisionStatus
from mlflow_model_operator.diff import needs_apply
from mlflow_model_operator.domain import (
    KubeObject,
    LiveChildren,
    ModelVersion,
    ResolutionError,
    Revision,
    RevisionState,
    Weight,
)
from mlflow_model_operator.rollout import (
    Decision,
    Recorded,
    Wanted,
    approximate_canary_replicas,
    decide,
    deployment_state,
)
from mlflow_model_operator.settings import Settings

Resolved = ModelVersion | ResolutionError

ABSENT = "all of it"


@dataclass(frozen=True)
class Meaning:
    """What the URIs of a resource mean now, or why they mean nothing."""

    model: Resolved
    canary: Resolved | None = None


@dataclass(frozen=True)
class Plan:
    """Who serves, and which revisions this version of the spec can state in full."""

    decision: Decision
    restorable: tuple[Revision, ...]

    @property
    def identity(self) -> Hashable:
        """Equal for plans that, for one generation of the spec, ask for the same objects."""
        return (self.decision.identity, self.restorable)

    @property
    def outdated(self) -> Revision | None:
        """The stable revision, where it serves with a pod template that the spec states no more.

        Its pods stay as they are until others take their place; how many there are follows the
        spec.
        """
        stable = self.decision.stable
        return None if stable in self.restorable else stable


@dataclass(frozen=True)
class Unmet:
    """A desired object that is not so, and the first field of it that differs, or ABSENT."""

    desired: KubeObject
    difference: str

    @property
    def is_absent(self) -> bool:
        """Whether there is no such object."""
        return self.difference == ABSENT


@dataclass(frozen=True)
class Steps:
    """What lies between what is live and what is desired; false where that is the same."""

    apply: list[Unmet]
    scale: tuple[KubeObject, int] | None  # a live Deployment, and the replicas to give it
    prune: list[KubeObject]

    def __bool__(self) -> bool:
        return bool(self.apply or self.scale or self.prune)

    @property
    def absent(self) -> list[Unmet]:
        """Those that do not exist yet."""
        return [one for one in self.apply if one.is_absent]


class RevisionNames:
    """Remembers the names of revisions: each costs a rendered pod template to find."""

    def __init__(self, settings: Settings, size: int = 8192) -> None:
        self._settings = settings
        self._size = size
        self._known: dict[tuple[str, int, ModelVersion], Revision] = {}

    def revision(self, resource: MLflowModelDeployment, model: ModelVersion) -> Revision:
        """The revision that `model` is with the pod template that `resource` states now."""
        key = (resource.uid, resource.generation, model)
        if key not in self._known:
            if len(self._known) >= self._size:
                self._known.clear()
            self._known[key] = render.revision(resource, model, self._settings)
        return self._known[key]


def make_plan(
    resource: MLflowModelDeployment,
    meaning: Meaning,
    live: LiveChildren,
    names: RevisionNames,
    settings: Settings,
    now: float,
) -> Plan | None:
    """Decides for one resource; None where nothing was ever resolved, so nothing can be served."""
    recorded = recorded_decision(resource)
    model = _last_known(meaning.model, _known(resource, recorded))
    if model is None:
        return None
    target = names.revision(resource, model)
    canary = _canary(resource, meaning, names)
    restorable = _restorable(resource, recorded, target, canary, names)
    decision = decide(
        Wanted(
            target=target,
            canary=canary,
            canary_weight=resource.spec.canary.weight if resource.spec.canary else 0,
            stopped=resource.spec.scaling.min_replicas == 0,
        ),
        recorded,
        _states(live, restorable),
        traffic_applied=traffic_applied(resource, live, recorded.traffic),
        now=now,
        drain_delay=settings.drain_delay,
    )
    wanted = {decision.target.name, decision.stable.name}
    wanted |= {decision.canary.name} if decision.canary else set()
    return Plan(decision, tuple(r for r in restorable if r.name in wanted))


def desired_objects(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren, settings: Settings
) -> list[KubeObject]:
    """All objects that must exist as stated, in the order in which to apply them."""
    objects: list[KubeObject] = []
    for revision in plan.restorable:
        replicas, autoscale = _replicas(resource, plan.decision, revision, live)
        objects += render.revision_objects(
            resource, revision, settings, replicas=replicas, autoscale=autoscale
        )
    if plan.outdated:
        replicas, autoscale = _replicas(resource, plan.decision, plan.outdated, live)
        objects += render.scaling_objects(
            resource, plan.outdated, replicas=replicas, autoscale=autoscale
        )
    return objects + render.public_objects(
        resource,
        plan.decision.stable,
        plan.decision.traffic,
        is_outdated=plan.outdated is not None,
    )


def make_steps(
    resource: MLflowModelDeployment, plan: Plan, desired: Iterable[KubeObject], live: LiveChildren
) -> Steps:
    """What is to be done next so that all that is desired is so, and nothing else is there."""
    return Steps(
        apply=[Unmet(obj, why) for obj in desired if (why := _difference(obj, live)) is not None],
        scale=_scale(resource, plan, live),
        prune=_superfluous(plan, desired, live),
    )


def _difference(obj: KubeObject, live: LiveChildren) -> str | None:
    found = live.of_kind(obj["kind"]).get(obj["metadata"]["name"])
    return ABSENT if found is None else needs_apply(obj, found)


def _scale(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren
) -> tuple[KubeObject, int] | None:
    """The Deployment of an outdated revision with the replicas that it lacks or has too many of."""
    deployment = live.deployments.get(plan.outdated.name) if plan.outdated else None
    if plan.outdated is None or deployment is None:
        return None
    replicas, _ = _replicas(resource, plan.decision, plan.outdated, live)
    return None if deployment["spec"].get("replicas") == replicas else (deployment, replicas)


def _superfluous(plan: Plan, desired: Iterable[KubeObject], live: LiveChildren) -> list[KubeObject]:
    """Live objects that must go: those of revisions that ended, and those no longer asked for."""
    stated = {(obj["kind"], obj["metadata"]["name"]) for obj in desired}
    return [
        obj
        for obj in _all(live)
        if (obj["kind"], obj["metadata"]["name"]) not in stated
        and not _stays_as_it_is(obj, plan)
        and "deletionTimestamp" not in obj["metadata"]
    ]


def _stays_as_it_is(obj: KubeObject, plan: Plan) -> bool:
    """Whether it is of a revision that is kept but that the spec can't state any more."""
    revision = obj["metadata"].get("labels", {}).get(labels.REVISION)
    if plan.outdated and revision == plan.outdated.name:
        return obj["kind"] in ("Deployment", "Service")
    return revision in plan.decision.keep - {one.name for one in plan.restorable}


def traffic_applied(
    resource: MLflowModelDeployment, live: LiveChildren, traffic: tuple[Weight, ...]
) -> bool:
    """Whether the data plane surely follows `traffic`: the route says so and is accepted."""
    if resource.spec.routing.gateway is None:
        return True
    route = live.routes.get(resource.name)
    return (
        route is not None and route_weights(route) == dict(traffic) and _accepted(resource, route)
    )


def route_weights(route: KubeObject) -> dict[str, int]:
    """The weights that a live HTTPRoute states, by revision."""
    rules = route.get("spec", {}).get("rules") or [{}]
    return {
        ref["name"]: ref.get("weight", 1)
        for ref in rules[0].get("backendRefs", ())
        if ref.get("weight", 1) > 0
    }


def _accepted(resource: MLflowModelDeployment, route: KubeObject) -> bool:
    """Whether the gateway that is named has accepted the route as it stands, not an older one."""
    gateway = resource.spec.routing.gateway
    generation = route["metadata"].get("generation")
    return any(
        condition.get("type") == "Accepted"
        and condition.get("status") == "True"
        and condition.get("observedGeneration") == generation
        for parent in route.get("status", {}).get("parents") or ()
        if gateway and parent.get("parentRef", {}).get("name") == gateway.name
        for condition in parent.get("conditions") or ()
    )


def recorded_decision(resource: MLflowModelDeployment) -> Recorded:
    """What the resource's status says was decided before."""
    status = resource.status
    return Recorded(
        stable=_recorded_revision(status.stable),
        target=_recorded_revision(status.target),
        traffic=tuple(Weight(share.revision, share.weight) for share in status.traffic),
        draining={
            entry.revision: datetime.fromisoformat(entry.since).timestamp()
            for entry in status.draining
            if entry.since
        },
    )


def _recorded_revision(recorded: RevisionStatus | None) -> Revision | None:
    if recorded is None or not (recorded.revision and recorded.model_uri):
        return None
    model = ModelVersion(
        requested=recorded.requested_uri or recorded.model_uri,
        uri=recorded.model_uri,
        version=recorded.model_version or "-",
        tracking_uri=recorded.tracking_uri,
        name=recorded.name,
        python_version=recorded.python_version,
    )
    return Revision(recorded.revision, model)


def _known(resource: MLflowModelDeployment, recorded: Recorded) -> list[ModelVersion]:
    """What the URI meant when the status was written: what was getting ready, then what serves.

    A URI that was changed since means something else than what was getting ready.
    """
    target, stable = recorded.target, recorded.stable
    warming = [target.model] if target else []
    return [
        *(model for model in warming if model.requested == resource.spec.model.uri),
        *([stable.model] if stable else []),
    ]


def _last_known(resolved: Resolved, known: Sequence[ModelVersion]) -> ModelVersion | None:
    """Where the registry fails us, what was known of the URI goes on to be what is wanted.

    The same for the Python version, which is read from the artifacts: that they can't be read just
    now must not change the image, and so the revision.
    """
    if isinstance(resolved, ResolutionError):
        return resolved.last_known or next(iter(known), None)
    if resolved.python_version is None:
        same = next((model for model in known if model.uri == resolved.uri), None)
        return replace(resolved, python_version=same.python_version) if same else resolved
    return resolved


def _canary(
    resource: MLflowModelDeployment, meaning: Meaning, names: RevisionNames
) -> Revision | None:
    if resource.spec.canary is None or meaning.canary is None:
        return None
    recorded = _recorded_revision(resource.status.canary)
    model = _last_known(meaning.canary, [recorded.model] if recorded else [])
    return names.revision(resource, model) if model else None


def _restorable(
    resource: MLflowModelDeployment,
    recorded: Recorded,
    target: Revision,
    canary: Revision | None,
    names: RevisionNames,
) -> list[Revision]:
    """The revisions that the present spec states; an older template's revision it does not."""
    stable = recorded.stable
    revisions = {target.name: target}
    if canary is not None:
        revisions.setdefault(canary.name, canary)
    if stable is not None and names.revision(resource, stable.model).name == stable.name:
        revisions.setdefault(stable.name, stable)
    return list(revisions.values())


def _states(live: LiveChildren, restorable: Iterable[Revision]) -> Mapping[str, RevisionState]:
    states = {
        revision.name: RevisionState(desired=1, ready=0)
        for revision in restorable
        if revision.name not in live.deployments
    }
    for name, deployment in live.deployments.items():
        states[name] = deployment_state(deployment)
    return states


def _replicas(
    resource: MLflowModelDeployment, decision: Decision, revision: Revision, live: LiveChildren
) -> tuple[int, bool]:
    """How many replicas to state for a revision, and whether an HPA owns that number.

    Under an HPA the live number is stated, so that no apply ever undoes the HPA's work; a new
    revision starts with as many as serve now, so that it can take over under load.
    """
    scaling = resource.spec.scaling
    least = scaling.min_replicas
    stable_now = _live_replicas(live, decision.stable.name) or least
    if _is_approximated_canary(resource, decision, revision):
        weight = resource.spec.canary.weight if resource.spec.canary else 0
        return approximate_canary_replicas(stable_now, weight), False
    if not scaling.is_automatic:
        return least, False
    first = min(max(least, stable_now), scaling.most_replicas)
    return _live_replicas(live, revision.name) or first, True


def _is_approximated_canary(
    resource: MLflowModelDeployment, decision: Decision, revision: Revision
) -> bool:
    """Without a gateway the numbers of pods are the weights."""
    is_canary = decision.canary is not None and decision.canary.name == revision.name
    return (
        is_canary
        and revision.name != decision.target.name
        and resource.spec.routing.gateway is None
        and resource.spec.scaling.min_replicas > 0
    )


def _live_replicas(live: LiveChildren, name: str) -> int | None:
    deployment = live.deployments.get(name)
    return deployment["spec"].get("replicas") if deployment else None


def _all(live: LiveChildren) -> Iterable[KubeObject]:
    for objects in (live.routes, live.autoscalers, live.budgets, live.deployments, live.services):
        yield from objects.values()
