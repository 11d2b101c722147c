"""A server whose model is a function, for clients and fuzzers of the Open Inference Protocol."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import uvicorn

from mlflow_model_server.codecs.metadata import Spec
from mlflow_model_server.http.app import Application
from mlflow_model_server.inference.predictor import ModelOutput
from mlflow_model_server.inference.request import Request
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.responses import Response
from mlflow_model_server.settings import Settings
from tests.unit.server.process import wait_until

Predict = Callable[[Any, dict[str, Any]], Awaitable[Any]]


@dataclass
class StubPredictor:
    """Predicts by a function of data and params."""

    spec: Spec
    function: Predict
    stuck: float = 0.0
    agent_model: Any = field(default_factory=lambda: SimpleNamespace(kind=None))

    async def invoke(self, request: Request, body: bytes, convert: Any = None) -> Response:
        raise NotImplementedError

    async def converse(self, request: Request, respond: Callable[[], Response]) -> Response:
        raise NotImplementedError

    def stream(self, request: Request, parts: Any) -> Any:
        raise NotImplementedError

    async def predict(
        self, request: Request, data: Any, params: dict[str, Any] | None
    ) -> ModelOutput:
        return ModelOutput(await self.function(data, params or {}), len(data), 0.0, 0.0)

    def begin(self, *_: Any) -> bool:
        return False

    async def read(self, size: int, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def inspect(self, request: Request, size: int, function: Callable[[], Any]) -> Any:
        return function()

    def stuck_seconds(self) -> float:
        return self.stuck


def application(
    name: str, version: str, spec: Spec, function: Predict, stuck: float = 0.0
) -> Application:
    """The ASGI application with this model."""
    settings = replace(Settings(), model_name=name, model_version=version, drift=False)
    recorder = make_recorder(settings, SharedMemory())
    return Application(InferenceService(StubPredictor(spec, function, stuck), settings, recorder))


@contextmanager
def serving(app: Application) -> Iterator[str]:
    """Its host and port, while it runs in a thread."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server has started")
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
