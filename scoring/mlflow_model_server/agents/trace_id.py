"""The identifier of a request's trace, for clients that ask for it as of MLflow's agent server."""

from __future__ import annotations

from mlflow_model_server import tracing
from mlflow_model_server.model import traces


class TraceId:
    """To be made before the model is called, in the thread that calls it."""

    def __init__(self) -> None:
        self._is_asked_for = tracing.returns_trace_id()
        self._before = traces.last_trace_id() if self._is_asked_for else None

    def get(self) -> str | None:
        """None where nobody has asked for it, or no trace was made, as traces are off."""
        last = traces.last_trace_id() if self._is_asked_for else None
        return None if last == self._before else last
