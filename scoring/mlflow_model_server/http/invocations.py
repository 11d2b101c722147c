"""MLflow's protocol over HTTP: /invocations, and what else `mlflow models serve` has."""

from __future__ import annotations

import json

from mlflow_model_server.headers import Headers, first
from mlflow_model_server.inference.agent_model import AgentModel
from mlflow_model_server.inference.request import Request
from mlflow_model_server.inference.routes import Endpoint, Route
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.inference.streaming import EventWriter
from mlflow_model_server.responses import ErrorResponse, Rejected, Response

# MLflow's, byte for byte.
_PONG = Response(200, b"\n")
_NOT_READY = ErrorResponse(
    503,
    "TEMPORARILY_UNAVAILABLE",
    "no prediction has completed in time recently: requests can't be answered",
)
# As MLflow's framework has them.
_NOT_FOUND = b'{"detail":"Not Found"}'
_METHOD_NOT_ALLOWED = b'{"detail":"Method Not Allowed"}'


class InvocationsCodec:
    """The routes of MLflow's protocol."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service

    async def describe(self, request: Request) -> Response:
        """The response of a route that does not predict."""
        endpoint = request.route.endpoint
        if endpoint is Endpoint.PING:
            return _PONG if self._service.is_ready else self.error(_NOT_READY, request)
        if endpoint is Endpoint.VERSION:
            from mlflow.version import VERSION

            return Response(200, VERSION.encode())
        if endpoint is Endpoint.OPENAPI:
            return Response(200, self._openapi())
        if endpoint is Endpoint.REDIRECT:
            return _redirect(request)
        raise Rejected(ErrorResponse(404, "RESOURCE_DOES_NOT_EXIST", "Not Found"))

    def error(self, error: ErrorResponse, request: Request) -> Response:
        """An error as MLflow writes it, or its framework."""
        response = error.response()
        if request.route.predicts and error.status != 405:
            return response
        if error.status == 404:
            return response._replace(body=_NOT_FOUND)
        return response._replace(body=_METHOD_NOT_ALLOWED) if error.status == 405 else response

    def logged(self, request: bytes, response: Response) -> tuple[bytes, bytes]:
        """Both bodies as they are."""
        return request, response.body

    def wants_stream(self, body: bytes, headers: Headers, model: AgentModel) -> bool:
        """Whether the body has `"stream": true`, and not for the model itself."""
        from mlflow_model_server.agents import invocations

        return invocations.wants_stream(body, headers, model)

    def converted(self, body: bytes, headers: Headers, model: AgentModel) -> bytes | None:
        """A request for an agent as MLflow's types for its kind have it."""
        from mlflow_model_server.agents import invocations

        return invocations.converted(body, headers, model)

    def writer(self, body: bytes, _route: Route, model: AgentModel) -> EventWriter:
        """What the model yields, as MLflow's agent server sends it."""
        from mlflow_model_server.agents.invocations import InvocationWriter

        return InvocationWriter(body, model)

    def _openapi(self) -> bytes:
        from mlflow_model_server import openapi

        service = self._service
        model, agent = service.model, service.predictor.agent_model.kind
        document = openapi.document(model.name, model.version, service.requires_keys, agent)
        return json.dumps(document).encode()


def _redirect(request: Request) -> Response:
    """To the path without the slash at its end, as MLflow's framework does."""
    host = first(request.headers, b"host") or b""
    location = b"http://%s%s" % (host, request.route.path.encode())
    return Response(307, b"", "", ((b"location", location),))
