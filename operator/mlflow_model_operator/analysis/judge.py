"""Compares what two revisions have counted in the same time. Pure.

Each limit is tested twice. The target is bad if even the bound in its favor is beyond the limit,
good if even the other bound is within it, and otherwise the test is inconclusive. The bound of a
comparison combines one bound of each side (Bonferroni), which holds for any number of requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mlflow_model_operator.analysis.bounds import (
    Bounds,
    psi_bounds,
    quantile_bounds,
    share_bounds,
)
from mlflow_model_operator.analysis.counts import Counts
from mlflow_model_operator.analysis.distributions import comparable, outputs
from mlflow_model_operator.analysis.report import MetricReport, Reading
from mlflow_model_operator.analysis.shadow import ShadowCounts
from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.spec import (
    Analysis,
    ErrorLimits,
    LatencyLimits,
    PrometheusQuery,
    StalenessLimits,
)
from mlflow_model_operator.rollout.progress import Verdict

MAX_OUTPUTS = 16  # as many as the scoring server counts
MAX_TEXT = 200  # characters of what a server answers


@dataclass(frozen=True)
class Levels:
    """The probability of each wrong decision that is accepted, at one test of one limit."""

    alarm: float  # a good target is called bad
    clearance: float  # a bad one is called good


@dataclass(frozen=True)
class Window:
    """What both revisions have counted in the same time."""

    target: Counts
    stable: Counts
    # Of the copies that the stable revision has sent to the target.
    shadow: ShadowCounts = field(default_factory=ShadowCounts)


@dataclass(frozen=True)
class _Limit:
    """A limit, and the bounds of what it limits at a level of confidence."""

    limit: float
    bounds: Callable[[float], Bounds]
    text: str

    def verdict(self, levels: Levels) -> Verdict:
        if self.bounds(levels.alarm).lower > self.limit:
            return Verdict.BAD
        if self.bounds(levels.clearance).upper <= self.limit:
            return Verdict.GOOD
        return Verdict.INCONCLUSIVE


def levels(analysis: Analysis, steps: int, test: int, *, is_shadow: bool = False) -> Levels:
    """The levels of a test of a step, where `test` counts from 1; of one with a shadow or without.

    Over all steps, limits and tests of a rollout, however many there are, a good target is called
    bad with at most the probability that the spec accepts: the shares 1/(k (k + 1)) sum to 1.
    """
    alpha = 1 - analysis.confidence / 100
    limits = _shadow_limit_count(analysis) if is_shadow else _limit_count(analysis)
    return Levels(alpha / (steps * limits * test * (test + 1)), alpha)


def judge(
    analysis: Analysis, window: Window, reading: Reading, accepted: Levels
) -> tuple[MetricReport, ...]:
    """What each metric says."""
    reports = [
        _shares(analysis, window, "errors", analysis.errors, accepted),
        _shares(analysis, window, "clientErrors", analysis.client_errors, accepted),
    ]
    reports += [_latency(analysis, window, limits, accepted) for limits in analysis.latency]
    if analysis.staleness is not None:
        reports.append(_staleness(analysis, window, analysis.staleness, accepted))
    reports += _predictions(analysis, window, accepted)
    reports += [_query(query, reading.queries.get(query.name)) for query in analysis.queries]
    return tuple(reports)


def judge_shadow(
    analysis: Analysis, counted: ShadowCounts, accepted: Levels
) -> tuple[MetricReport, ...]:
    """What each metric says of a version that gets copies of requests only."""
    limits = analysis.shadow_limits
    reports = []
    if limits.max_error_percent is not None:
        limit = limits.max_error_percent
        text = f"maxErrorPercent {limit:g}"
        pair = (counted.errors, counted.requests)
        reports.append(_part(analysis, "shadow errors", "copies", pair, limit, text, accepted))
    if limits.max_disagreement_percent is not None:
        limit = limits.max_disagreement_percent
        text = f"maxDisagreementPercent {limit:g}"
        pair = (counted.disagreed_rows, counted.compared_rows)
        reports.append(_part(analysis, "disagreement", "rows", pair, limit, text, accepted))
    if limits.max_mean_absolute_error is not None:
        reports.append(_mean_error(analysis, counted, limits.max_mean_absolute_error))
    return tuple(reports)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Bad before inconclusive before good."""
    present = set(verdicts)
    order = (Verdict.BAD, Verdict.INCONCLUSIVE)
    return next((verdict for verdict in order if verdict in present), Verdict.GOOD)


