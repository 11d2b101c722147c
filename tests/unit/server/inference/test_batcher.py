"""What is predicted together, where, and what becomes of each request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from mlflow_model_server.codecs.limits import SMALL_BODY
from mlflow_model_server.inference.batcher import Batcher, Crashed


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


class PanicException(BaseException):
    """As extensions in Rust raise it."""


@pytest.mark.parametrize(
    "error",
    [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), PanicException(), StopIteration()],
)
@pytest.mark.parametrize("quick", [False, True])
async def test_whatever_a_model_raises_the_next_request_is_predicted(
    error: BaseException, quick: bool
) -> None:
    def predict(parts: Sequence[Any]) -> tuple[Any, Any, Any]:
        if parts == [["bad"]]:
            raise error
        if ["bad"] in parts:
            raise ValueError("together with others")
        return [row for part in parts for row in part], None, None

    batcher = Batcher(predict, together=True)
    if quick:
        while not batcher.is_quick(1):
            await batcher.submit([1], 1)
    bad, good = batcher.submit(["bad"], 1), batcher.submit([2], 1)
    with pytest.raises(Crashed) as crashed:
        await bad
    assert crashed.value.__cause__ is error
    assert (await good).predictions == [2]
    assert (await batcher.submit([3], 1)).predictions == [3]


async def test_what_goes_wrong_around_a_prediction_keeps_nobody_waiting() -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("it could not be recorded")

    batcher = Batcher(Doubling().predict, together=True, on_batch=fails)
    failing: list[Any] = []

    def on_done(result: Any) -> None:
        failing.append(result)
        raise RuntimeError("its connection is gone")

    batcher.enqueue([1], 1, on_done, lambda: False)
    assert (await batcher.submit([2], 1)).predictions == [4]
    assert [result.predictions for result in failing] == [[2]]
    assert (await batcher.submit([3], 1)).predictions == [6]


async def test_without_a_thread_there_is_an_error_and_another_try() -> None:
    batcher = Batcher(Doubling().predict, together=True)
    submit, batcher._thread.submit = batcher._thread.submit, _no_thread  # type: ignore
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await batcher.submit([1], 1)
    batcher._thread.submit = submit  # type: ignore[method-assign]
    assert (await batcher.submit([1], 1)).predictions == [2]


def _no_thread(*_: Any) -> Any:
    raise RuntimeError("can't start new thread")


async def test_users_code_and_large_bodies_never_run_in_the_event_loop() -> None:
    model = Doubling()
    users = Batcher(model.predict, together=True, inline=False)
    for _ in range(20):
        await users.submit([1], 1)
    assert not users.is_quick(1)
    assert threading.current_thread().name not in model.threads
    batcher = Batcher(model.predict, together=True)
    while not batcher.is_quick(1):
        await batcher.submit([1], 1)
    assert not batcher.is_quick(1, largest=SMALL_BODY + 1)
    model.threads.clear()
    await asyncio.gather(batcher.submit([1], 1), batcher.submit([1], 1, size=SMALL_BODY + 1))
    assert threading.current_thread().name not in model.threads


async def test_a_quick_batch_says_that_fewer_rows_are_quick() -> None:
    batcher = Batcher(Doubling().predict, together=True)
    for _ in range(9):
        await asyncio.gather(*(batcher.submit([i], 1) for i in range(8)))
    assert batcher.is_quick(8) and batcher.is_quick(1)
    assert not batcher.is_quick(1000)


async def test_requests_that_nobody_waits_for_fill_no_memory_behind_one_that_hangs() -> None:
    model = Doubling()
    model.may_go.clear()
    batcher = Batcher(model.predict, together=True, timeout=0.01)
    first = batcher.submit([1], 1)
    await asyncio.sleep(0)
    assert batcher.stuck_seconds() == 0
    for _ in range(50):
        for waiting in [batcher.submit([2], 1) for _ in range(20)]:
            waiting.cancel()
    assert len(batcher._queue) <= 64
    with pytest.raises(TimeoutError):
        await first
    await asyncio.sleep(0.02)
    assert batcher.stuck_seconds() > 0
    model.may_go.set()
    assert (await batcher.submit([3], 1)).predictions == [6]
    assert batcher.stuck_seconds() == 0


@pytest.mark.parametrize("inline", [False, True])
async def test_what_a_model_sets_for_its_context_ends_with_the_batch(inline: bool) -> None:
    calls: ContextVar[int] = ContextVar("calls", default=0)

    def predict(parts: Sequence[Any]) -> tuple[Any, Any, Any]:
        calls.set(calls.get() + 1)
        return [calls.get() for part in parts for _ in part], None, None

    batcher = Batcher(predict, together=True, inline=inline)
    outcomes = [await batcher.submit([1], 1) for _ in range(20)]
    assert [outcome.predictions for outcome in outcomes] == [[1]] * 20
    assert calls.get() == 0
