"""Confidence bounds of what was counted: shares, quantiles, distances of distributions. Pure.

Each bound is one-sided: with probability of at most `alpha` the true value lies beyond it. Sources
are in docs/how-to/analysis.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

_MAX_TERMS = 500  # of the continued fraction, which converges in O(sqrt(n)) terms
_PRECISION = 1e-12
_BISECTIONS = 60
_TINY = 1e-300


@dataclass(frozen=True)
class Bounds:
    """An estimate, and where the true value is with some confidence."""

    lower: float
    estimate: float
    upper: float


NOTHING_KNOWN = Bounds(0.0, math.nan, math.inf)


def share_bounds(count: float, total: float, alpha: float) -> Bounds:
    """The share of `count` in `total` independent requests (Clopper and Pearson 1934)."""
    if total <= 0:
        return Bounds(0.0, math.nan, 1.0)
    count = min(max(count, 0.0), total)
    lower = 0.0 if count <= 0 else _inverse_beta(alpha, count, total - count + 1)
    upper = 1.0 if count >= total else _inverse_beta(1 - alpha, count + 1, total - count)
    return Bounds(lower, count / total, upper)


def quantile_bounds(buckets: Mapping[float, float], quantile: float, alpha: float) -> Bounds:
    """A quantile of what a histogram has counted, by the ranks that bound it (order statistics).

    `buckets` has for each upper bound how many values are no greater. Between two bounds values are
    taken to be spread evenly, as Prometheus' histogram_quantile does. What is above the last bound
    may be any value above it.
    """
    ordered = sorted(buckets.items())
    total = ordered[-1][1] if ordered else 0.0
    if total <= 0:
        return NOTHING_KNOWN
    lower_rank = _rank(total, quantile, alpha)
    upper_rank = total - _rank(total, 1 - quantile, alpha)
    return Bounds(
        _value_at(ordered, lower_rank, above=False) if lower_rank > 0 else 0.0,
        _value_at(ordered, quantile * total, above=False),
        _value_at(ordered, upper_rank, above=True) if upper_rank < total else math.inf,
    )


def psi_bounds(target: Sequence[float], stable: Sequence[float], alpha: float) -> Bounds:
    """The population stability index of two distributions over the same bins.

    Estimated as the scoring server does, less what chance alone gives, which is distributed as
    (1/n + 1/m) times chi-square (Yurdakul and Naranjo 2020); its variance is that of the delta
    method besides.
    """
    n, m = sum(target), sum(stable)
    if n <= 0 or m <= 0:
        return NOTHING_KNOWN
    p, q = _smoothed(target), _smoothed(stable)
    index = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    chance, freedom = 1 / n + 1 / m, len(p) - 1
    of_target = [math.log(a / b) + 1 - b / a for a, b in zip(p, q, strict=True)]
    of_stable = [-math.log(a / b) + 1 - a / b for a, b in zip(p, q, strict=True)]
    variance = _variance(p, of_target) / n + _variance(q, of_stable) / m
    variance += 2 * freedom * chance**2
    reach = NormalDist().inv_cdf(1 - alpha) * math.sqrt(variance)
    estimate = max(index - freedom * chance, 0.0)
    # What chance gives is left in the upper bound: of few rows the variance is underestimated.
    return Bounds(max(estimate - reach, 0.0), estimate, index + reach)


def _smoothed(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]


def _variance(shares: Sequence[float], values: Sequence[float]) -> float:
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    return sum(share * (value - mean) ** 2 for share, value in zip(shares, values, strict=True))


def _rank(total: float, quantile: float, alpha: float) -> float:
    """The greatest rank of `total` values that is below their quantile but for `alpha`.

    That is P(Binomial(total, quantile) <= k) = I(1 - quantile; total - k, k + 1).
    """

    def probability(k: float) -> float:
        return _beta(1 - quantile, total - k, k + 1)

    if probability(0.0) > alpha:
        return 0.0
    low, high = 0.0, total
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle < total and probability(middle) <= alpha:
            low = middle
        else:
            high = middle
    return math.floor(low + 1e-6)


def _value_at(ordered: Sequence[tuple[float, float]], rank: float, *, above: bool) -> float:
    """The value of a rank; of one above the last finite bound, that bound, or infinity."""
    start, before = 0.0, 0.0
    for bound, count in ordered:
        if count >= rank and count > 0:
            if math.isinf(bound):
                return math.inf if above else start
            inside = count - before
            return start + (bound - start) * ((rank - before) / inside if inside > 0 else 1.0)
        start, before = bound, count
    return math.inf if above else start


def _inverse_beta(probability: float, a: float, b: float) -> float:
    """The x at which the regularised incomplete beta function has a value."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I(x; a, b)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    front = math.exp(log_front)
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(x, a, b) / a
    return 1 - front * _continued_fraction(1 - x, b, a) / b


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Of the incomplete beta function, by Lentz' method (DLMF 8.17.22)."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _away_from_zero(1 + even * d)
        c = _away_from_zero(1 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + odd * d)
        c = _away_from_zero(1 + odd / c)
        value *= d * c
        if abs(d * c - 1) < _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
