"""Which revisions a resource has, which of them serve, and which of them its spec renders."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mlflow_model_operator import render
from mlflow_model_operator.analysis import Report, ShadowReport
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionResult
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.gateway import GatewayState
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan.analysis import query_obstacle
from mlflow_model_operator.plan.gates import check_gates
from mlflow_model_operator.plan.previous import (
    live_revisions,
    model_to_serve,
    previous_decision,
    previous_models,
    revision_from_status,
)
from mlflow_model_operator.plan.replicas import takeover_replicas
from mlflow_model_operator.plan.rollout import Reports, RolloutPlan, plan_rollout, progress_of
from mlflow_model_operator.plan.shadow import requested_shadow, shadow_with_copies
from mlflow_model_operator.plan.start import postponement
from mlflow_model_operator.plan.undo import earlier_revision
from mlflow_model_operator.rollout import (
    Decision,
    Desired,
    Postponement,
    Previous,
    Shadow,
    decide,
    deployment_state,
    live_routing,
)
from mlflow_model_operator.rollout.matches import LiveMatches, live_matches
from mlflow_model_operator.rollout.route_features import Refusals, RouteFeature, refused_features
from mlflow_model_operator.rollout.state import Revision, RevisionState
from mlflow_model_operator.rollout.variants import Variant
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.status import Snapshot


@dataclass(frozen=True)
class Resolution:
    """What the model URIs of a resource resolve to, or why they don't."""

    model: ResolutionResult
    canary: ResolutionResult | None = None
    variants: Mapping[str, ResolutionResult] = field(default_factory=dict)  # by name
    stable: ResolutionResult | None = None  # of the stable version, where signatures are compared
    shadow: ResolutionResult | None = None


@dataclass(frozen=True)
class Plan:
    """Which revisions serve, and which of all can be rendered from the present spec."""

    decision: Decision
    renderable: tuple[Revision, ...]
    excluded_hostnames: frozenset[str] = (
        frozenset()
    )  # host names that the route leaves to other resources
    is_deferred: bool = False  # the operator's new pod template is for later
    postponed: Postponement | None = None  # the rollout that does not start yet
    draining: tuple[Revision, ...] = ()  # those of the decision that still run
    refused: Refusals = field(default_factory=dict)  # what the route leaves out
    copies_to: Shadow | None = None  # the shadow that the stable revision's pods send copies to

    @property
    def identity(self) -> Hashable:
        """Equal for plans that, for one generation of the spec, ask for the same objects."""
        routing = (self.excluded_hostnames, frozenset(self.refused))
        return (self.decision.identity, self.renderable, routing, self.copies_to)

    @property
    def stale(self) -> Revision | None:
        """The stable revision, where its pod template is no longer what the spec renders.

        Its pods stay as they are until others take their place; their number follows the spec.
        """
        stable = self.decision.stable
        return stable if stable.name in self.retained_as_is else None

    @property
    def retained_as_is(self) -> frozenset[str]:
        """The revisions that stay though the present spec doesn't render them."""
        return self.decision.retained - {revision.name for revision in self.renderable}


class RevisionNames:
    """Caches the names of revisions: to find one, a pod template must be rendered."""

    def __init__(self, settings: Settings, size: int = 8192) -> None:
        self._settings = settings
        self._size = size
        self._by_model: dict[tuple[str, int, ModelVersion], Revision] = {}

    def revision(self, resource: MLflowModelDeployment, model: ModelVersion) -> Revision:
        """The revision of `model` with the pod template that the spec of `resource` renders."""
        key = (resource.uid, resource.generation, model)
        if key not in self._by_model:
            if len(self._by_model) >= self._size:
                self._by_model.clear()
            self._by_model[key] = render.revision(resource, model, self._settings)
        return self._by_model[key]

    def of(self, resource: MLflowModelDeployment) -> Callable[[ModelVersion], Revision]:
        """The same for one resource."""
        return lambda model: self.revision(resource, model)


@dataclass(frozen=True)
class Surroundings:
    """What a plan depends on beside the resource and its children."""

    gateway: GatewayState | None = None  # the Gateway that the spec names; None: not looked up
    excluded_hostnames: frozenset[str] = frozenset()  # host names that an older resource serves
    may_update: bool = True  # whether it is this resource's turn to get the operator's new template
    analysis: Report | None = None  # of the step that a rollout holds
    query_denial: str | None = None  # why the analysis must not ask a Prometheus
    shadow: ShadowReport | None = None  # of the copies that the stable revision's pods send

    @property
    def reports(self) -> Reports:
        """What was read of the pods."""
        return Reports(self.analysis, self.shadow)


