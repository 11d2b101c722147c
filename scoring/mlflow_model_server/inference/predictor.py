"""Both ways to predictions: the fast path, and MLflow's own code in threads.

The fast path is taken where the model's code is known and the request is surely read as MLflow
would read it. Everything else, and whatever fails there, goes MLflow's way, which knows what to
make of it, or what to say.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from mlflow_model_server.codecs import mlflow as mlflow_codec
from mlflow_model_server.codecs.errors import BadRequest
from mlflow_model_server.codecs.limits import SMALL_BODY
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.inference import limits
from mlflow_model_server.inference.accelerator import Accelerator
from mlflow_model_server.inference.agent_model import AgentModel, agent_error
from mlflow_model_server.inference.batcher import Batcher, Crashed, Prediction
from mlflow_model_server.inference.event_stream import EventStream, Parts
from mlflow_model_server.inference.memory import MemoryBudget
from mlflow_model_server.inference.mlflow_fallback import (
    Fallback,
    TooManyRows,
    error_response_of,
)
from mlflow_model_server.inference.request import ClientGone, DeadlineExceeded, Request
from mlflow_model_server.inference.threads import Outcome, PredictionThreads
from mlflow_model_server.metrics.recorder import Recorder
from mlflow_model_server.model.input_schema import FallbackRequired, TensorSchema
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.model.predictions import ArrayInfo, to_arrays, to_lists
from mlflow_model_server.responses import JSON, ErrorResponse, Rejected, Response
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.codecs.metadata import Spec
    from mlflow_model_server.inference.mlflow_fallback import FallbackResult
    from mlflow_model_server.inference.mlflow_fallback import Prediction as FallbackPrediction

log = logging.getLogger(__name__)
T = TypeVar("T")

# Agents wait for others most of the time: for a language model, for tools.
_AGENT_THREADS = 256


class ModelOutput(NamedTuple):
    """What the model returned for a request, and the seconds that it waited and took."""

    predictions: Any
    rows: int
    queued: float
    seconds: float


class Predictor:
    """Predicts with one model. To be used from one event loop."""

    def __init__(self, loaded: Loaded, settings: Settings, recorder: Recorder) -> None:
        self._loaded = loaded
        self._settings = settings
        self._recorder = recorder
        self._limits = limits.parse_limits(settings)
        self._accelerator = Accelerator()
        on_failure = self._accelerator.on_failure
        memory = MemoryBudget(limits.memory_for_parsing(settings))
        self._fallback = Fallback(loaded.model, self._limits, memory, on_failure=on_failure)
        self.agent_model = AgentModel(loaded, self._limits, memory)
        self._unsigned = self._make_unsigned()
        threads = _thread_count(settings, loaded)
        self._threads = PredictionThreads(threads, settings, on_failure)
        # One: what becomes many times its size while it is read does so one after the other.
        self._reader = ThreadPoolExecutor(1, "reader")
        self._batcher = self._make_batcher()

    async def invoke(
        self, request: Request, body: bytes, convert: Callable[[], bytes | None] | None = None
    ) -> Response:
        """The response by MLflow's protocol.

        `convert`, called in a thread, makes the body that an agent takes without its signature;
        it may return None, and the body goes to the model with the signature.
        Raises Rejected, ClientGone, and DeadlineExceeded.
        """
        content_type = first(request.headers, b"content-type")
        if self._batcher is not None and mlflow_codec.is_json(content_type):
            response = await self._try_fast_path(self._batcher, request, body)
            if response is not None:
                return response
        text = None if content_type is None else content_type.decode("latin-1")
        respond = self._fallback.respond
        if convert is not None:
            respond = partial(self._respond_converted, convert)
        return await self._invoke_mlflow(request, partial(respond, body, text))

    async def predict(
        self, request: Request, data: Any, params: dict[str, Any] | None
    ) -> ModelOutput:
        """Predictions for an array, a DataFrame, or arrays by name. Raises as `invoke` does."""
        output = None if params else await self._try_predict(request, data)
        return output or await self._predict_mlflow(request, data, params)

    async def inspect(self, request: Request, size: int, function: Callable[[], T]) -> T:
        """What a function says of a body of `size` bytes. Raises as `invoke` does.

        It may wait for memory, as what predicts does: where the body is large, in the same threads.
        """
        if size <= SMALL_BODY:
            return function()
        outcome = await self._threads.run(request, function)
        if outcome.error is not None:
            raise Rejected(agent_error(outcome.error)) from outcome.error
        return outcome.result  # type: ignore[return-value]

    async def converse(self, request: Request, respond: Callable[[], Response]) -> Response:
        """What `respond` makes of the agent's answer, in a thread. Raises as `invoke` does."""
        submitted = time.perf_counter()
        timed = await self._threads.run(request, partial(_timed, respond))
        if timed.error is not None:
            raise Rejected(agent_error(timed.error)) from timed.error
        assert timed.result is not None
        response, began, ended = timed.result
        self._recorder.observe_batch(1, 1)
        self._recorder.observe_phases(began - submitted, 0.0, ended - began, 0.0)
        return response

    def stream(self, request: Request, parts: Callable[[], Parts]) -> EventStream:
        """Begins a stream of these parts, which are made in a thread.

        Raises RuntimeError where the system has no thread for it.
        """
        stream = EventStream(self._threads.report_progress, self._accelerator.on_failure)
        self._threads.submit(request, partial(stream.run, parts))
        return stream

    def begin(
        self,
        headers: Headers,
        body: bytes | bytearray,
        is_cancelled: Callable[[], bool],
        on_done: Callable[[Response | BaseException], None],
    ) -> bool:
        """Begins what the fast path will predict before anything else happens, without a task.

        False: nothing was begun. `on_done` gets the response, or what prevented it, and may get
        that again.
        """
        batcher = self._batcher
        if batcher is None or len(body) > SMALL_BODY or not batcher.may_be_quick():
            return False
        if not _is_plain_json(headers):
            return False
        started = time.perf_counter()
        try:
            rows = self._rows_of(body)
        except Exception:  # as in _try_fast_path
            return False
        count, decode_seconds = len(rows), time.perf_counter() - started
        if not batcher.is_quick(count):
            return False

        def predicted(result: Prediction | BaseException) -> None:
            on_done(self._encode_result(result, count, decode_seconds))

        batcher.enqueue(rows, count, predicted, is_cancelled, len(body))
        return True

    async def read(self, size: int, function: Callable[..., T], *arguments: Any) -> T:
        """Calls a function that reads `size` bytes: in a thread if they are many.

        Raises whatever it raises.
        """
        if size <= SMALL_BODY:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        work = partial(_without_frames, function, *arguments)
        outcome = await loop.run_in_executor(self._reader, work)
        if outcome.error is not None:
            raise outcome.error
        return cast(T, outcome.result)

    def stuck_seconds(self) -> float:
        """For how long no prediction has been possible, as those that run do not end.

        Infinite where none will be.
        """
        if self._accelerator.is_lost:
            return math.inf
        in_batcher = self._batcher.stuck_seconds() if self._batcher is not None else 0.0
        return max(in_batcher, self._threads.stuck_seconds())

    @cached_property
    def spec(self) -> Spec:
        """The signature as the Open Inference Protocol has it."""
        # Imported with the first request of that protocol: most servers never get one.
        from mlflow_model_server.codecs.metadata import spec_of

        return spec_of(self._loaded.signature)

    async def _try_predict(self, request: Request, data: Any) -> ModelOutput | None:
        batcher, schema = self._batcher, self._loaded.input_schema
        if batcher is None or schema is None:
            return None
        try:
            rows = self._within_max_rows(schema.rows_of(data))
            prediction = await self._predicted(batcher, request, rows)
        except (ClientGone, DeadlineExceeded):
            raise
        except Crashed as crash:
            raise _crash(crash.__cause__) from crash
        except Exception as error:  # as in _try_fast_path
            log.debug("MLflow's own way is tried: %r", error)
            return None
        values = to_arrays(prediction.predictions, prediction.info.dtype)
        return ModelOutput(values, len(rows), prediction.queued, prediction.seconds)

    async def _predict_mlflow(
        self, request: Request, data: Any, params: dict[str, Any] | None
    ) -> ModelOutput:
        submitted = time.perf_counter()
        work = partial(self._fallback.predict, self._framed(data), params)
        output = _result(await self._threads.run(request, work))
        self._observe(output, request.reservation.size)
        return ModelOutput(
            output.predictions, output.rows, output.began - submitted, output.ended - output.began
        )

    def _framed(self, data: Any) -> Any:
        """What the Open Inference Protocol brought, as MLflow's own code takes it."""
        from mlflow_model_server.codecs.openinference import frame_of

        return frame_of(data, self.spec)

    async def _try_fast_path(
        self, batcher: Batcher, request: Request, body: bytes
    ) -> Response | None:
        """None where MLflow's own code is to respond."""
        try:
            started = time.perf_counter()
            rows = await self.read(len(body), self._rows_of, body)
            decode_seconds = time.perf_counter() - started
            prediction = await self._predicted(batcher, request, rows)
            return self._response(prediction, len(rows), decode_seconds)
        except (ClientGone, DeadlineExceeded):
            raise
        except Crashed as crash:
            raise _crash(crash.__cause__) from crash
        except Exception as error:  # a doubt, or an error that MLflow's code has the words for
            log.debug("MLflow's own way is tried: %r", error)
            return None

    def _rows_of(self, body: bytes | bytearray) -> Any:
        """Raises whatever prevents it: MLflow's own code is to read the body then."""
        schema = self._loaded.input_schema
        assert schema is not None
        self._limits.check_json(body)
        if isinstance(schema, TensorSchema):
            rows = mlflow_codec.tensor_of(body, schema)
        else:
            rows = mlflow_codec.rows_of(body, schema, self._loaded.ignores_row_labels)
            schema.check(rows)
        return self._within_max_rows(rows)

    def _within_max_rows(self, rows: Any) -> Any:
        """The rows. Raises FallbackRequired where they are more than a request may have."""
        if len(rows) > self._settings.max_rows:
            raise FallbackRequired
        return rows

    def _encode_result(
        self, result: Prediction | BaseException, count: int, decode_seconds: float
    ) -> Response | BaseException:
        if isinstance(result, BaseException):
            return result
        try:
            return self._response(result, count, decode_seconds)
        except Exception as error:  # as in _try_fast_path
            return error

    def _response(self, prediction: Prediction, count: int, decode_seconds: float) -> Response:
        started = time.perf_counter()
        body = mlflow_codec.encode(prediction.predictions, prediction.info.finite)
        encode_seconds = time.perf_counter() - started
        self._recorder.observe_phases(
            prediction.queued, decode_seconds, prediction.seconds, encode_seconds
        )
        return Response(200, body, rows=count)

    async def _predicted(self, batcher: Batcher, request: Request, rows: Any) -> Prediction:
        count, size = len(rows), request.reservation.size
        future = batcher.submit(rows, count, size)
        # Waiting for the client as well costs a tenth of a quick prediction.
        if batcher.is_quick(count, size):
            return await future
        return await request.wait_for(future, self._settings.request_timeout)

    def _respond_converted(
        self, convert: Callable[[], bytes | None], body: bytes, content_type: str | None
    ) -> FallbackResult:
        converted = convert()
        if converted is None or self._unsigned is None:
            return self._fallback.respond(body, content_type)
        return self._unsigned.respond(converted, JSON)

    async def _invoke_mlflow(
        self, request: Request, work: Callable[[], FallbackResult]
    ) -> Response:
        submitted = time.perf_counter()
        result = _result(await self._threads.run(request, work))
        output = result.prediction
        if output is not None:
            self._observe(output, request.reservation.size)
            self._recorder.observe_phases(
                result.began - submitted,
                output.began - result.began,
                output.ended - output.began,
                result.ended - output.ended,
            )
        return result.response

    def _make_unsigned(self) -> Fallback | None:
        agent = self._loaded.agent
        if agent is None:
            return None
        memory, on_failure = self._fallback.memory, self._accelerator.on_failure
        return Fallback(agent.unsigned, self._limits, memory, on_failure)

    def _make_batcher(self) -> Batcher | None:
        loaded, batching = self._loaded, self._settings.batching
        # Users' own code may wait for something: where rows are not to be predicted together,
        # MLflow's threads do that side by side.
        if loaded.direct is None or not (loaded.runs_known_code or batching == "on"):
            return None
        together = {"auto": loaded.direct.rows_independent, "on": True, "off": False}
        return Batcher(
            partial(_predict_together, loaded),
            together[batching],
            loaded.direct.prepare_thread,
            self._observe_batch,
            self._settings.request_timeout,
            inline=loaded.runs_known_code,
            on_failure=self._accelerator.on_failure,
        )

    def _observe(self, output: FallbackPrediction, size: int) -> None:
        self._observe_batch(1, output.rows, size, (output.data, output.predictions))

    def _observe_batch(self, requests: int, rows: int, size: int, observed: Any) -> None:
        self._recorder.observe_batch(requests, rows)
        if observed is not None:
            features, predictions = observed
            self._recorder.observe_rows(features, predictions, size)


