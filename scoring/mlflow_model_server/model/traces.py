"""MLflow's traces of the model's code: none, unless something says where they go.

MLflow itself writes one for each request of a traced model, with what was asked and answered, into
experiment 0 of whatever tracking server is configured.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from mlflow_model_server.runtime.termination import redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# MLflow's own variables, each of which says where. A model's code that calls set_experiment() sets
# the first.
_DESTINATIONS = (
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_TRACING_DESTINATION",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
_FLUSH_TIMEOUT = 4.0  # seconds, of the 5 that the process has for its end


def configure(settings: Settings) -> str:
    """Switches them off, unless something says where they go; returns that, or "".

    To be called once the model is loaded: its code may say it.
    """
    destination = _destination() if settings.traces == "auto" else ""
    if not destination:
        _disable()
    return destination


def announce(destination: str) -> None:
    """Logs what `configure` returned."""
    if destination:
        log.info("traces of the model's code go to %s", destination)
    else:
        log.info("traces of the model's code are disabled: set MLFLOW_EXPERIMENT_ID to write them")


def flush() -> None:
    """Writes what waits to be written, within some seconds. For the end of the process."""
    if "mlflow" not in sys.modules or not _is_enabled():
        return
    flushing = threading.Thread(target=_flush, name="traces", daemon=True)
    flushing.start()
    flushing.join(_FLUSH_TIMEOUT)
    if flushing.is_alive():
        log.warning("traces were lost: they could not be written within %g s", _FLUSH_TIMEOUT)


def last_trace_id() -> str | None:
    """The identifier of the last trace that the model's code has ended in this thread."""
    if not _is_enabled():
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
    return "the destination that the model's code sets" if _is_set_by_code() else ""


def _is_set_by_code() -> bool:
    try:
        from mlflow.tracing import provider

        return provider._MLFLOW_TRACE_USER_DESTINATION.get() is not None
    except (ImportError, AttributeError):  # in older versions
        return False


def _disable() -> None:
    try:
        from mlflow import tracing
    except ImportError:  # older versions have no traces
        return
    disable = getattr(tracing, "disable", None)
    if disable is not None:
        disable()


def _is_enabled() -> bool:
    try:
        from mlflow.tracing import provider

        return bool(provider.is_tracing_enabled())
    except Exception:  # in older versions
        return False


def _flush() -> None:
    import mlflow

    try:
        mlflow.flush_trace_async_logging(terminate=True)
        _flush_spans()
    except Exception:
        log.warning("traces could not be written", exc_info=True)


def _flush_spans() -> None:
    """What goes to OpenTelemetry's collector waits in another place."""
    from mlflow.tracing import provider

    spans = provider.provider.get()
    if hasattr(spans, "force_flush"):
        spans.force_flush(int(_FLUSH_TIMEOUT * 1000))