def _limit_count(analysis: Analysis) -> int:
    """How many limits are tested."""
    limits: list[object] = []
    for errors in (analysis.errors, analysis.client_errors):
        limits += [errors.max_percent, errors.max_increase]
    for latency in analysis.latency:
        limits += [latency.max, latency.max_ratio]
    limits += [analysis.predictions, analysis.staleness]
    return max(sum(limit is not None for limit in limits), 1)


def _shadow_limit_count(analysis: Analysis) -> int:
    """How many limits of shares are tested. The mean error is compared as it is."""
    limits = analysis.shadow_limits
    shares = (limits.max_error_percent, limits.max_disagreement_percent)
    return max(sum(limit is not None for limit in shares), 1)


def _part(
    analysis: Analysis,
    name: str,
    unit: str,
    counted: tuple[float, float],
    limit_percent: float,
    limit_text: str,
    accepted: Levels,
) -> MetricReport:
    """A share of copies, or of their rows, that must not be above a limit."""
    count, total = counted
    share = _share(count, total)
    text = f"{name} {share} of {total:,.0f} {unit}"
    limit = _Limit(limit_percent / 100, lambda alpha: share_bounds(count, total, alpha), limit_text)
    return _tested(name, text, [limit], accepted, _too_few(analysis, total), share, "")


def _mean_error(analysis: Analysis, counted: ShadowCounts, limit: float) -> MetricReport:
    """Compared as it is: the pods do not say how much it varies."""
    name, mean = "mean absolute error", counted.mean_absolute_error
    value = "-" if mean is None else f"{mean:.3g}"
    text = f"{name} {value} of {counted.numeric_rows:,.0f} rows"
    few = _too_few(analysis, counted.numeric_rows)
    if few or mean is None:
        return MetricReport(name, Verdict.INCONCLUSIVE, f"{text}: {few}", target=value)
    if mean <= limit:
        return MetricReport(name, Verdict.GOOD, text, target=value)
    beyond = f"{text} (beyond maxMeanAbsoluteError {limit:g})"
    return MetricReport(name, Verdict.BAD, beyond, target=value)


def _shares(
    analysis: Analysis, window: Window, name: str, limits: ErrorLimits, accepted: Levels
) -> MetricReport:
    target, stable = window.target, window.stable
    is_client = name == "clientErrors"
    counted = target.client_errors if is_client else target.errors
    compared = stable.client_errors if is_client else stable.errors
    ours, theirs = _share(counted, target.requests), _share(compared, stable.requests)
    text = f"{name} {ours} of {target.requests:,.0f} requests, stable {theirs} of "
    text += f"{stable.requests:,.0f}"
    few = _too_few(analysis, target.requests)

    def bounds(alpha: float) -> Bounds:
        return share_bounds(counted, target.requests, alpha)

    def increase(alpha: float) -> Bounds:
        other = share_bounds(compared, stable.requests, alpha / 2)
        return _difference(bounds(alpha / 2), other)

    tests = []
    if limits.max_percent is not None:
        limit = limits.max_percent / 100
        tests.append(_Limit(limit, bounds, f"maxPercent {limits.max_percent:g}"))
    if limits.max_increase is not None:
        limit = limits.max_increase / 100
        tests.append(_Limit(limit, increase, f"maxIncrease {limits.max_increase:g}"))
    return _tested(name, text, tests, accepted, few, ours, theirs)


def _latency(
    analysis: Analysis, window: Window, limits: LatencyLimits, accepted: Levels
) -> MetricReport:
    name = f"latency p{limits.percentile:g}"
    quantile = limits.percentile / 100
    target, stable = window.target, window.stable

    def bounds(alpha: float) -> Bounds:
        return quantile_bounds(target.durations, quantile, alpha)

    def ratio(alpha: float) -> Bounds:
        other = quantile_bounds(stable.durations, quantile, alpha / 2)
        return _ratio(bounds(alpha / 2), other)

    ours = _seconds(bounds(0.5).estimate)
    theirs = _seconds(quantile_bounds(stable.durations, quantile, 0.5).estimate)
    text = f"{name} {ours} of {target.requests:,.0f} requests, stable {theirs}"
    tests = []
    if limits.max is not None:
        tests.append(_Limit(quantity.seconds(limits.max), bounds, f"max {limits.max}"))
    if limits.max_ratio is not None:
        tests.append(_Limit(limits.max_ratio, ratio, f"maxRatio {limits.max_ratio:g}"))
    return _tested(name, text, tests, accepted, _too_few(analysis, target.requests), ours, theirs)


