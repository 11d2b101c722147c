"""The schedule of a rollout."""

from __future__ import annotations

import doctest
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.spec import Spec
from mlflow_model_operator.rollout import steps
from mlflow_model_operator.rollout.steps import Schedule, Step, required_replicas, schedule

MODEL = {"uri": "models:/wine@champion"}


def scheduled(rollout: dict[str, Any], **spec: Any) -> Schedule:
    return schedule(Spec.model_validate({"model": MODEL, "rollout": rollout, **spec}))


def test_the_examples_are_true() -> None:
    assert doctest.testmod(steps).failed == 0


def test_a_strategy_stands_for_steps() -> None:
    assert scheduled({}) == scheduled({"strategy": "direct"}) == ()
    assert [step.weight for step in scheduled({"strategy": "canary"})] == [10, 25, 50]
    assert scheduled({"strategy": "blueGreen"}) == (Step(100, 300.0),)


def test_weights_may_come_in_any_order_and_a_pause_keeps_the_weight_before_it() -> None:
    written = [{"pause": {}}, {"weight": 50}, {"pause": {"duration": "5m"}}, {"weight": 10}]
    assert scheduled({"steps": written}) == (
        Step(0, math.inf),
        Step(50),
        Step(50, 300.0),
        Step(10),
    )


def test_a_canary_has_its_weight_and_no_steps() -> None:
    canary = {"uri": "models:/wine@challenger", "weight": 10}
    assert scheduled({"strategy": "canary"}, canary=canary) == ()


@given(st.integers(1, 1000), st.integers(0, 100))
def test_pods_are_enough_for_the_share_and_no_more(stable: int, weight: int) -> None:
    replicas = required_replicas(stable, weight)
    assert replicas * 100 >= stable * weight
    assert replicas == 1 or (replicas - 1) * 100 < stable * weight
    assert replicas <= stable
