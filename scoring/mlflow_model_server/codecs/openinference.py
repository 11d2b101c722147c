"""Bodies of inference requests to what a model takes, and its predictions to bodies. Pure."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.metadata import OUTPUT, Spec
from mlflow_model_server.codecs.tensors import Array, BadRequest
from mlflow_model_server.model.input_schema import is_frame

# The length of the JSON part, where tensors follow it as bytes.
HEADER_LENGTH = b"inference-header-content-length"
_MOST_DIMENSIONS = 32
_MOST_ELEMENTS = 1 << 31  # of one row
_CONTENT_TYPES = ("np", "pd", "str", "base64")


@dataclass(frozen=True)
class Wanted:
    """What a request says of its answer."""

    id: str | None = None
    outputs: tuple[str, ...] = ()  # none named: all
    binary: frozenset[str] = frozenset()
    all_binary: bool = False

    def is_binary(self, output: str) -> bool:
        """Whether an output goes as bytes behind the JSON."""
        return self.all_binary or output in self.binary


@dataclass(frozen=True)
class Inference:
    """A decoded request. `data` is an array, a DataFrame, or arrays by name."""

    data: Any
    params: dict[str, Any]
    wanted: Wanted


def decode(body: bytes, headers: Mapping[bytes, bytes], spec: Spec) -> Inference:
    """What a request asks for. Raises BadRequest.

    `headers` have names in lower case. A DataFrame is made where the request's `content_type` is
    `pd`, or the model's signature is of columns; else what the model takes is an array, or arrays
    by name where there are several or the signature names it.
    """
    head, tail = _parts(body, headers)
    return read(_object(head), tail, spec)


def read(told: Mapping[str, Any], tail: bytes, spec: Spec) -> Inference:
    """The same of a request's JSON object, and of the bytes behind it."""
    inputs = told.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest('the request has no inputs: write {"inputs": [{"name": …}]}')
    parameters = _parameters(told, "the request")
    arrays: dict[str, Array] = {}
    content_types = [parameters.get("content_type")]
    for one in inputs:
        name, array, content_type, tail = _input(one, tail)
        if name in arrays:
            raise BadRequest(f"there are two inputs {name!r}: name each only once")
        arrays[name] = array
        content_types.append(content_type)
    if tail:
        raise BadRequest(
            f"{len(tail)} bytes are behind the last input: write binary_data_size for each input "
            "whose data are behind the JSON"
        )
    data = _table(arrays, spec) if _is_table(content_types, spec) else _tensors(arrays, spec)
    params = {name: value for name, value in parameters.items() if name in spec.params}
    return Inference(data, params, _wanted(told, parameters))


def frame_of(data: Any, spec: Spec) -> Any:
    """`data` of an Inference as MLflow's own code takes it: a table's array as a DataFrame."""
    names = [field.name for field in spec.inputs if field.is_column]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != len(names):
        return data
    return _frame({name: data[:, i] for i, name in enumerate(names)})