def _staleness(
    analysis: Analysis, window: Window, limits: StalenessLimits, accepted: Levels
) -> MetricReport:
    """The age of the features that the target gets; the stable revision's is shown beside it."""
    name = f"staleness p{limits.percentile:g}"
    quantile, rows = limits.percentile / 100, window.target.aged_rows

    def bounds(alpha: float) -> Bounds:
        return quantile_bounds(window.target.ages, quantile, alpha)

    ours = _age(bounds(0.5).estimate)
    theirs = _age(quantile_bounds(window.stable.ages, quantile, 0.5).estimate)
    text = f"{name} {ours} of {rows:,.0f} rows, stable {theirs}"
    test = _Limit(quantity.seconds(limits.max_age), bounds, f"maxAge {limits.max_age}")
    return _tested(name, text, [test], accepted, _too_few(analysis, rows), ours, theirs)


def _predictions(analysis: Analysis, window: Window, accepted: Levels) -> Iterator[MetricReport]:
    if analysis.predictions is None:
        return
    names = outputs(window.target, window.stable)[:MAX_OUTPUTS]
    if not names:
        why = "predictions: none counted yet"
        yield MetricReport("predictions", Verdict.INCONCLUSIVE, why)
    # Of several outputs each is a test of its own.
    alarm = accepted.alarm / max(len(names), 1)
    for output in names:
        yield _distribution(analysis, window, output, Levels(alarm, accepted.clearance))


def _distribution(
    analysis: Analysis, window: Window, output: str, accepted: Levels
) -> MetricReport:
    assert analysis.predictions is not None
    name = f"predictions {output}"[:MAX_TEXT]
    both = comparable(window.target, window.stable, output)
    if both is None:
        why = f"{name}: the versions have no bins in common, or one has no predictions yet"
        return MetricReport(name, Verdict.INCONCLUSIVE, why)
    target, stable = both
    limit = analysis.predictions.max_psi
    index = _rounded(psi_bounds(target, stable, 0.5).estimate)
    text = f"{name} PSI {index} of {sum(target):,.0f} rows, stable {sum(stable):,.0f} rows"
    tests = [_Limit(limit, lambda alpha: psi_bounds(target, stable, alpha), f"maxPsi {limit:g}")]
    few = _too_few(analysis, min(sum(target), sum(stable)))
    return _tested(name, text, tests, accepted, few, "", index)


def _query(query: PrometheusQuery, result: float | str | None) -> MetricReport:
    """One value, compared as it is: only the author of the query knows how certain it is."""
    name = f"query {query.name}"
    if result is None or isinstance(result, str):
        why = f"{name}: {result or 'not sent yet'}"[:MAX_TEXT]
        return MetricReport(name, Verdict.INCONCLUSIVE, why)
    value = _rounded(result)
    allowed = [
        f"{word} {limit:g}"
        for word, limit in (("min", query.min), ("max", query.max))
        if limit is not None
    ]
    is_within = (query.min is None or result >= query.min) and (
        query.max is None or result <= query.max
    )
    text = f"{name} {value} ({', '.join(allowed)})"
    return MetricReport(name, Verdict.GOOD if is_within else Verdict.BAD, text, target=value)


def _tested(
    name: str,
    text: str,
    tests: list[_Limit],
    accepted: Levels,
    few: str,
    target: str,
    stable: str,
) -> MetricReport:
    """The worst of what the limits say; nothing where there are too few requests."""
    if few:
        return MetricReport(name, Verdict.INCONCLUSIVE, f"{text}: {few}", stable, target)
    verdicts = [test.verdict(accepted) for test in tests]
    verdict = worst(verdicts)
    concerned = [test.text for test, of in zip(tests, verdicts, strict=True) if of is verdict]
    allowed = ", ".join(concerned)
    match verdict:
        case Verdict.BAD:
            text = f"{text} (beyond {allowed})"
        case Verdict.INCONCLUSIVE:
            text = f"{text}: too few requests to tell whether this is within {allowed}"
    return MetricReport(name, verdict, text, stable, target)


def _too_few(analysis: Analysis, number: float) -> str:
    if number >= analysis.min_requests:
        return ""
    return f"fewer than minRequests ({analysis.min_requests:,})"


def _difference(target: Bounds, stable: Bounds) -> Bounds:
    return Bounds(
        target.lower - stable.upper, target.estimate - stable.estimate, target.upper - stable.lower
    )


def _ratio(target: Bounds, stable: Bounds) -> Bounds:
    def over(numerator: float, denominator: float) -> float:
        if math.isinf(denominator):
            return 0.0
        return numerator / denominator if denominator > 0 else math.inf

    return Bounds(
        over(target.lower, stable.upper),
        over(target.estimate, stable.estimate),
        over(target.upper, stable.lower),
    )


def _share(count: float, total: float) -> str:
    return f"{100 * count / total:.3g} %" if total > 0 else "-"


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _age(value: float) -> str:
    return quantity.format_seconds(round(value)) if math.isfinite(value) else "-"


def _rounded(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
