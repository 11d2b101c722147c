"""Prometheus' instant queries: what is asked, and the one value of the answer. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from mlflow_model_operator.analysis.report import Measurement
from mlflow_model_operator.api.spec import PrometheusQuery

PATH = "/api/v1/query"
TIMEOUT = "5s"  # of Prometheus' own work
OK = 200


def parameters(query: PrometheusQuery, measurement: Measurement) -> dict[str, str]:
    """What is sent: the query, with the names that it stands for.

    These are names of Kubernetes objects, in which nothing means anything to PromQL.
    """
    text = query.query
    names = {
        "$target": measurement.step.target,
        "$stable": measurement.step.stable,
        "$namespace": measurement.key.namespace,
        "$name": measurement.key.name,
    }
    # $namespace before $name, which it begins with.
    for placeholder in sorted(names, key=len, reverse=True):
        text = text.replace(placeholder, names[placeholder])
    return {"query": text, "timeout": TIMEOUT}


def value(status: int, body: bytes) -> float | str:
    """The value, or why there is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return f"Prometheus has answered with status {status} and no JSON"
    if not isinstance(answer, dict) or status != OK or answer.get("status") != "success":
        error = answer.get("error") if isinstance(answer, dict) else None
        return f"Prometheus has answered with status {status}: {error or 'no reason given'}"
    try:
        return _single(answer["data"])
    except (KeyError, IndexError, TypeError, ValueError):
        return "Prometheus has answered with something else than values"


def _single(data: dict[str, Any]) -> float | str:
    results = data["result"]
    if data["resultType"] == "scalar":
        return _number(results[1])
    if data["resultType"] != "vector":
        return "the query must have one value as result, not a range or a text"
    if len(results) != 1:
        return f"the query has {len(results)} values as result: it must have one"
    return _number(results[0]["value"][1])


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else f"the query has the result {number}"
