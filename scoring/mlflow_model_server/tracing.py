"""Propagates W3C trace context to the model's code. See https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from mlflow_model_server.headers import Headers, first

log = logging.getLogger(__name__)

# A later version may have more behind these four fields: visible characters, and not without end.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,200})?"
)

# With which clients of MLflow's agent server ask for the identifier of the trace.
_RETURN_TRACE_ID = b"x-mlflow-return-trace-id"

_returns_trace_id: ContextVar[bool] = ContextVar("returns_trace_id", default=False)
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current() -> str | None:
    """The `traceparent` of the request that is being predicted, for the model's code."""
    return _current.get()


def returns_trace_id() -> bool:
    """Whether the client of the request that is being predicted asks for its trace's identifier."""
    return _returns_trace_id.get()


def traceparent(headers: Headers) -> str | None:
    """The header's value if it is well-formed; names in `headers` are in lower case."""
    value = first(headers, b"traceparent")
    return value.decode("ascii") if value is not None and _TRACEPARENT.fullmatch(value) else None


@contextmanager
def propagate(headers: Headers) -> Iterator[str | None]:
    """Within it, the model's code sees what the request says of traces.

    Where it has a `traceparent`, spans that the code begins belong to that trace. For OpenTelemetry
    the globally set propagator is used, if that package is installed. Copy the context into the
    thread that predicts.
    """
    asked = (first(headers, _RETURN_TRACE_ID) or b"").lower() == b"true"
    token = _returns_trace_id.set(asked)
    try:
        with _propagate_parent(headers) as parent:
            yield parent
    finally:
        _returns_trace_id.reset(token)


@contextmanager
def _propagate_parent(headers: Headers) -> Iterator[str | None]:
    parent = traceparent(headers)
    if parent is None:
        yield None
        return
    token = _current.set(parent)
    try:
        with _opentelemetry(headers):
            yield parent
    finally:
        _current.reset(token)


@cache
def _has_opentelemetry() -> bool:
    return importlib.util.find_spec("opentelemetry") is not None


@contextmanager
def _opentelemetry(headers: Headers) -> Iterator[None]:
    if not _has_opentelemetry():
        yield
        return
    # Imported with the first request that has a trace: no others pay for it.
    from opentelemetry import context, propagate

    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    try:
        extracted = propagate.extract(carrier)
    except Exception:  # odd headers are the client's: its request is answered nevertheless
        log.debug("the trace context can't be used", exc_info=True)
        yield
        return
    token = context.attach(extracted)
    try:
        yield
    finally:
        context.detach(token)
