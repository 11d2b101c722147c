"""The requests that every model is asked: good ones, and all ways to get them wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tests.parity.asgi import Request
from tests.parity.models import Rows, Sample

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"

MOMENT = "2026-01-31T12:00:00Z"


class Text(str):
    """JSON text that stands for itself: what Python's own encoder would not write."""


# What a cell may hold, good or bad, whatever its column is.
CELLS: dict[str, Any] = {
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": -float("inf"),
    "1e400": Text("1e400"),
    "1e-400": Text("1e-400"),
    "more than float32 has": 3.5e38,
    "nearly the most of float64": 1.7e308,
    "-0.0": -0.0,
    "-0": Text("-0"),
    "1.0": 1.0,
    "1.5": 1.5,
    "0": 0,
    "1": 1,
    "300": 300,
    "2**31": 2**31,
    "2**53+1": 2**53 + 1,
    "2**63-1": 2**63 - 1,
    "2**63": 2**63,
    "2**64": 2**64,
    "-2**63": -(2**63),
    "-2**63-1": -(2**63) - 1,
    "10**30": 10**30,
    "10**400": 10**400,
    "0.1 with many digits": Text("0.1000000000000000055511151231257827021181583404541015625"),
    "5000 digits": Text("9" * 5000),
    "true": True,
    "false": False,
    "empty string": "",
    "digits": "1",
    "decimal digits": "1.5",
    "NaN as a string": "NaN",
    "word": "abc",
    "unicode": "naïve ☃ \U0001d11e",
    "escapes": Text('"\\u00e9\\ud834\\udd1e\\n\\/"'),
    "zero byte": "a\u0000b",
    "lone surrogate": Text('"\\ud800"'),
    "long string": "x" * 10_000,
    "date": "2026-01-31",
    "moment": MOMENT,
    "moment with an offset": "2026-01-31T12:00:00+02:00",
    "base64": "aGVsbG8=",
    "empty list": [],
    "list": [1, 2],
    "list of one": [1.5],
    "empty object": {},
    "object": {"a": 1},
    "nested": [[{"a": [None]}]],
}


def dumps(value: Any) -> bytes:
    """JSON as Python writes it, NaN and Infinity included, and Text as it is."""
    texts: list[Text] = []

    def mark(item: Any) -> Any:
        if isinstance(item, Text):
            texts.append(item)
            return f"\x01{len(texts) - 1}\x01"
        if isinstance(item, dict):
            return {key: mark(inner) for key, inner in item.items()}
        return [mark(inner) for inner in item] if isinstance(item, list) else item

    written = json.dumps(mark(value), ensure_ascii=False, default=str)
    for i, text in enumerate(texts):
        written = written.replace(f'"\\u0001{i}\\u0001"', text)
    return written.encode("utf-8", "surrogatepass")


def as_json(label: str, body: Any, **more: Any) -> Request:
    """A request with a JSON body."""
    return Request(label, dumps(body), **more)


def split(rows: Rows) -> dict[str, Any]:
    """The rows as `dataframe_split` has them."""
    columns = list(rows[0]) if rows else []
    return {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}


def columns_of(rows: Rows) -> dict[str, list[Any]]:
    """The rows as lists, one a column."""
    return {name: [row.get(name) for row in rows] for name in (rows[0] if rows else {})}


def forms(rows: Rows) -> dict[str, dict[str, Any]]:
    """The rows in every JSON form that MLflow knows."""
    values = [list(row.values()) for row in rows]
    return {
        "dataframe_split": {"dataframe_split": split(rows)},
        "dataframe_records": {"dataframe_records": rows},
        "instances of records": {"instances": rows},
        "instances of columns": {"instances": columns_of(rows)},
        "instances of lists": {"instances": values},
        "inputs of columns": {"inputs": columns_of(rows)},
        "inputs of records": {"inputs": rows},
        "inputs of lists": {"inputs": values},
        "inputs of one record": {"inputs": rows[0] if rows else {}},
        "inputs of one list": {"inputs": values[0] if values else []},
    }


