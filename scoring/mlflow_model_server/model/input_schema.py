"""A signature compiled once: how the rows of a request become the model's input. Pure.

It covers requests whose meaning is beyond doubt: numbers where the signature says numbers, all
columns, no nulls. For anything else it raises `FallbackRequired`, and MLflow's own code handles the
request, or refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Sequence[Sequence[Any]]

# MLflow's column types: the JSON values that each accepts, and the column's dtype.
_COLUMNS: dict[str, tuple[frozenset[type], str]] = {
    "double": (frozenset({int, float}), "f8"),
    "float": (frozenset({int, float}), "f4"),
    "long": (frozenset({int}), "i8"),
    "integer": (frozenset({int}), "i4"),
    "string": (frozenset({str}), "O"),
    "boolean": (frozenset({bool}), "?"),
}
# Whole numbers up to here are the same as floats.
_EXACT = 2**53
# Numbers beyond may become infinite inside a model, by scaling or as float32: MLflow's code, which
# leaves the models' checks on, says so then.
_LARGE = 1e30


class FallbackRequired(Exception):
    """MLflow's own code must handle this request."""


@dataclass(frozen=True)
class ColumnSchema:
    """Named columns of scalars."""

    names: tuple[str, ...]
    types: tuple[frozenset[type], ...]  # of JSON values, by column
    dtypes: tuple[np.dtype[Any], ...]  # by column

    @cached_property
    def is_numeric(self) -> bool:
        """Whether the columns can be one array of numbers."""
        return all(dtype.kind in "if" for dtype in self.dtypes)

    def check(self, rows: Rows) -> None:
        """Raises FallbackRequired unless each row has a fitting value for each column."""
        width = len(self.names)
        if not rows or any(type(row) is not list or len(row) != width for row in rows):
            raise FallbackRequired
        if not set(map(type, chain.from_iterable(rows))) <= self._common_types:
            self._check_columns(rows)

    def rows_of(self, table: Any) -> Rows:
        """The rows of an array (rows, columns) or a DataFrame with exactly these columns.

        Raises FallbackRequired where it has other columns, other dtypes, or values that don't fit.
        """
        if is_dataframe(table):
            rows = self._rows_of_frame(table)
        elif self._is_array_of_these(table):
            rows = table.tolist()
        else:
            raise FallbackRequired
        self.check(rows)
        return rows

    def array(self, rows: Rows) -> NDArray[Any]:
        """The array that a DataFrame of these rows would become: (rows, columns).

        Of objects, where the columns are not all numeric. Raises FallbackRequired where a number
        does not fit its column.
        """
        if not self.is_numeric:
            return self._objects(rows)
        try:
            numbers = np.array(rows, dtype=self._dtype)
        except (ValueError, TypeError, OverflowError):
            raise FallbackRequired from None
        for place, dtype in enumerate(self.dtypes):
            if dtype != numbers.dtype:
                numbers[:, place] = _as_column(numbers[:, place], dtype)
        _require_ordinary(numbers)
        return numbers

    def frame(self, rows: Rows) -> Any:
        """The pandas DataFrame that MLflow would make of these rows.

        Raises FallbackRequired where a number does not fit its column.
        """
        import pandas as pd

        return pd.DataFrame(dict(zip(self.names, self._columns(rows), strict=True)))

    def _columns(self, rows: Rows) -> list[NDArray[Any]]:
        try:
            return [
                np.array(values, dtype=dtype)
                for dtype, values in zip(self.dtypes, zip(*rows, strict=True), strict=True)
            ]
        except (ValueError, TypeError, OverflowError):
            raise FallbackRequired from None

    def _objects(self, rows: Rows) -> NDArray[Any]:
        table = np.empty((len(rows), len(self.names)), dtype=object)
        for place, values in enumerate(self._columns(rows)):
            table[:, place] = values
        return table

    def _rows_of_frame(self, table: Any) -> Rows:
        if set(table.columns) != set(self.names) or len(table.columns) != len(self.names):
            raise FallbackRequired
        columns = [table[name] for name in self.names]
        for column, dtype in zip(columns, self.dtypes, strict=True):
            # pandas has several dtypes for strings: their values are looked at.
            if dtype.kind != "O" and column.dtype != dtype:
                raise FallbackRequired
        return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _is_array_of_these(self, table: Any) -> bool:
        return (
            isinstance(table, np.ndarray)
            and table.ndim == 2
            and table.shape[1] == len(self.names)
            and all(dtype == table.dtype for dtype in self.dtypes)
        )

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        return np.result_type(*self.dtypes)

    @cached_property
    def _common_types(self) -> frozenset[type]:
        return self.types[0].intersection(*self.types[1:])

    def _check_columns(self, rows: Rows) -> None:
        for types, values in zip(self.types, zip(*rows, strict=True), strict=True):
            if not set(map(type, values)) <= types:
                raise FallbackRequired


