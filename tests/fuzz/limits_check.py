"""Fuzzes how bodies are judged before they are parsed, guided by coverage.

`python -m tests.fuzz.limits_check -max_total_time=120` (libFuzzer's options). It ends with a crash
and the input that caused it, if anything but a refusal is raised, or pandas makes more columns of
CSV than were counted.
"""

from __future__ import annotations

import io
import json

import atheris
import pandas as pd

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs.errors import TooLarge, Unreadable
    from mlflow_model_server.codecs.limits import SMALL_BODY, Limits
    from mlflow_model_server.codecs.thrift import MalformedThrift, read_struct


def seeds() -> list[bytes]:
    """A body of each format."""
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    return [
        b'{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[]]}}',
        b'{"inputs":{"a":[1,{"b":[]}],"c":"x"}}',
        b'a,b\n"1,\n""2",3\r\n',
        parquet.getvalue(),
    ]


def _check_json(body: bytes) -> None:
    Limits().check_json(body * (SMALL_BODY // (len(body) + 1) + 1))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        Limits().check_document(document)


def _check_csv(body: bytes) -> None:
    try:
        frame = pd.read_csv(io.StringIO(body.decode()))
    except (ValueError, pd.errors.ParserError):
        return
    is_plain = isinstance(frame.index, pd.RangeIndex)
    columns = frame.shape[1] + (0 if is_plain else frame.index.nlevels)
    if columns < 2:
        return
    try:
        Limits(max_columns=columns - 1).check_csv(body + b"\n" * SMALL_BODY)
    except TooLarge:
        return
    raise AssertionError(f"pandas makes {columns} columns")


def _check_parquet(body: bytes) -> None:
    Limits().check_parquet(body)


def _read_struct(body: bytes) -> None:
    try:
        read_struct(body, 0)
    except MalformedThrift:
        return


CHECKS = (_check_json, _check_csv, _check_parquet, _read_struct)


def check(raw: bytes) -> None:
    """One input: a byte that chooses the format, then the body."""
    if not raw:
        return
    try:
        CHECKS[raw[0] % len(CHECKS)](raw[1:])
    except (TooLarge, Unreadable):
        return


if __name__ == "__main__":
    fuzz(check, seeds(), len(CHECKS))
