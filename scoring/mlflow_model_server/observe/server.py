"""Answers Prometheus on a port of its own, from a thread of the first process."""

from __future__ import annotations

from mlflow_model_server.observe.shared import Shared
from mlflow_model_server.settings import Settings


def start_metrics_server(settings: Settings, shared: Shared) -> None:
    """Serves `/metrics` on `settings.metrics_port` until the process ends; 0: not at all.

    Call it in the parent when there are several workers, after the first were forked, else in the
    only process. Raises OSError if the port is taken.
    """
    del settings, shared  # follows
