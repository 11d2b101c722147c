"""MLflow's traces of the model's code: none, unless something says where they go.

MLflow itself writes one for each request of a traced model, with what was asked and answered, into
experiment 0 of whatever tracking server is configured.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from mlflow_model_server.model import mlflow_tracing, trace_experiment
from mlflow_model_server.runtime.termination import redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_DESTINATION = "MLFLOW_TRACING_DESTINATION"
# MLflow's own variables, each of which says where. A model's code that calls set_experiment() sets
# the first.
_DESTINATIONS = (
    trace_experiment.ID,
    trace_experiment.NAME,
    _DESTINATION,
    *mlflow_tracing.OTLP_ENDPOINTS,
)
_FLUSH_TIMEOUT = 4.0  # seconds, of the 5 that the process has for its end


def configure(settings: Settings) -> str:
    """Switches them off, unless something says where they go; returns that, or "".

    To be called once the model is loaded: its code may say it.
    """
    destination = _destination() if settings.traces == "auto" else ""
    if not destination:
        mlflow_tracing.disable()
    elif _needs_lookup():
        trace_experiment.look_up()
    return destination


def announce(destination: str) -> None:
    """Logs what `configure` returned."""
    if destination:
        log.info("traces of the model's code go to %s", destination)
    else:
        log.info("traces of the model's code are disabled: set MLFLOW_EXPERIMENT_ID to write them")


def flush() -> None:
    """Writes what waits to be written, within some seconds. For the end of the process."""
    if "mlflow" not in sys.modules or not mlflow_tracing.is_enabled():
        return
    flushing = threading.Thread(target=_flush, name="traces", daemon=True)
    flushing.start()
    flushing.join(_FLUSH_TIMEOUT)
    if flushing.is_alive():
        log.warning("traces were lost: they could not be written within %g s", _FLUSH_TIMEOUT)


def last_trace_id() -> str | None:
    """The identifier of the last trace that the model's code has ended in this thread."""
    if not mlflow_tracing.is_enabled():
        return None
    try:
        import mlflow

        identifier: str | None = mlflow.get_last_active_trace_id(thread_local=True)
        return identifier
    except (AttributeError, TypeError):  # in older versions
        return None


def _destination() -> str:
    """As the variable says; "" for none."""
    for name in _DESTINATIONS:
        if value := os.environ.get(name):
            return f"{name}={redact_urls(value)}"
    return "the destination that the model's code sets" if mlflow_tracing.has_destination() else ""


def _needs_lookup() -> bool:
    """Whether they go to an experiment that only the environment names."""
    if os.environ.get(_DESTINATION) or mlflow_tracing.goes_to_collector_only():
        return False
    if mlflow_tracing.has_destination() or mlflow_tracing.active_experiment() is not None:
        return False
    return bool(os.environ.get(trace_experiment.ID) or os.environ.get(trace_experiment.NAME))


def _flush() -> None:
    import mlflow

    try:
        mlflow.flush_trace_async_logging(terminate=True)
        _flush_spans()
    except Exception:
        log.warning("traces could not be written", exc_info=True)


def _flush_spans() -> None:
    """What goes to OpenTelemetry's collector waits in another place."""
    spans = mlflow_tracing.provider()
    if hasattr(spans, "force_flush"):
        spans.force_flush(int(_FLUSH_TIMEOUT * 1000))
