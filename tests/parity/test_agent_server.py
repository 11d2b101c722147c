"""Agents are answered as by MLflow's own agent server, mlflow.genai.agent_server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
from mlflow.genai import agent_server
from starlette.testclient import TestClient

from mlflow_model_server import bootstrap
from mlflow_model_server.settings import Settings

AGENT = """
from mlflow.models import set_model
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent


class Echo(ResponsesAgent):
    def predict(self, request):
        text = self.text_of(request)
        if text == "fail":
            raise RuntimeError("it fails")
        item = self.create_text_output_item(text=text, id="m")
        return ResponsesAgentResponse(output=[item], custom_outputs=request.custom_inputs)

    def predict_stream(self, request):
        words = self.text_of(request).split()
        for word in words:
            yield ResponsesAgentStreamEvent(**self.create_text_delta(delta=word, item_id="m"))
        if words == ["fail"]:
            raise RuntimeError("it fails")
        call = self.create_function_call_item("f", "c", "look_up", "{}")
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=call)
        item = self.create_text_output_item(text=" ".join(words), id="m")
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)

    def text_of(self, request):
        content = request.input[-1].content
        return content if isinstance(content, str) else content[-1].text


set_model(Echo())
"""


class Both(NamedTuple):
    """Clients of MLflow's agent server and of ours, with the same agent."""

    theirs: TestClient
    ours: TestClient

    def answers(self, path: str, body: Any) -> list[Any]:
        return [client.post(path, json=body) for client in self]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "agent.py").write_text(AGENT)
    saved = str(folder / "model" / "artifact")
    mlflow.pyfunc.save_model(saved, python_model=str(folder / "agent.py"), pip_requirements=[])
    app = bootstrap.load(replace(Settings(), model_dir=Path(saved).parent, drift=False))
    agent = mlflow.pyfunc.load_model(saved)._model_impl.get_raw_model()
    with (
        TestClient(agent_server_for(agent).app) as theirs,
        TestClient(app) as ours,  # type: ignore[arg-type]
    ):
        yield Both(theirs, ours)


def agent_server_for(agent: Any) -> Any:
    def invoke(request: Any) -> Any:
        return agent.predict(request)

    def stream(request: Any) -> Any:
        yield from agent.predict_stream(request)

    agent_server.invoke()(invoke)
    agent_server.stream()(stream)
    return agent_server.AgentServer("ResponsesAgent")


def request(text: str, **more: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": text}], **more}


TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
PARTS = [{"role": "user", "content": [{"type": "input_text", "text": "bit by bit"}]}]
REQUESTS = [
    request("bit by bit"),
    request("bit", custom_inputs={"a": {"b": [1]}}, context={"user_id": "anna"}),
    request("bit", tools=[TOOL], tool_choice="auto", temperature=1),
    {"input": PARTS},
]


@pytest.mark.parametrize("body", REQUESTS)
def test_whole(both: Both, body: dict[str, Any]) -> None:
    theirs, ours = both.answers("/invocations", body)
    assert (theirs.status_code, theirs.json()) == (ours.status_code, ours.json())

    theirs, ours = both.answers("/responses", body)
    assert theirs.status_code == ours.status_code == 200
    assert is_within(theirs.json(), ours.json())


@pytest.mark.parametrize("body", REQUESTS)
def test_streamed(both: Both, body: dict[str, Any]) -> None:
    theirs, ours = both.answers("/invocations", body | {"stream": True})
    assert theirs.headers["content-type"] == ours.headers["content-type"]
    assert events(theirs.text) == events(ours.text)

    theirs, ours = both.answers("/responses", body | {"stream": True})
    assert theirs.headers["content-type"] == ours.headers["content-type"]
    assert_within_in_order(events(theirs.text), events(ours.text))


@pytest.mark.parametrize("path", ["/invocations", "/responses"])
def test_an_error_in_the_middle(both: Both, path: str) -> None:
    theirs, ours = both.answers(path, request("fail", stream=True))
    for received in (events(theirs.text), events(ours.text)):
        *_, delta, error, done = received
        assert delta["delta"] == "fail"
        assert error["error"]
        assert done == "[DONE]"


@pytest.mark.parametrize("path", ["/invocations", "/responses"])
@pytest.mark.parametrize("body", [{"input": [{"role": "nobody", "content": "Hi"}]}, {}, {"a": 1}])
def test_wrong_requests(both: Both, path: str, body: dict[str, Any]) -> None:
    theirs, ours = both.answers(path, body)
    assert theirs.status_code == ours.status_code == 400
    streamed = both.answers(path, {**body, "stream": True})
    assert [answer.status_code for answer in streamed] == [400, 400]


def events(text: str) -> list[Any]:
    """The data of each event."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


def is_within(theirs: Any, ours: Any) -> bool:
    """Whether ours has all of theirs; we add fields that OpenAI's clients want."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return all(name in ours and is_within(theirs[name], ours[name]) for name in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(is_within, theirs, ours))
    return bool(theirs == ours)


def assert_within_in_order(theirs: list[Any], ours: list[Any]) -> None:
    """Ours has all of their events, in their order, with others between."""
    left = iter(ours)
    for event in theirs:
        assert any(is_within(event, other) for other in left), f"{event} is missing"
