"""MLflow's own code for a request, its defects mended: docs/scoring-protocol.md lists them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from mlflow_model_server.codecs.limits import DEFAULT, Limits
from mlflow_model_server.inference import accelerator
from mlflow_model_server.inference.accelerator import OnFailure, free_frames
from mlflow_model_server.inference.memory import MemoryBudget
from mlflow_model_server.inference.sentences import sentence_of
from mlflow_model_server.model.input_schema import is_dataframe
from mlflow_model_server.responses import JSON, ErrorResponse, Rejected, Response, bounded

log = logging.getLogger(__name__)

_CSV, _PARQUET = "text/csv", "application/vnd.apache.parquet"
_NO_CONTENT_TYPE = ErrorResponse(
    415,
    "BAD_REQUEST",
    f"the header Content-Type is missing: write {JSON}, {_CSV} or {_PARQUET}",
)
_TOO_DEEP = ErrorResponse(400, "BAD_REQUEST", "the JSON is nested too deeply: write fewer levels")
_LLM_FORMS = {"messages", "prompt", "input"}  # which models without a signature get as they are
_ENCODERS = {"predictions_to_json", "unwrapped_predictions_to_json"}
_COPIES = 4  # of data, by MLflow's checks and pandas
_LONG_TURN = 0.05  # seconds
_PAUSE = 0.2  # of a long turn
# Puts the names that clients use into the log.
_VERBOSE_LOGGER = "mlflow.models.utils"


class TooManyRows(BaseException):
    """More rows than a request may have.

    Not an Exception: MLflow's code makes an error of its own of each that a model raises.
    """


class _PredictFailed(BaseException):
    """MLflow's error from its checks or the model; not an Exception for the same reason.

    MLflow would put all of the data into its message, once more.
    """

    def __init__(self, error: Any) -> None:
        super().__init__()
        self.error = error


class _Turns:
    """One thread at a time, and after a long turn the event loop has one.

    A parser lets nothing else run. Where many follow each other, the event loop would wait for one
    of them at each of its steps, and answer no probe in time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = 0.0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        seconds = time.thread_time() - self._began  # without those of waiting for memory
        if seconds > _LONG_TURN:
            time.sleep(seconds * _PAUSE)
        self._lock.release()


@dataclass(frozen=True)
class Prediction:
    """The model's input and output, and when it began and ended, by `time.perf_counter`."""

    data: Any
    predictions: Any
    rows: int
    began: float
    ended: float


@dataclass(frozen=True)
class FallbackResult:
    """The response to a request, and what the model had to do with it."""

    response: Response
    prediction: Prediction | None  # None: the model was not called, or failed
    began: float
    ended: float


