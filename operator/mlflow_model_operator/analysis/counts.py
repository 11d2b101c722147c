"""What the pods of a revision have counted: requests, errors, durations, predictions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mlflow_model_operator.analysis.exposition import (
    DURATIONS,
    FEATURE_AGES,
    PREDICTIONS,
    REQUESTS,
    Exposition,
    Series,
    bucket_bound,
)

# The routes of predictions. Probes, metadata and what no route has say nothing about a version.
PREDICTION_ROUTES = frozenset(
    {
        "/invocations",
        "/v2/models/{model}/infer",
        "/v1/chat/completions",
        "/v1/responses",
        "/responses",
    }
)
# Where a request is counted that was refused before it had a route: too many connections.
OTHER_ROUTES = "other"
# The client has left before it was answered, mostly because that took too long.
CLIENT_CLOSED_REQUEST = 499
_START_TOLERANCE = 1.0  # seconds

Numbers = Mapping[float, float]


class Partition(NamedTuple):
    """An output of the model, and the bins into which its values are counted."""

    output: str
    bins: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How much was counted in some time, by all pods of a revision together."""

    requests: float = 0.0
    errors: float = 0.0  # 5xx and 499, so timeouts and what clients gave up
    client_errors: float = 0.0  # the other 4xx
    durations: Numbers = field(default_factory=dict)  # seconds → requests that took no longer
    predictions: Mapping[Partition, tuple[float, ...]] = field(default_factory=dict)
    ages: Numbers = field(default_factory=dict)  # seconds → rows whose features were no older

    @property
    def aged_rows(self) -> float:
        """The rows whose age was counted."""
        return max(self.ages.values(), default=0.0)

    def __add__(self, other: Counts) -> Counts:
        return self._combined(other, 1.0)

    def __sub__(self, other: Counts) -> Counts:
        return self._combined(other, -1.0)

    def _combined(self, other: Counts, sign: float) -> Counts:
        partitions = dict.fromkeys([*self.predictions, *other.predictions])
        return Counts(
            requests=self.requests + sign * other.requests,
            errors=self.errors + sign * other.errors,
            client_errors=self.client_errors + sign * other.client_errors,
            durations=_added(self.durations, other.durations, sign),
            predictions={
                partition: _sums(
                    self.predictions.get(partition), other.predictions.get(partition), sign
                )
                for partition in partitions
            },
            ages=_added(self.ages, other.ages, sign),
        )


@dataclass(frozen=True)
class Growth:
    """What a pod has counted since it was read before."""

    counts: Counts
    is_reset: bool = False  # its counters began again meanwhile


def growth(before: Exposition | None, now: Exposition) -> Growth:
    """From one reading of a pod to the next; None before: since the pod began.

    Counters that have begun again, because the container was restarted, count from zero: what they
    had counted until then is lost.
    """
    if before is None:
        return Growth(counts(now.samples))
    if _is_reset(before, now):
        return Growth(counts(now.samples), is_reset=True)
    grown = {
        series: value - before.samples.get(series, 0.0) for series, value in now.samples.items()
    }
    return Growth(counts(grown))


def counts(samples: Mapping[Series, float]) -> Counts:
    """The sums of the series of one pod."""
    requests = errors = client_errors = 0.0
    durations: dict[float, float] = {}
    ages: dict[float, float] = {}
    values: dict[str, dict[str, float]] = {}
    for (counter, first, second), value in samples.items():
        match counter:
            case _ if counter == REQUESTS and _counts(first, second):
                requests += value
                errors += value if _is_error(second) else 0.0
                client_errors += value if _is_client_error(second) else 0.0
            case _ if counter == DURATIONS and first in PREDICTION_ROUTES:
                bound = bucket_bound(second)
                durations[bound] = durations.get(bound, 0.0) + value
            case _ if counter == FEATURE_AGES:
                ages[bucket_bound(first)] = value
            case _ if counter == PREDICTIONS:
                values.setdefault(first, {})[second] = value
    predictions = {
        Partition(output, tuple(bins)): tuple(bins.values()) for output, bins in values.items()
    }
    return Counts(requests, errors, client_errors, durations, predictions, ages)


def _counts(route: str, code: str) -> bool:
    return route in PREDICTION_ROUTES or (route == OTHER_ROUTES and _is_error(code))


def _is_error(code: str) -> bool:
    return code.startswith("5") or code == str(CLIENT_CLOSED_REQUEST)


def _is_client_error(code: str) -> bool:
    return code.startswith("4") and code != str(CLIENT_CLOSED_REQUEST)


def _is_reset(before: Exposition, now: Exposition) -> bool:
    started = (before.started or 0.0, now.started or 0.0)
    if abs(started[1] - started[0]) > _START_TOLERANCE:
        return True
    return any(now.samples.get(series, 0.0) < value for series, value in before.samples.items())


def _added(left: Numbers, right: Numbers, sign: float) -> Numbers:
    bounds = sorted({*left, *right})
    return {bound: left.get(bound, 0.0) + sign * right.get(bound, 0.0) for bound in bounds}


def _sums(
    left: tuple[float, ...] | None, right: tuple[float, ...] | None, sign: float
) -> tuple[float, ...]:
    if right is None:
        return left or ()
    if left is None:
        return tuple(sign * value for value in right)
    return tuple(a + sign * b for a, b in zip(left, right, strict=True))
