"""Serves GRPCInferenceService in the event loop of a worker.

Calls are handled as streams of one message, and messages as bytes: a call is admitted by its
metadata, before its message is read, and before that is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs.openinference import Inference
from mlflow_model_server.grpc import context as calls
from mlflow_model_server.grpc import convert, health, messages, reflection
from mlflow_model_server.grpc.message_reader import MessageBody, MessageReader
from mlflow_model_server.grpc.messages import SERVICE, message
from mlflow_model_server.headers import Headers
from mlflow_model_server.inference import routes
from mlflow_model_server.inference.request import ClientGone, Request
from mlflow_model_server.inference.routes import Endpoint, Route
from mlflow_model_server.inference.served_model import (
    EXTENSIONS,
    PLATFORM,
    SERVER,
    SERVER_VERSION,
)
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.responses import ErrorResponse, Rejected, Response
from mlflow_model_server.settings import Settings

_ROUTES = {
    "ServerLive": routes.SERVER_LIVE,
    "ServerReady": routes.SERVER_READY,
    "ServerMetadata": routes.SERVER_METADATA,
    "ModelReady": routes.MODEL_READY,
    "ModelMetadata": routes.MODEL_METADATA,
    "ModelInfer": routes.MODEL_INFER,
    "RepositoryIndex": routes.REPOSITORY_INDEX,
    "RepositoryModelLoad": routes.REPOSITORY_CONTROL,
    "RepositoryModelUnload": routes.REPOSITORY_CONTROL,
}
# Calls beyond those that may wait: for probes, and to be refused with a sentence.
_MORE_CALLS = 64
# gRPC's buffer of a stream that is not read.
_WINDOW = 65_535
# Milliseconds. A connection begins with HTTP/2's preface in this time, ends after so long without
# a call, and after so long without an answer to a ping.
_PREFACE_TIMEOUT, _IDLE_TIMEOUT = 10_000, 300_000
_PING_INTERVAL, _PING_TIMEOUT = 60_000, 20_000
# Clients may send a ping as often as this: gRPC's default, of 5 minutes, ends connections of
# clients that use a common interval. Those who send more are cut off.
_MIN_PING_INTERVAL = 10_000
_PROTOBUF = "application/x-protobuf"

Handle = Callable[[object, grpc.aio.ServicerContext], Awaitable[bytes]]


async def start(service: InferenceService, settings: Settings) -> grpc.aio.Server:
    """Serves at `settings.grpc_port`, which all workers share.

    Raises RuntimeError where the port is taken.
    """
    max_calls = settings.max_queue + _MORE_CALLS
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.lookahead_bytes", _WINDOW),
            ("grpc.http2.bdp_probe", 0),
            *_connection_limits(settings.max_connections, max_calls),
        ],
        maximum_concurrent_rpcs=max_calls,
    )
    inference = _Calls(service, settings)
    by_service = {
        SERVICE: inference.handlers(),
        health.SERVICE: health.handlers(service, inference.messages),
        **reflection.handlers(service, inference.messages, (messages.FILE, health.FILE)),
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(*each) for each in by_service.items()]
    )
    server.add_insecure_port(f"[::]:{settings.grpc_port}")
    await server.start()
    return server


def _connection_limits(max_connections: int, max_calls: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.max_concurrent_streams", max_calls),
        ("grpc.server_handshake_timeout_ms", _PREFACE_TIMEOUT),
        ("grpc.max_connection_idle_ms", _IDLE_TIMEOUT),
        ("grpc.keepalive_time_ms", _PING_INTERVAL),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL),
    ]


class _Calls:
    """Translates between calls and the inference service."""

    def __init__(self, service: InferenceService, settings: Settings) -> None:
        self._service = service
        self._maximum = settings.grpc_max_message_bytes
        self.messages = MessageReader(service.budget.limit // self._maximum)
        self._codec = _Codec(service, settings)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The handlers of all calls, by name."""
        return {
            name: grpc.stream_unary_rpc_method_handler(self._handler(route))
            for name, route in _ROUTES.items()
        }

    def _handler(self, route: Route) -> Handle:
        async def handle(_messages: object, context: grpc.aio.ServicerContext) -> bytes:
            return await self._handle(route, context)

        return handle

    async def _handle(self, route: Route, context: grpc.aio.ServicerContext) -> bytes:
        request = self._service.request(
            route,
            route.method,
            calls.headers(context),
            calls.address(context),
            MessageBody(context, self.messages),
            self._maximum,
        )
        try:
            response = await self._service.respond(request, self._codec)
        except ClientGone:
            raise asyncio.CancelledError from None
        if response.error is not None:
            await calls.abort(context, response.error)
        return response.body


