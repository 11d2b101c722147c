"""What parsing a body will need, judged before it is parsed. Pure.

A few bytes can become a great many: empty lists, commas, equal rows of Parquet. So the memory that
a body's shape asks for is estimated from its structure alone, by counting bytes, and compared with
what one request may use. The factors were measured as the peak of the worst bodies, in MLflow's own
code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_model_server.codecs import parquet
from mlflow_model_server.codecs.errors import TooLarge, Unreadable

# What is shorter is parsed in less time than a thread needs to be woken, and can't need much.
SMALL_BODY = 1 << 14
# Bytes of memory, each at its peak.
_PER_BYTE = 6  # of text: its characters may need 4 bytes each
_PER_CONTAINER = 256  # a list or object of JSON, and the copies that MLflow makes
_PER_VALUE = 40
_PER_CELL = 64  # of a table
_PER_LINE = 32
_PER_COLUMN = 4096
_PER_FOOTER_BYTE = 64
_COPIES = 4  # of texts and pages: Arrow's, pandas', and those of converting
# The fields of MLflow's protocol whose lists are of rows.
_TABLES = ("dataframe_split", "dataframe_records", "instances", "inputs")
_QUOTED = re.compile(rb'(?:^|(?<=[,\r\n]))"[^"]*(?:""[^"]*)*"')
# Not of spaces alone: pandas skips such lines. Possessive, so that long ones are read once.
_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))(?=([ \t]*))\1[^ \t\r\n][^\r\n]*")


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_rows: int = 100_000
    max_columns: int = 20_000
    memory: int = 1 << 29  # bytes

    def check_json(self, body: bytes | bytearray) -> int:
        """The memory for lists, objects and values. Raises TooLarge for too many."""
        if is_small(body):
            return 0
        containers = body.count(b"[") + body.count(b"{")
        values = body.count(b",")
        return self._require(
            len(body) * _PER_BYTE + containers * _PER_CONTAINER + values * _PER_VALUE,
            f"{containers} lists and objects with {values} more values",
        )

    def check_document(self, document: Mapping[str, Any]) -> int:
        """The memory for the tables or arrays that parsed JSON becomes. Raises TooLarge.

        A table has a cell for each row in each column, however few of them the JSON has.
        """
        return max((self._check_table(*field) for field in document.items()), default=0)

    def _check_table(self, name: str, value: Any) -> int:
        table = value.get("data") if isinstance(value, dict) and "data" in value else value
        rows, columns = _table_shape(table)
        if name in _TABLES and isinstance(table, list):
            self._check_rows(rows, "rows")
        self.check_columns(columns)
        cells = rows * columns * _PER_CELL
        return max(
            self._require(cells, f"a table of {rows} rows x {columns} columns"),
            self._check_texts(table),
        )

    def check_csv(self, body: bytes) -> int:
        """The memory for its lines and commas. Raises TooLarge."""
        if is_small(body):
            return 0
        text = _QUOTED.sub(b'""', body) if b'"' in body else body
        lines = text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
        self._check_rows(lines - 1, "lines")
        # Of all lines: pandas takes a first row that is longer than the names for more columns.
        spans = (line.span() for line in _LINE.finditer(text))
        columns = max((text.count(b",", *span) + 1 for span in spans), default=0)
        self.check_columns(columns)
        return self._require(
            len(body) * (_PER_BYTE + _COPIES)
            + text.count(b",") * _PER_CELL
            + lines * _PER_LINE
            + columns * _PER_COLUMN,
            f"{lines} lines of {columns} columns",
        )

    def check_parquet(self, body: bytes) -> int:
        """The memory for its rows, columns and pages. Raises TooLarge, and Unreadable.

        What is no Parquet at all is MLflow's to say.
        """
        self._require(parquet.footer_size(body) * _PER_FOOTER_BYTE, "a long footer")
        shape = _parquet_shape(body)
        if shape is None:
            return 0
        self._check_rows(shape.rows, "rows")
        self.check_columns(shape.columns)
        if shape.pages > parquet.MAX_PAGES:
            raise TooLarge(f"the body has more than {parquet.MAX_PAGES} pages: write fewer")
        needed = shape.bytes * _COPIES + shape.values * _PER_CELL + shape.columns * _PER_COLUMN
        self._require(needed, f"{shape.values} values in {shape.bytes} bytes")
        texts = shape.repeated
        if needed + texts * _COPIES > self.memory:  # at most: they have to be read to say how much
            texts = _expanded_texts(body, shape)
        return self._require(needed + texts * _COPIES, f"{texts} bytes of text")

    def _check_rows(self, rows: int, name: str) -> None:
        if rows > self.max_rows:
            raise TooLarge(
                f"{rows} {name} exceed the limit of {self.max_rows} per request: send "
                "them in several requests"
            )

    def check_columns(self, columns: int) -> None:
        """Raises TooLarge for too many."""
        if columns > self.max_columns:
            raise TooLarge(f"{columns} columns exceed the limit of {self.max_columns} per request")

    def _check_texts(self, table: Any) -> int:
        """An array of text has room for the longest in each element, 4 bytes for each character."""
        texts = [text for text in _leaves(table) if isinstance(text, str)]
        width = max(map(len, texts), default=0) * 4
        return self._require(width * len(texts), f"an array of {len(texts)} texts of {width} bytes")

    def _require(self, memory: int, needed: str) -> int:
        if memory > self.memory:
            raise TooLarge(
                f"the body has {needed}, which need about {memory >> 20} MiB, more than "
                f"the limit of {self.memory >> 20} MiB per request: send it in several "
                "requests"
            )
        return memory


DEFAULT = Limits()


def _parquet_shape(body: bytes) -> parquet.Shape | None:
    try:
        return parquet.shape_of(body)
    except parquet.MalformedParquet:
        raise Unreadable("the Parquet file is damaged: its pages do not match its footer") from None


def _expanded_texts(body: bytes, shape: parquet.Shape) -> int:
    try:
        return parquet.expanded_texts(body)
    except Exception:  # pyarrow's are of many kinds
        return shape.repeated


def is_small(body: bytes | bytearray) -> bool:
    """Whether decoding a body is so quick that the event loop may do it itself."""
    return len(body) <= SMALL_BODY


def _table_shape(table: Any) -> tuple[int, int]:
    """Rows and columns of the table that JSON of rows, records or columns becomes."""
    if isinstance(table, dict):
        keys = _distinct_keys(table.values())
        longest = max((len(v) for v in table.values() if isinstance(v, list)), default=1)
        return max(keys, longest), len(table)
    if not isinstance(table, list):
        return 1, 1
    widest = max((len(row) for row in table if isinstance(row, list)), default=1)
    return len(table), max(_distinct_keys(table), widest)


def _distinct_keys(records: Iterable[Any]) -> int:
    keys: set[str] = set()
    for record in records:
        if isinstance(record, dict):
            keys.update(record)
    return len(keys)


def _leaves(value: Any) -> Iterable[Any]:
    """What lists and objects hold, however they are nested."""
    level = [value]
    while level:
        nested: list[Any] = []
        for part in level:
            if isinstance(part, list):
                nested.extend(part)
            elif isinstance(part, dict):
                nested.extend(part.values())
            else:
                yield part
        level = nested
