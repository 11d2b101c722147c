"""Pods that are exchanged a few at a time."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.rollout import exchange as module
from mlflow_model_operator.rollout.exchange import Exchange, exchange

ROOM = st.integers(1, 200).flatmap(
    lambda replicas: st.builds(Exchange, st.just(replicas), st.integers(0, replicas - 1))
)


def test_the_examples_in_the_code() -> None:
    assert doctest.testmod(module).failed == 0


@given(room=ROOM)
def test_no_step_needs_more_room_or_leaves_fewer_pods_than_it_may(room: Exchange) -> None:
    steps = room.schedule
    for number in range(len(steps) + 1):
        pods = room.pods_at(number)
        beside = room.stable_pods(pods)
        assert pods + beside <= room.replicas + room.surge
        before = room.pods_at(number - 1) if number else 0
        assert before + beside >= room.replicas - (room.surge == 0)
        assert beside >= 1 or room.has_gap
        assert pods > before


@given(room=ROOM)
def test_shares_grow_and_are_those_of_the_pods(room: Exchange) -> None:
    weights = [step.weight for step in room.schedule]
    assert weights == sorted(weights)
    assert all(1 <= weight < 100 for weight in weights)
    for number, step in enumerate(room.schedule):
        assert step.pods == room.pods_at(number)
        beside = room.stable_pods(room.pods_at(number + 1))
        assert abs(step.weight - 100 * step.pods / (step.pods + beside)) <= 1


@given(percent=st.integers(0, 100), replicas=st.integers(1, 200))
def test_the_surge_is_rounded_up(percent: int, replicas: int) -> None:
    room = exchange(percent, replicas)
    if room is None:
        assert percent * replicas > 100 * (replicas - 1)
    else:
        assert 0 <= room.surge - percent * replicas / 100 < 1
