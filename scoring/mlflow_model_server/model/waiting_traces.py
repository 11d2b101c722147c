"""The memory of traces: of those that wait to be written, and of those that would never end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any

from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# How often a trace holds what was asked, until it is written.
_COPIES = 4
_MLFLOW_QUEUE, _DEFAULT_MLFLOW_QUEUE = "MLFLOW_ASYNC_TRACE_LOGGING_MAX_QUEUE_SIZE", 1000
# OpenTelemetry refuses a queue that is shorter than a batch.
_OTEL_QUEUE, _DEFAULT_OTEL_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE", 2048
_OTEL_BATCH, _DEFAULT_OTEL_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512
_LOG_INTERVAL = 30.0  # seconds


def limit(settings: Settings, memory: int) -> None:
    """Has no more traces wait than fit into so many bytes: MLflow loses others, and logs that.

    To be called before the model is loaded: its code may begin traces. What the environment says
    of the queues stays.
    """
    count = max(1, memory // (_COPIES * settings.trace_max_body_bytes))
    os.environ.setdefault(_MLFLOW_QUEUE, str(min(_DEFAULT_MLFLOW_QUEUE, count)))
    if _OTEL_QUEUE not in os.environ and _OTEL_BATCH not in os.environ:
        os.environ[_OTEL_QUEUE] = str(min(_DEFAULT_OTEL_QUEUE, count))
        # Batches that are sent long before the queue is full: spans may come in bursts.
        os.environ[_OTEL_BATCH] = str(min(_DEFAULT_OTEL_BATCH, max(1, count // 4)))


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


def limit_bytes(memory: int) -> None:
    """Has what waits in MLflow's queue hold no more than so many bytes, whatever was answered.

    To be called once the model is loaded, which imports MLflow.
    """
    try:
        from mlflow.tracing.export.async_export_queue import AsyncTraceExportQueue as Queue

        put = Queue.put
    except (ImportError, AttributeError):  # older versions have no queue
        return
    room = _Room(memory)

    def put_if_there_is_room(queue: Any, task: Any) -> None:
        size = sum(map(_size, task.args))
        if room.take(size):
            # Whatever becomes of it: MLflow writes it, or loses it.
            weakref.finalize(task, room.give_back, size).atexit = False
            put(queue, task)

    Queue.put = put_if_there_is_room


class _Room:
    """Bytes that are free."""

    def __init__(self, size: int) -> None:
        self._free = size
        # Reentrant: give_back() is called wherever garbage is collected, within take() too.
        self._lock = threading.RLock()
        self._logged = -_LOG_INTERVAL

    def take(self, size: int) -> bool:
        with self._lock:
            if size <= self._free:
                self._free -= size
                return True
        self._log()
        return False

    def give_back(self, size: int) -> None:
        with self._lock:
            self._free += size

    def _log(self) -> None:
        now = time.monotonic()
        if now - self._logged >= _LOG_INTERVAL:
            self._logged = now
            log.warning("traces are lost: those that wait to be written are too large")


def _size(argument: Any) -> int:
    """The bytes of the spans that an argument of MLflow's task has; of other arguments, 0."""
    spans = getattr(getattr(argument, "data", argument), "spans", argument)
    return sum(map(_size_of_span, spans)) if isinstance(spans, list) else 0


def _size_of_span(span: Any) -> int:
    span = getattr(span, "_span", None)  # OpenTelemetry's
    holders = (span, *(getattr(span, "events", None) or ()))
    values = (value for holder in holders for value in _attributes(holder).values())
    return sum(map(sys.getsizeof, values))


def _attributes(holder: Any) -> dict[str, Any]:
    return dict(getattr(holder, "attributes", None) or {})


_begun: ContextVar[list[Any] | None] = ContextVar("begun_spans", default=None)


def watch_spans() -> None:
    """Makes `ending_traces` possible. To be called once the model is loaded."""
    try:
        from mlflow.tracing.trace_manager import InMemoryTraceManager as Manager

        register = Manager.register_span
    except (ImportError, AttributeError):  # older versions have no traces
        return

    def register_and_note(manager: Any, span: Any) -> None:
        register(manager, span)
        begun = _begun.get()
        if begun is not None:
            begun.append(span)

    Manager.register_span = register_and_note


@contextmanager
def ending_traces() -> Iterator[None]:
    """Ends the traces that began within it.

    Where a generator is closed, MLflow doesn't end its span, and would keep the trace for an hour.
    """
    begun: list[Any] = []
    token = _begun.set(begun)
    try:
        yield
    finally:
        _begun.reset(token)
        open_spans = [span for span in begun if span.end_time_ns is None]
        if any(span.parent_id is None for span in open_spans):
            for span in reversed(open_spans):  # a trace with open spans would not be written
                with suppress(Exception):  # of MLflow's: the request is not to fail by it
                    span.end()
