"""So many updates of the operator's own making at a time, and none waits for ever."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.pacing import UpdateSlots

KEYS = [Key("models", name) for name in "abcdef"]
A, B, C, D = KEYS[:4]


class Slots:
    def __init__(self, limit: int) -> None:
        self.turns: list[Key] = []
        self.slots = UpdateSlots(limit, self.turns.append)

    def acquire(self, key: Key, seconds: float = 60.0) -> bool:
        return self.slots.acquire(key, seconds)


async def test_no_more_than_the_limit_update_and_the_others_get_their_turn_in_order() -> None:
    slots = Slots(2)
    assert [slots.acquire(key) for key in (A, B, C, D)] == [True, True, False, False]
    slots.slots.release(A)
    assert slots.turns == [C]
    assert slots.acquire(C)
    slots.slots.release(B)
    assert slots.turns == [C, D]


async def test_who_has_a_slot_keeps_it() -> None:
    slots = Slots(1)
    assert slots.acquire(A) and slots.acquire(A)
    assert not slots.acquire(B)


async def test_an_update_that_never_ends_holds_up_the_others_for_its_time_only() -> None:
    slots = Slots(1)
    assert slots.acquire(A, seconds=0.01)
    assert not slots.acquire(B)
    await asyncio.sleep(0.1)
    assert slots.turns == [B]
    assert slots.acquire(B)


async def test_who_waits_no_more_is_not_called() -> None:
    slots = Slots(1)
    assert slots.acquire(A)
    assert not slots.acquire(B)
    slots.slots.release(B)
    slots.slots.release(A)
    assert slots.turns == []


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS)), max_size=40),
)
def test_everybody_who_goes_on_asking_gets_a_slot(
    limit: int, steps: list[tuple[bool, Key]]
) -> None:
    async def run() -> None:
        slots = Slots(limit)
        updating: set[Key] = set()
        waiting: set[Key] = set()

        def ask(key: Key) -> None:
            got_it = slots.acquire(key)
            (updating if got_it else waiting).add(key)
            (waiting if got_it else updating).discard(key)
            assert len(updating) <= limit

        def end(key: Key) -> None:
            slots.slots.release(key)
            updating.discard(key)
            waiting.discard(key)
            while slots.turns:
                ask(slots.turns.pop(0))

        for is_release, key in steps:
            end(key) if is_release else ask(key)
        while waiting:
            assert updating, "all slots are free, and somebody waits uncalled"
            end(next(iter(updating)))

    asyncio.run(run())


async def test_who_is_called_and_needs_it_no_more_passes_the_turn_on() -> None:
    slots = Slots(1)
    assert [slots.acquire(key) for key in (A, B, C)] == [True, False, False]
    slots.slots.release(A)
    assert slots.turns == [B]
    assert not slots.acquire(D)  # not before those who have waited
    slots.slots.release(B)
    assert slots.turns == [B, C]
    assert slots.acquire(C)
