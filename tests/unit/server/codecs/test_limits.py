"""What a body becomes is judged by its bytes, as the parsers would have it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from mlflow_model_server.codecs import parquet
from mlflow_model_server.codecs.errors import TooLarge, Unreadable
from mlflow_model_server.codecs.limits import SMALL_BODY, Limits
from mlflow_model_server.codecs.thrift import MalformedThrift, read_struct

PADDING = SMALL_BODY + 1


def padded(text: str) -> bytes:
    """Long enough to be judged, by a last cell."""
    return f"{text}{'x' * PADDING}".encode()


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b,c\n", 3),
        ('"a,b",c\n', 2),
        ('"a\nb",c\n', 2),
        ('"a""b,c",d\n', 2),
        ("a\n1,2,3\n", 3),
        ("\r\n\na,b\n", 2),
        ("a\r1,2\r", 2),
        ('a",b,"c\n', 3),
        ('"",""\n', 2),
    ],
)
def test_columns_of_csv_are_counted_as_its_reader_counts_them(text: str, columns: int) -> None:
    Limits(max_columns=columns).check_csv(padded(text))
    with pytest.raises(TooLarge, match=f"{columns} columns exceed the limit of {columns - 1}"):
        Limits(max_columns=columns - 1).check_csv(padded(text))


@given(st.lists(st.lists(st.text("a\",\n\r '", max_size=4), min_size=1, max_size=5), min_size=2))
@settings(max_examples=200)
def test_no_row_of_csv_is_overlooked(rows: list[list[str]]) -> None:
    """By any writer: the first two rows have at most as many columns as are counted."""
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows(rows)
    text = target.getvalue()
    lines = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    columns = max((len(row) for row in lines[:2]), default=1)
    if columns > 1:
        with pytest.raises(TooLarge):
            Limits(max_columns=columns - 1).check_csv(text.encode() + b"\n" * PADDING)


@given(st.text('a",\n\r\t ', max_size=40))
@settings(max_examples=500)
def test_pandas_makes_no_more_columns_of_csv(text: str) -> None:
    try:
        frame = pd.read_csv(io.StringIO(text))
    except (ValueError, pd.errors.ParserError):
        return
    is_plain = isinstance(frame.index, pd.RangeIndex)
    columns = frame.shape[1] + (0 if is_plain else frame.index.nlevels)
    if columns > 1:
        with pytest.raises(TooLarge):
            Limits(max_columns=columns - 1).check_csv(text.encode() + b"\n" * PADDING)


def test_rows_of_csv_are_its_lines() -> None:
    body = b"a\r\n" + b"1\r\n" * PADDING
    Limits(max_rows=PADDING).check_csv(body)
    with pytest.raises(TooLarge, match=f"{PADDING} lines exceed the limit of {PADDING - 1}"):
        Limits(max_rows=PADDING - 1).check_csv(body)
    quoted = b'a\n"' + b"\n" * PADDING + b'"\n'
    Limits(max_rows=1).check_csv(quoted)


@pytest.mark.parametrize(
    ("document", "rows", "columns"),
    [
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2], []]}}, 2, 2),
        ({"dataframe_split": {"data": {"a": {"x": 1}, "b": {"y": 1}, "c": [1]}}}, 2, 3),
        ({"dataframe_records": [{"a": 1}, {"b": 1}, {"c": 1}]}, 3, 3),
        ({"inputs": {"a": [1, 2, 3], "b": [1]}}, 3, 2),
        ({"inputs": [[1, 2, 3]]}, 1, 3),
        ({"inputs": 1}, 1, 1),
        ({"messages": [{"role": "user", "content": "x"}]}, 1, 2),
    ],
)
def test_a_document_is_the_table_that_it_becomes(document: Any, rows: int, columns: int) -> None:
    needed = rows * columns * 64
    assert Limits().check_document(document) >= needed
    with pytest.raises(TooLarge):
        Limits(memory=needed - 1).check_document(document)
    if columns > 1:
        with pytest.raises(TooLarge, match=f"{columns} columns exceed the limit"):
            Limits(max_columns=columns - 1).check_document(document)


def test_texts_are_as_wide_as_the_longest() -> None:
    document = {"inputs": [["x" * 1000, *["y"] * 99]]}
    assert Limits().check_document(document) >= 1000 * 4 * 100


@given(st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=5), max_leaves=50))
def test_a_document_of_any_form_is_judged(value: Any) -> None:
    for name in ("inputs", "dataframe_split", "dataframe_records", "messages"):
        assert Limits().check_document({name: value}) >= 0


def test_json_is_judged_by_its_brackets_and_commas() -> None:
    body = json.dumps({"inputs": [[]] * PADDING}).encode()
    assert Limits().check_json(body) > PADDING * 256
    with pytest.raises(TooLarge, match="lists and objects"):
        Limits(memory=PADDING * 256).check_json(body)


def written(table: Any, **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_all_pages_of_parquet_are_counted(version: str, compression: str, dictionary: bool) -> None:
    frame = pd.DataFrame(
        {
            "n": np.arange(10_000) % 7,
            "t": [str(i % 5) for i in range(10_000)],
            "l": [[1.0, 2.0]] * 10_000,
        }
    )
    body = written(
        pyarrow.Table.from_pandas(frame),
        data_page_version=version,
        compression=compression,
        use_dictionary=dictionary,
        row_group_size=3_000,
        data_page_size=1_000,
    )
    shape = parquet.shape_of(body)
    assert shape is not None
    assert (shape.rows, shape.columns) == (10_000, 3)
    # The values of the dictionaries are counted as well.
    assert 40_000 <= shape.values < 41_000
    footer = pq.read_metadata(io.BytesIO(body))
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    assert shape.bytes <= sum(group.total_byte_size for group in groups) <= shape.bytes * 2
    assert parquet.expanded_texts(body) == 10_000


def test_texts_in_lists_are_counted_too() -> None:
    body = written(pyarrow.table({"l": [["abc", "abc"], ["d"]], "s": [{"t": "ef"}, {"t": "ef"}]}))
    assert parquet.expanded_texts(body) == 11


def test_damaged_files_are_refused() -> None:
    """Whatever is damaged: pyarrow's own metadata would end the process."""
    good = written(pyarrow.table({"a": [1.5, 2.5], "t": ["x", "y"]}))
    start = len(good) - 8 - parquet.footer_size(good)
    refused = 0
    for place in range(start, len(good) - 8):
        body = good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]
        try:
            Limits().check_parquet(body)
        except (TooLarge, Unreadable):
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1 no PAR1", b"x" * 100, b"\0" * 20 + b"PAR1"])
def test_the_reader_refuses_other_formats(body: bytes) -> None:
    assert parquet.shape_of(body) is None
    assert Limits().check_parquet(body) == 0


@given(st.binary(max_size=60))
def test_any_bytes_are_a_struct_or_none(data: bytes) -> None:
    try:
        _, end = read_struct(data, 0)
    except MalformedThrift:
        return
    assert 0 < end <= len(data)