@dataclass(frozen=True)
class TensorSchema:
    """One tensor without a name: nested lists."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # -1: any length

    def tensor(self, nested: Any) -> NDArray[Any]:
        """The array that MLflow would make of it. Raises FallbackRequired unless all is numbers."""
        if type(nested) is not list or not nested:
            raise FallbackRequired
        try:
            numbers = np.array(nested)
        except ValueError:  # lists of different lengths
            raise FallbackRequired from None
        if numbers.dtype.kind not in "if" or not self._fits(numbers.shape):
            raise FallbackRequired
        if self.dtype.kind == "i" and numbers.dtype.kind != "i":
            raise FallbackRequired
        _require_ordinary(numbers)
        return numbers.astype(self.dtype, copy=False)

    def rows_of(self, array: Any) -> NDArray[Any]:
        """The array itself. Raises FallbackRequired unless it is exactly what the model takes."""
        if not isinstance(array, np.ndarray) or array.dtype != self.dtype:
            raise FallbackRequired
        if not self._fits(array.shape):
            raise FallbackRequired
        _require_ordinary(array)
        return array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            expected in (-1, length) for expected, length in zip(self.shape, shape, strict=True)
        )


InputSchema = ColumnSchema | TensorSchema


def input_schema_of(signature: Any) -> InputSchema | None:
    """The schema for an MLflow ModelSignature; None where MLflow's code must read each request."""
    schema = getattr(signature, "inputs", None)
    # MLflow passes the params' defaults to the model with each request.
    if schema is None or getattr(getattr(signature, "params", None), "params", None):
        return None
    if schema.is_tensor_spec():
        return _tensor_schema(schema)
    return _column_schema(schema)


def _tensor_schema(schema: Any) -> TensorSchema | None:
    if len(schema.inputs) != 1 or schema.has_input_names():
        return None
    spec = schema.inputs[0]
    dtype = np.dtype(spec.type)
    return TensorSchema(dtype, tuple(spec.shape)) if dtype.kind in "if" else None


def _column_schema(schema: Any) -> ColumnSchema | None:
    if not schema.has_input_names():
        return None
    kinds = [_COLUMNS.get(getattr(column.type, "name", "")) for column in schema.inputs]
    if not kinds or any(kind is None for kind in kinds):
        return None
    scalars = [kind for kind in kinds if kind is not None]
    names = tuple(column.name for column in schema.inputs)
    if len(set(names)) < len(names):
        return None
    return ColumnSchema(
        names, tuple(types for types, _ in scalars), tuple(np.dtype(code) for _, code in scalars)
    )


def is_dataframe(data: Any) -> bool:
    """Whether it is a pandas DataFrame."""
    # Not isinstance: pandas may not be loaded, and then this is none of its frames. By the class:
    # of a frame itself, each look at `dtypes` makes a Series.
    kind = type(data)
    return hasattr(kind, "columns") and hasattr(kind, "dtypes")


def _require_ordinary(numbers: NDArray[Any]) -> None:
    """Raises FallbackRequired for NaN, infinity and very large numbers."""
    if numbers.size == 0:
        raise FallbackRequired
    # One product says it of almost all there is, five times as fast as the greatest and the least.
    if numbers.dtype.kind != "f" or np.vdot(numbers, numbers) < _LARGE:
        return
    if not max(numbers.max(), -numbers.min()) < _LARGE:
        raise FallbackRequired


def _as_column(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values as a column of `dtype` holds them."""
    if dtype.kind == "i":
        bounds = np.iinfo(dtype)
        largest = min(bounds.max, _EXACT) if values.dtype.kind == "f" else bounds.max
        if values.min() < max(bounds.min, -largest) or values.max() > largest:
            raise FallbackRequired
    with np.errstate(over="ignore"):
        return values.astype(dtype)