def _is_plain_json(headers: Headers) -> bool:
    """Whether a body is JSON, and as it is."""
    content_type = None
    for name, value in headers:
        if name == b"content-encoding":
            return False
        if name == b"content-type" and content_type is None:
            content_type = value
    return mlflow_codec.is_json(content_type)


def _predict_together(loaded: Loaded, parts: Any) -> tuple[Any, ArrayInfo, Any]:
    assert loaded.direct is not None
    data = loaded.merge_rows(parts)
    predictions = loaded.direct.predict(data)
    # Once for all requests of the batch, not for each by itself.
    lists, info = to_lists(predictions)
    return lists, info, (data, predictions)


def _without_frames(function: Callable[..., T], *arguments: Any) -> Outcome[T]:
    """What a function returns or raises, without the frames that hold what it had read by then.

    They would stay until the garbage collector finds them: an exception in a future is in a cycle.
    """
    try:
        return Outcome(function(*arguments), None)
    except (Rejected, BadRequest) as error:
        return Outcome(None, error.with_traceback(None))
    except Exception as error:
        return Outcome(None, error)


def _result(outcome: Outcome[T]) -> T:
    """Raises Rejected where there is none."""
    error = outcome.error
    if error is None:
        return cast(T, outcome.result)
    if isinstance(error, Exception | TooManyRows):
        raise Rejected(error_response_of(error)) from error
    raise _crash(error)


def _crash(error: BaseException | None) -> Rejected:
    """Of what is no Exception: SystemExit, a panic of a library in Rust, a CancelledError."""
    log.error("the model raised %s", type(error).__name__, exc_info=error)
    return Rejected(crash_response(error))


def crash_response(error: BaseException | None) -> ErrorResponse:
    """The error where a model's code raised what is no Exception."""
    return ErrorResponse(500, "INTERNAL_ERROR", f"the model failed: {type(error).__name__}")


def _timed(respond: Callable[[], T]) -> tuple[T, float, float]:
    began = time.perf_counter()
    return respond(), began, time.perf_counter()


def _thread_count(settings: Settings, loaded: Loaded) -> int:
    if settings.max_concurrent_predictions:
        return settings.max_concurrent_predictions
    if loaded.agent is not None or loaded.can_stream:
        return _AGENT_THREADS
    return min(32, (os.cpu_count() or 1) + 4)
