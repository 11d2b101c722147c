"""The messages of the Open Inference Protocol, made when this is imported.

Names, numbers and types are those of `grpc_predict_v2.proto`, shared by KServe, Triton and others:
https://kserve.github.io/website/docs/reference/inference-protocol (Apache-2.0). They are made from
the table below and not by protoc: generated code runs with few versions of protobuf only, and a
model may bring another one.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# A map is, on the wire, a list of messages with a key and a value.
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live = 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready = 1",
    "ModelReadyRequest": "string name = 1; string version = 2",
    "ModelReadyResponse": "bool ready = 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name = 1; string version = 2; repeated string extensions = 3",
    "ModelMetadataRequest": "string name = 1; string version = 2",
    "TensorMetadata": "string name = 1; string datatype = 2; repeated int64 shape = 3",
    "ModelMetadataResponse": """
        string name = 1; repeated string versions = 2; string platform = 3;
        repeated TensorMetadata inputs = 4; repeated TensorMetadata outputs = 5""",
    "InferParameter": """
        oneof bool bool_param = 1; oneof int64 int64_param = 2; oneof string string_param = 3;
        oneof double double_param = 4; oneof uint64 uint64_param = 5""",
    "Parameter": "string key = 1; InferParameter value = 2",
    "InferTensorContents": """
        repeated bool bool_contents = 1; repeated int32 int_contents = 2;
        repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4;
        repeated uint64 uint64_contents = 5; repeated float fp32_contents = 6;
        repeated double fp64_contents = 7; repeated bytes bytes_contents = 8""",
    "InferTensor": """
        string name = 1; string datatype = 2; repeated int64 shape = 3;
        repeated Parameter parameters = 4; InferTensorContents contents = 5""",
    "InferRequestedOutputTensor": "string name = 1; repeated Parameter parameters = 2",
    "ModelInferRequest": """
        string model_name = 1; string model_version = 2; string id = 3;
        repeated Parameter parameters = 4; repeated InferTensor inputs = 5;
        repeated InferRequestedOutputTensor outputs = 6; repeated bytes raw_input_contents = 7""",
    "ModelInferResponse": """
        string model_name = 1; string model_version = 2; string id = 3;
        repeated Parameter parameters = 4; repeated InferTensor outputs = 5;
        repeated bytes raw_output_contents = 6""",
}
_FIELD = re.compile(r"(?:(repeated|oneof) )?(\w+) (\w+) = (\d+)")
_Proto = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for label, kind, field, number in _FIELD.findall(fields):
            _add_field(message, label, kind, field, int(number))
    return file


def _add_field(message: Any, label: str, kind: str, name: str, number: int) -> None:
    repeated = label == "repeated"
    field = message.field.add(
        name=name,
        number=number,
        label=_Proto.LABEL_REPEATED if repeated else _Proto.LABEL_OPTIONAL,
    )
    if kind in _MESSAGES:
        field.type = _Proto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(_Proto, f"TYPE_{kind.upper()}")
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0


# Not protobuf's default pool: a client's messages of the same names may be in there.
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str) -> Any:
    """The class of a message, like ModelInferRequest."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
