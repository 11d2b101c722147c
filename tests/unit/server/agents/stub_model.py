"""An agent that is a list of chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlflow_model_server.model.agents import AgentKind


@dataclass
class StubModel:
    """Stands for an AgentModel, without its limits."""

    kind: AgentKind
    chunks: list[Any] = field(default_factory=list)
    prediction: Any = None
    request: dict[str, Any] = field(default_factory=dict)  # as the agent got it
    can_stream: bool = True

    @contextmanager
    def document(self, body: bytes, is_table: bool = False) -> Iterator[dict[str, Any]]:
        yield json.loads(body)

    def predict(self, document: dict[str, Any]) -> Any:
        self.request = document
        return self.prediction

    def stream(self, document: dict[str, Any]) -> Iterator[Any]:
        self.request = document
        yield from self.chunks


def events(parts: Iterator[bytes]) -> list[Any]:
    """The data of all events of a stream; `[DONE]` as it is."""
    text = b"".join(parts).decode()
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]
