"""Requests as OpenAI's clients send them, as MLflow's types for each kind of agent have them. Pure.

MLflow's types are narrower than OpenAI's. What means the same in both is converted; what would be
lost without a word is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.responses import ErrorResponse, Rejected

# The field that makes a JSON object a request for an agent of the kind.
FIELDS = {
    AgentKind.CHAT_MODEL: "messages",
    AgentKind.CHAT_AGENT: "messages",
    AgentKind.RESPONSES_AGENT: "input",
}
_FLOATS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_TEXTS = ("text", "input_text", "output_text")
# What a server without a memory of its own can't do.
_STATEFUL = ("previous_response_id", "conversation", "background", "prompt")
_MAX_ERRORS = 3
_BRACKET = re.compile(r"[{\[]")  # where MLflow's errors begin to repeat a value


def request_of(document: dict[str, Any], kind: AgentKind) -> dict[str, Any]:
    """The document for an agent of this kind, which MLflow's types accept. Raises Rejected."""
    present = {name: value for name, value in document.items() if value is not None}
    if kind is AgentKind.RESPONSES_AGENT:
        request = _responses_request(present)
    else:
        request = _chat_request(present, kind)
    _check(request, kind)
    return request


def _responses_request(document: dict[str, Any]) -> dict[str, Any]:
    for name in _STATEFUL:
        if document.get(name):
            raise _invalid(f"{name} is not supported: send the whole conversation in input")
    items = document.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    instructions = document.get("instructions")
    if isinstance(instructions, str) and isinstance(items, list):
        items = [{"role": "system", "content": instructions}, *items]
    return {**document, "input": items}


def _chat_request(document: dict[str, Any], kind: AgentKind) -> dict[str, Any]:
    messages = document.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _invalid("messages is not a list of objects")
    request = {**document, "messages": [_message(each) for each in messages]}
    if kind is AgentKind.CHAT_AGENT:
        _name_tools(request["messages"])
        return request
    if isinstance(request.get("stop"), str):
        request["stop"] = [request["stop"]]
    if "max_completion_tokens" in request:
        request.setdefault("max_tokens", request["max_completion_tokens"])
    for name in _FLOATS:
        if type(request.get(name)) is int:
            request[name] = float(request[name])
    return request


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """The message with parts of text as one text: models for MLflow's types expect that."""
    present = {name: value for name, value in message.items() if value is not None}
    parts = present.get("content")
    if isinstance(parts, list) and all(map(_is_text, parts)):
        present["content"] = "\n".join(part["text"] for part in parts)
    return present


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)
    )


def _name_tools(messages: list[dict[str, Any]]) -> None:
    """Gives messages of tools the name that a ChatAgent has there: that of the function called."""
    names: dict[Any, Any] = {}
    for message in messages:
        for call in _objects(message.get("tool_calls")):
            function = call.get("function")
            if isinstance(call.get("id"), str) and isinstance(function, dict):
                names[call["id"]] = function.get("name")
        identifier = message.get("tool_call_id")
        if message.get("role") == "tool" and isinstance(identifier, str):
            message.setdefault("name", names.get(identifier) or "tool")


def _objects(values: Any) -> Iterable[dict[str, Any]]:
    return (each for each in values if isinstance(each, dict)) if isinstance(values, list) else ()


def _check(request: dict[str, Any], kind: AgentKind) -> None:
    """Raises Rejected for what MLflow's types for the kind don't accept."""
    from pydantic import ValidationError

    try:
        _parse(request, kind)
    except ValidationError as error:
        raise _invalid(_summary(error)) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise _invalid(_BRACKET.split(str(error))[0].rstrip()) from None


def _parse(request: dict[str, Any], kind: AgentKind) -> None:
    # Imported with the first request: most servers never get one.
    if kind is AgentKind.CHAT_MODEL:
        from mlflow.types.llm import ChatMessage, ChatParams

        if not hasattr(ChatParams, "from_dict"):  # in older versions
            return
        for message in request["messages"]:
            ChatMessage.from_dict(message)
        ChatParams.from_dict(request)
    elif kind is AgentKind.CHAT_AGENT:
        from mlflow.types.agent import ChatAgentRequest

        ChatAgentRequest(**request)
    else:
        from mlflow.types.responses import ResponsesAgentRequest

        ResponsesAgentRequest(**request)


def _summary(error: Any) -> str:
    """The first of pydantic's errors, without the values."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors[:_MAX_ERRORS]
    )


def _invalid(reason: str) -> Rejected:
    return Rejected(ErrorResponse(400, "BAD_REQUEST", reason))
