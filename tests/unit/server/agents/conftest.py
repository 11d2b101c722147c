"""Running agents, one of each kind for all tests of a module: they take long to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.unit.server.agents import agent_models
from tests.unit.server.process import Server, serving


@dataclass
class Agent:
    """A server with one of the models, its folder of signs, and its port for metrics."""

    server: Server
    folder: Path
    metrics_port: int

    def client(self, path: str = "/v1", **options: Any) -> openai.OpenAI:
        """OpenAI's own client, which does not try again."""
        return openai.OpenAI(
            base_url=self.server.url(path), api_key="none", max_retries=0, **options
        )


Start = Callable[..., Agent]


@pytest.fixture
def start(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> Iterator[Start]:
    """Starts a server with a model that is some code, and with some variables."""
    with ExitStack() as servers:

        def start_agent(code: str, **variables: str) -> Agent:
            return servers.enter_context(
                _serving(tmp_path, code, unused_tcp_port_factory, variables)
            )

        yield start_agent


def _fixture_of(code: str) -> Any:
    @pytest.fixture(scope="module")
    def running(
        tmp_path_factory: pytest.TempPathFactory,
        unused_tcp_port_factory: Callable[[], int],
    ) -> Iterator[Agent]:
        folder = tmp_path_factory.mktemp("agent")
        with _serving(folder, code, unused_tcp_port_factory, {}) as agent:
            yield agent

    return running


@contextmanager
def _serving(
    folder: Path, code: str, port: Callable[[], int], variables: dict[str, str]
) -> Iterator[Agent]:
    model_dir = folder / "model"
    model_dir.mkdir()
    agent_models.save(model_dir / "artifact", code)
    metrics_port = port()
    own = {"AGENT_FOLDER": str(folder), "METRICS_PORT": str(metrics_port)}
    with serving(model_dir, port(), **own, **variables) as server:
        yield Agent(server, folder, metrics_port)


chat_model = _fixture_of(agent_models.CHAT_MODEL)
chat_agent = _fixture_of(agent_models.CHAT_AGENT)
responses_agent = _fixture_of(agent_models.RESPONSES_AGENT)
whole_model = _fixture_of(agent_models.WHOLE)
pyfunc = _fixture_of(agent_models.PYFUNC)
