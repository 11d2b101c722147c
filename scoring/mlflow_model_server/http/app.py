"""The ASGI application: translates between HTTP and the inference service."""

from __future__ import annotations

from functools import cached_property

from mlflow_model_server.headers import Headers, first
from mlflow_model_server.http.asgi import (
    CopiedBody,
    Receive,
    RequestBody,
    ResponseStream,
    Scope,
    Send,
    send_response,
)
from mlflow_model_server.http.invocations import InvocationsCodec
from mlflow_model_server.inference.request import ClientGone
from mlflow_model_server.inference.routes import (
    Endpoint,
    Route,
    is_open_inference,
    is_openai,
    resolve,
)
from mlflow_model_server.inference.service import Codec, InferenceService
from mlflow_model_server.responses import Response

# Of requests of the Open Inference Protocol with binary tensors.
_BINARY_HEADER_LENGTH = b"inference-header-content-length"


class Application:
    """An ASGI application that serves one model."""

    def __init__(self, service: InferenceService) -> None:
        self.service = service
        self._invocations = InvocationsCodec(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or a lifespan event."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        route, headers = resolve(scope["path"]), scope["headers"]
        shadow = self.service.shadow
        if shadow is None or not _can_be_copied(route, headers) or not shadow.selects(headers):
            response = await self._respond(scope, route, RequestBody(headers, receive), send)
            if response is not None:
                await send_response(send, response)
            return
        body = CopiedBody(headers, receive)
        response = await self._respond(scope, route, body, send)
        if response is not None:
            with shadow.copying_after(scope["raw_path"], headers, body.content, response):
                await send_response(send, response)

    async def _respond(
        self, scope: Scope, route: Route, body: RequestBody, send: Send
    ) -> Response | None:
        """The response; None: it has been sent, or nobody waits for it."""
        service, client = self.service, scope.get("client")
        request = service.request(
            route,
            scope["method"],
            scope["headers"],
            client[0] if client else "",
            body,
            service.max_body_bytes,
            ResponseStream(send),
        )
        try:
            response = await service.respond(request, self._codec(scope["path"]))
        except ClientGone:
            return None
        return response if response.sent_bytes is None else None

    def _codec(self, path: str) -> Codec:
        if is_open_inference(path):
            return self._open_inference
        return self._openai if is_openai(path) else self._invocations

    @cached_property
    def _open_inference(self) -> Codec:
        # Imported with the first request of that protocol: most servers never get one.
        from mlflow_model_server.http.openinference import OpenInferenceCodec

        return OpenInferenceCodec(self.service)

    @cached_property
    def _openai(self) -> Codec:
        from mlflow_model_server.agents.openai import OpenAICodec

        return OpenAICodec(self.service)


def _can_be_copied(route: Route, headers: Headers) -> bool:
    """Whether another version can answer the same request.

    Not where the path names a version, which is this server's, and not with binary tensors.
    """
    if route.endpoint is Endpoint.INVOCATIONS:
        return True
    is_inference = route.endpoint is Endpoint.MODEL_INFER and route.version is None
    return is_inference and first(headers, _BINARY_HEADER_LENGTH) is None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
