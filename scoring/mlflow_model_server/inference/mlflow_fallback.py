"""MLflow's own code for a request, its defects mended: docs/scoring-protocol.md lists them."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from typing import Any

from mlflow_model_server.model.input_schema import is_frame
from mlflow_model_server.responses import JSON, Refusal, Reply

log = logging.getLogger(__name__)

# MLflow's messages repeat the payload, which may be long, and private.
_ECHOES = (
    re.compile(r"^Failed to predict data '.*?'\. \nError: ", re.DOTALL),
    re.compile(r"^Failed to enforce schema of data '.*' with schema '.*?'\. Error: ", re.DOTALL),
    re.compile(r"\nInput: \n.*", re.DOTALL),
)
_NO_CONTENT_TYPE = Refusal(
    415,
    "BAD_REQUEST",
    f"the header Content-Type is missing: write {JSON}, text/csv or application/vnd.apache.parquet",
)
_TOO_DEEP = Refusal(400, "BAD_REQUEST", "the JSON is nested too deeply: write fewer levels")
_ENCODERS = {"predictions_to_json", "unwrapped_predictions_to_json"}


class TooManyRows(BaseException):
    """More rows than a request may have.

    Not an Exception: MLflow's code makes an error of its own of each that a model raises.
    """


@dataclass(frozen=True)
class Prediction:
    """What the model was asked, what it said, and when, by `time.perf_counter`."""

    data: Any
    predictions: Any
    rows: int
    began: float
    ended: float


@dataclass(frozen=True)
class Answered:
    """What is answered to a request, and what the model had to do with it."""

    reply: Reply
    prediction: Prediction | None  # None: the model was not asked, or failed
    began: float
    ended: float


class Fallback:
    """Answers as `mlflow models serve` does, with its code. Blocks: call it in a thread."""

    def __init__(self, model: Any, most_rows: int) -> None:
        """`model` is an MLflow PyFuncModel."""
        self._model = model
        self._most_rows = most_rows
        self._schema = model.metadata.get_input_schema()

    def answer(self, body: bytes, content_type: str | None) -> Answered:
        """What to answer to these bytes; raises nothing."""
        began = time.perf_counter()
        watched = _Watched(self._model, self._most_rows)
        reply = self._reply(body, content_type, watched)
        made = watched.made if reply.status == 200 else None
        if made is not None:
            reply = reply._replace(rows=made.rows)
        return Answered(reply, made, began, time.perf_counter())

    def predict(self, data: Any, params: dict[str, Any] | None) -> Prediction:
        """The model's predictions, with MLflow's checks of the input; raises what they raise."""
        watched = _Watched(self._model, self._most_rows)
        watched.predict(data, params or None)
        assert watched.made is not None
        return watched.made

    def _reply(self, body: bytes, content_type: str | None, model: _Watched) -> Reply:
        # Imported with the first request that needs it, or when the server is idle after its start.
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server

        if content_type is None:
            return _NO_CONTENT_TYPE.reply()
        try:
            made = scoring_server.invocations(body, content_type, model, self._schema)
        except MlflowException as refusal:
            return Reply(refusal.get_http_status_code(), json.dumps(_told(refusal)).encode())
        except TooManyRows as refusal:
            return refusal_of(refusal).reply()
        except RecursionError:
            return _TOO_DEEP.reply()
        except Exception as problem:
            return _unexpected(problem).reply()
        kind = made.mimetype
        kind += "; charset=utf-8" if kind.startswith("text/") else ""  # as MLflow's framework does
        return Reply(made.status, made.response.encode(), kind)


class _Watched:
    """A model that refuses more rows than it should, and keeps what it was asked once."""

    def __init__(self, model: Any, most_rows: int) -> None:
        self._model = model
        self._most_rows = most_rows
        self.metadata = model.metadata
        self.made: Prediction | None = None

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        rows = _count(data)
        if rows > self._most_rows:
            raise TooManyRows(
                f"{rows} rows are more than the {self._most_rows} that a request may have: "
                "send them in several requests"
            )
        # A model's code may add columns to what it gets.
        kept = data.copy(deep=False) if is_frame(data) else data
        began = time.perf_counter()
        predictions = self._model.predict(data, params=params)
        self.made = Prediction(kept, predictions, rows, began, time.perf_counter())
        return predictions


def _count(data: Any) -> int:
    try:
        return 1 if isinstance(data, dict | str) else len(data)
    except TypeError:  # one value
        return 1


def refusal_of(problem: BaseException) -> Refusal:
    """What to say where predicting raised this."""
    from mlflow.exceptions import MlflowException

    if isinstance(problem, MlflowException):
        told = _told(problem)
        return Refusal(problem.get_http_status_code(), told["error_code"], told["message"])
    if isinstance(problem, TooManyRows):
        return Refusal(413, "BAD_REQUEST", str(problem))
    log.warning("predicting failed", exc_info=problem)
    return Refusal(400, "BAD_REQUEST", f"the model failed: {type(problem).__name__}: {problem}")


def _told(refusal: Any) -> dict[str, Any]:
    """An MlflowException's fields, without what is not for strangers."""
    told: dict[str, Any] = json.loads(refusal.serialize_as_json())
    trace = told.pop("stack_trace", None)
    if trace:
        log.warning("predicting failed\n%s", trace)
    for echo in _ECHOES:
        told["message"] = echo.sub("", told["message"])
    return told


def _unexpected(problem: Exception) -> Refusal:
    log.warning("a request failed", exc_info=problem)
    trace = problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _ENCODERS:
            message = f"the predictions can't be written as JSON: {problem}"
            return Refusal(500, "INTERNAL_ERROR", message)
        trace = trace.tb_next
    return Refusal(400, "BAD_REQUEST", f"the request can't be read: {problem}")
