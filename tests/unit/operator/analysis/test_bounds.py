"""The bounds against scipy, and by simulation: how often they are wrong."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from scipy import stats

from mlflow_model_operator.analysis.bounds import (
    Bounds,
    _rank,
    psi_bounds,
    quantile_bounds,
    share_bounds,
)

ALPHAS = (0.1, 0.05, 1e-3, 1e-6)
INF = math.inf


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("total", [1, 7, 100, 8_102, 1_000_000])
def test_shares_are_bounded_as_by_clopper_and_pearson(total: int, alpha: float) -> None:
    for count in {0, 1, total // 500, total // 2, total - 1, total}:
        bounds = share_bounds(count, total, alpha)
        lower = stats.beta.ppf(alpha, count, total - count + 1) if count else 0
        upper = stats.beta.ppf(1 - alpha, count + 1, total - count) if count < total else 1
        assert bounds.lower == pytest.approx(lower, rel=1e-6, abs=1e-12)
        assert bounds.upper == pytest.approx(upper, rel=1e-6, abs=1e-12)
        assert bounds.lower <= bounds.estimate <= bounds.upper


@pytest.mark.parametrize("total", [0, -1])
def test_of_no_requests_nothing_is_known(total: int) -> None:
    bounds = share_bounds(0, total, 0.05)
    assert (bounds.lower, bounds.upper) == (0, 1)
    assert quantile_bounds({}, 0.95, 0.05).upper == INF
    assert quantile_bounds({0.1: 0, INF: 0}, 0.95, 0.05).upper == INF
    assert psi_bounds((), (), 0.05).upper == INF
    assert psi_bounds((0, 0), (3, 4), 0.05).upper == INF


@pytest.mark.parametrize("alpha", [0.05, 1e-4])
@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
def test_ranks_are_those_of_the_binomial_distribution(quantile: float, alpha: float) -> None:
    for total in (10, 100, 1000, 100_000):
        rank = _rank(total, quantile, alpha)
        assert rank == 0 or stats.binom.cdf(rank, total, quantile) <= alpha
        assert stats.binom.cdf(rank + 1, total, quantile) > alpha


def test_a_quantile_is_where_prometheus_has_it() -> None:
    buckets = {0.1: 50.0, 0.5: 90.0, 1.0: 100.0, INF: 100.0}
    assert quantile_bounds(buckets, 0.7, 0.05).estimate == pytest.approx(0.3)
    assert quantile_bounds(buckets, 0.5, 0.05).estimate == pytest.approx(0.1)
    bounds = quantile_bounds(buckets, 0.9, 0.05)
    assert bounds.lower < 0.5 < bounds.upper < 1.0


def test_what_is_above_the_last_bound_may_be_anything() -> None:
    bounds = quantile_bounds({0.1: 0.0, 1.0: 10.0, INF: 1000.0}, 0.95, 0.05)
    assert (bounds.lower, bounds.upper) == (1.0, INF)


def misses(bounds: Bounds, true: float) -> tuple[bool, bool]:
    return bounds.lower > true, bounds.upper < true


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_quantiles_miss_no_more_often_than_stated(alpha: float) -> None:
    """With values spread evenly between bounds, as the interpolation takes them to be."""
    rng, rounds, missed = random.Random(1), 400, [0, 0]
    bounds = [i / 10 for i in range(1, 11)]
    for _ in range(rounds):
        values = [rng.random() for _ in range(300)]
        buckets = {bound: float(sum(v <= bound for v in values)) for bound in bounds}
        for side, is_missed in enumerate(misses(quantile_bounds(buckets, 0.95, alpha), 0.95)):
            missed[side] += is_missed
    # Three standard errors, and interpolation is not exact.
    assert max(missed) / rounds <= alpha + 3 * math.sqrt(alpha / rounds) + 0.01


SHARES = [
    ((0.25, 0.25, 0.25, 0.25), (0.25, 0.25, 0.25, 0.25)),
    ((0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.25, 0.25)),
    ((0.7, 0.2, 0.07, 0.03), (0.5, 0.3, 0.15, 0.05)),
    (tuple([0.05] * 20), tuple([0.03] * 10 + [0.07] * 10)),
]


@pytest.mark.parametrize(("target", "stable"), SHARES)
@pytest.mark.parametrize("rows", [(200, 2000), (2000, 2000)])
def test_psi_misses_no_more_often_than_stated(
    target: tuple[float, ...], stable: tuple[float, ...], rows: tuple[int, int]
) -> None:
    rng, rounds, alpha = random.Random(2), 400, 0.05
    true = sum((p - q) * math.log(p / q) for p, q in zip(target, stable, strict=True))
    missed = [0, 0]
    for _ in range(rounds):
        bounds = psi_bounds(sample(rng, target, rows[0]), sample(rng, stable, rows[1]), alpha)
        for side, is_missed in enumerate(misses(bounds, true)):
            missed[side] += is_missed
    assert max(missed) / rounds <= alpha + 3 * math.sqrt(alpha / rounds)


def sample(rng: random.Random, shares: tuple[float, ...], size: int) -> list[float]:
    counts = [0.0] * len(shares)
    for place in rng.choices(range(len(shares)), shares, k=size):
        counts[place] += 1
    return counts


def test_bounds_come_closer_with_more_requests() -> None:
    widths = [
        bounds.upper - bounds.lower
        for bounds in (share_bounds(n // 50, n, 0.01) for n in (100, 1000, 10_000))
    ]
    assert all(wider > closer for wider, closer in pairwise(widths))
