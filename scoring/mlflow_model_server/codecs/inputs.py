"""Input tensors as the types that the model's signature says. Pure.

The datatype and the content type say how a client has written the elements; what becomes of them
is the signature's to say, never theirs.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson

from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.errors import BadRequest, TooLarge
from mlflow_model_server.codecs.metadata import Field, Kind
from mlflow_model_server.codecs.tensors import Array

# How elements may be written, and what they may be together, as MLServer calls it.
CONTENT_TYPES = ("np", "pd", "dict", "str", "base64", "datetime", "pd_json")
# A tensor of text has room for the longest text in each element, and 4 bytes for each character.
_MAX_TEXT_BYTES = 1 << 28
_SPACES = b" \t\r\n"


class Input(NamedTuple):
    """One input as a request has it: numbers, or where it is BYTES text in JSON, else bytes."""

    name: str
    subject: str  # what errors call it
    datatype: str
    array: Array
    content_type: str | None  # its own, or the request's
    is_binary: bool

    def converted(self, field: Field | None) -> Array:
        """As the signature's field says; without one, as it is written. Raises BadRequest."""
        if self.datatype != "BYTES":
            return self._of_numbers(field)
        array = self._decoded(field)
        if field is not None and field.kind is not Kind.ANY:
            return _CONVERSIONS[field.kind](self.subject, array, field)
        return _datetimes(self.subject, array, field) if self.content_type == "datetime" else array

    def _of_numbers(self, field: Field | None) -> Array:
        if field is None or field.is_number_column:
            return self.array
        if field.kind is Kind.DATETIME and self.array.dtype.kind in "iu":
            return _datetimes(self.subject, self.array, field)
        if field.kind is Kind.JSON and self.array.ndim > 1:
            return tensors.of_objects(self.array.tolist())  # an array in each row
        return self.array if field.is_column else _widened(self.array, np.dtype(field.type))

    def _decoded(self, field: Field | None) -> Array:
        """The elements of BYTES as text, bytes or the values that their JSON says."""
        kind = field.kind if field is not None else None
        match self.content_type:
            case "base64":
                return self._each(_from_base64)
            case "pd_json":
                return self._each(_from_json)
            case "str" | "datetime":
                return self._texts()
        if kind is Kind.BINARY and field is not None and field.is_column:
            return self.array if self.is_binary else self._each(_from_base64)
        if kind is Kind.JSON and self._has_scalar_rows:
            return self._each(_from_json)
        if self.is_binary and (kind is Kind.BINARY or self._is_as_it_is(kind)):
            return self.array
        return self._texts()

    @property
    def _has_scalar_rows(self) -> bool:
        return self.array.ndim == 1 or self.array.shape[1:] == (1,)

    def _is_as_it_is(self, kind: Kind | None) -> bool:
        """Whether nothing says that the bytes are text."""
        return kind in (None, Kind.ANY) and self.content_type == "np"

    def _texts(self) -> Array:
        values = tensors.texts_of(self.subject, self.array.ravel().tolist())
        return tensors.of_objects(values).reshape(self.array.shape)

    def _each(self, decode: Callable[[str, Any], Any]) -> Array:
        values = self.array.ravel().tolist()
        decoded = [None if value is None else decode(self.subject, value) for value in values]
        return tensors.of_objects(decoded).reshape(self.array.shape)


