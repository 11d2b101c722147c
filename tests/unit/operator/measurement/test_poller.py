"""Which rollouts are looked at, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from mlflow_model_operator.analysis import Measurement, Reading
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.spec import Analysis
from mlflow_model_operator.measurement import MeasurementPoller
from tests.unit.operator.analysis.steps import KEY, both, measurement

WITHIN = 20.0  # seconds
OTHER = Key("models", "other")


class Pods:
    """What is read, and how often."""

    def __init__(self) -> None:
        self.reads: list[Measurement] = []
        self.failing: set[Key] = set()
        self.hanging: set[Key] = set()

    async def read(self, wanted: Measurement) -> Reading:
        self.reads.append(wanted)
        if wanted.key in self.failing:
            raise RuntimeError("a bug")
        if wanted.key in self.hanging:
            await asyncio.Event().wait()
        count = 100 * len(self.reads)
        return both({200: count}, {200: 9 * count})

    def of(self, key: Key) -> int:
        return sum(wanted.key == key for wanted in self.reads)


@asynccontextmanager
async def polling(pods: Pods) -> AsyncIterator[tuple[MeasurementPoller, list[Key]]]:
    changed: list[Key] = []
    poller = MeasurementPoller(pods.read, on_change=changed.append)
    task = asyncio.create_task(poller.run())
    try:
        yield poller, changed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN):
        while not holds():
            await asyncio.sleep(0.01)


def of(key: Key, interval: str = "1s", until: float | None = None) -> Measurement:
    return replace(measurement(), key=key, analysis=Analysis(interval=interval), until=until)


async def test_without_a_rollout_nothing_is_read() -> None:
    pods = Pods()
    async with polling(pods) as (poller, _):
        poller.follow(KEY, None)
        for _ in range(100):
            await asyncio.sleep(0)
        assert pods.reads == []
        assert poller.report(KEY) is None


async def test_a_rollout_is_read_at_once_and_then_at_its_interval() -> None:
    pods = Pods()
    async with polling(pods) as (poller, changed):
        begun = time.monotonic()
        poller.follow(KEY, of(KEY))
        await until(lambda: pods.of(KEY) == 1)
        assert changed == [], "the first reading only begins the window"
        await until(lambda: changed)
        assert time.monotonic() - begun >= 1
        assert changed == [KEY]
        report = poller.report(KEY)
        assert report is not None and report.target_requests == 100


async def test_what_is_followed_already_goes_on() -> None:
    pods = Pods()
    async with polling(pods) as (poller, _):
        poller.follow(KEY, of(KEY))
        await until(lambda: poller.report(KEY))
        poller.follow(KEY, replace(of(KEY), tests=5, until=7.0))
        assert poller.report(KEY) is not None
        assert pods.of(KEY) == 2


async def test_another_step_begins_another_window() -> None:
    pods = Pods()
    async with polling(pods) as (poller, _):
        poller.follow(KEY, of(KEY))
        await until(lambda: poller.report(KEY))
        poller.follow(KEY, replace(of(KEY), step=replace(measurement().step, step=1)))
        assert poller.report(KEY) is None
        await until(lambda: poller.report(KEY))


async def test_what_is_followed_no_more_is_read_no_more() -> None:
    pods = Pods()
    async with polling(pods) as (poller, _):
        poller.follow(KEY, of(KEY))
        poller.follow(OTHER, of(OTHER))
        await until(lambda: pods.of(KEY) and pods.of(OTHER))
        poller.follow(KEY, None)
        reads = pods.of(KEY)
        await until(lambda: pods.of(OTHER) == 3)
        assert pods.of(KEY) == reads
        assert len(poller) == 1


async def test_the_end_of_a_step_is_looked_at_without_waiting_for_the_interval() -> None:
    pods = Pods()
    async with polling(pods) as (poller, _):
        end = time.time() + 1
        poller.follow(KEY, of(KEY, "1h", until=end))
        await until(lambda: poller.report(KEY))
        report = poller.report(KEY)
        assert report is not None and end <= report.at < end + WITHIN


async def test_a_rollout_that_hangs_or_fails_holds_up_no_other() -> None:
    pods = Pods()
    pods.hanging, pods.failing = {OTHER}, {Key("models", "third")}
    async with polling(pods) as (poller, changed):
        for key in (OTHER, Key("models", "third"), KEY):
            poller.follow(key, of(key))
        await until(lambda: changed == [KEY])
        await until(lambda: pods.of(Key("models", "third")) == 2)
        assert pods.of(OTHER) == 1
