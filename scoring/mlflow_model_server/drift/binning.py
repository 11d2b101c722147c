"""Chooses bins for values, and counts values into bins, in bulk with numpy. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_model_server.drift.bins import Baseline, Bins
from mlflow_model_server.model.input_schema import is_frame

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Column = Floats | Objects  # floats with NaN, or objects with None, where a value is missing

MOST_FEATURES = 256
MOST_OUTPUTS = 16
PREDICTION = "prediction"  # the name of a model's only output
_FEW = 12  # so many distinct numbers have a bin each
_MOST_CATEGORIES = 20
_LONGEST_CATEGORY = 100
_LEAST_COVERED = 0.5  # where the most frequent categories are fewer of all, it is free text
_DECILES = np.linspace(0.1, 0.9, 9)
_DIGITS = 6


def feature_columns(data: Any, names: Sequence[str] = ()) -> dict[str, Column]:
    """The columns of an array (rows, columns) or a DataFrame, by name; {} for anything else.

    `names` are those of the array's columns: without them they are called 0, 1, …
    """
    if is_frame(data):
        return _of_frame(data, MOST_FEATURES)
    array = np.asarray(data) if isinstance(data, np.ndarray) else np.empty(0)
    if array.ndim != 2 or array.shape[1] > MOST_FEATURES:
        return {}
    if len(names) != array.shape[1]:
        names = [str(i) for i in range(array.shape[1])]
    return _of_array(array, names)


def prediction_columns(data: Any) -> dict[str, Column]:
    """The outputs by name: columns, or the only one as PREDICTION; {} for what is no table."""
    if is_frame(data):
        return _of_frame(data, MOST_OUTPUTS)
    if isinstance(data, dict):
        return _of_dict(data)
    if hasattr(data, "to_numpy"):  # a Series
        return _kept({PREDICTION: _of_series(data)})
    try:
        array = np.asarray(data)
    except ValueError:  # a list of lists of different lengths
        return {}
    if array.ndim == 1:
        return _of_array(array[:, None], [PREDICTION])
    if array.ndim != 2 or array.shape[1] > MOST_OUTPUTS:
        return {}
    names = [PREDICTION] if array.shape[1] == 1 else [str(i) for i in range(array.shape[1])]
    return _of_array(array, names)


def baseline_of(
    features: dict[str, Column],
    predictions: dict[str, Column],
    edges_of: Callable[[Floats], Floats],
) -> Baseline:
    """Bins for each column, filled with it. `edges_of` is `quantiles` or `round_steps`."""
    return Baseline(
        *(
            tuple(
                bins for name, column in columns.items() if (bins := _bins(name, column, edges_of))
            )
            for columns in (features, predictions)
        )
    )


def quantiles(values: Floats) -> Floats:
    """Edges with about as many values between each two; `values` are finite and sorted."""
    return np.quantile(values, _DECILES)


def round_steps(values: Floats) -> Floats:
    """Edges at round numbers, about ten; `values` are finite and sorted.

    So that pods which see like values choose the same edges, and their counters add up.
    """
    low, high = np.quantile(values, (0.05, 0.95))
    if not high > low:
        return np.array([low])
    raw = (high - low) / 10
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    return np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step


def count(bins: Bins, column: Column) -> npt.NDArray[np.int64]:
    """How many of the values fall into each of the bins."""
    return _count_numbers(bins, column) if bins.edges is not None else _count_names(bins, column)


def _bins(name: str, column: Column, edges_of: Callable[[Floats], Floats]) -> Bins | None:
    empty = Bins(name, (0, 0))
    if len(column) == 0:
        return None
    bins = _numeric(empty, column, edges_of) if column.dtype.kind == "f" else _named(empty, column)
    if bins is None:
        return None
    return Bins(name, tuple(count(bins, column).tolist()), bins.edges, bins.categories)


def _numeric(empty: Bins, column: Column, edges_of: Callable[[Floats], Floats]) -> Bins | None:
    finite = np.sort(column[np.isfinite(column.astype(np.float64))]).astype(np.float64)
    if len(finite) == 0:
        return None
    distinct = np.unique(finite)
    edges = distinct[:-1] if 1 < len(distinct) <= _FEW else edges_of(finite)
    rounded = sorted({float(f"{edge:.{_DIGITS}g}") for edge in edges})
    return Bins(empty.name, (0,) * (len(rounded) + 2), tuple(rounded))


def _named(empty: Bins, column: Column) -> Bins | None:
    seen = Counter(str(value) for value in column.tolist() if value is not None)
    frequent = [
        (name, times)
        for name, times in seen.most_common(_MOST_CATEGORIES)
        if len(name) <= _LONGEST_CATEGORY
    ]
    if sum(times for _, times in frequent) < _LEAST_COVERED * seen.total() or not frequent:
        return None
    names = tuple(sorted(name for name, _ in frequent))
    return Bins(empty.name, (0,) * (len(names) + 2), None, names)


def _count_numbers(bins: Bins, column: Column) -> npt.NDArray[np.int64]:
    values = column if column.dtype.kind == "f" else _as_floats(column)
    there = len(values) - int(np.count_nonzero(np.isnan(values)))
    # For so few edges this is several times as fast as a search for each value.
    up_to = [int(np.count_nonzero(values <= edge)) for edge in bins.edges or ()]
    return np.diff([0, *up_to, there, len(values)])


def _count_names(bins: Bins, column: Column) -> npt.NDArray[np.int64]:
    values = column.tolist()
    if column.dtype.kind == "f":
        values = [None if value != value else value for value in values]
    seen = Counter(None if value is None else str(value) for value in values)
    known = [seen.pop(name, 0) for name in bins.categories]
    missing = seen.pop(None, 0)
    return np.array([*known, seen.total(), missing])


def _as_floats(column: Column) -> Floats:
    return np.array([_as_float(value) for value in column.tolist()], np.float64)


def _as_float(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _of_frame(frame: Any, most: int) -> dict[str, Column]:
    if frame.shape[1] > most or not frame.columns.is_unique:
        return {}
    return _kept({str(name): _of_series(frame[name]) for name in frame.columns})


def _of_dict(outputs: dict[Any, Any]) -> dict[str, Column]:
    """The columns of arrays by name; those of one with several columns are numbered."""
    found = {
        str(name) if inner == PREDICTION else f"{name}-{inner}": column
        for name, data in outputs.items()
        if isinstance(data, np.ndarray)
        for inner, column in prediction_columns(data).items()
    }
    return found if len(found) <= MOST_OUTPUTS else {}


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
    return _kept({name: _objects(objects[:, i]) for i, name in enumerate(names)})


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


def _kept(columns: dict[str, Column | None]) -> dict[str, Column]:
    return {name: column for name, column in columns.items() if column is not None}
