"""What is predicted together, where, and what becomes of each request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mlflow_model_server.inference.batcher import Batcher


class Doubling:
    """A model that doubles numbers, fails for negative ones, and waits while it is told to."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.may_go = threading.Event()
        self.may_go.set()

    def predict(self, parts: Sequence[Any]) -> tuple[Any, Any, Any]:
        assert self.may_go.wait(30), "never allowed to go on"
        self.batches.append(len(parts))
        self.threads.add(threading.current_thread().name)
        rows = [row for part in parts for row in part]
        if any(row < 0 for row in rows):
            raise ValueError("negative")
        return [2 * row for row in rows], None, None


async def test_each_gets_its_own_part() -> None:
    model = Doubling()
    batcher = Batcher(model.predict, together=True)
    outcomes = await asyncio.gather(*(batcher.submit([i, i + 10], 2) for i in range(5)))
    assert [one.predictions for one in outcomes] == [[2 * i, 2 * i + 20] for i in range(5)]
    assert model.batches == [5]


async def test_what_came_meanwhile_goes_into_the_next() -> None:
    model = Doubling()
    model.may_go.clear()
    batcher = Batcher(model.predict, together=True)
    first = batcher.submit([1], 1)
    await asyncio.sleep(0)  # it begins
    others = [batcher.submit([i], 1) for i in range(4)]
    model.may_go.set()
    await asyncio.gather(first, *others)
    assert model.batches == [1, 4]


async def test_models_whose_rows_depend_on_each_other_get_requests_one_by_one() -> None:
    model = Doubling()
    batcher = Batcher(model.predict, together=False)
    await asyncio.gather(*(batcher.submit([i], 1) for i in range(4)))
    assert model.batches == [1, 1, 1, 1]


async def test_a_bad_request_does_not_hurt_the_others_of_its_batch() -> None:
    batcher = Batcher(Doubling().predict, together=True)
    good, bad, other = (batcher.submit([i], 1) for i in (1, -1, 3))
    assert (await good).predictions == [2]
    assert (await other).predictions == [6]
    with pytest.raises(ValueError, match="negative"):
        await bad


async def test_predictions_that_are_not_one_for_each_row_are_made_one_by_one() -> None:
    def summed(parts: Sequence[Any]) -> tuple[Any, Any, Any]:
        return [sum(row for part in parts for row in part)], None, None

    batcher = Batcher(summed, together=True)
    outcomes = await asyncio.gather(batcher.submit([1, 2], 2), batcher.submit([3, 4], 2))
    assert [one.predictions for one in outcomes] == [[3], [7]]


async def test_who_has_left_is_not_predicted() -> None:
    model = Doubling()
    model.may_go.clear()
    batcher = Batcher(model.predict, together=True)
    first = batcher.submit([1], 1)
    await asyncio.sleep(0)
    gone, waiting = batcher.submit([2], 1), batcher.submit([3], 1)
    gone.cancel()
    model.may_go.set()
    assert (await waiting).predictions == [6]
    await first
    assert model.batches == [1, 1]


async def test_quick_predictions_run_in_the_event_loop_slow_ones_in_a_thread() -> None:
    model = Doubling()
    prepared: list[str] = []
    batcher = Batcher(model.predict, True, lambda: prepared.append(threading.current_thread().name))
    assert not batcher.is_quick(1)  # not known yet
    while not batcher.is_quick(1):
        await batcher.submit([1], 1)
    model.threads.clear()
    await batcher.submit([1], 1)
    assert model.threads == {threading.current_thread().name}
    assert not batcher.is_quick(1000)
    await batcher.submit([1] * 1000, 1000)
    assert len(model.threads) == 2
    assert sorted(prepared) == sorted(model.threads)


async def test_who_waits_for_a_thread_waits_so_long_and_no_longer() -> None:
    model = Doubling()
    batcher = Batcher(model.predict, together=True, timeout=0.05)
    while not batcher.is_quick(1):
        await batcher.submit([1], 1)
    model.may_go.clear()
    quick, many = batcher.submit([1], 1), batcher.submit([1] * 1000, 1000)
    with pytest.raises(TimeoutError):
        await quick
    with pytest.raises(TimeoutError):
        await many
    assert not batcher.is_quick(1)  # the model is busy
    model.may_go.set()
    assert (await batcher.submit([1], 1)).predictions == [2]


async def test_a_quick_model_stays_quick_when_the_machine_falters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Doubling()
    batcher = Batcher(model.predict, together=True)
    for _ in range(9):
        await batcher.submit([1], 1)
    moments = iter([0.0, 0.0, 1.0, *([1.0] * 100)])  # a prediction that lasts a second
    monkeypatch.setattr(
        "mlflow_model_server.inference.batcher.time.perf_counter", lambda: next(moments)
    )
    await batcher.submit([1], 1)
    assert batcher.is_quick(1)
