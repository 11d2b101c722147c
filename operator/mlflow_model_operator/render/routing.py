"""What requests come in by: the public Service, and the HTTPRoute where a gateway is named."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_model_operator.api import names
from mlflow_model_operator.api.contract import GRPC_PORT
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.render.metadata import common_labels, object_metadata, with_applied
from mlflow_model_operator.render.route_rules import RouteRule, StickyCookie, route_rules
from mlflow_model_operator.rollout.matches import Pin
from mlflow_model_operator.rollout.state import Weight


def routing_objects(
    resource: MLflowModelDeployment,
    traffic: tuple[Weight, ...],
    *,
    pins: Iterable[Pin] = (),
    users_of: tuple[str | None, ...] = (),
    is_sticky: bool = True,
    is_stale: bool = False,
    excluded_hostnames: frozenset[str] = frozenset(),
) -> list[KubeObject]:
    """The Service of the resource's own name, and its HTTPRoute if a gateway is named.

    With a gateway the route has the weights, the `pins`, and a rule for the users of each revision
    of `users_of`, who stay while that makes sense (`is_sticky`); the Service selects the stable
    revision, or the canary where that has all requests. Without one the Service selects all
    revisions with weight. A revision with weight 0 is in the route, so that the gateway knows its
    pods. Where `is_stale`, the stable revision has an older pod template: its pods may not serve
    gRPC yet. The route is left out where other resources serve all its host names.
    """
    grpc_port = GRPC_PORT if resource.spec.server.grpc and not is_stale else None
    metadata = object_metadata(resource, resource.name, common_labels(resource))
    has_gateway = resource.spec.routing.gateway is not None
    selector = {names.DEPLOYMENT: resource.name}
    served = [share for share in traffic if share.weight > 0]
    if has_gateway or len(served) == 1:
        selector[names.REVISION] = served[0].revision
    objects = [fill("service", metadata=metadata, selector=selector, grpc_port=grpc_port)]
    if has_gateway and not are_all_excluded(resource, excluded_hostnames):
        path, serves_grpc = resource.spec.routing.path, grpc_port is not None
        sticky = _sticky_cookie(resource, users_of, is_sticky)
        rules = route_rules(path, traffic, pins, sticky, serves_grpc=serves_grpc)
        objects.append(_route(resource, metadata, rules, excluded_hostnames))
    return objects


def are_all_excluded(resource: MLflowModelDeployment, excluded_hostnames: frozenset[str]) -> bool:
    """Whether no host name is left of those that the spec asks for; "" stands for all of them."""
    return excluded_hostnames.issuperset(resource.spec.routing.hostnames or [""])


def _sticky_cookie(
    resource: MLflowModelDeployment, users_of: tuple[str | None, ...], is_assigned: bool
) -> StickyCookie | None:
    sticky = resource.spec.routing.sticky
    if sticky is None:
        return None
    path = resource.spec.routing.path
    return StickyCookie(sticky.cookie, path, sticky.seconds, users_of, is_assigned)


def _route(
    resource: MLflowModelDeployment,
    metadata: KubeObject,
    rules: list[RouteRule],
    excluded_hostnames: frozenset[str],
) -> KubeObject:
    routing = resource.spec.routing
    assert routing.gateway is not None
    return with_applied(
        fill(
            "route",
            metadata=metadata,
            gateway=routing.gateway.name,
            gateway_namespace=routing.gateway.namespace or resource.namespace,
            hostnames=[name for name in routing.hostnames if name not in excluded_hostnames],
            timeout=routing.timeout,
            rules=rules,
        )
    )
