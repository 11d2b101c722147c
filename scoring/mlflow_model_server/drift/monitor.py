"""Counts a worker's rows into the bins of all workers, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Protocol, cast

import numpy as np

from mlflow_model_server.drift import baseline as baseline_file
from mlflow_model_server.drift import binning
from mlflow_model_server.drift.bins import MAX_BINS, Baseline, Bins
from mlflow_model_server.model.input_schema import is_dataframe
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_FLUSH_INTERVAL = 1.0  # seconds
# Bounds of the queue; rows beyond are dropped.
_MAX_VALUES = 1 << 21
# Text that is not measured counts as so many, and text of up to so many values is measured.
_LARGE = _MAX_VALUES // 16
_MAX_MEASURED = 64
# Splitting a DataFrame takes about 50 µs, however few rows it has.
_MAX_FRAMES = 256
# So much is counted at once: it takes about a millisecond, for which requests may have to wait.
_FLUSH_VALUES = 1 << 14

ARTIFACT = "artifact"
FIRST_ROWS = "first_rows"
# Names that are made here, and not by clients.
_OWN_NAMES = frozenset({binning.PREDICTION, *map(str, range(binning.MAX_FEATURES))})


class BaselineStore(Protocol):
    """The baseline of all workers."""

    def published(self) -> Any:
        """The published value, or None."""

    def publish(self, value: Any) -> Any:
        """Publishes `value` unless there is one; returns the published one."""


class DriftMonitor:
    """Queues rows in the event loop's thread, and counts them in another, which calls `flush`.

    Bounded in memory: rows that come faster than they are counted are dropped, and counted as
    dropped.

    Names and bins become labels of metrics. A client's text must not: without a baseline of its
    own, a model's numeric columns are monitored which its signature names, or which have numbers.
    """

    def __init__(
        self,
        store: BaselineStore,
        counters: memoryview[float],
        dropped: memoryview[float],
        baseline_rows: int,
    ) -> None:
        """`counters` has a number for each bin, `dropped` one: of the rows that are not counted."""
        self.feature_names: Sequence[str] = ()
        self.output_names: Sequence[str] = ()
        self.wake = threading.Event()
        self._store = store
        self._counters = counters
        self._dropped = dropped
        self._baseline_rows = baseline_rows
        self._queue: deque[tuple[Any, Any]] = deque()
        self._values = 0
        self._frames = 0
        self._counting: _Counting | None = None
        self._first: list[_Columns] = []

    def add(self, features: Any, predictions: Any, body_size: int = 0) -> None:
        """Queues the rows of a request or batch, which must not be changed afterwards.

        `body_size` is the number of bytes that the features had in the requests: their text has
        no more, and need not be measured.
        """
        try:
            size = _size_of_features(features, body_size) + _size(predictions)
        except Exception:  # predictions are objects of the model's own code
            self._dropped[0] += 1
            return
        framed = type(features) is not np.ndarray
        if self._values + size > _MAX_VALUES or (framed and self._frames >= _MAX_FRAMES):
            self._dropped[0] += _rows(features, predictions)
            return
        self._values += size
        self._frames += framed
        self._queue.append((features, predictions))
        if self._values > _FLUSH_VALUES:
            self.wake.set()

    def run(self) -> None:
        """Counts until the process ends: every second, and earlier if there is much."""
        while True:
            self.wake.wait(_FLUSH_INTERVAL)
            self.wake.clear()
            try:
                self.flush()
            # Of any class: numpy calls methods of objects that the model's own code returned. The
            # rows are lost, and those after them are counted.
            except BaseException:
                log.exception("rows could not be counted for drift")

    def flush(self) -> None:
        """Counts all rows of the queue."""
        batch = [self._queue.popleft() for _ in range(len(self._queue))]
        self._values = self._frames = 0
        if not batch:
            return
        columns = _Columns(
            _gathered(
                binning.feature_columns(part, self.feature_names)
                for part in _joined([features for features, _ in batch])
            ),
            _gathered(
                binning.prediction_columns(part)
                for part in _joined([predictions for _, predictions in batch])
            ),
        )
        if self._counting is None and (document := self._store.published()) is not None:
            self._counting = _Counting(Baseline.from_json(document), self._counters)
        if self._counting is not None:
            self._counting.add(columns)
        else:
            self._collect_baseline(columns)

    def _collect_baseline(self, columns: _Columns) -> None:
        """Collects the first rows until there are enough; then they are the baseline."""
        self._first.append(self._without_text_of_clients(columns))
        if sum(part.rows for part in self._first) < self._baseline_rows:
            return
        first, self._first = self._first, []
        baseline = binning.baseline_of(
            _gathered(part.features for part in first),
            _gathered(part.predictions for part in first),
            binning.live_bins,
        )
        if not publish(self._store, baseline, FIRST_ROWS):
            self._count_for_another(first)

    def _without_text_of_clients(self, columns: _Columns) -> _Columns:
        return _Columns(
            _numeric_of(columns.features, {*self.feature_names, *_OWN_NAMES}),
            _numeric_of(columns.predictions, {*_with_inner(self.output_names), *_OWN_NAMES}),
            columns.rows,
        )

    def _count_for_another(self, parts: list[_Columns]) -> None:
        """Another worker's first rows became the baseline: ours are ordinary rows."""
        self._counting = _Counting(Baseline.from_json(self._store.published()), self._counters)
        for part in parts:
            self._counting.add(part)


