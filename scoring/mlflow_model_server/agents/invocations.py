"""Agents, and all models that stream, by MLflow's protocol: as its agent server has it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from mlflow_model_server.agents import sse
from mlflow_model_server.agents.inputs import FIELDS, request_of
from mlflow_model_server.agents.trace_id import TraceId
from mlflow_model_server.agents.writer import Chunks, Writer
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.inference.agent_model import AgentModel
from mlflow_model_server.inference.event_stream import Parts
from mlflow_model_server.responses import JSON, ErrorResponse, Rejected


def wants_stream(body: bytes, headers: Headers, model: AgentModel) -> bool:
    """Whether a request of MLflow's protocol asks for a stream.

    A model that does not stream may have an input of that name for itself, unless it is of a kind
    whose signature has that from MLflow.
    """
    if not _is_json(headers):
        return False
    try:
        with model.document(body) as document:
            if document.get("stream") is not True:
                return False
    except Rejected:  # MLflow's code says why
        return False
    return model.can_stream or model.kind is not None or not model.has_input("stream")


def converted(body: bytes, headers: Headers, model: AgentModel) -> bytes | None:
    """The body for an agent without its signature; None where that would not take it."""
    if not _is_json(headers):
        return None
    try:
        with model.document(body) as document:
            request = _agent_request(document, model)
            return None if request is None else json.dumps(request).encode()
    except Rejected:  # MLflow's code says why
        return None


class InvocationWriter(Writer):
    """A stream of the chunks as the model yields them."""

    def parts(self) -> Parts:
        """As mlflow.genai.agent_server.AgentServer does."""
        model, trace = self._model, TraceId()
        with (
            model.document(self._body, is_table=model.kind is None) as document,
            closing(self._chunks(document)) as chunks,
        ):
            for chunk in chunks:
                yield sse.event(chunk)
        if identifier := trace.get():
            yield sse.event({"trace_id": identifier})
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


def _is_json(headers: Headers) -> bool:
    """Whether MLflow takes the body for JSON."""
    content_type = first(headers, b"content-type") or b""
    media_type, *parameters = (part.strip() for part in content_type.split(b";"))
    return media_type == JSON.encode() and all(
        parameter[:8] == b"charset=" and parameter[8:].lower() == b"utf-8"
        for parameter in parameters
    )
