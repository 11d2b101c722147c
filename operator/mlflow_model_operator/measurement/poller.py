"""Looks at the pods of what is measured, each at its interval, and at no others."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, NoReturn, Protocol, TypeVar

from mlflow_model_operator.analysis import Measurement, Reading, Report, Session
from mlflow_model_operator.analysis.counts import Counts
from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.resource import Key

log = logging.getLogger(__name__)

# After the end of a hold: times in the status are whole seconds.
END_MARGIN = 0.1
M = TypeVar("M")  # what is measured
R = TypeVar("R", covariant=True)  # what is reported of it


class Looks(Protocol[M, R]):
    """The looks at one subscription, of which each may remember those before."""

    measurement: M

    def look(self, at: float, reading: Reading) -> R | None:
        """What is to be reported after one more reading."""


@dataclass
class Subscription(Generic[M, R]):
    """What is measured of one resource."""

    looks: Looks[M, R]
    due: float = 0.0  # by the event loop's clock
    report: R | None = None
    is_looking: bool = field(default=False)


class Poller(ABC, Generic[M, R]):
    """What is reported of each resource that is measured; to be used from one event loop."""

    def __init__(
        self,
        read: Callable[[M], Awaitable[Reading]],
        on_change: Callable[[Key], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`on_change` is called with each resource of which there is a new report."""
        self._read = read
        self._on_change = on_change
        self._clock = clock
        self._by_key: dict[Key, Subscription[M, R]] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._by_key)

    def report(self, key: Key) -> R | None:
        """What was seen at the last look; None where there was none at what is measured now."""
        subscription = self._by_key.get(key)
        return subscription.report if subscription else None

    def follow(self, key: Key, measurement: M | None) -> None:
        """From now on the resource `key` is measured so, or not at all."""
        previous = self._by_key.get(key)
        if measurement is None:
            self.unsubscribe(key)
        elif previous is None or previous.looks.measurement != measurement:
            self._by_key[key] = Subscription(self._begin(measurement, previous))
            self._changed.set()

    def unsubscribe(self, key: Key) -> None:
        """The resource is gone, or needs no measuring."""
        self._by_key.pop(key, None)

    async def run(self) -> NoReturn:
        """Looks at each resource when it is due, until cancelled."""
        async with asyncio.TaskGroup() as looks:
            while True:
                self._changed.clear()
                now = asyncio.get_running_loop().time()
                for key, subscription in list(self._by_key.items()):
                    if subscription.due <= now and not subscription.is_looking:
                        subscription.is_looking = True
                        looks.create_task(self._look(key, subscription))
                await self._sleep()

    @abstractmethod
    def _begin(self, measurement: M, previous: Subscription[M, R] | None, /) -> Looks[M, R]:
        """The looks at what is measured from now on; `previous` is what was measured before."""

    @abstractmethod
    def _seconds_to_next_look(self, measurement: M) -> float:
        """From the beginning of one look to that of the next."""

    async def _sleep(self) -> None:
        """Until the next look is due, or a look has ended, or there is more to measure."""
        waiting = (entry.due for entry in self._by_key.values() if not entry.is_looking)
        due = min(waiting, default=None)
        timeout = None if due is None else max(due - asyncio.get_running_loop().time(), 0.0)
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return

    async def _look(self, key: Key, subscription: Subscription[M, R]) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            reading = await self._read(subscription.looks.measurement)
            # Meanwhile the rollout may have moved on, or another one begun.
            if self._by_key.get(key) is subscription:
                self._record(key, subscription, reading)
        except Exception:  # one resource must not end the looks at all others
            log.exception("%s: failed to look at the metrics", key)
        finally:
            subscription.due = begun + self._seconds_to_next_look(subscription.looks.measurement)
            subscription.is_looking = False
            self._changed.set()

    def _record(self, key: Key, subscription: Subscription[M, R], reading: Reading) -> None:
        report = subscription.looks.look(self._clock(), reading)
        if report is not None:
            subscription.report = report
            self._on_change(key)


class MeasurementPoller(Poller[Measurement, Report]):
    """What the metrics say of each rollout that holds a step."""

    def _begin(
        self, measurement: Measurement, previous: Subscription[Measurement, Report] | None
    ) -> Session:
        return Session(measurement, _carried(previous, measurement))

    def _seconds_to_next_look(self, measurement: Measurement) -> float:
        """The interval, or until the step has been held for its time."""
        interval = quantity.seconds(measurement.analysis.interval)
        remaining = (measurement.until or 0.0) - self._clock()
        return min(interval, remaining + END_MARGIN) if remaining > 0 else interval


def _carried(
    previous: Subscription[Measurement, Report] | None, measurement: Measurement
) -> Counts | None:
    """What the stable revision has counted at the step before, of the same rollout."""
    if previous is None or not isinstance(previous.looks, Session):
        return None
    before, now = previous.looks.measurement.step, measurement.step
    if (before.target, before.stable) != (now.target, now.stable):
        return None
    return previous.looks.stable_window