class Fallback:
    """Responds as `mlflow models serve` does, with its code. Blocks: call it in a thread."""

    def __init__(
        self,
        model: Any,
        limits: Limits = DEFAULT,
        memory: MemoryBudget | None = None,
        on_failure: OnFailure = free_frames,
    ) -> None:
        """`model` is an MLflow PyFuncModel; None: the memory is for it alone.

        `on_failure` gets, in the thread, what the model raised.
        """
        self._model = model
        self._on_failure = on_failure
        columns = len(getattr(model.metadata.get_input_schema(), "inputs", None) or ())
        self._limits = replace(limits, max_columns=max(limits.max_columns, columns))
        self.memory = memory or MemoryBudget(limits.memory)
        self._parser = _Turns()
        self._schema = model.metadata.get_input_schema()
        self._names = _names(model)
        logging.getLogger(_VERBOSE_LOGGER).setLevel(logging.ERROR)

    def respond(self, body: bytes, content_type: str | None) -> FallbackResult:
        """The response to these bytes; raises nothing but what is no Exception."""
        began = time.perf_counter()
        model = self._recording_model()
        response = self._response(body, content_type, model)
        prediction = model.prediction if response.status == 200 else None
        if prediction is not None:
            response = response._replace(rows=prediction.rows)
        return FallbackResult(response, prediction, began, time.perf_counter())

    def predict(self, data: Any, params: dict[str, Any] | None) -> Prediction:
        """The model's predictions, with MLflow's checks of the input.

        Raises Rejected where these refuse it, and whatever the model raises.
        """
        model = self._recording_model()
        try:
            with self.memory.reserve(_size(data) * _COPIES):
                model.predict(data, params or None)
        except _PredictFailed as failed:
            raise Rejected(self._error(failed.error)) from failed.error
        assert model.prediction is not None
        return model.prediction

    def _recording_model(self) -> _RecordingModel:
        return _RecordingModel(self._model, self._limits.max_rows, self._on_failure)

    def _response(self, body: bytes, content_type: str | None, model: _RecordingModel) -> Response:
        # Imported with the first request that needs it, or when the server is idle after its start.
        from mlflow.exceptions import MlflowException

        if content_type is None:
            return _NO_CONTENT_TYPE.response()
        try:
            return self._invoke(body, content_type, model)
        except MlflowException as error:
            return self._mlflow_response(error)
        except _PredictFailed as failed:
            return self._mlflow_response(failed.error)
        except (Rejected, TooManyRows) as rejected:
            return error_response_of(rejected).response()
        except RecursionError:
            return _TOO_DEEP.response()
        except Exception as problem:
            return _unexpected(problem).response()

    def _invoke(self, body: bytes, content_type: str, model: _RecordingModel) -> Response:
        from mlflow.pyfunc import scoring_server

        mime_type = content_type.partition(";")[0].strip()
        with self._parsing(body, mime_type) as data:
            invoked = scoring_server.invocations(data, content_type, model, self._schema)
        kind = invoked.mimetype
        kind += "; charset=utf-8" if kind.startswith("text/") else ""  # as MLflow's framework does
        text = invoked.response if invoked.status == 200 else bounded(invoked.response)
        return Response(invoked.status, text.encode(), kind)

    @contextmanager
    def _parsing(self, body: bytes, mime_type: str) -> Iterator[Any]:
        """What MLflow's code takes instead of the bytes, which its errors would repeat.

        Raises TooLarge, and MLflow's error for what is no text or no JSON.
        """
        if mime_type == JSON:
            with self._json(body) as document:
                yield document
            return
        checks = {_CSV: self._limits.check_csv, _PARQUET: self._limits.check_parquet}
        check = checks.get(mime_type)
        with self.memory.reserve(0 if check is None else check(body)):
            yield _text(body) if mime_type == _CSV else body

    @contextmanager
    def _json(self, body: bytes) -> Iterator[Any]:
        """Parsed JSON. One at a time: the parser lets nothing else run, and shows what it needs."""
        with self._parser:
            document, reserved = self._parsed(body)
        try:
            yield document if isinstance(document, dict | bytes) else _stand_in(document)
        finally:
            self.memory.release(reserved)

    def _parsed(self, body: bytes) -> tuple[Any, int]:
        """The document, and what is reserved for it."""
        document = None
        reserved = self.memory.acquire(self._limits.check_json(body))
        try:
            document = _document(body) if _takes_documents() else body
            if isinstance(document, dict) and self._makes_tables(document):
                reserved = self._reserve_more(reserved, self._limits.check_document(document))
        except BaseException as error:
            # To free it takes long, too, and lets nothing else run: in this turn.
            document = None
            free_frames(error)
            self.memory.release(reserved)
            raise
        return document, reserved

    def _makes_tables(self, document: dict[str, Any]) -> bool:
        """Whether MLflow's code makes arrays or DataFrames of it."""
        return self._schema is not None or not _LLM_FORMS & document.keys()

    def _reserve_more(self, reserved: int, needed: int) -> int:
        if needed <= reserved:
            return reserved
        self.memory.release(reserved)
        return self.memory.acquire(needed)

    def _mlflow_response(self, error: Any) -> Response:
        if (failure := accelerator.error_response(error)) is not None:
            log.warning("predicting failed", exc_info=error)
            return failure.response()
        fields = json.dumps(self._fields(error)).encode()
        return Response(error.get_http_status_code(), fields, error=self._error(error))

    def _error(self, error: Any) -> ErrorResponse:
        if (failure := accelerator.error_response(error)) is not None:
            log.warning("predicting failed", exc_info=error)
            return failure
        fields = self._fields(error)
        return ErrorResponse(error.get_http_status_code(), fields["error_code"], fields["message"])

    def _fields(self, error: Any) -> dict[str, Any]:
        """An MlflowException's fields, without what is not for strangers."""
        error.message = sentence_of(error, self._names)
        if error.json_kwargs.pop("stack_trace", None):
            log.warning("predicting failed", exc_info=error)
        fields: dict[str, Any] = json.loads(error.serialize_as_json())
        return fields


