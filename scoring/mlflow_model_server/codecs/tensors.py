"""One tensor of a request or an answer: JSON or bytes to an array and back. Pure."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{
        f"{sign}INT{bits}": np.dtype(f"{sign}int{bits}".lower())
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH = struct.Struct("<I")  # before each element of a binary BYTES tensor


class BadRequest(ValueError):
    """A body that is not of the protocol; the message says what to write instead."""


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name for a dtype; BYTES for text and all that has no other."""
    return _NAMES.get(dtype.newbyteorder("=") if dtype.isnative is False else dtype, "BYTES")


def from_json(name: str, datatype: str, shape: list[int], data: Any) -> Array:
    """An array of `shape` from numbers, nested as the shape says or flat. Raises BadRequest.

    `null` is NaN where the datatype is FP, and None where it is BYTES.
    """
    size = math.prod(shape)
    flat = _flat(name, data)
    if len(flat) != size:
        raise BadRequest(
            f"input {name!r} has {len(flat)} elements in data, and its shape {shape} has {size}: "
            "write as many as the shape says"
        )
    return _checked(name, datatype, flat).reshape(shape)


def from_bytes(name: str, datatype: str, shape: list[int], raw: bytes) -> Array:
    """An array of `shape` from little-endian bytes. Raises BadRequest."""
    size = math.prod(shape)
    if datatype == "BYTES":
        return _elements(name, raw, size).reshape(shape)
    dtype = DTYPES[datatype].newbyteorder("<")
    if len(raw) != size * dtype.itemsize:
        raise BadRequest(
            f"input {name!r} has {len(raw)} bytes of data, and {datatype} of shape {shape} has "
            f"{size * dtype.itemsize}: write as many as the shape says"
        )
    if datatype == "BOOL":  # any other byte than 0 would make a boolean that is neither
        raw = bytes(map(bool, raw))
    return np.frombuffer(raw, dtype).reshape(shape).astype(DTYPES[datatype], copy=False)


def to_json(array: Array) -> Any:
    """The elements as JSON has them, flat. What JSON can't say is null: NaN and infinities."""
    flat = array.ravel()
    if array.dtype.kind == "f":
        values = flat.astype(np.float64)
        if np.isfinite(values).all():
            return values.tolist()
        return [value if math.isfinite(value) else None for value in values.tolist()]
    if datatype_of(array.dtype) != "BYTES":
        return flat.tolist()
    return [_text(value) for value in flat.tolist()]


def to_bytes(array: Array) -> bytes:
    """The elements as the binary extension has them."""
    if datatype_of(array.dtype) != "BYTES":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return b"".join(map(_element, array.ravel().tolist()))


def _flat(name: str, data: Any) -> list[Any]:
    """The elements of nested lists, in order, however they are nested."""
    if not isinstance(data, list):
        raise BadRequest(f"input {name!r} has no list as data: write its elements as a list")
    flat = data
    while any(isinstance(element, list) for element in flat):
        if not all(isinstance(element, list) for element in flat):
            raise BadRequest(f"input {name!r} has lists beside elements: nest all alike, or none")
        flat = [element for part in flat for element in part]
    return flat


def _checked(name: str, datatype: str, flat: list[Any]) -> Array:
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        if all(element is None or isinstance(element, str) for element in flat):
            return of_objects(flat)
        raise BadRequest(f"input {name!r} is BYTES, and not all of its elements are strings")
    if datatype == "BOOL":
        if all(isinstance(element, bool) for element in flat):
            return np.array(flat, dtype)
        raise BadRequest(f"input {name!r} is BOOL, and not all of its elements are true or false")
    if dtype.kind == "f":
        return _floats(name, datatype, flat)
    if not all(type(element) is int for element in flat):
        raise BadRequest(f"input {name!r} is {datatype}, and not all of its elements are integers")
    try:
        return np.array(flat, dtype)
    except OverflowError:
        raise BadRequest(f"input {name!r} has an element too large for {datatype}") from None


def _floats(name: str, datatype: str, flat: list[Any]) -> Array:
    if not all(element is None or type(element) in (float, int) for element in flat):
        raise BadRequest(f"input {name!r} is {datatype}, and not all of its elements are numbers")
    try:
        wide = np.array(flat, np.float64)
    except OverflowError:
        raise BadRequest(f"input {name!r} has an element too large for {datatype}") from None
    with np.errstate(over="ignore"):
        narrow = wide.astype(DTYPES[datatype], copy=False)
    if np.isinf(narrow).any() and not np.isinf(wide).any():
        raise BadRequest(f"input {name!r} has an element too large for {datatype}")
    return narrow


def _elements(name: str, raw: bytes, size: int) -> Array:
    found: list[Any] = []
    place = 0
    while place < len(raw) and len(found) < size:
        if len(raw) - place < _LENGTH.size:
            break
        (length,) = _LENGTH.unpack_from(raw, place)
        place += _LENGTH.size
        if len(raw) - place < length:
            break
        found.append(raw[place : place + length])
        place += length
    if place != len(raw) or len(found) != size:
        raise BadRequest(
            f"input {name!r} does not have {size} elements in {len(raw)} bytes: write each as its "
            "length in 4 bytes, little-endian, and its bytes"
        )
    return of_objects([_decoded(element) for element in found])


def _decoded(element: bytes) -> str | bytes:
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError:
        return element


def of_objects(values: list[Any]) -> Array:
    """An array of the values as they are, lists and bytes too."""
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # a slice would look into them
        array[place] = value
    return array


def encoded(value: Any) -> bytes:
    """An element of a BYTES tensor as bytes."""
    return value if isinstance(value, bytes) else (_text(value) or "").encode("utf-8", "replace")


def _element(value: Any) -> bytes:
    element = encoded(value)
    return _LENGTH.pack(len(element)) + element


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