def start_drift_monitor(
    settings: Settings,
    store: BaselineStore,
    counters: memoryview[float],
    dropped: memoryview[float],
) -> DriftMonitor:
    """A monitor with its thread, and with the model's own baseline if it has one."""
    try:
        logged = baseline_file.load(settings.artifact)
    except (ValueError, OSError) as error:
        log.error("%s; the first %d rows are the baseline", error, settings.drift_baseline_rows)
        logged = None
    if logged is not None:
        publish(store, logged, ARTIFACT)
    monitor = DriftMonitor(store, counters, dropped, settings.drift_baseline_rows)
    threading.Thread(target=monitor.run, name="drift", daemon=True).start()
    return monitor


def publish(store: BaselineStore, baseline: Baseline, source: str) -> bool:
    """Makes a baseline the one of all workers; False if there is another one already."""
    document = {"source": source, **_fitting(baseline).to_json()}
    return bool(store.publish(document) is document)


def _fitting(baseline: Baseline) -> Baseline:
    """As many features as there is memory for; the predictions always."""
    left = MAX_BINS - sum(bins.size for bins in baseline.predictions)
    features: list[Bins] = []
    for bins in baseline.features:
        left -= bins.size
        if left < 0:
            log.warning("only the first %d features are monitored for drift", len(features))
            break
        features.append(bins)
    return Baseline(tuple(features), baseline.predictions)


class _Columns:
    """Rows, as columns by name; `rows` is their number if it is not that of the longest column."""

    def __init__(
        self,
        features: dict[str, binning.Column],
        predictions: dict[str, binning.Column],
        rows: int | None = None,
    ) -> None:
        self.features = features
        self.predictions = predictions
        self.rows = rows or max(map(len, [*features.values(), *predictions.values()]), default=0)


class _Counting:
    """The bins of the published baseline, and their counters."""

    def __init__(self, baseline: Baseline, counters: memoryview[float]) -> None:
        self._counters = counters
        placed = list(baseline.placed())
        self._features = placed[: len(baseline.features)]
        self._predictions = placed[len(baseline.features) :]

    def add(self, columns: _Columns) -> None:
        self._add(self._features, columns.features)
        self._add(self._predictions, columns.predictions)

    def _add(self, placed: list[tuple[Bins, int]], columns: dict[str, binning.Column]) -> None:
        for bins, start in placed:
            column = columns.get(bins.name)
            if column is None:
                continue
            for place, times in enumerate(binning.count(bins, column).tolist(), start=start):
                if times:
                    self._counters[place] += times