def good(sample: Sample) -> Iterator[Request]:
    """What clients should send."""
    rows = sample.rows
    for count in sorted({1, 2, len(rows)} if rows else ()):
        for name, body in forms(rows[:count]).items():
            yield as_json(f"{count} rows as {name}", body)
    for i, row in enumerate(rows):
        yield as_json(f"row {i} alone", {"dataframe_split": split([row])})
    for i, value in enumerate(sample.inputs):
        yield as_json(f"inputs {i}", {"inputs": value})
        yield as_json(f"instances {i}", {"instances": value})
    for i, body in enumerate(sample.unified):
        yield as_json(f"unified {i}", body)
    for column in (name for name in (rows[0] if rows else ()) if type(rows[0][name]) is float):
        for cell in (3.5e38, 1.7e308):  # scikit-learn's own checks refuse some
            large = [{**rows[0], column: cell}]
            yield as_json(f"{cell} in {column!r}", {"dataframe_split": split(large)})
    if rows:
        yield as_json("100 rows", {"dataframe_split": split((rows * 100)[:100])})
        yield as_json("100 records", {"dataframe_records": (rows * 100)[:100]})


def cells(sample: Sample) -> Iterator[Request]:
    """One cell of each kind of column with each of CELLS."""
    if not sample.rows:
        return
    by_type: dict[type, str] = {}
    for name, value in sample.rows[0].items():
        by_type.setdefault(type(value), name)
    for column in by_type.values():
        for label, cell in CELLS.items():
            rows = [{**sample.rows[0], column: cell}, *sample.rows[1:2]]
            yield as_json(f"{label} in {column!r}, split", {"dataframe_split": split(rows)})
            yield as_json(f"{label} in {column!r}, records", {"dataframe_records": rows})
            yield as_json(f"{label} in {column!r}, inputs", {"inputs": columns_of(rows)})
            yield as_json(f"{label} alone in {column!r}", {"dataframe_split": split(rows[:1])})


def shapes(sample: Sample) -> Iterator[Request]:
    """Frames with columns or rows that are missing, too many, or elsewhere."""
    rows = sample.rows or [{"x": 1}]
    names = list(rows[0])
    changed: dict[str, Rows] = {
        "without the first column": [{n: r[n] for n in names[1:]} for r in rows],
        "without the last column": [{n: r[n] for n in names[:-1]} for r in rows],
        "with one more column": [{**r, "more": 1} for r in rows],
        "with a nested column more": [{**r, "more": {"a": [1]}} for r in rows],
        "reversed": [dict(reversed(list(r.items()))) for r in rows],
        "renamed": [{f"{n} ": r[n] for n in names} for r in rows],
        "of nothing but nulls": [dict.fromkeys(names) for _ in rows],
        "of no columns": [{} for _ in rows],
        "lacking a cell": [rows[0], {n: rows[0][n] for n in names[1:]}],
        "of no rows": [],
    }
    for label, frame in changed.items():
        for form, body in forms(frame).items():
            yield as_json(f"{form} {label}", body)
    yield from (as_json(f"split {k}", {"dataframe_split": v}) for k, v in _splits(rows).items())
    for form in ("dataframe_split", "dataframe_records", "instances", "inputs"):
        for label, value in CELLS.items():
            yield as_json(f"{form}: {label}", {form: value})
    yield as_json("a record that is no record", {"dataframe_records": [rows[0], 1]})
    yield as_json("records of lists", {"dataframe_records": [list(rows[0].values())]})


def _splits(rows: Rows) -> dict[str, Any]:
    good_split = split(rows)
    names, data = good_split["columns"], good_split["data"]
    return {
        "without data": {"columns": names},
        "without columns": {"data": data},
        "with nothing": {},
        "with an index": {**good_split, "index": list(range(5, 5 + len(data)))},
        "with names for rows": {**good_split, "index": [f"r{i}" for i in range(len(data))]},
        "with the same index twice": {**good_split, "index": [0] * len(data)},
        "with a short index": {**good_split, "index": []},
        "with more": {**good_split, "more": 1},
        "with the same column twice": {
            "columns": [names[0], *names],
            "data": [[row[0], *row] for row in data],
        },
        "with one column twice": {"columns": [names[0]] * len(names), "data": data},
        "with numbers for names": {"columns": list(range(len(names))), "data": data},
        "with null for names": {"columns": None, "data": data},
        "with a null name": {"columns": [None, *names[1:]], "data": data},
        "with a name too few": {"columns": names[:-1], "data": data},
        "with a string for names": {"columns": names[0], "data": data},
        "with a row too short": {"columns": names, "data": [data[0], data[0][:-1]]},
        "with a row too long": {"columns": names, "data": [data[0], [*data[0], 1]]},
        "with an empty row": {"columns": names, "data": [data[0], []]},
        "with a null row": {"columns": names, "data": [data[0], None]},
        "with one flat row": {"columns": names, "data": data[0]},
        "with records": {"columns": names, "data": rows},
        "with data of columns": {"columns": names, "data": columns_of(rows)},
        "with data too deep": {"columns": names, "data": [data]},
    }