def _from_base64(subject: str, value: str | bytes) -> bytes:
    try:
        # MLflow's own base64 has lines.
        text = value.encode("ascii") if isinstance(value, str) else value
        return base64.b64decode(text.translate(None, _SPACES), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{subject} has elements that are not base64") from None


def _from_json(subject: str, value: str | bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise BadRequest(
            f"{subject} has elements that are not JSON: write each element as JSON"
        ) from None


def _numbers(_subject: str, array: Array, _field: Field) -> Array:
    return array  # MLflow says what is wrong with them


def _texts(subject: str, array: Array, field: Field) -> Array:
    values = tensors.texts_of(subject, array.ravel().tolist())
    if not all(value is None or isinstance(value, str) for value in values):
        raise BadRequest(f"{subject} is text in the signature, but not all of its elements are")
    texts = tensors.of_objects(values).reshape(array.shape)
    return texts if field.is_column else _fixed_width(subject, texts, np.dtype(str))


def _bytes(subject: str, array: Array, field: Field) -> Array:
    values = [v.encode("utf-8") if isinstance(v, str) else v for v in array.ravel().tolist()]
    if not all(value is None or isinstance(value, bytes) for value in values):
        raise BadRequest(f"{subject} is binary in the signature, but not all of its elements are")
    binary = tensors.of_objects(values).reshape(array.shape)
    return binary if field.is_column else _fixed_width(subject, binary, np.dtype(bytes))


def _fixed_width(subject: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """The elements of a tensor of numpy's text or bytes."""
    values = array.ravel().tolist()
    if None in values:
        raise BadRequest(f"{subject} has a null, which a tensor of {dtype.name} can't represent")
    if dtype.kind == "S" and any(value.endswith(b"\0") for value in values):
        raise BadRequest(
            f"{subject} has an element that ends with a zero byte, which a "
            "tensor of bytes can't represent"
        )
    width = max(map(len, values), default=0) * (4 if dtype.kind == "U" else 1)
    if width * len(values) > _MAX_TEXT_BYTES:
        raise TooLarge(
            f"{subject} needs {width * len(values)} bytes, because each element "
            "takes as much space as the longest: send fewer or shorter elements"
        )
    return array.astype(dtype)


def _datetimes(subject: str, array: Array, field: Field | None) -> Array:
    """Points in time from ISO 8601, or from nanoseconds since 1970 as MLflow has them."""
    if not all(e is None or isinstance(e, str | int) for e in array.ravel().tolist()):
        raise BadRequest(f"{subject} is a datetime in the signature: write it in ISO 8601")
    if field is not None and not field.is_column:
        return _datetime_tensor(subject, array, np.dtype(field.type))
    return _datetime_column(subject, array)


def _datetime_tensor(subject: str, array: Array, dtype: np.dtype[Any]) -> Array:
    try:
        return array.astype(dtype)
    except (ValueError, TypeError, OverflowError):
        raise _no_datetimes(subject) from None


def _datetime_column(subject: str, array: Array) -> Array:
    try:
        series = _parsed_datetimes(array.ravel().tolist())
        if isinstance(series.dtype, np.dtype) and series.dtype.kind == "M":
            return np.asarray(series.to_numpy("datetime64[ns]")).reshape(array.shape)
    except (ValueError, TypeError, OverflowError):
        raise _no_datetimes(subject) from None
    return _aware(subject, series.tolist()).reshape(array.shape)


def _parsed_datetimes(values: list[Any]) -> Any:
    """As MLflow parses them; by it all have the form of the first, or any of ISO 8601."""
    import pandas  # here: a model of tensors needs none

    series = pandas.Series(values)
    try:
        return pandas.to_datetime(series)
    except ValueError:
        return pandas.to_datetime(series, format="ISO8601")


def _aware(subject: str, moments: list[Any]) -> Array:
    """Points in time with a zone, which MLflow refuses in words of its own."""
    if all(isinstance(moment, datetime.datetime) for moment in moments):
        return tensors.of_objects(moments)
    raise _no_datetimes(subject)


def _no_datetimes(subject: str) -> BadRequest:
    return BadRequest(
        f"{subject} has elements that are not times: write them in ISO "
        "8601, like 2026-01-31T12:00:00"
    )


def _json(_subject: str, array: Array, _field: Field) -> Array:
    if array.ndim > 1 and array.shape[1:] != (1,):
        return tensors.of_objects(array.tolist())  # an array in each row
    return array


def _widened(array: Array, dtype: np.dtype[Any]) -> Array:
    """Numbers as those that the protocol has no datatype for: complex, durations, long doubles."""
    if dtype.kind == "c" and array.dtype.kind == "f":
        return array.astype(dtype)
    if dtype.kind == "f" and dtype.itemsize > 8 and array.dtype == np.float64:
        return array.astype(dtype)
    return array.astype(dtype) if dtype.kind == "m" and array.dtype == np.int64 else array


_CONVERSIONS: dict[Kind, Callable[[str, Array, Field], Array]] = {
    Kind.NUMBER: _numbers,
    Kind.TEXT: _texts,
    Kind.BINARY: _bytes,
    Kind.DATETIME: _datetimes,
    Kind.JSON: _json,
}
