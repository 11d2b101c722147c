"""What a Parquet file becomes when it is read, by its footer and its pages' headers. Pure.

The footer is not enough. What a reader allocates for a page is said in the page's own header, and a
few bytes of a page may stand for many values: repeated ones, and long texts that are written once.
See https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from mlflow_model_server.codecs.thrift import MalformedThrift, read_struct

MAX_PAGES = 100_000
_MAGIC = b"PAR1"
_FOOTER_TAIL = 8  # bytes: its length, and the magic number
# The numbers of fields in a page's header, and in what it has for its kind of page.
_UNCOMPRESSED, _COMPRESSED = 2, 3
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 5, 7, 8
_NUM_VALUES = 1
_ENCODING = {_DATA_PAGE: 2, _DATA_PAGE_V2: 4}
_DICTIONARY_ENCODINGS = (2, 8)
_DELTA_BYTE_ARRAY = 7  # values may be the start of the one before and a few bytes
_TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")


@dataclass(frozen=True)
class Shape:
    """What reading a file allocates."""

    rows: int
    columns: int
    values: int = 0  # in all columns
    bytes: int = 0  # of all pages, uncompressed
    repeated: int = 0  # bytes that repeated texts may need, at most
    pages: int = 0  # counted to a bit more than MAX_PAGES


def footer_size(body: bytes) -> int:
    """The bytes of the footer; 0 where it is no Parquet."""
    if len(body) < _FOOTER_TAIL or body[-4:] != _MAGIC:
        return 0
    size = int.from_bytes(body[-_FOOTER_TAIL:-4], "little")
    return size if size <= len(body) - _FOOTER_TAIL else 0


def shape_of(body: bytes) -> Shape | None:
    """None where it is no Parquet, or there is nothing that reads it."""
    footer = _footer(body)
    if footer is None:
        return None
    shape = Shape(footer.num_rows, footer.num_columns)
    if footer.num_row_groups * footer.num_columns > MAX_PAGES:
        return replace(shape, pages=footer.num_row_groups * footer.num_columns)
    try:
        return _with_pages(shape, islice(_all_pages(body, footer), MAX_PAGES + 1))
    except (MalformedThrift, OSError):  # the reader will say so
        return None


def _with_pages(shape: Shape, pages: Iterator[tuple[int, int, int]]) -> Shape:
    values = size = repeated = count = 0
    for page_values, page_size, page_repeated in pages:
        values += page_values
        size += page_size
        repeated += page_repeated
        count += 1
    return replace(shape, values=values, bytes=size, repeated=repeated, pages=count)


def _all_pages(body: bytes, footer: Any) -> Iterator[tuple[int, int, int]]:
    return (page for chunk in _chunks(footer) for page in _pages(body, chunk))


def expanded_texts(body: bytes) -> int:
    """The bytes that all texts have, each as often as it occurs.

    Reads the file, but no text more than once: to be called where its pages are small enough.
    Raises OSError where that can't be done.
    """
    from pyarrow import parquet

    footer = parquet.read_metadata(io.BytesIO(body))
    paths = sorted({c.path_in_schema for c in _chunks(footer) if c.physical_type in _TEXTS})
    table = parquet.read_table(io.BytesIO(body), columns=paths, read_dictionary=paths)
    return sum(_expanded(chunk) for column in table.columns for chunk in column.chunks)


def _footer(body: bytes) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        return None
    if footer_size(body) == 0:
        return None
    try:
        return parquet.read_metadata(io.BytesIO(body))
    except (OSError, ValueError):
        return None


def _chunks(footer: Any) -> Iterator[Any]:
    for group in range(footer.num_row_groups):
        row_group = footer.row_group(group)
        for column in range(row_group.num_columns):
            yield row_group.column(column)


def _pages(body: bytes, chunk: Any) -> Iterator[tuple[int, int, int]]:
    """Values, bytes, and bytes of repeated texts of each page."""
    place = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        place = min(place, chunk.dictionary_page_offset)
    end = min(place + chunk.total_compressed_size, len(body))
    is_text = chunk.physical_type in _TEXTS
    dictionary = 0
    while 0 <= place < end:
        header, after = read_struct(body, place)
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
        return sum(_expanded(part) for part in array.flatten())
    return int(array.nbytes)
