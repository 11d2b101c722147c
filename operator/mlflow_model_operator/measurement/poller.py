"""Looks at the pods of rollouts that hold a step, each at its interval, and at no others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NoReturn

from mlflow_model_operator.analysis import Measurement, Reading, Report, Session
from mlflow_model_operator.analysis.counts import Counts
from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.resource import Key

log = logging.getLogger(__name__)

# After the end of a hold: times in the status are whole seconds.
END_MARGIN = 0.1


@dataclass
class _Subscription:
    """One rollout that holds a step."""

    session: Session
    due: float = 0.0  # by the event loop's clock
    report: Report | None = None
    is_looking: bool = field(default=False)

    @property
    def measurement(self) -> Measurement:
        return self.session.measurement


class MeasurementPoller:
    """What the metrics say of each rollout that holds a step; to be used from one event loop."""

    def __init__(
        self,
        read: Callable[[Measurement], Awaitable[Reading]],
        on_change: Callable[[Key], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`on_change` is called with each resource of which there is a new report."""
        self._read = read
        self._on_change = on_change
        self._clock = clock
        self._by_key: dict[Key, _Subscription] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._by_key)

    def report(self, key: Key) -> Report | None:
        """What was seen at the last look; None where there was none at this step."""
        subscription = self._by_key.get(key)
        return subscription.report if subscription else None

    def follow(self, key: Key, measurement: Measurement | None) -> None:
        """From now on the rollout of `key` is measured so, or not at all."""
        previous = self._by_key.get(key)
        if measurement is None:
            self.unsubscribe(key)
        elif previous is None or previous.measurement != measurement:
            carried = _carried(previous, measurement)
            self._by_key[key] = _Subscription(Session(measurement, carried))
            self._changed.set()

    def unsubscribe(self, key: Key) -> None:
        """The resource is gone, or needs no measuring."""
        self._by_key.pop(key, None)

    async def run(self) -> NoReturn:
        """Looks at each rollout when it is due, until cancelled."""
        async with asyncio.TaskGroup() as looks:
            while True:
                self._changed.clear()
                now = asyncio.get_running_loop().time()
                for key, subscription in list(self._by_key.items()):
                    if subscription.due <= now and not subscription.is_looking:
                        subscription.is_looking = True
                        looks.create_task(self._look(key, subscription))
                await self._sleep()

    async def _sleep(self) -> None:
        """Until the next look is due, or a look has ended, or another rollout holds a step."""
        waiting = (entry.due for entry in self._by_key.values() if not entry.is_looking)
        due = min(waiting, default=None)
        timeout = None if due is None else max(due - asyncio.get_running_loop().time(), 0.0)
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return

    async def _look(self, key: Key, subscription: _Subscription) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            reading = await self._read(subscription.measurement)
            # Meanwhile the rollout may have moved on, or another one begun.
            if self._by_key.get(key) is subscription:
                self._record(key, subscription, reading)
        except Exception:  # one rollout must not end the looks at all others
            log.exception("%s: failed to look at the metrics", key)
        finally:
            subscription.due = begun + self._seconds_to_next_look(subscription.measurement)
            subscription.is_looking = False
            self._changed.set()

    def _record(self, key: Key, subscription: _Subscription, reading: Reading) -> None:
        report = subscription.session.look(self._clock(), reading)
        if report is not None:
            subscription.report = report
            self._on_change(key)

    def _seconds_to_next_look(self, measurement: Measurement) -> float:
        """The interval, or until the step has been held for its time."""
        interval = quantity.seconds(measurement.analysis.interval)
        remaining = (measurement.until or 0.0) - self._clock()
        return min(interval, remaining + END_MARGIN) if remaining > 0 else interval


def _carried(previous: _Subscription | None, measurement: Measurement) -> Counts | None:
    """What the stable revision has counted at the step before, of the same rollout."""
    if previous is None:
        return None
    before, now = previous.measurement.step, measurement.step
    if (before.target, before.stable) != (now.target, now.stable):
        return None
    return previous.session.stable_window
