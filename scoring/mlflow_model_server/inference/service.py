"""The inference service: the one way of a request, whatever protocol and transport it came by.

Admit, read, decode, predict, encode, record, log. Transports resolve the route, make a Request, and
send the response; codecs know how a protocol reads and writes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from mlflow_model_server import tracing
from mlflow_model_server.auth.admission import ANONYMOUS, Authenticator, Principal
from mlflow_model_server.codecs.errors import BadRequest
from mlflow_model_server.headers import Headers
from mlflow_model_server.inference import limits
from mlflow_model_server.inference.agent_model import AgentModel
from mlflow_model_server.inference.event_stream import EventStream, Parts
from mlflow_model_server.inference.predictor import ModelOutput, crash_response
from mlflow_model_server.inference.request import (
    Body,
    ClientGone,
    DeadlineExceeded,
    Output,
    Request,
)
from mlflow_model_server.inference.routes import INVOCATIONS_ROUTE, Endpoint, Route
from mlflow_model_server.inference.served_model import ServedModel
from mlflow_model_server.inference.streaming import EventWriter, Streaming, Timeouts
from mlflow_model_server.metrics.recorder import Recorder
from mlflow_model_server.request_log import MAX_BODY_BYTES
from mlflow_model_server.responses import ErrorResponse, Rejected, Response
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.shadow.feeder import Feeder

log = logging.getLogger(__name__)
T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499  # nginx's number for a client that has left
DEADLINE = ErrorResponse(
    504, "DEADLINE_EXCEEDED", "the prediction exceeded the time limit of a request"
)
INTERNAL_ERROR = ErrorResponse(500, "INTERNAL_ERROR", "the server failed: see its log")
_CAN_NOT_STREAM = ErrorResponse(
    400,
    "BAD_REQUEST",
    "this model can't stream, because it has no predict_stream: leave stream out",
)
_INVOCATIONS = INVOCATIONS_ROUTE.label.encode()
# Predictions that don't end may still do so: not ready only after some time beyond their timeout.
_STUCK_SECONDS = 10.0


class Predictor(Protocol):
    """What predicts; see predictor.py."""

    agent_model: AgentModel

    @property
    def spec(self) -> Any:
        """The signature as the Open Inference Protocol has it."""

    async def inspect(self, request: Request, size: int, function: Callable[[], T]) -> T:
        """What a function says of a body of `size` bytes."""

    async def converse(self, request: Request, respond: Callable[[], Response]) -> Response:
        """What `respond` makes of an agent's answer, in a thread."""

    def stream(self, request: Request, parts: Callable[[], Parts]) -> EventStream:
        """Begins a stream of these parts."""

    async def invoke(
        self, request: Request, body: bytes, convert: Callable[[], bytes | None] | None = None
    ) -> Response:
        """The response by MLflow's protocol; `convert` is for agents."""

    async def predict(
        self, request: Request, data: Any, params: dict[str, Any] | None
    ) -> ModelOutput:
        """Predictions for an array, a DataFrame, or arrays by name."""

    def begin(
        self,
        headers: Headers,
        body: bytes | bytearray,
        is_cancelled: Callable[[], bool],
        on_done: Callable[[Response | BaseException], None],
    ) -> bool:
        """Begins a request of MLflow's protocol, without a task."""

    async def read(self, size: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function that reads `size` bytes."""

    def stuck_seconds(self) -> float:
        """For how long no prediction has been possible; infinite where none will be."""


class Codec(Protocol):
    """How a protocol's messages are written over one transport."""

    async def describe(self, request: Request) -> Response:
        """The response of a route that does not predict. Raises Rejected."""

    def error(self, error: ErrorResponse, request: Request, /) -> Response:
        """An error as the protocol writes it."""

    def logged(self, request: bytes, response: Response, /) -> tuple[bytes, bytes]:
        """Both bodies as the request log has them."""


class InferenceCodec(Codec, Protocol):
    """A codec that reads requests for predictions too: the predictor reads MLflow's itself."""

    def decode(self, body: bytes, headers: Headers, /) -> Any:
        """The inference request: with `data` and `params`. Raises BadRequest and Rejected."""

    def encode(self, inference: Any, predictions: Any, /) -> Response:
        """The response to it. Raises BadRequest."""


class AgentCodec(Codec, Protocol):
    """A codec of requests that are answered whole or as a stream of events."""

    def wants_stream(self, body: bytes, headers: Headers, model: AgentModel, /) -> bool:
        """Whether the request asks for a stream. Raises Rejected."""

    def converted(self, body: bytes, headers: Headers, model: AgentModel, /) -> bytes | None:
        """The body as an agent without its signature takes it, or None. In a thread.

        Of MLflow's protocol only, as `respond` is of all others.
        """

    def respond(self, body: bytes, route: Route, model: AgentModel, /) -> Response:
        """The agent's whole answer, in a thread. Raises whatever the model raises."""

    def writer(self, body: bytes, route: Route, model: AgentModel, /) -> EventWriter:
        """The stream. Raises Rejected."""


class InferenceService:
    """Serves one model. To be used from one event loop."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        recorder: Recorder,
        authenticator: Authenticator | None = None,
        feeder: Feeder | None = None,
    ) -> None:
        self.settings = settings
        self.recorder = recorder
        self.predictor = predictor
        self.parse_limits = limits.parse_limits(settings)
        self.max_body_bytes = limits.max_body_bytes(settings)
        self.budget = limits.BytesBudget(limits.max_bytes_in_flight(settings))
        self.shadow = None if feeder is None else feeder.shadow
        self._feeder = feeder
        self._authenticator = authenticator

    def close(self) -> None:
        """Abandons what no client waits for."""
        if self._feeder is not None:
            self._feeder.close()

    @property
    def model(self) -> ServedModel:
        """The served model, as clients see it."""
        settings = self.settings
        return ServedModel(settings.model_name, settings.model_version, self.predictor.spec)

    @property
    def requires_keys(self) -> bool:
        """Whether requests are authenticated or limited."""
        return self._authenticator is not None

    @property
    def is_ready(self) -> bool:
        """Whether requests can be answered now."""
        return self.predictor.stuck_seconds() < _STUCK_SECONDS

    @property
    def is_live(self) -> bool:
        """Whether a restart would not help."""
        limit = self.settings.stuck_restart_after
        return limit == 0 or self.predictor.stuck_seconds() < _STUCK_SECONDS + limit

    @property
    def is_finished(self) -> bool:
        """Whether this process will never predict again."""
        return math.isinf(self.predictor.stuck_seconds())

    def request(
        self,
        route: Route,
        method: str,
        headers: Headers,
        address: str,
        body: Body,
        maximum: int,
        output: Output | None = None,
    ) -> Request:
        """A request whose body may have `maximum` bytes; `output` is for streams."""
        reservation = self.budget.reservation(maximum)
        return Request(route, method, headers, address, body, reservation, output)

    async def respond(self, request: Request, codec: Codec) -> Response:
        """The response to a request, which is counted and logged whatever happens.

        A stream has been sent when this returns: its response has `sent_bytes`. Raises ClientGone
        where nobody would read it.
        """
        started = time.perf_counter()
        recorder = self.recorder
        recorder.in_flight += 1
        status = CLIENT_CLOSED_REQUEST
        try:
            response = await self._respond(request, codec, started)
            status = response.status
            return response
        finally:
            recorder.in_flight -= 1
            recorder.observe_request(request.route.label, status, time.perf_counter() - started)
            request.reservation.release()

    async def _respond(self, request: Request, codec: Codec, started: float) -> Response:
        principal = self._admit(request)
        if isinstance(principal, ErrorResponse):
            return codec.error(principal, request)
        body = b""
        try:
            if error := self._route_error(request):
                return codec.error(error, request)
            if not request.route.predicts:
                return await codec.describe(request)
            body = await request.read()
            response = await self._predict(request, codec, body, started)
        except (ClientGone, asyncio.CancelledError):
            raise
        except Rejected as rejected:
            response = codec.error(rejected.error, request)
        except DeadlineExceeded:
            response = codec.error(DEADLINE, request)
        except BaseException as error:
            log.error("a request failed", exc_info=error)
            response = codec.error(INTERNAL_ERROR, request)
        if request.route.predicts:
            self._log(request, codec, principal, body, response, started)
        return response

    def _admit(self, request: Request) -> Principal | ErrorResponse:
        """Who sent the request; an error if that is nobody who may, or there is no room for it.

        Every route needs what is configured, except for the open ones.
        """
        if request.route.is_open:
            return ANONYMOUS
        principal = ANONYMOUS
        if self._authenticator is not None:
            admitted = self._authenticator.authenticate(request.headers, request.address)
            if isinstance(admitted, ErrorResponse):
                return admitted
            principal = admitted
        max_queue = self.settings.max_queue
        return _overloaded(max_queue) if self.recorder.in_flight > max_queue else principal

    def _route_error(self, request: Request) -> ErrorResponse | None:
        route = request.route
        mismatch = route.model and self.model.mismatch(route.model, route.version)
        if mismatch:
            return mismatch
        return None if route.allows(request.method) else _method_not_allowed(request)

    async def _predict(
        self, request: Request, codec: Codec, body: bytes, started: float
    ) -> Response:
        endpoint = request.route.endpoint
        if endpoint is Endpoint.MODEL_INFER:
            return await self._infer(request, cast(InferenceCodec, codec), body)
        agent_codec = cast(AgentCodec, codec)
        if endpoint is Endpoint.INVOCATIONS:
            return await self._invoke(request, agent_codec, body, started)
        return await self._converse(request, agent_codec, body, started)

    async def _invoke(
        self, request: Request, codec: AgentCodec, body: bytes, started: float
    ) -> Response:
        predictor = self.predictor
        is_agent = predictor.agent_model.kind is not None
        # A stream is asked for by this word: most bodies need not be parsed to see that none is.
        if (is_agent or b'"stream"' in body) and await self._wants_stream(request, codec, body):
            return await self._stream(request, codec, body, started)
        if not is_agent:
            return await predictor.invoke(request, body)
        arguments = body, request.headers, predictor.agent_model
        return await predictor.invoke(request, body, partial(codec.converted, *arguments))

    async def _converse(
        self, request: Request, codec: AgentCodec, body: bytes, started: float
    ) -> Response:
        if await self._wants_stream(request, codec, body):
            return await self._stream(request, codec, body, started)
        predictor, route = self.predictor, request.route
        return await predictor.converse(
            request, partial(codec.respond, body, route, predictor.agent_model)
        )

    async def _wants_stream(self, request: Request, codec: AgentCodec, body: bytes) -> bool:
        predictor = self.predictor
        arguments = body, request.headers, predictor.agent_model
        return await predictor.inspect(request, len(body), partial(codec.wants_stream, *arguments))

    async def _stream(
        self, request: Request, codec: AgentCodec, body: bytes, started: float
    ) -> Response:
        predictor, settings, recorder = self.predictor, self.settings, self.recorder
        writer = codec.writer(body, request.route, predictor.agent_model)
        if request.output is None or not predictor.agent_model.can_stream:
            raise Rejected(_CAN_NOT_STREAM)
        timeouts = Timeouts(settings.request_timeout, settings.stream_timeout)
        logs_bodies = recorder.request_log is not None and settings.request_log_bodies
        streaming = Streaming(
            request, request.output, writer, timeouts, MAX_BODY_BYTES if logs_bodies else 0
        )
        try:
            return await streaming.send(predictor.stream(request, writer.parts))
        finally:
            recorder.observe_batch(1, 1)
            if (first := streaming.first_event_at) is not None:
                seconds = time.perf_counter() - started
                recorder.observe_stream(first - started, seconds, writer.count)

    async def _infer(self, request: Request, codec: InferenceCodec, body: bytes) -> Response:
        predictor = self.predictor
        received = time.perf_counter()
        try:
            inference = await predictor.read(len(body), codec.decode, body, request.headers)
            decoded = time.perf_counter()
            output = await predictor.predict(request, inference.data, inference.params)
            predicted = time.perf_counter()
            response: Response = await predictor.read(
                len(body), codec.encode, inference, output.predictions
            )
        except BadRequest as error:
            raise Rejected(ErrorResponse(400, "BAD_REQUEST", str(error))) from None
        self.recorder.observe_phases(
            output.queued, decoded - received, output.seconds, time.perf_counter() - predicted
        )
        return response._replace(rows=output.rows)

    def _log(
        self,
        request: Request,
        codec: Codec,
        principal: Principal,
        body: bytes,
        response: Response,
        started: float,
    ) -> None:
        request_log = self.recorder.request_log
        if request_log is None or not request_log.should_log():
            return
        request_body, response_body = codec.logged(body, response)
        request_log.write(
            request.route.label,
            response.status,
            time.perf_counter() - started,
            rows=response.rows,
            request=request_body,
            response=response_body,
            traceparent=tracing.traceparent(request.headers),
            caller=principal.name,
            response_bytes=response.sent_bytes,
        )

    # The inline path: the same without a task, for what is predicted before anything else happens.

    @property
    def accepts_inline(self) -> bool:
        """Whether `begin` may get requests: those are admitted without a look at who sends them."""
        return self._authenticator is None and self.recorder.request_log is None

    def begin(
        self,
        headers: Headers,
        body: bytes | bytearray,
        is_cancelled: Callable[[], bool],
        on_response: Callable[[Response | None], None],
    ) -> bool:
        """Begins a POST to /invocations that has arrived whole; False: it does not.

        `on_response` gets the response, or None: `respond` is to be asked for it then.
        """
        recorder = self.recorder
        if recorder.in_flight >= self.settings.max_queue or len(body) > self.max_body_bytes:
            return False
        shadow = self.shadow
        if shadow is not None and shadow.selects(headers):
            on_response = shadow.copying(_INVOCATIONS, headers, body, on_response)
        inline = _InlineRequest(recorder, is_cancelled, on_response)
        if not self.predictor.begin(headers, body, is_cancelled, inline.finish):
            return False
        recorder.in_flight += 1
        return True


class _InlineRequest:
    """A request that is answered without a task."""

    __slots__ = ("_finished", "_is_cancelled", "_on_response", "_recorder", "_started")

    def __init__(
        self,
        recorder: Recorder,
        is_cancelled: Callable[[], bool],
        on_response: Callable[[Response | None], None],
    ) -> None:
        self._started = time.perf_counter()
        self._recorder = recorder
        self._is_cancelled = is_cancelled
        self._on_response = on_response
        self._finished = False

    def finish(self, result: Response | BaseException) -> None:
        """Sends and counts the response; without one `respond` goes on."""
        if self._finished:
            return
        self._finished = True
        recorder = self._recorder
        recorder.in_flight -= 1
        seconds = time.perf_counter() - self._started
        if self._is_cancelled():
            recorder.observe_request(INVOCATIONS_ROUTE.label, CLIENT_CLOSED_REQUEST, seconds)
            return
        if isinstance(result, BaseException):
            error = _inline_error(result)
            if error is None:
                self._on_response(None)
                return
            result = error.response()
        recorder.observe_request(INVOCATIONS_ROUTE.label, result.status, seconds)
        self._on_response(result)


def _inline_error(error: BaseException) -> ErrorResponse | None:
    """None where MLflow's own code is to be tried."""
    if isinstance(error, DeadlineExceeded):
        return DEADLINE
    if isinstance(error, Exception):
        return None
    log.error("the model raised %s", type(error).__name__, exc_info=error)
    return crash_response(error)


def _overloaded(max_queue: int) -> ErrorResponse:
    return ErrorResponse(
        503,
        "TEMPORARILY_UNAVAILABLE",
        f"{max_queue} requests are waiting already: try again in 1 s",
        retry_after=1,
    )


def _method_not_allowed(request: Request) -> ErrorResponse:
    route = request.route
    message = f"{route.label} does not accept {request.method}: send {route.method}"
    return ErrorResponse(405, "METHOD_NOT_ALLOWED", message, allow=route.method.encode())
