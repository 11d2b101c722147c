from __future__ import annotations

import asyncio

from mlflow_model_operator.workqueue import KeyedQueue


async def test_a_key_added_twice_while_it_waits_is_processed_once() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("wine")
    queue.add("wine")
    assert await queue.get() == "wine"
    assert len(queue) == 0


async def test_a_key_added_while_it_is_processed_waits_until_that_is_done() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("wine")
    await queue.get()
    queue.add("wine")
    assert len(queue) == 0
    queue.done("wine")
    assert await queue.get() == "wine"


async def test_keys_come_in_the_order_of_their_arrival() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in ("a", "b", "a", "c"):
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


async def test_groups_take_turns() -> None:
    queue: KeyedQueue[str] = KeyedQueue(group=lambda key: key[0])
    for key in ("a1", "a2", "a3", "b1", "a4", "b2", "c1"):
        queue.add(key)
    assert [await queue.get() for _ in range(7)] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    assert queue.is_idle is False and len(queue) == 0


async def test_a_group_that_is_added_to_all_the_time_does_not_delay_another() -> None:
    queue: KeyedQueue[str] = KeyedQueue(group=lambda key: key[0])
    for number in range(1000):
        queue.add(f"a{number}")
    queue.add("b")
    before_b = 0
    while (key := await queue.get()) != "b":
        before_b += 1
        queue.add(key)
        queue.done(key)
    assert before_b <= 1


async def test_of_two_delays_the_earlier_counts() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add_after("wine", 3600)
    queue.add_after("wine", 0.01)
    queue.add_after("wine", 1800)
    assert await asyncio.wait_for(queue.get(), timeout=10) == "wine"


async def test_backoff_doubles_up_to_its_limit_and_is_reset_by_success() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    delays = [queue.add_failed("wine") for _ in range(9)]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    queue.succeeded("wine")
    assert queue.add_failed("wine") == 1
    queue.forget("wine")


async def test_the_wait_in_the_queue_is_reported() -> None:
    waits: list[float] = []
    queue: KeyedQueue[str] = KeyedQueue(on_wait=waits.append)
    queue.add("wine")
    await queue.get()
    assert len(waits) == 1 and waits[0] >= 0


async def test_no_key_is_ever_processed_by_two_workers_at_once() -> None:
    queue: KeyedQueue[int] = KeyedQueue()
    active: set[int] = set()
    worked = 0

    async def worker() -> None:
        nonlocal worked
        while True:
            key = await queue.get()
            assert key not in active
            active.add(key)
            await asyncio.sleep(0)
            active.discard(key)
            worked += 1
            queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(8)]
    for round_ in range(200):
        queue.add(round_ % 5)
        await asyncio.sleep(0)
    while len(queue) or active:
        await asyncio.sleep(0)
    for task in workers:
        task.cancel()
    assert worked >= 5
