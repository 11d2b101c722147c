"""Predictions as the protocol's output tensors, and those as JSON or bytes. Pure.

Arrays say themselves of what type they are. Elsewhere (lists, columns of objects) the types of the
elements decide, never their values, and the signature where there are none.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.errors import UnsupportedOutput
from mlflow_model_server.codecs.metadata import OUTPUT, Field, Kind, Spec
from mlflow_model_server.codecs.tensors import DTYPES, Array
from mlflow_model_server.model.input_schema import is_dataframe

_EXACT = 2**53  # whole numbers up to here are the same as floats
_KIND_OF_CONTENT = {Kind.TEXT: "str", Kind.BINARY: "base64", Kind.DATETIME: "datetime"}


@dataclass(frozen=True)
class Output:
    """One output tensor.

    The array has the datatype's dtype; it is of objects where the datatype is BYTES (then of text
    or bytes) and where elements are missing (None).
    """

    datatype: str
    array: Array
    content_type: str | None = None  # of BYTES, as MLServer calls it

    @property
    def shape(self) -> list[int]:
        """The sizes of its dimensions."""
        return list(self.array.shape)

    @property
    def json_parameters(self) -> dict[str, Any]:
        """The parameters that say how its JSON data are to be read."""
        return {"content_type": self.content_type} if self.content_type else {}

    @property
    def binary_content_type(self) -> str | None:
        """The same for its bytes: what is base64 in JSON is itself there."""
        return None if self.content_type == "base64" else self.content_type

    def to_json(self) -> Any:
        """The elements as JSON has them, flat; null where one is missing."""
        if self.content_type != "base64":
            return tensors.to_json(self.array)
        return [None if v is None else _base64(v) for v in self.array.ravel().tolist()]

    def to_bytes(self) -> bytes:
        """The elements as the binary extension has them. Raises UnsupportedOutput."""
        return tensors.to_bytes(self.array if self.datatype == "BYTES" else self.complete)

    @cached_property
    def complete(self) -> Array:
        """The array with the datatype's dtype. Raises UnsupportedOutput if elements are missing."""
        if self.array.dtype != object or self.datatype == "BYTES":
            return self.array
        if self.datatype.startswith("FP") or None not in self.array.ravel().tolist():
            return self.array.astype(DTYPES[self.datatype])
        raise UnsupportedOutput(
            "an element is missing, which JSON can represent but bytes of "
            f"{self.datatype} can't: request the output as JSON"
        )


def outputs_of(predictions: Any, spec: Spec) -> dict[str, Output]:
    """The columns of a DataFrame, the values of a dict or tuple, or the only output, by name.

    Raises UnsupportedOutput.
    """
    fields = {field.name: field for field in spec.outputs}
    if is_dataframe(predictions):
        columns = ((name, predictions.iloc[:, i]) for i, name in enumerate(predictions.columns))
        return {str(name): output_of(column, fields.get(str(name))) for name, column in columns}
    if isinstance(predictions, Mapping):
        items = predictions.items()
        return {str(name): output_of(values, fields.get(str(name))) for name, values in items}
    if isinstance(predictions, tuple):
        names = map(OUTPUT.format, range(1, len(predictions) + 1))
        pairs = zip(names, predictions, strict=True)
        return {name: output_of(values, fields.get(name)) for name, values in pairs}
    name = spec.outputs[0].name if len(spec.outputs) == 1 else OUTPUT.format(1)
    return {name: output_of(predictions, fields.get(name))}


def output_of(values: Any, field: Field | None = None) -> Output:
    """One output. Raises UnsupportedOutput for what the protocol can't say."""
    array = _array(values)
    if array.ndim == 0:
        array = array.reshape(1)
    if array.dtype.kind in "biuf" and tensors.datatype_of(array.dtype) != "BYTES":
        return Output(tensors.datatype_of(array.dtype), array)
    if array.dtype.kind == "M":
        return Output("BYTES", _each(array, _moment), "datetime")
    if array.dtype.kind in "OUST":
        return _of_elements(array.astype(object), field, _nullable_datatype(values))
    raise UnsupportedOutput(f"the protocol has no datatype for {array.dtype}")


def _array(values: Any) -> Array:
    if hasattr(values, "to_numpy"):
        # Else large integers beside missing ones would be floats.
        nullable = {"dtype": object, "na_value": None} if _nullable_datatype(values) else {}
        return np.asarray(values.to_numpy(**nullable))
    if hasattr(values, "toarray"):  # sparse
        return np.asarray(values.toarray())
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, list | tuple):
        return _array_of_list(list(values))
    return np.asarray(values) if isinstance(values, np.generic) else tensors.of_objects([values])


def _array_of_list(values: list[Any]) -> Array:
    """Nested lists of numbers as an array; else the elements as they are.

    numpy would make one type of all: text of numbers beside text, floats of large integers.
    """
    if any(isinstance(value, str | bytes | Mapping) or value is None for value in values):
        return tensors.of_objects(values)
    try:
        array = np.asarray(values)
        leaves = np.asarray(values, object)
    except ValueError:  # lists of different lengths
        return tensors.of_objects(values)
    if array.dtype.kind == "O" or array.shape != leaves.shape:
        return leaves if leaves.ndim == array.ndim else tensors.of_objects(values)
    return array if _is_alike(leaves, array.dtype.kind) else leaves


def _is_alike(leaves: Array, kind: str) -> bool:
    """Whether one dtype of `kind` holds all elements as they are."""
    elements = leaves.ravel().tolist()
    types = {bool if t is np.bool_ else t for t in map(type, elements)}
    if kind in "USV" or (bool in types and len(types) > 1):
        return False
    if kind != "f" or not any(issubclass(t, int | np.integer) for t in types):
        return True
    return all(type(e) is float or -_EXACT <= e <= _EXACT for e in elements)


