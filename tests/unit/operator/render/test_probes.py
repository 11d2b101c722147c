"""What the probes of the pods ask is what the server in them answers."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_server.inference import routes
from mlflow_model_server.inference.routes import Endpoint
from tests.unit.operator.render.test_render import deployment_of, resource

PROBES = {
    "startupProbe": Endpoint.PING,
    "readinessProbe": Endpoint.PING,
    "livenessProbe": Endpoint.SERVER_LIVE,
}


def path_of(probe: str, **server: Any) -> str:
    (container,) = deployment_of(resource(server=server))["spec"]["template"]["spec"]["containers"]
    return str(container[probe]["httpGet"]["path"])


@pytest.mark.parametrize(("probe", "endpoint"), PROBES.items())
def test_each_probe_asks_the_servers_own_route(probe: str, endpoint: Endpoint) -> None:
    route = routes.resolve(path_of(probe))
    assert route.endpoint is endpoint
    assert route.is_open, "kubelet has no key"


@pytest.mark.parametrize("probe", PROBES)
def test_a_custom_image_needs_mlflows_routes_only(probe: str) -> None:
    assert path_of(probe, image="example.com/wine:3") == "/ping"
