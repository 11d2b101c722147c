"""The trace context that goes with a request."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as opentelemetry_trace

from mlflow_model_server import tracing
from tests.unit.server.process import environment_of_server

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (PARENT, True),
        (PARENT.replace("00-", "01-", 1) + "-more", True),
        (PARENT.replace("00-", "ff-", 1), False),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", False),
        (PARENT.upper(), False),
        (PARENT + "-\xff", False),
        (PARENT + "-\x80\x00", False),
        (PARENT + "-a b", False),
        (PARENT + "-" + "x" * 200, True),
        (PARENT + "-" + "x" * 201, False),
        ("é", False),
        ("", False),
    ],
)
def test_only_a_well_formed_traceparent_counts(header: str, good: bool) -> None:
    headers = [(b"host", b"x"), (b"traceparent", header.encode("latin-1"))]
    assert tracing.traceparent(headers) == (header if good else None)


def test_the_models_code_sees_the_trace() -> None:
    with tracing.propagate([(b"traceparent", PARENT.encode())]) as parent:
        assert parent == tracing.current() == PARENT
        span = opentelemetry_trace.get_current_span().get_span_context()
        assert f"{span.trace_id:032x}" == PARENT.split("-")[1]
        assert f"{span.span_id:016x}" == PARENT.split("-")[2]
    assert tracing.current() is None
    assert not opentelemetry_trace.get_current_span().get_span_context().is_valid
    with tracing.propagate([]) as parent:
        assert parent is None


def test_without_a_trace_nothing_is_imported() -> None:
    code = """if True:
        import sys
        from mlflow_model_server import tracing
        with tracing.propagate([(b"host", b"x")]):
            assert "opentelemetry" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], env=environment_of_server(), check=True)


@given(st.binary(), st.sampled_from([b"traceparent", b"tracestate", b"baggage"]))
def test_no_header_hinders_the_request(value: bytes, name: bytes) -> None:
    for headers in ([(name, value)], [(name, value), (b"traceparent", PARENT.encode() + value)]):
        with tracing.propagate([*headers, (b"traceparent", PARENT.encode())]) as parent:
            assert parent is None or parent.isascii()
