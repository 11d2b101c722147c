"""The ASGI application: translates between HTTP and the inference service."""

from __future__ import annotations

from functools import cached_property

from mlflow_model_server.http.asgi import Receive, RequestBody, Scope, Send, send_response
from mlflow_model_server.http.invocations import InvocationsCodec
from mlflow_model_server.inference.request import ClientGone
from mlflow_model_server.inference.routes import is_open_inference, resolve
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
        )
        codec = self._open_inference if is_open_inference(path) else self._invocations
        try:
            response = await service.respond(request, codec)
        except ClientGone:
            return
        await send_response(send, response)

    @cached_property
    def _open_inference(self) -> Codec:
        # Imported with the first request of that protocol: most servers never get one.
        from mlflow_model_server.http.openinference import OpenInferenceCodec

        return OpenInferenceCodec(self.service)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
