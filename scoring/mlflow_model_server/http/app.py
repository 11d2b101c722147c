"""The ASGI application: translates between HTTP and the inference service."""

from __future__ import annotations

from functools import cached_property

from mlflow_model_server.http.asgi import (
    Receive,
    RequestBody,
    ResponseStream,
    Scope,
    Send,
    send_response,
)
from mlflow_model_server.http.invocations import InvocationsCodec
from mlflow_model_server.inference.request import ClientGone
from mlflow_model_server.inference.routes import is_open_inference, is_openai, resolve
from mlflow_model_server.inference.service import Codec, InferenceService


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
        service, path, headers = self.service, scope["path"], scope["headers"]
        client = scope.get("client")
        request = service.request(
            resolve(path),
            scope["method"],
            headers,
            client[0] if client else "",
            RequestBody(headers, receive),
            service.max_body_bytes,
            ResponseStream(send),
        )
        try:
            response = await service.respond(request, self._codec(path))
        except ClientGone:
            return
        if response.sent_bytes is None:
            await send_response(send, response)

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


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
