"""What a route has beside weights, and what of it the gateway refuses. Pure.

A gateway that does not support a rule may serve none of the route. So what is refused is left out
of it, one feature after the other, until the spec asks for other rules: to try again by itself
would cost requests each time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.httproute import Refused
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.rollout.matches import is_of_users

# Reasons of the Gateway API that have nothing to do with the rules of a route.
_OTHER_REASONS = frozenset(
    {
        "NotAllowedByListeners",
        "NoMatchingListenerHostname",
        "NoMatchingParent",
        "RefNotPermitted",
        "InvalidKind",
        "BackendNotFound",
    }
)


class RouteFeature(StrEnum):
    """What a gateway may not support. The values are those of `status.refusedRules`."""

    STICKY = "Sticky"  # a cookie that the gateway sets and reads
    MATCH = "Match"  # headers and cookies by which requests are recognized


class Refusal(NamedTuple):
    """Why the gateway does not support a feature; `reason` is the Gateway API's."""

    reason: str
    message: str


Refusals = Mapping[RouteFeature, Refusal]


def rules_hash(resource: MLflowModelDeployment) -> str:
    """Another one where the spec asks for other rules, or names another gateway."""
    spec = resource.spec
    requested = [
        spec.routing.model_dump(include={"gateway", "sticky"}, mode="json"),
        spec.rollout.model_dump(include={"match"}, mode="json"),
        spec.canary.model_dump(include={"match"}, mode="json") if spec.canary else None,
        [variant.model_dump(include={"match"}, mode="json") for variant in spec.variants],
    ]
    return hashlib.sha256(json.dumps(requested, sort_keys=True).encode()).hexdigest()[:10]


def refused_features(resource: MLflowModelDeployment, live: LiveChildren) -> Refusals:
    """What the gateway has refused, by the status and the live route.

    That of a spec which was edited since may be of other rules: it counts once these are applied.
    """
    current = rules_hash(resource)
    refused = {
        RouteFeature(entry.rules): Refusal(entry.reason, entry.message)
        for entry in resource.status.refused_rules
        if entry.hash == current and entry.rules in set(RouteFeature)
    }
    route = live.routes.get(resource.name)
    suspect = _suspect(resource, route) if route else None
    refusal = _refusal(resource, route)
    is_of_spec = resource.status.observed_generation == resource.generation
    if is_of_spec and suspect is not None and refusal is not None:
        refused.setdefault(suspect, refusal)
    return refused


def _suspect(resource: MLflowModelDeployment, route: KubeObject) -> RouteFeature | None:
    """What to leave out of a refused route first: what the fewest gateways support."""
    rules = httproute.header_rules(route)
    is_sticky = resource.spec.routing.sticky is not None and any(map(is_of_users, rules))
    if is_sticky or httproute.has_backend_filters(route):
        return RouteFeature.STICKY
    return RouteFeature.MATCH if rules else None


def _refusal(resource: MLflowModelDeployment, route: KubeObject | None) -> Refusal | None:
    """That the Gateway of the spec refuses the live route for its rules."""
    gateway = resource.gateway
    if route is None or gateway is None or httproute.gateway_of(route) != gateway:
        return None
    acceptance = httproute.acceptance(route, gateway.name, gateway.namespace)
    if not isinstance(acceptance, Refused) or acceptance.reason in _OTHER_REASONS:
        return None
    return Refusal(acceptance.reason, acceptance.message)