def _nullable_datatype(values: Any) -> str | None:
    """The datatype of pandas' columns of numbers or booleans that may be missing."""
    dtype = getattr(getattr(values, "dtype", None), "numpy_dtype", None)
    return tensors.datatype_of(dtype) if isinstance(dtype, np.dtype) else None


def _of_elements(array: Array, field: Field | None, datatype: str | None) -> Output:
    """Of objects: as the types of those that are not missing say."""
    elements = [None if _is_missing(e) else _plain(e) for e in array.ravel().tolist()]
    types = {type(element) for element in elements} - {type(None)}

    def output(name: str, values: list[Any], content_type: str | None = None) -> Output:
        return Output(name, tensors.of_objects(values).reshape(array.shape), content_type)

    if not types:
        return _of_nothing(output, elements, field, datatype)
    if number := _number_datatype(types, elements):
        return _of_numbers(output(datatype or number, elements))
    for kind, (expected, text) in _TEXTS.items():
        if all(issubclass(t, expected) for t in types):
            written = [None if e is None else text(e) for e in elements]
            return output("BYTES", written, _KIND_OF_CONTENT[kind])
    return output("BYTES", [None if e is None else _json(e) for e in elements], "pd_json")


def _of_nothing(
    output: Callable[..., Output], elements: list[Any], field: Field | None, datatype: str | None
) -> Output:
    """All elements are missing, or there are none: the signature says of what type they are."""
    name = datatype or (field.datatype if field is not None else "BYTES")
    if name != "BYTES":
        return _of_numbers(output(name, elements))
    kind = field.kind if field is not None else Kind.TEXT
    content_type = "pd_json" if kind is Kind.JSON else _KIND_OF_CONTENT.get(kind, "str")
    return output("BYTES", elements, content_type)


def _of_numbers(output: Output) -> Output:
    """With an array of the datatype's own dtype, where that can say which elements are missing."""
    if output.datatype.startswith("FP") or None not in output.array.ravel().tolist():
        return Output(output.datatype, output.array.astype(DTYPES[output.datatype]))
    return output


def _number_datatype(types: set[type], elements: list[Any]) -> str | None:
    if types == {bool}:
        return "BOOL"
    numbers = [element for element in elements if element is not None]
    if types == {int}:
        if min(numbers) >= -(2**63) and max(numbers) < 2**63:
            return "INT64"
        return "UINT64" if min(numbers) >= 0 and max(numbers) < 2**64 else None
    if types <= {int, float} and all(type(n) is float or -_EXACT <= n <= _EXACT for n in numbers):
        return "FP64"
    return None


def _is_missing(element: Any) -> bool:
    # pandas' NA and NaT, without pandas: a model of tensors needs none.
    if element is None or type(element).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(element, float | np.floating | np.datetime64) and element != element


def _plain(element: Any) -> Any:
    """numpy's scalars as Python's."""
    if isinstance(element, np.datetime64):
        return _Moment(_moment(element))
    if isinstance(element, np.complexfloating | np.timedelta64 | np.void):
        raise UnsupportedOutput(f"the protocol has no datatype for {type(element).__name__}")
    return element.item() if isinstance(element, np.generic) else element


class _Moment(str):
    """A point in time that is written already."""

    __slots__ = ()


def _each(array: Array, function: Callable[[Any], Any]) -> Array:
    return tensors.of_objects([function(e) for e in array.ravel()]).reshape(array.shape)


def _moment(element: np.datetime64) -> str | None:
    """In ISO 8601, with no more digits than the point in time has; None where it is none."""
    if np.isnat(element):
        return None
    text = str(element)
    whole, point, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction.ljust(6, '0')}" if point and fraction else whole


def _isoformat(element: Any) -> str:
    return str(element) if isinstance(element, _Moment) else str(element.isoformat())


def _text(element: str) -> str:
    try:
        element.encode("utf-8")
    except UnicodeEncodeError:
        return _without_surrogates(element)
    return element


def _without_surrogates(text: str) -> str:
    """With characters instead of their halves, as JSON may escape them."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise UnsupportedOutput(
            "a text has an unpaired surrogate, which UTF-8 can't represent"
        ) from None


# A type of elements after another, and how they are written. Dates before texts: see _Moment.
_TEXTS: dict[Kind, tuple[Any, Callable[[Any], Any]]] = {
    Kind.DATETIME: ((datetime.date, _Moment), _isoformat),
    Kind.TEXT: (str, _text),
    Kind.BINARY: ((bytes, bytearray), bytes),
}


def _base64(element: bytes | bytearray) -> str:
    return base64.b64encode(element).decode("ascii")


def _json(element: Any) -> str:
    """A value as JSON text, as MLflow's own encoder writes it, but null for NaN."""
    try:
        return _text(json.dumps(_finite(element), default=_for_json, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedOutput(f"a value can't be written as JSON: {error}") from None


def _finite(value: Any) -> Any:
    """The value with None for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _for_json(value: Any) -> Any:
    if _is_missing(value):
        return None
    if isinstance(value, np.ndarray | np.generic):
        return _finite(_array_for_json(value))
    if isinstance(value, bytes | bytearray):
        return _base64(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if hasattr(value, "model_dump"):  # pydantic's
        return _finite(value.model_dump())
    raise TypeError(f"{type(value).__name__} can't be represented as JSON")


def _array_for_json(value: Any) -> Any:
    if value.dtype.kind == "M":
        return _each(np.asarray(value).reshape(-1), _moment).reshape(value.shape).tolist()
    if value.dtype.kind in "cmV":
        raise TypeError(f"{value.dtype} can't be represented as JSON")
    return value.tolist()
