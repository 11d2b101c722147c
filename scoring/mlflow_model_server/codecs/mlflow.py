"""Bodies of MLflow's protocol for the fast path. Pure.

Requests that are not surely read as MLflow would read them raise FallbackRequired: MLflow's own
code reads them, or refuses them.
"""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any

import orjson

from mlflow_model_server.model.input_schema import (
    ColumnSchema,
    FallbackRequired,
    Rows,
    TensorSchema,
)

_JSON_TYPES = {b"application/json", b"application/json; charset=utf-8"}


def is_json(content_type: bytes | None) -> bool:
    """Whether a content type is one of the usual ones for JSON."""
    return content_type in _JSON_TYPES


def rows_of(body: bytes | bytearray, schema: ColumnSchema, ignore_labels: bool = False) -> Rows:
    """The rows of `dataframe_split` or `dataframe_records`, in the schema's order of columns.

    Labels of rows other than 0, 1, … need MLflow's own code, unless `ignore_labels`.
    """
    document = _document(body)
    split = document.get("dataframe_split")
    if split is not None:
        return _split(split, schema.names, ignore_labels)
    return _records(document.get("dataframe_records"), schema.names)


def tensor_of(body: bytes | bytearray, schema: TensorSchema) -> Any:
    """The array of `inputs`."""
    return schema.tensor(_document(body).get("inputs"))


def encode(predictions: Any, finite: bool = True) -> bytes:
    """The body of a response with these lists."""
    if finite:
        return orjson.dumps({"predictions": predictions}, option=orjson.OPT_NON_STR_KEYS)
    # As MLflow writes them, NaN and Infinity among them.
    return json.dumps({"predictions": predictions}).encode()


def _document(body: bytes | bytearray) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise FallbackRequired from None
    # With one key there are no params, and no second format.
    if type(document) is not dict or len(document) != 1:
        raise FallbackRequired
    return document


def _split(split: Any, names: tuple[str, ...], ignore_labels: bool) -> Rows:
    if type(split) is not dict or type(rows := split.get("data")) is not list:
        raise FallbackRequired
    if type(columns := split.get("columns")) is not list or tuple(columns) != names:
        raise FallbackRequired
    if len(split) != 2 and not (
        len(split) == 3 and _has_plain_labels(split.get("index"), len(rows), ignore_labels)
    ):
        raise FallbackRequired
    return rows


def _has_plain_labels(labels: Any, length: int, ignore_labels: bool) -> bool:
    """Whether labels are those that rows have without any, or nobody can see them."""
    if type(labels) is not list or len(labels) != length:
        return False
    types = set(map(type, labels))
    if ignore_labels:
        return types <= {int, str}
    return types == {int} and labels == list(range(length))


def _records(records: Any, names: tuple[str, ...]) -> Rows:
    if type(records) is not list or not records:
        raise FallbackRequired
    width = len(names)
    if any(type(record) is not dict or len(record) != width for record in records):
        raise FallbackRequired
    pick = itemgetter(*names)
    try:
        return [list(pick(r)) for r in records] if width > 1 else [[pick(r)] for r in records]
    except KeyError:
        raise FallbackRequired from None
