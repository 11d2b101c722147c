"""The Open Inference Protocol over HTTP."""

from __future__ import annotations

from typing import Any

import orjson

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs.openinference import Inference
from mlflow_model_server.headers import Headers
from mlflow_model_server.inference.request import Request
from mlflow_model_server.inference.routes import Endpoint
from mlflow_model_server.inference.served_model import (
    EXTENSIONS,
    PLATFORM,
    SERVER,
    SERVER_VERSION,
)
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.responses import JSON, ErrorResponse, Rejected, Response


class OpenInferenceCodec:
    """The protocol's routes, as JSON and with binary tensors."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service
        self._model = service.model

    def decode(self, body: bytes, headers: Headers) -> Inference:
        """Raises BadRequest."""
        return codec.decode(body, dict(headers), self._model.spec, self._service.parse_limits)

    def encode(self, inference: Inference, predictions: Any) -> Response:
        """Raises BadRequest."""
        model = self._model
        body, headers = codec.encode(
            predictions, inference.requested, model.name, model.version or None, model.spec
        )
        content_type = dict(headers).get(b"content-type", JSON.encode()).decode()
        others = tuple(header for header in headers if header[0] != b"content-type")
        return Response(200, body, content_type, others)

    async def describe(self, request: Request) -> Response:
        """Health and metadata."""
        service, model, endpoint = self._service, self._model, request.route.endpoint
        if endpoint is Endpoint.SERVER_LIVE:
            return _health({"live": service.is_live}, service.is_live)
        if endpoint is Endpoint.SERVER_READY:
            return _health({"ready": service.is_ready}, service.is_ready)
        if endpoint is Endpoint.MODEL_READY:
            return _health({"name": model.name, "ready": service.is_ready}, service.is_ready)
        if endpoint is Endpoint.SERVER_METADATA:
            return Response(200, orjson.dumps(_SERVER_METADATA))
        if endpoint is Endpoint.MODEL_METADATA:
            return Response(200, orjson.dumps(self._metadata()))
        if endpoint is Endpoint.REPOSITORY_INDEX:
            only_ready = _only_ready(await request.read())
            return Response(200, orjson.dumps(model.repository_index(service.is_ready, only_ready)))
        if endpoint is Endpoint.REPOSITORY_CONTROL:
            raise Rejected(model.control_refused())
        path = request.route.path[:_MAX_QUOTED]
        message = f"there is no {path}: write a path of the protocol, like /v2/models/…"
        raise Rejected(ErrorResponse(404, "RESOURCE_DOES_NOT_EXIST", message))

    def error(self, error: ErrorResponse, _request: Request) -> Response:
        """An error as the protocol writes it."""
        body = orjson.dumps({"error": error.message})
        return Response(error.status, body, headers=error.headers, error=error)

    def logged(self, request: bytes, response: Response) -> tuple[bytes, bytes]:
        """Both bodies as they are."""
        return request, response.body

    def _metadata(self) -> dict[str, Any]:
        model = self._model
        return {
            "name": model.name,
            "versions": [model.version] if model.version else [],
            "platform": PLATFORM,
            **model.spec.to_json(),
        }


_MAX_QUOTED = 100  # characters of a path that a message repeats
_SERVER_METADATA = {"name": SERVER, "version": SERVER_VERSION, "extensions": EXTENSIONS}

_MAX_INDEX_BYTES = 4096
_NOT_AN_INDEX_REQUEST = ErrorResponse(
    400,
    "BAD_REQUEST",
    'the body is not one of this request: write {"ready": true}, or leave it out',
)


def _only_ready(body: bytes) -> bool:
    """Whether a request of the repository's index asks for ready models only."""
    if not body:
        return False
    try:
        asked = orjson.loads(body) if len(body) <= _MAX_INDEX_BYTES else None
    except orjson.JSONDecodeError:
        asked = None
    ready = asked.get("ready") if isinstance(asked, dict) else 0
    if ready is not None and type(ready) is not bool:
        raise Rejected(_NOT_AN_INDEX_REQUEST)
    return ready is True


def _health(body: dict[str, Any], is_good: bool) -> Response:
    return Response(200 if is_good else 503, orjson.dumps(body))
