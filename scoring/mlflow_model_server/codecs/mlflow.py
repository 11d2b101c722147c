"""Bodies by MLflow's protocol: requests that are plainly right, read quickly, and answers. Pure.

Any other request raises Unsure: MLflow's own code reads it, or refuses it.
"""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any

import orjson

from mlflow_model_server.model.input_schema import ColumnPlan, Rows, TensorPlan, Unsure

_JSON_TYPES = {b"application/json", b"application/json; charset=utf-8"}


def is_json(content_type: bytes | None) -> bool:
    """Whether a content type says JSON in one of the usual ways."""
    return content_type in _JSON_TYPES


def rows_of(body: bytes | bytearray, plan: ColumnPlan) -> Rows:
    """The rows of `dataframe_split` or `dataframe_records`, in the plan's order of columns."""
    document = _document(body)
    split = document.get("dataframe_split")
    if split is not None:
        return _split(split, plan.names)
    return _records(document.get("dataframe_records"), plan.names)


def tensor_of(body: bytes | bytearray, plan: TensorPlan) -> Any:
    """The array of `inputs`."""
    return plan.tensor(_document(body).get("inputs"))


def encode(predictions: Any, finite: bool = True) -> bytes:
    """The body of an answer with these lists."""
    if finite:
        return orjson.dumps({"predictions": predictions}, option=orjson.OPT_NON_STR_KEYS)
    # As MLflow writes them, NaN and Infinity among them.
    return json.dumps({"predictions": predictions}).encode()


def _document(body: bytes | bytearray) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unsure from None
    # With one key there are no params, and no second format.
    if type(document) is not dict or len(document) != 1:
        raise Unsure
    return document


def _split(split: Any, names: tuple[str, ...]) -> Rows:
    if type(split) is not dict or type(rows := split.get("data")) is not list:
        raise Unsure
    if type(columns := split.get("columns")) is not list or tuple(columns) != names:
        raise Unsure
    if len(split) != 2 and not (len(split) == 3 and _is_plain_index(split.get("index"), len(rows))):
        raise Unsure
    return rows


def _is_plain_index(index: Any, length: int) -> bool:
    """Row labels: no prediction depends on them."""
    return type(index) is list and len(index) == length and set(map(type, index)) <= {int, str}


def _records(records: Any, names: tuple[str, ...]) -> Rows:
    if type(records) is not list or not records:
        raise Unsure
    width = len(names)
    if any(type(record) is not dict or len(record) != width for record in records):
        raise Unsure
    pick = itemgetter(*names)
    try:
        return [list(pick(one)) for one in records] if width > 1 else [[pick(r)] for r in records]
    except KeyError:
        raise Unsure from None
