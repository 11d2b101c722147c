"""What writers of streams share."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from mlflow_model_server.inference.agent_model import AgentModel

Chunks = Generator[Any, None, None]


class Writer:
    """Writes the stream that answers one request. Its parts are made in a thread."""

    def __init__(self, body: bytes, model: AgentModel) -> None:
        self._body = body
        self._model = model
        self.count = 0  # chunks that the model has yielded

    def counted(self, chunks: Iterator[Any]) -> Chunks:
        """The chunks; closes the model's generator with this."""
        try:
            for chunk in chunks:
                self.count += 1
                yield chunk
        finally:
            close = getattr(chunks, "close", None)  # iterators of other kinds have none
            if close is not None:
                close()
