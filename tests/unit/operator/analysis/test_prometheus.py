"""What a Prometheus is asked, and what is made of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.analysis.prometheus import parameters, value
from mlflow_model_operator.api.spec import PrometheusQuery
from tests.unit.operator.analysis.steps import measurement


def answer(kind: str, result: Any) -> bytes:
    data = {"resultType": kind, "result": result}
    return json.dumps({"status": "success", "data": data}).encode()


def test_the_query_names_revisions_and_resource() -> None:
    text = 'rate(x{revision="$target",of="$stable",n="$namespace",name="$name",m=~".*$"}[1m])'
    query = PrometheusQuery(name="x", url="http://prometheus:9090", query=text, max=1)
    assert parameters(query, measurement())["query"] == (
        'rate(x{revision="new",of="old",n="models",name="wine",m=~".*$"}[1m])'
    )


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, answer("vector", [{"metric": {}, "value": [1, "1.5"]}]), 1.5),
        (200, answer("scalar", [1, "-2"]), -2.0),
        (200, answer("vector", []), "the query has 0 values as result: it must have one"),
        (200, answer("vector", [{}, {}]), "the query has 2 values as result: it must have one"),
        (200, answer("vector", [{"value": [1, "NaN"]}]), "the query has the result nan"),
        (200, answer("vector", [{"value": [1, "+Inf"]}]), "the query has the result inf"),
        (200, answer("matrix", [{}]), "must have one value as result"),
        (200, answer("vector", [{"value": []}]), "something else than values"),
        (200, answer("vector", 5), "something else than values"),
        (200, b"[]", "status 200"),
        (200, b"<html>", "status 200 and no JSON"),
        (200, b"[" * 100_000, "status 200 and no JSON"),
        (302, b"", "status 302 and no JSON"),
        (
            400,
            b'{"status": "error", "error": "parse error: unexpected end"}',
            "status 400: parse error: unexpected end",
        ),
    ],
)
def test_an_answer_is_one_value_or_says_why_not(
    status: int, body: bytes, expected: float | str
) -> None:
    got = value(status, body)
    assert expected in got if isinstance(got, str) else got == expected  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_no_answer_does_anything_but_have_no_value(body: bytes) -> None:
    assert isinstance(value(200, body), str)
