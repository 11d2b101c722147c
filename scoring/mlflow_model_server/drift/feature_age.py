"""How old the features of requests are, by the column that says when they were computed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_model_server import compat
from mlflow_model_server.drift.bins import AGES
from mlflow_model_server.model.input_schema import is_dataframe

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

# Of the rows that are predicted together so many are looked at, evenly spread.
MAX_ROWS = 1000
_MAX_TEXT_LENGTH = 64  # characters of a time
_MILLISECONDS_FROM = (
    1e11  # larger numbers are milliseconds: as seconds they are after the year 5000
)


class FeatureAges:
    """Adds to a worker's histogram. A call takes microseconds, a millisecond for many rows."""

    def __init__(
        self,
        column: str,
        histogram: memoryview[float],
        invalid: memoryview[float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`histogram` has the buckets of AGES, one more, and the sum; `invalid` one number."""
        self.feature_names: Sequence[str] = ()
        self._column = column
        self._histogram = histogram
        self._invalid = invalid
        self._clock = clock

    def observe(self, features: Any) -> None:
        """Counts the ages of rows now: of an array, a DataFrame, or arrays by name. Never raises.

        Rows without a usable time count as invalid.
        """
        try:
            times = times_of(column_of(features, self._column, self.feature_names))
        except Exception:  # the values are a client's, and the frame may be of the model's own code
            log.debug("the age of features could not be read", exc_info=True)
            self._invalid[0] += _sampled_rows(features)
            return
        ages = np.maximum(self._clock() - times[np.isfinite(times)], 0.0)
        self._invalid[0] += len(times) - len(ages)
        places = np.searchsorted(AGES, ages, side="left")
        for place, rows in enumerate(np.bincount(places, minlength=len(AGES) + 1).tolist()):
            if rows:
                self._histogram[place] += rows
        self._histogram[len(AGES) + 1] += float(ages.sum())


def column_of(features: Any, name: str, names: Sequence[str] = ()) -> npt.NDArray[Any]:
    """At most MAX_ROWS values of a column. Raises KeyError, among others, where there is none.

    `names` are those of an array's columns.
    """
    if is_dataframe(features):
        return _of_series(features[name].iloc[:: _step(len(features))])
    if isinstance(features, dict):
        column = np.asarray(features[name]).reshape(-1)
    elif isinstance(features, np.ndarray) and features.ndim == 2 and name in names:
        column = features[:, list(names).index(name)]
    else:
        raise KeyError(name)
    return column[:: _step(len(column))]


def times_of(column: npt.NDArray[Any]) -> Floats:
    """Unix times in seconds: of dates, of numbers of seconds or milliseconds, of ISO 8601.

    NaN where a value is none of these.
    """
    if column.dtype.kind == "M":
        seconds = column.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(column), math.nan, seconds)
    if column.dtype.kind in "iuf":
        return _plausible(column.astype(np.float64))
    if column.dtype.kind in "OU":
        return _plausible(np.array([_seconds(value) for value in column.tolist()], np.float64))
    return np.full(len(column), math.nan)


def _sampled_rows(features: Any) -> int:
    is_table = is_dataframe(features) or (isinstance(features, np.ndarray) and features.ndim)
    rows = len(features) if is_table else 1
    return math.ceil(rows / _step(rows))


def _step(rows: int) -> int:
    return max(1, math.ceil(rows / MAX_ROWS))


def _of_series(series: Any) -> npt.NDArray[Any]:
    kind = series.dtype.kind
    if kind == "M":  # with a time zone too: as UTC
        times: npt.NDArray[Any] = series.to_numpy(dtype="datetime64[ns]")
        return times
    if kind in "iuf":
        numbers: npt.NDArray[Any] = series.to_numpy(dtype=np.float64, na_value=math.nan)
        return numbers
    objects: npt.NDArray[Any] = series.to_numpy(dtype=object)
    return objects


def _plausible(numbers: Floats) -> Floats:
    """Seconds, from seconds or milliseconds; NaN for what is no time after 1970."""
    with np.errstate(invalid="ignore"):
        seconds = np.where(numbers > _MILLISECONDS_FROM, numbers / 1000, numbers)
        return np.where(np.isfinite(seconds) & (seconds > 0), seconds, math.nan)


def _seconds(value: Any) -> float:
    """The Unix time that a value states; NaN where it states none."""
    try:
        if isinstance(value, str):
            value = compat.moment(value.strip()) if len(value) <= _MAX_TEXT_LENGTH else None
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=compat.UTC)
            return moment.timestamp()
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        return float(value) if is_number else math.nan
    except (ValueError, OverflowError, TypeError):
        return math.nan
