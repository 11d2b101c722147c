from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.rollout import approximate_canary_replicas


@pytest.mark.parametrize(
    ("stable", "weight", "canary"),
    [
        (9, 10, 1),
        (1, 50, 1),
        (2, 50, 2),
        (1, 10, 1),
        (4, 20, 1),
        (8, 20, 2),
        (3, 75, 9),
        (2, 100, 2),
    ],
)
def test_worked_examples(stable: int, weight: int, canary: int) -> None:
    assert approximate_canary_replicas(stable, weight) == canary


@given(st.integers(1, 100), st.integers(1, 99))
def test_no_other_count_comes_nearer_by_more_than_rounding(stable: int, weight: int) -> None:
    chosen = approximate_canary_replicas(stable, weight)
    assert chosen >= 1
    exact = stable * weight / (100 - weight)
    assert chosen == 1 or abs(chosen - exact) <= 0.5
