"""The served model as agents are called: with parsed requests, whole or as a stream of chunks.

Everything here blocks: it is for the threads that predict.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_model_server.codecs.limits import Limits
from mlflow_model_server.inference import accelerator
from mlflow_model_server.inference.memory import MemoryBudget
from mlflow_model_server.inference.sentences import sentence_of
from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.responses import JSON, ErrorResponse, Rejected

log = logging.getLogger(__name__)

_INVALID = "the body is not JSON object: {}"
_ONE_INPUT = ErrorResponse(400, "BAD_REQUEST", "a stream accepts only one input: send one row")
_TOO_DEEP = ErrorResponse(400, "BAD_REQUEST", "the JSON is nested too deeply: write fewer levels")


class _Parsed(BaseException):
    """MLflow's code has parsed a request. Not an Exception: it would make an error of that."""

    def __init__(self, data: Any, params: dict[str, Any] | None) -> None:
        super().__init__()
        self.data = data
        self.params = params


class _Parser:
    """Takes the model's place where MLflow's code hands it a request."""

    def __init__(self, metadata: Any) -> None:
        self.metadata = metadata

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        raise _Parsed(data, params)


class AgentModel:
    """The served model. `kind` is None where it is none of MLflow's kinds of agents."""

    def __init__(self, loaded: Loaded, limits: Limits, memory: MemoryBudget) -> None:
        self.kind: AgentKind | None = None if loaded.agent is None else loaded.agent.kind
        self.can_stream = loaded.can_stream
        self._model = loaded.model
        self._unsigned: Any = None if loaded.agent is None else loaded.agent.unsigned
        self._limits = limits
        self._memory = memory

    @contextmanager
    def document(self, body: bytes, is_table: bool = False) -> Iterator[dict[str, Any]]:
        """The JSON object that a body is; within it, the memory that it needs is reserved.

        `is_table`: it may become a DataFrame. Raises Rejected.
        """
        reserved = self._memory.acquire(self._limits.check_json(body))
        try:
            document = parse(body)
            needed = self._limits.check_document(document) if is_table else 0
            if needed > reserved:
                # Not one beside the other: requests that wait for each other would never end.
                self._memory.release(reserved)
                reserved = 0
                reserved = self._memory.acquire(needed)
            yield document
        finally:
            self._memory.release(reserved)

    def predict(self, document: dict[str, Any]) -> Any:
        """What an agent answers to a request that MLflow's types for its kind accept."""
        return self._unsigned.predict(document)

    def stream(self, document: dict[str, Any]) -> Iterator[Any]:
        """The chunks of that."""
        chunks: Iterator[Any] = self._unsigned.predict_stream(document)
        return chunks

    def stream_invocation(self, document: dict[str, Any]) -> Iterator[Any]:
        """The chunks that any model yields for a request of MLflow's protocol."""
        data, params = self._parse(document)
        if not isinstance(data, dict | str | bytes) and hasattr(data, "__len__") and len(data) != 1:
            raise Rejected(_ONE_INPUT)  # as MLflow does, with 500
        chunks: Iterator[Any] = self._model.predict_stream(data, params)
        return chunks

    def has_input(self, name: str) -> bool:
        """Whether the signature has an input or a parameter of this name."""
        metadata = self._model.metadata
        schema, params = metadata.get_input_schema(), metadata.get_params_schema()
        names: Collection[Any] = (
            *(getattr(schema, "inputs", None) or ()),
            *(getattr(params, "params", None) or ()),
        )
        return any(spec.name == name for spec in names)

    def _parse(self, document: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
        from mlflow.pyfunc import scoring_server

        body = json.dumps(document).encode()
        schema = self._model.metadata.get_input_schema()
        try:
            scoring_server.invocations(body, JSON, _Parser(self._model.metadata), schema)
        except _Parsed as parsed:
            return parsed.data, parsed.params
        raise AssertionError("unreachable")


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object. Raises Rejected."""
    try:
        document = json.loads(body)
    except RecursionError:
        raise Rejected(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise _no_object(f"{error.msg} at char {error.pos}") from None
    except ValueError:
        raise _no_object("it is not UTF-8 text") from None
    if not isinstance(document, dict):
        raise _no_object(f"it is a {type(document).__name__}")
    return document


def agent_error(error: BaseException) -> ErrorResponse:
    """The error for what calling the model raised."""
    if isinstance(error, Rejected):
        return error.error
    log.error("the model raised %s", type(error).__name__, exc_info=error)
    if not isinstance(error, Exception):
        return ErrorResponse(500, "INTERNAL_ERROR", f"the model failed: {type(error).__name__}")
    if (failure := accelerator.error_response(error)) is not None:
        return failure
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        sentence = sentence_of(error, ())
        return ErrorResponse(error.get_http_status_code(), error.error_code, sentence)
    message = f"the model failed: {type(error).__name__}: see the server's log"
    return ErrorResponse(500, "INTERNAL_ERROR", message)


def _no_object(reason: str) -> Rejected:
    return Rejected(ErrorResponse(400, "BAD_REQUEST", _INVALID.format(reason)))
