"""Chooses bins for values, and counts values into bins, in bulk with numpy. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_model_server.drift.bins import MISSING, OTHER, Baseline, Bins
from mlflow_model_server.model.input_schema import is_dataframe

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Column = Floats | Objects  # a missing value is NaN among floats, and None among objects

MAX_FEATURES = 256
MAX_OUTPUTS = 16
PREDICTION = "prediction"  # the name of a model's only output
_MAX_DISTINCT = 12  # up to so many distinct numbers have a bin each
_MAX_CATEGORIES = 20
_MAX_CATEGORY_LENGTH = 100
_MIN_COVERED = 0.5  # a column of which the categories cover less is free text
_DECILES = np.linspace(0.1, 0.9, 9)
_TRAINING_DIGITS = 6
# Edges are labels of metrics: from them, nobody is to learn a value that a client sent.
_LIVE_DIGITS = 3


def feature_columns(data: Any, names: Sequence[str] = ()) -> dict[str, Column]:
    """The columns of an array (rows, columns) or a DataFrame, by name; {} for anything else.

    `names` are those of the array's columns: without them they are called 0, 1, …
    """
    if is_dataframe(data):
        return _of_frame(data, MAX_FEATURES)
    array = np.asarray(data) if isinstance(data, np.ndarray) else np.empty(0)
    if array.ndim != 2 or array.shape[1] > MAX_FEATURES:
        return {}
    if len(names) != array.shape[1]:
        names = [str(i) for i in range(array.shape[1])]
    return _of_array(array, names)


def prediction_columns(data: Any) -> dict[str, Column]:
    """The outputs by name: columns, or the only one as PREDICTION; {} for what is no table."""
    if is_dataframe(data):
        return _of_frame(data, MAX_OUTPUTS)
    if isinstance(data, dict):
        return _of_dict(data)
    if hasattr(data, "to_numpy"):  # a Series
        return _present({PREDICTION: _of_series(data)})
    try:
        array = np.asarray(data)
    except ValueError:  # a list of lists of different lengths
        return {}
    if array.ndim == 1:
        return _of_array(array[:, None], [PREDICTION])
    if array.ndim != 2 or array.shape[1] > MAX_OUTPUTS:
        return {}
    names = [PREDICTION] if array.shape[1] == 1 else [str(i) for i in range(array.shape[1])]
    return _of_array(array, names)


def baseline_of(
    features: dict[str, Column],
    predictions: dict[str, Column],
    bins_of: Callable[[str, Column], Bins | None],
) -> Baseline:
    """Bins for each column, filled with it. `bins_of` is `training_bins` or `live_bins`."""
    return Baseline(_all_bins(features, bins_of), _all_bins(predictions, bins_of))


def training_bins(name: str, column: Column) -> Bins | None:
    """Bins for training data: edges at quantiles, and categories of text; None for free text."""
    if column.dtype.kind != "f":
        return _named(name, column)
    return _numeric(name, column, quantiles, _TRAINING_DIGITS)


def live_bins(name: str, column: Column) -> Bins | None:
    """Bins for rows that clients sent, whose values must not be in them; None for text."""
    return _numeric(name, column, round_steps, _LIVE_DIGITS) if column.dtype.kind == "f" else None


def quantiles(values: Floats) -> Floats:
    """Edges with about as many values between each two; `values` are finite and sorted."""
    # A quarter, which is exact: differences of the largest floats are infinite.
    return 4 * np.quantile(values / 4, _DECILES)


def round_steps(values: Floats) -> Floats:
    """Edges at round numbers, about ten; `values` are finite and sorted.

    So pods with like values choose the same edges, and their counters add up.
    """
    low, high = np.quantile(values / 4, (0.05, 0.95)).tolist()
    step = _round_step(4 * ((high - low) / 10))
    low, high = 4 * low, 4 * high
    if not step:
        return np.array([low])
    return np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step


def _round_step(width: float) -> float:
    """The next of 1, 2, 5, 10, 20, … with any power of ten; 0 for a width that is none."""
    if not width > 1e-300:  # below, powers of ten are 0 or lose their digits
        return 0.0
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))


def count(bins: Bins, column: Column) -> npt.NDArray[np.int64]:
    """How many of the values fall into each of the bins."""
    return _count_numbers(bins, column) if bins.edges is not None else _count_names(bins, column)


def _all_bins(
    columns: dict[str, Column], bins_of: Callable[[str, Column], Bins | None]
) -> tuple[Bins, ...]:
    empty = ((bins_of(name, column), column) for name, column in columns.items() if len(column))
    return tuple(
        replace(bins, counts=tuple(count(bins, column).tolist()))
        for bins, column in empty
        if bins is not None
    )


def _numeric(
    name: str, column: Column, edges_of: Callable[[Floats], Floats], digits: int
) -> Bins | None:
    finite = np.sort(column[np.isfinite(column.astype(np.float64))]).astype(np.float64)
    if len(finite) == 0:
        return None
    distinct = np.unique(finite)
    edges = distinct[:-1] if 1 < len(distinct) <= _MAX_DISTINCT else edges_of(finite)
    # The largest floats are infinite when they are rounded.
    rounded = sorted({float(f"{edge:.{digits}g}") for edge in edges} - {math.inf, -math.inf})
    return Bins(name, (0,) * (len(rounded) + 2), tuple(rounded))


def _named(name: str, column: Column) -> Bins | None:
    values = Counter(str(value) for value in column.tolist() if value is not None)
    frequent = [
        (category, times)
        for category, times in values.most_common(_MAX_CATEGORIES)
        if len(category) <= _MAX_CATEGORY_LENGTH and category not in (OTHER, MISSING)
    ]
    covered = sum(times for _, times in frequent)
    if covered < _MIN_COVERED * values.total() or not frequent:
        return None
    categories = tuple(sorted(category for category, _ in frequent))
    return Bins(name, (0,) * (len(categories) + 2), None, categories)


def _count_numbers(bins: Bins, column: Column) -> npt.NDArray[np.int64]:
    values = column if column.dtype.kind == "f" else _as_floats(column)
    present = len(values) - int(np.count_nonzero(np.isnan(values)))
    # For so few edges this is several times as fast as a search for each value.
    up_to = [int(np.count_nonzero(values <= edge)) for edge in bins.edges or ()]
    return np.diff([0, *up_to, present, len(values)])


def _count_names(bins: Bins, column: Column) -> npt.NDArray[np.int64]:
    values = column.tolist()
    if column.dtype.kind == "f":
        values = [None if value != value else value for value in values]
    times = Counter(None if value is None else str(value) for value in values)
    categories = [times.pop(name, 0) for name in bins.categories]
    missing = times.pop(None, 0)
    return np.array([*categories, times.total(), missing])


def _as_floats(column: Column) -> Floats:
    return np.array([_as_float(value) for value in column.tolist()], np.float64)


def _as_float(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _of_frame(frame: Any, max_columns: int) -> dict[str, Column]:
    if frame.shape[1] > max_columns or not frame.columns.is_unique:
        return {}
    return _present({str(name): _of_series(frame[name]) for name in frame.columns})


def _of_dict(outputs: dict[Any, Any]) -> dict[str, Column]:
    """The columns of arrays by name; those of one with several columns are numbered."""
    columns = {
        str(name) if inner == PREDICTION else f"{name}-{inner}": column
        for name, data in outputs.items()
        if isinstance(data, np.ndarray)
        for inner, column in prediction_columns(data).items()
    }
    return columns if len(columns) <= MAX_OUTPUTS else {}


def _of_series(series: Any) -> Column | None:
    if series.dtype.kind in "biuf":
        floats: Floats = series.to_numpy(dtype=np.float64, na_value=math.nan)
        return floats
    if series.dtype.kind not in "OU":
        return None
    objects = series.astype(object).to_numpy(copy=True)
    objects[series.isna().to_numpy()] = None
    return _objects(objects)


def _of_array(array: npt.NDArray[Any], names: Sequence[str]) -> dict[str, Column]:
    if array.dtype.kind in "biuf":
        # Each column in one piece: it is read many times.
        floats = np.ascontiguousarray(array.T, np.float64)
        return dict(zip(names, floats, strict=True))
    if array.dtype.kind not in "OU":
        return {}
    objects = array.astype(object)
    return _present({name: _objects(objects[:, i]) for i, name in enumerate(names)})


def _objects(column: Objects) -> Column | None:
    """Numbers as floats, text as it is; None for columns of anything else."""
    values = [None if _is_missing(value) else value for value in column.tolist()]
    if all(isinstance(value, (int, float, np.number)) for value in values if value is not None):
        return np.array([_as_float(value) for value in values])
    if all(isinstance(value, (str, bool, int, float)) for value in values if value is not None):
        objects: Objects = np.array(values, dtype=object)
        return objects
    return None


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _present(columns: dict[str, Column | None]) -> dict[str, Column]:
    return {name: column for name, column in columns.items() if column is not None}
