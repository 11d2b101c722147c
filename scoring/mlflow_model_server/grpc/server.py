"""Serves GRPCInferenceService in the event loop of a worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import json_format

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs.tensors import BadRequest
from mlflow_model_server.grpc import convert
from mlflow_model_server.grpc.messages import SERVICE, message
from mlflow_model_server.headers import Headers
from mlflow_model_server.http.app import GONE, TIMEOUT, Application
from mlflow_model_server.inference.mlflow_fallback import TooManyRows, refusal_of
from mlflow_model_server.inference.served import PLATFORM, SERVER, wrong_model
from mlflow_model_server.metrics.slots import INFER
from mlflow_model_server.responses import Refusal, Reply
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# The status that stands for each HTTP status that we answer.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_OK = 200

Call = Callable[[Any, Any], Awaitable[Any]]


async def start(app: Application, settings: Settings) -> grpc.aio.Server:
    """Serves `app` at `settings.grpc_port`, which all workers share.

    Raises RuntimeError where the port is taken.
    """
    most = settings.max_body_bytes
    options = [("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=options)
    service = _Service(app, settings)
    handlers = {name: service.handler(name) for name in service.calls}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    server.add_insecure_port(f"[::]:{settings.grpc_port}")
    await server.start()
    return server


class _Service:
    """The calls, each counted as what it is over REST."""

    def __init__(self, app: Application, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._served = app.predictor.served(_never_asked)
        self.calls: dict[str, tuple[str, Call]] = {
            "ServerLive": ("/v2/health/live", self._server_live),
            "ServerReady": ("/v2/health/ready", self._server_ready),
            "ServerMetadata": ("/v2", self._server_metadata),
            "ModelReady": ("/v2/models/{model}/ready", self._model_ready),
            "ModelMetadata": ("/v2/models/{model}", self._model_metadata),
            "ModelInfer": (INFER, self._model_infer),
        }

    def handler(self, name: str) -> grpc.RpcMethodHandler:
        """How gRPC reads, answers and writes one of the calls."""
        route, call = self.calls[name]

        async def counted(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await self._counted(route, call, request, context)

        return grpc.unary_unary_rpc_method_handler(
            counted,
            request_deserializer=message(f"{name}Request").FromString,
            response_serializer=message(f"{name}Response").SerializeToString,
        )

    async def _counted(
        self, route: str, call: Call, request: Any, context: grpc.aio.ServicerContext
    ) -> Any:
        began, recorder = time.perf_counter(), self._app.recorder
        status = GONE
        recorder.in_flight += 1
        try:
            response = await call(request, context)
            status = _OK
            return response
        except _Refused as refused:
            status = refused.refusal.status
            await _abort(context, refused.refusal)
        finally:
            recorder.finished(route, status, time.perf_counter() - began)
            recorder.in_flight -= 1

    async def _server_live(self, _request: Any, _context: Any) -> Any:
        return message("ServerLiveResponse")(live=True)

    async def _server_ready(self, _request: Any, _context: Any) -> Any:
        return message("ServerReadyResponse")(ready=self._served.ready())

    async def _server_metadata(self, _request: Any, _context: Any) -> Any:
        version = self._served.server_version
        return message("ServerMetadataResponse")(name=SERVER, version=version)

    async def _model_ready(self, request: Any, _context: Any) -> Any:
        self._require_model(request.name, request.version)
        return message("ModelReadyResponse")(ready=self._served.ready())

    async def _model_metadata(self, request: Any, _context: Any) -> Any:
        self._require_model(request.name, request.version)
        tensor, spec = message("TensorMetadata"), self._served.spec
        return message("ModelMetadataResponse")(
            name=self._served.known_as,
            versions=[self._served.version] if self._served.version else [],
            platform=PLATFORM,
            inputs=[tensor(name=f.name, datatype=f.datatype, shape=f.shape) for f in spec.inputs],
            outputs=[tensor(name=f.name, datatype=f.datatype, shape=f.shape) for f in spec.outputs],
        )

    async def _model_infer(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        began = time.perf_counter()
        headers = _headers(context)
        if refusal := self._app.refused(headers, _address(context)):
            raise _Refused(refusal)
        self._require_model(request.model_name, request.model_version)
        caller = self._app.caller
        try:
            response, rows = await self._infer(request, headers, began)
        except _Refused as refused:
            self._log(request, headers, caller, refused.refusal.reply(), began)
            raise
        if self._app.recorder.request_log is not None:
            reply = Reply(_OK, _json(response), rows=rows)
            self._log(request, headers, caller, reply, began)
        return response

    async def _infer(self, request: Any, headers: Headers, began: float) -> tuple[Any, int]:
        spec, predictor = self._served.spec, self._app.predictor
        try:
            asked = convert.inference_of(request, spec)
            decoded = time.perf_counter()
            made = await predictor.predict(headers, _never, asked.data, asked.params)
            predicted = time.perf_counter()
            arrays = codec.outputs_of(made.predictions, asked.wanted, spec)
        except BadRequest as error:
            raise _Refused(Refusal(400, "BAD_REQUEST", str(error))) from None
        except TimeoutError:
            raise _Refused(TIMEOUT) from None
        except (Exception, TooManyRows) as problem:
            raise _Refused(refusal_of(problem)) from None
        served = self._served
        response = convert.response_of(request, arrays, served.known_as, served.version)
        predictor.record(made, decoded - began, time.perf_counter() - predicted)
        return response, made.rows

    def _require_model(self, name: str, version: str) -> None:
        wrong = wrong_model(name, version or None, self._served)
        if wrong:
            raise _Refused(Refusal(404, "RESOURCE_DOES_NOT_EXIST", wrong))

    def _log(self, request: Any, headers: Headers, caller: str, reply: Reply, began: float) -> None:
        self._app.log(INFER, headers, caller, _json(request), reply, began)


class _Refused(Exception):
    """A call ends with this refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def _abort(context: grpc.aio.ServicerContext, refusal: Refusal) -> NoReturn:
    code = _CODES.get(refusal.status, grpc.StatusCode.INTERNAL)
    trailing = tuple((name.decode(), value.decode()) for name, value in refusal.headers)
    await context.abort(code, refusal.message, trailing)
    raise AssertionError("unreachable")


def _json(sent: Any) -> bytes:
    return str(json_format.MessageToJson(sent, indent=None)).encode()


def _headers(context: grpc.aio.ServicerContext) -> Headers:
    """The call's metadata as ASGI has headers; gRPC keeps their names in lower case."""
    return [
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in context.invocation_metadata() or ()
    ]


def _address(context: grpc.aio.ServicerContext) -> str:
    """Who asks: of "ipv4:10.0.0.7:5123" and "ipv6:%5B::1%5D:5123" the middle."""
    return str(context.peer()).partition(":")[2].rpartition(":")[0]


async def _never() -> NoReturn:
    """A client that leaves cancels the call: nothing else tells of it."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _never_asked(_data: Any, _params: dict[str, Any]) -> NoReturn:
    raise AssertionError("calls are predicted by the predictor itself")
