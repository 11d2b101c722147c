"""Counts what a worker predicted into bins that all workers agreed on, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Protocol, cast

import numpy as np

from mlflow_model_server.drift import baseline as baseline_file
from mlflow_model_server.drift import binning
from mlflow_model_server.drift.bins import MOST_BINS, Baseline, Bins
from mlflow_model_server.model.input_schema import is_frame
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_SECONDS_BETWEEN = 1.0
# What may wait to be counted; beyond, rows are dropped.
_MOST_VALUES = 1 << 21
# So much is counted at once: it takes about a millisecond, for which requests may have to wait.
_MANY_VALUES = 1 << 14
# Taking a frame apart costs about 50 µs, however few rows it has.
_MOST_FRAMES = 256

ARTIFACT = "artifact"
FIRST_ROWS = "first_rows"


class Agreement(Protocol):
    """What all workers agree on."""

    def agreed(self) -> Any:
        """What `agree` was told, or None."""

    def agree(self, told: Any) -> Any:
        """Makes `told` known to all, if nothing is; returns what is known."""


class Watcher:
    """Takes rows from the event loop's thread, and counts them in another when `flush` is called.

    Bounded in memory: what comes faster than it is counted is dropped, and counted as dropped.
    """

    def __init__(
        self,
        shared: Agreement,
        counters: memoryview[float],
        dropped: memoryview[float],
        baseline_rows: int,
    ) -> None:
        """`counters` has a number for each bin, `dropped` one: of the rows that are not counted."""
        self.feature_names: Sequence[str] = ()
        self.wake = threading.Event()
        self._shared = shared
        self._counters = counters
        self._dropped = dropped
        self._baseline_rows = baseline_rows
        self._waiting: deque[tuple[Any, Any]] = deque()
        self._values = 0
        self._frames = 0
        self._counted: _Counted | None = None
        self._first: list[_Columns] = []

    def add(self, features: Any, predictions: Any) -> None:
        """Takes one request's or batch's rows; they must not be changed afterwards."""
        size = getattr(features, "size", None) or 1
        framed = not isinstance(features, np.ndarray)
        if self._values + size > _MOST_VALUES or (framed and self._frames >= _MOST_FRAMES):
            self._dropped[0] += _rows(features, predictions)
            return
        self._values += size
        self._frames += framed
        self._waiting.append((features, predictions))
        if self._values > _MANY_VALUES:
            self.wake.set()

    def run(self) -> None:
        """Counts for ever: every second, and earlier if much has gathered."""
        while True:
            self.wake.wait(_SECONDS_BETWEEN)
            self.wake.clear()
            try:
                self.flush()
            except Exception:
                # Watching must never end serving; the rows are lost, and it goes on.
                log.exception("rows could not be counted for the drift")

    def flush(self) -> None:
        """Counts all that waits."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._values = self._frames = 0
        if not taken:
            return
        columns = _Columns(
            _gathered(
                binning.feature_columns(part, self.feature_names)
                for part in _joined([features for features, _ in taken])
            ),
            _gathered(
                binning.prediction_columns(part)
                for part in _joined([predictions for _, predictions in taken])
            ),
        )
        if self._counted is None and (told := self._shared.agreed()) is not None:
            self._counted = _Counted(Baseline.from_json(told), self._counters)
        if self._counted is not None:
            self._counted.add(columns)
        else:
            self._wait_for_baseline(columns)

    def _wait_for_baseline(self, columns: _Columns) -> None:
        """Keeps the first rows until there are enough; then they are the baseline."""
        self._first.append(columns)
        if sum(part.rows for part in self._first) < self._baseline_rows:
            return
        first, self._first = self._first, []
        made = binning.baseline_of(
            _gathered(part.features for part in first),
            _gathered(part.predictions for part in first),
            binning.round_steps,
        )
        if not share(self._shared, made, FIRST_ROWS):
            self._count_after_another(first)

    def _count_after_another(self, parts: list[_Columns]) -> None:
        """Another worker's first rows became the baseline: ours are rows as any."""
        self._counted = _Counted(Baseline.from_json(self._shared.agreed()), self._counters)
        for part in parts:
            self._counted.add(part)


def start_watcher(
    settings: Settings,
    shared: Agreement,
    counters: memoryview[float],
    dropped: memoryview[float],
) -> Watcher:
    """A watcher with its thread, and with the model's own baseline where it brings one."""
    try:
        logged = baseline_file.load(settings.artifact)
    except (ValueError, OSError) as error:
        log.error("%s; the first %d rows are the baseline", error, settings.drift_baseline_rows)
        logged = None
    if logged is not None:
        share(shared, logged, ARTIFACT)
    watcher = Watcher(shared, counters, dropped, settings.drift_baseline_rows)
    threading.Thread(target=watcher.run, name="drift", daemon=True).start()
    return watcher


def share(shared: Agreement, made: Baseline, source: str) -> bool:
    """Makes a baseline the one of all workers; False if there is another one already."""
    told = {"source": source, **_fitting(made).to_json()}
    return bool(shared.agree(told) is told)


def _fitting(made: Baseline) -> Baseline:
    """As many features as there is memory for; the predictions always."""
    left = MOST_BINS - sum(bins.size for bins in made.predictions)
    features: list[Bins] = []
    for bins in made.features:
        left -= bins.size
        if left < 0:
            log.warning("only the first %d features are watched for drift", len(features))
            break
        features.append(bins)
    return Baseline(tuple(features), made.predictions)


class _Columns:
    def __init__(
        self, features: dict[str, binning.Column], predictions: dict[str, binning.Column]
    ) -> None:
        self.features = features
        self.predictions = predictions

    @property
    def rows(self) -> int:
        return max(map(len, [*self.features.values(), *self.predictions.values()]), default=0)


class _Counted:
    """The bins that were agreed on, and their counters."""

    def __init__(self, known: Baseline, counters: memoryview[float]) -> None:
        self._counters = counters
        placed = list(known.placed())
        self._features = placed[: len(known.features)]
        self._predictions = placed[len(known.features) :]

    def add(self, columns: _Columns) -> None:
        self._add(self._features, columns.features)
        self._add(self._predictions, columns.predictions)

    def _add(self, watched: list[tuple[Bins, int]], columns: dict[str, binning.Column]) -> None:
        for bins, start in watched:
            column = columns.get(bins.name)
            if column is None:
                continue
            for place, times in enumerate(binning.count(bins, column).tolist(), start=start):
                if times:
                    self._counters[place] += times


def _rows(features: Any, predictions: Any) -> int:
    for data in (features, predictions):
        if hasattr(data, "__len__"):
            return len(data)
    return 1


def _joined(parts: list[Any]) -> list[Any]:
    """Neighbours of one shape as one: what numpy does costs by the call, for so few rows."""
    kinds = set(map(type, parts))
    with suppress(ValueError, KeyError):  # they have different shapes, or names, after all
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
    if is_frame(part):
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
    return {name: _one(same) for name, same in columns.items()}


def _one(parts: list[binning.Column]) -> binning.Column:
    # Of floats and objects numpy makes objects.
    if len(parts) == 1:
        return parts[0]
    joined: Any = np.concatenate(parts)
    return cast(binning.Column, joined)
