"""The rows that both models predict: those of the input example, and some made up from them.

Only rows that the fast path accepts: all others never reach the converted model.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_model_server.model.input_schema import (
    ColumnSchema,
    FallbackRequired,
    InputSchema,
    TensorSchema,
    is_dataframe,
)

# Rows as `schema.frame` and `schema.array` take them, or a tensor.
Rows = Any

MADE_UP = 1000  # rows of each kind
# How far a number may go from the example's, in deviations of its column.
_DISTANCES = (0.0, 0.01, 0.3, 1.0, 10.0)
_DECIMALS = 4
# What a tokenizer or an encoder may take for something else.
_ODD_WORDS = ("", "x", "naïve", "ÉTÉ", "o'clock", "two\nlines", "3.5%", "_", "李雷", "UPPER")


def example_rows(model: Any, schema: InputSchema) -> Rows | None:
    """The rows of the model's input example that the fast path accepts; None if none."""
    example = model.input_example
    if isinstance(schema, TensorSchema):
        return _tensor(example, schema)
    if not is_dataframe(example) or set(example.columns) != set(schema.names):
        return None
    rows = example[list(schema.names)].to_numpy(dtype=object).tolist()
    return [row for row in rows if _is_right(row, schema)] or None


def made_up(rows: Rows, schema: InputSchema) -> dict[str, Rows]:
    """More rows, by what they are: mixed from the example's values, other numbers, other words.

    A model may refuse some kinds, as an encoder does that knows its categories.
    """
    rng = np.random.default_rng(0)
    if isinstance(schema, TensorSchema):
        return {"with other numbers": _jittered_tensor(rows, rng)}
    columns = list(zip(*rows, strict=True))
    mixed = [[column[i] for i in rng.integers(len(column), size=MADE_UP)] for column in columns]
    numbers = [
        _jittered(values, dtype, rng) for values, dtype in zip(mixed, schema.dtypes, strict=True)
    ]
    kinds = {"mixed": mixed, "with other numbers": numbers}
    if any(dtype.kind == "O" for dtype in schema.dtypes):
        kinds["with other words"] = [
            _with_odd_words(values, rng) if dtype.kind == "O" else values
            for values, dtype in zip(numbers, schema.dtypes, strict=True)
        ]
    return {kind: _rows(columns, schema) for kind, columns in kinds.items()}


def some_of(rows: Rows, places: NDArray[np.intp]) -> Rows:
    """The rows at these places."""
    return rows[places] if isinstance(rows, np.ndarray) else [rows[i] for i in places]


def largest(parts: list[Rows]) -> list[float]:
    """The largest number in each column, whatever its sign; infinite for text."""
    columns = zip(*(row for part in parts for row in part), strict=True)
    return [
        math.inf if type(column[0]) is str else float(max(map(abs, column))) for column in columns
    ]


def _rows(columns: list[list[Any]], schema: ColumnSchema) -> Rows:
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [row for row in rows if _is_right(row, schema)]


def _is_right(row: list[Any], schema: ColumnSchema) -> bool:
    try:
        schema.check([row])
        schema.array([row])
    except FallbackRequired:
        return False
    return True


def _jittered(values: list[Any], dtype: np.dtype[Any], rng: np.random.Generator) -> list[Any]:
    """Numbers around those of the example; what is no number stays."""
    if dtype.kind not in "if":
        return values
    moved = _moved(np.array(values, dtype=np.float64), rng)
    if dtype.kind == "i":
        bounds = np.iinfo(np.int32)  # what all kinds of whole numbers hold
        whole: list[Any] = np.clip(np.rint(moved), bounds.min, bounds.max).astype(int).tolist()
        return whole
    floats: list[Any] = moved.tolist()
    return floats


def _jittered_tensor(rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    picked = rows[rng.integers(len(rows), size=MADE_UP)]
    flat = picked.reshape(MADE_UP, -1).astype(np.float64)
    moved = np.stack([_moved(column, rng) for column in flat.T], axis=1)
    moved = moved if rows.dtype.kind == "f" else np.rint(moved)
    return moved.reshape(picked.shape).astype(rows.dtype)


def _moved(numbers: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Numbers moved by near and far, half of them to round ones, where ties are."""
    spread = numbers.std() or np.abs(numbers).max() or 1.0
    distance = rng.choice(_DISTANCES, size=len(numbers)) * spread
    moved = numbers + rng.normal(size=len(numbers)) * distance
    decimals = rng.integers(_DECIMALS, size=len(numbers))
    rounded = np.rint(moved * 10.0**decimals) / 10.0**decimals
    return np.where(rng.random(len(numbers)) < 0.5, rounded, moved)


def _with_odd_words(values: list[str], rng: np.random.Generator) -> list[str]:
    words = rng.choice(_ODD_WORDS, size=len(values)).tolist()
    joined = [f"{value} {word}" for value, word in zip(values, words, strict=True)]
    alone = rng.random(len(values)) < 0.3
    return [word if a else both for word, both, a in zip(words, joined, alone, strict=True)]


def _tensor(example: Any, schema: TensorSchema) -> NDArray[Any] | None:
    try:
        rows = schema.rows_of(np.asarray(example))
    except FallbackRequired:
        return None
    return rows if len(rows) else None
