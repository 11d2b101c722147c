"""Requests as OpenAI's clients send them, for each kind of agent."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_server.agents.inputs import request_of
from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.responses import MAX_MESSAGE, Rejected

CHAT, AGENT, RESPONSES = AgentKind
USER = {"role": "user", "content": "Hi"}


def refusal(document: dict[str, Any], kind: AgentKind) -> str:
    with pytest.raises(Rejected) as rejected:
        request_of(document, kind)
    assert rejected.value.error.status == 400
    assert len(rejected.value.error.message.encode()) <= MAX_MESSAGE
    return rejected.value.error.message


@pytest.mark.parametrize("kind", [CHAT, AGENT])
def test_parts_of_text_become_one(kind: AgentKind) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = request_of({"messages": [{"role": "user", "content": parts}]}, kind)
    assert request["messages"] == [{"role": "user", "content": "a\nb"}]


def test_other_parts_stay_for_models_that_take_them() -> None:
    image = [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]
    document = {"messages": [{"role": "user", "content": image}]}
    assert request_of(document, CHAT)["messages"][0]["content"] == image
    assert "content: Input should be a valid string" in refusal(document, AGENT)


def test_options_of_chat_models() -> None:
    options = {"stop": "x", "max_completion_tokens": 5, "temperature": 1, "top_p": None}
    request = request_of({"messages": [USER], **options}, CHAT)
    assert (request["stop"], request["max_tokens"]) == (["x"], 5)
    assert type(request["temperature"]) is float
    assert "top_p" not in request


def test_messages_of_tools_have_the_function_s_name() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "seen"},
        {"role": "tool", "tool_call_id": "2", "content": "lost"},
    ]
    names = [each.get("name") for each in request_of({"messages": messages}, AGENT)["messages"]]
    assert names == [None, "look_up", "tool"]


def test_input_and_instructions_of_responses() -> None:
    request = request_of({"input": "Hi", "instructions": "Be kind", "model": "m"}, RESPONSES)
    assert request["input"] == [{"role": "system", "content": "Be kind"}, USER]


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        ({}, CHAT, "messages is not a list of objects"),
        ({"messages": ["Hi"]}, AGENT, "messages is not a list of objects"),
        ({"messages": [{"role": "user"}]}, CHAT, "`content` is required"),
        ({"messages": [USER], "tools": [1]}, CHAT, "tools"),
        ({"messages": [USER], "context": 1}, AGENT, "context: Input should be"),
        ({}, RESPONSES, "input: Input should be a valid list"),
        ({"input": [{"role": "user"}]}, RESPONSES, "input.0"),
        ({"input": "Hi", "previous_response_id": "r"}, RESPONSES, "previous_response_id is not"),
    ],
)
def test_wrong_requests(document: dict[str, Any], kind: AgentKind, words: str) -> None:
    assert words in refusal(document, kind)


def test_the_request_is_not_repeated() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}
    secret = {**tool, "function": {**tool["function"], "description": "secret" * 1000}}  # type: ignore[dict-item]
    assert "secret" not in refusal({"messages": [USER], "tools": [secret]}, CHAT)
