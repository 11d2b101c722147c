"""Streams from their begin to each of their ends."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import openai
import pytest
import requests

from tests.unit.server.agents import agent_models
from tests.unit.server.agents.conftest import Agent, Start
from tests.unit.server.process import wait_until

SECRET = "the secret reason"


def message(text: str) -> dict[str, Any]:
    """A request for a stream, for a chat model and a ResponsesAgent alike."""
    said = [{"role": "user", "content": text}]
    return {"messages": said, "input": said, "stream": True}


@contextmanager
def stream(agent: Agent, text: str, path: str = "/invocations") -> Iterator[Iterator[str]]:
    """The lines of a stream, as they come."""
    url = agent.server.url(path)
    with requests.post(url, json=message(text), stream=True, timeout=60) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        yield response.iter_lines(chunk_size=1, decode_unicode=True)


def lines(agent: Agent, text: str, path: str = "/invocations") -> list[str]:
    with stream(agent, text, path) as received:
        return [line for line in received if line]


def metric(agent: Agent, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    url = f"http://127.0.0.1:{agent.metrics_port}/metrics"
    text = requests.get(url, timeout=10).text
    expected = [f'{label}="{value}"' for label, value in labels.items()]
    samples = re.findall(rf"^mlflow_model_server_{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for shown, value in samples if all(e in shown for e in expected))


def requests_total(agent: Agent, code: int) -> float:
    return metric(agent, "requests_total", code=str(code))


def test_invocations_stream_what_the_model_yields(
    chat_model: Agent, chat_agent: Agent, responses_agent: Agent
) -> None:
    *chunks, done = lines(chat_model, "bit by bit")
    assert done == "data: [DONE]"
    yielded = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert [each["choices"][0]["delta"]["content"] for each in yielded] == ["bit ", "by ", "bit "]
    assert {each["object"] for each in yielded} == {"chat.completion.chunk"}

    *chunks, done = lines(chat_agent, "bit by bit")
    assert (chunks[0], done) == (
        'data: {"delta":{"role":"assistant","content":"bit ","id":"m"}}',
        "data: [DONE]",
    )

    *events, done = lines(responses_agent, "bit by bit")
    assert done == "data: [DONE]"
    assert events[0] == ('data: {"type":"response.output_text.delta","item_id":"m","delta":"bit "}')
    assert json.loads(events[-1].removeprefix("data: "))["type"] == "response.output_item.done"


def test_invocations_stream_models_of_no_kind(pyfunc: Agent) -> None:
    body = {"inputs": {"text": "bit by bit"}, "stream": True}
    url = pyfunc.server.url("/invocations")
    streamed = requests.post(url, json=body, timeout=60)
    assert streamed.text == 'data: "bit"\n\ndata: "by"\n\ndata: "bit"\n\ndata: [DONE]\n\n'
    body["stream"] = False
    assert requests.post(url, json=body, timeout=60).json() == {"predictions": ["whole"]}


@pytest.mark.parametrize("path", ["/invocations", "/v1/responses", "/responses"])
def test_events_are_sent_at_once(responses_agent: Agent, path: str) -> None:
    sign = responses_agent.folder / path.replace("/", "-")
    with stream(responses_agent, f"wait {sign.name}", path) as received:
        assert any('"begun ' in line for line in received)
        sign.touch()
        assert any('"ended ' in line for line in received)


def test_streams_are_measured(start: Start) -> None:
    agent = start(agent_models.CHAT_MODEL, REQUEST_LOG="stdout", REQUEST_LOG_BODIES="true")
    lines(agent, "bit by bit")
    lines(agent, "bit", "/v1/chat/completions")
    wait_until(lambda: metric(agent, "stream_events_total") == 4, "the events are counted")
    assert metric(agent, "stream_first_event_seconds_count") == 2
    assert metric(agent, "stream_duration_seconds_count") == 2
    assert metric(agent, "stream_duration_seconds_sum") >= metric(
        agent, "stream_first_event_seconds_sum"
    )
    assert metric(agent, "requests_total", route="/v1/chat/completions", code="200") == 1
    wait_until(lambda: len(logged(agent)) == 2, "both are logged")
    first = logged(agent)[0]
    assert (first["route"], first["code"]) == ("/invocations", 200)
    assert first["response"].startswith('data: {"choices":')
    assert first["response_bytes"] == len(first["response"].encode())


def logged(agent: Agent) -> list[dict[str, Any]]:
    output = agent.server.output.read_text().splitlines()
    return [json.loads(line) for line in output if line.startswith('{"time"')]


def test_a_client_that_leaves_ends_the_generator_in_its_thread(chat_model: Agent) -> None:
    closed = chat_model.folder / "closed"
    closed.unlink(missing_ok=True)
    left = requests_total(chat_model, 499)
    with stream(chat_model, "endless") as received:
        assert next(received)
    wait_until(closed.exists, "the generator is closed")
    assert closed.read_text().startswith("mlflow_")
    wait_until(lambda: requests_total(chat_model, 499) == left + 1, "it is counted")
    assert metric(chat_model, "requests_in_flight") == 0


def test_a_generator_waits_for_a_client_that_reads_slowly(chat_model: Agent) -> None:
    closed, yielded = chat_model.folder / "closed", chat_model.folder / "yielded"
    closed.unlink(missing_ok=True)
    body = json.dumps(message("flood 5000")).encode()
    head = (
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(("127.0.0.1", chat_model.server.port)) as client:
        client.sendall(head + body)
        wait_until(lambda: is_steady(yielded), "the generator waits")
        assert int(yielded.read_text()) < 4000
    wait_until(closed.exists, "the generator is closed")


def is_steady(yielded: Any) -> bool:
    """Whether a file has had the same content for a while."""
    if not yielded.exists():
        return False
    before = yielded.read_text()
    time.sleep(0.5)
    return bool(before) and yielded.read_text() == before


def test_an_error_before_the_first_event_is_a_response(
    chat_model: Agent, responses_agent: Agent
) -> None:
    url = chat_model.server.url("/invocations")
    refused = requests.post(url, json=message("refuse"), timeout=60)
    assert refused.status_code == 500
    assert refused.json() == {
        "error_code": "INTERNAL_ERROR",
        "message": "the model failed: RuntimeError: see the server's log",
    }
    with pytest.raises(openai.InternalServerError, match="the model failed: RuntimeError"):
        responses_agent.client().responses.create(model="m", input="refuse", stream=True)
    with pytest.raises(openai.InternalServerError, match="the model failed: RuntimeError"):
        responses_agent.client().responses.create(model="m", input="refuse")


@pytest.mark.parametrize("command", ["fail", "exit"])
def test_an_error_in_the_middle_ends_the_stream(
    chat_model: Agent, responses_agent: Agent, command: str
) -> None:
    failed = requests_total(chat_model, 500)
    text = f"{command} now"
    *chunks, name, error, done = lines(chat_model, text)
    assert len(chunks) == 2
    assert (name, done) == ("event: error", "data: [DONE]")
    fields = json.loads(error.removeprefix("data: "))
    assert "the model failed" in fields["error"]
    assert SECRET not in error
    wait_until(lambda: requests_total(chat_model, 500) == failed + 1, "it is counted")

    chat = chat_model.client().chat.completions.create(
        model="m", messages=[{"role": "user", "content": text}], stream=True
    )
    assert next(chat).choices[0].delta.content == f"{command} "
    with pytest.raises(openai.APIError, match="the model failed"):
        list(chat)

    for path in ("/v1", ""):
        events = responses_agent.client(path).responses.create(model="m", input=text, stream=True)
        assert next(events).type == "response.created"
        with pytest.raises(openai.APIError, match="the model failed"):
            list(events)
    assert lines(chat_model, "fine")[-1] == "data: [DONE]"


def test_a_stream_is_for_one_input(pyfunc: Agent) -> None:
    body = {"inputs": [1, 2], "stream": True}
    refused = requests.post(pyfunc.server.url("/invocations"), json=body, timeout=60)
    assert refused.status_code == 400
    assert "one input" in refused.json()["message"]


def test_timeouts(start: Start) -> None:
    limits = {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "3", "STREAM_TIMEOUT": "6"}
    agent = start(agent_models.CHAT_MODEL, **limits)
    # The first request imports what others have, which takes long on a busy machine.
    url = agent.server.url("/invocations")
    wait_until(lambda: requests.post(url, json=message("a"), timeout=60).ok, "it answers in time")
    closed, late = agent.folder / "closed", requests_total(agent, 504)
    closed.unlink()
    *_, name, error, _ = lines(agent, "wait nothing")
    assert name == "event: error"
    assert "for its next event" in json.loads(error.removeprefix("data: "))["message"]
    (agent.folder / "nothing").touch()
    wait_until(closed.exists, "the generator is closed")
    wait_until(lambda: requests_total(agent, 504) == late + 1, "it is counted")


def test_all_of_a_stream_is_bounded(start: Start) -> None:
    # On a busy machine each event may take seconds, and not be what ends the stream here.
    limits = {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "60", "STREAM_TIMEOUT": "6"}
    agent = start(agent_models.CHAT_MODEL, **limits)
    url = agent.server.url("/invocations")
    wait_until(lambda: requests.post(url, json=message("a"), timeout=60).ok, "it answers in time")
    closed, late = agent.folder / "closed", requests_total(agent, 504)
    closed.unlink()
    began = time.monotonic()
    *_, name, error, _ = lines(agent, "endless")
    assert name == "event: error"
    assert (
        "the stream exceeded its time limit" in json.loads(error.removeprefix("data: "))["message"]
    )
    assert 6 <= time.monotonic() - began < 30
    wait_until(closed.exists, "the generator is closed")
    wait_until(lambda: requests_total(agent, 504) == late + 1, "it is counted")


def test_sigterm_lets_streams_end(start: Start) -> None:
    agent = start(agent_models.RESPONSES_AGENT)
    with stream(agent, "wait go", "/v1/responses") as received:
        assert any('"begun ' in line for line in received)
        agent.server.terminate()
        wait_until(agent.server.refuses_connections, "the server refuses new connections")
        (agent.folder / "go").touch()
        assert any(line == "event: response.completed" for line in received)
    assert agent.server.ended() == 0


def test_a_stream_that_does_not_end_in_time_is_ended_in_words(start: Start) -> None:
    agent = start(agent_models.CHAT_MODEL, SHUTDOWN_TIMEOUT="1")
    with stream(agent, "endless") as received:
        assert next(received)
        agent.server.terminate()
        *_, name, error, _, done, _ = received
        assert (name, done) == ("event: error", "data: [DONE]")
        assert "the server is shutting down" in json.loads(error.removeprefix("data: "))["message"]
    assert agent.server.ended() == 0


def test_many_wait_at_once(chat_model: Agent) -> None:
    body = {"messages": [{"role": "user", "content": "sleep 3"}]}
    url = chat_model.server.url("/v1/chat/completions")

    def ask(_: int) -> int:
        return requests.post(url, json=body, timeout=60).status_code

    began = time.monotonic()
    with ThreadPoolExecutor(100) as clients:
        assert set(clients.map(ask, range(100))) == {200}
    # As many as there are CPUs, and four more, would take longer than a minute.
    assert time.monotonic() - began < 20


def test_so_many_as_the_setting_says(start: Start) -> None:
    agent = start(agent_models.CHAT_MODEL, MAX_CONCURRENT_PREDICTIONS="1")
    with stream(agent, "wait go") as received, ThreadPoolExecutor(1) as client:
        assert next(received)
        second = client.submit(lines, agent, "hello")
        time.sleep(0.5)
        assert not second.done()
        (agent.folder / "go").touch()
        assert list(received)[-2] == "data: [DONE]"
        assert second.result()[-1] == "data: [DONE]"


HI: Any = [{"role": "user", "content": "Hi"}]
WHOLE: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "ChatAgent": (
        agent_models.WHOLE_CHAT_AGENT,
        {"/invocations": {"messages": HI}, "/v1/chat/completions": {"messages": HI}},
    ),
    "ResponsesAgent": (
        agent_models.WHOLE_RESPONSES_AGENT,
        {
            "/invocations": {"input": HI},
            "/v1/responses": {"input": "Hi"},
            "/responses": {"input": "Hi"},
        },
    ),
    "pyfunc": (agent_models.WHOLE_PYFUNC, {"/invocations": {"inputs": {"text": ["Hi"]}}}),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_without_predict_stream_a_stream_is_refused_in_words(start: Start, kind: str) -> None:
    code, bodies = WHOLE[kind]
    server = start(code).server
    for path, body in bodies.items():
        whole = requests.post(server.url(path), json=body, timeout=30)
        assert whole.status_code == 200 and "all of it" in whole.text, path
        refused = requests.post(server.url(path), json={**body, "stream": True}, timeout=30)
        assert refused.status_code == 400, path
        assert "this model can't stream, because it has no predict_stream" in refused.text
