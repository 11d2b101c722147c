"""The rate limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.auth import rate_limit
from mlflow_model_server.auth.rate_limit import RateLimiter
from tests.unit.server.auth.issuer import Clock


def test_a_caller_may_ask_so_often_and_no_more() -> None:
    clock = Clock()
    limit = RateLimiter(rate=2, burst=4, now=clock)
    assert [limit.acquire("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert limit.acquire("b") == 0, "each has its own"
    clock.moment += 0.5
    assert [limit.acquire("a"), limit.acquire("a")] == [0, 0.5]
    clock.moment += 1000
    assert [limit.acquire("a") for _ in range(5)] == [0, 0, 0, 0, 0.5], "no more than a burst"


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2)), max_size=60))
def test_never_more_than_rate_and_burst_allow(steps: list[tuple[float, int]]) -> None:
    clock, allowed = Clock(0), 0
    limit = RateLimiter(rate=1.5, burst=3, now=clock)
    for pause, requests in steps:
        clock.moment += pause
        allowed += sum(limit.acquire("a") == 0 for _ in range(requests))
    assert allowed <= 3 + 1.5 * clock.moment + 1e-6


def test_made_up_callers_fill_no_memory() -> None:
    limit = RateLimiter(rate=1, burst=1)
    for number in range(20_000):
        limit.acquire(str(number))
    assert len(limit._buckets) == rate_limit.MAX_CALLERS == 10_000
