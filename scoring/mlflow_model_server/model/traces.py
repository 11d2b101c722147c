"""MLflow's traces of the model's code: none, unless something says where they go.

MLflow itself writes one for each request of a traced model, with what was asked and answered, into
experiment 0 of whatever tracking server is configured.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext

from mlflow_model_server.runtime.termination import redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# MLflow's own variables, each of which says where. A model's code that calls set_experiment() sets
# the first.
_EXPERIMENT_ID, _EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"
# Which MLflow prefers to an experiment.
_OTHER_DESTINATIONS = (
    "MLFLOW_TRACING_DESTINATION",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
_DESTINATIONS = (_EXPERIMENT_ID, _EXPERIMENT_NAME, *_OTHER_DESTINATIONS)
_LOOKUP_TIMEOUT = 5.0  # seconds in which a tracking server that works has answered
_LOOKUP_PAUSES = (30, 60, 120, 300, 600)  # seconds, the last of them again and again
# How often a trace holds what was asked, until it is written.
_COPIES = 4
_MLFLOW_QUEUE, _DEFAULT_MLFLOW_QUEUE = "MLFLOW_ASYNC_TRACE_LOGGING_MAX_QUEUE_SIZE", 1000
# OpenTelemetry refuses a queue that is shorter than a batch.
_OTEL_QUEUE, _DEFAULT_OTEL_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE", 2048
_OTEL_BATCH, _DEFAULT_OTEL_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512
_MAX_REASON = 400  # characters
_FLUSH_TIMEOUT = 4.0  # seconds, of the 5 that the process has for its end


def limit(settings: Settings, memory: int) -> None:
    """Has no more traces wait than fit into so many bytes: MLflow loses others, and logs that.

    To be called before the model is loaded: its code may begin traces. What the environment says
    of the queues stays.
    """
    count = max(1, memory // (_COPIES * settings.trace_max_body_bytes))
    os.environ.setdefault(_MLFLOW_QUEUE, str(min(_DEFAULT_MLFLOW_QUEUE, count)))
    if _OTEL_QUEUE not in os.environ and _OTEL_BATCH not in os.environ:
        os.environ[_OTEL_QUEUE] = str(min(_DEFAULT_OTEL_QUEUE, count))
        os.environ[_OTEL_BATCH] = str(min(_DEFAULT_OTEL_BATCH, count))


def omitted() -> AbstractContextManager[None]:
    """Within it, the model's code writes no traces. Older versions of MLflow can't do that."""
    context = getattr(sys.modules.get("mlflow.tracing"), "context", None)
    if context is None:
        return nullcontext()
    try:
        without: AbstractContextManager[None] = context(enabled=False)
        return without
    except TypeError:
        return nullcontext()


def configure(settings: Settings) -> str:
    """Switches them off, unless something says where they go; returns that, or "".

    To be called once the model is loaded: its code may say it.
    """
    destination = _destination() if settings.traces == "auto" else ""
    if not destination:
        _disable()
    elif _is_experiment():
        _look_up_experiment()
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


def _is_experiment() -> bool:
    """Whether they go to an experiment that the environment names."""
    if any(map(os.environ.get, _OTHER_DESTINATIONS)) or _is_set_by_code():
        return False
    return bool(os.environ.get(_EXPERIMENT_ID) or os.environ.get(_EXPERIMENT_NAME))


def _look_up_experiment() -> None:
    """Writes traces from when the tracking server has answered.

    MLflow would ask it in each request, and have that wait for its answer.
    """
    _disable()
    is_enabled = threading.Event()
    threading.Thread(
        target=_enable_with_experiment, args=(is_enabled,), name="traces", daemon=True
    ).start()
    if not is_enabled.wait(_LOOKUP_TIMEOUT):
        log.warning("no traces are written until the tracking server has answered")


def _enable_with_experiment(is_enabled: threading.Event) -> None:
    for pause in itertools.chain(_LOOKUP_PAUSES, itertools.repeat(_LOOKUP_PAUSES[-1])):
        try:
            _set_experiment()
        except Exception as error:  # of MLflow, and of the libraries that it connects by
            reason = redact_urls(str(error))[:_MAX_REASON]
            log.warning("no traces are written, next attempt in %d s: %s", pause, reason)
            time.sleep(pause)
        else:
            is_enabled.set()
            return


def _set_experiment() -> None:
    import mlflow

    if name := os.environ.get(_EXPERIMENT_NAME):
        mlflow.set_experiment(name)
    else:
        mlflow.set_experiment(experiment_id=os.environ[_EXPERIMENT_ID])
    enable = getattr(getattr(mlflow, "tracing", None), "enable", None)
    if enable is not None:  # older versions have no traces
        enable()


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