def params(sample: Sample) -> Iterator[Request]:
    """`params`, good and bad."""
    body = _any_good_body(sample)
    good_params = sample.params
    for label, value in {
        "none": {},
        "null": None,
        "a list": [1],
        "a string": "x",
        "a number": 1,
        "unknown": {"unknown": 1},
        "good": good_params,
        "good and unknown": {**good_params, "unknown": [1]},
    }.items():
        yield as_json(f"params: {label}", {**body, "params": value})
    for name, value in good_params.items():
        yield as_json(f"params: only {name}", {**body, "params": {name: value}})
        for label, cell in CELLS.items():
            yield as_json(f"params: {name} is {label}", {**body, "params": {name: cell}})


def _any_good_body(sample: Sample) -> dict[str, Any]:
    if sample.unified:
        return sample.unified[0]
    return {"dataframe_split": split(sample.rows)} if sample.rows else {"inputs": sample.inputs[0]}


def envelopes(sample: Sample) -> Iterator[Request]:
    """Bodies whose fields are wrong, and text that is no JSON."""
    body = _any_good_body(sample)
    first = next(iter(body))
    odd: dict[str, Any] = {
        "two forms": {**body, "instances" if first != "instances" else "inputs": [1]},
        "no form": {"data": [1]},
        "an empty object": {},
        "only params": {"params": {}},
        "a field more": {**body, "more": 1, "predictions": 2},
        "messages": {"messages": [{"role": "user", "content": "Hi"}]},
        "input": {"input": [{"role": "user", "content": "Hi"}]},
        "messages and a form": {**body, "messages": [1]},
        "prompt": {"prompt": "Hi"},
        "a list": [1],
        "a list of records": sample.rows,
        "a string": "x",
        "null": None,
        "a number": 1,
    }
    yield from (as_json(f"body: {label}", value) for label, value in odd.items())
    written = dumps(body)
    for label, raw in {
        "nothing": b"",
        "a space": b" ",
        "cut off": written[:-2],
        "twice": written + written,
        "with spaces around": b" \r\n\t" + written + b"\n",
        "with a comma at the end": written[:-1] + b",}",
        "with a comment": b"/* x */" + written,
        "with single quotes": b"{'inputs': [1]}",
        "the same key twice": b'{"inputs": 1, ' + written[1:],
        "a byte order mark": b"\xef\xbb\xbf" + written,
        "UTF-16": written.decode().encode("utf-16"),
        "UTF-16 without a mark": written.decode().encode("utf-16-le"),
        "UTF-32": written.decode().encode("utf-32"),
        "bytes that are no UTF-8": b'{"inputs": ["\xff\xfe"]}',
        "a surrogate in UTF-8": b'{"inputs": ["\xed\xa0\x80"]}',
        "a raw newline in a string": b'{"inputs": ["a\nb"]}',
        "a leading zero": b'{"inputs": [01]}',
        "a leading plus": b'{"inputs": [+1]}',
        "a bare point": b'{"inputs": [1.]}',
        "hexadecimal": b'{"inputs": [0x10]}',
        "python": b'{"inputs": [None, True]}',
        "-NaN": b'{"inputs": [-NaN]}',
        "200 lists deep": b'{"inputs": ' + b"[" * 200 + b"]" * 200 + b"}",
        "200 objects deep": b'{"inputs": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
        "20,000 lists deep": b'{"inputs": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "20,000 lists that never end": b"[" * 20_000,
    }.items():
        yield Request(f"JSON: {label}", raw)


