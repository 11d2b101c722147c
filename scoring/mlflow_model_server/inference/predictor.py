"""Both ways to a prediction, the quick one and MLflow's own, and what is recorded of them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow_model_server import tracing
from mlflow_model_server.codecs import mlflow as mlflow_codec
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.inference.batcher import Batcher, Outcome
from mlflow_model_server.inference.client import ClientGone, Receive, unless_gone
from mlflow_model_server.inference.mlflow_fallback import Fallback, Prediction
from mlflow_model_server.metrics.recorder import Recorder
from mlflow_model_server.model.input_schema import TensorPlan, Unsure
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.model.predictions import About, arrays, plain
from mlflow_model_server.responses import Reply
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.codecs.metadata import Spec
    from mlflow_model_server.inference import served

# What takes longer to read should not be read in vain.
_FEW_BYTES = 1 << 14

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """Predictions as the model gives them, for so many rows; and the seconds that they took."""

    predictions: Any
    rows: int
    queued: float
    predicted: float


class Predictor:
    """Predicts with one model. To be used from one event loop."""

    def __init__(self, loaded: Loaded, settings: Settings, recorder: Recorder) -> None:
        self._loaded = loaded
        self._settings = settings
        self._recorder = recorder
        self._fallback = Fallback(loaded.model, settings.max_rows)
        self._threads = ThreadPoolExecutor(_threads(), "mlflow")
        self._batcher = self._make_batcher()

    async def answer(self, headers: Headers, receive: Receive, body: bytes) -> Reply:
        """The quick way if the request is plainly right, else MLflow's own.

        Raises ClientGone, and TimeoutError when it takes longer than a request may take.
        """
        content_type = first(headers, b"content-type")
        if self._batcher is not None and mlflow_codec.is_json(content_type):
            quick = await self._try_quick(self._batcher, receive, body)
            if quick is not None:
                return quick
        text = None if content_type is None else content_type.decode("latin-1")
        return await self._mlflows_way(headers, receive, body, text)

    def begin(
        self,
        headers: Headers,
        body: bytes | bytearray,
        is_gone: Callable[[], bool],
        settle: Callable[[Reply | BaseException], None],
    ) -> bool:
        """Begins to answer the quick way, with no task, what will be predicted before all else.

        False: nothing was begun. `settle` is told the reply, or what hindered it, and may be told
        so again.
        """
        batcher = self._batcher
        if batcher is None or len(body) > _FEW_BYTES:
            return False
        if not mlflow_codec.is_json(first(headers, b"content-type")):
            return False
        began = time.perf_counter()
        try:
            rows = self._rows_of(body)
        except Exception:  # as in _try_quick
            return False
        count, decoded = len(rows), time.perf_counter() - began
        if not batcher.is_quick(count):
            return False

        def predicted(outcome: Outcome | BaseException) -> None:
            settle(self._encoded(outcome, count, decoded))

        batcher.ask(rows, count, predicted, is_gone)
        return True

    async def predict(
        self, headers: Headers, receive: Receive, data: Any, params: dict[str, Any] | None
    ) -> Made:
        """Predictions for an array, a DataFrame, or arrays by name.

        The quick way if they plainly fit the model, else MLflow's own. Raises what that and the
        model raise, ClientGone, and TimeoutError.
        """
        quick = None if params else await self._try_data(receive, data)
        return quick or await self._data_mlflows_way(headers, receive, data, params)

    @cached_property
    def spec(self) -> Spec:
        """The signature as the Open Inference Protocol has it."""
        # Imported with the first request of that protocol: most servers never see one.
        from mlflow_model_server.codecs.metadata import spec_of

        return spec_of(self._loaded.signature)

    def served(self, predict: served.Predict) -> served.Served:
        """The model as the Open Inference Protocol sees it."""
        from mlflow_model_server.inference.served import Served

        settings = self._settings
        return Served(settings.model_name, settings.model_version, self.spec, lambda: True, predict)

    def record(self, made: Made, decode: float, encode: float) -> None:
        """Takes note of a prediction's phases; in seconds."""
        self._recorder.phases(made.queued, decode, made.predicted, encode)

    async def _try_data(self, receive: Receive, data: Any) -> Made | None:
        batcher, plan = self._batcher, self._loaded.plan
        if batcher is None or plan is None:
            return None
        try:
            rows = self._few_enough(plan.rows_of(data))
            outcome = await self._outcome(batcher, receive, rows)
        except (ClientGone, TimeoutError):
            raise
        except Exception as problem:  # as in _try_quick
            log.debug("MLflow's own way is tried: %r", problem)
            return None
        values = arrays(outcome.predictions, outcome.about.dtype)
        return Made(values, len(rows), outcome.queued, outcome.predicted)

    async def _data_mlflows_way(
        self, headers: Headers, receive: Receive, data: Any, params: dict[str, Any] | None
    ) -> Made:
        asked = time.perf_counter()
        work = partial(self._fallback.predict, self._framed(data), params)
        one = await self._in_thread(headers, receive, work)
        self._see(one)
        return Made(one.predictions, one.rows, one.began - asked, one.ended - one.began)

    def _framed(self, data: Any) -> Any:
        """What the Open Inference Protocol brought, as MLflow's own code takes it."""
        from mlflow_model_server.codecs.openinference import frame_of

        return frame_of(data, self.spec)

    async def _try_quick(self, batcher: Batcher, receive: Receive, body: bytes) -> Reply | None:
        """None where MLflow's own code is to answer: nothing has been answered then."""
        try:
            return await self._quick(batcher, receive, body)
        except (ClientGone, TimeoutError):
            raise
        except Exception as problem:  # a doubt, or an error that MLflow's code knows how to say
            log.debug("MLflow's own way is tried: %r", problem)
            return None

    async def _quick(self, batcher: Batcher, receive: Receive, body: bytes) -> Reply:
        """Raises whatever hinders it: nothing has been answered then."""
        began = time.perf_counter()
        rows = self._rows_of(body)
        decoded = time.perf_counter() - began
        outcome = await self._outcome(batcher, receive, rows)
        return self._reply(outcome, len(rows), decoded)

    def _rows_of(self, body: bytes | bytearray) -> Any:
        """Raises whatever hinders it: MLflow's own code is to read the body then."""
        plan = self._loaded.plan
        assert plan is not None
        if isinstance(plan, TensorPlan):
            rows = mlflow_codec.tensor_of(body, plan)
        else:
            rows = mlflow_codec.rows_of(body, plan)
            plan.check(rows)
        return self._few_enough(rows)

    def _few_enough(self, rows: Any) -> Any:
        """The rows themselves. Raises Unsure where they are more than a request may have."""
        if len(rows) > self._settings.max_rows:
            raise Unsure
        return rows

    def _encoded(
        self, outcome: Outcome | BaseException, count: int, decoded: float
    ) -> Reply | BaseException:
        if isinstance(outcome, BaseException):
            return outcome
        try:
            return self._reply(outcome, count, decoded)
        except Exception as problem:  # as in _try_quick
            return problem

    def _reply(self, outcome: Outcome, count: int, decoded: float) -> Reply:
        began = time.perf_counter()
        encoded = mlflow_codec.encode(outcome.predictions, outcome.about.finite)
        self._recorder.phases(
            outcome.queued, decoded, outcome.predicted, time.perf_counter() - began
        )
        return Reply(200, encoded, rows=count)

    async def _outcome(self, batcher: Batcher, receive: Receive, rows: Any) -> Outcome:
        count = len(rows)
        future = batcher.submit(rows, count)
        # Waiting for the client as well costs a tenth of a quick prediction.
        if batcher.is_quick(count):
            return await future
        return await unless_gone(receive, future, self._settings.request_timeout)

    async def _mlflows_way(
        self, headers: Headers, receive: Receive, body: bytes, content_type: str | None
    ) -> Reply:
        asked = time.perf_counter()
        work = partial(self._fallback.answer, body, content_type)
        answered = await self._in_thread(headers, receive, work)
        made = answered.prediction
        if made is not None:
            self._see(made)
            self._recorder.phases(
                answered.began - asked,
                made.began - answered.began,
                made.ended - made.began,
                answered.ended - made.ended,
            )
        return answered.reply

    async def _in_thread(self, headers: Headers, receive: Receive, work: Callable[[], T]) -> T:
        with tracing.passed_on(headers):
            context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)
        return await unless_gone(receive, running, self._settings.request_timeout)

    def _make_batcher(self) -> Batcher | None:
        loaded = self._loaded
        if loaded.direct is None:
            return None
        together = {"auto": loaded.direct.independent, "on": True, "off": False}
        return Batcher(
            partial(_predict_together, loaded),
            together[self._settings.batching],
            loaded.direct.prepare_thread,
            self._seen,
            self._settings.request_timeout,
        )

    def _see(self, made: Prediction) -> None:
        self._seen(1, made.rows, (made.data, made.predictions))

    def _seen(self, requests: int, rows: int, seen: Any) -> None:
        self._recorder.batch(requests, rows)
        if seen is not None:
            self._recorder.rows(*seen)


def _predict_together(loaded: Loaded, parts: Any) -> tuple[Any, About, Any]:
    assert loaded.direct is not None
    data = loaded.joined(parts)
    predictions = loaded.direct.predict(data)
    # Once for all requests of the batch, not for each by itself.
    lists, about = plain(predictions)
    return lists, about, (data, predictions)


def _threads() -> int:
    return min(32, (os.cpu_count() or 1) + 4)
