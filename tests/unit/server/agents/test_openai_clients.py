"""OpenAI's own client, and MLflow's, with agents of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from tests.unit.server.agents.conftest import Agent

HI: Any = [{"role": "user", "content": "Hello to you"}]
PARTS: Any = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "to you"}],
    }
]


def complete(agent: Agent, messages: Any = HI, **options: Any) -> Any:
    return agent.client().chat.completions.create(model="any", messages=messages, **options)


def words_of(chunks: Iterator[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.fixture(params=["chat_model", "chat_agent"])
def chat(request: pytest.FixtureRequest) -> Agent:
    agent: Agent = request.getfixturevalue(request.param)
    return agent


def test_chat_completions(chat: Agent) -> None:
    completion = complete(chat)
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello to you")
    assert (choice.finish_reason, completion.object) == ("stop", "chat.completion")
    assert completion.model == "mlflow-model" and completion.id and completion.created
    assert complete(chat, PARTS).choices[0].message.content == "Hello to you"


def test_chat_completions_as_a_stream(chat: Agent) -> None:
    chunks = list(complete(chat, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Hello ", "to ", "you ", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert words_of(complete(chat, PARTS, stream=True)) == "Hello to you "
    with chat.client().chat.completions.stream(model="any", messages=HI) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Hello to you "


def test_what_openai_s_clients_send_beside(chat: Agent) -> None:
    tool: Any = {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
        },
    }
    call: Any = {
        "id": "1",
        "type": "function",
        "function": {"name": "look_up", "arguments": "{}"},
    }
    messages = [
        {"role": "developer", "content": "Be kind"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "1", "content": "seen"},
        *HI,
    ]
    completion = complete(
        chat,
        messages,
        tools=[tool],
        temperature=1,
        max_completion_tokens=5,
        stop="you",
        seed=1,
        user="anna",
        response_format={"type": "text"},
        extra_body={"custom_inputs": {"a": {"b": 1}}},
    )
    assert completion.choices[0].message.content == "Hello to you"


def test_calls_that_an_agent_makes_itself_are_not_for_the_client(chat_agent: Agent) -> None:
    messages: Any = [{"role": "user", "content": "look there"}]
    completion = complete(chat_agent, messages)
    assert completion.choices[0].message.content == "look there"
    assert completion.choices[0].message.tool_calls is None
    assert [message["role"] for message in completion.messages] == [
        *("assistant", "tool", "assistant")
    ]
    chunks = list(complete(chat_agent, messages, stream=True))
    assert words_of(iter(chunks)) == "look there "
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert [message["role"] for message in chunks[0].messages] == ["assistant", "tool"]


def test_calls_that_are_for_the_client_come_with_their_places(chat_agent: Agent) -> None:
    messages: Any = [{"role": "user", "content": "ask"}]
    chunks = list(complete(chat_agent, messages, stream=True))
    (call,) = chunks[0].choices[0].delta.tool_calls
    assert (call.index, call.id, call.function.name) == (0, "call-1", "look_up")
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def respond(agent: Agent, path: str = "/v1", **options: Any) -> Any:
    options = {"model": "any", "input": "Hello to you", **options}
    return agent.client(path).responses.create(**options)


@pytest.mark.parametrize("path", ["/v1", ""])
def test_responses(responses_agent: Agent, path: str) -> None:
    response = respond(responses_agent, path)
    assert response.output_text == "Hello to you"
    assert (response.status, response.object) == ("completed", "response")
    assert response.model == "mlflow-model" and response.id and response.created_at
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
    assert respond(responses_agent, path, input=parts).output_text == "Hello"


@pytest.mark.parametrize("path", ["/v1", ""])
def test_responses_as_a_stream(responses_agent: Agent, path: str) -> None:
    events = list(respond(responses_agent, path, stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "Hello to you "
    client = responses_agent.client(path)
    with client.responses.stream(model="any", input="Hello to you") as stream:
        assert stream.get_final_response().output_text == "Hello to you "


def test_instructions_and_tools_reach_the_agent(responses_agent: Agent) -> None:
    tool = {
        "type": "function",
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
        "strict": True,
    }
    response = respond(responses_agent, instructions="Be kind", tools=[tool])
    assert response.custom_outputs == {"roles": ["system", "user"], "tools": ["look_up"]}


def test_what_was_answered_can_be_sent_again(responses_agent: Agent) -> None:
    first = respond(responses_agent)
    output = [item.model_dump(exclude_none=True) for item in first.output]
    messages = [*HI, *output, {"role": "user", "content": "And now"}]
    assert respond(responses_agent, input=messages).output_text == "And now"


@pytest.mark.parametrize(
    "option", [{"previous_response_id": "resp_1"}, {"conversation": "c"}, {"background": True}]
)
def test_what_needs_a_memory_is_refused(responses_agent: Agent, option: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError, match=f"{next(iter(option))} is not supported"):
        respond(responses_agent, **option)


def test_the_one_model_is_listed(chat_model: Agent) -> None:
    client = chat_model.client()
    assert [model.id for model in client.models.list()] == ["mlflow-model"]
    assert client.models.retrieve("mlflow-model").object == "model"
    with pytest.raises(openai.NotFoundError, match="there is no model 'another' here"):
        client.models.retrieve("another")


def test_wrong_requests_are_refused_in_words(chat: Agent, responses_agent: Agent) -> None:
    with pytest.raises(openai.BadRequestError, match="content"):
        complete(chat, [{"role": "user"}])
    with pytest.raises(openai.BadRequestError, match="messages is not a list of objects"):
        complete(chat, "Hello")
    with pytest.raises(openai.BadRequestError, match=r"input\.0"):
        respond(responses_agent, input=[{"role": "nobody", "content": "Hello"}])
    url = chat.server.url("/v1/chat/completions")
    for body, words in ((b"[]", "it is a list"), (b"{", "at char 1"), (b'{"a":"\xff"}', "UTF-8")):
        refused = requests.post(url, data=body, timeout=30)
        assert refused.status_code == 400
        assert words in refused.json()["error"]["message"]


def test_another_kind_s_path_says_where_to_write(
    chat_model: Agent, responses_agent: Agent, pyfunc: Agent
) -> None:
    with pytest.raises(openai.NotFoundError, match="write to /v1/responses"):
        complete(responses_agent)
    with pytest.raises(openai.NotFoundError, match="write to /v1/chat/completions"):
        respond(chat_model, stream=True)
    with pytest.raises(openai.NotFoundError, match="write to /invocations"):
        complete(pyfunc, stream=True)
    unknown = requests.get(chat_model.server.url("/v1/files"), timeout=30)
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (
        404,
        "there is no /v1/files",
    )


def test_without_predict_stream_a_stream_is_refused(whole_model: Agent) -> None:
    assert complete(whole_model).choices[0].message.content == "all of it"
    with pytest.raises(openai.BadRequestError, match="this model can't stream"):
        complete(whole_model, stream=True)
    body = {"messages": HI, "stream": True}
    refused = requests.post(whole_model.server.url("/invocations"), json=body, timeout=30)
    assert refused.status_code == 400
    assert "can't stream" in refused.json()["message"]


def test_mlflow_s_deployment_client(chat_model: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.deployments import get_deploy_client

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_API_BASE", chat_model.server.url("/v1"))
    client = get_deploy_client("openai")
    completion = client.predict(endpoint="any", inputs={"messages": HI})
    assert completion["choices"][0]["message"]["content"] == "Hello to you"


async def test_the_asynchronous_client(responses_agent: Agent) -> None:
    client = openai.AsyncOpenAI(base_url=responses_agent.server.url("/v1"), api_key="none")
    stream = await client.responses.create(model="any", input="Hello to you", stream=True)
    deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert deltas == ["Hello ", "to ", "you "]


def test_mlflow_s_client_for_streams(
    chat_model: Agent, responses_agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one for Databricks, which reads lines of data, as if a gateway led to the agents."""
    from mlflow.deployments import databricks

    def http_request(*, endpoint: str, method: str, json: Any, stream: bool, **_: Any) -> Any:
        agent = chat_model if "chat" in endpoint else responses_agent
        url = agent.server.url("/invocations")
        return requests.request(method, url, json=json, stream=stream, timeout=60)

    monkeypatch.setattr(databricks, "http_request", http_request)
    monkeypatch.setattr(databricks, "get_databricks_host_creds", lambda _: None)
    client = databricks.DatabricksDeploymentClient("databricks")
    chunks = list(client.predict_stream(endpoint="chat", inputs={"messages": HI}))
    said = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    assert said == ["Hello ", "to ", "you "]
    *deltas, done = client.predict_stream(endpoint="agent", inputs={"input": HI})
    assert [event["delta"] for event in deltas] == ["Hello ", "to ", "you "]
    assert done["type"] == "response.output_item.done"
