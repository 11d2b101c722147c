"""Records a worker's requests. All calls take about a microsecond, and none raises.

They are for one thread, the event loop's: with two, additions to a number could be lost.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.metrics.slots import (
    BATCH_REQUESTS,
    BATCH_ROWS,
    SECONDS,
    SIZES,
    STREAM_SECONDS,
)
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.drift.feature_age import FeatureAges
    from mlflow_model_server.drift.monitor import DriftMonitor
    from mlflow_model_server.request_log import RequestLog

_IN_FLIGHT = slots.IN_FLIGHT
_SECONDS_SUM = len(SECONDS) + 1
_SIZES_SUM = len(SIZES) + 1
_QUEUE, _DECODE, _PREDICT, _ENCODE = map(slots.phase_at, range(4))


class Recorder:
    """Adds to one worker's numbers.

    `request_log` is None unless it is configured: call its `should_log()` before its `write()`.
    """

    def __init__(
        self,
        numbers: memoryview[float],
        drift_monitor: DriftMonitor | None = None,
        request_log: RequestLog | None = None,
        feature_ages: FeatureAges | None = None,
    ) -> None:
        self._numbers = numbers
        self._in_flight = 0
        self._drift_monitor = drift_monitor
        self._feature_ages = feature_ages
        self.request_log = request_log
        self._routes = {
            route: (slots.requests_at(i) - slots.CODES.start, slots.duration_at(i))
            for i, route in enumerate(slots.ROUTES)
        }
        self._other = self._routes[slots.OTHER]

    @property
    def in_flight(self) -> int:
        """Requests that have begun and have not ended: add and subtract 1."""
        return self._in_flight

    @in_flight.setter
    def in_flight(self, requests: int) -> None:
        self._in_flight = requests
        self._numbers[_IN_FLIGHT] = requests

    def observe_request(self, route: str, code: int, seconds: float) -> None:
        """A request to `route` (one of slots.ROUTES, else it counts as "other") was answered."""
        numbers = self._numbers
        count, duration = self._routes.get(route, self._other)
        if 100 <= code < 600:
            numbers[count + code] += 1
        numbers[duration + bisect_left(SECONDS, seconds)] += 1
        numbers[duration + _SECONDS_SUM] += seconds

    def observe_phases(self, queue: float, decode: float, predict: float, encode: float) -> None:
        """The seconds of each phase of a request."""
        numbers = self._numbers
        numbers[_QUEUE + bisect_left(SECONDS, queue)] += 1
        numbers[_QUEUE + _SECONDS_SUM] += queue
        numbers[_DECODE + bisect_left(SECONDS, decode)] += 1
        numbers[_DECODE + _SECONDS_SUM] += decode
        numbers[_PREDICT + bisect_left(SECONDS, predict)] += 1
        numbers[_PREDICT + _SECONDS_SUM] += predict
        numbers[_ENCODE + bisect_left(SECONDS, encode)] += 1
        numbers[_ENCODE + _SECONDS_SUM] += encode

    def observe_batch(self, requests: int, rows: int) -> None:
        """One call of the model predicted `requests`, with `rows` together."""
        numbers = self._numbers
        numbers[BATCH_REQUESTS + bisect_left(SIZES, requests)] += 1
        numbers[BATCH_REQUESTS + _SIZES_SUM] += requests
        numbers[BATCH_ROWS + bisect_left(SIZES, rows)] += 1
        numbers[BATCH_ROWS + _SIZES_SUM] += rows

    def observe_stream(self, first_event: float, seconds: float, events: int) -> None:
        """A stream has ended: the seconds to its first event and to its end."""
        numbers = self._numbers
        numbers[slots.STREAM_EVENTS] += events
        for start, value in (
            (slots.STREAM_FIRST_EVENTS, first_event),
            (slots.STREAM_DURATIONS, seconds),
        ):
            numbers[start + bisect_left(STREAM_SECONDS, value)] += 1
            numbers[start + len(STREAM_SECONDS) + 1] += value

    def set_column_names(self, features: Sequence[str], outputs: Sequence[str]) -> None:
        """Names the columns of inputs and outputs, as the model's signature does.

        Columns of arrays that it does not name are called 0, 1, …
        """
        if self._drift_monitor is not None:
            self._drift_monitor.feature_names = tuple(features)
            self._drift_monitor.output_names = tuple(outputs)
        if self._feature_ages is not None:
            self._feature_ages.feature_names = tuple(features)

    def observe_rows(self, features: Any, predictions: Any = None, size: int = 0) -> None:
        """Rows and their predictions, for drift and for the age of the features.

        For drift, references are stored, and counted later in bulk.

        `features` is an array (rows, columns) or a DataFrame, `predictions` an array (rows,) or
        (rows, outputs), a dict of such, a Series, a DataFrame or a list; anything else is not
        watched. Neither may be changed afterwards. `size` is the number of bytes that the features
        had in the requests; without it, text is measured.
        """
        if self._drift_monitor is not None:
            self._drift_monitor.add(features, predictions, size)
        if self._feature_ages is not None:
            self._feature_ages.observe(features)


def make_recorder(settings: Settings, shared: SharedMemory, slot: int = 0) -> Recorder:
    """The recorder of the worker with number `slot`, from 0; call it in the worker.

    A worker that replaces an ended one has the same number.
    """
    numbers = shared.slot(slot)
    numbers[slots.IN_FLIGHT] = 0  # the ended worker's requests ended with it
    numbers[slots.PID] = os.getpid()
    return Recorder(
        numbers,
        _drift_monitor(settings, shared, numbers),
        _request_log(settings, slot, numbers),
        _feature_ages(settings, numbers),
    )


def _drift_monitor(
    settings: Settings, shared: SharedMemory, numbers: memoryview[float]
) -> DriftMonitor | None:
    if not settings.drift:
        return None
    # Imported here: it needs numpy, which is not to be loaded before the model's packages are used.
    from mlflow_model_server.drift.monitor import start_drift_monitor

    dropped = _number_at(numbers, slots.DRIFT_ROWS_DROPPED)
    return start_drift_monitor(settings, shared, numbers[slots.DRIFT :], dropped)


def _feature_ages(settings: Settings, numbers: memoryview[float]) -> FeatureAges | None:
    if settings.staleness_column is None:
        return None
    from mlflow_model_server.drift.feature_age import FeatureAges  # as above: it needs numpy

    invalid = _number_at(numbers, slots.FEATURE_AGE_INVALID)
    return FeatureAges(settings.staleness_column, numbers[slots.FEATURE_AGES :], invalid)


def _request_log(settings: Settings, slot: int, numbers: memoryview[float]) -> RequestLog | None:
    if settings.request_log == "off":
        return None
    from mlflow_model_server.request_log import start_request_log

    return start_request_log(settings, slot, _number_at(numbers, slots.REQUEST_LOG_DROPPED))


def _number_at(numbers: memoryview[float], place: int) -> memoryview[float]:
    """The number at `place`, without the others."""
    return numbers[place : place + 1]
