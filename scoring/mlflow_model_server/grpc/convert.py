"""Inference requests of gRPC to what the codec of REST reads, and arrays to answers. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.metadata import Spec
from mlflow_model_server.codecs.openinference import Inference
from mlflow_model_server.codecs.tensors import Array, BadRequest
from mlflow_model_server.grpc.messages import message

_Response = message("ModelInferResponse")

# Where a message has the elements of each datatype; FP16 has no such place, and goes as bytes.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_LENGTH = struct.Struct("<I")


def inference_of(request: Any, spec: Spec) -> Inference:
    """What a ModelInferRequest asks for. Raises BadRequest."""
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise BadRequest(
            f"there are {len(request.inputs)} inputs and {len(raw)} raw_input_contents: write one "
            "for each input, or none"
        )
    inputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for place, one in enumerate(request.inputs):
        told, behind = _input(one, raw[place] if raw else None)
        inputs.append(told)
        tail.append(behind)
    told = {
        "id": request.id or None,
        "parameters": _parameters(request.parameters),
        "inputs": inputs,
        "outputs": [{"name": one.name} for one in request.outputs],
    }
    return codec.read(told, b"".join(tail), spec)


def response_of(request: Any, arrays: Mapping[str, Array], model: str, version: str | None) -> Any:
    """The ModelInferResponse: bytes to those who sent bytes, else numbers and strings."""
    response = _Response(model_name=model, model_version=version or "", id=request.id)
    datatypes = {name: tensors.datatype_of(array.dtype) for name, array in arrays.items()}
    raw = bool(request.raw_input_contents) or not set(datatypes.values()) <= set(_CONTENTS)
    for name, array in arrays.items():
        output = response.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if raw:
            response.raw_output_contents.append(tensors.to_bytes(array))
        else:
            getattr(output.contents, _CONTENTS[datatypes[name]]).extend(_elements(array))
    return response


def _input(one: Any, raw: bytes | None) -> tuple[dict[str, Any], bytes]:
    """An input as JSON has it, and its bytes behind the JSON, where it has any."""
    parameters = _parameters(one.parameters)
    told = {
        "name": one.name,
        "datatype": one.datatype,
        "shape": list(one.shape),
        "parameters": parameters,
    }
    if raw is None and one.datatype == "BYTES":
        raw = b"".join(_LENGTH.pack(len(e)) + e for e in one.contents.bytes_contents)
    if raw is None:
        field = _CONTENTS.get(one.datatype)
        told["data"] = list(getattr(one.contents, field)) if field else []
        return told, b""
    parameters["binary_data_size"] = len(raw)
    return told, raw


def _parameters(listed: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in listed:
        choice = one.value.WhichOneof("choice")
        if choice is not None:
            found[one.key] = getattr(one.value, choice)
    return found


def _elements(array: Array) -> list[Any]:
    flat: list[Any] = array.ravel().tolist()
    if tensors.datatype_of(array.dtype) != "BYTES":
        return flat
    return [tensors.encoded(value) for value in flat]