def _size_of_features(features: Any, body_size: int) -> int:
    if body_size and is_dataframe(features):
        # Not `size`: for so few rows, pandas takes longer over it than over all else here.
        return len(features.index) * len(features.columns) + body_size // 8
    return _size(features)


def _size(data: Any) -> int:
    """About how many numbers take as much memory as the data."""
    if type(data) is np.ndarray:
        return int(data.nbytes) // 8 + 1 if data.dtype.kind != "O" else _size_of_objects(data)
    if isinstance(data, dict):
        return sum(map(_size, data.values())) + 1
    if isinstance(data, list):
        return _size_of_text(data)
    if is_dataframe(data) and data.size > _MAX_MEASURED:
        return max(int(data.size), _LARGE if any(kind.kind == "O" for kind in data.dtypes) else 1)
    return _size_of_objects(data.values) if hasattr(data, "dtypes") else 1


def _size_of_objects(array: Any) -> int:
    if array.size > _MAX_MEASURED:
        return max(int(array.size), _LARGE)
    return _size_of_text(array.ravel().tolist())


def _size_of_text(values: Sequence[Any]) -> int:
    """Measuring takes time: of many values, it is assumed that some are long."""
    if len(values) > _MAX_MEASURED and not isinstance(values[0], (int, float)):
        return max(len(values), _LARGE)
    texts = (value for value in values[:_MAX_MEASURED] if isinstance(value, (str, bytes)))
    return len(values) + sum(map(len, texts)) // 8 + 1


def _rows(features: Any, predictions: Any) -> int:
    for data in (features, predictions):
        with suppress(Exception):  # it has no length
            return len(data)
    return 1


def _numeric_of(
    columns: dict[str, binning.Column], names: Collection[str]
) -> dict[str, binning.Column]:
    return {
        name: column
        for name, column in columns.items()
        if name in names and column.dtype.kind == "f"
    }


def _with_inner(names: Iterable[str]) -> Iterator[str]:
    """The names, and those of the columns of arrays with these names."""
    for name in names:
        yield name
        yield from (f"{name}-{number}" for number in range(binning.MAX_OUTPUTS))


def _joined(parts: list[Any]) -> list[Any]:
    """Neighbours of the same shape as one: for so few rows, each call of numpy has its cost."""
    kinds = set(map(type, parts))
    with suppress(ValueError, KeyError):  # they differ in shapes or names
        if kinds == {np.ndarray}:
            return [np.concatenate(parts)]
        if kinds == {dict}:  # arrays by name
            return [{name: np.concatenate([p[name] for p in parts]) for name in parts[0]}]
    return _grouped(parts)


def _grouped(parts: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for (kind, *_), group in groupby(parts, _shape):
        same = list(group)
        if len(same) > 1 and kind == "array":
            joined.append(np.concatenate(same))
        elif len(same) > 1 and kind == "frame":
            joined.append(_concatenated(same))
        elif len(same) > 1 and kind == "list":
            joined.append([value for part in same for value in part])
        else:
            joined.extend(same)
    return joined


def _shape(part: Any) -> tuple[Any, ...]:
    if isinstance(part, np.ndarray) and part.ndim:
        return "array", part.shape[1:], part.dtype.kind
    if is_dataframe(part):
        return "frame", tuple(part.columns), tuple(map(str, part.dtypes))
    return ("list",) if isinstance(part, list) else ("other",)


def _concatenated(frames: list[Any]) -> Any:
    import pandas  # loaded already: these are its frames

    return pandas.concat(frames, ignore_index=True)


def _gathered(parts: Iterable[dict[str, binning.Column]]) -> dict[str, binning.Column]:
    """One column for each name, from parts that may have different ones."""
    columns: dict[str, list[binning.Column]] = {}
    for part in parts:
        for name, column in part.items():
            columns.setdefault(name, []).append(column)
    return {name: _concatenate(same) for name, same in columns.items()}


def _concatenate(parts: list[binning.Column]) -> binning.Column:
    # Of floats and objects numpy makes objects.
    if len(parts) == 1:
        return parts[0]
    joined: Any = np.concatenate(parts)
    return cast(binning.Column, joined)