class _Others(NamedTuple):
    """The revisions that the spec has beside the model's own."""

    canary: Revision | None
    variants: list[Variant]

    @property
    def revisions(self) -> list[Revision]:
        """All of them."""
        of_variants = (variant.revision for variant in self.variants)
        return [*filter(None, [self.canary]), *of_variants]


def make_plan(
    resource: MLflowModelDeployment,
    resolution: Resolution,
    live: LiveChildren,
    names: RevisionNames,
    settings: Settings,
    now: float,
    around: Surroundings = Surroundings(),
) -> Plan | None:
    """Plans for one resource; None where its URI was never resolved, so nothing can be served."""
    others = _others(resource, resolution, names)
    shadow = requested_shadow(resource, resolution.shadow, names.of(resource))
    previous = previous_decision(resource, live, others.revisions, settings, now, shadow)
    model = model_to_serve(resolution.model, previous_models(resource, previous))
    if model is None:
        return None
    target, stable = names.revision(resource, replace(model, tags=())), previous.stable
    postponed = postponement(resource, previous, target, live, now)
    is_deferred = postponed is None and _is_deferred(resource, previous, target, live, around)
    if stable is not None and (is_deferred or postponed):
        target = stable
    gates = check_gates(resource, resolution.model, target, stable, resolution.stable)
    gates = gates.beside(query_obstacle(resource, around.query_denial))
    snapshot = _snapshot(resource, resolution, live, now, around)
    earlier = earlier_revision(resource, target, stable, live, settings, names.of(resource))
    rollout = plan_rollout(resource, target, stable, snapshot, gates, around.reports, earlier)
    renderable = _renderable(resource, previous, rollout.target, others.revisions, names, shadow)
    refused, matches = _live_rules(resource, live, around)
    decision = decide(
        _desired(resource, rollout, others, shadow, matches, stable, live),
        previous,
        _states(live, renderable),
        routing=live_routing(resource, live, around.gateway),
        now=now,
        drain_delay=settings.drain_delay,
        requeue_after=postponed.until - now if postponed else rollout.requeue_after,
    )
    rendered, draining = _with_role(renderable, decision), _draining(decision, live, settings)
    hostnames, copies_to = around.excluded_hostnames, shadow_with_copies(resource, decision, live)
    return Plan(decision, rendered, hostnames, is_deferred, postponed, draining, refused, copies_to)


def _live_rules(
    resource: MLflowModelDeployment, live: LiveChildren, around: Surroundings
) -> tuple[Refusals, LiveMatches]:
    """What the gateway refuses, and the live rules for requests that match, if it takes any."""
    refused = refused_features(resource, live)
    can_match = RouteFeature.MATCH not in refused
    return refused, live_matches(resource, live, around.gateway) if can_match else LiveMatches()


def _with_role(renderable: Iterable[Revision], decision: Decision) -> tuple[Revision, ...]:
    current = {revision.name for revision in decision.revisions}
    return tuple(revision for revision in renderable if revision.name in current)


def _draining(decision: Decision, live: LiveChildren, settings: Settings) -> tuple[Revision, ...]:
    existing = live_revisions(live, settings) if decision.draining else {}
    return tuple(existing[name] for name in decision.draining if name in existing)


def _is_deferred(
    resource: MLflowModelDeployment,
    previous: Previous,
    target: Revision,
    live: LiveChildren,
    around: Surroundings,
) -> bool:
    """Whether the target is the operator's change, and it is not this resource's turn."""
    return not around.may_update and is_operators_change(resource, previous, target, live)


