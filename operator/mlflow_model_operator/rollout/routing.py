"""What the data plane does, by the live Service and the live HTTPRoute. Pure.

What was asked for says nothing of that: a policy may refuse a change of the Service, and a gateway
may leave a route unanswered. So what may end, and what is available, follows from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.gateway import GatewayState
from mlflow_model_operator.kube.httproute import Accepted, Refused
from mlflow_model_operator.kube.objects import (
    KubeObject,
    LiveChildren,
    pod_labels_of,
    selector_of,
)
from mlflow_model_operator.rollout.state import deployment_state

# A gateway's controller may act on a route that it read a while ago.
ROUTE_LAG = 60.0  # seconds
# By the Gateway API a route that is refused gets no requests; some gateways go on with the last
# one that they accepted.
REFUSED_ROUTE_TIMEOUT = 600.0


@dataclass(frozen=True)
class LiveRouting:
    """Which revisions requests reach now, and how long others may still be reached."""

    service: frozenset[str] = frozenset()  # by the public Service: any of them
    route: frozenset[str] = frozenset()  # by the gateway: each by its weight, or by a match
    # For how many seconds after a revision has lost its traffic the gateway may still send it some.
    route_retention: float = math.inf  # to those of `route`
    lag: float = 0.0  # to any other

    @property
    def reached(self) -> frozenset[str]:
        """The revisions that requests may reach."""
        return self.service | self.route

    def retention(self, revision: str) -> float:
        """The seconds for which a revision without traffic must stay, for it may be reached."""
        if revision in self.service:
            return math.inf
        return self.route_retention if revision in self.route else self.lag


def live_routing(
    resource: MLflowModelDeployment, live: LiveChildren, gateway: GatewayState | None
) -> LiveRouting:
    """What the live Service and route do; `gateway` is the one of the spec, None if unknown.

    A route that is not accepted as it stands may be followed as it was accepted last, which the
    status records.
    """
    service = selected_revisions(live.services.get(resource.name), live)
    route = live.routes.get(resource.name)
    if route is None or _is_gateway_gone(resource, route, gateway):
        return LiveRouting(service)
    match route_acceptance(route):
        case Accepted():
            return LiveRouting(service, httproute.backends(route))
        case Refused():
            retention = REFUSED_ROUTE_TIMEOUT
        case _:
            retention = math.inf
    accepted = frozenset(_last_accepted(resource, route, live))
    return LiveRouting(service, accepted, retention, ROUTE_LAG)


def listed_weights(resource: MLflowModelDeployment, live: LiveChildren) -> dict[str, int]:
    """The weights that the live route states, also those of 0."""
    route = live.routes.get(resource.name)
    return httproute.listed_weights(route) if route else {}


def programmed_weights(
    resource: MLflowModelDeployment, live: LiveChildren, gateway: GatewayState | None
) -> dict[str, int] | None:
    """The weights that the gateway has, also those of 0; None where those are not the route's.

    The Gateway itself counts where it was looked up.
    """
    route = live.routes.get(resource.name)
    is_programmed = gateway is None or gateway.is_programmed
    if route is None or not is_programmed or not isinstance(route_acceptance(route), Accepted):
        return None
    return httproute.listed_weights(route)


def selected_revisions(service: KubeObject | None, live: LiveChildren) -> frozenset[str]:
    """The revisions whose pods a live Service selects."""
    selector = selector_of(service)
    if not selector:
        return frozenset()
    return frozenset(
        name
        for name, deployment in live.deployments.items()
        if selector.items() <= pod_labels_of(deployment).items()
    )


def accepted_revisions(
    resource: MLflowModelDeployment, live: LiveChildren, gateway: GatewayState | None
) -> list[str] | None:
    """The revisions that the route led to when it was last accepted; None where there is none."""
    route = live.routes.get(resource.name)
    if route is None:
        return None
    if _is_gateway_gone(resource, route, gateway):
        return []
    if isinstance(route_acceptance(route), Accepted):
        return sorted(httproute.backends(route))
    return _last_accepted(resource, route, live)


def _is_gateway_gone(
    resource: MLflowModelDeployment, route: KubeObject, gateway: GatewayState | None
) -> bool:
    """Whether the Gateway that a route names does not exist; the spec may name another by now."""
    if gateway is None or httproute.gateway_of(route) != resource.gateway:
        return False
    return not gateway.exists


def route_acceptance(route: KubeObject) -> httproute.Acceptance:
    """What is said of the route by the Gateway that it names, which the spec may name no more."""
    gateway = httproute.gateway_of(route)
    return httproute.acceptance(route, gateway.name, gateway.namespace)


def _last_accepted(
    resource: MLflowModelDeployment, route: KubeObject, live: LiveChildren
) -> list[str]:
    """The revisions that a route, which is not accepted as it stands, was accepted for before.

    Where the whole status is lost, a route that was ever answered may lead to any that answers.
    """
    if resource.status.stable is not None or not httproute.is_answered(route):
        return resource.status.routed_revisions or []
    return sorted(
        name
        for name, deployment in live.deployments.items()
        if deployment_state(deployment).answers
    )
