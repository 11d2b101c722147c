"""OpenAI's responses, for ResponsesAgents.

See https://platform.openai.com/docs/api-reference/responses. MLflow's agents yield deltas of text
and whole items; OpenAI's clients put the response together from more events than that, so the ones
between are made here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from mlflow_model_server.agents import sse
from mlflow_model_server.agents.inputs import request_of
from mlflow_model_server.agents.openai_errors import error_fields
from mlflow_model_server.agents.trace_id import TraceId
from mlflow_model_server.agents.writer import Writer
from mlflow_model_server.inference.agent_model import AgentModel
from mlflow_model_server.inference.event_stream import Parts
from mlflow_model_server.responses import ErrorResponse, Response

_BEGINNINGS = ("response.created", "response.in_progress", "response.queued")
_ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
_DELTA = "response.output_text.delta"
_ANNOTATION = "response.output_text.annotation.added"

Event = dict[str, Any]


def respond(body: bytes, model: AgentModel, name: str) -> Response:
    """The whole response. `name` is the model's where it does not say one itself."""
    assert model.kind is not None
    with model.document(body) as document:
        trace = TraceId()
        prediction = model.predict(request_of(document, model.kind))
        response = {**_frame(document, name), "status": "completed", **prediction}
        if identifier := trace.get():
            response["metadata"] = {**(response["metadata"] or {}), "trace_id": identifier}
        response["output"] = list(map(_item, response.get("output") or ()))
        return Response(200, sse.to_json(response), rows=1)


def _frame(request: dict[str, Any], name: str) -> dict[str, Any]:
    """What OpenAI's clients want in each response, and MLflow's types may leave out."""
    return {
        "id": _new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "metadata": request.get("metadata") or {},
        "model": name,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": request.get("temperature"),
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p"),
        "usage": None,
    }


def _item(item: dict[str, Any]) -> dict[str, Any]:
    present = {name: value for name, value in item.items() if value is not None}
    return {"id": _new_id("item"), "status": "completed", **present}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


class ResponseWriter(Writer):
    """A stream of the events of one response."""

    def __init__(self, body: bytes, model: AgentModel, name: str, has_done: bool) -> None:
        """`has_done`: the stream ends with `[DONE]`, as that of MLflow's agent server does."""
        super().__init__(body, model)
        self._name = name
        self._sequence = 0
        self._has_done = has_done

    def parts(self) -> Parts:
        """A part for each event of the model, with those that belong around it."""
        model = self._model
        assert model.kind is not None
        with model.document(self._body) as document:
            request = request_of(document, model.kind)
            response = _Assembly(_frame(document, self._name))
            trace = TraceId()
            with closing(self.counted(model.stream(request))) as events:
                for event in events:
                    yield self._part(response.events_for(event))
            yield self._part(response.last_events()) + self._end(trace)

    def error(self, error: ErrorResponse) -> bytes:
        """The protocol's event, with the field that makes OpenAI's clients raise it."""
        fields = error_fields(error)
        event = {"type": "error", "error": fields} | {
            name: fields[name] for name in ("message", "code", "param")
        }
        return self._part([event]) + (sse.DONE if self._has_done else b"")

    def _end(self, trace: TraceId) -> bytes:
        if not self._has_done:
            return b""
        identifier = trace.get()
        return (sse.event({"trace_id": identifier}) if identifier else b"") + sse.DONE

    def _part(self, events: list[Event]) -> bytes:
        return b"".join(map(self._numbered, events))

    def _numbered(self, event: Event) -> bytes:
        numbered = {**event, "sequence_number": self._sequence}
        self._sequence += 1
        return sse.event(numbered, event["type"])


@dataclass
class _OpenItem:
    """An item of the output that has begun, and is not done."""

    identifier: str
    place: int
    type: Any  # "message", "function_call", …
    has_part: bool = False  # its content has begun
    is_text_done: bool = False  # the model has said so
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


