"""Where traces of the model's code go: nowhere, unless something says where."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow.tracing import provider
from mlflow.tracking import fluent

from mlflow_model_server.inference.limits import memory_for_traces
from mlflow_model_server.model import mlflow_tracing, trace_experiment
from mlflow_model_server.model.waiting_traces import limit
from mlflow_model_server.settings import Settings
from tests.unit.server.agents import agent_models, tracking_servers
from tests.unit.server.agents.conftest import Agent, Start
from tests.unit.server.process import SECONDS_TO_START, wait_until

QUEUE, BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
QUESTION = {"input": [{"role": "user", "content": "Hello"}]}
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def tracking(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tracking.db'}"


def ask_and_end(agent: Agent) -> str:
    """Sends one request, and ends the server; returns what it has logged."""
    if "code go to MLFLOW_EXPERIMENT_" in agent.server.output.read_text():
        wait_until_looked_up(agent)
    return ask_at_once_and_end(agent)


def wait_until_looked_up(agent: Agent) -> None:
    """Waits for the experiment, which a loaded machine finds later than the server waits for."""

    def is_looked_up() -> bool:
        log = agent.server.output.read_text()
        return "until the tracking server" not in log or "written from now on" in log

    wait_until(is_looked_up, "the experiment is looked up", SECONDS_TO_START)


def ask_at_once_and_end(agent: Agent) -> str:
    """The same, even if the experiment isn't looked up yet."""
    assert agent.server.predict(HELLO).ok
    agent.server.terminate()
    assert agent.server.ended() == 0
    return agent.server.output.read_text()


def traces(tracking: str, experiment: str) -> int:
    client = mlflow.MlflowClient(tracking)
    return len(client.search_traces(locations=[experiment]))


def experiment(tracking: str, name: str) -> str:
    identifier: str = mlflow.MlflowClient(tracking).create_experiment(name)
    return identifier


def test_by_default_there_are_none(start: Start, tracking: str) -> None:
    log = ask_and_end(start(agent_models.CHAT_MODEL, MLFLOW_TRACKING_URI=tracking))
    assert "traces of the model's code are disabled" in log
    assert traces(tracking, "0") == 0


def test_they_are_written_where_mlflow_s_variable_says(start: Start, tracking: str) -> None:
    served = experiment(tracking, "served")
    variables = {"MLFLOW_TRACKING_URI": tracking, "MLFLOW_EXPERIMENT_ID": served}
    log = ask_and_end(start(agent_models.CHAT_MODEL, **variables))
    assert f"traces of the model's code go to MLFLOW_EXPERIMENT_ID={served}" in log
    assert (traces(tracking, served), traces(tracking, "0")) == (1, 0)


@pytest.mark.parametrize(
    ("variables", "queues"),
    [
        ({}, {"MLFLOW_ASYNC_TRACE_LOGGING_MAX_QUEUE_SIZE": "128", QUEUE: "128", BATCH: "32"}),
        ({QUEUE: "9"}, {QUEUE: "9"}),  # OpenTelemetry's own batch would be longer than 9 too
        ({"MLFLOW_ASYNC_TRACE_LOGGING_MAX_QUEUE_SIZE": "9", BATCH: "5"}, {BATCH: "5"}),
    ],
)
def test_as_many_wait_as_fit_into_the_memory(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], queues: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(variables))
    limit(Settings(), memory_for_traces(Settings(), 2 * 2**30))
    assert os.environ == {"MLFLOW_ASYNC_TRACE_LOGGING_MAX_QUEUE_SIZE": "128", **variables, **queues}


def test_no_request_waits_for_the_tracking_server(start: Start) -> None:
    with tracking_servers.silent() as uri:
        variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_ID": "1"}
        log = ask_at_once_and_end(start(agent_models.CHAT_MODEL, **variables))
    assert "no traces are written until the tracking server has answered" in log


@pytest.mark.parametrize("name", ["MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"])
def test_the_experiment_is_looked_up_once(start: Start, name: str) -> None:
    with tracking_servers.stuck() as uri:
        agent = start(agent_models.CHAT_MODEL, MLFLOW_TRACKING_URI=uri, **{name: "1"})
        for _ in range(5):
            assert agent.server.predict(HELLO).ok


def test_large_requests_have_none(start: Start, tracking: str) -> None:
    served = experiment(tracking, "served")
    variables = {"MLFLOW_TRACKING_URI": tracking, "MLFLOW_EXPERIMENT_ID": served}
    agent = start(agent_models.CHAT_MODEL, **variables)
    wait_until_looked_up(agent)
    message = {"role": "user", "content": "x" * 2**18}
    assert agent.server.predict({"messages": [message]}).ok
    ask_and_end(agent)
    assert traces(tracking, served) == 1


def test_they_can_be_switched_off(start: Start, tracking: str) -> None:
    served = experiment(tracking, "served")
    variables = {"MLFLOW_TRACKING_URI": tracking, "MLFLOW_EXPERIMENT_ID": served, "TRACES": "off"}
    ask_and_end(start(agent_models.CHAT_MODEL, **variables))
    assert traces(tracking, served) == 0


def test_the_model_s_code_may_say_where(start: Start, tracking: str) -> None:
    own = agent_models.CHAT_MODEL.replace("set_model(", "mlflow.set_experiment('own')\nset_model(")
    log = ask_and_end(start(own, MLFLOW_TRACKING_URI=tracking))
    served = mlflow.MlflowClient(tracking).get_experiment_by_name("own")
    assert served is not None
    assert f"traces of the model's code go to MLFLOW_EXPERIMENT_ID={served.experiment_id}" in log
    assert traces(tracking, served.experiment_id) == 1


