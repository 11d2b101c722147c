"""Fuzzes how the fast path reads requests of MLflow's protocol, guided by coverage.

`python -m tests.fuzz.invocations_decode -max_total_time=120` (libFuzzer's options). It ends with a
crash and the input that caused it, if anything but FallbackRequired is raised, or rows are read
that MLflow's code would make another array of.
"""

from __future__ import annotations

import json
from typing import Any

import atheris
import numpy as np

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs import mlflow as codec
    from mlflow_model_server.model.input_schema import (
        ColumnSchema,
        FallbackRequired,
        InputSchema,
        TensorSchema,
    )

INT, FLOAT = frozenset({int}), frozenset({int, float})
F8, F4, I4 = np.dtype("f8"), np.dtype("f4"), np.dtype("i4")
SCHEMAS: tuple[InputSchema, ...] = (
    ColumnSchema(("a", "b"), (FLOAT, FLOAT), (F8, F8)),
    ColumnSchema(("a", "b"), (FLOAT, INT), (F4, I4)),
    ColumnSchema(("a",), (INT,), (I4,)),
    TensorSchema(F4, (-1, 2)),
)
# Inputs that random bytes would take long to reach.
SEEDS = (
    b'{"dataframe_split":{"columns":["a","b"],"index":[0],"data":[[1.5,2]]}}',
    b'{"dataframe_records":[{"a":1,"b":2},{"b":1e40,"a":-0.0}]}',
    b'{"dataframe_records":[{"a":2147483648}]}',
    b'{"inputs":[[1,2],[3.5,4]]}',
)


def decode(raw: bytes) -> None:
    """One input: a byte that chooses the model, then the body."""
    if not raw:
        return
    schema, body = SCHEMAS[raw[0] % len(SCHEMAS)], raw[1:]
    try:
        if isinstance(schema, TensorSchema):
            array = codec.tensor_of(body, schema)
        else:
            rows = codec.rows_of(body, schema)
            schema.check(rows)
            array = schema.array(rows)
            _require_same(json.loads(body), schema, array)
    except FallbackRequired:
        return
    assert np.isfinite(array).all(), array


def _require_same(document: dict[str, Any], schema: ColumnSchema, array: Any) -> None:
    """That each number is where the standard library's parser has it."""
    if "dataframe_split" in document:
        rows = document["dataframe_split"]["data"]
    else:
        records = document["dataframe_records"]
        rows = [[record[name] for name in schema.names] for record in records]
    for row, numbers in zip(rows, array, strict=True):
        for value, dtype, number in zip(row, schema.dtypes, numbers, strict=True):
            assert dtype.type(value) == number, (value, number)


if __name__ == "__main__":
    fuzz(decode, SEEDS, choices=len(SCHEMAS))
