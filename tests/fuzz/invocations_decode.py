"""Fuzzes the quick way to read requests of MLflow's protocol, guided by coverage.

Not a test: `python -m tests.fuzz.invocations_decode -max_total_time=120` (libFuzzer's options).
It ends with a crash and the input that made it, if anything but FallbackRequired comes out, or rows are taken
that MLflow's code would make another array of.
"""

from __future__ import annotations

import json

import atheris
import numpy as np

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs import mlflow as decode
    from mlflow_model_server.model.input_schema import ColumnSchema, InputSchema, TensorSchema, FallbackRequired

INT, FLOAT = frozenset({int}), frozenset({int, float})
F8, F4, I4 = np.dtype("f8"), np.dtype("f4"), np.dtype("i4")
PLANS: tuple[InputSchema, ...] = (
    ColumnSchema(("a", "b"), (FLOAT, FLOAT), (F8, F8)),
    ColumnSchema(("a", "b"), (FLOAT, INT), (F4, I4)),
    ColumnSchema(("a",), (INT,), (I4,)),
    TensorSchema(F4, (-1, 2)),
)
# What random bytes would take long to find.
SEEDS = (
    b'{"dataframe_split":{"columns":["a","b"],"index":[0],"data":[[1.5,2]]}}',
    b'{"dataframe_records":[{"a":1,"b":2},{"b":1e40,"a":-0.0}]}',
    b'{"dataframe_records":[{"a":2147483648}]}',
    b'{"inputs":[[1,2],[3.5,4]]}',
)


def read(raw: bytes) -> None:
    """One input: a byte that chooses the model, then the body."""
    if not raw:
        return
    schema, body = PLANS[raw[0] % len(PLANS)], raw[1:]
    try:
        if isinstance(schema, TensorSchema):
            taken = decode.tensor_of(body, schema)
        else:
            rows = decode.rows_of(body, schema)
            schema.check(rows)
            taken = schema.array(rows)
            _require_as_told(json.loads(body), schema, taken)
    except FallbackRequired:
        return
    assert np.isfinite(taken).all(), taken


def _require_as_told(told: dict, schema: ColumnSchema, taken: np.ndarray) -> None:  # type: ignore[type-arg]
    """That each number is where the standard library's parser finds it."""
    if "dataframe_split" in told:
        rows = told["dataframe_split"]["data"]
    else:
        rows = [[one[name] for name in schema.names] for one in told["dataframe_records"]]
    for row, found in zip(rows, taken, strict=True):
        for value, dtype, number in zip(row, schema.dtypes, found, strict=True):
            assert dtype.type(value) == number, (value, number)


if __name__ == "__main__":
    fuzz(read, SEEDS, choices=len(PLANS))
