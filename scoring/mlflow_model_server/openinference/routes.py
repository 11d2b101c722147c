"""The protocol's paths, and what each answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mlflow_model_server.openinference import codec
from mlflow_model_server.openinference.metadata import Spec
from mlflow_model_server.openinference.tensors import BadRequest

SERVER = "mlflow-model-server"
PLATFORM = "mlflow"
DEFAULT_NAME = "mlflow-model"  # as `mlflow models serve --enable-mlserver` has it
_JSON = ((b"content-type", b"application/json"),)
_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer)?"
)

Predict = Callable[[Any, dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Answer:
    """What to send. `route` is the path as metrics have it."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = _JSON
    route: str = "other"


@dataclass(frozen=True)
class Served:
    """The one model that is served.

    `predict` gets the data (an array, a DataFrame, or arrays by name) and MLflow's params, and
    raises what the caller of `handle` expects: it comes through. `name` may be empty.
    """

    name: str
    version: str
    spec: Spec  # the signature as the protocol has it
    ready: Callable[[], bool]
    predict: Predict
    server_version: str = "0.1.0"

    @property
    def known_as(self) -> str:
        """Its name in paths and answers."""
        return known_as(self.name)


def known_as(name: str) -> str:
    """What a model of this name, which may be empty, is called in paths and answers."""
    return name or DEFAULT_NAME


def route_of(path: str) -> str:
    """The route that a percent-decoded path below `/v2` leads to, "other" where it leads nowhere.

    Whoever decides anything by the path (who may ask, what is counted) asks here, so that no
    spelling of a path is judged as one route and answered as another.
    """
    path = path.rstrip("/")
    if path in _SERVER_PATHS:
        return path
    match = _MODEL.fullmatch(path)
    return "/v2/models/{model}" + (match["verb"] or "") if match else "other"


async def handle(
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    served: Served,
) -> Answer:
    """Answers a request to a path below `/v2`, percent-decoded; names of headers in lower case."""
    path = path.rstrip("/")
    if path in _SERVER_PATHS:
        return _allowed(method, "GET", path) or _SERVER_PATHS[path](served)
    found = _MODEL.fullmatch(path)
    if found is None:
        return refusal(404, f"there is no {path}: write a path of the protocol, like /v2/models/…")
    route = route_of(path)
    wrong = wrong_model(found["name"], found["version"], served)
    if wrong:
        return refusal(404, wrong, route)
    if found["verb"] == "/infer":
        return _allowed(method, "POST", route) or await _infer(headers, body, served, route)
    if refused := _allowed(method, "GET", route):
        return refused
    return _model_ready(served, route) if found["verb"] else _metadata(served, route)


def refusal(status: int, message: str, route: str = "other") -> Answer:
    """The protocol's form of an error."""
    return Answer(status, orjson.dumps({"error": message}), route=route)


async def _infer(
    headers: Sequence[tuple[bytes, bytes]], body: bytes, served: Served, route: str
) -> Answer:
    try:
        asked = codec.decode(body, dict(headers), served.spec)
        predictions = await served.predict(asked.data, asked.params)
        encoded, told = codec.encode(
            predictions, asked.wanted, served.known_as, served.version or None, served.spec
        )
    except BadRequest as error:
        return refusal(400, str(error), route)
    return Answer(200, encoded, told, route)


def _server(served: Served) -> Answer:
    told = {
        "name": SERVER,
        "version": served.server_version,
        "extensions": ["binary_tensor_data"],
    }
    return Answer(200, orjson.dumps(told), route="/v2")


def _live(_served: Served) -> Answer:
    return Answer(200, b'{"live":true}', route="/v2/health/live")


def _ready(served: Served) -> Answer:
    ready = served.ready()
    return Answer(200 if ready else 503, orjson.dumps({"ready": ready}), route="/v2/health/ready")


def _model_ready(served: Served, route: str) -> Answer:
    ready = served.ready()
    told = {"name": served.known_as, "ready": ready}
    return Answer(200 if ready else 503, orjson.dumps(told), route=route)


def _metadata(served: Served, route: str) -> Answer:
    spec = served.spec
    told = {
        "name": served.known_as,
        "versions": [served.version] if served.version else [],
        "platform": PLATFORM,
        "inputs": [field.told() for field in spec.inputs],
        "outputs": [field.told() for field in spec.outputs],
    }
    return Answer(200, orjson.dumps(told), route=route)


def wrong_model(name: str, version: str | None, served: Served) -> str | None:
    """What to write instead where it is not this model, or not this version, that is asked for."""
    if name != served.known_as:
        return f"there is no model {name!r} here: write {served.known_as!r}"
    if version is not None and version != served.version:
        has = f"write version {served.version!r}" if served.version else "leave the version out"
        return f"there is no version {version!r} of {name!r} here: {has}"
    return None


def _allowed(method: str, wanted: str, route: str) -> Answer | None:
    if method == wanted or (wanted == "GET" and method == "HEAD"):
        return None
    body = orjson.dumps({"error": f"{method} is not for {route}: send {wanted}"})
    return Answer(405, body, (*_JSON, (b"allow", wanted.encode())), route)


_SERVER_PATHS: dict[str, Callable[[Served], Answer]] = {
    "/v2": _server,
    "/v2/health/live": _live,
    "/v2/health/ready": _ready,
}
