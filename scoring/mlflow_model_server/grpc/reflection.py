"""gRPC's server reflection: clients without the protocol's files ask for them.

See https://github.com/grpc/grpc/blob/master/doc/server-reflection.md. Its two versions differ by
the package's name only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from mlflow_model_server.compat import timeout
from mlflow_model_server.grpc import context as calls
from mlflow_model_server.grpc.descriptors import ProtoFile
from mlflow_model_server.grpc.message_reader import MessageBody, MessageReader
from mlflow_model_server.inference import routes
from mlflow_model_server.inference.request import ClientGone, Request
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.responses import ErrorResponse, Rejected, Response

_NAME = "ServerReflection"
_METHOD = "ServerReflectionInfo"
_MESSAGES = {
    "ServerReflectionRequest": """
        string host = 1; oneof string file_by_filename = 3;
        oneof string file_containing_symbol = 4;
        oneof ExtensionRequest file_containing_extension = 5;
        oneof string all_extension_numbers_of_type = 6; oneof string list_services = 7""",
    "ExtensionRequest": "string containing_type = 1; int32 extension_number = 2",
    "ServerReflectionResponse": """
        string valid_host = 1; ServerReflectionRequest original_request = 2;
        oneof FileDescriptorResponse file_descriptor_response = 4;
        oneof ExtensionNumberResponse all_extension_numbers_response = 5;
        oneof ListServiceResponse list_services_response = 6;
        oneof ErrorResponse error_response = 7""",
    "FileDescriptorResponse": "repeated bytes file_descriptor_proto = 1",
    "ExtensionNumberResponse": "string base_type_name = 1; repeated int32 extension_number = 2",
    "ListServiceResponse": "repeated ServiceResponse service = 1",
    "ServiceResponse": "string name = 1",
    "ErrorResponse": "int32 error_code = 1; string error_message = 2",
}


def _file(version: str) -> ProtoFile:
    return ProtoFile(
        f"grpc/reflection/{version}/reflection.proto",
        f"grpc.reflection.{version}.{_NAME}",
        _MESSAGES,
        {_METHOD: ("stream ServerReflectionRequest", "stream ServerReflectionResponse")},
    )


FILES = (_file("v1"), _file("v1alpha"))

_MAX_REQUEST_BYTES = 1024  # of which the response repeats each
_MAX_REQUESTS = 64  # of a stream: a client has a few for each service
_TIMEOUT = 60.0  # seconds, for a stream
# While they wait they take places of messages that arrive.
_MAX_STREAMS = 4
_TOO_LONG = ErrorResponse(400, "BAD_REQUEST", f"a request has at most {_MAX_REQUEST_BYTES} bytes")
_TOO_MANY = ErrorResponse(429, "REQUEST_LIMIT_EXCEEDED", "the stream has had too many requests")
_TOO_SLOW = ErrorResponse(504, "DEADLINE_EXCEEDED", f"the stream has lasted {_TIMEOUT:g} s")
_NO_REQUEST = ErrorResponse(400, "BAD_REQUEST", "the message is not one of this call's")
_BUSY = ErrorResponse(
    503, "TEMPORARILY_UNAVAILABLE", "too many clients ask at once: try again in 1 s", retry_after=1
)

Handlers = dict[str, dict[str, grpc.RpcMethodHandler]]
Handle = Callable[[object, grpc.aio.ServicerContext], Awaitable[None]]


def handlers(
    service: InferenceService, reader: MessageReader, files: Sequence[ProtoFile]
) -> Handlers:
    """The handlers of both services' methods; they need keys as all calls but probes do."""
    streams = _Streams(service, reader, (*files, *FILES))
    return {
        file.service: {_METHOD: grpc.stream_stream_rpc_method_handler(streams.handler(file))}
        for file in FILES
    }


class _Streams:
    """The streams of all clients."""

    def __init__(
        self, service: InferenceService, reader: MessageReader, described: Sequence[ProtoFile]
    ) -> None:
        self._service = service
        self._reader = reader
        self._described = described
        self._open = 0

    def handler(self, file: ProtoFile) -> Handle:
        """The handler of one version's method."""

        async def handle(_messages: object, context: grpc.aio.ServicerContext) -> None:
            await self._handle(file, context)

        return handle

    async def _handle(self, file: ProtoFile, context: grpc.aio.ServicerContext) -> None:
        request = self._service.request(
            routes.REFLECTION,
            routes.REFLECTION.method,
            calls.headers(context),
            calls.address(context),
            MessageBody(context, self._reader),
            _MAX_REQUEST_BYTES,
        )
        self._open += 1
        try:
            stream = _Stream(file, self._described, context, is_refused=self._open > _MAX_STREAMS)
            response = await self._service.respond(request, stream)
        except ClientGone:
            raise asyncio.CancelledError from None
        finally:
            self._open -= 1
        if response.error is not None:
            await calls.abort(context, response.error)


class _Stream:
    """The requests of one call, each of which is answered before the next is read."""

    def __init__(
        self,
        file: ProtoFile,
        described: Sequence[ProtoFile],
        context: grpc.aio.ServicerContext,
        is_refused: bool,
    ) -> None:
        self._file = file
        self._described = described
        self._context = context
        self._is_refused = is_refused

    async def describe(self, request: Request) -> Response:
        """Answers until the client ends the stream. Raises Rejected."""
        if self._is_refused:
            raise Rejected(_BUSY)
        try:
            async with timeout(_TIMEOUT):
                for _ in range(_MAX_REQUESTS):
                    asked = await self._next(request)
                    await self._context.write(answer(self._file, self._described, asked))
        except ClientGone:
            return Response(200, b"")
        except TimeoutError:
            raise Rejected(_TOO_SLOW) from None
        raise Rejected(_TOO_MANY)

    def error(self, error: ErrorResponse, _request: Request) -> Response:
        """The call is aborted with it."""
        return error.response()

    def logged(self, request: bytes, response: Response) -> tuple[bytes, bytes]:
        """Only predictions are logged."""
        return request, response.body

    async def _next(self, request: Request) -> Any:
        try:
            body = await request.body.read(request.reservation)
        except Rejected as rejected:
            raise Rejected(_TOO_LONG) if rejected.error.status == 413 else rejected from None
        try:
            return self._file.message("ServerReflectionRequest").FromString(body)
        except DecodeError:
            raise Rejected(_NO_REQUEST) from None


def answer(file: ProtoFile, described: Sequence[ProtoFile], request: Any) -> bytes:
    """The response to one request, about the described files, in a version's messages."""
    response = file.message("ServerReflectionResponse")(
        valid_host=request.host, original_request=request
    )
    kind = request.WhichOneof("choice")
    match = _find(described, kind, request)
    if kind == "list_services":
        for each in described:
            response.list_services_response.service.add(name=each.service)
    elif match is None:
        response.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
        response.error_response.error_message = "there is no such file, symbol or extension"
    elif kind == "all_extension_numbers_of_type":
        # None of them has extensions.
        response.all_extension_numbers_response.base_type_name = getattr(request, kind)
    else:
        response.file_descriptor_response.file_descriptor_proto.append(match.serialized())
    return bytes(response.SerializeToString())


def _find(described: Sequence[ProtoFile], kind: str | None, request: Any) -> ProtoFile | None:
    if kind == "file_by_filename":
        return next((f for f in described if f.name == request.file_by_filename), None)
    if kind in ("file_containing_symbol", "all_extension_numbers_of_type"):
        symbol = getattr(request, kind)
        return next((f for f in described if symbol in f.symbols), None)
    return None
