"""Bodies of inference requests to what a model takes, and its predictions to bodies. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mlflow_model_server.codecs import outputs as predicted
from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.errors import BadRequest
from mlflow_model_server.codecs.inputs import CONTENT_TYPES, Input
from mlflow_model_server.codecs.limits import DEFAULT, Limits
from mlflow_model_server.codecs.metadata import INPUT, Field, Kind, Spec
from mlflow_model_server.codecs.outputs import Output
from mlflow_model_server.codecs.tensors import Array, Buffer

# The length of the JSON part, where tensors follow it as bytes.
HEADER_LENGTH = b"inference-header-content-length"
_MAX_DIMENSIONS = 32
_MAX_ELEMENTS = 1 << 31  # of one row
# What the inputs are together; all other content types say how elements are written.
_FORMS = ("np", "pd", "dict")


@dataclass(frozen=True)
class RequestedOutputs:
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
    """A decoded request. `data` is an array, a DataFrame, a list, or arrays by name."""

    data: Any
    params: dict[str, Any]
    requested: RequestedOutputs


def decode(
    body: bytes, headers: Mapping[bytes, bytes], spec: Spec, limits: Limits = DEFAULT
) -> Inference:
    """What a request asks for. Raises BadRequest, and TooLarge for what would need much memory.

    `headers` have names in lower case. A DataFrame is made where the request's `content_type` is
    `pd`, or the model's signature is of columns; else what the model takes is an array, or arrays
    by name where there are several or the signature names it. A model with a type hint takes a
    list.
    """
    head, tail = _parts(body, headers)
    limits.check_json(head)
    return read(_object(head), tail, spec, limits)


def read(
    document: Mapping[str, Any], tail: Buffer, spec: Spec, limits: Limits = DEFAULT
) -> Inference:
    """The same of a request's JSON object, and of the bytes behind it."""
    listed = document.get("inputs")
    if not isinstance(listed, list) or not listed:
        raise BadRequest('the request has no inputs: write {"inputs": [{"name": …}]}')
    limits.check_columns(max(0, len(listed) - len(spec.inputs)))
    parameters = _parameters(document, "the request")
    form = _content_type(parameters, "the request")
    inputs = _inputs(listed, memoryview(tail), form, spec)
    data = _data(inputs, form, spec)
    params = {name: value for name, value in parameters.items() if name in spec.params}
    return Inference(data, params, _requested(document, parameters))


def frame_of(data: Any, spec: Spec) -> Any:
    """`data` of an Inference as MLflow's own code takes it: a table's array as a DataFrame."""
    names = [field.name for field in spec.inputs if field.is_column]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != len(names):
        return data
    return _frame({name: data[:, i] for i, name in enumerate(names)})


