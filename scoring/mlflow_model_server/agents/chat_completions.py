"""OpenAI's chat completions, for ChatModels and ChatAgents.

See https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from mlflow_model_server.agents import sse
from mlflow_model_server.agents.inputs import request_of
from mlflow_model_server.agents.openai_errors import error_fields
from mlflow_model_server.agents.writer import Writer
from mlflow_model_server.inference.agent_model import AgentModel
from mlflow_model_server.inference.event_stream import Parts
from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.responses import ErrorResponse, Response

_MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "refusal")


def respond(body: bytes, model: AgentModel, name: str) -> Response:
    """The whole completion. `name` is the model's where it does not say one itself."""
    assert model.kind is not None
    with model.document(body) as document:
        prediction = model.predict(request_of(document, model.kind))
        if model.kind is AgentKind.CHAT_AGENT:
            prediction = _completion_of_agent(prediction)
        completion = {**_frame("chat.completion", name), **prediction}
        completion["choices"] = list(map(_choice, completion.get("choices") or ()))
        return Response(200, sse.to_json(completion), rows=1)


def _frame(kind: str, name: str) -> dict[str, Any]:
    """What OpenAI's clients want in each object, and MLflow's types may leave out."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": name,
    }


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, **choice.get("message", {})}
    return {"index": 0, "finish_reason": "stop", "logprobs": None, **choice, "message": message}


def _completion_of_agent(response: dict[str, Any]) -> dict[str, Any]:
    """A ChatAgent's messages as one choice: the last of the assistant.

    The others, of the tools that it has called, stay in `messages`.
    """
    messages = response.get("messages") or []
    answers = [each for each in messages if each.get("role") == "assistant"]
    answer = (answers or messages or [{}])[-1]
    default = "tool_calls" if answer.get("tool_calls") else "stop"
    choice = {
        "index": 0,
        "message": _openai_message(answer),
        "finish_reason": response.get("finish_reason") or default,
    }
    return {**response, "choices": [choice]}


def _openai_message(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in _MESSAGE_FIELDS if name in message}


class CompletionWriter(Writer):
    """A stream of `chat.completion.chunk`."""

    def __init__(self, body: bytes, model: AgentModel, name: str) -> None:
        super().__init__(body, model)
        self._frame = _frame("chat.completion.chunk", name)
        self._calls: dict[Any, int] = {}  # calls of tools: their places
        self._finished = False

    def parts(self) -> Parts:
        """The chunks, and at least one that says why it ends."""
        model = self._model
        assert model.kind is not None
        with model.document(self._body) as document:
            request = request_of(document, model.kind)
            with closing(self.counted(model.stream(request))) as yielded:
                chunks: Iterator[Any] = map(_fields, yielded)
                if model.kind is AgentKind.CHAT_AGENT:
                    chunks = _chunks_of_agent(chunks)
                for chunk in chunks:
                    yield self._part(chunk)
        if not self._finished:
            reason = "tool_calls" if self._calls else "stop"
            yield self._part({"choices": [{"delta": {}, "finish_reason": reason}]})
        yield sse.DONE

    def error(self, error: ErrorResponse) -> bytes:
        """OpenAI's clients raise it."""
        return sse.event({"error": error_fields(error)})

    def _part(self, chunk: dict[str, Any]) -> bytes:
        frame = self._frame
        for name in ("id", "model", "created"):
            if chunk.get(name) is not None:
                frame[name] = chunk[name]  # all chunks of a stream have the same
        choices = [self._choice(choice) for choice in chunk.get("choices") or ()]
        return sse.event({**frame, **chunk, "choices": choices})

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        self._finished = self._finished or choice.get("finish_reason") is not None
        delta = dict(choice.get("delta") or {})
        if delta.get("tool_calls"):
            delta["tool_calls"] = [self._placed(call) for call in delta["tool_calls"]]
        return {"index": 0, "finish_reason": None, **choice, "delta": delta}

    def _placed(self, call: dict[str, Any]) -> dict[str, Any]:
        """A call of a tool with its place, by which clients put its parts together."""
        place = self._calls.setdefault(call.get("id"), len(self._calls))
        return {"index": place, **call}


def _fields(chunk: Any) -> dict[str, Any]:
    """Chunks are dicts, but for models that MLflow does not check."""
    if isinstance(chunk, dict):
        return chunk
    raise TypeError(f"a chunk is a {type(chunk).__name__}")


def _chunks_of_agent(chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A ChatAgent's chunks as OpenAI has them.

    Calls of tools are held back: those that the agent makes itself, as messages of tools after
    them show, are not for the client to make.
    """
    held: list[dict[str, Any]] = []
    for chunk in chunks:
        delta = chunk["delta"]
        if delta.get("role") == "tool":
            yield _progress([*held, chunk])
            held = []
        elif delta.get("tool_calls"):
            held.append(chunk)
        else:
            yield from map(_chunk_of_agent, held)
            held = []
            yield _chunk_of_agent(chunk)
    yield from map(_chunk_of_agent, held)


def _progress(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What the agent does before it answers, where clients for OpenAI's protocol do not look."""
    return {"choices": [{"delta": {}}], "messages": [chunk["delta"] for chunk in chunks]}


def _chunk_of_agent(chunk: dict[str, Any]) -> dict[str, Any]:
    others: dict[str, Any] = {
        name: chunk[name] for name in ("usage", "custom_outputs") if name in chunk
    }
    choice = {
        "delta": _openai_message(chunk["delta"]),
        "finish_reason": chunk.get("finish_reason"),
    }
    return {"choices": [choice], **others}