def _desired(
    resource: MLflowModelDeployment,
    rollout: RolloutPlan,
    others: _Others,
    shadow: Shadow | None,
    matches: LiveMatches,
    stable: Revision | None,
    live: LiveChildren,
) -> Desired:
    spec, trial, canary = resource.spec, rollout.trial, others.canary
    matches_of = spec.match_by_variant
    can_match_target = matches.may_lead(spec.rollout.match, rollout.target.name)
    return Desired(
        target=rollout.target,
        canary=canary,
        canary_weight=spec.canary.weight if spec.canary else 0,
        variants=tuple(
            variant._replace(
                has_matches=matches.may_lead(matches_of[variant.name], variant.revision.name)
            )
            for variant in others.variants
        ),
        canary_matches=bool(
            spec.canary and canary and matches.may_lead(spec.canary.match, canary.name)
        ),
        stopped=spec.scaling.min_replicas == 0,
        splits_by_weight=spec.routing.gateway is not None,
        trial=trial and replace(trial, may_match=trial.may_match and can_match_target),
        rejected=rollout.rejected,
        keep_delay=spec.rollout.keep_seconds,
        takes_over=rollout.takes_over,
        takeover_replicas=takeover_replicas(resource, stable, live),
        shadow=shadow,
    )


def _snapshot(
    resource: MLflowModelDeployment,
    resolution: Resolution,
    live: LiveChildren,
    now: float,
    around: Surroundings,
) -> Snapshot:
    """What is live, before anything is decided."""
    return Snapshot(
        resource=resource,
        resolution=resolution.model,
        canary_resolution=resolution.canary,
        variant_resolutions=resolution.variants,
        decision=None,
        live=live,
        apply_errors=(),
        now=now,
        gateway=around.gateway,
    )


def is_operators_change(
    resource: MLflowModelDeployment, previous: Previous, target: Revision, live: LiveChildren
) -> bool:
    """Whether `target` would be rolled out for the operator's sake: neither spec nor model changed.

    A new version of the operator renders another pod template, and so do other scoring images. A
    rollout that has begun is no such change, and one that may help is no matter of patience.
    """
    stable = previous.stable
    if stable is None or stable.name == target.name or not stable.model.is_same(target.model):
        return False
    recorded = progress_of(resource, target)
    if recorded is not None and recorded.target == target.name:
        return False
    serves = deployment_state(live.deployments.get(stable.name)).answers
    is_stopped = resource.spec.scaling.min_replicas == 0
    has_spec_changed = resource.status.observed_generation != resource.generation
    return (serves or is_stopped) and previous.target is None and not has_spec_changed


def _others(
    resource: MLflowModelDeployment, resolution: Resolution, names: RevisionNames
) -> _Others:
    return _Others(_canary(resource, resolution, names), _variants(resource, resolution, names))


def _canary(
    resource: MLflowModelDeployment, resolution: Resolution, names: RevisionNames
) -> Revision | None:
    if resource.spec.canary is None or resolution.canary is None:
        return None
    previous = revision_from_status(resource.status.canary)
    model = model_to_serve(resolution.canary, [previous.model] if previous else [])
    return names.revision(resource, replace(model, tags=())) if model else None


def _variants(
    resource: MLflowModelDeployment, resolution: Resolution, names: RevisionNames
) -> list[Variant]:
    """The variants whose URI resolves to a version, or did before."""
    before = {entry.variant: revision_from_status(entry) for entry in resource.status.variants}
    variants = []
    for written in resource.spec.variants:
        previous, resolved = before.get(written.name), resolution.variants.get(written.name)
        is_same = previous is not None and previous.model.requested == written.uri
        models = [previous.model] if previous and is_same else []
        model = model_to_serve(resolved, models) if resolved else None
        if model is not None:
            revision = names.revision(resource, replace(model, tags=()))
            variants.append(Variant(written.name, revision, written.weight))
    return variants


def _renderable(
    resource: MLflowModelDeployment,
    previous: Previous,
    target: Revision,
    others: Iterable[Revision],
    names: RevisionNames,
    shadow: Shadow | None,
) -> list[Revision]:
    """The revisions that the present spec renders; not those of an older pod template."""
    stable = previous.stable
    is_rendered = names.revision(resource, target.model).name == target.name
    revisions = {target.name: target} if is_rendered else {}
    for other in others:
        revisions.setdefault(other.name, other)
    if shadow is not None:
        revisions.setdefault(shadow.revision.name, shadow.revision)
    if stable is not None and names.revision(resource, stable.model).name == stable.name:
        revisions.setdefault(stable.name, stable)
    return list(revisions.values())


def _states(live: LiveChildren, renderable: Iterable[Revision]) -> Mapping[str, RevisionState]:
    states = {
        revision.name: RevisionState(desired=1, ready=0)
        for revision in renderable
        if revision.name not in live.deployments
    }
    for name, deployment in live.deployments.items():
        states[name] = deployment_state(deployment)
    return states