def encode(
    predictions: Any, requested: RequestedOutputs, model: str, version: str | None, spec: Spec
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body of a response, and its headers.

    Raises BadRequest for outputs that there are not, UnsupportedOutput for what can't be said.
    """
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, output in outputs_of(predictions, requested, spec).items():
        described, raw = _encoded(name, output, requested.is_binary(name))
        outputs.append(described)
        tail += raw
    response = {
        "model_name": model,
        "model_version": version,
        "id": requested.id,
        "outputs": outputs,
    }
    head = orjson.dumps({name: value for name, value in response.items() if value is not None})
    if not tail:
        return head, [(b"content-type", b"application/json")]
    return b"".join([head, *tail]), [
        (b"content-type", b"application/octet-stream"),
        (HEADER_LENGTH, str(len(head)).encode()),
    ]


def _encoded(name: str, output: Output, is_binary: bool) -> tuple[dict[str, Any], list[bytes]]:
    """An output as the JSON has it, and its bytes behind the JSON."""
    described: dict[str, Any] = {
        "name": name,
        "datatype": output.datatype,
        "shape": output.shape,
    }
    if is_binary:
        raw = output.to_bytes()
        return {**described, "parameters": _binary_parameters(output, len(raw))}, [raw]
    described["data"] = output.to_json()
    if output.json_parameters:
        described["parameters"] = output.json_parameters
    return described, []


def outputs_of(predictions: Any, requested: RequestedOutputs, spec: Spec) -> dict[str, Output]:
    """The outputs that a request asks for, in its order. Raises as `encode` does."""
    outputs = predicted.outputs_of(predictions, spec)
    for position, name in enumerate(requested.outputs):
        if name not in outputs:
            raise _no_such_output(position, outputs, spec)
    return {name: outputs[name] for name in requested.outputs or outputs}


def _no_such_output(position: int, outputs: Mapping[str, Output], spec: Spec) -> BadRequest:
    # Without a signature, a model may name its outputs after what the client has sent.
    names = sorted(field.name for field in spec.outputs if field.name in outputs)
    advice = f"write one of {names}" if names else "leave outputs out to get all, with their names"
    return BadRequest(f"there is no output with the name of outputs[{position}]: {advice}")


def _binary_parameters(output: Output, size: int) -> dict[str, Any]:
    content_type = output.binary_content_type
    parameters = {"binary_data_size": size}
    return {**parameters, "content_type": content_type} if content_type else parameters


def _parts(body: bytes, headers: Mapping[bytes, bytes]) -> tuple[bytes, Buffer]:
    length = headers.get(HEADER_LENGTH)
    if length is None:
        return body, b""
    if not length.isdigit() or len(length) > 18 or int(length) > len(body):
        raise BadRequest(
            "Inference-Header-Content-Length is not the length of the body's JSON part: write it "
            "in bytes"
        )
    return body[: int(length)], memoryview(body)[int(length) :]


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadRequest('the body is not JSON object: write {"inputs": […]}')
    return document


def _parameters(described: Mapping[str, Any], subject: str) -> dict[str, Any]:
    parameters = described.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"the parameters of {subject} are not an object: write {{}}")
    return parameters


def _content_type(parameters: Mapping[str, Any], subject: str) -> str | None:
    content_type = parameters.get("content_type")
    if content_type is None:
        return None
    if not isinstance(content_type, str) or content_type not in CONTENT_TYPES:
        raise BadRequest(
            f"the content_type of {subject} is unknown: write one of {', '.join(CONTENT_TYPES)}"
        )
    return content_type


def _inputs(listed: list[Any], tail: memoryview, form: str | None, spec: Spec) -> dict[str, Input]:
    names = {field.name for field in spec.inputs}
    inputs: dict[str, Input] = {}
    for position, described in enumerate(listed):
        name = _name(described, position)
        subject = f"input {name!r}" if name in names else f"inputs[{position}]"
        decoded, tail = _input(name, subject, described, tail, form)
        if decoded.name in inputs:
            raise BadRequest(
                f"inputs[{position}] has the name of an input before it: use each name only once"
            )
        inputs[decoded.name] = decoded
    if len(tail):
        raise BadRequest(
            f"{len(tail)} bytes follow the last input: write binary_data_size for "
            "each input whose data follow the JSON"
        )
    return inputs


def _name(described: Any, position: int) -> str:
    if isinstance(described, dict) and isinstance(name := described.get("name"), str):
        return name
    raise BadRequest(
        f"inputs[{position}] has no name: write name, shape, datatype and data for each"
    )


def _input(
    name: str, subject: str, described: Mapping[str, Any], tail: memoryview, form: str | None
) -> tuple[Input, memoryview]:
    """An input, and what is left of the bytes behind the JSON. `subject`: what errors call it."""
    datatype = described.get("datatype")
    if not isinstance(datatype, str) or datatype not in tensors.DTYPES:
        raise BadRequest(
            f"{subject} has no datatype of the protocol: write one of {', '.join(tensors.DTYPES)}"
        )
    shape = _shape(subject, described.get("shape"))
    parameters = _parameters(described, subject)
    size = _binary_size(subject, parameters, len(tail))
    if size is None:
        array = tensors.from_json(subject, datatype, shape, described.get("data"))
    else:
        array = tensors.from_bytes(subject, datatype, shape, tail[:size], as_text=False)
    content_type = (_content_type(parameters, subject) if parameters else None) or form
    decoded = Input(name, subject, datatype, array, content_type, size is not None)
    return decoded, tail[size or 0 :]


def _binary_size(subject: str, parameters: Mapping[str, Any], left: int) -> int | None:
    """How many of the bytes behind the JSON are an input's own; None: its data are in the JSON."""
    size = parameters.get("binary_data_size")
    if size is None or (type(size) is int and 0 <= size <= left):
        return size
    raise BadRequest(
        f"{subject} has a binary_data_size that does not fit the {left} bytes that are left after "
        "the JSON: write the size of its own data"
    )


def _shape(subject: str, shape: Any) -> list[int]:
    sizes = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes or not 0 < len(shape) <= _MAX_DIMENSIONS:
        raise BadRequest(f"{subject} has no shape: write a list of sizes, like [2, 13]")
    # Else a few bytes could claim any number of rows, each with nothing in it.
    if 0 in shape[1:] or math.prod(shape[1:]) > _MAX_ELEMENTS:
        raise BadRequest(
            f"{subject} has a shape with a 0, or too many elements: only the first size may be 0, "
            f"and a row may have {_MAX_ELEMENTS} elements"
        )
    return list(shape)


def _data(inputs: Mapping[str, Input], form: str | None, spec: Spec) -> Any:
    if spec.takes_list:
        return _list(inputs, spec)
    if _is_table(inputs, form, spec):
        return _table(inputs, spec)
    fields = {field.name: field for field in spec.inputs}
    if len(inputs) == 1 and len(fields) == 1:  # the only one may have any name
        (only,), (field,) = inputs.values(), spec.inputs
        return _tensors({_model_name(only, field): only.converted(field)}, form, spec)
    arrays = {name: tensor.converted(fields.get(name)) for name, tensor in inputs.items()}
    return _tensors(arrays, form, spec)


def _model_name(only: Input, field: Field) -> str:
    """What the model calls the only input: as the client does, unless the signature names it."""
    return only.name if field.is_column or field.name == INPUT.format(1) else field.name


def _is_table(inputs: Mapping[str, Input], form: str | None, spec: Spec) -> bool:
    """Whether the inputs are columns: by the request's content type, or by the signature."""
    if form in _FORMS:
        return form == "pd"
    content_types = {tensor.content_type for tensor in inputs.values()}
    if "pd" in content_types:
        return True
    if "np" in content_types and len(inputs) == 1 and not _are_columns(inputs, spec):
        return False
    return spec.is_table


def _are_columns(inputs: Mapping[str, Input], spec: Spec) -> bool:
    return spec.columns.keys() >= inputs.keys()


def _list(inputs: Mapping[str, Input], spec: Spec) -> list[Any]:
    """The rows of the only input, as the function's type hint has them."""
    if len(inputs) != 1:
        raise BadRequest(f"there are {len(inputs)} inputs, but the model takes 1")
    (only,) = inputs.values()
    field = spec.inputs[0] if spec.inputs else None
    if field is not None and field.kind is Kind.DATETIME:
        field = None  # as JSON has them: the hint's own checks read them
    column = _column(only.converted(field))
    values: list[Any] = column.tolist()
    return values


def _table(inputs: Mapping[str, Input], spec: Spec) -> Any:
    """A column for each input; or of the only one, if it has as many columns as the model takes."""
    fields = list(spec.columns.values())
    first = next(iter(inputs.values()))
    if len(inputs) == 1 and first.array.ndim == 2 and not _are_columns(inputs, spec):
        if not fields or first.array.shape[1] == len(fields):
            return _whole_table(first, fields)
        if len(fields) > 1 or fields[0].kind is not Kind.JSON:
            raise BadRequest(
                f"{first.subject} has {first.array.shape[1]} columns, but the model "
                f"takes {len(fields)}: write its shape as [rows, {len(fields)}]"
            )
    columns = _columns(inputs, spec.columns)
    if _are_doubles(columns, spec.columns):
        # No DataFrame is needed, and the model may be quicker without.
        return np.column_stack([columns[name] for name in spec.columns])
    return _frame(columns)


def _columns(inputs: Mapping[str, Input], fields: Mapping[str, Field]) -> dict[str, Array]:
    if len(inputs) == len(fields) == 1 and INPUT.format(1) in fields:
        fields = dict.fromkeys(inputs, fields[INPUT.format(1)])  # a column without a name
    columns = {name: _column(tensor.converted(fields.get(name))) for name, tensor in inputs.items()}
    rows = set(map(len, columns.values()))
    if len(rows) > 1:
        raise BadRequest(f"the inputs have different numbers of rows: {sorted(rows)}")
    return columns


def _are_doubles(columns: Mapping[str, Array], fields: Mapping[str, Field]) -> bool:
    """Whether these are exactly the model's columns, and both sides say FP64 of all."""
    return (
        columns.keys() == fields.keys()
        and all(field.type == "double" for field in fields.values())
        and all(column.dtype == np.float64 for column in columns.values())
    )


def _whole_table(table: Input, fields: Sequence[Field]) -> Any:
    if table.array.dtype == np.float64:
        return table.array
    if not fields:
        return table.converted(None)
    columns = {
        field.name: table._replace(array=table.array[:, i]) for i, field in enumerate(fields)
    }
    return _frame({field.name: columns[field.name].converted(field) for field in fields})


def _column(array: Array) -> Array:
    if array.ndim == 1:
        return array
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return tensors.of_objects(list(array))  # a column of lists, as MLflow's array types are


def _frame(columns: Mapping[str, Array]) -> Any:
    import pandas  # here: a model of tensors needs none

    # Of objects pandas makes what it makes of JSON's values, as MLflow's protocol has it.
    values = {name: c.tolist() if c.dtype == object else c for name, c in columns.items()}
    return pandas.DataFrame(values)


def _tensors(arrays: dict[str, Array], form: str | None, spec: Spec) -> Any:
    """The only array by itself, unless the signature names it or the request says `dict`."""
    named = [field for field in spec.inputs if not field.is_column]
    is_single = all(field.name == INPUT.format(1) for field in named)
    if form != "dict" and len(arrays) == 1 and is_single:
        return next(iter(arrays.values()))
    return arrays


def _requested(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> RequestedOutputs:
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadRequest("the id is not a string: write it in quotes")
    listed = document.get("outputs")
    if listed is not None and not isinstance(listed, list):
        raise BadRequest('outputs is not a list: write [{"name": …}], or leave it out')
    names: list[str] = []
    binary: set[str] = set()
    for position, output in enumerate(listed or ()):
        if not isinstance(output, dict) or not isinstance(name := output.get("name"), str):
            raise BadRequest('an output has no name: write [{"name": …}], or leave outputs out')
        names.append(name)
        if _parameters(output, f"outputs[{position}]").get("binary_data") is True:
            binary.add(name)
    all_binary = parameters.get("binary_data_output") is True
    return RequestedOutputs(request_id, tuple(dict.fromkeys(names)), frozenset(binary), all_binary)
