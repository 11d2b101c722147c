"""Where traces of the model's code go: nowhere, unless something says where."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from tests.unit.server.agents import agent_models
from tests.unit.server.agents.conftest import Agent, Start

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def tracking(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tracking.db'}"


def ask_and_end(agent: Agent) -> str:
    """Sends one request, and ends the server; returns what it has logged."""
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
