"""Hints: each is acted on at once, and all of them no more often than the rate allows."""

from __future__ import annotations

import asyncio

import pytest

from mlflow_model_operator.registry.hints import Hint, Hints

WINE, BEER = Hint("http://mlflow", "wine"), Hint("http://mlflow", "beer")


async def test_the_first_does_not_wait() -> None:
    hints = Hints(rate=0.001)
    hints.add(WINE)

    async with asyncio.timeout(5):
        assert await hints.next() == WINE


async def test_no_more_than_so_many_per_second() -> None:
    hints, clock = Hints(rate=50), asyncio.get_running_loop().time
    started = clock()
    for number in range(6):
        hints.add(Hint("http://mlflow", str(number)))
    for _ in range(6):
        await hints.next()

    assert clock() - started >= 5 / 50


async def test_hints_of_one_model_that_wait_are_one() -> None:
    hints = Hints(rate=1000)
    for _ in range(100):
        hints.add(WINE)
    hints.add(BEER)

    assert [await hints.next(), await hints.next()] == [WINE, BEER]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await hints.next()


async def test_one_that_comes_during_its_poll_is_handed_out_after_that() -> None:
    hints = Hints(rate=1000)
    hints.add(WINE)
    await hints.next()
    hints.add(WINE)
    hints.add(BEER)

    assert await hints.next() == BEER
    hints.done(WINE)
    assert await hints.next() == WINE


async def test_next_waits_for_a_hint() -> None:
    hints = Hints(rate=1000)
    waiting = asyncio.create_task(hints.next())
    await asyncio.sleep(0)
    hints.add(BEER)

    assert await waiting == BEER
