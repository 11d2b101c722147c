"""The routes of OpenAI's protocols: /v1/chat/completions, /v1/responses, /responses, /v1/models."""

from __future__ import annotations

import time
from typing import Any

from mlflow_model_server.agents import chat_completions, responses_api, sse
from mlflow_model_server.agents.chat_completions import CompletionWriter
from mlflow_model_server.agents.openai_errors import error_fields
from mlflow_model_server.agents.responses_api import ResponseWriter
from mlflow_model_server.headers import Headers
from mlflow_model_server.inference.agent_model import AgentModel
from mlflow_model_server.inference.request import Request
from mlflow_model_server.inference.routes import Endpoint, Route
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.inference.streaming import EventWriter
from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.responses import ErrorResponse, Rejected, Response

_CHATS = (AgentKind.CHAT_MODEL, AgentKind.CHAT_AGENT)
_MAX_QUOTED = 100  # characters of a path that a message repeats


class OpenAICodec:
    """What OpenAI's clients, and those for MLflow's agent server, send and expect."""

    def __init__(self, service: InferenceService) -> None:
        self._name = service.model.name
        self._created = int(service.settings.model_created or time.time())

    def wants_stream(self, body: bytes, _headers: Headers, model: AgentModel) -> bool:
        """Raises Rejected where the body is not JSON object, or too large a one."""
        with model.document(body) as document:
            return document.get("stream") is True

    def respond(self, body: bytes, route: Route, model: AgentModel) -> Response:
        """The whole response, in a thread. Raises Rejected, and whatever the model raises."""
        _require_kind(route, model)
        if route.endpoint is Endpoint.COMPLETIONS:
            return chat_completions.respond(body, model, self._name)
        return responses_api.respond(body, model, self._name)

    def writer(self, body: bytes, route: Route, model: AgentModel) -> EventWriter:
        """The stream. Raises Rejected."""
        _require_kind(route, model)
        if route.endpoint is Endpoint.COMPLETIONS:
            return CompletionWriter(body, model, self._name)
        # OpenAI's own ends without a mark; /responses is the path of MLflow's agent server.
        return ResponseWriter(body, model, self._name, route.label == "/responses")

    async def describe(self, request: Request) -> Response:
        """The one model."""
        route = request.route
        if route.endpoint is Endpoint.MODEL_LIST:
            return Response(200, sse.to_json({"object": "list", "data": [self._model()]}))
        if route.endpoint is Endpoint.MODEL_ENTRY:
            return Response(200, sse.to_json(self._model()))
        path = route.path[:_MAX_QUOTED]
        raise Rejected(ErrorResponse(404, "RESOURCE_DOES_NOT_EXIST", f"there is no {path}"))

    def error(self, error: ErrorResponse, _request: Request) -> Response:
        """An error as OpenAI's clients read it."""
        body = sse.to_json({"error": error_fields(error)})
        return Response(error.status, body, headers=error.headers, error=error)

    def logged(self, request: bytes, response: Response) -> tuple[bytes, bytes]:
        """Both bodies as they are."""
        return request, response.body

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "mlflow",
        }


def _require_kind(route: Route, model: AgentModel) -> None:
    kinds = _CHATS if route.endpoint is Endpoint.COMPLETIONS else (AgentKind.RESPONSES_AGENT,)
    if model.kind in kinds:
        return
    names = " or a ".join(kind.value for kind in kinds)
    served = f"a {model.kind.value}" if model.kind is not None else "of another kind"
    message = f"{route.label} is for a {names}, but this model is {served}: "
    raise Rejected(ErrorResponse(404, "RESOURCE_DOES_NOT_EXIST", message + _path_for(model)))


def _path_for(model: AgentModel) -> str:
    if model.kind is None:
        return "write to /invocations"
    return f"write to {'/v1/chat/completions' if model.kind in _CHATS else '/v1/responses'}"
