"""MLflow's own code for a request, its defects mended: docs/scoring-protocol.md lists them."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

JSON = "application/json"
# MLflow's messages repeat the payload, which may be long, and private.
_ECHOES = (
    re.compile(r"^Failed to predict data '.*?'\. \nError: ", re.DOTALL),
    re.compile(r"\nInput: \n.*", re.DOTALL),
)
_ENCODERS = {"predictions_to_json", "unwrapped_predictions_to_json"}


@dataclass(frozen=True)
class Reply:
    """An answer: its status, body and content type."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class TooManyRows(BaseException):
    """More rows than a request may have.

    Not an Exception: MLflow's code makes an error of its own of each that a model raises.
    """


class Fallback:
    """Answers as `mlflow models serve` does, with its code. Blocks: call it in a thread."""

    def __init__(self, model: Any, most_rows: int) -> None:
        """`model` is an MLflow PyFuncModel."""
        self._model = _Bounded(model, most_rows)
        self._schema = model.metadata.get_input_schema()

    def answer(self, body: bytes, content_type: str | None) -> Reply:
        """What to answer to these bytes; raises nothing."""
        # Imported with the first request that needs it, or when the server is idle after its start.
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server

        if content_type is None:
            return error(
                415,
                "BAD_REQUEST",
                f"the header Content-Type is missing: write {JSON}, text/csv or "
                "application/vnd.apache.parquet",
            )
        try:
            made = scoring_server.invocations(body, content_type, self._model, self._schema)
        except MlflowException as refusal:
            return _refused(refusal)
        except TooManyRows as refusal:
            return error(413, "BAD_REQUEST", str(refusal))
        except RecursionError:
            return error(400, "BAD_REQUEST", "the JSON is nested too deeply: write fewer levels")
        except Exception as problem:
            return _unexpected(problem)
        kind = made.mimetype
        kind += "; charset=utf-8" if kind.startswith("text/") else ""  # as MLflow's framework does
        return Reply(made.status, made.response.encode(), kind)

    def predict(self, data: Any, params: dict[str, Any] | None) -> Any:
        """The model's predictions, with MLflow's checks of the input; raises what they raise."""
        return self._model.predict(data, params=params or None)


class _Bounded:
    """A model that refuses more rows than it should."""

    def __init__(self, model: Any, most_rows: int) -> None:
        self._model = model
        self._most_rows = most_rows
        self.metadata = model.metadata

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        rows = _count(data)
        if rows > self._most_rows:
            raise TooManyRows(
                f"{rows} rows are more than the {self._most_rows} that a request may have: "
                "send them in several requests"
            )
        return self._model.predict(data, params=params)


def _count(data: Any) -> int:
    try:
        return 1 if isinstance(data, dict | str) else len(data)
    except TypeError:  # one value
        return 1


def error(
    status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Reply:
    """An error in MLflow's form."""
    told = json.dumps({"error_code": code, "message": message}).encode()
    return Reply(status, told, headers=headers)


def reply_to(problem: BaseException) -> Reply:
    """What to answer where predicting raised this."""
    from mlflow.exceptions import MlflowException

    if isinstance(problem, MlflowException):
        return _refused(problem)
    if isinstance(problem, TooManyRows):
        return error(413, "BAD_REQUEST", str(problem))
    log.warning("predicting failed", exc_info=problem)
    return error(400, "BAD_REQUEST", f"the model failed: {type(problem).__name__}: {problem}")


def _refused(refusal: Any) -> Reply:
    told = json.loads(refusal.serialize_as_json())
    trace = told.pop("stack_trace", None)
    if trace:
        log.warning("predicting failed\n%s", trace)
    for echo in _ECHOES:
        told["message"] = echo.sub("", told["message"])
    return Reply(refusal.get_http_status_code(), json.dumps(told).encode())


def _unexpected(problem: Exception) -> Reply:
    log.warning("a request failed", exc_info=problem)
    trace = problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _ENCODERS:
            message = f"the predictions can't be written as JSON: {problem}"
            return error(500, "INTERNAL_ERROR", message)
        trace = trace.tb_next
    return error(400, "BAD_REQUEST", f"the request can't be read: {problem}")
