"""MLflow's tracing as its versions have it: some have no traces, and some have other names."""

from __future__ import annotations

import os
from typing import Any

OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_enabled() -> bool:
    """Whether spans that the model's code begins are recorded."""
    try:
        from mlflow.tracing import provider

        return bool(provider.is_tracing_enabled())
    except Exception:  # in older versions
        return False


def disable() -> None:
    """Has no more spans recorded."""
    _call("disable")


def enable() -> None:
    """Has spans recorded again."""
    _call("enable")


def provider() -> Any:
    """What makes spans: another object whenever somebody has switched traces on or off."""
    try:
        from mlflow.tracing import provider
    except ImportError:  # older versions have no traces
        return None
    if hasattr(provider, "provider"):
        return provider.provider.get()
    return getattr(provider, "_MLFLOW_TRACER_PROVIDER", None)  # in older versions


def has_destination() -> bool:
    """Whether the model's code has called set_destination()."""
    try:
        from mlflow.tracing import provider

        destination = provider._MLFLOW_TRACE_USER_DESTINATION
    except (ImportError, AttributeError):  # in older versions
        return False
    # Older versions have no registry: it is the destination itself.
    return (destination.get() if hasattr(destination, "get") else destination) is not None


def goes_to_collector_only() -> bool:
    """Whether an endpoint of OpenTelemetry gets all spans, and no experiment any."""
    try:
        from mlflow.tracing.utils import otlp

        is_used = bool(otlp.should_use_otlp_exporter())
    except (ImportError, AttributeError):  # in older versions
        return any(map(os.environ.get, OTLP_ENDPOINTS))
    return is_used and not _goes_to_both()


def active_experiment() -> str | None:
    """The experiment that set_experiment() was called with."""
    try:
        from mlflow.tracking import fluent

        identifier: str | None = fluent._active_experiment_id
        return identifier
    except (ImportError, AttributeError):  # in older versions
        return None


def activate_experiment(identifier: str) -> None:
    """As set_experiment() does, for this process only, and without a request."""
    from mlflow.tracking import fluent

    fluent._active_experiment_id = identifier


def _goes_to_both() -> bool:
    try:
        from mlflow.environment_variables import MLFLOW_TRACE_ENABLE_OTLP_DUAL_EXPORT

        return bool(MLFLOW_TRACE_ENABLE_OTLP_DUAL_EXPORT.get())
    except ImportError:  # in older versions
        return False


def _call(name: str) -> None:
    try:
        from mlflow import tracing
    except ImportError:  # older versions have no traces
        return
    getattr(tracing, name, lambda: None)()
