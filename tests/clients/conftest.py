"""The server as the image ships it, and what of its clients did not run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from mlflow_model_server.settings import Settings
from tests.clients.runner import NOT_RUN
from tests.unit.server import models
from tests.unit.server.image import image
from tests.unit.server.process import SECONDS_TO_START, Server, wait_until


@dataclass(frozen=True)
class Wine:
    """A server with the wine model, over HTTP and gRPC."""

    server: Server
    grpc: str

    @property
    def url(self) -> str:
        return self.server.url("")


@pytest.fixture(scope="session")
def wine(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[Wine]:
    folder = tmp_path_factory.mktemp("wine")
    models.save_wine(folder / "model" / "artifact")
    settings = Settings(model_dir=folder / "model", termination_log=folder / "termination-log")
    port, grpc_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    variables = {"GRPC_PORT": str(grpc_port), "MODEL_NAME": "wine", "MODEL_VERSION": "3"}
    with image(settings, port, "serve", **variables) as server:
        wait_until(server.answers, "the server answers", 2 * SECONDS_TO_START)
        yield Wine(server, f"127.0.0.1:{grpc_port}")
        server.terminate()
        assert server.ended() == 0
        assert "Traceback" not in server.output.read_text()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists the clients that no test has been run with."""
    if NOT_RUN:
        terminalreporter.section("clients that were not run")
        for client, reason in NOT_RUN.items():
            terminalreporter.write_line(f"not run: {client}: {reason}")