class _RecordingModel:
    """A model that refuses more rows than it should get, and records its one prediction."""

    def __init__(self, model: Any, max_rows: int, on_failure: OnFailure) -> None:
        self._model = model
        self._max_rows = max_rows
        self._on_failure = on_failure
        self.metadata = model.metadata
        self.prediction: Prediction | None = None

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        from mlflow.exceptions import MlflowException

        rows = _count(data)
        if rows > self._max_rows:
            raise TooManyRows(
                f"{rows} rows exceed the limit of {self._max_rows} per request: send "
                "them in several requests"
            )
        # A model's code may add columns to what it gets.
        recorded = data.copy(deep=False) if is_dataframe(data) else data
        began = time.perf_counter()
        try:
            predictions = self._model.predict(data, params=params)
        except MlflowException as error:
            self._on_failure(error)
            raise _PredictFailed(error) from error
        except BaseException as error:
            self._on_failure(error)
            raise
        self.prediction = Prediction(recorded, predictions, rows, began, time.perf_counter())
        return predictions


def error_response_of(problem: BaseException) -> ErrorResponse:
    """The error for what predicting raised."""
    if isinstance(problem, Rejected):
        return problem.error
    if isinstance(problem, TooManyRows):
        return ErrorResponse(413, "BAD_REQUEST", str(problem))
    log.warning("predicting failed", exc_info=problem)
    message = f"the model failed: {type(problem).__name__}: see the server's log"
    return accelerator.error_response(problem) or ErrorResponse(400, "BAD_REQUEST", message)


def _count(data: Any) -> int:
    try:
        return 1 if isinstance(data, dict | str) else len(data)
    except TypeError:  # one value
        return 1


def _names(model: Any) -> frozenset[str]:
    """The names in the signature, which errors may say."""
    schemas = (model.metadata.get_input_schema(), model.metadata.get_params_schema())
    specs = (
        *(getattr(schemas[0], "inputs", None) or ()),
        *(getattr(schemas[1], "params", None) or ()),
    )
    return frozenset(str(spec.name) for spec in specs)


def _size(data: Any) -> int:
    """The bytes that arrays and DataFrames have."""
    if isinstance(data, dict):
        return sum(map(_size, data.values()))
    if is_dataframe(data):
        return int(data.memory_usage(index=False).sum())
    return int(getattr(data, "nbytes", 0))


@cache
def _takes_documents() -> bool:
    """Whether this MLflow takes parsed JSON; if not, it parses the bytes itself."""
    from mlflow.pyfunc import scoring_server

    document: dict[str, Any] = {}
    try:
        return scoring_server._decode_json_input(document) is document
    except Exception:
        return False


def _document(body: bytes) -> Any:
    """The JSON, by the parser that MLflow uses. Raises MLflow's error, without the body."""
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise _invalid("JSON formatted", f"{error.msg}: char {error.pos}") from None
    except UnicodeDecodeError as error:
        raise _invalid("JSON formatted", _no_text(error)) from None


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid("UTF-8 encoded", _no_text(error)) from None


def _no_text(error: UnicodeDecodeError) -> str:
    return f"{error.encoding}: {error.reason} at byte {error.start}"


def _invalid(form: str, reason: str) -> Exception:
    from mlflow.utils.proto_json_utils import MlflowInvalidInputException

    message = f"Ensure that input is a valid {form} string. Error: {reason}"
    error: Exception = MlflowInvalidInputException(message)
    return error


def _stand_in(document: Any) -> bytes:
    """A short document of the same type: MLflow refuses it by that."""
    return json.dumps(None if document is None else type(document)()).encode()


def _unexpected(problem: Exception) -> ErrorResponse:
    log.warning("a request failed", exc_info=problem)
    trace = problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _ENCODERS:
            message = f"the predictions can't be written as JSON: {problem}"
            return ErrorResponse(500, "INTERNAL_ERROR", message)
        trace = trace.tb_next
    message = f"the request can't be read: {type(problem).__name__}"
    return ErrorResponse(400, "BAD_REQUEST", message)