def files(sample: Sample) -> Iterator[Request]:
    """CSV and Parquet."""
    frame = pd.DataFrame(sample.rows or [{"x": 1}])
    written = frame.to_csv(index=False)
    head, *lines = written.splitlines()
    for label, text in {
        "good": written,
        "one row": f"{head}\n{lines[0]}",
        "with an index": frame.to_csv(),
        "with CRLF": written.replace("\n", "\r\n"),
        "with semicolons": frame.to_csv(index=False, sep=";"),
        "with quotes": frame.to_csv(index=False, quoting=1),
        "without rows": head,
        "without a head": "\n".join(lines),
        "empty": "",
        "a newline": "\n",
        "with a cell too many": f"{head}\n{lines[0]},1\n",
        "with cells too many in a later row": f"{head}\n{lines[0]}\n{lines[0]},1,1\n",
        "with a cell too few": f"{head}\n{lines[0].rpartition(',')[0]}\n",
        "with nulls": f"{head}\n" + "," * head.count(",") + "\n",
        "with words": f"{head}\n" + ",".join(["word"] * (head.count(",") + 1)),
        "with large numbers": f"{head}\n" + ",".join(["9" * 30] * (head.count(",") + 1)),
        "with a quote that never ends": f'{head}\n"{lines[0]}',
        "with a column less": frame.iloc[:, 1:].to_csv(index=False),
        "with a column more": frame.assign(more="x").to_csv(index=False),
        "with the columns reversed": frame[frame.columns[::-1]].to_csv(index=False),
        "with a byte order mark": "\ufeff" + written,
        "that is JSON": '{"inputs": [1]}',
        "with a zero byte": written + "\0",
    }.items():
        yield Request(f"CSV {label}", text.encode(), CSV)
    yield Request("CSV of another encoding", "x\nä\n".encode("latin-1"), CSV)
    yield Request("CSV with a charset", written.encode(), f"{CSV}; charset=utf-8")
    yield Request("CSV with another charset", written.encode(), f"{CSV}; charset=latin-1")
    for label, parquet in {
        "good": frame,
        "without rows": frame.iloc[:0],
        "without columns": frame[[]],
        "with an index": frame.set_index(frame.columns[0], drop=False),
        "with a column less": frame.iloc[:, 1:],
        "with a column more": frame.assign(more=1),
        "of strings": frame.astype(str),
        "with a null row": pd.concat([frame, frame.iloc[:1].map(lambda _: None)]),
    }.items():
        yield Request(f"Parquet {label}", _parquet(parquet), PARQUET)
    yield Request("Parquet that is none", b"PAR1 no PAR1", PARQUET)
    yield Request("empty Parquet", b"", PARQUET)
    yield Request("Parquet cut off", _parquet(frame)[:-20], PARQUET)


def _parquet(frame: pd.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.to_parquet(target)
    return target.getvalue()


def http(sample: Sample) -> Iterator[Request]:
    """Content types, methods and paths."""
    body = dumps(_any_good_body(sample))
    for content_type in (
        None,
        "",
        " ",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json; charset=latin-1",
        "application/json; charset",
        "application/json; charset=",
        "application/json; format=pandas-split",
        "application/json; charset=utf-8; format=x",
        "application/json;",
        "Application/JSON",
        "application/json, text/csv",
        "application/vnd.api+json",
        "text/plain",
        "text/json",
        "*/*",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/csv",
        PARQUET,
        "äöü",
    ):
        yield Request(f"content type {content_type!r}", body, content_type)
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        yield Request(f"{method} /invocations", body, method=method)
    for path in ("/ping", "/health", "/version"):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            yield Request(f"{method} {path}", method=method, path=path)
        yield Request(f"{path} with a query", method="GET", path=f"{path}?a=1")
        yield Request(f"{path} with a slash", method="GET", path=f"{path}/")
    for path in ("/", "/invocation", "/invocations/", "/INVOCATIONS", "/%69nvocations", "//ping"):
        yield Request(f"POST {path}", body, path=path)
    yield Request("with a query", body, path="/invocations?format=x")
    yield Request("accepting only XML", body, headers=(("accept", "application/xml"),))
    yield Request("with the old header", body, headers=(("x-unknown", "ü"),))


# What models are asked that good clients would not ask.
ODD = {
    "cells": cells,
    "shapes": shapes,
    "params": params,
    "envelopes": envelopes,
    "files": files,
}
