"""The routes of the server: one for each request, resolved once. Pure.

Whoever decides anything by the path (admission, the handler, the metrics) uses the resolved route,
so that no spelling of a path is judged as one route and answered as another. A route is open, that
is answered without authentication, only if it says so here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum, auto

from mlflow_model_server.metrics.slots import INFER, INVOCATIONS, OTHER


class Endpoint(Enum):
    """What a route leads to."""

    INVOCATIONS = auto()
    PING = auto()
    VERSION = auto()
    OPENAPI = auto()
    SERVER_METADATA = auto()
    SERVER_LIVE = auto()
    SERVER_READY = auto()
    MODEL_METADATA = auto()
    MODEL_READY = auto()
    MODEL_INFER = auto()
    REPOSITORY_INDEX = auto()
    REPOSITORY_CONTROL = auto()  # loading and unloading
    REFLECTION = auto()  # of gRPC
    COMPLETIONS = auto()
    RESPONSES = auto()
    MODEL_LIST = auto()  # of OpenAI's protocol
    MODEL_ENTRY = auto()
    REDIRECT = auto()  # to the path without the slash at its end
    NOT_FOUND = auto()


_PREDICTING = frozenset(
    (Endpoint.INVOCATIONS, Endpoint.MODEL_INFER, Endpoint.COMPLETIONS, Endpoint.RESPONSES)
)


@dataclass(frozen=True)
class Route:
    """An endpoint, and what the path says of the model."""

    endpoint: Endpoint
    label: str  # the route in metrics and logs: one of a few
    is_open: bool = False  # for probes: without keys, tokens or limits
    method: str = "GET"  # "": any
    model: str | None = None  # the model's name in the path, and its version
    version: str | None = None
    path: str = ""  # that it redirects to, or that leads nowhere

    @property
    def predicts(self) -> bool:
        """Whether it leads to the model's predictions."""
        return self.endpoint in _PREDICTING

    def allows(self, method: str) -> bool:
        """Whether it has this method: HEAD wherever it has GET (RFC 9110, section 9.1)."""
        return self.method in ("", method) or (method == "HEAD" and self.method == "GET")


def _route(endpoint: Endpoint, label: str, is_open: bool = False) -> Route:
    return Route(endpoint, label, is_open)


_MODEL_LABEL = "/v2/models/{model}"
INVOCATIONS_ROUTE = Route(Endpoint.INVOCATIONS, INVOCATIONS, method="POST")
SERVER_METADATA = _route(Endpoint.SERVER_METADATA, "/v2")
SERVER_LIVE = _route(Endpoint.SERVER_LIVE, "/v2/health/live", is_open=True)
SERVER_READY = _route(Endpoint.SERVER_READY, "/v2/health/ready", is_open=True)
MODEL_METADATA = _route(Endpoint.MODEL_METADATA, _MODEL_LABEL)
MODEL_READY = _route(Endpoint.MODEL_READY, f"{_MODEL_LABEL}/ready")
MODEL_INFER = Route(Endpoint.MODEL_INFER, INFER, method="POST")
REPOSITORY_INDEX = Route(Endpoint.REPOSITORY_INDEX, "/v2/repository/index", method="POST")
REPOSITORY_CONTROL = Route(Endpoint.REPOSITORY_CONTROL, OTHER, method="POST")
REFLECTION = _route(Endpoint.REFLECTION, OTHER)
_REDIRECT = Route(Endpoint.REDIRECT, OTHER, method="")
_NOT_FOUND = Route(Endpoint.NOT_FOUND, OTHER, method="")

_MLFLOW = {
    INVOCATIONS: INVOCATIONS_ROUTE,
    "/ping": _route(Endpoint.PING, "/ping", is_open=True),
    "/health": _route(Endpoint.PING, "/health", is_open=True),
    "/version": _route(Endpoint.VERSION, "/version", is_open=True),
    "/openapi.json": _route(Endpoint.OPENAPI, "/openapi.json"),
}
_OPENAI = {
    "/v1/chat/completions": Route(Endpoint.COMPLETIONS, "/v1/chat/completions", method="POST"),
    "/v1/responses": Route(Endpoint.RESPONSES, "/v1/responses", method="POST"),
    # As MLflow's agent server has it.
    "/responses": Route(Endpoint.RESPONSES, "/responses", method="POST"),
    "/v1/models": _route(Endpoint.MODEL_LIST, "/v1/models"),
}
_MODEL_ENTRY = _route(Endpoint.MODEL_ENTRY, "/v1/models/{model}")
_BY_PATH = {**_MLFLOW, **_OPENAI}
_OPEN_INFERENCE = {
    route.label: route for route in (SERVER_METADATA, SERVER_LIVE, SERVER_READY, REPOSITORY_INDEX)
}
_OF_MODEL = {None: MODEL_METADATA, "/ready": MODEL_READY, "/infer": MODEL_INFER}
_MODEL_ENTRIES = "/v1/models/"
_MODEL_PATH = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer)?"
)
_CONTROL_PATH = re.compile(r"/v2/repository/models/[^/]+/(?:un)?load")


def resolve(path: str) -> Route:
    """The route that a percent-decoded path leads to."""
    route = _BY_PATH.get(path)
    if route is not None:
        return route
    if is_open_inference(path):
        return _open_inference(path.rstrip("/"))
    if path.endswith("/") and path[:-1] in _BY_PATH:
        return replace(_REDIRECT, path=path[:-1])
    if path.startswith(_MODEL_ENTRIES) and path != _MODEL_ENTRIES:
        return replace(_MODEL_ENTRY, model=path.removeprefix(_MODEL_ENTRIES))
    return replace(_NOT_FOUND, path=path) if is_openai(path) else _NOT_FOUND


def is_open_inference(path: str) -> bool:
    """Whether a path is one of the Open Inference Protocol's, whether or not it leads anywhere."""
    return path == "/v2" or path.startswith("/v2/")


def is_openai(path: str) -> bool:
    """Whether a path is one of OpenAI's protocols, whether or not it leads anywhere."""
    return path.startswith("/v1/") or path == "/responses"


def _open_inference(path: str) -> Route:
    route = _OPEN_INFERENCE.get(path)
    if route is not None:
        return route
    match = _MODEL_PATH.fullmatch(path)
    if match is None:
        is_control = _CONTROL_PATH.fullmatch(path)
        return REPOSITORY_CONTROL if is_control else replace(_NOT_FOUND, path=path)
    return replace(_OF_MODEL[match["verb"]], model=match["name"], version=match["version"])
