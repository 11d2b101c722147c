"""The model's own input example, sent to POST /invocations before the server listens.

In this process and without a connection, but by the route, codec and service that every request
takes. It is no request of a client: it needs no key, and neither metrics, drift nor the request log
know of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_model_server.http.app import Application
from mlflow_model_server.inference import limits
from mlflow_model_server.inference.predictor import Predictor
from mlflow_model_server.inference.routes import INVOCATIONS_ROUTE
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.metrics.recorder import Recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.model.input_example import UnusableExample, example_body
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.model.output_schema import mismatch
from mlflow_model_server.responses import JSON
from mlflow_model_server.runtime.termination import StartupError, redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

REASON = "InputExampleFailed"
# Of the response; of a longer one only the status is looked at.
MAX_COMPARED_BYTES = 16 * 2**20


@dataclass
class _Exchange:
    """One request by ASGI, and the response to it."""

    body: bytes
    status: int = 0
    content_type: str = ""
    response: bytearray = field(default_factory=bytearray)
    is_sent: bool = False

    async def receive(self) -> dict[str, Any]:
        """The request; after it the client stays."""
        if self.is_sent:
            await asyncio.Event().wait()
        self.is_sent = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        """A part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = dict(message["headers"])
            self.content_type = headers.get(b"content-type", b"").decode("latin-1")
        elif len(self.response) <= MAX_COMPARED_BYTES:
            self.response += message.get("body", b"")


def check_input_example(loaded: Loaded, settings: Settings) -> None:
    """Raises StartupError with InputExampleFailed unless the model serves its own input example.

    A model without one passes where `settings.input_example` does not require it.
    """
    model = redact_urls(settings.model_uri) or "The model"
    try:
        body = example_body(
            loaded.model.metadata.saved_input_example_info,
            settings.artifact,
            limits.max_body_bytes(settings),
        )
    except UnusableExample as error:
        raise StartupError(REASON, f"{model} can't be checked: {error}") from None
    if body is not None:
        _check(model, body, loaded, settings)
    elif settings.input_example == "required":
        raise StartupError(REASON, f"{model} has no input example, and one is required")
    else:
        log.warning("%s has no input example, so it was not checked with it", model)


def _check(model: str, body: bytes, loaded: Loaded, settings: Settings) -> None:
    exchange, seconds = _Exchange(body), settings.input_example_timeout
    started = time.perf_counter()
    try:
        asyncio.run(asyncio.wait_for(_send(exchange, loaded, settings), seconds))
    except (TimeoutError, asyncio.TimeoutError):
        raise StartupError(
            REASON, f"{model} does not answer its own input example within {seconds} s"
        ) from None
    problem = _problem(exchange, loaded)
    if problem:
        raise StartupError(REASON, f"{model} answers its own input example {problem}")
    log.info("its input example was answered after %.2f s", time.perf_counter() - started)


async def _send(exchange: _Exchange, loaded: Loaded, settings: Settings) -> None:
    quiet = replace(settings, drift=False, request_log="off")
    recorder = Recorder(SharedMemory().slot(0))
    app = Application(InferenceService(Predictor(loaded, quiet, recorder), quiet, recorder))
    headers = [(b"host", b"localhost"), (b"content-type", JSON.encode())]
    scope = {
        "type": "http",
        "method": INVOCATIONS_ROUTE.method,
        "path": INVOCATIONS_ROUTE.label,
        "headers": headers,
        "client": None,
    }
    await app(scope, exchange.receive, exchange.send)


def _problem(exchange: _Exchange, loaded: Loaded) -> str | None:
    """What is wrong with the response, without what it says; None where nothing is."""
    if not 200 <= exchange.status < 300:
        return f"with {exchange.status}{_error_code(bytes(exchange.response))}"
    outputs = getattr(loaded.signature, "outputs", None)
    is_readable = exchange.content_type.startswith(JSON)
    if outputs is None or loaded.agent is not None or not is_readable:
        return None
    if len(exchange.response) > MAX_COMPARED_BYTES:
        log.warning("its output is too long to be compared with its signature")
        return None
    try:
        answer = json.loads(exchange.response)
        predictions = answer.get("predictions", answer) if isinstance(answer, dict) else answer
        wrong = mismatch(outputs.to_dict(), predictions)
    except (ValueError, RecursionError):
        wrong = "it can't be read"
    return f"with an output that does not fit its signature: {wrong}" if wrong else None


def _error_code(body: bytes) -> str:
    """What kind of error it is, without its message, which may repeat the example."""
    try:
        return f" ({str(json.loads(body)['error_code'])[:100]})"
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
