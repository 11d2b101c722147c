"""The messages and the service of the Open Inference Protocol.

Names, numbers and types are those of `grpc_predict_v2.proto`, shared by KServe, Triton and others:
https://kserve.github.io/website/docs/reference/inference-protocol (Apache-2.0), and for the model
repository those of Triton's and MLServer's `GRPCInferenceService`.
"""

from __future__ import annotations

from typing import Any

from mlflow_model_server.grpc.descriptors import ProtoFile

SERVICE = "inference.GRPCInferenceService"

_TENSOR = """
    string name = 1; string datatype = 2; repeated int64 shape = 3;
    map InferParameter parameters = 4; InferTensorContents contents = 5"""
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
    "ModelMetadataResponse": """
        string name = 1; repeated string versions = 2; string platform = 3;
        repeated ModelMetadataResponse.TensorMetadata inputs = 4;
        repeated ModelMetadataResponse.TensorMetadata outputs = 5""",
    "ModelMetadataResponse.TensorMetadata": """
        string name = 1; string datatype = 2; repeated int64 shape = 3""",
    "InferParameter": """
        oneof bool bool_param = 1; oneof int64 int64_param = 2; oneof string string_param = 3;
        oneof double double_param = 4; oneof uint64 uint64_param = 5""",
    "InferTensorContents": """
        repeated bool bool_contents = 1; repeated int32 int_contents = 2;
        repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4;
        repeated uint64 uint64_contents = 5; repeated float fp32_contents = 6;
        repeated double fp64_contents = 7; repeated bytes bytes_contents = 8""",
    "ModelInferRequest": """
        string model_name = 1; string model_version = 2; string id = 3;
        map InferParameter parameters = 4;
        repeated ModelInferRequest.InferInputTensor inputs = 5;
        repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6;
        repeated bytes raw_input_contents = 7""",
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": """
        string name = 1; map InferParameter parameters = 2""",
    "ModelInferResponse": """
        string model_name = 1; string model_version = 2; string id = 3;
        map InferParameter parameters = 4;
        repeated ModelInferResponse.InferOutputTensor outputs = 5;
        repeated bytes raw_output_contents = 6""",
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "RepositoryIndexRequest": "string repository_name = 1; bool ready = 2",
    "RepositoryIndexResponse": "repeated RepositoryIndexResponse.ModelIndex models = 1",
    "RepositoryIndexResponse.ModelIndex": """
        string name = 1; string version = 2; string state = 3; string reason = 4""",
    "RepositoryModelLoadRequest": "string repository_name = 1; string model_name = 2",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name = 1; string model_name = 2",
    "RepositoryModelUnloadResponse": "",
}
_METHODS = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)

FILE = ProtoFile(
    "grpc_predict_v2.proto",
    SERVICE,
    _MESSAGES,
    {name: (f"{name}Request", f"{name}Response") for name in _METHODS},
)


def message(name: str) -> Any:
    """The class of a message, like ModelInferRequest."""
    return FILE.message(name)
