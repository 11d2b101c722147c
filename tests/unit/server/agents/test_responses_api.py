"""The events that OpenAI's clients need, made of those that agents yield."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from mlflow_model_server.agents import responses_api
from mlflow_model_server.agents.responses_api import ResponseWriter
from mlflow_model_server.model.agents import AgentKind
from mlflow_model_server.responses import ErrorResponse
from tests.unit.server.agents.stub_model import StubModel, events

BODY = b'{"input": "Hi", "instructions": "Be kind", "metadata": {"a": "b"}}'
ADDED, DONE = "response.output_item.added", "response.output_item.done"
PART_ADDED, PART_DONE = "response.content_part.added", "response.content_part.done"
DELTA, TEXT_DONE = "response.output_text.delta", "response.output_text.done"


def written(*chunks: dict[str, Any], has_done: bool = False) -> list[Any]:
    model: Any = StubModel(AgentKind.RESPONSES_AGENT, list(chunks))
    return events(ResponseWriter(BODY, model, "wine", has_done).parts())


def types(stream: list[Any]) -> list[str]:
    """The types between the events that each stream begins and ends with."""
    first, second, *between, last = [event["type"] for event in stream]
    assert (first, second, last) == (
        "response.created",
        "response.in_progress",
        "response.completed",
    )
    return between


def delta(text: str, item: str = "m") -> dict[str, Any]:
    return {"type": DELTA, "item_id": item, "delta": text}


def message(text: str, item: str = "m") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": item, "role": "assistant", "content": content}


def done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": DONE, "item": item}


def test_deltas_and_their_item() -> None:
    stream = written(delta("bit "), delta("by"), done(message("bit by")))
    assert types(stream) == [ADDED, PART_ADDED, DELTA, DELTA, TEXT_DONE, PART_DONE, DONE]
    assert [event["sequence_number"] for event in stream] == list(range(len(stream)))
    assert {event["output_index"] for event in stream[2:-1]} == {0}
    assert stream[-1]["response"]["output"] == [message("bit by") | {"status": "completed"}]
    assert stream[0]["response"]["instructions"] == "Be kind"
    assert stream[0]["response"]["metadata"] == {"a": "b"}


def test_an_item_that_comes_whole_has_its_text_as_a_delta() -> None:
    stream = written(done(message("all at once")))
    assert types(stream) == [ADDED, PART_ADDED, DELTA, TEXT_DONE, PART_DONE, DONE]
    assert stream[4]["delta"] == "all at once"


def test_deltas_without_their_item_get_one() -> None:
    stream = written(delta("bit"), delta("by"))
    assert types(stream)[-1] == DONE
    assert stream[-1]["response"]["output"] == [message("bitby") | {"status": "completed"}]


def test_calls_of_functions() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": '{"a":1}'}
    result = {"type": "function_call_output", "call_id": "c", "output": "seen"}
    stream = written(done(call), done(result), delta("it"), done(message("it")))
    arguments = "response.function_call_arguments"
    assert types(stream)[:6] == [
        *(ADDED, f"{arguments}.delta", f"{arguments}.done", DONE),
        *(ADDED, DONE),
    ]
    assert [event["output_index"] for event in stream if event["type"] == DONE] == [0, 1, 2]
    assert stream[2]["item"]["arguments"] == "" and stream[5]["item"]["arguments"] == '{"a":1}'
    identifiers = [item["id"] for item in stream[-1]["response"]["output"]]
    assert len(set(identifiers)) == 3


def test_what_the_agent_says_itself_is_not_said_twice() -> None:
    own = [
        {"type": "response.created", "response": {"id": "mine", "output": []}},
        {"type": ADDED, "item": message("") | {"content": []}},
        {"type": PART_ADDED, "item_id": "m", "part": {"type": "output_text", "text": ""}},
        delta("bit"),
        {"type": TEXT_DONE, "item_id": "m", "text": "bit"},
        done(message("bit")),
        {"type": "response.completed", "response": {"id": "mine", "output": [message("bit")]}},
    ]
    stream = written(*own)
    assert [event["type"] for event in stream] == [event["type"] for event in own]
    assert {event["response"]["id"] for event in (stream[0], stream[-1])} == {"mine"}


def test_an_event_of_another_type_is_handed_on() -> None:
    odd = {"type": "response.odd", "value": 1, "nothing": None}
    assert written(odd)[2] == {"type": "response.odd", "value": 1, "sequence_number": 2}


def test_an_agent_that_yields_nothing_answers_nothing() -> None:
    assert types(written()) == []
    assert written(has_done=True)[-1] == "[DONE]"


def test_an_error_is_both_protocol_s() -> None:
    model: Any = StubModel(AgentKind.RESPONSES_AGENT, [delta("bit")])
    writer = ResponseWriter(BODY, model, "wine", has_done=True)
    next(writer.parts())
    error, end = events(iter([writer.error(ErrorResponse(500, "INTERNAL_ERROR", "no"))]))
    assert (error["type"], error["message"], error["sequence_number"]) == ("error", "no", 5)
    assert error["error"]["message"] == "no"
    assert end == "[DONE]"


@pytest.mark.parametrize("chunk", ["text", {"no": "type"}, None])
def test_what_is_no_event_is_refused(chunk: Any) -> None:
    with pytest.raises(TypeError, match="an event is a"):
        written(chunk)


TEXTS = st.text(max_size=4)
ITEMS = st.sampled_from(["a", "b"])
EVENTS = st.one_of(
    st.builds(delta, TEXTS, ITEMS),
    st.builds(lambda text, item: done(message(text or "x", item)), TEXTS, ITEMS),
    st.builds(
        lambda item, call: done(
            {"type": "function_call", "id": item, "call_id": call, "name": "f", "arguments": "{}"}
        ),
        ITEMS,
        st.uuids().map(str),
    ),
)


@given(st.lists(EVENTS, max_size=6))
def test_openai_s_client_makes_a_response_of_any_stream(chunks: list[dict[str, Any]]) -> None:
    state: Any = ResponseStreamState(text_format=openai.omit, input_tools=openai.omit)
    parsed = TypeAdapter(ResponseStreamEvent)
    for event in written(*chunks):
        state.handle_event(parsed.validate_python(event))
    expected = sum(chunk["type"] == DONE for chunk in chunks)
    assert len(state._completed_response.output) >= expected


def test_a_whole_response_has_what_clients_need() -> None:
    model: Any = StubModel(AgentKind.RESPONSES_AGENT, prediction={"output": [message("all")]})
    response = json.loads(responses_api.respond(BODY, model, "wine").body)
    assert response["output"] == [message("all") | {"status": "completed"}]
    assert (response["status"], response["model"]) == ("completed", "wine")
    assert model.request["input"][0] == {"role": "system", "content": "Be kind"}
