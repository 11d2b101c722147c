"""What a Parquet file becomes when it is read, by its footer and its pages' headers. Pure.

What a reader allocates for a page is said in the page's own header, and a few bytes of a page may
stand for many values: repeated ones, and long texts that are written once. Both are read here, and
not by pyarrow, whose metadata end the process where a file is damaged in some ways.
See https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from mlflow_model_server.codecs.thrift import MalformedThrift, read_struct

MAX_PAGES = 100_000
_MAGIC = b"PAR1"
_FOOTER_TAIL = 8  # bytes: its length, and the magic number
# The numbers of fields: in a footer,
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
# in an element of its schema,
_TYPE, _NUM_CHILDREN = 1, 5
# in a row group, in its columns, and in their metadata,
_COLUMNS, _GROUP_ROWS = 1, 3
_METADATA = 3
_PATH, _COMPRESSED_SIZE, _DATA_OFFSET, _DICTIONARY_OFFSET = 3, 7, 9, 11
# in a page's header, and in what it has for its kind of page.
_UNCOMPRESSED, _COMPRESSED = 2, 3
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 5, 7, 8
_NUM_VALUES = 1
_ENCODING = {_DATA_PAGE: 2, _DATA_PAGE_V2: 4}
_DICTIONARY_ENCODINGS = (2, 8)
_DELTA_BYTE_ARRAY = 7  # values may be the start of the one before and a few bytes
_TEXTS = (6, 7)  # BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY


class MalformedParquet(Exception):
    """A file that is not as Parquet's format says."""


@dataclass(frozen=True)
class Shape:
    """What reading a file allocates."""

    rows: int
    columns: int
    values: int  # in all columns
    bytes: int  # of all pages, uncompressed
    repeated: int  # bytes that repeated texts may need, at most
    pages: int  # counted to a bit more than MAX_PAGES


def footer_size(body: bytes) -> int:
    """The bytes of the footer; 0 where it is no Parquet."""
    if len(body) < _FOOTER_TAIL or body[-4:] != _MAGIC:
        return 0
    size = int.from_bytes(body[-_FOOTER_TAIL:-4], "little")
    return size if size <= len(body) - _FOOTER_TAIL else 0


def shape_of(body: bytes) -> Shape | None:
    """None where it is no Parquet: the reader will say so. Raises MalformedParquet."""
    if footer_size(body) == 0:
        return None
    try:
        footer = _Footer(body)
        values = size = repeated = count = 0
        for page_values, page_size, page_repeated in islice(footer.pages(), MAX_PAGES + 1):
            values += page_values
            size += page_size
            repeated += page_repeated
            count += 1
        return Shape(footer.rows, len(footer.leaves), values, size, repeated, count)
    except (MalformedThrift, LookupError, TypeError, ValueError, AttributeError) as error:
        raise MalformedParquet from error


def expanded_texts(body: bytes) -> int:
    """The bytes that all texts have, each as often as it occurs.

    Reads the file, but no text more than once: to be called where its pages are small enough.
    Raises whatever pyarrow raises where that can't be done.
    """
    from pyarrow import parquet

    paths = _Footer(body).text_paths
    table = parquet.ParquetFile(io.BytesIO(body), read_dictionary=paths).read(columns=paths)
    return sum(_expanded(chunk) for column in table.columns for chunk in column.chunks)


class _Footer:
    """The footer of a file."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        start = len(body) - _FOOTER_TAIL - footer_size(body)
        self._fields, _ = read_struct(body[start:-_FOOTER_TAIL], 0)
        self._groups: list[dict[int, Any]] = self._fields.get(_ROW_GROUPS) or []

    @property
    def rows(self) -> int:
        in_groups = sum(_natural(group.get(_GROUP_ROWS, 0)) for group in self._groups)
        return max(_natural(self._fields.get(_NUM_ROWS)), in_groups)

    @cached_property
    def leaves(self) -> list[dict[int, Any]]:
        """The elements of the schema that are columns."""
        _root, *elements = self._fields[_SCHEMA]
        return [element for element in elements if not element.get(_NUM_CHILDREN)]

    @property
    def text_paths(self) -> list[str]:
        """The paths of all columns of text."""
        columns = self._groups[0][_COLUMNS] if self._groups else []
        pairs = zip(columns, self.leaves, strict=False)
        paths = (column[_METADATA][_PATH] for column, leaf in pairs if leaf.get(_TYPE) in _TEXTS)
        return sorted(b".".join(path).decode() for path in paths)

    def pages(self) -> Iterator[tuple[int, int, int]]:
        """Values, bytes, and bytes of repeated texts of each page."""
        for group in self._groups:
            for column, leaf in zip(group[_COLUMNS], self.leaves, strict=True):
                yield from self._pages_of(column[_METADATA], leaf.get(_TYPE) in _TEXTS)

    def _pages_of(self, column: dict[int, Any], is_text: bool) -> Iterator[tuple[int, int, int]]:
        offsets = (column.get(_DATA_OFFSET), column.get(_DICTIONARY_OFFSET, 0))
        # 0 stands for none: without rows there is no page of data.
        place = min(filter(None, map(_natural, offsets)), default=len(self._body))
        end = min(place + _natural(column.get(_COMPRESSED_SIZE)), len(self._body))
        dictionary = 0
        while place < end:
            header, after = read_struct(self._body, place)
            size, values, encoding = _page(header)
            if _DICTIONARY_PAGE in header:
                dictionary = max(dictionary, size)
            yield values, size, values * _longest(encoding, dictionary, size) if is_text else 0
            place = after + _natural(header.get(_COMPRESSED))


def _page(header: dict[int, Any]) -> tuple[int, int, int | None]:
    """A page's uncompressed bytes, its values, and how they are encoded."""
    size = _natural(header.get(_UNCOMPRESSED))
    for kind in (_DATA_PAGE, _DATA_PAGE_V2, _DICTIONARY_PAGE):
        if isinstance(described := header.get(kind), dict):
            encoding = described.get(_ENCODING.get(kind, 0))
            return size, _natural(described.get(_NUM_VALUES)), encoding
    return size, 0, None


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise MalformedThrift
    return number


def _longest(encoding: int | None, dictionary: int, page: int) -> int:
    """The bytes that one text of a page has at most, beyond those that are there for it."""
    if encoding in _DICTIONARY_ENCODINGS:
        return dictionary
    return page if encoding == _DELTA_BYTE_ARRAY else 0


def _expanded(array: Any) -> int:
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        lengths = compute.binary_length(array.dictionary)
        return compute.sum(compute.take(lengths, array.indices)).as_py() or 0
    if types.is_nested(array.type):
        parts = array.flatten()
        return sum(map(_expanded, parts)) if isinstance(parts, list) else _expanded(parts)
    return int(array.nbytes)
