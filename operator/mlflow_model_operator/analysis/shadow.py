"""What the pods of the stable revision have counted of the copies that they send. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlflow_model_operator.analysis.bounds import quantile_bounds
from mlflow_model_operator.analysis.exposition import (
    SHADOW_ABSOLUTE_ERROR,
    SHADOW_COMPARED,
    SHADOW_DISAGREED,
    SHADOW_DURATIONS,
    SHADOW_INFO,
    SHADOW_NUMERIC,
    SHADOW_REQUESTS,
    Exposition,
    Series,
    bucket_bound,
)
from mlflow_model_operator.analysis.report import Reading
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.text import single_line

# Outcomes of copies, as the scoring server counts them. "dropped" was never sent.
FAILED_OUTCOMES = frozenset({"error", "timeout", "unreachable"})
UNREACHABLE, DROPPED, INCOMPARABLE = "unreachable", "dropped", "incomparable"

Numbers = Mapping[float, float]


@dataclass(frozen=True)
class ShadowCounts:
    """How much was counted in some time, by all pods of the stable revision together."""

    requests: float = 0.0  # that were sent
    errors: float = 0.0
    unreachable: float = 0.0  # of the errors: those without a connection
    dropped: float = 0.0
    incomparable: float = 0.0
    compared_rows: float = 0.0
    disagreed_rows: float = 0.0
    numeric_rows: float = 0.0
    absolute_error: float = 0.0  # summed over the numeric rows
    durations: Numbers = field(default_factory=dict)  # seconds → responses that took no longer

    def __add__(self, other: ShadowCounts) -> ShadowCounts:
        return self._combined(other, 1.0)

    def __sub__(self, other: ShadowCounts) -> ShadowCounts:
        return self._combined(other, -1.0)

    @property
    def mean_absolute_error(self) -> float | None:
        """Of the rows with numbers, maybe infinite; None where there are none."""
        if self.numeric_rows <= 0:
            return None
        mean = self.absolute_error / self.numeric_rows
        return mean if math.isfinite(mean) else math.inf

    @property
    def disagreement(self) -> float | None:
        """The share of the compared rows with another prediction; None where there are none."""
        return self.disagreed_rows / self.compared_rows if self.compared_rows > 0 else None

    @property
    def latency_p95(self) -> float | None:
        """The 95th percentile of the time to the response in seconds; None where it is unknown."""
        estimate = quantile_bounds(self.durations, 0.95, 0.5).estimate
        return estimate if math.isfinite(estimate) else None

    def _combined(self, other: ShadowCounts, sign: float) -> ShadowCounts:
        bounds = sorted({*self.durations, *other.durations})
        numbers = {
            name: getattr(self, name) + sign * getattr(other, name)
            for name in self.__dataclass_fields__
            if name != "durations"
        }
        durations = {
            bound: self.durations.get(bound, 0.0) + sign * other.durations.get(bound, 0.0)
            for bound in bounds
        }
        return ShadowCounts(**numbers, durations=durations)


@dataclass(frozen=True)
class ShadowMeasurement:
    """Whose pods are to be read, and how often."""

    key: Key
    stable: str  # revisions
    shadow: str
    interval: float = field(compare=False)  # seconds


@dataclass(frozen=True)
class ShadowReport:
    """What the pods that send copies have counted, each since it has sent any to this revision."""

    stable: str
    shadow: str
    at: float  # epoch seconds
    senders: int = 0  # pods that report that they send copies
    unreachable_count: int = 0  # ready pods that could not be read
    unreachable_reason: str = ""
    counts: ShadowCounts = field(default_factory=ShadowCounts)

    def is_of(self, stable: str, shadow: str) -> bool:
        """Whether it is about copies from one of these revisions to the other."""
        return (self.stable, self.shadow) == (stable, shadow)


def shadow_report(measurement: ShadowMeasurement, at: float, reading: Reading) -> ShadowReport:
    """Sums up one look at the pods of the stable revision."""
    read = [pod.result for pod in reading.pods if isinstance(pod.result, Exposition)]
    unread = [pod.result for pod in reading.pods if isinstance(pod.result, str)]
    senders = [pod for pod in read if sends_to(pod, measurement.shadow)]
    counted = ShadowCounts()
    for pod in senders:
        counted += shadow_counts(pod.shadow, measurement.shadow)
    return ShadowReport(
        stable=measurement.stable,
        shadow=measurement.shadow,
        at=at,
        senders=len(senders),
        unreachable_count=len(unread),
        unreachable_reason=single_line(reading.problem or next(iter(unread), "")),
        counts=counted,
    )


def sends_to(pod: Exposition, revision: str) -> bool:
    """Whether a pod reports that it sends copies to that revision."""
    return any(
        counter == SHADOW_INFO and shadow == revision and value > 0
        for (counter, shadow, _), value in pod.shadow.items()
    )


def shadow_growth(before: Exposition | None, now: Exposition, revision: str) -> ShadowCounts:
    """What a pod has counted of the copies to a revision since it was read before.

    Counters that have begun again, with their container or with another shadow in between, count
    from zero.
    """
    counted = shadow_counts(now.shadow, revision)
    if before is None:
        return counted
    of_revision = (series for series in before.shadow if series.first == revision)
    if any(now.shadow.get(series, 0.0) < before.shadow[series] for series in of_revision):
        return counted
    return counted - shadow_counts(before.shadow, revision)


def shadow_counts(samples: Mapping[Series, float], revision: str) -> ShadowCounts:
    """The sums of the series of one pod that are about copies to one revision."""
    numbers: dict[str, float] = {}
    outcomes: dict[str, float] = {}
    durations: dict[float, float] = {}
    for (counter, of_revision, second), value in samples.items():
        if of_revision != revision:
            continue
        if counter == SHADOW_REQUESTS:
            outcomes[second] = outcomes.get(second, 0.0) + value
        elif counter == SHADOW_DURATIONS:
            durations[bucket_bound(second)] = value
        else:
            numbers[counter] = value
    return ShadowCounts(
        requests=sum(outcomes.values()) - outcomes.get(DROPPED, 0.0),
        errors=_sum(outcomes, FAILED_OUTCOMES),
        unreachable=outcomes.get(UNREACHABLE, 0.0),
        dropped=outcomes.get(DROPPED, 0.0),
        incomparable=outcomes.get(INCOMPARABLE, 0.0),
        compared_rows=numbers.get(SHADOW_COMPARED, 0.0),
        disagreed_rows=numbers.get(SHADOW_DISAGREED, 0.0),
        numeric_rows=numbers.get(SHADOW_NUMERIC, 0.0),
        absolute_error=numbers.get(SHADOW_ABSOLUTE_ERROR, 0.0),
        durations=durations,
    )


def _sum(outcomes: Mapping[str, float], names: Iterable[str]) -> float:
    return sum(outcomes.get(name, 0.0) for name in names)
