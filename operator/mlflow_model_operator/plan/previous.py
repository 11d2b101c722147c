"""The previous decision, read from the resource's status, or else from the live objects. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from mlflow_model_operator import render
from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError, ResolutionResult
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import PastRevision, RevisionStatus
from mlflow_model_operator.kube import httproute, kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import (
    LiveChildren,
    created_at,
    is_hidden,
    name_of,
    parse_time,
    selector_of,
)
from mlflow_model_operator.rollout import (
    Previous,
    Shadow,
    deployment_state,
    selected_revisions,
)
from mlflow_model_operator.rollout.matches import led_revisions
from mlflow_model_operator.rollout.state import Revision, Weight
from mlflow_model_operator.settings import Settings


def previous_decision(
    resource: MLflowModelDeployment,
    live: LiveChildren,
    others: Collection[Revision],
    settings: Settings,
    now: float,
    shadow: Shadow | None = None,
) -> Previous:
    """The decision that the resource's status records; where that is lost, what the objects show.

    `others` are the canary, or the variants, that the spec asks for now, and `shadow` the shadow.
    """
    status = resource.status
    stable = revision_from_status(status.stable)
    revisions = {} if stable and not status.draining else live_revisions(live, settings)
    if stable is None:
        if shadow is not None and shadow.revision.name not in _reached(resource, live):
            revisions = {k: v for k, v in revisions.items() if k != shadow.revision.name}
        return _from_objects(resource, live, revisions, {other.name for other in others}, now)
    draining = {
        entry.revision: since
        for entry in status.draining
        if (since := parse_time(entry.since)) is not None
    }
    target = revision_from_status(status.target)
    has_requests = target and target.name in {share.revision for share in status.traffic}
    fallbacks = [revisions[name] for name in draining if name in revisions]
    return Previous(
        stable=stable,
        target=target,
        traffic=tuple(Weight(share.revision, share.weight) for share in status.traffic),
        matched=frozenset(status.matched) | _live_matched(resource, live),
        draining=draining,
        fallbacks=(target, *fallbacks) if target and has_requests else tuple(fallbacks),
    )


def _reached(resource: MLflowModelDeployment, live: LiveChildren) -> frozenset[str]:
    """The revisions that the Service or the route leads to."""
    selected = selected_revisions(live.services.get(resource.name), live)
    return selected | frozenset(_route_weights(resource, live))


def _expected_objects(
    resource: MLflowModelDeployment, live: LiveChildren
) -> list[tuple[Kind, str]]:
    """The objects that there should be, by the spec, the status, and what others lead to."""
    status = resource.status
    named = (status.stable, status.target, status.canary, status.shadow, *status.variants)
    roles = [entry.revision for entry in named if entry]
    draining = [entry.revision for entry in status.draining]
    selected = selector_of(live.services.get(resource.name)).get(names.REVISION)
    route = live.routes.get(resource.name)
    routed = httproute.backends(route) if route else ()
    revisions = dict.fromkeys([*roles, *draining, *filter(None, [selected]), *routed])
    objects = [(kinds.DEPLOYMENT, name) for name in revisions]
    objects.append((kinds.SERVICE, resource.name))
    if resource.gateway is not None or status.routed_revisions is not None:
        objects.append((kinds.ROUTE, resource.name))
    guards = [
        (kinds.BY_NAME[obj["kind"]], name_of(obj)) for obj in render.network_objects(resource)
    ]
    if _may_have_config(resource, live):
        objects.append((kinds.CONFIG_MAP, render.shadow_config_name(resource)))
    return objects + guards


def _may_have_config(resource: MLflowModelDeployment, live: LiveChildren) -> bool:
    """Whether there is, or should be, a ConfigMap with the shadow.

    Where the whole status is lost, nobody knows.
    """
    is_lost = resource.status.stable is None and any(
        deployment_state(deployment).answers for deployment in live.deployments.values()
    )
    # What was applied just before a restart is not in the status yet.
    is_edited = resource.status.observed_generation != resource.generation
    is_recorded = resource.status.shadow is not None
    return resource.spec.may_shadow or is_recorded or is_lost or is_edited


def unseen_objects(resource: MLflowModelDeployment, live: LiveChildren) -> list[tuple[Kind, str]]:
    """The objects to look up: those that there should be and are not seen, and hidden ones."""
    return [
        (kind, name)
        for kind, name in _expected_objects(resource, live)
        if kind in kinds.UNWATCHED_CHILDREN
        or name not in live.of_kind(kind.kind)
        or is_hidden(live.of_kind(kind.kind)[name])
    ]


def _from_objects(
    resource: MLflowModelDeployment,
    live: LiveChildren,
    revisions: Mapping[str, Revision],
    excluded: Collection[str],
    now: float,
) -> Previous:
    """What serves now by the Service, the route and the pods, as if the status had said so.

    `excluded` are those that have another role than the stable one.
    """
    serving = [name for name in _by_service_first(resource, live) if name in revisions]
    stable = next((revisions[name] for name in serving if name not in excluded), None)
    if stable is None:
        return Previous()
    others = [name for name in revisions if name != stable.name and name not in excluded]
    return Previous(
        stable=stable,
        traffic=_live_traffic(resource, live, stable),
        matched=_live_matched(resource, live),
        draining=dict.fromkeys(revisions, now),  # as far as they are to get no traffic
        fallbacks=tuple(revisions[name] for name in others),
    )


def _by_service_first(resource: MLflowModelDeployment, live: LiveChildren) -> Iterable[str]:
    """Names of live revisions: those that requests reach, those that answer, all; oldest first."""
    selected = selected_revisions(live.services.get(resource.name), live)
    if len(selected) == 1:
        yield from selected
    weights = _route_weights(resource, live)
    yield from sorted(weights, key=lambda name: -weights[name])
    ages = {name: created_at(entry) or 0.0 for name, entry in live.deployments.items()}
    by_age = sorted(ages, key=lambda name: (ages[name], name))
    yield from (name for name in by_age if deployment_state(live.deployments[name]).answers)
    yield from by_age


def _live_traffic(
    resource: MLflowModelDeployment, live: LiveChildren, stable: Revision
) -> tuple[Weight, ...]:
    weights = _route_weights(resource, live) or {stable.name: 100}
    return tuple(Weight(name, weight) for name, weight in weights.items())


def _live_matched(resource: MLflowModelDeployment, live: LiveChildren) -> frozenset[str]:
    """The revisions to which the live route sends requests that match, accepted or not."""
    route = live.routes.get(resource.name)
    return led_revisions(route) if route else frozenset()


def _route_weights(resource: MLflowModelDeployment, live: LiveChildren) -> Mapping[str, int]:
    route = live.routes.get(resource.name)
    return httproute.weights(route) if route else {}


def live_revisions(live: LiveChildren, settings: Settings) -> Mapping[str, Revision]:
    """The revisions of the live Deployments, by name."""
    revisions = (render.live_revision(entry, settings) for entry in live.deployments.values())
    return {revision.name: revision for revision in revisions if revision}


def revision_from_status(entry: RevisionStatus | PastRevision | None) -> Revision | None:
    """The revision that an entry of the status names; None where the entry is incomplete."""
    if entry is None or not (entry.revision and entry.model_uri):
        return None
    model = ModelVersion(
        requested=entry.requested_uri or entry.model_uri,
        uri=entry.model_uri,
        version=entry.model_version or "-",
        tracking_uri=entry.tracking_uri,
        name=entry.name,
        python_version=entry.python_version,
        created=entry.model_created,
    )
    return Revision(entry.revision, model)


def previous_models(resource: MLflowModelDeployment, previous: Previous) -> list[ModelVersion]:
    """What the URI resolved to before: the target's model, unless the URI is new; the stable's.

    A target that was rolled back is still what it resolved to.
    """
    target, stable = previous.target, previous.stable
    models = [stable.model] if stable else []
    rollout = resource.status.rollout
    if rollout is not None and rollout.failed:
        target = revision_from_status(rollout.failed[0])  # what an undo leads to is no target
    if target and target.model.requested == resource.spec.model.uri:
        models.insert(0, target.model)
    return models


def model_to_serve(
    resolved: ResolutionResult, previous: Sequence[ModelVersion]
) -> ModelVersion | None:
    """What the URI resolves to, or else what it resolved to before: an outage changes nothing.

    The same holds for the Python version, which is read from the artifacts: that they can't be read
    for now must not change the image, and so the revision.
    """
    if isinstance(resolved, ResolutionError):
        return resolved.last_resolved or next(iter(previous), None)
    if resolved.python_version is None:
        same = next((model for model in previous if model.is_same(resolved)), None)
        return replace(resolved, python_version=same.python_version) if same else resolved
    return resolved
