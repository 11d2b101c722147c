"""The Open Inference Protocol's paths, and what each answers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs.tensors import BadRequest
from mlflow_model_server.http.asgi import Scope
from mlflow_model_server.inference.client import ClientGone, Receive
from mlflow_model_server.inference.mlflow_fallback import TooManyRows, refusal_of
from mlflow_model_server.inference.predictor import Made, Predictor
from mlflow_model_server.inference.served import PLATFORM, SERVER, Served, wrong_model
from mlflow_model_server.metrics.slots import INFER
from mlflow_model_server.responses import JSON, Refusal, Reply

_JSON = ((b"content-type", b"application/json"),)
_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer)?"
)


@dataclass(frozen=True)
class Answer:
    """What to send. `route` is the path as metrics have it."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = _JSON
    route: str = "other"


async def answer(
    predictor: Predictor,
    scope: Scope,
    receive: Receive,
    body: bytes,
) -> tuple[str, Reply]:
    """The path as metrics have it, and what to answer.

    Raises ClientGone, and TimeoutError when it takes longer than a request may take.
    """
    headers = scope["headers"]
    received = time.perf_counter()
    made: list[tuple[float, Made, float]] = []  # at most one, and when it began and ended

    async def predict(data: Any, params: dict[str, Any] | None) -> Any:
        decoded = time.perf_counter()
        one = await predictor.predict(headers, receive, data, params)
        made.append((decoded, one, time.perf_counter()))
        return one.predictions

    served = predictor.served(predict)
    try:
        told = await handle(scope["method"], scope["path"], headers, body, served)
    except (ClientGone, TimeoutError, asyncio.CancelledError):
        raise
    except (Exception, TooManyRows) as problem:
        return INFER, refused(refusal_of(problem))
    if not made:
        return told.route, _reply(told, None)
    decoded, one, predicted = made[0]
    predictor.record(one, decoded - received, time.perf_counter() - predicted)
    return told.route, _reply(told, one.rows)


def refused(why: Refusal) -> Reply:
    """A refusal as the protocol says it."""
    body = refusal(why.status, why.message).body
    return Reply(why.status, body, headers=why.headers)


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


def _reply(told: Answer, rows: int | None) -> Reply:
    kind = dict(told.headers).get(b"content-type", JSON.encode()).decode()
    others = tuple(one for one in told.headers if one[0] != b"content-type")
    return Reply(told.status, told.body, kind, others, rows)


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