@pytest.mark.parametrize("is_enabled", [True, False])
def test_they_stay_off_where_the_model_s_code_has_switched_them_off(
    monkeypatch: pytest.MonkeyPatch, tracking: str, is_enabled: bool
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment(tracking, "served"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setattr(fluent, "_active_experiment_id", None)
    with tracing_of_this_process(tracking):
        if not is_enabled:
            mlflow.tracing.disable()
        trace_experiment.look_up()
        wait_until(lambda: fluent._active_experiment_id, "the experiment is looked up")
        wait_until(lambda: not looking_up(), "the lookup is over")
        assert mlflow_tracing.is_enabled() == is_enabled


def test_older_versions_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 3.0 has it: no registry of destinations, and no facade of the provider."""
    monkeypatch.setattr(provider, "_MLFLOW_TRACE_USER_DESTINATION", None)
    assert not mlflow_tracing.has_destination()
    monkeypatch.setattr(provider, "_MLFLOW_TRACE_USER_DESTINATION", object())
    assert mlflow_tracing.has_destination()
    monkeypatch.delattr(provider, "provider")
    monkeypatch.setattr(provider, "_MLFLOW_TRACER_PROVIDER", "spans", raising=False)
    assert mlflow_tracing.provider() == "spans"


@contextmanager
def tracing_of_this_process(tracking: str) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking)
    mlflow.tracing.reset()
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        mlflow.tracing.reset()


def looking_up() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "traces"]


def test_the_model_s_code_takes_precedence(start: Start, tracking: str) -> None:
    """Over a name, which MLflow prefers to an identifier."""
    served = experiment(tracking, "served")
    own = agent_models.CHAT_MODEL.replace("set_model(", "mlflow.set_experiment('own')\nset_model(")
    ask_and_end(start(own, MLFLOW_TRACKING_URI=tracking, MLFLOW_EXPERIMENT_NAME="served"))
    chosen = mlflow.MlflowClient(tracking).get_experiment_by_name("own")
    assert chosen is not None
    assert (traces(tracking, chosen.experiment_id), traces(tracking, served)) == (1, 0)


def test_an_experiment_with_a_new_name_is_created(start: Start, tracking: str) -> None:
    variables = {"MLFLOW_TRACKING_URI": tracking, "MLFLOW_EXPERIMENT_NAME": "new"}
    ask_and_end(start(agent_models.CHAT_MODEL, **variables))
    created = mlflow.MlflowClient(tracking).get_experiment_by_name("new")
    assert created is not None
    assert traces(tracking, created.experiment_id) == 1


def test_a_stream_that_its_client_leaves_has_one(start: Start, tracking: str) -> None:
    """MLflow would never write it, and keep it for an hour."""
    served = experiment(tracking, "served")
    variables = {"MLFLOW_TRACKING_URI": tracking, "MLFLOW_EXPERIMENT_ID": served}
    agent = start(agent_models.RESPONSES_AGENT, **variables)
    wait_until_looked_up(agent)
    body = {"input": [{"role": "user", "content": "endless"}], "stream": True}
    with requests.post(
        agent.server.url("/responses"), json=body, stream=True, timeout=60
    ) as response:
        assert next(response.iter_content(10))
    wait_until((agent.folder / "closed").exists, "the agent's generator is closed")
    agent.server.terminate()
    assert agent.server.ended() == 0
    assert traces(tracking, served) == 1


def test_why_there_are_none_is_one_line_without_logins(start: Start) -> None:
    with tracking_servers.refusing("Bearer a-secret\n<p>\nof me:a-secret\n") as uri:
        uri = uri.replace("://", "://me:a-secret@")
        variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_TOKEN": "a-secret"}
        log = ask_at_once_and_end(
            start(agent_models.CHAT_MODEL, MLFLOW_EXPERIMENT_ID="1", **variables)
        )
    (line,) = (line for line in log.splitlines() if "next attempt in" in line)
    assert "403" in line
    assert "Bearer ***" in line
    assert "a-secret" not in log


def test_their_identifiers_are_returned(start: Start, tracking: str) -> None:
    """As MLflow's agent server does, where the client asks for them."""
    served = experiment(tracking, "served")
    variables = {"MLFLOW_TRACKING_URI": tracking, "MLFLOW_EXPERIMENT_ID": served}
    agent = start(agent_models.RESPONSES_AGENT, **variables)
    wait_until_looked_up(agent)
    identifiers = {whole(agent, "true")["metadata"]["trace_id"], streamed(agent, "/responses")}
    identifiers.add(streamed(agent, "/invocations"))
    assert "trace_id" not in whole(agent, "false")["metadata"]
    agent.server.terminate()
    assert agent.server.ended() == 0
    traced = mlflow.MlflowClient(tracking).search_traces(locations=[served])
    assert len(identifiers) == 3
    assert identifiers < {trace.info.trace_id for trace in traced}


def test_without_traces_there_are_no_identifiers(start: Start, tracking: str) -> None:
    agent = start(agent_models.RESPONSES_AGENT, MLFLOW_TRACKING_URI=tracking)
    assert "trace_id" not in whole(agent, "true")["metadata"]


def whole(agent: Agent, asked: str) -> dict[str, Any]:
    return dict(post(agent, "/responses", asked, QUESTION).json())


def streamed(agent: Agent, path: str) -> str:
    text = post(agent, path, "true", {**QUESTION, "stream": True}).text
    (event,) = (line for line in text.splitlines() if "trace_id" in line)
    return str(json.loads(event.removeprefix("data: "))["trace_id"])


def post(agent: Agent, path: str, asked: str, body: dict[str, Any]) -> requests.Response:
    headers = {"x-mlflow-return-trace-id": asked}
    response = requests.post(agent.server.url(path), json=body, headers=headers, timeout=60)
    assert response.ok, response.text
    return response
