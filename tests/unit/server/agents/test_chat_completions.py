"""Chat completions, made of what ChatModels and ChatAgents answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlflow_model_server.agents import chat_completions
from mlflow_model_server.agents.chat_completions import CompletionWriter
from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.responses import ErrorResponse
from tests.unit.server.agents.stub_model import StubModel, events

BODY = b'{"messages": [{"role": "user", "content": "Hi"}]}'
CALL = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def chunk(**delta: Any) -> dict[str, Any]:
    return {"delta": {"role": "assistant", "id": "m", **delta}}


def written(kind: AgentKind, *chunks: dict[str, Any]) -> list[Any]:
    model: Any = StubModel(kind, list(chunks))
    *stream, done = events(CompletionWriter(BODY, model, "wine").parts())
    assert done == "[DONE]"
    assert {each["object"] for each in stream} == {"chat.completion.chunk"}
    return stream


def completion(kind: AgentKind, prediction: dict[str, Any]) -> dict[str, Any]:
    model: Any = StubModel(kind, prediction=prediction)
    body: dict[str, Any] = json.loads(chat_completions.respond(BODY, model, "wine").body)
    return body


def test_a_chat_model_s_chunks_stay_and_get_what_clients_need() -> None:
    own = {"id": "x", "model": "own", "created": 5, "custom_outputs": {"a": 1}}
    first = {**own, "choices": [{"delta": {"role": "assistant", "content": "bit"}}]}
    last = {"choices": [{"delta": {}, "finish_reason": "length"}], "usage": {"total_tokens": 3}}
    stream = written(AgentKind.CHAT_MODEL, first, last)
    assert [each["id"] for each in stream] == ["x", "x"]
    assert [each["model"] for each in stream] == ["own", "own"]
    assert stream[0]["choices"][0]["finish_reason"] is None
    assert stream[0]["custom_outputs"] == {"a": 1}
    assert stream[1]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "length"}
    assert stream[1]["usage"] == {"total_tokens": 3}


def test_a_stream_without_an_end_gets_one() -> None:
    (only,) = written(AgentKind.CHAT_MODEL)
    assert only["choices"][0]["finish_reason"] == "stop"
    assert only["model"] == "wine"


def test_calls_have_places() -> None:
    other = {**CALL, "id": "2"}
    stream = written(
        AgentKind.CHAT_MODEL,
        {"choices": [{"delta": {"tool_calls": [CALL, other]}}]},
        {"choices": [{"delta": {"tool_calls": [other]}}]},
    )
    places = [
        call["index"] for each in stream[:2] for call in each["choices"][0]["delta"]["tool_calls"]
    ]
    assert places == [0, 1, 1]
    assert stream[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_agent_s_own_calls_are_progress() -> None:
    stream = written(
        AgentKind.CHAT_AGENT,
        chunk(tool_calls=[CALL]),
        chunk(role="tool", content="seen", name="look_up", tool_call_id="1"),
        chunk(content="It is there"),
    )
    assert [each["choices"][0]["delta"] for each in stream] == [
        {},
        {"role": "assistant", "content": "It is there"},
        {},
    ]
    assert [message["role"] for message in stream[0]["messages"]] == ["assistant", "tool"]
    assert stream[-1]["choices"][0]["finish_reason"] == "stop"


def test_calls_before_an_answer_without_a_tool_are_the_client_s() -> None:
    stream = written(AgentKind.CHAT_AGENT, chunk(tool_calls=[CALL]), chunk(content="or so"))
    deltas = [each["choices"][0]["delta"] for each in stream]
    assert deltas[0]["tool_calls"] == [{"index": 0, **CALL}]
    assert deltas[1]["content"] == "or so"


def test_an_agent_s_last_answer_is_the_choice() -> None:
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [CALL], "id": "1"},
        {"role": "tool", "content": "seen", "id": "2"},
        {"role": "assistant", "content": "It is there", "id": "3"},
    ]
    body = completion(AgentKind.CHAT_AGENT, {"messages": messages, "custom_outputs": {"a": 1}})
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "It is there"}
    assert (choice["finish_reason"], body["custom_outputs"]) == ("stop", {"a": 1})
    assert body["messages"] == messages
    asks = completion(AgentKind.CHAT_AGENT, {"messages": messages[:1]})["choices"][0]
    assert (asks["finish_reason"], asks["message"]["tool_calls"]) == ("tool_calls", [CALL])


def test_an_error_is_openai_s() -> None:
    model: Any = StubModel(AgentKind.CHAT_MODEL)
    error = CompletionWriter(BODY, model, "wine").error(ErrorResponse(504, "LATE", "too late"))
    assert events(iter([error])) == [
        {"error": {"message": "too late", "type": "server_error", "param": None, "code": "LATE"}}
    ]


def test_what_is_no_chunk_is_refused() -> None:
    with pytest.raises(TypeError, match="a chunk is a str"):
        written(AgentKind.CHAT_MODEL, "text")  # type: ignore[arg-type]
