"""What a worker calls for each request. All calls take about a microsecond, and none raises.

They are for one thread, the event loop's: two that add to the same number could lose one.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.shared_memory import Shared
from mlflow_model_server.metrics.slots import BATCH_REQUESTS, BATCH_ROWS, SECONDS, SIZES
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.drift.monitor import Watcher
    from mlflow_model_server.request_log import RequestLog

_IN_FLIGHT = slots.IN_FLIGHT
_SUM_OF_SECONDS = len(SECONDS) + 1
_SUM_OF_SIZES = len(SIZES) + 1
_QUEUE, _DECODE, _PREDICT, _ENCODE = map(slots.phase_at, range(4))


class Recorder:
    """Adds to one worker's numbers.

    `request_log` is None unless one was asked for: ask its `wants()` before gathering what it logs.
    """

    def __init__(
        self,
        numbers: memoryview[float],
        watcher: Watcher | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        self._numbers = numbers
        self._in_flight = 0
        self._watcher = watcher
        self.request_log = request_log
        self._routes = {
            route: (slots.requests_at(i) - slots.CODES.start, slots.duration_at(i))
            for i, route in enumerate(slots.ROUTES)
        }
        self._other = self._routes[slots.OTHER]

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended: add and subtract 1."""
        return self._in_flight

    @in_flight.setter
    def in_flight(self, requests: int) -> None:
        self._in_flight = requests
        self._numbers[_IN_FLIGHT] = requests

    def finished(self, route: str, code: int, seconds: float) -> None:
        """A request to `route` (one of slots.ROUTES, else it counts as "other") was answered."""
        numbers = self._numbers
        count, duration = self._routes.get(route, self._other)
        if 100 <= code < 600:
            numbers[count + code] += 1
        numbers[duration + bisect_left(SECONDS, seconds)] += 1
        numbers[duration + _SUM_OF_SECONDS] += seconds

    def phases(self, queue: float, decode: float, predict: float, encode: float) -> None:
        """Where a request's seconds went."""
        numbers = self._numbers
        numbers[_QUEUE + bisect_left(SECONDS, queue)] += 1
        numbers[_QUEUE + _SUM_OF_SECONDS] += queue
        numbers[_DECODE + bisect_left(SECONDS, decode)] += 1
        numbers[_DECODE + _SUM_OF_SECONDS] += decode
        numbers[_PREDICT + bisect_left(SECONDS, predict)] += 1
        numbers[_PREDICT + _SUM_OF_SECONDS] += predict
        numbers[_ENCODE + bisect_left(SECONDS, encode)] += 1
        numbers[_ENCODE + _SUM_OF_SECONDS] += encode

    def batch(self, requests: int, rows: int) -> None:
        """So many requests, of so many rows together, were predicted at once."""
        numbers = self._numbers
        numbers[BATCH_REQUESTS + bisect_left(SIZES, requests)] += 1
        numbers[BATCH_REQUESTS + _SUM_OF_SIZES] += requests
        numbers[BATCH_ROWS + bisect_left(SIZES, rows)] += 1
        numbers[BATCH_ROWS + _SUM_OF_SIZES] += rows

    def model_is(self, feature_names: Sequence[str]) -> None:
        """Names the columns of the arrays that `rows` gets; without names they are 0, 1, …"""
        if self._watcher is not None:
            self._watcher.feature_names = tuple(map(str, feature_names))

    def rows(self, features: Any, predictions: Any = None) -> None:
        """What was predicted, for the drift: kept by reference and binned later, in bulk.

        `features` is an array (rows, columns) or a DataFrame, `predictions` an array (rows,) or
        (rows, outputs), a dict of such, a Series, a DataFrame or a list; anything else is not
        watched. Neither may be changed afterwards.
        """
        if self._watcher is not None:
            self._watcher.add(features, predictions)


def make_recorder(settings: Settings, shared: Shared, slot: int = 0) -> Recorder:
    """The recorder of the worker with number `slot`, from 0; call it in the worker.

    A worker that replaces an ended one has the same number.
    """
    numbers = shared.slot(slot)
    numbers[slots.IN_FLIGHT] = 0  # the ended worker's requests ended with it
    numbers[slots.PID] = os.getpid()
    return Recorder(
        numbers, _watcher(settings, shared, numbers), _request_log(settings, slot, numbers)
    )


def _watcher(settings: Settings, shared: Shared, numbers: memoryview[float]) -> Watcher | None:
    if not settings.drift:
        return None
    # Imported here: it needs numpy, which is not to be loaded before the model's packages are used.
    from mlflow_model_server.drift.monitor import start_watcher

    dropped = _one_of(numbers, slots.DRIFT_ROWS_DROPPED)
    return start_watcher(settings, shared, numbers[slots.DRIFT :], dropped)


def _request_log(settings: Settings, slot: int, numbers: memoryview[float]) -> RequestLog | None:
    if settings.request_log == "off":
        return None
    from mlflow_model_server.request_log import start_request_log

    return start_request_log(settings, slot, _one_of(numbers, slots.REQUEST_LOG_DROPPED))


def _one_of(numbers: memoryview[float], place: int) -> memoryview[float]:
    """The number there, for who is to know of no other."""
    return numbers[place : place + 1]