def encode(
    predictions: Any, wanted: Wanted, model: str, version: str | None, spec: Spec
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body of an answer, and its headers. Raises BadRequest for outputs that there are not."""
    told: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, array in outputs_of(predictions, wanted, spec).items():
        output: dict[str, Any] = {
            "name": name,
            "datatype": tensors.datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if wanted.is_binary(name):
            tail.append(tensors.to_bytes(array))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = tensors.to_json(array)
        told.append(output)
    answer = {"model_name": model, "model_version": version, "id": wanted.id, "outputs": told}
    head = orjson.dumps({name: value for name, value in answer.items() if value is not None})
    if not tail:
        return head, [(b"content-type", b"application/json")]
    return b"".join([head, *tail]), [
        (b"content-type", b"application/octet-stream"),
        (HEADER_LENGTH, str(len(head)).encode()),
    ]


def outputs_of(predictions: Any, wanted: Wanted, spec: Spec) -> dict[str, Array]:
    """The outputs that a request wants, in its order. Raises BadRequest for those that are not."""
    outputs = _outputs(predictions, spec)
    unknown = [name for name in wanted.outputs if name not in outputs]
    if unknown:
        raise BadRequest(f"there is no output {unknown[0]!r}: write one of {sorted(outputs)}")
    return {name: outputs[name] for name in wanted.outputs or outputs}


def _parts(body: bytes, headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    length = headers.get(HEADER_LENGTH)
    if length is None:
        return body, b""
    if not length.isdigit() or len(length) > 18 or int(length) > len(body):
        raise BadRequest(
            "Inference-Header-Content-Length is not the length of the body's JSON part: write it "
            "in bytes"
        )
    return body[: int(length)], body[int(length) :]


def _object(text: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise BadRequest('the body is no JSON object: write {"inputs": […]}')
    return told


def _parameters(told: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = told.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"the parameters of {what} are no object: write {{}}")
    return parameters


def _input(told: Any, tail: bytes) -> tuple[str, Array, Any, bytes]:
    """Its name, array and content type, and what is left of the bytes behind the JSON."""
    if not isinstance(told, dict) or not isinstance(name := told.get("name"), str):
        raise BadRequest("an input has no name: write name, shape, datatype and data for each")
    datatype = told.get("datatype")
    if not isinstance(datatype, str) or datatype not in tensors.DTYPES:
        raise BadRequest(
            f"input {name!r} has the datatype {datatype!r}: write one of "
            f"{', '.join(tensors.DTYPES)}"
        )
    shape = _shape(name, told.get("shape"))
    parameters = _parameters(told, f"input {name!r}")
    size = parameters.get("binary_data_size")
    if size is None:
        array = tensors.from_json(name, datatype, shape, told.get("data"))
    elif type(size) is not int or not 0 <= size <= len(tail):
        raise BadRequest(
            f"input {name!r} has the binary_data_size {size!r}, and {len(tail)} bytes are left "
            "behind the JSON: write how many of them are its own"
        )
    else:
        array = tensors.from_bytes(name, datatype, shape, tail[:size])
        tail = tail[size:]
    content_type = parameters.get("content_type")
    if content_type == "base64" and datatype == "BYTES":
        array = _from_base64(name, array)
    return name, array, content_type, tail


def _shape(name: str, told: Any) -> list[int]:
    sizes = isinstance(told, list) and all(type(n) is int and n >= 0 for n in told)
    if not sizes or not 0 < len(told) <= _MOST_DIMENSIONS:
        raise BadRequest(f"input {name!r} has no shape: write a list of sizes, like [2, 13]")
    # Else a few bytes could claim any number of rows, each with nothing in it.
    if 0 in told[1:] or math.prod(told[1:]) > _MOST_ELEMENTS:
        raise BadRequest(f"input {name!r} has the shape {told}: only the first size may be 0")
    return list(told)


def _from_base64(name: str, array: Array) -> Array:
    try:
        decoded = [base64.b64decode(value, validate=True) for value in array.ravel()]
    except (binascii.Error, TypeError, ValueError):
        raise BadRequest(f"input {name!r} is not all base64") from None
    return tensors.of_objects(decoded).reshape(array.shape)


def _is_table(content_types: list[Any], spec: Spec) -> bool:
    for one in content_types:
        if one is not None and one not in _CONTENT_TYPES:
            raise BadRequest(
                f"the content_type {one!r} is unknown: write one of {', '.join(_CONTENT_TYPES)}"
            )
    if "pd" in content_types:
        return True
    return spec.is_table and "np" not in content_types


def _table(arrays: Mapping[str, Array], spec: Spec) -> Any:
    """A column for each input; or of the only one, if it has as many columns as the model takes."""
    names = [field.name for field in spec.inputs if field.is_column]
    first_name, first = next(iter(arrays.items()))
    if len(arrays) == 1 and first.ndim == 2 and first_name not in names:
        if names and first.shape[1] != len(names):
            raise BadRequest(
                f"input {first_name!r} has {first.shape[1]} columns, and the model takes "
                f"{len(names)}: write its shape as [rows, {len(names)}]"
            )
        return _whole_table(first, names)
    columns = {name: _column(array) for name, array in arrays.items()}
    rows = {name: len(column) for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        raise BadRequest(f"the inputs have different numbers of rows: {rows}")
    if _are_doubles(columns, spec):
        # No DataFrame is needed, and the model may be quicker without.
        return np.column_stack([columns[name] for name in names])
    return _frame(columns)


def _are_doubles(columns: Mapping[str, Array], spec: Spec) -> bool:
    """Whether these are exactly the model's columns, and both sides say FP64 of all."""
    return (
        {field.name for field in spec.inputs} == set(columns)
        and all(field.type == "double" for field in spec.inputs)
        and all(column.dtype == np.float64 for column in columns.values())
    )


def _whole_table(array: Array, names: Sequence[str]) -> Any:
    if not names or array.dtype == np.float64:
        return array
    return _frame({name: array[:, i] for i, name in enumerate(names)})


def _column(array: Array) -> Array:
    if array.ndim == 1:
        return array
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return tensors.of_objects(list(array))  # a column of lists, as MLflow's array types are


def _frame(columns: Mapping[str, Array]) -> Any:
    import pandas  # here: a model of tensors needs none

    return pandas.DataFrame(dict(columns))


def _tensors(arrays: dict[str, Array], spec: Spec) -> Any:
    """The only array by itself, unless the signature names it."""
    named = {field.name for field in spec.inputs if not field.is_column}
    unnamed = not named or named == {"input-1"}
    if len(arrays) == 1 and unnamed:
        return next(iter(arrays.values()))
    return arrays


def _wanted(told: Mapping[str, Any], parameters: Mapping[str, Any]) -> Wanted:
    request_id = told.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadRequest("the id is no string: write it in quotes")
    listed = told.get("outputs") or []
    if not isinstance(listed, list):
        raise BadRequest('outputs is no list: write [{"name": …}], or leave it out')
    names: list[str] = []
    binary: set[str] = set()
    for one in listed:
        if not isinstance(one, dict) or not isinstance(name := one.get("name"), str):
            raise BadRequest('an output has no name: write [{"name": …}], or leave outputs out')
        names.append(name)
        if _parameters(one, f"output {name!r}").get("binary_data") is True:
            binary.add(name)
    all_binary = parameters.get("binary_data_output") is True
    return Wanted(request_id, tuple(dict.fromkeys(names)), frozenset(binary), all_binary)


def _outputs(predictions: Any, spec: Spec) -> dict[str, Array]:
    """Arrays by name: the columns of a DataFrame, the arrays of a dict, or the only one."""
    if is_frame(predictions):
        return {str(name): _array(predictions[name]) for name in predictions.columns}
    if isinstance(predictions, Mapping):
        return {str(name): _array(values) for name, values in predictions.items()}
    if isinstance(predictions, tuple):
        return {OUTPUT.format(i): _array(values) for i, values in enumerate(predictions, 1)}
    name = spec.outputs[0].name if len(spec.outputs) == 1 else OUTPUT.format(1)
    return {name: _array(predictions)}


def _array(values: Any) -> Array:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    elif hasattr(values, "toarray"):  # sparse
        values = values.toarray()
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = tensors.of_objects(list(values))
    return array if array.ndim else array.reshape(1)
