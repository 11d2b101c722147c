"""Agents, and all models that stream, by MLflow's protocol: as its agent server has it."""

from __future__ import annotations

from contextlib import closing
from io import StringIO
from typing import Any

from mlflow_model_server.agents import sse
from mlflow_model_server.agents.inputs import FIELDS, request_of
from mlflow_model_server.agents.writer import Chunks, Writer
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.inference.agent_model import AgentModel, parse
from mlflow_model_server.inference.event_stream import Parts
from mlflow_model_server.responses import ErrorResponse, Rejected, Response


def wants_stream(body: bytes, headers: Headers, model: AgentModel) -> bool:
    """Whether a request of MLflow's protocol asks for a stream.

    A model that does not stream may have an input of that name for itself, unless it is of a kind
    whose signature has that from MLflow.
    """
    if b"json" not in (first(headers, b"content-type") or b""):
        return False
    try:
        document = parse(body)
    except Rejected:  # MLflow's code says why
        return False
    if document.get("stream") is not True:
        return False
    return model.can_stream or model.kind is not None or not model.has_input("stream")


def respond(body: bytes, model: AgentModel) -> Response | None:
    """An agent's whole answer; None where MLflow's own code is to give it, or to say why not."""
    with model.document(body) as document:
        try:
            request = _agent_request(document, model)
        except Rejected:
            return None
        if request is None:
            return None
        return Response(200, _unwrapped(model.predict(request)), rows=1)


class InvocationWriter(Writer):
    """A stream of the chunks as the model yields them."""

    def parts(self) -> Parts:
        """As mlflow.genai.agent_server.AgentServer does."""
        model = self._model
        with (
            model.document(self._body, is_table=model.kind is None) as document,
            closing(self._chunks(document)) as chunks,
        ):
            for chunk in chunks:
                yield sse.event(chunk)
        yield sse.DONE

    def error(self, error: ErrorResponse) -> bytes:
        """As AgentServer does, and with a name, which clients for other streams stop at."""
        fields = {
            "error": error.message,
            "error_code": error.error_code,
            "message": error.message,
        }
        return sse.event(fields, "error") + sse.DONE

    def _chunks(self, document: dict[str, Any]) -> Chunks:
        model = self._model
        request = _agent_request(document, model)
        if request is not None:
            return self.counted(model.stream(request))
        if not model.has_input("stream"):
            del document["stream"]
        return self.counted(model.stream_invocation(document))


def _agent_request(document: dict[str, Any], model: AgentModel) -> dict[str, Any] | None:
    """The request for an agent; None where it has another form. Raises Rejected."""
    if model.kind is None or FIELDS[model.kind] not in document:
        return None
    return request_of(document, model.kind)


def _unwrapped(predictions: Any) -> bytes:
    """As MLflow's scoring server writes them."""
    from mlflow.pyfunc.scoring_server import unwrapped_predictions_to_json

    output = StringIO()
    unwrapped_predictions_to_json(predictions, output)
    return output.getvalue().encode()
