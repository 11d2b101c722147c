"""Agents answer the input example that MLflow has saved with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_model_server.http.input_example import check_input_example
from mlflow_model_server.model import loading
from mlflow_model_server.settings import Settings
from tests.unit.server.agents import agent_models


@pytest.mark.parametrize("kind", ["CHAT_MODEL", "CHAT_AGENT", "RESPONSES_AGENT"])
def test_an_agent_answers_its_example(
    kind: str, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "source"
    folder.rmdir()
    agent_models.save(folder, getattr(agent_models, kind))
    with caplog.at_level("INFO"):
        check_input_example(loading.load(settings), settings)
    assert "its input example was answered after" in caplog.text