class _Assembly:
    """Makes the events between those of the model. Pure."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self._has_begun = False
        self._has_ended = False
        self._open: dict[str, _OpenItem] = {}
        self._names: list[str] = []  # of all items, by their places
        self._handlers: dict[str, Callable[[Event], list[Event]]] = {
            _DELTA: self._delta,
            _ANNOTATION: self._annotation,
            "response.output_item.added": self._item_added,
            "response.content_part.added": self._content_added,
            "response.output_text.done": self._text_done,
            "response.output_item.done": self._item_done,
        }

    def events_for(self, event: Any) -> list[Event]:
        """The model's event, and those that belong before it."""
        event = _fields(event)
        kind = event["type"]
        if kind in _BEGINNINGS:
            self._has_begun = True
            self._adopt(event.get("response") or {})
            return [self._with_response(event)]
        before = self._beginning()
        if kind in _ENDS:
            self._has_ended = True
            return [*before, *self._close_items(), self._with_response(event)]
        handler = self._handlers.get(kind)
        return [*before, *(handler(event) if handler is not None else [event])]

    def last_events(self) -> list[Event]:
        """The end of the response, if the model has not said it."""
        if self._has_ended:
            return []
        events = [*self._beginning(), *self._close_items()]
        response = {**self._response, "status": "completed"}
        return [*events, {"type": "response.completed", "response": response}]

    def _beginning(self) -> list[Event]:
        if self._has_begun:
            return []
        self._has_begun = True
        response = {**self._response, "status": "in_progress", "output": []}
        return [{"type": kind, "response": response} for kind in _BEGINNINGS[:2]]

    def _adopt(self, response: dict[str, Any]) -> None:
        """All events of a response name the same one."""
        for name in ("id", "created_at", "model"):
            if response.get(name) is not None:
                self._response[name] = response[name]

    def _with_response(self, event: Event) -> Event:
        if "response" not in event:
            return event
        return {**event, "response": {**self._response, **event["response"]}}

    # Each of these returns the event with those before it.

    def _delta(self, event: Event) -> list[Event]:
        item, before = self._opened(event["item_id"])
        item.texts.append(event["delta"])
        return [*before, {"logprobs": [], **_in_content(item, event)}]

    def _annotation(self, event: Event) -> list[Event]:
        item, before = self._opened(event["item_id"])
        return [*before, _in_content(item, event)]

    def _item_added(self, event: Event) -> list[Event]:
        shown = _item(event["item"])
        item = self._begin_item(shown["id"], shown.get("type"))
        shown["id"] = item.identifier
        return [{"output_index": item.place, **event, "item": shown}]

    def _content_added(self, event: Event) -> list[Event]:
        item = self._open.get(event["item_id"])
        if item is None:
            return [event]
        item.has_part = True
        return [_in_content(item, event)]

    def _text_done(self, event: Event) -> list[Event]:
        item, before = self._opened(event["item_id"])
        item.is_text_done = True
        return [*before, _in_content(item, event)]

    def _item_done(self, event: Event) -> list[Event]:
        done = _item(event["item"])
        item = self._open.get(done["id"])
        before: list[Event] = []
        if item is None or item.type != done.get("type"):
            item, before = self._unfolded(done)
        else:
            del self._open[done["id"]]
            if item.texts and not item.is_text_done:
                before = _content_done(item, _text_of(done) or item.text)
        done["id"] = item.identifier
        self._response["output"].append(done)
        return [*before, {"output_index": item.place, **event, "item": done}]

    def _opened(self, identifier: str) -> tuple[_OpenItem, list[Event]]:
        """The message of this name, and the events that begin it, if it has not begun."""
        events: list[Event] = []
        item = self._open.get(identifier)
        if item is None:
            item = self._begin_item(identifier, "message")
            events.append(_added(item, _empty_message(item.identifier)))
        if not item.has_part:
            item.has_part = True
            events.append(_content_event("response.content_part.added", item, ""))
        return item, events

    def _begin_item(self, identifier: str, kind: Any) -> _OpenItem:
        """A new item. Agents may give several the same name, which no client could tell apart."""
        place = len(self._names)
        name = f"{identifier}-{place}" if identifier in self._names else identifier
        self._names.append(name)
        item = self._open[identifier] = _OpenItem(name, place, kind)
        return item

    def _unfolded(self, done: dict[str, Any]) -> tuple[_OpenItem, list[Event]]:
        """An item that comes whole, and the events that it would have come with."""
        open_item = self._open.get(done["id"])
        item, events = self._begun_whole(done)
        if open_item is None:
            del self._open[done["id"]]
        else:  # of another type
            self._open[done["id"]] = open_item
        return item, events

    def _begun_whole(self, done: dict[str, Any]) -> tuple[_OpenItem, list[Event]]:
        item = self._begin_item(done["id"], done.get("type"))
        shown = {**done, "id": item.identifier, "status": "in_progress"}
        if item.type == "message" and (text := _text_of(done)):
            delta = {"type": _DELTA, "delta": text, "logprobs": []}
            return item, [
                _added(item, {**shown, "content": []}),
                _content_event("response.content_part.added", item, ""),
                _in_content(item, delta),
                *_content_done(item, text),
            ]
        if item.type == "function_call":
            return item, [_added(item, {**shown, "arguments": ""}), *_arguments(item, done)]
        return item, [_added(item, shown)]

    def _close_items(self) -> Iterator[Event]:
        """Messages of which only deltas came."""
        for identifier, item in list(self._open.items()):
            if item.texts:
                content = {"status": "completed", "content": [_content(item.text)]}
                message = {**_empty_message(identifier), **content}
                yield from self._item_done({"type": "response.output_item.done", "item": message})


def _fields(event: Any) -> Event:
    """Events are dicts, but for models that MLflow does not check."""
    if isinstance(event, dict) and isinstance(event.get("type"), str):
        return {name: value for name, value in event.items() if value is not None}
    raise TypeError(f"an event is a {type(event).__name__}")


def _empty_message(identifier: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }


def _added(item: _OpenItem, shown: dict[str, Any]) -> Event:
    return {"type": "response.output_item.added", "output_index": item.place, "item": shown}


def _in_content(item: _OpenItem, event: Event) -> Event:
    """The event with the place in the output that it belongs to."""
    place = {"output_index": item.place, "content_index": 0}
    return {**place, **event, "item_id": item.identifier}


def _content(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _content_event(kind: str, item: _OpenItem, text: str) -> Event:
    return {
        "type": kind,
        "item_id": item.identifier,
        "output_index": item.place,
        "content_index": 0,
        "part": _content(text),
    }


def _content_done(item: _OpenItem, text: str) -> list[Event]:
    done = {
        "type": "response.output_text.done",
        "item_id": item.identifier,
        "output_index": item.place,
        "content_index": 0,
        "text": text,
        "logprobs": [],
    }
    return [done, _content_event("response.content_part.done", item, text)]


def _arguments(item: _OpenItem, call: dict[str, Any]) -> list[Event]:
    place = {"item_id": item.identifier, "output_index": item.place}
    arguments = call.get("arguments", "")
    kind = "response.function_call_arguments"
    return [
        {"type": f"{kind}.delta", **place, "delta": arguments},
        {"type": f"{kind}.done", **place, "arguments": arguments, "name": call.get("name")},
    ]


def _text_of(message: dict[str, Any]) -> str:
    parts = message.get("content") or ()
    return "".join(part.get("text", "") for part in parts if part.get("type") == "output_text")
