"""Expositions of a scoring server, as the tests' pods serve them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlflow_model_operator.analysis import Exposition, ExpositionParser

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def text(
    revision: str,
    codes: Mapping[int, int],
    durations: Mapping[float, int] | None = None,
    bins: Mapping[str, int] | None = None,
    ages: Mapping[float, int] | None = None,
    started: float = 1000.0,
) -> str:
    """`durations` has for upper bounds how many requests took no longer, and more than the last."""
    labels = f'model="wine",version="1",revision="{revision}"'
    prefix = "mlflow_model_server"
    lines = [f"# HELP {prefix}_requests_total Requests.", f"# TYPE {prefix}_requests_total counter"]
    lines += [
        f'{prefix}_requests_total{{{labels},route="/invocations",code="{code}"}} {count}'
        for code, count in codes.items()
    ]
    total = 0
    for bound in BOUNDS:
        total += (durations or {}).get(bound, 0)
        lines.append(_bucket(labels, f"{bound:g}", total))
    lines.append(_bucket(labels, "+Inf", total))
    lines += [
        f'{prefix}_prediction_values_total{{{labels},output="quality",bin="{name}"}} {count}'
        for name, count in (bins or {}).items()
    ]
    if ages is not None:
        lines += _ages(labels, ages)
    lines.append(f"process_start_time_seconds{{{labels}}} {started}")
    return "\n".join([*lines, ""])


def exposition(revision: str, codes: Mapping[int, int], **more: object) -> Exposition:
    return parsed(text(revision, codes, **more), revision)  # type: ignore[arg-type]


def parsed(body: str, revision: str) -> Exposition:
    parser = ExpositionParser(revision)
    parser.feed(body.encode())
    return parser.finish()


def _ages(labels: str, ages: Mapping[float, int]) -> list[str]:
    name, total, lines = "mlflow_model_server_feature_age_seconds_bucket", 0, []
    for bound in (1.0, 60.0, 300.0, 3600.0, 86400.0, math.inf):
        total += ages.get(bound, 0)
        le = "+Inf" if math.isinf(bound) else f"{bound:.10g}"
        lines.append(f'{name}{{{labels},le="{le}"}} {total}')
    return lines


def _bucket(labels: str, bound: str, count: int) -> str:
    name = "mlflow_model_server_request_duration_seconds_bucket"
    return f'{name}{{{labels},route="/invocations",le="{bound}"}} {count}'
