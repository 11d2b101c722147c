"""A signature compiled once: how the rows of a request become what the model takes. Pure.

It states what MLflow's own code would make of a request that is plainly right: numbers where the
signature says numbers, all columns, no nulls. Of anything else it says so (`Unsure`), and MLflow's
code, which knows what to do with it, or how to refuse it, gets the request.
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

# MLflow's column types: what JSON values they surely take, and the dtype of the column then.
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


class Unsure(Exception):
    """MLflow's own code is to treat this request."""


@dataclass(frozen=True)
class ColumnPlan:
    """Named columns of scalars."""

    names: tuple[str, ...]
    types: tuple[frozenset[type], ...]  # of JSON values, by column
    dtypes: tuple[np.dtype[Any], ...]  # by column

    @cached_property
    def is_numeric(self) -> bool:
        """Whether the columns can be one array of numbers."""
        return all(dtype.kind in "if" for dtype in self.dtypes)

    def check(self, rows: Rows) -> None:
        """Raises Unsure unless each row has a fitting value for each column."""
        width = len(self.names)
        if not rows or any(type(row) is not list or len(row) != width for row in rows):
            raise Unsure
        if not set(map(type, chain.from_iterable(rows))) <= self._common_types:
            self._check_columns(rows)

    def rows_of(self, table: Any) -> Rows:
        """The rows of an array (rows, columns) or a DataFrame with exactly these columns.

        Raises Unsure where it has others, other dtypes, or values that are not plainly right.
        """
        if is_frame(table):
            rows = self._rows_of_frame(table)
        elif self._is_array_of_these(table):
            rows = table.tolist()
        else:
            raise Unsure
        self.check(rows)
        return rows

    def array(self, rows: Rows) -> NDArray[Any]:
        """The array that a DataFrame of these rows would become: (rows, columns).

        Of objects, where the columns are not all numeric. Raises Unsure where a number does not fit
        its column.
        """
        if not self.is_numeric:
            return self._objects(rows)
        try:
            found = np.array(rows, dtype=self._dtype)
        except (ValueError, TypeError, OverflowError):
            raise Unsure from None
        for place, dtype in enumerate(self.dtypes):
            if dtype != found.dtype:
                found[:, place] = _as_column(found[:, place], dtype)
        _require_ordinary(found)
        return found

    def frame(self, rows: Rows) -> Any:
        """The pandas DataFrame that MLflow would make of these rows.

        Raises Unsure where a number does not fit its column.
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
            raise Unsure from None

    def _objects(self, rows: Rows) -> NDArray[Any]:
        found = np.empty((len(rows), len(self.names)), dtype=object)
        for place, values in enumerate(self._columns(rows)):
            found[:, place] = values
        return found

    def _rows_of_frame(self, table: Any) -> Rows:
        if set(table.columns) != set(self.names) or len(table.columns) != len(self.names):
            raise Unsure
        columns = [table[name] for name in self.names]
        for column, dtype in zip(columns, self.dtypes, strict=True):
            # pandas has several dtypes for strings: their values are looked at.
            if dtype.kind != "O" and column.dtype != dtype:
                raise Unsure
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
                raise Unsure


@dataclass(frozen=True)
class TensorPlan:
    """One tensor without a name: nested lists."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # -1: any length

    def tensor(self, nested: Any) -> NDArray[Any]:
        """The array that MLflow would make of it. Raises Unsure unless it is plainly of numbers."""
        if type(nested) is not list or not nested:
            raise Unsure
        try:
            found = np.array(nested)
        except ValueError:  # lists of different lengths
            raise Unsure from None
        if found.dtype.kind not in "if" or not self._fits(found.shape):
            raise Unsure
        if self.dtype.kind == "i" and found.dtype.kind != "i":
            raise Unsure
        _require_ordinary(found)
        return found.astype(self.dtype, copy=False)

    def rows_of(self, array: Any) -> NDArray[Any]:
        """The array itself. Raises Unsure unless it is exactly what the model takes."""
        if not isinstance(array, np.ndarray) or array.dtype != self.dtype:
            raise Unsure
        if not self._fits(array.shape):
            raise Unsure
        _require_ordinary(array)
        return array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            wanted in (-1, length) for wanted, length in zip(self.shape, shape, strict=True)
        )


Plan = ColumnPlan | TensorPlan


def plan_of(signature: Any) -> Plan | None:
    """The plan for an MLflow ModelSignature; None where MLflow's code must read each request."""
    schema = getattr(signature, "inputs", None)
    if schema is None:
        return None
    if schema.is_tensor_spec():
        return _tensor_plan(schema)
    return _column_plan(schema)


def _tensor_plan(schema: Any) -> TensorPlan | None:
    if len(schema.inputs) != 1 or schema.has_input_names():
        return None
    spec = schema.inputs[0]
    dtype = np.dtype(spec.type)
    return TensorPlan(dtype, tuple(spec.shape)) if dtype.kind in "if" else None


def _column_plan(schema: Any) -> ColumnPlan | None:
    if not schema.has_input_names():
        return None
    found = [_COLUMNS.get(getattr(column.type, "name", "")) for column in schema.inputs]
    if not found or any(one is None for one in found):
        return None
    known = [one for one in found if one is not None]
    names = tuple(column.name for column in schema.inputs)
    if len(set(names)) < len(names):
        return None
    return ColumnPlan(
        names, tuple(types for types, _ in known), tuple(np.dtype(code) for _, code in known)
    )


def is_frame(data: Any) -> bool:
    """Whether it is a pandas DataFrame."""
    # Not isinstance: pandas may not be loaded, and then this is none of its frames.
    return hasattr(data, "columns") and hasattr(data, "dtypes")


def _require_ordinary(numbers: NDArray[Any]) -> None:
    """Raises Unsure for NaN, infinity and very large numbers."""
    if numbers.size == 0:
        raise Unsure
    # One product says it of almost all there is, five times as fast as the greatest and the least.
    if numbers.dtype.kind != "f" or np.vdot(numbers, numbers) < _LARGE:
        return
    if not max(numbers.max(), -numbers.min()) < _LARGE:
        raise Unsure


def _as_column(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values as a column of `dtype` holds them."""
    if dtype.kind == "i":
        bounds = np.iinfo(dtype)
        most = min(bounds.max, _EXACT) if values.dtype.kind == "f" else bounds.max
        if values.min() < max(bounds.min, -most) or values.max() > most:
            raise Unsure
    with np.errstate(over="ignore"):
        return values.astype(dtype)
