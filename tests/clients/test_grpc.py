"""gRPC in two languages: Triton's client and one that knows no protocol for Python, and grpc-js."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from sklearn.datasets import load_wine
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from tests.clients.conftest import Wine
from tests.clients.runner import (
    HERE,
    Unavailable,
    node,
    node_modules,
    output,
    python_of,
    unavailable,
)

ROWS, LABELS = load_wine(return_X_y=True, as_frame=True)
INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED = 3, 5, 8
NODE = "grpc-js"
REFLECTION = "grpcio-reflection"


def descriptors() -> bytes:
    """The protocol as Triton's client knows it, which does not come from our own messages."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for each in file.dependencies:
            add(each)
        files.setdefault(file.name, file)

    add(service_pb2.DESCRIPTOR)
    protocol = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(protocol.file.add())
    serialized: bytes = protocol.SerializeToString()
    return serialized


@pytest.fixture(scope="module")
def from_node(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program in Node is answered."""
    try:
        path, modules = node(NODE), node_modules(NODE)
    except Unavailable as error:
        unavailable(NODE, error)
    file: Path = tmp_path_factory.mktemp("protocol") / "descriptors"
    file.write_bytes(descriptors())
    rows = json.dumps(ROWS.head(3).to_numpy().tolist())
    words = [path, str(HERE / "grpc_client.cjs"), wine.grpc, str(file)]
    answers: dict[str, Any] = json.loads(output(words, NODE_PATH=str(modules), input=rows))
    return answers


def test_node_asks_for_health_and_metadata(from_node: dict[str, Any]) -> None:
    assert from_node["live"] == {"live": True}
    assert from_node["ready"] == {"ready": True}
    metadata = from_node["metadata"]
    assert metadata["name"] == "wine"
    assert [field["name"] for field in metadata["inputs"]] == list(ROWS.columns)


def test_node_sends_numbers(from_node: dict[str, Any]) -> None:
    answer = from_node["typed"]
    assert (answer["id"], answer["model_name"]) == ("7", "wine")
    (labels,) = answer["outputs"]
    assert labels["datatype"] == "INT64" and labels["shape"] == [3]
    assert labels["contents"]["int64_contents"] == [0, 0, 0]


def test_node_sends_bytes(from_node: dict[str, Any]) -> None:
    (raw,) = from_node["raw"]["raw_output_contents"]
    assert struct.unpack("<3q", base64.b64decode(raw)) == (0, 0, 0)


def test_node_sends_a_hundred_requests_on_a_channel(from_node: dict[str, Any]) -> None:
    assert from_node["many"] == ["7"] * 100


@pytest.mark.parametrize(
    ("case", "code"),
    [("wrong", INVALID_ARGUMENT), ("absent", NOT_FOUND), ("large", RESOURCE_EXHAUSTED)],
)
def test_node_is_refused_in_few_words(from_node: dict[str, Any], case: str, code: int) -> None:
    answer = from_node[case]
    assert answer["code"] == code, answer
    assert 0 < len(answer["details"]) < 500


def tensor(rows: Any) -> Any:
    values = triton.InferInput("rows", list(rows.shape), "FP64")
    values.set_data_from_numpy(rows.to_numpy())
    return values


def test_triton_for_python(wine: Wine) -> None:
    with triton.InferenceServerClient(wine.grpc) as client:
        assert client.is_server_live() and client.is_model_ready("wine", "3")
        for compression in (None, "gzip", "deflate"):
            answer = client.infer("wine", [tensor(ROWS)], compression_algorithm=compression)
            assert np.mean(answer.as_numpy(answer.get_response().outputs[0].name) == LABELS) > 0.95
        for _ in range(100):
            client.infer("wine", [tensor(ROWS.head(1))])
        words = triton.InferInput("alcohol", [1], "BYTES")
        words.set_data_from_numpy(np.array(["secret" * 20_000], object))
        with pytest.raises(InferenceServerException) as refused:
            client.infer("wine", [words])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "secretsecret" not in str(refused.value) and len(str(refused.value)) < 500


def test_triton_for_python_lists_the_models(wine: Wine) -> None:
    with triton.InferenceServerClient(wine.grpc) as client:
        index = client.get_model_repository_index(as_json=True)
        assert index == {"models": [{"name": "wine", "version": "3", "state": "READY"}]}
        for call in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="loads and unloads nothing"):
                call("wine")


def test_a_client_without_the_protocol(wine: Wine) -> None:
    """All that it knows it has from reflection, as grpcurl has."""
    try:
        python = python_of("reflection.lock", REFLECTION)
    except Unavailable as error:
        unavailable(REFLECTION, error)
    rows = json.dumps(ROWS.head(3).to_numpy().tolist())
    said = json.loads(output([python, str(HERE / "reflection_client.py"), wine.grpc], input=rows))
    assert said["services"] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    assert {"ModelInfer", "RepositoryIndex"} <= set(said["methods"])
    assert said["metadata"]["name"] == "wine"
    assert said["health"] == {"status": "SERVING"}
    (labels,) = said["inference"]["outputs"]
    assert labels["contents"]["int64Contents"] == ["0", "0", "0"]
    assert said["unknown"] == "not known"