class _Codec:
    """The Open Inference Protocol's messages."""

    def __init__(self, service: InferenceService, settings: Settings) -> None:
        self._service = service
        self._model = service.model
        self._log_bodies = settings.request_log_bodies

    def decode(self, body: bytes, _headers: Headers) -> _Call:
        """Raises BadRequest and Rejected."""
        request = _parse("ModelInferRequest", body)
        self._require_model(request.model_name, request.model_version)
        return _Call(
            request, convert.inference_of(request, self._model.spec, self._service.parse_limits)
        )

    def encode(self, call: _Call, predictions: Any) -> Response:
        """Raises BadRequest."""
        model = self._model
        arrays = codec.outputs_of(predictions, call.inference.requested, model.spec)
        response = convert.response_of(call.request, arrays, model.name, model.version)
        return _response(response)

    async def describe(self, request: Request) -> Response:
        """Health and metadata. Raises Rejected."""
        service, endpoint = self._service, request.route.endpoint
        if endpoint is Endpoint.SERVER_LIVE:
            return _response(message("ServerLiveResponse")(live=service.is_live))
        if endpoint is Endpoint.SERVER_READY:
            return _response(message("ServerReadyResponse")(ready=service.is_ready))
        if endpoint is Endpoint.SERVER_METADATA:
            metadata = message("ServerMetadataResponse")(
                name=SERVER, version=SERVER_VERSION, extensions=EXTENSIONS
            )
            return _response(metadata)
        if endpoint is Endpoint.REPOSITORY_INDEX:
            return await self._index(request)
        if endpoint is Endpoint.REPOSITORY_CONTROL:
            raise Rejected(self._model.control_refused())
        named = _parse("ModelMetadataRequest", await request.read())
        self._require_model(named.name, named.version)
        if endpoint is Endpoint.MODEL_READY:
            return _response(message("ModelReadyResponse")(ready=service.is_ready))
        return _response(self._metadata())

    def error(self, error: ErrorResponse, _request: Request) -> Response:
        """The call is aborted with it."""
        return error.response()

    def logged(self, request: bytes, response: Response) -> tuple[bytes, bytes]:
        """Both messages, as JSON where they are logged."""
        if not self._log_bodies:
            return request, response.body
        return _json("ModelInferRequest", request), (
            response.body if response.error else _json("ModelInferResponse", response.body)
        )

    async def _index(self, request: Request) -> Response:
        asked = _parse("RepositoryIndexRequest", await request.read())
        entries = self._model.repository_index(self._service.is_ready, only_ready=asked.ready)
        return _response(message("RepositoryIndexResponse")(models=entries))

    def _metadata(self) -> Any:
        model, tensor = self._model, message("ModelMetadataResponse.TensorMetadata")
        inputs, outputs = (
            [
                tensor(name=field.name, datatype=field.datatype, shape=field.shape)
                for field in fields
            ]
            for fields in (model.spec.inputs, model.spec.outputs)
        )
        return message("ModelMetadataResponse")(
            name=model.name,
            versions=[model.version] if model.version else [],
            platform=PLATFORM,
            inputs=inputs,
            outputs=outputs,
        )

    def _require_model(self, name: str, version: str) -> None:
        if error := self._model.mismatch(name, version or None):
            raise Rejected(error)


class _Call:
    """A request as it was sent, and what it asks for."""

    __slots__ = ("data", "inference", "params", "request")

    def __init__(self, request: Any, inference: Inference) -> None:
        self.request = request
        self.inference = inference
        self.data = inference.data
        self.params = inference.params


_NO_MESSAGE = ErrorResponse(400, "BAD_REQUEST", "the message is not one of this call's")


def _parse(name: str, body: bytes) -> Any:
    try:
        return message(name).FromString(body)
    except DecodeError:
        raise Rejected(_NO_MESSAGE) from None


def _response(sent: Any) -> Response:
    return Response(200, sent.SerializeToString(), _PROTOBUF)


def _json(name: str, body: bytes) -> bytes:
    try:
        sent = message(name).FromString(body)
        return str(json_format.MessageToJson(sent, indent=None)).encode()
    except (DecodeError, ValueError):
        return body
