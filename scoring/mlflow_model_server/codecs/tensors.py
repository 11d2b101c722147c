"""One tensor of a request or an answer: JSON or bytes to an array and back. Pure."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_model_server.codecs.errors import BadRequest, UnsupportedOutput

Array = npt.NDArray[Any]
Buffer = bytes | bytearray | memoryview

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


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name for a dtype; BYTES for text and all that has no other."""
    return _NAMES.get(dtype.newbyteorder("=") if dtype.isnative is False else dtype, "BYTES")


def from_json(subject: str, datatype: str, shape: list[int], data: Any) -> Array:
    """An array of `shape` from numbers, nested as the shape says or flat. Raises BadRequest.

    `subject` is what errors call the input.
    `null` is NaN where the datatype is FP, and None where it is BYTES.
    """
    size = math.prod(shape)
    flat = _flat(subject, data)
    if len(flat) != size:
        raise BadRequest(
            f"{subject} has {len(flat)} elements in data, but its shape has {size}: write as "
            "many elements as the shape has"
        )
    return _array(subject, datatype, flat).reshape(shape)


def from_bytes(
    subject: str, datatype: str, shape: list[int], raw: Buffer, as_text: bool = True
) -> Array:
    """An array of `shape` from little-endian bytes. Raises BadRequest.

    Elements of BYTES are text, or bytes unless `as_text`.
    """
    size = math.prod(shape)
    if datatype == "BYTES":
        elements = _elements(subject, raw, size)
        return of_objects(texts_of(subject, elements) if as_text else elements).reshape(shape)
    dtype = DTYPES[datatype].newbyteorder("<")
    if len(raw) != size * dtype.itemsize:
        raise BadRequest(
            f"{subject} has {len(raw)} bytes of data, but {datatype} of its shape has "
            f"{size * dtype.itemsize}: write as many bytes as the shape has"
        )
    if datatype == "BOOL":  # any other byte than 0 would make a boolean that is neither
        return np.not_equal(np.frombuffer(raw, np.uint8), 0).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape).astype(DTYPES[datatype], copy=False)


def to_json(array: Array) -> Any:
    """The elements as JSON has them, flat. What JSON can't say is null: NaN and infinities."""
    flat = array.ravel()
    if array.dtype.kind != "f":
        return flat.tolist()
    values = flat.astype(np.float64)
    if np.isfinite(values).all():
        return values.tolist()
    return [value if math.isfinite(value) else None for value in values.tolist()]


def to_bytes(array: Array) -> bytes:
    """The elements as the binary extension has them. Raises UnsupportedOutput for missing ones."""
    if datatype_of(array.dtype) != "BYTES":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return b"".join(_LENGTH.pack(len(element)) + element for element in encoded(array))


def encoded(array: Array) -> list[bytes]:
    """The elements of a BYTES tensor as bytes. Raises UnsupportedOutput for missing ones."""
    return [_encoded(value) for value in array.ravel().tolist()]


def texts_of(subject: str, elements: list[Any]) -> list[Any]:
    """Bytes as the text that they are in UTF-8; all else as it is. Raises BadRequest."""
    try:
        return [e.decode("utf-8") if isinstance(e, bytes) else e for e in elements]
    except UnicodeDecodeError:
        raise BadRequest(
            f"{subject} is text, but not all of its elements are UTF-8: write "
            "bytes as base64 with the content_type base64; where the model has no "
            "signature, the content_type np leaves binary elements as they are"
        ) from None


def of_objects(values: list[Any]) -> Array:
    """An array of the values as they are, lists and bytes too."""
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # a slice would look into them
        array[place] = value
    return array


def _flat(subject: str, data: Any) -> list[Any]:
    """The elements of nested lists, in order, however they are nested."""
    if not isinstance(data, list):
        raise BadRequest(f"{subject} has data that is not a list: write its elements as a list")
    flat = data
    while any(isinstance(element, list) for element in flat):
        if not all(isinstance(element, list) for element in flat):
            raise BadRequest(
                f"{subject} mixes lists and elements: nest all elements equally, or none"
            )
        flat = [element for part in flat for element in part]
    return flat


def _array(subject: str, datatype: str, flat: list[Any]) -> Array:
    if datatype == "BYTES":
        if all(element is None or isinstance(element, str) for element in flat):
            return of_objects(flat)
        raise BadRequest(f"{subject} is BYTES, but not all of its elements are strings")
    if datatype == "BOOL":
        return _booleans(subject, flat)
    if DTYPES[datatype].kind == "f":
        return _floats(subject, datatype, flat)
    return _integers(subject, datatype, flat)


def _booleans(subject: str, flat: list[Any]) -> Array:
    # Clients made from the protocol's own description write them as numbers.
    if all(type(element) in (bool, int, float) and element in (0, 1) for element in flat):
        return np.array(flat, np.bool_)
    raise BadRequest(f"{subject} is BOOL, but not all of its elements are true or false")


def _integers(subject: str, datatype: str, flat: list[Any]) -> Array:
    if not all(type(element) is int for element in flat):
        flat = [_as_integer(subject, datatype, element) for element in flat]
    try:
        return np.array(flat, DTYPES[datatype])
    except OverflowError:
        raise BadRequest(f"{subject} has an element too large for {datatype}") from None


def _as_integer(subject: str, datatype: str, element: Any) -> int:
    """An integer that is written as a float, like 1.0, as some clients do."""
    if type(element) is int:
        return element
    if type(element) is float and element.is_integer():
        return int(element)
    raise BadRequest(f"{subject} is {datatype}, but not all of its elements are integers")


def _floats(subject: str, datatype: str, flat: list[Any]) -> Array:
    if not all(element is None or type(element) in (float, int) for element in flat):
        raise BadRequest(f"{subject} is {datatype}, but not all of its elements are numbers")
    try:
        wide = np.array(flat, np.float64)
    except OverflowError:
        raise BadRequest(f"{subject} has an element too large for {datatype}") from None
    with np.errstate(over="ignore"):
        narrow = wide.astype(DTYPES[datatype], copy=False)
    if np.isinf(narrow).any() and not np.isinf(wide).any():
        raise BadRequest(f"{subject} has an element too large for {datatype}")
    return narrow


def _elements(subject: str, raw: Buffer, size: int) -> list[bytes]:
    elements: list[bytes] = []
    place = 0
    while place < len(raw) and len(elements) < size:
        if len(raw) - place < _LENGTH.size:
            break
        (length,) = _LENGTH.unpack_from(raw, place)
        place += _LENGTH.size
        if len(raw) - place < length:
            break
        elements.append(bytes(raw[place : place + length]))
        place += length
    if place != len(raw) or len(elements) != size:
        raise BadRequest(
            f"{subject} does not have {size} elements in {len(raw)} bytes: write each as its "
            "length in 4 bytes, little-endian, and its bytes"
        )
    return elements


def _encoded(value: Any) -> bytes:
    if value is None:
        raise UnsupportedOutput(
            "an element is missing, which JSON can represent but bytes can't: "
            "request the output as JSON"
        )
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)
