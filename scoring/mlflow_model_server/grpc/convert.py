"""Inference requests of gRPC to what the codec of REST reads, and outputs to responses. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.errors import BadRequest
from mlflow_model_server.codecs.limits import DEFAULT, Limits
from mlflow_model_server.codecs.metadata import Spec
from mlflow_model_server.codecs.openinference import Inference
from mlflow_model_server.codecs.outputs import Output
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


def inference_of(request: Any, spec: Spec, limits: Limits = DEFAULT) -> Inference:
    """What a ModelInferRequest asks for. Raises BadRequest and TooLarge."""
    _check_counts(request, limits)
    inputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for tensor, raw in zip(request.inputs, _raw_contents(request), strict=True):
        described, behind = _input(tensor, raw)
        inputs.append(described)
        tail.append(behind)
    document = {
        "id": request.id or None,
        "parameters": _parameters(request.parameters),
        "inputs": inputs,
        "outputs": [{"name": output.name} for output in request.outputs],
    }
    return codec.read(document, b"".join(tail), spec, limits)


def response_of(
    request: Any, outputs: Mapping[str, Output], model: str, version: str | None
) -> Any:
    """The ModelInferResponse: bytes to clients that sent bytes, else numbers and strings.

    Raises UnsupportedOutput for missing elements.
    """
    response = _Response(model_name=model, model_version=version or "", id=request.id)
    datatypes = {output.datatype for output in outputs.values()}
    is_raw = bool(request.raw_input_contents) or not datatypes <= set(_CONTENTS)
    for name, output in outputs.items():
        tensor = response.outputs.add(name=name, datatype=output.datatype, shape=output.shape)
        if output.binary_content_type:
            tensor.parameters["content_type"].string_param = output.binary_content_type
        if is_raw:
            response.raw_output_contents.append(output.to_bytes())
        else:
            getattr(tensor.contents, _CONTENTS[output.datatype]).extend(_elements(output))
    return response


def _check_counts(request: Any, limits: Limits) -> None:
    """Before anything is made of them: a few bytes are an input."""
    for repeated in (request.inputs, request.outputs, request.parameters):
        limits.check_columns(len(repeated))
    raw = len(request.raw_input_contents)
    if raw and raw != len(request.inputs):
        raise BadRequest(
            f"there are {len(request.inputs)} inputs and {raw} raw_input_contents: write one "
            "for each input, or none"
        )


def _raw_contents(request: Any) -> list[bytes | None]:
    """The bytes of each input; None for those whose elements are in its contents."""
    if not request.raw_input_contents:
        return [None] * len(request.inputs)
    for position, tensor in enumerate(request.inputs):
        if tensor.HasField("contents"):
            raise BadRequest(
                f"inputs[{position}] has both contents and raw_input_contents: write only one of "
                "them"
            )
    return list(request.raw_input_contents)


def _input(tensor: Any, raw: bytes | None) -> tuple[dict[str, Any], bytes]:
    """An input as JSON has it, and its bytes behind the JSON, where it has any."""
    parameters = _parameters(tensor.parameters)
    described = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": parameters,
    }
    if raw is None and tensor.datatype == "BYTES":
        raw = b"".join(_LENGTH.pack(len(e)) + e for e in tensor.contents.bytes_contents)
    if raw is None:
        field = _CONTENTS.get(tensor.datatype)
        described["data"] = list(getattr(tensor.contents, field)) if field else []
        return described, b""
    parameters["binary_data_size"] = len(raw)
    return described, raw


def _parameters(by_name: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in by_name.items():
        choice = value.WhichOneof("choice")
        if choice is not None:
            parameters[name] = getattr(value, choice)
    return parameters


def _elements(output: Output) -> list[Any]:
    if output.datatype == "BYTES":
        return tensors.encoded(output.array)
    elements: list[Any] = output.complete.ravel().tolist()
    return elements
